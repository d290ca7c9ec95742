"""The process: it keeps what it took when it is killed, and ends when it is told to."""

import resource
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest
from google.api_core import exceptions
from google.cloud import pubsub_v1
from google.protobuf.timestamp_pb2 import Timestamp
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.types import PubsubMessage, StreamingPullRequest

from coinbeam.settings import ROOT
from local.pubsub.broker import SAVE_SECONDS
from tests.local.pubsub.conftest import PROJECT, Server, until
from tests.local.pubsub.test_contract import Bench, leased, make_bench

pytestmark = [pytest.mark.timeout(120), pytest.mark.filterwarnings("ignore:The return_immediately flag")]


def everything(bench: Bench, count: int) -> list[str]:
    """The ids of all that the subscription keeps, in order."""
    bench.subscriber.seek(request={"subscription": bench.subscription, "time": Timestamp(seconds=1)})
    found: list[str] = []
    for _ in until(20):
        request = {"subscription": bench.subscription, "max_messages": 1_000}
        found += [
            one.message.message_id for one in bench.subscriber.pull(request=request, timeout=10).received_messages
        ]
        if len(found) >= count:
            return found
    raise AssertionError


def test_what_was_answered_survives_kills_under_load(broker: Server) -> None:
    """Whatever a publisher was told is safe is delivered afterwards, once and in order."""
    bench = make_bench(broker, retain_acked_messages=True)
    answered: list[str] = []

    def publish() -> None:
        messages = [PubsubMessage(data=b"x" * 500)] * 20
        try:
            while True:
                sent = PublisherClient.publish(
                    bench.publisher, topic=bench.topic, messages=messages, timeout=10, retry=None
                )
                answered.extend(sent.message_ids)
        except exceptions.GoogleAPICallError:
            return

    for _ in range(2):
        publishers = [threading.Thread(target=publish) for _ in range(3)]
        for publisher in publishers:
            publisher.start()
        time.sleep(0.3)
        broker.kill()
        for publisher in publishers:
            publisher.join()
        broker.start()
    assert len(answered) > 100
    found = everything(bench, len(answered))
    assert len(set(found)) == len(found)
    assert found == sorted(found, key=int)
    assert set(answered) <= set(found)


def test_a_full_disk_refuses_publishes_and_costs_nothing_else(broker: Server) -> None:
    """A file that may not grow stands for the disk: what was answered is there, what was refused is not."""
    bench = make_bench(broker, retain_acked_messages=True)
    messages = [PubsubMessage(data=b"x" * 10_000)] * 3
    answered: list[str] = []

    def publish(times: int = 1) -> None:
        for _ in range(times):
            sent = PublisherClient.publish(
                bench.publisher, topic=bench.topic, messages=messages, timeout=10, retry=None
            )
            answered.extend(sent.message_ids)

    broker.limit_files(100_000)
    for _ in range(2):
        with pytest.raises(exceptions.ServiceUnavailable, match="could not be written"):
            publish(10)
    broker.limit_files(resource.RLIM_INFINITY)
    publish()
    broker.begin_again()
    publish()
    assert everything(bench, len(answered)) == answered == [str(number) for number in range(len(answered))]


def test_acknowledgements_outlive_a_kill_but_for_the_last_moment_and_an_orderly_end_wholly(broker: Server) -> None:
    bench = make_bench(broker)
    bench.publish(b"a", b"b")
    assert bench.pull(1) == [b"a"]
    time.sleep(2 * SAVE_SECONDS)
    broker.begin_again()
    assert bench.pull() == [b"b"]
    assert broker.end() == 0
    broker.start()
    assert bench.pull() == []


def test_a_port_or_a_folder_in_use_is_said(shared: Server, tmp_path: Path) -> None:
    port = str(shared.port)
    command = [sys.executable, "-m", "local.pubsub", "--port", port, "--data-dir", str(tmp_path / "new")]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert f"Port {port} of 127.0.0.1 cannot be used. Stop the other process" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_pull_of_an_empty_subscription_waits_a_moment_and_answers_nothing(shared: Server) -> None:
    """So that Beam's reader, whose pull has a deadline of 30 s, goes on with its timers."""
    bench = make_bench(shared)
    began = time.monotonic()
    assert not bench.subscriber.pull(subscription=bench.subscription, max_messages=10, timeout=30).received_messages
    assert 0.5 < time.monotonic() - began < 10


def test_beams_reader_gets_what_comes_while_it_waits(shared: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    """The calls of ReadFromPubSub on one machine: a client by the environment, a pull of ten, an acknowledgement."""
    bench = make_bench(shared)
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", f"127.0.0.1:{shared.port}")
    publishing = threading.Timer(0.2, lambda: bench.publish(b"a", event_time="1780000000000"))
    publishing.start()
    with pubsub_v1.SubscriberClient() as client:
        answer = client.pull(subscription=bench.subscription, max_messages=10, timeout=30)
        client.acknowledge(subscription=bench.subscription, ack_ids=[one.ack_id for one in answer.received_messages])
    publishing.join()
    [got] = answer.received_messages
    assert (got.message.data, dict(got.message.attributes)) == (b"a", {"event_time": "1780000000000"})
    assert bench.pull() == []


@pytest.mark.parametrize("bound", [{"max_outstanding_messages": 5}, {"max_outstanding_bytes": 5_000}])
def test_a_streaming_pull_sends_no_more_than_its_client_takes(shared: Server, bound: dict[str, int]) -> None:
    bench = make_bench(shared)
    bench.publish(*(b"%1000d" % number for number in range(20)))
    more = threading.Event()

    def requests() -> Any:
        yield StreamingPullRequest(subscription=bench.subscription, stream_ack_deadline_seconds=10, **bound)
        assert more.wait(20)
        yield StreamingPullRequest(ack_ids=ids[:2], modify_deadline_ack_ids=ids[2:3], modify_deadline_seconds=[0])
        more.clear()
        more.wait(20)

    def receive(count: int) -> list[int]:
        got: list[int] = []
        while len(got) < count:
            for one in next(answers).received_messages:
                ids.append(one.ack_id)
                got.append(int(one.message.data))
        return got

    ids: list[str] = []
    answers = iter(bench.subscriber.streaming_pull(requests(), timeout=60))
    assert receive(5) == [0, 1, 2, 3, 4]
    more.set()
    assert receive(3) == [2, 5, 6], "what was given back, and no more than has room"
    more.set()
    answers.cancel()


@pytest.mark.parametrize(
    ("first", "then", "error"),
    [
        ({"stream_ack_deadline_seconds": 5}, {}, exceptions.InvalidArgument),
        ({}, {"ack_ids": ["x"]}, exceptions.InvalidArgument),
        ({}, {"modify_deadline_ack_ids": ["x"]}, exceptions.InvalidArgument),
        ({"subscription": f"{PROJECT}/subscriptions/none"}, {}, exceptions.NotFound),
    ],
    ids=["a short deadline", "no acknowledgement id", "an id without a deadline", "no subscription"],
)
def test_a_streaming_pull_that_asks_wrongly_ends(
    shared: Server, first: dict[str, Any], then: dict[str, Any], error: type[Exception]
) -> None:
    bench = make_bench(shared)
    asked = {"subscription": bench.subscription, "stream_ack_deadline_seconds": 10} | first
    answers = bench.subscriber.streaming_pull(
        iter([StreamingPullRequest(asked), StreamingPullRequest(then)]), timeout=20
    )
    with pytest.raises(error):
        next(iter(answers))


def test_a_streaming_pull_ends_when_its_subscription_is_deleted(shared: Server) -> None:
    bench = make_bench(shared)
    ended = threading.Event()

    def requests() -> Any:
        yield StreamingPullRequest(subscription=bench.subscription, stream_ack_deadline_seconds=10)
        ended.wait(20)

    answers = bench.subscriber.streaming_pull(requests(), timeout=60)
    bench.publish(b"a")
    assert len(next(iter(answers)).received_messages) == 1
    bench.subscriber.delete_subscription(subscription=bench.subscription)
    with pytest.raises(exceptions.NotFound):
        next(iter(answers))
    ended.set()


def test_a_filter_lets_through_what_it_says(shared: Server) -> None:
    bench = make_bench(shared, filter="attributes:symbol")
    bench.publish(b"a", symbol="BTCUSDT")
    bench.publish(b"b", kind="heartbeat")
    bench.publish(b"c", symbol="ETHUSDT")
    assert bench.gather(2) == [b"a", b"c"]
    with pytest.raises(exceptions.InvalidArgument, match="The filter is wrong"):
        make_bench(shared, filter="attributes.a = ")


def test_lists_come_in_pages(shared: Server) -> None:
    bench = make_bench(shared)
    topics = [f"{bench.topic}-{number}" for number in range(3)]
    for topic in topics:
        bench.publisher.create_topic(name=topic)
    pages = bench.publisher.list_topics(request={"project": PROJECT, "page_size": 2}).pages
    sizes, found = zip(*((len(page.topics), [one.name for one in page.topics]) for page in pages), strict=True)
    assert max(sizes) == 2
    assert set(topics) <= {name for names in found for name in names}


def test_so_many_messages_and_bytes_are_published_at_once_and_no_more(shared: Server) -> None:
    bench = make_bench(shared)
    assert len(bench.publish(*(b"x" for _ in range(1_000)))) == 1_000
    for too_much in ([b"x"] * 1_001, [b"x" * 10_000_001], [b"x" * 5_000_001] * 2, [b""]):
        with pytest.raises(exceptions.InvalidArgument):
            bench.publish(*too_much)


def test_an_answer_is_no_larger_than_a_client_takes_by_itself(shared: Server) -> None:
    """4 MiB is what gRPC takes when nothing else is said, and Google's client says nothing to an emulator."""
    bench = make_bench(shared)
    bench.publish(*(b"x" * 4_160 for _ in range(1_000)))
    assert len(bench.pull(1_000) + bench.pull(1_000)) == 1_000


def test_what_was_given_back_comes_before_what_was_never_sent_in_the_order_of_publishing(shared: Server) -> None:
    bench = make_bench(shared)
    bench.publish(*(b"%d" % number for number in range(6)))
    modify = bench.subscriber.modify_ack_deadline
    for ack_id in reversed(leased(bench, 3)):
        modify(subscription=bench.subscription, ack_ids=[ack_id], ack_deadline_seconds=0)
    assert bench.gather(6) == [b"%d" % number for number in range(6)]


def test_what_is_not_built_is_refused_by_name(shared: Server) -> None:
    with pytest.raises(exceptions.MethodNotImplemented, match="has no enable_message_ordering"):
        make_bench(shared, enable_message_ordering=True)
    bench = make_bench(shared)
    with pytest.raises(exceptions.MethodNotImplemented):
        bench.publisher.detach_subscription(request={"subscription": bench.subscription}, timeout=10)


def test_it_listens_on_loopback_only(shared: Server) -> None:
    psutil = pytest.importorskip("psutil")
    listening = [one for one in psutil.net_connections("tcp") if one.laddr and one.laddr.port == shared.port]
    found = {one.laddr.ip.removeprefix("::ffff:") for one in listening if one.status == psutil.CONN_LISTEN}
    assert found == {"127.0.0.1"}
