"""Setting the subscription back, on the local Pub/Sub."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from google.cloud import pubsub_v1
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.types import PubsubMessage

from coinbeam.feeds.trades import rewind
from coinbeam.feeds.trades.rewind import Rewind
from coinbeam.feeds.trades.topic import subscription_path, topic_path
from tests.local.pubsub.conftest import our_broker, until
from tests.temporary import temporary_settings

HOUR = timedelta(hours=1)


class Bench:
    """The topic of the settings with its subscription, which retains what was acknowledged."""

    def __init__(
        self, publisher: pubsub_v1.PublisherClient, subscriber: pubsub_v1.SubscriberClient, root: Path
    ) -> None:
        self.publisher, self.subscriber = publisher, subscriber
        self.settings = temporary_settings(root)
        self.topic = topic_path(self.settings)
        self.subscription = subscription_path(self.settings, self.settings.stream.subscription)
        publisher.create_topic(name=self.topic)
        made = {"name": self.subscription, "topic": self.topic, "retain_acked_messages": True}
        subscriber.create_subscription(request=made)

    def publish(self, body: bytes) -> None:
        PublisherClient.publish(self.publisher, topic=self.topic, messages=[PubsubMessage(data=body)], timeout=10)

    def pull(self, count: int, *, ack: str = "all") -> list[bytes]:
        """Pull so many messages, and acknowledge all, none, or only the last one."""
        got: list[Any] = []
        for _ in until(10):
            got += self.subscriber.pull(subscription=self.subscription, max_messages=9, timeout=10).received_messages
            if len(got) >= count:
                break
        acked = {"all": got, "last": got[-1:], "none": []}[ack]
        if acked:
            self.subscriber.acknowledge(subscription=self.subscription, ack_ids=[one.ack_id for one in acked])
        return [one.message.data for one in got]

    def rewind(self) -> Rewind:
        warehouse = cast(Any, SimpleNamespace(settings=self.settings))
        return Rewind(warehouse, self.subscriber)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    server = our_broker(tmp_path)
    yield Bench(*server.clients(), tmp_path / "state")
    server.kill()


def test_what_a_lagging_job_never_read_is_read_by_the_next_one(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """The fact is whole up to now, and yet an older message is open: a seek to now alone would acknowledge it."""
    bench.publish(b"never read")
    bench.publish(b"read")
    assert bench.pull(2, ack="last") == [b"never read", b"read"]
    kept = bench.rewind().keep()
    now = datetime.now(UTC)
    monkeypatch.setattr(rewind, "seek_point", lambda *_: now)
    point = bench.rewind().point(kept, ["BTCUSDT"], now)
    assert point == kept < now
    bench.rewind().seek(point)
    assert bench.pull(2) == [b"never read", b"read"], "what was read comes again, and changes nothing"


def test_what_was_read_by_windows_that_are_not_whole_is_read_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is open, so that the snapshot alone would bring nothing back."""
    bench.publish(b"of an open window")
    assert bench.pull(1) == [b"of an open window"]
    kept, now = bench.rewind().keep(), datetime.now(UTC)
    monkeypatch.setattr(rewind, "seek_point", lambda *_: now - HOUR)
    point = bench.rewind().point(kept, ["BTCUSDT"], now)
    assert point == now - HOUR
    bench.rewind().seek(point)
    assert bench.pull(1) == [b"of an open window"]


def test_a_second_attempt_keeps_the_snapshot_of_the_first_and_forgets_it_once(bench: Bench) -> None:
    bench.publish(b"a")
    first = bench.rewind().keep()
    assert bench.pull(1) == [b"a"]
    assert bench.rewind().keep() == first
    for _ in range(2):
        bench.rewind().forget()
    assert bench.rewind().keep() > first, "it is another one"
