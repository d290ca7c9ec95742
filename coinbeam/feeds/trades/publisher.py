"""The publisher: follows the symbols of a venue and publishes every trade of them, until it is told to stop.

::

    streams --> follow --\\                        /--> positions (written before a mark, never ahead of the broker)
                          intake --> gaps --> publish
    REST   <--> refill --/                        \\--> Pub/Sub

What is not acknowledged when it ends is fetched again from REST by the next one, from the positions on.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from coinbeam.errors import TransientError
from coinbeam.feeds.trades.follow import Follower, Spans
from coinbeam.feeds.trades.gaps import Limits, Tracker
from coinbeam.feeds.trades.intake import Intake
from coinbeam.feeds.trades.pace import ConnectionBudget, Room, Wiring
from coinbeam.feeds.trades.publish import Client, Sender
from coinbeam.feeds.trades.refill import Refill
from coinbeam.feeds.trades.status import PublisherStatus, RunStatus, status_of
from coinbeam.feeds.trades.store import Positions, Store
from coinbeam.settings import StreamSettings
from coinbeam.sources.binance import STREAMS_PER_CONNECTION, BinanceClient, Venue

_LOGGER = logging.getLogger(__name__)

Work = Coroutine[Any, Any, None]

POSITION_SECONDS = 5.0
"""How often the positions are written, and so how much is published again after a kill."""

STATUS_SECONDS = 2.0
DRAIN_SECONDS = 10.0
"""How long a stop waits for what was not acknowledged."""


@dataclass(frozen=True)
class Places:
    """What outlives the publisher: its positions, and its status."""

    positions: Store
    status: Store


@dataclass(frozen=True)
class Outlet:
    """Where it publishes: a client of Pub/Sub, and the full name of the topic."""

    client: Client
    topic: str


@dataclass
class Publisher:
    """One run of the publisher.

    Attributes:
        symbols: as the venue writes them.
        stop: set it to end the run.
    """

    settings: StreamSettings
    symbols: Sequence[str]
    venue: Venue
    rest: BinanceClient
    outlet: Outlet
    places: Places
    wiring: Wiring = field(default_factory=Wiring)
    spans: Spans = field(default_factory=Spans)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        settings, wiring = self.settings, self.wiring
        limits = Limits(settings.bundle_trades, settings.bundle_seconds, settings.silence_seconds)
        self._positions = Positions(self.places.positions)
        now = wiring.monotonic()
        trackers = [Tracker(position, limits, now) for position in self._positions.load(self.symbols)]
        self.intake = Intake(trackers, Room(settings.waiting_trades), wiring)
        budget = ConnectionBudget(wiring)
        self.followers = [
            Follower(address, self.intake.accept, self.intake.room, budget, wiring, self.spans)
            for address in self.venue.addresses(self.symbols)
        ]
        self._refill = Refill(self.rest, self.intake, self._renew, wiring)
        self._sender = Sender(self.outlet.client, self.outlet.topic, self.intake, self._positions, wiring)
        self._started_at = wiring.clock()

    async def run(self) -> None:
        """Follow and publish until told to stop; then publish what waits, for a while, and write the positions.

        Raises:
            TerminalError: Pub/Sub refuses for a reason that stays.
        """
        others = [follower.run() for follower in self.followers]
        others += [self._refill.run(), self._save(), keep_status(self.places.status, self.status, self.wiring)]
        try:
            if not await run_until(self.stop, self._sender.run(self.stop.is_set), others):
                _LOGGER.warning(
                    "Pub/Sub did not acknowledge %d trades in %g s; the next start fetches them again",
                    self.intake.room.waiting,
                    DRAIN_SECONDS,
                )
        finally:
            await self._leave()

    def status(self) -> PublisherStatus:
        """What it does at present."""
        connections = sum(follower.connections for follower in self.followers)
        return PublisherStatus(
            source_id=self.venue.source_id,
            state="stopped" if self.stop.is_set() else "running",
            started_at=self._started_at,
            written_at=self.wiring.clock(),
            connections=sum(follower.open for follower in self.followers),
            reconnects=max(0, connections - len(self.followers)),
            waiting=self.intake.room.waiting,
            unreadable=self.intake.unreadable,
            heartbeats=self._sender.heartbeats,
            retries=self._sender.calls.retries,
            problem=self._sender.calls.problem,
            symbols=[status_of(tracker) for tracker in self.intake.trackers.values()],
        )

    def _renew(self, symbol: str) -> None:
        self.followers[list(self.symbols).index(symbol) // STREAMS_PER_CONNECTION].renew.set()

    async def _save(self) -> None:
        while True:
            await self.wiring.sleep(POSITION_SECONDS)
            try:
                await self._positions.save()
            except TransientError as error:
                _LOGGER.warning("%s", error)

    async def _leave(self) -> None:
        """Write down where the next run goes on."""
        try:
            await self._positions.save()
            await asyncio.to_thread(self.places.status.write, self.status().model_dump_json(indent=1))
        except TransientError as error:
            _LOGGER.warning("%s; the next start goes on from an earlier position", error)


async def run_until(stop: asyncio.Event, sending: Work, others: Iterable[Work]) -> bool:
    """Publish, and do what that needs, until told to stop or one of them ends; then let the sender publish what waits,
    for a while.

    Returns:
        False when it was told to stop and the sender did not come to its end.

    Raises:
        Exception: what the one that ended raised.
    """
    sender, stopped = asyncio.create_task(sending), asyncio.create_task(stop.wait())
    beside = [asyncio.create_task(work) for work in others]
    try:
        await asyncio.wait({sender, stopped, *beside}, return_when=asyncio.FIRST_COMPLETED)
        ended = [task for task in (sender, *beside) if task.done()]
        await _cancel(beside)
        if not ended:
            await asyncio.wait({sender}, timeout=DRAIN_SECONDS)
            ended = [sender] if sender.done() else []
        for task in ended:
            task.result()
        return bool(ended)
    finally:
        await _cancel([sender, stopped, *beside])


async def keep_status(store: Store, status: Callable[[], RunStatus], wiring: Wiring) -> None:
    """Write down again and again what a publisher does; a store that does not answer costs nothing but its news."""
    while True:
        with suppress(TransientError):
            await asyncio.to_thread(store.write, status().model_dump_json(indent=1))
        await wiring.sleep(STATUS_SECONDS)


async def _cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """End tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
