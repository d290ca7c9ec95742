"""Whatever arrives in whatever order, and wherever the publisher is killed: each trade is published, or marked as
missing.
"""

import json
from collections.abc import Sequence
from typing import Any

import orjson
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from coinbeam.feeds.trades.gaps import Ask, Limits, Tracker
from coinbeam.feeds.trades.message import FILLED, GAP
from coinbeam.feeds.trades.position import Position
from coinbeam.feeds.trades.seen import MOST_HOLES, Seen
from coinbeam.sources.binance import Trade

WINDOW = 60_000
LIMITS = Limits(trades=4, seconds=1.0, silence_seconds=60.0)
TOO_OLD = 0


def trade(id: int, at: int) -> Trade:
    """A trade whose line says its id and time."""
    return Trade("BTCUSDT", id, at, orjson.dumps({"e": "aggTrade", "s": "BTCUSDT", "a": id, "T": at}))


def touched(marks: Sequence[dict[str, Any]]) -> set[int]:
    """The windows that are incomplete by the marks, as the pipeline reads them."""
    filled = {(mark["f"], mark["l"]) for mark in marks if mark["e"] == "filled"}
    windows = {mark["T"] // WINDOW for mark in marks if mark["e"] == "start"}
    for mark in marks:
        if mark["e"] == "gap" and (mark["f"], mark["l"]) not in filled:
            first, last = mark["T"] // WINDOW, mark["U"] // WINDOW
            windows |= {first, *range(max(first, last - 1_440), last + 1)}
    return windows


class World(RuleBasedStateMachine):
    """A venue, a REST API that forgets, a broker, and a publisher that is killed."""

    held = Bundle("held")

    def __init__(self) -> None:
        super().__init__()
        self.truth: list[Trade] = []
        self.forgotten = 0
        self.published: list[dict[str, Any]] = []
        self.now = 0.0
        self.most = MOST_HOLES
        self.stored: str | None = None
        self.tracker = self.restored()

    @initialize(
        first=st.integers(0, 2**62),
        at=st.integers(1_600_000_000_000, 1_700_000_000_000),
        most=st.sampled_from([3, MOST_HOLES]),
    )
    def begin(self, first: int, at: int, most: int) -> None:
        self.next_id, self.at, self.most = first, at, most

    def made(self, gap: int) -> Trade:
        self.at += gap
        made = trade(self.next_id, self.at)
        self.next_id += 1
        self.truth.append(made)
        return made

    def restored(self) -> Tracker:
        position = Position("BTCUSDT")
        if self.stored is not None:
            position = Position.load("BTCUSDT", json.loads(self.stored))
        tracker = Tracker(position, LIMITS, self.now)
        if tracker.seen:  # the first one of a run has no such limit, and may have had more holes
            tracker.seen.most = max(self.most, len(tracker.seen.holes))
        return tracker

    @rule(gaps=st.lists(st.integers(0, 40_000), min_size=1, max_size=6))
    def the_stream_brings_trades(self, gaps: list[int]) -> None:
        for gap in gaps:
            self.tracker.hear(self.made(gap), self.now)

    @rule(gaps=st.lists(st.integers(0, 40_000), min_size=1, max_size=4))
    def the_stream_drops_trades(self, gaps: list[int]) -> None:
        for gap in gaps:
            self.made(gap)

    @rule(target=held, gap=st.integers(0, 40_000))
    def the_stream_is_late_with_a_trade(self, gap: int) -> Trade:
        return self.made(gap)

    @rule(late=held)
    def it_comes_perhaps_again(self, late: Trade) -> None:
        self.tracker.hear(late, self.now)

    @rule(ahead=st.sampled_from([10**15, 10**9]), is_high=st.booleans())
    def an_id_is_false(self, ahead: int, is_high: bool) -> None:
        """Its trade is later than every other one by a little. A low one was seen: of others nobody can tell."""
        seen = self.tracker.seen
        if seen and seen.next > seen.first and (is_high or not seen.lacks(seen.first, seen.first)):
            id = self.next_id + ahead if is_high else seen.first
            self.tracker.hear(trade(id, self.at + 1), self.now)

    @rule(seconds=st.sampled_from([0.0, 0.3, 1.1, 3.5, 70.0]))
    def time_passes(self, seconds: float) -> None:
        self.now += seconds

    @rule(share=st.floats(0, 1))
    def rest_forgets(self, share: float) -> None:
        self.forgotten = max(self.forgotten, int(share * len(self.truth)))

    @rule(lag=st.integers(0, 3))
    def rest_is_asked(self, lag: int) -> None:
        ask = self.tracker.wants(self.now, TOO_OLD)
        if ask:
            self.answer(ask, lag)

    def answer(self, ask: Ask, lag: int = 0) -> None:
        kept = self.truth[self.forgotten : max(0, len(self.truth) - lag)]
        rows = kept[-1:] if ask.first is None else [row for row in kept if row.id >= ask.first]
        rows = rows[: min(3, ask.limit)]
        self.tracker.answered(ask, rows, len(rows) if len(rows) < 3 else ask.limit, self.now)

    @rule(everything=st.booleans(), outcome=st.sampled_from(["acknowledged", "acknowledged", "arrived", "lost"]))
    def a_message_is_sent(self, everything: bool, outcome: str) -> None:
        """The publisher dies with a message whose acknowledgement it has not seen, arrived or not."""
        bundle = self.tracker.take(self.now, all_of_it=everything)
        if bundle is None:
            return
        if bundle.marks:
            self.tracker.position.intend(bundle.marks)
            self.save()
        if outcome != "lost":
            self.published += [json.loads(line) for line in bundle.message.data.splitlines()]
        if outcome == "acknowledged":
            self.tracker.acknowledged(bundle)
        else:
            self.tracker = self.restored()

    @rule()
    def save(self) -> None:
        self.stored = json.dumps(self.tracker.position.dump())

    @rule()
    def kill(self) -> None:
        self.tracker = self.restored()

    @property
    def ids(self) -> set[int]:
        return {line["a"] for line in self.published if line["e"] == "aggTrade"}

    @invariant()
    def a_missing_trade_is_marked(self) -> None:
        if not self.ids:
            return
        windows = {line["T"] // WINDOW for line in self.published if line["e"] == "aggTrade"}
        marked = touched([line for line in self.published if line["e"] != "aggTrade"])
        largest = max(self.ids)
        silent = [
            missing
            for missing in self.truth
            if missing.id not in self.ids
            and missing.id < largest
            and missing.at // WINDOW in windows
            and missing.at // WINDOW not in marked
        ]
        assert silent == []

    @invariant()
    def nothing_is_made_up(self) -> None:
        lines = {made.line for made in self.truth}
        assert all(orjson.dumps(line) in lines for line in self.published if line["e"] == "aggTrade")

    @invariant()
    def memory_is_bounded(self) -> None:
        assert self.tracker.seen is None or len(self.tracker.seen.holes) <= self.tracker.seen.most

    def teardown(self) -> None:
        """Left alone, with a REST API that answers, everything that it still has is published, and gaps close."""
        if not self.truth:
            return
        self.tracker.hear(self.made(0), self.now)
        for _ in range(400):
            self.now += 0.5
            while ask := self.tracker.wants(self.now, TOO_OLD):
                self.answer(ask)
            while bundle := self.tracker.take(self.now):
                self.tracker.position.intend(bundle.marks)
                self.published += [json.loads(line) for line in bundle.message.data.splitlines()]
                self.tracker.acknowledged(bundle)
            if not self.tracker.waiting:
                break
        assert self.tracker.waiting == 0
        self.a_missing_trade_is_marked()
        first = min(line["f"] for line in self.published if line["e"] == "start")
        floor = self.tracker.seen.floor if self.tracker.seen else first
        kept = {row.id for row in self.truth[self.forgotten :] if row.id >= max(first, floor)}
        assert kept <= self.ids
        position = self.tracker.position.seen
        assert position is not None
        assert position.next == self.next_id
        assert len({line["f"] for line in self.published if line["e"] == "start"}) == 1
        if self.most == MOST_HOLES:
            assert self.open_gaps_that_miss_nothing() == []

    def open_gaps_that_miss_nothing(self) -> list[tuple[int, int]]:
        """Gaps that should be filled. One stays whose trades were published after the position was written down and
        before the kill, and that REST has no more: nobody knows then that they were.
        """
        marks = [line for line in self.published if line["e"] in {GAP, FILLED}]
        gaps, filled = ({(line["f"], line["l"]) for line in marks if line["e"] == kind} for kind in (GAP, FILLED))
        missing = {made.id for made in self.truth} - self.ids | {row.id for row in self.truth[: self.forgotten]}
        return [(first, last) for first, last in gaps - filled if not missing & {*range(first, last + 1)}]


TestWorld = World.TestCase
TestWorld.settings = settings(max_examples=100, stateful_step_count=30, deadline=None)


def test_the_floor_rises_when_there_are_too_many_holes() -> None:
    seen = Seen(0, 0, most=2)
    for id in (2, 4, 6):
        assert seen.add(id, id)
    assert [(hole.first, hole.last) for hole in seen.holes] == [(2 + 1, 3), (5, 5)]
    assert seen.floor == 2
    assert seen.add(0, 0), "below the floor nothing is known, so nothing is a duplicate"
    assert not seen.add(4, 4)
    assert not seen.add(-1, 0), "nothing before the first one is followed"
