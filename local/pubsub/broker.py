"""Topics, subscriptions and snapshots of one machine.

Everything runs on one event loop; what waits for a disk or for Cloud Storage does so in threads. The folder holds the
messages (:mod:`local.pubsub.log`) and ``state.json``: what is configured, and what was acknowledged. That file is
replaced as a whole, at once when something is configured or sought, and otherwise twice a second, so that after a kill
the acknowledgements of the last half second are missing and those messages come again.
"""

import asyncio
import fcntl
import json
import logging
import os
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from pathlib import Path
from shutil import rmtree
from typing import Any
from uuid import uuid4

from google.protobuf.json_format import MessageToDict, ParseDict
from google.pubsub_v1 import types

from coinbeam.clock import Clock, utc_now
from coinbeam.errors import TerminalError
from local.pubsub import rules
from local.pubsub.backlog import Backlog, MonotonicClock
from local.pubsub.commit import GroupCommit
from local.pubsub.log import SEGMENT_BYTES, TopicLog, sync_folder
from local.pubsub.numbers import NumberSet
from local.pubsub.refusal import exists, invalid, not_found, out_of_order

log = logging.getLogger(__name__)

SAVE_SECONDS, TIDY_SECONDS = 0.5, 30.0

LEAST_SNAPSHOT = timedelta(hours=1)
"""A snapshot that would expire sooner is not made. Source: Subscriber.CreateSnapshot."""

_TopicPb, _SubscriptionPb, _SnapshotPb, _MessagePb = (
    kind.pb() for kind in (types.Topic, types.Subscription, types.Snapshot, types.PubsubMessage)
)


@dataclass
class Topic:
    """A topic and its log, which outlives it for as long as a subscription has messages of it."""

    config: Any
    log: str


@dataclass
class Subscription:
    """A subscription, and who waits for news of it.

    Attributes:
        uid: tells it from earlier ones of its name.
        log: id of the log that it reads.
        start: number of the first message published after it was made.
    """

    config: Any
    uid: str
    log: str
    start: int
    backlog: Backlog
    is_deleted: bool = False
    _news: asyncio.Event = field(default_factory=asyncio.Event)

    def wake(self) -> None:
        """Have everybody who waits look again."""
        self._news.set()
        self._news = asyncio.Event()

    async def wait(self, seconds: float) -> None:
        """Return when there may be something to deliver, at most so many seconds from now."""
        expiry = self.backlog.seconds_to_expiry()
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), seconds if expiry is None else min(seconds, expiry + 0.001))


@dataclass
class Snapshot:
    """What a subscription had acknowledged at one moment."""

    config: Any
    log: str
    acked: NumberSet


class Broker:
    """See the module.

    Args:
        clock: the time of publishing; ``monotonic`` is that of leases.

    Raises:
        TerminalError: another broker works in the folder, or what is in it cannot be read.
    """

    def __init__(
        self,
        folder: Path,
        *,
        clock: Clock = utc_now,
        monotonic: MonotonicClock = time.monotonic,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> None:
        self._folder, self._clock, self._monotonic, self._segment_bytes = folder, clock, monotonic, segment_bytes
        self.topics: dict[str, Topic] = {}
        self.subscriptions: dict[str, Subscription] = {}
        self.snapshots: dict[str, Snapshot] = {}
        self._commits: dict[str, GroupCommit] = {}
        self._saving, self._is_unsaved = asyncio.Lock(), False
        folder.mkdir(parents=True, exist_ok=True)
        self._locked = _lock(folder)
        self._load()

    # What is on disk

    def _load(self) -> None:
        path = self._folder / "state.json"
        state = json.loads(path.read_bytes()) if path.is_file() else {}
        for kept in state.get("topics", ()):
            config = ParseDict(kept["config"], _TopicPb())
            self.topics[config.name] = Topic(config, kept["log"])
            self._commit(kept["log"])
        for kept in state.get("subscriptions", ()):
            config = ParseDict(kept["config"], _SubscriptionPb())
            backlog = self._backlog(config, kept["uid"], kept["log"], NumberSet(kept["acked"]), kept["epoch"])
            backlog.forget(self._log(kept["log"]).first)
            self.subscriptions[config.name] = Subscription(config, kept["uid"], kept["log"], kept["start"], backlog)
        for kept in state.get("snapshots", ()):
            config = ParseDict(kept["config"], _SnapshotPb())
            self.snapshots[config.name] = Snapshot(config, kept["log"], NumberSet(kept["acked"]))
            self._commit(kept["log"])
        self._delete_logs()

    def _commit(self, uid: str) -> GroupCommit:
        if uid not in self._commits:
            opened = TopicLog(self._folder / "messages" / uid, self._segment_bytes)
            self._commits[uid] = GroupCommit(opened, lambda: self._wake(uid))
        return self._commits[uid]

    def _log(self, uid: str) -> TopicLog:
        return self._commit(uid).log

    def _backlog(self, config: Any, uid: str, log_uid: str, acked: NumberSet, epoch: int = 0) -> Backlog:
        passes = _passing(config.filter)
        return Backlog(uid, self._log(log_uid), passes, self._monotonic, acked, epoch)

    def _wake(self, uid: str) -> None:
        for subscription in self.subscriptions.values():
            if subscription.log == uid:
                subscription.wake()

    def _state(self) -> dict[str, Any]:
        return {
            "topics": [{"config": MessageToDict(one.config), "log": one.log} for one in self.topics.values()],
            "subscriptions": [
                {
                    "config": MessageToDict(one.config),
                    "uid": one.uid,
                    "log": one.log,
                    "start": one.start,
                    "epoch": one.backlog.epoch,
                    "acked": one.backlog.acked.ranges(),
                }
                for one in self.subscriptions.values()
            ],
            "snapshots": [
                {"config": MessageToDict(one.config), "log": one.log, "acked": one.acked.ranges()}
                for one in self.snapshots.values()
            ],
        }

    async def save(self) -> None:
        """Return when everything but the last messages' leases survives a power cut.

        Raises:
            OSError: it could not be written; what was written before is still there.
        """
        async with self._saving:
            self._is_unsaved = True
            for subscription in self.subscriptions.values():
                subscription.backlog.is_dirty = False
            content = json.dumps(self._state()).encode()
            await asyncio.to_thread(_replace, self._folder / "state.json", content)
            self._is_unsaved = False

    @property
    def is_dirty(self) -> bool:
        """Whether something is not saved: it was acknowledged since, or the disk was full."""
        return self._is_unsaved or any(one.backlog.is_dirty for one in self.subscriptions.values())

    async def _make(self, held: dict[str, Any], name: str, made: Any) -> None:
        """Take in something new, unless it cannot be saved: a kill would take it away, and its messages with it."""
        held[name] = made
        try:
            await self.save()
        except OSError:
            held.pop(name, None)
            await self._close_logs()
            raise

    # Topics

    async def create_topic(self, given: Any) -> Any:
        """Make a topic.

        Raises:
            RefusedError: it exists, or is not as it may be.
        """
        config = rules.checked_topic(given)
        if config.name in self.topics:
            raise exists(config.name)
        topic = Topic(config, uuid4().hex)
        self._commit(topic.log)
        await self._make(self.topics, config.name, topic)
        return config

    def topic(self, name: str) -> Topic:
        """A topic.

        Raises:
            RefusedError: there is none.
        """
        if name not in self.topics:
            rules.check_name(name, "topics")
            raise not_found(name)
        return self.topics[name]

    async def update_topic(self, given: Any, mask: Any) -> Any:
        """Change fields of a topic.

        Raises:
            RefusedError: there is none, or they cannot be changed so.
        """
        topic = self.topic(given.name)
        topic.config = rules.checked_topic(rules.changed("topic", topic.config, given, mask))
        await self.save()
        return topic.config

    async def delete_topic(self, name: str) -> None:
        """Delete a topic; its subscriptions stay, and deliver what they have.

        Raises:
            RefusedError: there is none.
        """
        self.topic(name)
        del self.topics[name]
        reading: list[Subscription | Snapshot] = [*self.subscriptions.values(), *self.snapshots.values()]
        for one in reading:
            if one.config.topic == name:
                one.config.topic = rules.DELETED_TOPIC
        await self.save()
        await self._close_logs()

    async def _close_logs(self) -> None:
        """Let go of the messages of topics that are gone, when nobody has any of them."""
        for commit in [self._commits.pop(uid) for uid in self._commits.keys() - self._needed_logs()]:
            await commit.close()
        self._delete_logs()

    def _needed_logs(self) -> set[str]:
        held: list[Topic | Subscription | Snapshot] = [*self.topics.values(), *self.subscriptions.values()]
        return {one.log for one in [*held, *self.snapshots.values()]}

    def _delete_logs(self) -> None:
        for folder in (self._folder / "messages").glob("*"):
            if folder.name not in self._needed_logs() | self._commits.keys():
                rmtree(folder)

    async def publish(self, name: str, messages: Any) -> list[str]:
        """Write messages, and return their ids when they survive a power cut.

        Raises:
            RefusedError: there is no such topic, the messages are not as they may be, or could not be written.
        """
        commit = self._commits[self.topic(name).log]
        rules.check_messages(messages)
        commit.check_room()
        first, at = commit.log.claim(len(messages), self._now())
        ids, bodies = [], []
        for number, message in enumerate(messages, first):
            message.message_id = str(number)
            message.publish_time.FromMicroseconds(at)
            ids.append(message.message_id)
            bodies.append(message.SerializeToString())
        await commit.add(first, at, bodies)
        return ids

    def _now(self, before: timedelta = timedelta()) -> int:
        return _microseconds(self._clock() - before)

    # Subscriptions

    async def create_subscription(self, given: Any) -> Any:
        """Make a subscription; it gets what is published from now on.

        Raises:
            RefusedError: it exists, its topic does not, or it is not as it may be.
        """
        config = rules.checked_subscription(given)
        rules.checked_filter(config.filter)
        if config.name in self.subscriptions:
            raise exists(config.name)
        topic, uid = self.topic(config.topic), uuid4().hex[:12]
        start = self._log(topic.log).end
        config.state = types.Subscription.State.ACTIVE
        backlog = self._backlog(config, uid, topic.log, NumberSet([(0, start)]))
        await self._make(self.subscriptions, config.name, Subscription(config, uid, topic.log, start, backlog))
        return config

    def subscription(self, name: str) -> Subscription:
        """A subscription.

        Raises:
            RefusedError: there is none.
        """
        if name not in self.subscriptions:
            rules.check_name(name, "subscriptions")
            raise not_found(name)
        return self.subscriptions[name]

    async def update_subscription(self, given: Any, mask: Any) -> Any:
        """Change fields of a subscription.

        Raises:
            RefusedError: there is none, or they cannot be changed so.
        """
        held = self.subscription(given.name)
        config = rules.checked_subscription(rules.changed("subscription", held.config, given, mask))
        if config.HasField("cloud_storage_config") != held.config.HasField("cloud_storage_config"):
            raise invalid("A subscription cannot begin or cease to write files. Make another one.")
        held.config = config
        held.wake()
        await self.save()
        return config

    async def delete_subscription(self, name: str) -> None:
        """Delete a subscription.

        Raises:
            RefusedError: there is none.
        """
        held = self.subscription(name)
        del self.subscriptions[name]
        held.is_deleted = True
        held.wake()
        await self.save()
        await self._close_logs()

    def acknowledge(self, held: Subscription, ack_ids: Any) -> None:
        """Acknowledge messages.

        Raises:
            RefusedError: one of the ids is none.
        """
        held.backlog.acknowledge(held.backlog.numbers_of(ack_ids))
        held.wake()  # for those that had no room

    def modify(self, held: Subscription, ack_ids: Any, seconds: int) -> None:
        """Have leases end so many seconds from now; 0 gives the messages back. Leases that ended have no say.

        Raises:
            RefusedError: one of the ids is none, or the time is out of range.
        """
        rules.check_deadline(seconds)
        held.backlog.modify(held.backlog.numbers_of(ack_ids, leased=True), seconds)
        held.wake()  # for those that are free again, or end sooner

    # Seeking

    async def seek_time(self, name: str, at: int) -> None:
        """Have a subscription deliver what it keeps of an instant, in microseconds, or later, and nothing before.

        Raises:
            RefusedError: there is no such subscription.
        """
        held = self.subscription(name)
        target = self._log(held.log).number_at(at)
        acked = held.backlog.acked.below(max(target, self._kept_from(held)))
        acked.add(0, target)
        await self._seek(held, acked)

    def _kept_from(self, held: Subscription) -> int:
        """From which message on a subscription can deliver again what it has acknowledged."""
        messages, kept = self._log(held.log), [self._log(held.log).end]
        if held.config.retain_acked_messages:
            oldest = self._now(held.config.message_retention_duration.ToTimedelta())
            kept.append(max(held.start, messages.number_at(oldest)))
        topic = self.topics.get(held.config.topic)
        if topic and topic.config.HasField("message_retention_duration"):
            kept.append(messages.number_at(self._now(topic.config.message_retention_duration.ToTimedelta())))
        return min(kept)

    async def seek_snapshot(self, name: str, snapshot: str) -> None:
        """Have a subscription deliver what was not acknowledged in a snapshot, and all that came later.

        Raises:
            RefusedError: there is no such subscription or snapshot, or it is of another topic.
        """
        held, kept = self.subscription(name), self.snapshot(snapshot)
        if kept.log != held.log:
            raise invalid(f"The snapshot {snapshot} is of another topic than the subscription.")
        acked = NumberSet(kept.acked.ranges())
        acked.add(0, self._log(held.log).first)
        await self._seek(held, acked)

    async def _seek(self, held: Subscription, acked: NumberSet) -> None:
        held.backlog.seek(acked)
        held.wake()
        await self.save()

    async def create_snapshot(self, given: Any) -> Any:
        """Keep what a subscription has acknowledged now, and all that it has not, for a week after it was published.

        Raises:
            RefusedError: the snapshot exists, there is no such subscription, or its backlog is nearly a week old.
        """
        rules.check_name(given.name, "snapshots")
        if given.name in self.snapshots:
            raise exists(given.name)
        held = self.subscription(given.subscription)
        acked = NumberSet(held.backlog.acked.ranges())
        oldest = self._published(held.log, acked.first_missing(0))
        ends = oldest + rules.WEEK * 1_000_000
        if ends < self._now(-LEAST_SNAPSHOT):
            raise out_of_order("The oldest message of the snapshot would expire within the hour. Acknowledge it first.")
        config = _SnapshotPb(name=given.name, topic=held.config.topic, labels=given.labels)
        config.expire_time.FromMicroseconds(ends)
        await self._make(self.snapshots, given.name, Snapshot(config, held.log, acked))
        return config

    def _published(self, uid: str, number: int) -> int:
        """When a message was published, in microseconds; now when it is not there yet."""
        messages = self._log(uid)
        if number >= messages.end:
            return self._now()
        at: int = _MessagePb.FromString(messages.message(max(number, messages.first))).publish_time.ToMicroseconds()
        return at

    def snapshot(self, name: str) -> Snapshot:
        """A snapshot.

        Raises:
            RefusedError: there is none.
        """
        if name not in self.snapshots:
            rules.check_name(name, "snapshots")
            raise not_found(name)
        return self.snapshots[name]

    async def delete_snapshot(self, name: str) -> None:
        """Delete a snapshot.

        Raises:
            RefusedError: there is none.
        """
        self.snapshot(name)
        del self.snapshots[name]
        await self.save()
        await self._close_logs()

    # In the background

    async def keep(self) -> None:
        """Save what was acknowledged, and delete what nobody keeps any more, until cancelled."""
        tidied = self._monotonic()
        while True:
            await asyncio.sleep(SAVE_SECONDS)
            try:
                if self.is_dirty:
                    await self.save()
                if self._monotonic() - tidied >= TIDY_SECONDS:
                    tidied = self._monotonic()
                    await self.tidy()
            except (OSError, TerminalError) as error:
                log.warning("What was acknowledged could not be saved or tidied, and is tried again: %s", error)

    async def tidy(self) -> None:
        """Delete messages that are too old, or that all have acknowledged and none retains; expired snapshots, too."""
        now = self._now()
        for name in [name for name, one in self.snapshots.items() if one.config.expire_time.ToMicroseconds() < now]:
            await self.delete_snapshot(name)
        for held in self.subscriptions.values():
            oldest = self._now(held.config.message_retention_duration.ToTimedelta())
            held.backlog.forget(self._log(held.log).number_at(oldest))
        if self.is_dirty:
            await self.save()
        for uid, commit in self._commits.items():
            commit.log.forget(self._needed_from(uid, commit.log))

    def _needed_from(self, uid: str, messages: TopicLog) -> int:
        """The first message of a log that somebody may still ask for."""
        needed = [messages.end]
        for held in (one for one in self.subscriptions.values() if one.log == uid):
            needed += [held.backlog.acked.first_missing(0), self._kept_from(held)]
        needed += [one.acked.first_missing(0) for one in self.snapshots.values() if one.log == uid]
        for topic in (one for one in self.topics.values() if one.log == uid):
            if topic.config.HasField("message_retention_duration"):
                needed.append(messages.number_at(self._now(topic.config.message_retention_duration.ToTimedelta())))
        return min(needed)

    async def close(self) -> None:
        """Save, and let go of all files."""
        for commit in self._commits.values():
            await commit.close()
        await self.save()
        os.close(self._locked)


def _passing(text: str) -> Callable[[bytes], bool]:
    """Whether a serialised message passes a filter."""
    if not text.strip():
        return lambda _: True
    passes = rules.checked_filter(text)
    return lambda body: passes(_MessagePb.FromString(body).attributes)


def _lock(folder: Path) -> int:
    """Keep a second broker out of a folder; the lock ends with the process, however that ends."""
    file = os.open(folder / "lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        raise TerminalError(f"Another broker works in {folder}.", "Stop it, or take another --data-dir.") from None
    return file


def _replace(path: Path, content: bytes) -> None:
    """Replace a file as a whole."""
    draft = path.with_suffix(".draft")
    with draft.open("wb") as file:
        file.write(content)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)
    sync_folder(path.parent)


def _microseconds(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000_000)
