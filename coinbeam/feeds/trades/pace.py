"""When something is tried again: time and chance, injected."""

import asyncio
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field

from coinbeam.clock import Clock, utc_now

CONNECTIONS, CONNECTION_SECONDS = 300, 300.0
"""Most connections that one address may open in so many seconds. Source: Binance's reference of the spot streams."""


@dataclass(frozen=True)
class Wiring:
    """What a test gives to the publisher.

    Attributes:
        clock: the instant of heartbeats, and by which the time of a trade is judged.
        monotonic: seconds of a clock that never goes back.
        sleep: waits that many of them.
        rng: gives the jitter.
    """

    clock: Clock = utc_now
    monotonic: Callable[[], float] = time.monotonic
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    rng: random.Random = field(default_factory=random.Random)


class Backoff:
    """Waits between tries: exponential up to a cap, each drawn from its whole range (full jitter).

    Source: "Exponential Backoff And Jitter" of the AWS Architecture Blog.
    """

    def __init__(self, first: float, cap: float, rng: random.Random) -> None:
        self.tries = 0
        self._first, self._cap, self._rng = first, cap, rng

    def next(self) -> float:
        """Seconds to wait before the next try."""
        ceiling = min(self._cap, self._first * 2.0 ** min(self.tries, 30))
        self.tries += 1
        return self._rng.uniform(0, ceiling)

    def reset(self) -> None:
        """Begin anew: the last try was a success."""
        self.tries = 0


class ConnectionBudget:
    """How many connections may be opened in any span of five minutes; the tries count."""

    def __init__(self, wiring: Wiring, most: int = CONNECTIONS, seconds: float = CONNECTION_SECONDS) -> None:
        self._wiring, self._seconds = wiring, seconds
        self._opened: deque[float] = deque(maxlen=most)

    async def acquire(self) -> None:
        """Wait until another connection may be opened, and count it."""
        while len(self._opened) == self._opened.maxlen:
            wait = self._opened[0] + self._seconds - self._wiring.monotonic()
            if wait <= 0:
                break
            await self._wiring.sleep(wait)
        self._opened.append(self._wiring.monotonic())


class Room:
    """How many trades wait in memory, and whether there is room for more."""

    def __init__(self, most: int) -> None:
        self.most, self.waiting = most, 0
        self._has_room = asyncio.Event()
        self._has_room.set()

    def update(self, waiting: int) -> None:
        """Tell how many wait now."""
        had_room, self.waiting = self.waiting < self.most, waiting
        if had_room == (waiting < self.most):
            return
        if had_room:
            self._has_room.clear()
        else:
            self._has_room.set()

    async def wait(self) -> None:
        """Return when there is room."""
        await self._has_room.wait()
