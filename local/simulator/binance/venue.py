"""The state of the venue: its tape, its clock, what is ordered to go wrong, its weights and its connections."""

from collections import deque
from collections.abc import Callable
from dataclasses import asdict
from datetime import datetime
from typing import Any, Protocol

from local.simulator.answers import ApiError
from local.simulator.binance.errors import INVALID_SYMBOL
from local.simulator.binance.faults import EndingOrder, FrameFaults, HaltOrder, VenueOrder
from local.simulator.binance.tape import Tape, milliseconds
from local.simulator.binance.weights import Weights
from local.simulator.market import Market

CONNECTIONS = 300
"""Handshakes that Binance takes of one address within ``CONNECTIONS_SECONDS``."""

CONNECTIONS_SECONDS = 300.0


class Ends(Protocol):
    """A connection that can be told to end."""

    def end(self, order: EndingOrder) -> None:
        """Come to an end soon."""


class Venue:
    """One simulated Binance.

    Args:
        market: whose prices its trades follow.
        now: the simulated instant, which may stand still or jump.
        monotonic: seconds that never go back, for the limits.
        trades_per_second: trades of each symbol.
    """

    def __init__(
        self, market: Market, now: Callable[[], datetime], monotonic: Callable[[], float], trades_per_second: float
    ) -> None:
        self.tape = Tape(market, trades_per_second)
        self.monotonic, self._now = monotonic, now
        self.connections: set[Ends] = set()
        self.reset()

    def reset(self) -> None:
        """Go back to the start: no faults, no halts, no weight used. Connections stay."""
        self.tape.resume()
        self._opened: deque[float] = deque()
        self.weights = Weights(self.monotonic)
        self.order_faults(VenueOrder())

    def now_ms(self) -> int:
        """The simulated instant in milliseconds since 1970."""
        return milliseconds(self._now())

    def order_faults(self, order: VenueOrder) -> None:
        """Replace the faults; halts stay."""
        self.faults = FrameFaults(order, self.now_ms())
        self.weights.order(order)

    def halt(self, order: HaltOrder) -> None:
        """Put a halt into the tape, behind what was already read.

        Raises:
            ApiError: an unknown symbol.
        """
        if order.symbol not in self.tape.listings:
            raise ApiError(INVALID_SYMBOL)
        start = self.now_ms() + 1 + round(order.after_seconds * 1_000)
        self.tape.halt(order.symbol, start, start + round(order.seconds * 1_000))

    def end_connections(self, order: EndingOrder) -> int:
        """Bring all connections to an end; how many they are."""
        for connection in self.connections:
            connection.end(order)
        return len(self.connections)

    def admits(self) -> bool:
        """Count a handshake; False for one too many. A refused one does not fill the window further."""
        now = self.monotonic()
        while self._opened and now - self._opened[0] >= CONNECTIONS_SECONDS:
            self._opened.popleft()
        if len(self._opened) >= CONNECTIONS:
            return False
        self._opened.append(now)
        return True

    def report(self) -> dict[str, Any]:
        """The order in force, what it did, the halts, the connections and the weight used."""
        return {
            "order": self.faults.order.model_dump(mode="json"),
            "sent": dict(self.faults.sent),
            "halts": {symbol: [asdict(halt) for halt in halts] for symbol, halts in self.tape.halts().items()},
            "connections": len(self.connections),
            "used_weight": self.weights.used,
        }
