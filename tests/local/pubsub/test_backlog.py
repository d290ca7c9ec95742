"""What a subscription delivers: leases, acknowledgements, filters, bounds; time is a number that the test sets."""

import json
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from local.pubsub import backlog as module
from local.pubsub.backlog import Backlog, Holder
from local.pubsub.numbers import NumberSet
from local.pubsub.refusal import RefusedError

LARGE = 1 << 30


@dataclass
class Messages:
    """Messages whose body is their number."""

    end: int = 0
    first: int = 0

    def message(self, number: int) -> bytes:
        """The body of one."""
        assert self.first <= number < self.end
        return b"%d" % number


@dataclass
class Bench:
    """A backlog, and the time that it sees."""

    now: float = 0.0
    messages: Messages = field(default_factory=Messages)
    backlog: Backlog = field(init=False)

    def __post_init__(self) -> None:
        self.backlog = Backlog("abc", self.messages, lambda _: True, lambda: self.now, NumberSet())

    def take(self, most: int = 100, seconds: float = 10) -> list[int]:
        """The numbers that are delivered now."""
        taken = self.backlog.take(most, seconds, LARGE)
        assert all(body == b"%d" % number for number, body in taken)
        return [number for number, _ in taken]


@pytest.fixture
def bench() -> Bench:
    """Ten messages that nobody has seen."""
    return Bench(messages=Messages(end=10))


def test_a_lease_that_ends_gives_the_message_back_before_newer_ones(bench: Bench) -> None:
    assert bench.take(3) == [0, 1, 2]
    bench.backlog.acknowledge([1])
    assert bench.backlog.seconds_to_expiry() == 10
    bench.now = 9.9
    assert bench.take(1) == [3]
    bench.now = 10.1
    assert bench.take(4) == [0, 2, 4, 5]


def test_a_lease_is_made_longer_or_ended(bench: Bench) -> None:
    bench.take(2)
    bench.backlog.modify([0], 60)
    bench.backlog.modify([1], 0)
    assert bench.take(1) == [1]
    bench.now = 59
    assert 0 not in bench.take()


def test_an_acknowledgement_after_its_deadline_counts(bench: Bench) -> None:
    bench.take(1)
    bench.now = 11
    bench.backlog.acknowledge([0])
    assert bench.take(1) == [1]


def test_acknowledgements_from_before_a_seek_mean_nothing(bench: Bench) -> None:
    old = [bench.backlog.ack_id(number) for number in bench.take(2)]
    bench.backlog.seek(NumberSet())
    assert bench.backlog.numbers_of(old) == []
    assert bench.take(2) == [0, 1]


@pytest.mark.parametrize("seconds", [0, 600])
def test_a_lease_that_ended_has_no_say_in_the_next_one(bench: Bench, seconds: int) -> None:
    bench.take(1)
    old = bench.backlog.ack_id(0)
    bench.now = 11
    assert bench.take(1) == [0]
    new = bench.backlog.ack_id(0)
    assert bench.backlog.numbers_of([old, new], leased=True) == [0]
    bench.backlog.modify(bench.backlog.numbers_of([old], leased=True), seconds)
    assert bench.backlog.seconds_to_expiry() == 10
    assert bench.backlog.numbers_of([old]) == [0], "whoever acknowledges late has the message all the same"


@pytest.mark.parametrize(
    "ack_id", ["", "x", "abc-0-1", "abc-0-1-2-3", "abc-0-٣-1", "abc-0--1", "abc-0-1-2\n", "-0-1-2"]
)
def test_what_is_no_acknowledgement_id_is_refused(bench: Bench, ack_id: str) -> None:
    with pytest.raises(RefusedError, match="invalid ack ID"):
        bench.backlog.numbers_of([ack_id])


@pytest.mark.parametrize("ack_id", ["def-0-1-2", "abc-7-1-2", "abc-0-999999-2"])
def test_an_id_of_another_subscription_or_of_no_message_does_nothing(bench: Bench, ack_id: str) -> None:
    assert bench.backlog.numbers_of([ack_id]) == []


def test_an_answer_has_at_most_so_many_bytes_and_at_least_one_message(bench: Bench) -> None:
    bench.messages.end = 10_000
    bench.backlog.seek(NumberSet([(0, 5_000)]))
    assert [number for number, _ in bench.backlog.take(10, 10, 8)] == [5_000, 5_001]
    assert [number for number, _ in bench.backlog.take(10, 10, 1)] == [5_002]


def test_a_holder_knows_what_it_holds(bench: Bench) -> None:
    holder = Holder()
    bench.backlog.take(4, 10, LARGE, holder)
    assert (holder.messages, holder.bytes) == (4, 4)
    bench.backlog.acknowledge([0])
    bench.backlog.modify([1], 0)
    assert holder.messages == 2
    bench.now = 11
    bench.take(1)
    assert (holder.messages, holder.bytes) == (0, 0)


def test_what_a_filter_keeps_back_is_acknowledged_and_one_call_looks_at_so_many(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_LOOKS", 4)
    backlog = Backlog("abc", bench.messages, lambda body: body == b"9", lambda: 0.0, NumberSet())
    rounds = 0
    while not (taken := backlog.take(5, 10, LARGE)):
        assert backlog.has_more
        rounds += 1
    assert (rounds, [number for number, _ in taken]) == (2, [9])
    assert backlog.acked.ranges() == [[0, 9]]
    assert not backlog.has_more


def test_one_call_leaves_out_so_many_bytes(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_SKIPPED_BYTES", 3)
    backlog = Backlog("abc", bench.messages, lambda _: False, lambda: 0.0, NumberSet())
    assert backlog.take(5, 10, LARGE) == []
    assert backlog.acked.ranges() == [[0, 3]]
    assert backlog.has_more


def test_one_call_ends_so_many_leases_and_the_next_one_goes_on(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.take(10)
    monkeypatch.setattr(module, "MOST_LOOKS", 4)
    bench.now = 11
    assert bench.take() == [0, 1, 2, 3]
    assert bench.backlog.seconds_to_expiry() == 0
    assert bench.take() == [4, 5, 6, 7]


def test_no_more_than_so_many_are_out_at_once(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_LEASED", 6)
    assert len(bench.take()) == 6
    assert (bench.backlog.is_full, bench.backlog.has_more, bench.take()) == (True, False, [])
    bench.backlog.acknowledge([0])
    assert bench.take() == [6]


def test_ended_leases_leave_nothing_behind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_SWEEP", 10)
    bench.messages.end = 1_000
    for _ in range(100):
        bench.backlog.acknowledge(bench.take(10, 600))
    assert len(bench.backlog._deadlines) <= 30


def test_what_is_too_old_is_let_go(bench: Bench) -> None:
    bench.take(3)
    bench.backlog.forget(5)
    bench.messages.first = 5
    bench.now = 11
    assert bench.take() == [5, 6, 7, 8, 9]


STEPS = st.sampled_from(["take", "ack", "nack", "wait", "publish", "restart", "seek"])


@given(st.lists(st.tuples(STEPS, st.integers(0, 5)), max_size=60))
def test_nothing_is_lost_or_delivered_while_held_or_after_it_was_acknowledged(steps: list[tuple[str, int]]) -> None:
    """Any sequence of calls: a message is acknowledged, held, or comes with the next takes."""
    bench = Bench()
    held, acked = set[int](), set[int]()
    for step, number in steps:
        if step == "publish":
            bench.messages.end += number
        elif step == "take":
            taken = bench.take(number)
            assert taken == sorted(set(taken) - held - acked)
            held |= set(taken)
        elif step == "wait":
            bench.now += 11
            held.clear()
        elif step == "restart":
            kept = json.loads(json.dumps(bench.backlog.acked.ranges()))
            bench.backlog = Backlog("abc", bench.messages, lambda _: True, lambda: bench.now, NumberSet(kept))
            held.clear()
        elif step == "seek":
            bench.backlog.seek(NumberSet([(0, number)]))
            held, acked = set(), set(range(number))
        elif held:
            one = sorted(held)[number % len(held)]
            held.discard(one)
            if step == "ack":
                bench.backlog.acknowledge([one])
                acked.add(one)
            else:
                bench.backlog.modify([one], 0)
    rest = set(bench.take(1_000))
    assert rest.isdisjoint(held | acked)
    assert rest | held | acked >= set(range(bench.messages.end))
