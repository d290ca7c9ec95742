"""What Google's emulator does not do: survive a kill, filter, keep within bounds, and write files."""

import asyncio
import json
import time
import urllib.request
from contextlib import suppress
from pathlib import Path

import pytest
from google.api_core import exceptions
from google.protobuf.timestamp_pb2 import Timestamp
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.types import PubsubMessage
from hypothesis import given
from hypothesis import strategies as st

from local.pubsub.broker import Broker, MessagePb, RefusedError, SubscriptionPb, TopicPb
from local.pubsub.filters import FilterError, parse
from local.pubsub.log import TopicLog
from local.pubsub.subscription import Deliveries
from tests.local.pubsub.conftest import PROJECT, Server, our_broker, until
from tests.local.pubsub.test_contract import make_bench
from tests.temporary import LocalCloud

pytestmark = pytest.mark.timeout(120)


def test_what_was_published_survives_any_kill(broker: Server) -> None:
    """Whatever was acknowledged to a publisher is delivered afterwards, once and in order."""
    bench = make_bench(broker, retain_acked_messages=True)
    published = list[str]()
    for attempt in range(3):
        for number in range(20):
            published += bench.publish(*(b"%d-%d-%d" % (attempt, number, n) for n in range(10)))
        half = bench.pull(100)
        assert half
        broker.kill()
        broker.start()
    stamp = Timestamp()
    stamp.FromSeconds(1)
    bench.subscriber.seek(request={"subscription": bench.subscription, "time": stamp})
    got = list[str]()
    for _ in until(20):
        pulled = bench.subscriber.pull(
            subscription=bench.subscription, max_messages=1_000, timeout=10
        ).received_messages
        got += [one.message.message_id for one in pulled]
        if len(got) >= 600:
            break
    assert got == published


def test_acknowledgements_outlive_an_orderly_end(broker: Server) -> None:
    bench = make_bench(broker)
    bench.publish(b"a", b"b")
    assert bench.gather(2) == [b"a", b"b"]
    assert broker.end() == 0
    broker.start()
    assert bench.pull() == []


def test_a_torn_message_at_the_end_is_cut_off_and_said(tmp_path: Path) -> None:
    server = our_broker(tmp_path)
    try:
        bench = make_bench(server)
        bench.publish(b"whole")
        server.kill()
        [segment] = (tmp_path / "data" / "messages").glob("*/*.log")
        with segment.open("ab") as file:
            file.write(segment.read_bytes()[:-3])
        server.start()
        assert "never acknowledged" in server.said
        bench.publish(b"next")
        assert bench.gather(2) == [b"whole", b"next"]
    finally:
        server.kill()


def test_a_filter_lets_through_what_it_says(shared: Server) -> None:
    bench = make_bench(shared, filter="attributes:symbol")
    bench.publish(b"a", symbol="BTCUSDT")
    bench.publish(b"b", kind="heartbeat")
    bench.publish(b"c", symbol="ETHUSDT")
    assert bench.gather(2) == [b"a", b"c"]
    with pytest.raises(exceptions.InvalidArgument, match="The filter is wrong"):
        make_bench(shared, filter="attributes.a = ")


@pytest.mark.parametrize("field", ["enable_message_ordering", "enable_exactly_once_delivery"])
def test_what_is_not_built_is_refused(shared: Server, field: str) -> None:
    with pytest.raises(exceptions.MethodNotImplemented):
        make_bench(shared, **{field: True})


@pytest.mark.cloud
def test_a_subscription_writes_files(local_cloud: LocalCloud, tmp_path: Path) -> None:
    port, bucket = local_cloud.settings.local.ports.storage, local_cloud.settings.storage.bucket
    url = f"http://127.0.0.1:{port}"
    server = our_broker(tmp_path, "--storage-url", url)
    try:
        config = {
            "bucket": bucket,
            "filename_prefix": f"landing/{tmp_path.name}/",
            "filename_datetime_format": "YYYY/MM/DD/hh_mm_ssZ",
            "max_duration": {"seconds": 1},
        }
        bench = make_bench(server, cloud_storage_config=config, filter="attributes:symbol")
        bench.publish(b'{"a":1}\n', b'{"a":2}', symbol="BTCUSDT")
        bench.publish(b"x", kind="heartbeat")
        with pytest.raises(exceptions.FailedPrecondition):
            bench.pull()
        for _ in until(20):
            listed = json.load(urllib.request.urlopen(f"{url}/storage/v1/b/{bucket}/o?prefix=landing/{tmp_path.name}"))
            if listed.get("items"):
                break
        [item] = listed["items"]
        content = urllib.request.urlopen(
            f"{url}/download/storage/v1/b/{bucket}/o/{item['name'].replace('/', '%2F')}?alt=media"
        ).read()
        assert [line for line in content.splitlines() if line] == [b'{"a":1}', b'{"a":2}']
        assert item["name"].split("/")[2:5] == time.strftime("%Y/%m/%d", time.gmtime()).split("/")
    finally:
        server.kill()


@pytest.mark.parametrize(
    ("text", "passing", "other"),
    [
        ("", {}, None),
        ("attributes:a", {"a": ""}, {"b": "1"}),
        ('attributes:"a b"', {"a b": "1"}, {"a": "1"}),
        ('attributes.a = "1"', {"a": "1"}, {"a": "2"}),
        ('attributes.a != "1"', {}, {"a": "1"}),
        ('NOT attributes.a = "1"', {"a": "2"}, {"a": "1"}),
        ("-attributes:a", {}, {"a": "1"}),
        ('hasPrefix(attributes.a, "BT")', {"a": "BTC"}, {"a": "ETH"}),
        ('hasPrefix(attributes.a, "")', {"a": ""}, {}),
        ("attributes:a AND attributes:b", {"a": "", "b": ""}, {"a": ""}),
        ('attributes:a AND (attributes.b = "1" OR attributes.b = "2")', {"a": "", "b": "2"}, {"a": "", "b": "3"}),
        ('attributes.a = "say \\"x\\""', {"a": 'say "x"'}, {"a": "say"}),
    ],
)
def test_filters_mean_what_is_documented(text: str, passing: dict[str, str], other: dict[str, str] | None) -> None:
    assert parse(text)(passing)
    assert other is None or not parse(text)(other)


@pytest.mark.parametrize(
    "text",
    [
        "attributes",
        "a = 1",
        "attributes.a",
        'attributes.a = "1',
        "attributes:a AND",
        "(attributes:a",
        "attributes:a )",
        "attributes:a AND attributes:b OR attributes:c",
        "attributes:" + "x" * 256,
        "hasPrefix(attributes.a)",
        "!",
    ],
)
def test_what_is_no_filter_is_refused(text: str) -> None:
    with pytest.raises(FilterError):
        parse(text)


@given(st.text(max_size=40))
def test_no_text_whatever_breaks_the_parser(text: str) -> None:
    with suppress(FilterError):
        parse(text)({"a": "1"})


@given(st.lists(st.tuples(st.sampled_from(["take", "ack", "nack", "wait", "publish", "restart"]), st.integers(0, 5))))
def test_nothing_is_lost_or_delivered_while_held_or_after_it_was_acknowledged(steps: list[tuple[str, int]]) -> None:
    """Any sequence of calls: a message is acknowledged, held, or comes with the next takes."""
    clock, end = [0.0], 0
    state = Deliveries(0, lambda: clock[0])
    held, acked = dict[str, int](), set[int]()
    for step, number in steps:
        if step == "publish":
            end += number
        elif step == "take":
            for ack_id, taken, _ in state.take(number, end, 10, lambda _: True):
                assert taken not in held.values()
                assert taken not in acked
                held[ack_id] = taken
        elif step == "wait":
            clock[0] += 11
            held.clear()
        elif step == "restart":
            state = Deliveries.of_json(json.loads(json.dumps(state.to_json())), lambda: clock[0])
            held.clear()
        elif held:
            ack_id = sorted(held)[number % len(held)]
            if step == "ack":
                state.acknowledge([ack_id])
                acked.add(held.pop(ack_id))
            else:
                state.modify([ack_id], 0)
                held.pop(ack_id)
    rest = {number for _, number, _ in state.take(1_000, end, 10, lambda _: True)}
    assert rest | set(held.values()) | acked == set(range(end))
    assert not rest & acked


def test_a_log_is_read_by_number_and_by_time_across_its_segments(tmp_path: Path) -> None:
    log = TopicLog(tmp_path, segment_bytes=100)
    for number in range(20):
        log.append([(number * 10, b"body %d" % number)])
    assert len(list(tmp_path.glob("*.log"))) > 3
    again = TopicLog(tmp_path, segment_bytes=100)
    assert [again.read(number) for number in range(20)] == [b"body %d" % number for number in range(20)]
    assert [again.number_at(at) for at in (-5, 0, 45, 190, 191)] == [0, 0, 5, 19, 20]
    assert again.forget(10) > 0
    assert 0 < again.first <= 10
    with pytest.raises(LookupError):
        again.read(0)
    assert again.read(10) == b"body 10"


def test_retention_deletes_what_everybody_has(tmp_path: Path) -> None:
    """A subscription that does not retain lets go of what it acknowledged; one that does keeps it for its time."""
    now = 1_000_000.0
    broker = Broker(tmp_path, now=lambda: now, segment_bytes=200)
    topic = broker.create_topic(TopicPb(name=f"{PROJECT}/topics/trades"))
    made = broker.create_subscription(SubscriptionPb(name=f"{PROJECT}/subscriptions/plain", topic=topic.name))
    keeps = SubscriptionPb(name=f"{PROJECT}/subscriptions/keeps", topic=topic.name, retain_acked_messages=True)
    keeps.message_retention_duration.seconds = 600
    broker.create_subscription(keeps)

    async def fill() -> None:
        for number in range(20):
            await broker.publish(topic.name, [MessagePb(data=b"x" * 50 + b"%d" % number)])

    asyncio.run(fill())
    for name in (made.name, keeps.name):
        broker.acknowledge(name, [ack_id for ack_id, _, _ in broker.take(name, 100)])
    broker.tidy()
    assert broker.topics[topic.name].log.first == 0
    now += 601
    broker.tidy()
    assert broker.topics[topic.name].log.first > 10
    with pytest.raises(RefusedError):
        broker.topic("none")


def test_a_message_that_nobody_could_sync_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    broker = Broker(tmp_path)
    topic = broker.create_topic(TopicPb(name=f"{PROJECT}/topics/trades"))

    def full() -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(broker.topics[topic.name].log, "sync", full)
    with pytest.raises(RefusedError, match="could not be synced"):
        asyncio.run(broker.publish(topic.name, [MessagePb(data=b"x")]))


def test_most_messages_of_a_request(shared: Server) -> None:
    bench = make_bench(shared)
    messages = [PubsubMessage(data=b"x")] * 1_001
    with pytest.raises(exceptions.InvalidArgument, match="1001 messages"):
        PublisherClient.publish(bench.publisher, topic=bench.topic, messages=messages, timeout=10)
