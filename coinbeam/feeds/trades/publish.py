"""From what waits to Pub/Sub: one call under way at a time, repeated until it is acknowledged.

A call has at most one message of each symbol, and the next one follows its acknowledgement. So what the broker has of a
symbol is always a beginning of what was to be published, and a ``gap`` is there before what lies behind it.
"""

import logging
from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from google.api_core.exceptions import Aborted, Cancelled, GoogleAPICallError, RetryError, ServerError, TooManyRequests
from google.auth.exceptions import TransportError
from google.pubsub_v1.types import PubsubMessage

from coinbeam.errors import TerminalError, TransientError
from coinbeam.feeds.trades.entries import Bundle
from coinbeam.feeds.trades.gaps import Tracker
from coinbeam.feeds.trades.intake import Intake
from coinbeam.feeds.trades.message import Message, heartbeat
from coinbeam.feeds.trades.pace import Backoff, Wiring
from coinbeam.feeds.trades.store import Positions

_LOGGER = logging.getLogger(__name__)

HEARTBEAT_SECONDS = 1.0

IDLE_SECONDS = 0.05
"""How long a sender rests that has nothing to send."""

_CALL_SECONDS = 20.0
_LARGEST_CALL = 7 * 2**20
"""Pub/Sub takes 10 MB a call. Source: its quotas."""

_MOST_MESSAGES = 1_000
_TRANSIENT = (ServerError, TooManyRequests, Aborted, Cancelled, RetryError, TransportError)


class Client(Protocol):
    """The part of ``PublisherAsyncClient`` that is used here."""

    def publish(self, *, topic: str, messages: list[PubsubMessage], retry: None, timeout: float) -> Awaitable[object]:
        """Publish messages, all or none of them acknowledged."""
        ...


class Calls:
    """Calls of Pub/Sub, each repeated until it is acknowledged.

    Attributes:
        retries: calls that were not acknowledged; ``problem`` says why the last one was not, None when it was.
    """

    def __init__(self, client: Client, topic: str, wiring: Wiring) -> None:
        self.retries = 0
        self.problem: str | None = None
        self._client, self._topic, self._wiring = client, topic, wiring
        self._backoff = Backoff(0.2, 5.0, wiring.rng)
        self._heartbeat_at = wiring.monotonic()

    def heartbeat(self) -> list[Message]:
        """The heartbeat, where one is due."""
        now = self._wiring.monotonic()
        if now < self._heartbeat_at:
            return []
        self._heartbeat_at = now + HEARTBEAT_SECONDS
        return [heartbeat(self._wiring.clock())]

    async def publish(self, messages: Sequence[Message], waiting: Callable[[], int]) -> None:
        """Publish messages that fit into one call, until they are acknowledged.

        Args:
            waiting: tells how many lines are in memory, for the log.

        Raises:
            TerminalError: Pub/Sub refuses for a reason that stays.
        """
        sent = [PubsubMessage(data=message.data, attributes=message.attributes) for message in messages]
        while True:
            try:
                await self._client.publish(topic=self._topic, messages=sent, retry=None, timeout=_CALL_SECONDS)
            except _TRANSIENT as error:
                self.retries += 1
                await self.wait(f"Pub/Sub: {type(error).__name__}: {error}", waiting)
            except GoogleAPICallError as error:
                raise TerminalError(
                    f"Pub/Sub refuses what is published to {self._topic}: {error}.",
                    "Check that the topic exists and that this account may publish to it. Nothing is lost: the next "
                    "start goes on from what was acknowledged.",
                ) from error
            else:
                self.problem = None
                self._backoff.reset()
                return

    async def wait(self, problem: str, waiting: Callable[[], int]) -> None:
        """Log a problem, and wait before another try."""
        wait = self._backoff.next()
        _LOGGER.warning("%s; another try in %.1f s, %d lines wait", problem, wait, waiting())
        self.problem = problem
        await self._wiring.sleep(wait)


class Sender:
    """Publishes what waits.

    Attributes:
        calls: those that it makes.
        heartbeats: that were published.
    """

    def __init__(self, client: Client, topic: str, intake: Intake, positions: Positions, wiring: Wiring) -> None:
        self.heartbeats = 0
        self.calls = Calls(client, topic, wiring)
        self._intake, self._positions, self._wiring = intake, positions, wiring
        self._taken: list[tuple[Tracker, Bundle]] = []

    async def run(self, is_stopping: Callable[[], bool]) -> None:
        """Publish until told to stop, and then everything that still waits.

        Raises:
            TerminalError: Pub/Sub refuses for a reason that stays.
        """
        while not is_stopping():
            if not await self.send():
                await self._wiring.sleep(IDLE_SECONDS)
        while await self.send(all_of_it=True):
            pass

    async def send(self, *, all_of_it: bool = False) -> bool:
        """Publish one call of what is due; False when nothing but a heartbeat was.

        Raises:
            TerminalError: Pub/Sub refuses for a reason that stays.
        """
        if not self._taken:
            self._taken = self._intake.due(all_of_it=all_of_it)
        lines = list(self._intake.lines)
        messages = [bundle.message for _, bundle in self._taken] + lines
        del messages[fitting(messages) :]
        chosen, lines = self._taken[: len(messages)], messages[len(self._taken) :]
        beat = self.calls.heartbeat()
        messages += beat
        if not messages:
            return False
        await self._write_down(chosen)
        await self.calls.publish(messages, self._waiting)
        for tracker, bundle in chosen:
            tracker.acknowledged(bundle)
        del self._taken[: len(chosen)]
        for _ in lines:
            self._intake.lines.popleft()
        self.heartbeats += len(beat)
        self._intake.count()
        return bool(chosen or lines)

    def _waiting(self) -> int:
        return self._intake.room.waiting

    async def _write_down(self, chosen: Sequence[tuple[Tracker, Bundle]]) -> None:
        """Save the positions before a message with marks is sent: see :mod:`coinbeam.feeds.trades.position`."""
        marked = [(tracker, bundle.marks) for tracker, bundle in chosen if bundle.marks]
        for tracker, marks in marked:
            tracker.position.intend(marks)
        is_written = not marked
        while not is_written:
            try:
                await self._positions.save()
                is_written = True
            except TransientError as error:
                await self.calls.wait(str(error), self._waiting)


def fitting(messages: Sequence[Message]) -> int:
    """How many of the messages fit into a call: one at least, however large it is."""
    size = 0
    for count, message in enumerate(messages[:_MOST_MESSAGES]):
        size += len(message.data)
        if size > _LARGEST_CALL and count:
            return count
    return min(len(messages), _MOST_MESSAGES)
