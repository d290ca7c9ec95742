"""One connection to the combined streams, kept open for ever by opening the next one before it ends.

A connection lives 24 hours, and ends earlier by a ``serverShutdown``, by a fault, or because a symbol fell silent in
it. Where it can be known before, the next one is opened first and both are read for a while: what comes twice is told
apart by id. What is lost otherwise is a gap, which is refilled.
"""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed, InvalidStatus, WebSocketException

import coinbeam
from coinbeam.feeds.trades.pace import Backoff, ConnectionBudget, Room, Wiring
from coinbeam.sources.http.responses import retry_after_seconds
from coinbeam.sources.http.transport import is_loopback

_LOGGER = logging.getLogger(__name__)

_LARGEST_FRAME = 16 * 2**20
"""A larger frame ends its connection; one that is too large for a trade is passed on as unreadable."""

_STABLE_SECONDS = 60.0
"""A connection that lived so long was a success: the waits between tries begin anew."""


@dataclass(frozen=True)
class Spans:
    """How long things take with a connection.

    Attributes:
        life_seconds: age at which it is followed by another one, ten minutes before the venue would end it; up to as
            many minutes earlier, so that connections do not end together.
        overlap_seconds: how long both are read.
        ping_seconds: after which a silent server is asked for a pong, and how long that may take.
        open_seconds: how long a handshake may take.
        first_wait, longest_wait: bounds of the waits between tries.
    """

    life_seconds: float = timedelta(hours=23, minutes=50).total_seconds()
    overlap_seconds: float = 5.0
    ping_seconds: float = 20.0
    open_seconds: float = 10.0
    first_wait: float = 0.5
    longest_wait: float = 60.0


class Follower:
    """Reads one address for ever.

    Args:
        accept: takes each frame, and says whether the server goes down.
        room: nothing is read while it is full: TCP holds what comes.

    Attributes:
        renew: set it to have the connection followed by another one.
        connections: that were opened.
        open: how many are open now.
    """

    def __init__(
        self,
        address: str,
        accept: Callable[[bytes], bool],
        room: Room,
        budget: ConnectionBudget,
        wiring: Wiring,
        spans: Spans | None = None,
    ) -> None:
        self.address, self.renew = address, asyncio.Event()
        self.connections = self.open = 0
        self._accept, self._room, self._budget, self._wiring = accept, room, budget, wiring
        self._spans = spans or Spans()
        self._backoff = Backoff(self._spans.first_wait, self._spans.longest_wait, wiring.rng)

    async def run(self) -> None:
        """Follow until cancelled."""
        async with asyncio.TaskGroup() as group:
            reader: asyncio.Task[None] | None = None
            while True:
                socket = await self._connected()
                successor = group.create_task(self._read(socket))
                if reader:
                    await self._overlap(reader)
                reader = successor
                began = self._wiring.monotonic()
                await self._until_the_next_is_needed(reader)
                if self._wiring.monotonic() - began >= _STABLE_SECONDS:
                    self._backoff.reset()

    async def _connected(self) -> ClientConnection:
        """The next connection, after as many tries as it takes."""
        wait = self._backoff.next() if self.connections else 0.0
        while True:
            await self._wiring.sleep(wait)
            await self._room.wait()
            await self._budget.acquire()
            try:
                socket = await self._handshake()
            except (OSError, TimeoutError, WebSocketException) as error:
                wait = max(self._backoff.next(), _asked_to_wait(error, self._wiring))
                _LOGGER.warning("No connection to %s (%s); another try in %.1f s", self._host, error, wait)
                continue
            self.connections += 1
            return socket

    async def _handshake(self) -> ClientConnection:
        return await connect(
            self.address,
            compression=None,
            max_size=_LARGEST_FRAME,
            open_timeout=self._spans.open_seconds,
            ping_interval=self._spans.ping_seconds,
            ping_timeout=self._spans.ping_seconds,
            close_timeout=1.0,
            proxy=None if is_loopback(self.address) else True,
            user_agent_header=f"coinbeam/{coinbeam.__version__}",
        )

    async def _read(self, socket: ClientConnection) -> None:
        """Read a connection to its end; pings are answered by the library, which also ends a dead one."""
        self.open += 1
        try:
            while True:
                await self._room.wait()
                if self._accept(await socket.recv(decode=False)):
                    _LOGGER.info("%s announces its end", self._host)
                    self.renew.set()
        except ConnectionClosed as error:
            _LOGGER.warning("A connection to %s ended: %s", self._host, error)
        finally:
            self.open -= 1
            await socket.close()

    async def _until_the_next_is_needed(self, reader: asyncio.Task[None]) -> None:
        self.renew.clear()
        early = self._wiring.rng.uniform(0, 600) if self._spans.life_seconds > 1_200 else 0.0
        renewal = asyncio.ensure_future(self.renew.wait())
        try:
            await asyncio.wait(
                {reader, renewal}, timeout=self._spans.life_seconds - early, return_when=asyncio.FIRST_COMPLETED
            )
        finally:
            renewal.cancel()

    async def _overlap(self, reader: asyncio.Task[None]) -> None:
        """Read the old connection a little longer, then close it."""
        await asyncio.wait({reader}, timeout=self._spans.overlap_seconds)
        reader.cancel()
        await asyncio.wait({reader})

    @property
    def _host(self) -> str:
        return self.address.partition("?")[0]


def _asked_to_wait(error: Exception, wiring: Wiring) -> float:
    """Seconds by the ``Retry-After`` of a refused handshake, else none."""
    if not isinstance(error, InvalidStatus):
        return 0.0
    return retry_after_seconds(error.response.headers.get("Retry-After"), wiring.clock()) or 0.0
