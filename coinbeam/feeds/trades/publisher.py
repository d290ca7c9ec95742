"""The publisher: follows the symbols of a venue and publishes every trade of them, until it is told to stop.

::

    streams --> follow --\\                        /--> positions (written before a mark, never ahead of the broker)
                          intake --> gaps --> publish
    REST   <--> refill --/                        \\--> Pub/Sub

What is not acknowledged when it ends is fetched again from REST by the next one, from the positions on.
"""

import asyncio
import logging
from collections.abc import Sequence
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
from coinbeam.feeds.trades.status import PublisherStatus, status_of
from coinbeam.feeds.trades.store import Positions, Store
from coinbeam.settings import StreamSettings
from coinbeam.sources.binance import STREAMS_PER_CONNECTION, BinanceClient, Venue

_LOGGER = logging.getLogger(__name__)

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
        sender = asyncio.create_task(self._sender.run(self.stop.is_set))
        stopped = asyncio.create_task(self.stop.wait())
        others = [asyncio.create_task(follower.run()) for follower in self.followers]
        others += [asyncio.create_task(work) for work in (self._refill.run(), self._save(), self._write_status())]
        try:
            await asyncio.wait({sender, stopped, *others}, return_when=asyncio.FIRST_COMPLETED)
            ended = [task for task in (sender, *others) if task.done()]
            await cancel(others)
            if not ended:
                await self._drain(sender)
            for task in ended:
                task.result()
        finally:
            await cancel([sender, stopped, *others])
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

    async def _drain(self, sender: asyncio.Task[None]) -> None:
        """Let the sender publish what waits, as long as the broker takes it."""
        await asyncio.wait({sender}, timeout=DRAIN_SECONDS)
        if sender.done():
            sender.result()
        else:
            _LOGGER.warning(
                "Pub/Sub did not acknowledge %d trades in %g s; the next start fetches them again",
                self.intake.room.waiting,
                DRAIN_SECONDS,
            )

    async def _save(self) -> None:
        while True:
            await self.wiring.sleep(POSITION_SECONDS)
            try:
                await self._positions.save()
            except TransientError as error:
                _LOGGER.warning("%s", error)

    async def _write_status(self) -> None:
        while True:
            with suppress(TransientError):
                await asyncio.to_thread(self.places.status.write, self.status().model_dump_json(indent=1))
            await self.wiring.sleep(STATUS_SECONDS)

    async def _leave(self) -> None:
        """Write down where the next run goes on."""
        try:
            await self._positions.save()
            await asyncio.to_thread(self.places.status.write, self.status().model_dump_json(indent=1))
        except TransientError as error:
            _LOGGER.warning("%s; the next start goes on from an earlier position", error)


async def cancel(tasks: Sequence[asyncio.Task[Any]]) -> None:
    """End tasks, and wait until they have ended."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
