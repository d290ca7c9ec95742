"""Topics, subscriptions and snapshots without gRPC; both clocks are the test's."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.protobuf.field_mask_pb2 import FieldMask
from google.pubsub_v1 import types

from coinbeam.errors import TerminalError
from local.pubsub.broker import Broker, Subscription
from local.pubsub.refusal import RefusedError
from tests.local.pubsub.conftest import PROJECT

TOPIC, NAME, SNAPSHOT = f"{PROJECT}/topics/trades", f"{PROJECT}/subscriptions/windows", f"{PROJECT}/snapshots/before"
START = datetime(2026, 11, 28, tzinfo=UTC)
LARGE = 1 << 30

_Topic, _Subscription = types.Topic.pb(), types.Subscription.pb()
_Message, _SnapshotRequest = types.PubsubMessage.pb(), types.CreateSnapshotRequest.pb()


@dataclass
class Bench:
    """A broker that can be started anew, and its time."""

    folder: Path
    now: datetime = START
    broker: Broker = field(init=False)

    def __post_init__(self) -> None:
        self.start()

    def start(self) -> None:
        """Start on what is in the folder; leases are seconds of the same time."""
        self.broker = Broker(
            self.folder, clock=lambda: self.now, monotonic=lambda: self.now.timestamp(), segment_bytes=200
        )

    async def restart(self) -> None:
        """End in order, and start."""
        await self.broker.close()
        self.start()

    def later(self, **parts: float) -> None:
        """Let time pass."""
        self.now += timedelta(**parts)

    async def subscribe(self, name: str = NAME, **fields: Any) -> Subscription:
        """A subscription of the topic, which is made when it is missing."""
        if TOPIC not in self.broker.topics:
            await self.broker.create_topic(_Topic(name=TOPIC))
        await self.broker.create_subscription(_Subscription(name=name, topic=TOPIC, **fields))
        return self.broker.subscription(name)

    async def publish(self, *bodies: str) -> None:
        """Publish each by itself, a second apart."""
        for body in bodies:
            await self.broker.publish(TOPIC, [_Message(data=body.encode())])
            self.later(seconds=1)

    def take(self, name: str = NAME, *, ack: bool = True) -> list[str]:
        """What a subscription delivers."""
        held = self.broker.subscription(name)
        taken = held.backlog.take(1_000, 60, LARGE)
        if ack:
            held.backlog.acknowledge([number for number, _ in taken])
        return [_Message.FromString(body).data.decode() for _, body in taken]

    async def seek(self, moment: datetime) -> None:
        """Seek the subscription by time."""
        await self.broker.seek_time(NAME, round(moment.timestamp() * 1_000_000))

    def segments(self) -> int:
        """Files of messages."""
        return len(list(self.folder.glob("messages/*/*.log")))


@contextmanager
def refused(code: grpc.StatusCode, match: str | None = None) -> Iterator[None]:
    """The call within is refused."""
    with pytest.raises(RefusedError, match=match) as caught:
        yield
    assert caught.value.code is code


def held(test: Callable[[Bench], Awaitable[None]]) -> Callable[[Path], None]:
    """A test that runs on a loop, with a broker of its own."""

    def run(tmp_path: Path) -> None:
        async def on_loop() -> None:
            bench = Bench(tmp_path)
            await test(bench)
            await bench.broker.close()

        asyncio.run(on_loop())

    run.__doc__ = test.__doc__
    return run


@held
async def test_a_subscription_that_retains_delivers_again_from_any_time(bench: Bench) -> None:
    await bench.subscribe(retain_acked_messages=True)
    await bench.publish("a", "b", "c")
    assert bench.take() == ["a", "b", "c"]
    await bench.seek(START + timedelta(seconds=1))
    assert bench.take() == ["b", "c"]
    await bench.seek(START + timedelta(days=1))
    assert bench.take() == []
    await bench.seek(START - timedelta(days=1))
    assert bench.take(ack=False) == ["a", "b", "c"]


@held
async def test_one_that_does_not_retain_only_leaves_out(bench: Bench) -> None:
    await bench.subscribe()
    await bench.publish("a")
    assert bench.take() == ["a"]
    await bench.publish("b", "c")
    await bench.seek(START - timedelta(days=1))
    assert bench.take(ack=False) == ["b", "c"]
    await bench.seek(START + timedelta(seconds=2))
    assert bench.take() == ["c"]


@held
async def test_a_topic_that_retains_gives_back_what_was_there_before_the_subscription(bench: Bench) -> None:
    await bench.broker.create_topic(_Topic(name=TOPIC, message_retention_duration={"seconds": 3_600}))
    await bench.publish("early")
    await bench.subscribe()
    await bench.publish("late")
    assert bench.take() == ["late"]
    await bench.seek(START)
    assert bench.take() == ["early", "late"]


@held
async def test_seeking_does_not_bring_what_was_there_before_the_subscription(bench: Bench) -> None:
    await bench.subscribe(f"{NAME}-first")
    await bench.publish("early")
    await bench.subscribe(retain_acked_messages=True)
    await bench.publish("late")
    await bench.seek(START)
    assert bench.take() == ["late"]


@held
async def test_what_was_acknowledged_and_where_it_was_sought_outlive_the_process(bench: Bench) -> None:
    await bench.subscribe(retain_acked_messages=True)
    await bench.publish("a", "b", "c")
    number, _ = bench.broker.subscription(NAME).backlog.take(2, 60, LARGE)[1]
    old = bench.broker.subscription(NAME).backlog.ack_id(0)
    bench.broker.subscription(NAME).backlog.acknowledge([number])
    await bench.restart()
    assert bench.broker.subscription(NAME).backlog.numbers_of([old]) == [0], "an acknowledgement after a kill counts"
    assert bench.take() == ["a", "c"]
    await bench.seek(START + timedelta(seconds=2))
    await bench.restart()
    backlog = bench.broker.subscription(NAME).backlog
    assert backlog.numbers_of([old]) == [], "an acknowledgement from before the seek"
    assert bench.take() == ["c"]


@held
async def test_what_nobody_keeps_is_deleted_and_what_somebody_does_is_not(bench: Bench) -> None:
    await bench.subscribe()
    await bench.subscribe(f"{NAME}-kept", retain_acked_messages=True, message_retention_duration={"seconds": 600})
    await bench.publish(*(f"{number}" * 60 for number in range(9)))
    for name in (NAME, f"{NAME}-kept"):
        assert len(bench.take(name)) == 9
    await bench.broker.tidy()
    assert bench.segments() > 4
    bench.later(seconds=660)
    await bench.broker.tidy()
    assert bench.segments() == 1
    await bench.publish("next")
    await bench.restart()
    assert bench.take() == bench.take(f"{NAME}-kept") == ["next"]


@held
async def test_what_was_never_acknowledged_is_kept_for_its_time_and_no_longer(bench: Bench) -> None:
    await bench.subscribe(message_retention_duration={"seconds": 600})
    await bench.publish(*("x" * 100 for _ in range(5)))
    bench.later(seconds=500)
    await bench.broker.tidy()
    assert len(bench.take(ack=False)) == 5
    bench.later(seconds=200)
    await bench.broker.tidy()
    assert (bench.take(), bench.segments()) == ([], 1)


@held
async def test_a_snapshot_keeps_what_was_open_though_all_acknowledge_it(bench: Bench) -> None:
    await bench.subscribe()
    await bench.publish("a" * 100, "b" * 100, "c" * 100)
    backlog = bench.broker.subscription(NAME).backlog
    [(number, _)] = backlog.take(1, 60, LARGE)
    backlog.acknowledge([number])
    made = await bench.broker.create_snapshot(_SnapshotRequest(name=SNAPSHOT, subscription=NAME))
    assert made.expire_time.ToDatetime(UTC) == START + timedelta(seconds=1, days=7), "a week after its oldest message"
    bench.take()
    await bench.broker.tidy()
    await bench.restart()
    await bench.subscribe(f"{NAME}-other")
    await bench.broker.seek_snapshot(f"{NAME}-other", SNAPSHOT)
    assert [body[0] for body in bench.take(f"{NAME}-other")] == ["b", "c"]
    bench.later(days=8)
    await bench.broker.tidy()
    assert bench.broker.snapshots == {}


@held
async def test_a_state_that_is_older_than_the_messages_asks_for_none_that_are_gone(bench: Bench) -> None:
    """So it is after a kill: what was acknowledged last is not saved, and its messages may be deleted already."""
    await bench.subscribe()
    await bench.publish("a" * 100, "b" * 100, "c" * 100)
    await bench.broker.create_snapshot(_SnapshotRequest(name=SNAPSHOT, subscription=NAME))
    before = (bench.folder / "state.json").read_bytes()
    await bench.broker.delete_snapshot(SNAPSHOT)
    bench.take()
    await bench.broker.tidy()
    await bench.broker.close()
    (bench.folder / "state.json").write_bytes(before)
    bench.start()
    assert bench.take() == ["c" * 100], "it lies in the last segment"
    await bench.broker.seek_snapshot(NAME, SNAPSHOT)
    assert bench.take() == ["c" * 100]
    await bench.publish("d")
    assert bench.take() == ["d"]


@held
async def test_snapshots_are_refused_where_they_make_no_sense(bench: Bench) -> None:
    await bench.subscribe(message_retention_duration={"seconds": 8 * 86_400})
    request = _SnapshotRequest(name=SNAPSHOT, subscription=NAME)
    with refused(grpc.StatusCode.NOT_FOUND):
        await bench.broker.create_snapshot(_SnapshotRequest(name=SNAPSHOT, subscription=f"{NAME}-none"))
    await bench.publish("old")
    bench.later(days=6, hours=23, minutes=30)
    with refused(grpc.StatusCode.FAILED_PRECONDITION, "within the hour"):
        await bench.broker.create_snapshot(request)
    bench.take()
    await bench.broker.create_snapshot(request)
    with refused(grpc.StatusCode.ALREADY_EXISTS):
        await bench.broker.create_snapshot(request)
    other = f"{PROJECT}/topics/other"
    await bench.broker.create_topic(_Topic(name=other))
    await bench.broker.create_subscription(_Subscription(name=f"{NAME}-other", topic=other))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "another topic"):
        await bench.broker.seek_snapshot(f"{NAME}-other", SNAPSHOT)


@held
async def test_subscriptions_of_a_deleted_topic_deliver_what_they_have(bench: Bench) -> None:
    await bench.subscribe()
    await bench.publish("a")
    await bench.broker.delete_topic(TOPIC)
    await bench.restart()
    assert bench.broker.subscription(NAME).config.topic == "_deleted-topic_"
    await bench.subscribe(f"{NAME}-new")
    await bench.publish("b")
    assert (bench.take(), bench.take(f"{NAME}-new")) == (["a"], ["b"]), "the new topic of that name is another one"
    await bench.broker.delete_subscription(NAME)
    assert bench.segments() == 1


@held
async def test_a_subscription_made_again_under_its_name_knows_nothing_of_the_first(bench: Bench) -> None:
    first = await bench.subscribe()
    await bench.publish("a")
    [(number, _)] = first.backlog.take(1, 60, LARGE)
    old = first.backlog.ack_id(number)
    await bench.broker.delete_subscription(NAME)
    again = await bench.subscribe()
    assert again.backlog.numbers_of([old]) == []
    assert bench.take() == []


@held
async def test_a_clock_that_is_set_back_leaves_times_in_order(bench: Bench) -> None:
    await bench.subscribe(retain_acked_messages=True)
    await bench.publish("a", "b")
    bench.later(seconds=-60)
    await bench.publish("c")
    bench.take()
    await bench.seek(START + timedelta(seconds=1))
    assert bench.take() == ["b", "c"]


@held
async def test_a_full_disk_keeps_the_old_state(bench: Bench) -> None:
    await bench.subscribe()
    await bench.publish("a", "b")
    [(number, _)] = bench.broker.subscription(NAME).backlog.take(1, 60, LARGE)
    bench.broker.subscription(NAME).backlog.acknowledge([number])
    (bench.folder / "state.draft").mkdir()
    with pytest.raises(OSError, match="directory"):
        await bench.broker.save()
    assert bench.broker.is_dirty, "it is tried again"
    (bench.folder / "state.draft").rmdir()
    await bench.broker.save()
    assert not bench.broker.is_dirty
    await bench.restart()
    assert bench.take() == ["b"]


@held
async def test_what_a_full_disk_could_not_take_was_never_made(bench: Bench) -> None:
    """Else messages would be taken for a topic that is gone after a kill, and they with it."""
    (bench.folder / "state.draft").mkdir()
    with pytest.raises(OSError, match="directory"):
        await bench.broker.create_topic(_Topic(name=TOPIC))
    with refused(grpc.StatusCode.NOT_FOUND):
        await bench.publish("a")
    (bench.folder / "state.draft").rmdir()
    await bench.subscribe()
    (bench.folder / "state.draft").mkdir()
    with pytest.raises(OSError, match="directory"):
        await bench.subscribe(f"{NAME}-other")
    with pytest.raises(OSError, match="directory"):
        await bench.broker.create_snapshot(_SnapshotRequest(name=SNAPSHOT, subscription=NAME))
    assert (list(bench.broker.subscriptions), bench.broker.snapshots) == ([NAME], {})
    (bench.folder / "state.draft").rmdir()


@held
async def test_topics_that_are_deleted_together_leave_nothing(bench: Bench) -> None:
    names = [f"{TOPIC}-{number}" for number in range(4)]
    for name in names:
        await bench.broker.create_topic(_Topic(name=name))
    await asyncio.gather(*(bench.broker.delete_topic(name) for name in names))
    assert bench.segments() == 0


@held
async def test_a_second_broker_stays_out(bench: Bench) -> None:
    with pytest.raises(TerminalError, match="Another broker works in"):
        Broker(bench.folder)


UNBUILT: dict[str, dict[str, Any]] = {
    "ordered delivery": {"enable_message_ordering": True},
    "exactly-once delivery": {"enable_exactly_once_delivery": True},
    "push": {"push_config": {"push_endpoint": "https://example.com"}},
    "rows of BigQuery": {"bigquery_config": {"table": "a.b.c"}},
    "dead letters": {"dead_letter_policy": {"dead_letter_topic": TOPIC}},
    "back-off": {"retry_policy": {"minimum_backoff": {"seconds": 1}}},
    "expiry": {"expiration_policy": {"ttl": {"seconds": 86_400}}},
    "Avro": {"cloud_storage_config": {"bucket": "b", "avro_config": {}}},
}

WRONG: dict[str, dict[str, Any]] = {
    "a deadline too short": {"ack_deadline_seconds": 9},  # Google's emulator takes it, its service does not
    "a filter": {"filter": "attributes.a = "},
    "a URI for a bucket": {"cloud_storage_config": {"bucket": "gs://b"}},
    "no bucket": {"cloud_storage_config": {"filename_prefix": "a"}},
    "a folder for a file": {"cloud_storage_config": {"bucket": "b", "filename_suffix": "/"}},
    "files too often": {"cloud_storage_config": {"bucket": "b", "max_duration": {"seconds": 59}}},
    "files too seldom": {"cloud_storage_config": {"bucket": "b", "max_duration": {"seconds": 601}}},
    "files too small": {"cloud_storage_config": {"bucket": "b", "max_bytes": 999}},
    "files of too few messages": {"cloud_storage_config": {"bucket": "b", "max_messages": 999}},
    "files longer than leases": {
        "cloud_storage_config": {"bucket": "b", "max_duration": {"seconds": 120}},
        "ack_deadline_seconds": 60,
    },
}


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        *(pytest.param(one, grpc.StatusCode.UNIMPLEMENTED, id=name) for name, one in UNBUILT.items()),
        *(pytest.param(one, grpc.StatusCode.INVALID_ARGUMENT, id=name) for name, one in WRONG.items()),
    ],
)
def test_what_a_subscription_may_not_ask_for_is_refused(
    tmp_path: Path, fields: dict[str, Any], code: grpc.StatusCode
) -> None:
    @held
    async def subscribe(bench: Bench) -> None:
        with refused(code):
            await bench.subscribe(**fields)
        assert bench.broker.subscriptions == {}

    subscribe(tmp_path)


@pytest.mark.parametrize(
    "name", ["trades", "projects/p/topics/ab", "projects/p/topics/goog-x", "projects/p/subscriptions/abc", "topics/abc"]
)
def test_what_is_no_name_is_refused(tmp_path: Path, name: str) -> None:
    @held
    async def create(bench: Bench) -> None:
        with refused(grpc.StatusCode.INVALID_ARGUMENT, "Write projects/PROJECT"):
            await bench.broker.create_topic(_Topic(name=name))
        with refused(grpc.StatusCode.INVALID_ARGUMENT):
            bench.broker.topic(name)

    create(tmp_path)


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param([], id="none"),
        pytest.param([_Message(data=b"x")] * 1_001, id="too many"),
        pytest.param([_Message()], id="an empty one"),
        pytest.param([_Message(data=b"x" * 5_000_001)] * 2, id="too large together"),
        pytest.param([_Message(attributes={f"k{n}": "v" * 10 for n in range(101)})], id="too many attributes"),
        pytest.param([_Message(attributes={"k" * 257: "v"})], id="a long key"),
        pytest.param([_Message(attributes={"k": "é" * 513})], id="a long value"),
    ],
)
def test_what_may_not_be_published_is_refused_as_a_whole(tmp_path: Path, messages: list[Any]) -> None:
    @held
    async def publish(bench: Bench) -> None:
        await bench.subscribe()
        with refused(grpc.StatusCode.INVALID_ARGUMENT):
            await bench.broker.publish(TOPIC, messages)
        await bench.publish("good")
        assert bench.take() == ["good"]

    publish(tmp_path)


@held
async def test_the_largest_message_passes(bench: Bench) -> None:
    await bench.subscribe()
    await bench.publish("x" * 9_999_990)
    assert [len(body) for body in bench.take()] == [9_999_990]


@held
async def test_fields_are_changed_by_a_mask(bench: Bench) -> None:
    await bench.subscribe(retain_acked_messages=True, labels={"a": "b"})
    change = _Subscription(name=NAME, ack_deadline_seconds=30, filter="attributes:a")
    update = bench.broker.update_subscription
    changed = await update(change, FieldMask(paths=["ack_deadline_seconds", "retain_acked_messages", "labels"]))
    assert (changed.ack_deadline_seconds, changed.retain_acked_messages, dict(changed.labels)) == (30, False, {})
    changed = await update(change, FieldMask(paths=["message_retention_duration"]))
    assert changed.message_retention_duration.seconds == 7 * 86_400, "left out, it is the default again"
    for paths in ([], ["filter"], ["topic"], ["nothing"], ["ack_deadline_seconds", "name"]):
        with refused(grpc.StatusCode.INVALID_ARGUMENT):
            await update(change, FieldMask(paths=paths))
    with refused(grpc.StatusCode.INVALID_ARGUMENT, "begin or cease"):
        change.cloud_storage_config.bucket, change.ack_deadline_seconds = "b", 600
        await update(change, FieldMask(paths=["cloud_storage_config", "ack_deadline_seconds"]))
    topic = _Topic(name=TOPIC, message_retention_duration={"seconds": 600})
    assert (
        await bench.broker.update_topic(topic, FieldMask(paths=["message_retention_duration"]))
    ).message_retention_duration.seconds == 600
