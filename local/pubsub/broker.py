"""Topics and subscriptions of one machine: what the gRPC face asks of, and what is written to disk.

Everything runs on one event loop; only syncing and uploading happen in threads, so that neither ever holds up a
publish. What is configured, and what was acknowledged, lies beside the messages in small files that are replaced as a
whole.
"""

import asyncio
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from google.protobuf.json_format import MessageToDict, ParseDict
from google.pubsub_v1 import types

from local.pubsub.filters import Filter, FilterError, parse
from local.pubsub.log import SEGMENT_BYTES, TopicLog
from local.pubsub.subscription import Deliveries

log = logging.getLogger(__name__)

TopicPb, SubscriptionPb, MessagePb, SnapshotPb = (
    type(kind.pb(kind())) for kind in (types.Topic, types.Subscription, types.PubsubMessage, types.Snapshot)
)

WEEK = 7 * 86_400
"""Seconds that a subscription keeps messages when it does not say. Source: Subscription.message_retention_duration."""

MOST_BYTES, MOST_MESSAGES = 10_000_000, 1_000
"""Of one publish request. Source: https://cloud.google.com/pubsub/quotas#resource_limits."""

_SAVE_SECONDS = 0.1
_TIDY_SECONDS = 30.0


class RefusedError(Exception):
    """A call that cannot be done, with the code that Google answers."""

    def __init__(self, code: str, message: str) -> None:
        super().__init__(message)
        self.code, self.message = code, message


def not_found(name: str) -> RefusedError:
    """There is no such topic, subscription or snapshot."""
    return RefusedError("NOT_FOUND", f"Resource not found (resource={name.rpartition('/')[2]}).")


@dataclass
class Topic:
    """A topic, its log, and who waits for the next sync."""

    config: Any
    log: TopicLog
    waiting: list["asyncio.Future[None]"] = field(default_factory=list)
    is_syncing: bool = False


@dataclass
class Subscription:
    """A subscription, what it delivered, and the event that new messages set."""

    config: Any
    deliveries: Deliveries
    passes: Filter
    news: asyncio.Event = field(default_factory=asyncio.Event)
    is_dirty: bool = True


@dataclass
class Snapshot:
    """What a subscription had acknowledged at one moment."""

    config: Any
    topic: str
    low: int
    above: list[int]


class Broker:
    """See the module."""

    def __init__(
        self,
        folder: Path,
        *,
        now: Callable[[], float] = time.time,
        clock: Callable[[], float] = time.monotonic,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._folder, self._now, self._clock, self._segment_bytes = folder, now, clock, segment_bytes
        self.topics: dict[str, Topic] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.snapshots: dict[str, Snapshot] = {}
        for name in ("topics", "subscriptions", "acked", "snapshots"):
            (folder / name).mkdir(parents=True, exist_ok=True)
        self._load()

    # -- on disk -------------------------------------------------------------------------------------------------

    def _path(self, kind: str, name: str) -> Path:
        return self._folder / kind / f"{quote(name, safe='')}.json"

    def _load(self) -> None:
        for path in sorted((self._folder / "topics").glob("*.json")):
            config = ParseDict(json.loads(path.read_text()), TopicPb())
            self.topics[config.name] = Topic(config, self._log(config.name))
        for path in sorted((self._folder / "subscriptions").glob("*.json")):
            config = ParseDict(json.loads(path.read_text()), SubscriptionPb())
            acked = json.loads(self._path("acked", config.name).read_text())
            deliveries = Deliveries.of_json(acked, self._clock)
            self.subscriptions[config.name] = Subscription(config, deliveries, parse(config.filter))
        for path in sorted((self._folder / "snapshots").glob("*.json")):
            kept = json.loads(path.read_text())
            config = ParseDict(kept.pop("config"), SnapshotPb())
            self.snapshots[config.name] = Snapshot(config, **kept)

    def _log(self, topic: str) -> TopicLog:
        return TopicLog(self._folder / "messages" / quote(topic, safe=""), self._segment_bytes)

    def _save_acked(self, subscription: Subscription) -> None:
        replace(self._path("acked", subscription.config.name), subscription.deliveries.to_json())
        subscription.is_dirty = False

    # -- topics --------------------------------------------------------------------------------------------------

    def create_topic(self, config: Any) -> Any:
        """Make a topic.

        Raises:
            RefusedError: it exists, or asks for what is not built.
        """
        _check_name(config.name, "topics")
        if config.HasField("schema_settings") or config.kms_key_name:
            raise RefusedError("UNIMPLEMENTED", "Schemas and keys of topics are not built.")
        if config.name in self.topics:
            raise RefusedError("ALREADY_EXISTS", f"Resource already exists in the project (resource={config.name}).")
        replace(self._path("topics", config.name), _dict(config))
        self.topics[config.name] = Topic(config, self._log(config.name))
        return config

    def topic(self, name: str) -> Topic:
        """A topic.

        Raises:
            RefusedError: there is none.
        """
        if name not in self.topics:
            raise not_found(name)
        return self.topics[name]

    def delete_topic(self, name: str) -> None:
        """Delete a topic with its messages; its subscriptions stay, and get nothing more.

        Raises:
            RefusedError: there is none.
        """
        topic = self.topic(name)
        del self.topics[name]
        self._path("topics", name).unlink(missing_ok=True)
        topic.log.close()
        for path in (self._folder / "messages" / quote(name, safe="")).glob("*.log"):
            path.unlink()
        for subscription in self.subscriptions.values():
            if subscription.config.topic == name:
                subscription.config.topic = "_deleted-topic_"
                replace(self._path("subscriptions", subscription.config.name), _dict(subscription.config))

    async def publish(self, name: str, messages: Sequence[Any]) -> list[str]:
        """Write messages, and return their ids when they survive a power cut.

        Many calls that come together share one sync.

        Raises:
            RefusedError: there is no such topic, or the messages are too many, too large, or empty.
        """
        topic = self.topic(name)
        if not 0 < len(messages) <= MOST_MESSAGES:
            raise RefusedError(
                "INVALID_ARGUMENT", f"The request has {len(messages)} messages, not 1 to {MOST_MESSAGES}."
            )
        at = int(self._now() * 1_000_000)
        last = topic.log.time_of(topic.log.end - 1)
        at = max(at, last or 0)  # a clock that was set back must not break the order of the index
        ids, records, total = [], [], 0
        for number, message in enumerate(messages, topic.log.end):
            if not message.data and not message.attributes:
                raise RefusedError("INVALID_ARGUMENT", "A message has neither data nor attributes.")
            if message.ordering_key:
                raise RefusedError("UNIMPLEMENTED", "Ordering keys are not built.")
            message.message_id = str(number)
            message.publish_time.FromMicroseconds(at)
            record = message.SerializeToString()
            total += len(record)
            ids.append(message.message_id)
            records.append((at, record))
        if total > MOST_BYTES:
            raise RefusedError("INVALID_ARGUMENT", f"The request has {total} bytes, more than {MOST_BYTES}.")
        topic.log.append(records)
        await self._synced(topic)
        for subscription in self.subscriptions.values():
            if subscription.config.topic == name:
                subscription.news.set()
        return ids

    async def _synced(self, topic: Topic) -> None:
        done = asyncio.get_running_loop().create_future()
        topic.waiting.append(done)
        if not topic.is_syncing:
            topic.is_syncing = True
            task = asyncio.create_task(self._sync(topic))
            task.add_done_callback(lambda _: None)
        await done

    async def _sync(self, topic: Topic) -> None:
        try:
            while topic.waiting:
                waiting, topic.waiting = topic.waiting, []
                try:
                    await asyncio.to_thread(topic.log.sync)
                except OSError as error:  # a full or broken disk: nobody is told that the messages are safe
                    for future in waiting:
                        future.set_exception(RefusedError("UNAVAILABLE", f"The messages could not be synced: {error}."))
                    continue
                for future in waiting:
                    if not future.done():
                        future.set_result(None)
        finally:
            topic.is_syncing = False

    # -- subscriptions -------------------------------------------------------------------------------------------

    def create_subscription(self, config: Any) -> Any:
        """Make a subscription; it gets what is published from now on.

        Raises:
            RefusedError: it exists, its topic does not, or it asks for what is not built.
        """
        _check_name(config.name, "subscriptions")
        if config.name in self.subscriptions:
            raise RefusedError("ALREADY_EXISTS", f"Resource already exists in the project (resource={config.name}).")
        topic = self.topic(config.topic)
        passes = _checked(config)
        config.ack_deadline_seconds = config.ack_deadline_seconds or 10
        if not config.HasField("message_retention_duration"):
            config.message_retention_duration.seconds = WEEK
        made = Subscription(config, Deliveries(topic.log.end, self._clock), passes)
        self._save_acked(made)
        replace(self._path("subscriptions", config.name), _dict(config))
        self.subscriptions[config.name] = made
        return config

    def subscription(self, name: str) -> Subscription:
        """A subscription.

        Raises:
            RefusedError: there is none.
        """
        if name not in self.subscriptions:
            raise not_found(name)
        return self.subscriptions[name]

    def update_subscription(self, given: Any, paths: Iterable[str]) -> Any:
        """Change fields of a subscription; its topic and its filter stay.

        Raises:
            RefusedError: there is none, or a field cannot be changed.
        """
        held = self.subscription(given.name)
        changed = SubscriptionPb()
        changed.CopyFrom(held.config)
        for path in paths:
            if path not in {"ack_deadline_seconds", "retain_acked_messages", "message_retention_duration", "labels"}:
                raise RefusedError("INVALID_ARGUMENT", f"The field {path} of a subscription cannot be changed.")
            changed.ClearField(path)
            if path == "labels":
                changed.labels.update(given.labels)
            elif path == "message_retention_duration":
                changed.message_retention_duration.CopyFrom(given.message_retention_duration)
            else:
                setattr(changed, path, getattr(given, path))
        _checked(changed)
        held.config = changed
        replace(self._path("subscriptions", changed.name), _dict(changed))
        return changed

    def delete_subscription(self, name: str) -> None:
        """Forget a subscription.

        Raises:
            RefusedError: there is none.
        """
        self.subscription(name).news.set()
        del self.subscriptions[name]
        self._path("subscriptions", name).unlink(missing_ok=True)
        self._path("acked", name).unlink(missing_ok=True)

    def take(self, name: str, most: int, seconds: float | None = None) -> list[tuple[str, bytes, int]]:
        """Lease messages: acknowledgement id, serialised message, and which attempt it is.

        Raises:
            RefusedError: there is no such subscription.
        """
        held = self.subscription(name)
        topic = self.topics.get(held.config.topic)
        held.news.clear()
        if topic is None:
            return []
        read = topic.log.read
        end, unfiltered = topic.log.end, not held.config.filter
        if held.deliveries.low < topic.log.first:  # retention took them
            held.deliveries.seek(topic.log.first, [n for n in held.deliveries.above if n >= topic.log.first])

        def wanted(number: int) -> bool:
            return unfiltered or held.passes(MessagePb.FromString(read(number)).attributes)

        before = held.deliveries.low
        taken = held.deliveries.take(most, end, seconds or held.config.ack_deadline_seconds, wanted)
        held.is_dirty = held.is_dirty or held.deliveries.low != before
        return [(ack_id, read(number), attempt) for ack_id, number, attempt in taken]

    def acknowledge(self, name: str, ack_ids: Iterable[str]) -> None:
        """See :meth:`Deliveries.acknowledge`.

        Raises:
            RefusedError: there is no such subscription.
        """
        held = self.subscription(name)
        held.is_dirty = held.deliveries.acknowledge(ack_ids) or held.is_dirty

    def modify(self, name: str, ack_ids: Iterable[str], seconds: float) -> None:
        """See :meth:`Deliveries.modify`.

        Raises:
            RefusedError: there is no such subscription, or the time is out of range.
        """
        if not 0 <= seconds <= 600:
            raise RefusedError("INVALID_ARGUMENT", f"An acknowledgement deadline of {seconds} s is not 0 to 600.")
        held = self.subscription(name)
        held.deliveries.modify(ack_ids, seconds)
        if seconds == 0:
            held.news.set()

    def seek_time(self, name: str, at: int) -> None:
        """Go to an instant, in microseconds: what was published before counts as acknowledged.

        Raises:
            RefusedError: there is no such subscription, or its topic is gone.
        """
        held = self.subscription(name)
        topic = self.topic(held.config.topic)
        number = max(topic.log.number_at(at), topic.log.first)
        held.deliveries.seek(number, keep_acked=not held.config.retain_acked_messages)
        held.is_dirty = True
        held.news.set()

    def seek_snapshot(self, name: str, snapshot: str) -> None:
        """Go back to what a snapshot holds.

        Raises:
            RefusedError: there is no such subscription or snapshot, or it is of another topic.
        """
        held, kept = self.subscription(name), self.snapshots.get(snapshot)
        if kept is None:
            raise not_found(snapshot)
        if kept.topic != held.config.topic:
            raise RefusedError("INVALID_ARGUMENT", "The snapshot is of another topic than the subscription.")
        first = self.topic(kept.topic).log.first
        held.deliveries.seek(max(kept.low, first), [number for number in kept.above if number >= first])
        held.is_dirty = True
        held.news.set()

    def create_snapshot(self, name: str, subscription: str) -> Any:
        """Keep what a subscription has acknowledged now; for a week, less the age of its oldest open message.

        Raises:
            RefusedError: the snapshot exists, or there is no such subscription.
        """
        _check_name(name, "snapshots")
        if name in self.snapshots:
            raise RefusedError("ALREADY_EXISTS", f"Resource already exists in the project (resource={name}).")
        held = self.subscription(subscription)
        config = SnapshotPb(name=name, topic=held.config.topic)
        log, low = self.topic(config.topic).log, held.deliveries.low
        oldest = log.time_of(low) if low < log.end else None
        config.expire_time.FromMicroseconds((oldest or int(self._now() * 1_000_000)) + WEEK * 1_000_000)
        made = Snapshot(config, held.config.topic, held.deliveries.low, sorted(held.deliveries.above))
        kept = {"config": _dict(config), "topic": made.topic, "low": made.low, "above": made.above}
        replace(self._path("snapshots", name), kept)
        self.snapshots[name] = made
        return config

    def delete_snapshot(self, name: str) -> None:
        """Forget a snapshot.

        Raises:
            RefusedError: there is none.
        """
        if self.snapshots.pop(name, None) is None:
            raise not_found(name)
        self._path("snapshots", name).unlink(missing_ok=True)

    # -- in the background ---------------------------------------------------------------------------------------

    async def keep(self) -> None:
        """Save acknowledgements, and delete what nobody keeps any more, until cancelled."""
        tidied = self._clock()
        while True:
            await asyncio.sleep(_SAVE_SECONDS)
            self.save()
            if self._clock() - tidied > _TIDY_SECONDS:
                tidied = self._clock()
                self.tidy()

    def save(self) -> None:
        """Write the acknowledgements that changed; a kill before it delivers those messages again."""
        for subscription in list(self.subscriptions.values()):
            if subscription.is_dirty:
                self._save_acked(subscription)

    def tidy(self) -> None:
        """Delete segments whose messages every subscription has acknowledged and none retains, and all that is older
        than any retention; snapshots that expired as well.
        """
        now = self._now()
        for name in [name for name, kept in self.snapshots.items() if kept.config.expire_time.ToSeconds() < now]:
            self.delete_snapshot(name)
        for name, topic in self.topics.items():
            held = [one for one in self.subscriptions.values() if one.config.topic == name]
            kept = [snapshot.low for snapshot in self.snapshots.values() if snapshot.topic == name]
            of_topic = topic.config.message_retention_duration.ToSeconds()
            lows = [topic.log.number_at(int((now - of_topic) * 1_000_000))] if of_topic else []
            for one in held:
                seconds = one.config.message_retention_duration.ToSeconds()
                oldest = topic.log.number_at(int((now - seconds) * 1_000_000))
                lows.append(oldest if one.config.retain_acked_messages else max(oldest, one.deliveries.low))
            topic.log.forget(min([*lows, *kept], default=topic.log.end))

    def close(self) -> None:
        """Save and let go of all files."""
        self.save()
        for topic in self.topics.values():
            topic.log.close()


def replace(path: Path, content: object) -> None:
    """Replace a small file as a whole; it survives a power cut."""
    draft = path.with_suffix(f".{os.getpid()}")
    with draft.open("w") as file:
        json.dump(content, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def _dict(message: Any) -> dict[str, Any]:
    return MessageToDict(message)


def _check_name(name: str, kind: str) -> None:
    parts = name.split("/")
    is_good = len(parts) == 4 and parts[0] == "projects" and parts[2] == kind
    if not (is_good and 3 <= len(parts[3]) <= 255 and parts[3][0].isalpha() and not parts[3].startswith("goog")):
        raise RefusedError("INVALID_ARGUMENT", f"Invalid resource name given (name={name}).")


def _checked(config: Any) -> Filter:
    """The filter of a subscription.

    Raises:
        RefusedError: something in it is wrong, or is not built.
    """
    if config.enable_message_ordering or config.enable_exactly_once_delivery:
        raise RefusedError("UNIMPLEMENTED", "Ordered and exactly-once delivery are not built.")
    if config.push_config.push_endpoint or config.HasField("bigquery_config") or config.HasField("dead_letter_policy"):
        raise RefusedError("UNIMPLEMENTED", "Push, BigQuery and dead-letter subscriptions are not built.")
    if config.ack_deadline_seconds and not 10 <= config.ack_deadline_seconds <= 600:
        raise RefusedError("INVALID_ARGUMENT", "ack_deadline_seconds is not 10 to 600.")
    if config.HasField("message_retention_duration"):
        seconds = config.message_retention_duration.ToSeconds()
        if not 600 <= seconds <= 31 * 86_400:
            raise RefusedError("INVALID_ARGUMENT", "message_retention_duration is not 10 minutes to 31 days.")
    try:
        return parse(config.filter)
    except FilterError as error:
        raise RefusedError("INVALID_ARGUMENT", f"The filter is wrong: {error}.") from error
