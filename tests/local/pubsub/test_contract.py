"""What a client may rely on: the same suite for our broker and, where it is on the machine, Google's emulator."""

import threading
import time
import uuid
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from google.api_core import exceptions
from google.auth.credentials import AnonymousCredentials
from google.cloud import pubsub_v1
from google.protobuf.timestamp_pb2 import Timestamp
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcTransport
from google.pubsub_v1.types import PubsubMessage, StreamingPullRequest

from tests.local.pubsub.conftest import PROJECT, Server, until

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore:The return_immediately flag")]


@dataclass
class Bench:
    """A topic with a subscription, and the clients to use them."""

    publisher: pubsub_v1.PublisherClient
    subscriber: pubsub_v1.SubscriberClient
    topic: str
    subscription: str

    def publish(self, *bodies: bytes, **attributes: str) -> list[str]:
        """Publish messages in one request; their ids."""
        messages = [PubsubMessage(data=body, attributes=attributes) for body in bodies]
        sent = PublisherClient.publish(self.publisher, topic=self.topic, messages=messages, timeout=10)
        return list(sent.message_ids)

    def pull(self, most: int = 100, *, ack: bool = True) -> list[bytes]:
        """Pull once; the bodies, in order."""
        request = {"subscription": self.subscription, "max_messages": most, "return_immediately": True}
        got = self.subscriber.pull(request=request, timeout=10).received_messages
        if ack and got:
            self.subscriber.acknowledge(subscription=self.subscription, ack_ids=[one.ack_id for one in got])
        return [one.message.data for one in got]

    def gather(self, count: int) -> list[bytes]:
        """Pull until so many messages came."""
        found: list[bytes] = []
        for _ in until(20):
            found += self.pull()
            if len(found) >= count:
                break
        return found


@pytest.fixture
def bench(either: Server) -> Bench:
    """A new topic and subscription on each of the two."""
    return make_bench(either)


def make_bench(server: Server, **config: Any) -> Bench:
    """A new topic with a subscription."""
    publisher, subscriber = server.clients()
    name = uuid.uuid4().hex[:8]
    topic, subscription = f"{PROJECT}/topics/t{name}", f"{PROJECT}/subscriptions/s{name}"
    publisher.create_topic(name=topic)
    subscriber.create_subscription(request={"name": subscription, "topic": topic, **config})
    return Bench(publisher, subscriber, topic, subscription)


def test_what_is_published_is_delivered_with_its_attributes(bench: Bench) -> None:
    before = datetime.now(UTC)
    [name] = bench.publish(b"a", symbol="BTCUSDT")
    [got] = bench.subscriber.pull(subscription=bench.subscription, max_messages=5, timeout=10).received_messages
    assert (got.message.data, dict(got.message.attributes), got.message.message_id) == (
        b"a",
        {"symbol": "BTCUSDT"},
        name,
    )
    assert abs((got.message.publish_time - before).total_seconds()) < 60


def test_messages_come_in_order_and_once_when_acknowledged(bench: Bench) -> None:
    bodies = [b"%d" % n for n in range(50)]
    bench.publish(*bodies)
    assert sorted(bench.gather(50), key=int) == bodies
    assert bench.pull() == []


def test_a_message_that_is_given_back_comes_again(bench: Bench) -> None:
    bench.publish(b"a")
    [got] = bench.subscriber.pull(subscription=bench.subscription, max_messages=1, timeout=10).received_messages
    bench.subscriber.modify_ack_deadline(subscription=bench.subscription, ack_ids=[got.ack_id], ack_deadline_seconds=0)
    assert bench.gather(1) == [b"a"]


def test_a_leased_message_is_not_delivered_to_another(bench: Bench) -> None:
    bench.publish(b"a", b"b")
    first = bench.pull(1, ack=False)
    assert first + bench.pull(5, ack=False) == [b"a", b"b"]
    assert bench.pull() == []


def test_each_subscription_gets_everything(bench: Bench) -> None:
    second = f"{bench.subscription}x"
    bench.subscriber.create_subscription(name=second, topic=bench.topic)
    bench.publish(b"a")
    other = Bench(bench.publisher, bench.subscriber, bench.topic, second)
    assert bench.gather(1) == other.gather(1) == [b"a"]


def test_what_was_published_before_a_subscription_is_not_for_it(bench: Bench) -> None:
    bench.publish(b"early")
    late = Bench(bench.publisher, bench.subscriber, bench.topic, f"{bench.subscription}x")
    late.subscriber.create_subscription(name=late.subscription, topic=late.topic)
    bench.publish(b"late")
    assert late.gather(1) == [b"late"]


def test_streaming_pull_hands_out_and_takes_acknowledgements(bench: Bench) -> None:
    got, enough = list[bytes](), threading.Event()

    def take(message: Any) -> None:
        got.append(message.data)
        message.ack()
        if len(got) == 300:
            enough.set()

    future = bench.subscriber.subscribe(bench.subscription, take)
    bodies = [b"%d" % n for n in range(300)]
    for first in range(0, 300, 100):
        bench.publish(*bodies[first : first + 100])
    try:
        assert enough.wait(20)
    finally:
        future.cancel()
        future.result(timeout=20)
    assert sorted(got, key=int) == bodies
    for _ in until(20):
        if bench.pull() == []:
            break


def test_seeking_back_delivers_what_was_acknowledged(either: Server) -> None:
    bench = make_bench(either, retain_acked_messages=True)
    bench.publish(b"a", b"b")
    first = bench.subscriber.pull(subscription=bench.subscription, max_messages=1).received_messages[0]
    began = first.message.publish_time
    bench.subscriber.acknowledge(subscription=bench.subscription, ack_ids=[first.ack_id])
    assert bench.gather(1) == [b"b"]
    stamp = Timestamp()
    stamp.FromDatetime(began)
    bench.subscriber.seek(request={"subscription": bench.subscription, "time": stamp})
    assert sorted(bench.gather(2)) == [b"a", b"b"]


def test_seeking_ahead_leaves_out_what_was_not_acknowledged(bench: Bench) -> None:
    bench.publish(b"a")
    stamp = Timestamp()
    stamp.FromSeconds(int(datetime.now(UTC).timestamp()) + 3_600)
    bench.subscriber.seek(request={"subscription": bench.subscription, "time": stamp})
    assert bench.pull() == []


def test_a_snapshot_holds_what_was_open(either: Server) -> None:
    bench = make_bench(either)
    bench.publish(b"a", b"b")
    assert bench.pull(1) == [b"a"]
    snapshot = bench.subscription.replace("/subscriptions/", "/snapshots/")
    bench.subscriber.create_snapshot(name=snapshot, subscription=bench.subscription)
    assert bench.gather(1) == [b"b"]
    bench.subscriber.seek(request={"subscription": bench.subscription, "snapshot": snapshot})
    assert b"b" in bench.gather(1)
    bench.subscriber.delete_snapshot(snapshot=snapshot)
    with pytest.raises(exceptions.NotFound):
        bench.subscriber.seek(request={"subscription": bench.subscription, "snapshot": snapshot})


def test_a_snapshot_tells_by_its_end_when_the_oldest_open_message_was_published(bench: Bench) -> None:
    bench.publish(b"a")
    assert bench.pull(1) == [b"a"]
    bench.publish(b"b")
    time.sleep(0.1)
    began = datetime.now(UTC)
    ends = list[datetime]()
    for name in ("open", "empty"):
        snapshot = bench.subscription.replace("/subscriptions/", "/snapshots/") + f"-{name}"
        ends.append(bench.subscriber.create_snapshot(name=snapshot, subscription=bench.subscription).expire_time)
        bench.pull(1)
    week = timedelta(days=7)
    assert ends[0] - week < began <= ends[1] - week


def test_what_is_not_there_is_not_found(bench: Bench) -> None:
    calls = (
        lambda: bench.publisher.get_topic(topic=f"{PROJECT}/topics/none"),
        lambda: bench.subscriber.get_subscription(subscription=f"{PROJECT}/subscriptions/none"),
        lambda: bench.subscriber.pull(subscription=f"{PROJECT}/subscriptions/none", max_messages=1, timeout=5),
        lambda: bench.subscriber.create_subscription(
            name=f"{PROJECT}/subscriptions/orphan", topic=f"{PROJECT}/topics/none"
        ),
    )
    for call in calls:
        with pytest.raises(exceptions.NotFound):
            call()


def test_what_is_there_is_not_made_again(bench: Bench) -> None:
    with pytest.raises(exceptions.AlreadyExists):
        bench.publisher.create_topic(name=bench.topic)
    with pytest.raises(exceptions.AlreadyExists):
        bench.subscriber.create_subscription(name=bench.subscription, topic=bench.topic)


def test_topics_and_subscriptions_are_listed_and_deleted(bench: Bench) -> None:
    listed = {topic.name for topic in bench.publisher.list_topics(project=PROJECT)}
    assert bench.topic in listed
    assert bench.subscription in list(bench.publisher.list_topic_subscriptions(topic=bench.topic))
    bench.publisher.delete_topic(topic=bench.topic)
    assert bench.subscriber.get_subscription(subscription=bench.subscription).topic == "_deleted-topic_"
    bench.subscriber.delete_subscription(subscription=bench.subscription)
    with pytest.raises(exceptions.NotFound):
        bench.subscriber.get_subscription(subscription=bench.subscription)


def test_a_lease_can_be_made_longer(bench: Bench) -> None:
    bench.publish(b"a")
    [got] = bench.subscriber.pull(subscription=bench.subscription, max_messages=1, timeout=10).received_messages
    bench.subscriber.modify_ack_deadline(subscription=bench.subscription, ack_ids=[got.ack_id], ack_deadline_seconds=60)
    assert bench.pull() == []


def test_a_subscription_is_changed_in_the_fields_of_the_mask_alone(bench: Bench) -> None:
    changed = {"name": bench.subscription, "topic": bench.topic, "ack_deadline_seconds": 30, "labels": {"a": "b"}}
    mask = {"paths": ["ack_deadline_seconds"]}
    bench.subscriber.update_subscription(request={"subscription": changed, "update_mask": mask})
    held = bench.subscriber.get_subscription(subscription=bench.subscription)
    assert (held.ack_deadline_seconds, dict(held.labels)) == (30, {})


def test_what_is_wrong_in_a_subscription_is_refused(bench: Bench) -> None:
    wrong: tuple[dict[str, Any], ...] = (
        {"name": "no name"},
        {"ack_deadline_seconds": 601},
        {"message_retention_duration": {"seconds": 599}},
        {"message_retention_duration": {"seconds": 31 * 86_400 + 1}},
    )
    for each in wrong:
        with pytest.raises(exceptions.InvalidArgument):
            bench.subscriber.create_subscription(
                request={"name": f"{bench.subscription}w", "topic": bench.topic, **each}, timeout=10
            )


def test_a_pull_of_no_messages_is_refused(bench: Bench) -> None:
    with pytest.raises(exceptions.InvalidArgument):
        bench.subscriber.pull(subscription=bench.subscription, max_messages=0, timeout=10)


def leased(bench: Bench, most: int = 10) -> list[str]:
    """Pull without acknowledging; the acknowledgement ids."""
    pulled = bench.subscriber.pull(subscription=bench.subscription, max_messages=most, timeout=10)
    return [one.ack_id for one in pulled.received_messages]


def test_an_acknowledgement_from_before_a_seek_does_not_count_after_it(either: Server) -> None:
    bench = make_bench(either, retain_acked_messages=True)
    bench.publish(b"a")
    old = leased(bench)
    bench.subscriber.seek(request={"subscription": bench.subscription, "time": Timestamp(seconds=1)})
    bench.subscriber.acknowledge(subscription=bench.subscription, ack_ids=old)
    assert bench.gather(1) == [b"a"]


@pytest.mark.parametrize("seconds", [0, 600])
def test_a_lease_that_ended_has_no_say_in_the_next_one(bench: Bench, seconds: int) -> None:
    """Neither gives it the message back, nor holds it for longer."""
    modify = bench.subscriber.modify_ack_deadline
    bench.publish(b"a")
    old = leased(bench)
    modify(subscription=bench.subscription, ack_ids=old, ack_deadline_seconds=0)
    new = leased(bench)
    assert len(new) == 1
    modify(subscription=bench.subscription, ack_ids=old, ack_deadline_seconds=seconds)
    assert bench.pull() == []
    modify(subscription=bench.subscription, ack_ids=new, ack_deadline_seconds=0)
    assert bench.gather(1) == [b"a"]


def test_the_largest_message_is_delivered(either: Server) -> None:
    bench = make_bench(either)
    bench.publish(b"x" * 9_999_000)
    with grpc.insecure_channel(f"127.0.0.1:{either.port}", options=[("grpc.max_receive_message_length", -1)]) as large:
        transport = SubscriberGrpcTransport(channel=large, credentials=AnonymousCredentials())  # type: ignore[no-untyped-call]
        pulled = pubsub_v1.SubscriberClient(transport=transport).pull(
            subscription=bench.subscription, max_messages=1, timeout=10
        )
    assert [len(one.message.data) for one in pulled.received_messages] == [9_999_000]


def test_a_streaming_pull_that_is_full_goes_on_when_its_client_acknowledges_in_a_call_of_its_own(bench: Bench) -> None:
    """So does Google's client: what it acknowledges does not go through the stream."""
    bench.publish(b"a", b"b")
    ended = threading.Event()

    def requests() -> Any:
        yield StreamingPullRequest(
            subscription=bench.subscription, stream_ack_deadline_seconds=60, max_outstanding_messages=1
        )
        ended.wait(20)

    answers = iter(bench.subscriber.streaming_pull(requests(), timeout=8))
    got: list[bytes] = []
    while len(got) < 2:
        for one in next(answers).received_messages:
            got.append(one.message.data)
            bench.subscriber.acknowledge(subscription=bench.subscription, ack_ids=[one.ack_id])
    assert sorted(got) == [b"a", b"b"]
    ended.set()
    answers.cancel()
