"""Everything that arrives, by symbol: frames of the streams, rows of REST, and what is neither."""

import logging
from collections import deque
from collections.abc import Sequence

from coinbeam.feeds.trades.entries import Bundle
from coinbeam.feeds.trades.gaps import Ask, Tracker
from coinbeam.feeds.trades.message import ALLOWED_LATENESS, Message, unreadable
from coinbeam.feeds.trades.pace import Room, Wiring
from coinbeam.sources.binance import Shutdown, Times, Trade, Unreadable, milliseconds, read_frame

_LOGGER = logging.getLogger(__name__)

_TRADE_BYTES = 200
"""What a waiting trade is counted as: an unreadable line takes the room of as many trades as it is long."""

_LOGGED_UNREADABLE = 20

GONE = "%s: %d trades from id %s on are gone, or no trades; their windows stay incomplete"
"""An alert looks for it: infra/modules/alerts."""


class Intake:
    """The trackers of all symbols, and the unreadable lines, each of which becomes a message of its own.

    Attributes:
        trackers: by symbol.
        lines: the unreadable ones that wait; ``unreadable`` counts all of them.
        room: what waits altogether.
    """

    def __init__(self, trackers: Sequence[Tracker], room: Room, wiring: Wiring) -> None:
        self.trackers = {tracker.symbol: tracker for tracker in trackers}
        self.lines: deque[Message] = deque()
        self.unreadable = 0
        self.room, self._wiring = room, wiring
        self._times, self._times_until = Times(0, 0), float("-inf")

    def accept(self, frame: bytes) -> bool:
        """Take a frame of a stream; True when its server goes down."""
        now = self._wiring.monotonic()
        if now >= self._times_until:
            self._times, self._times_until = Times.around(self._wiring.clock()), now + 1.0
        found = read_frame(frame, self.trackers, self._times)
        if isinstance(found, Trade):
            tracker = self.trackers[found.symbol]
            before = tracker.waiting
            tracker.hear(found, now)
            self.room.update(self.room.waiting + tracker.waiting - before)
        elif isinstance(found, Unreadable):
            self._take_line(found)
            if found.symbol is not None and found.id is not None:
                self.trackers[found.symbol].missed(found.id, now)
        return isinstance(found, Shutdown)

    def answered(self, ask: Ask, rows: Sequence[Trade | Unreadable]) -> None:
        """Take the rows that REST answered a question with."""
        trades = [row for row in rows if isinstance(row, Trade)]
        others = [row for row in rows if isinstance(row, Unreadable)]
        ids = [row.id for row in others if row.id is not None]
        tracker = self.trackers[ask.symbol]
        gone = tracker.answered(ask, trades, len(rows), self._wiring.monotonic(), ids)
        for row in others:
            self._take_line(row)
        for trade in tracker.false:
            self._take_line(Unreadable(trade.line, f"an id {trade.id} of {trade.symbol} that REST does not know"))
        tracker.false.clear()
        if gone:
            _LOGGER.warning(GONE, *_said(ask, gone))
        self.count()

    def ask(self, symbol: str) -> Ask | None:
        """What REST should be asked of a symbol now."""
        oldest = milliseconds(self._wiring.clock() - ALLOWED_LATENESS)
        return self.trackers[symbol].wants(self._wiring.monotonic(), oldest)

    def due(self, *, all_of_it: bool = False) -> list[tuple[Tracker, Bundle]]:
        """Take one message of each symbol that has one, by default only those that waited long enough."""
        now = self._wiring.monotonic()
        ready = [tracker for tracker in self.trackers.values() if all_of_it or tracker.is_due(now)]
        taken = [(tracker, tracker.take(now, all_of_it=all_of_it)) for tracker in ready]
        return [(tracker, bundle) for tracker, bundle in taken if bundle]

    def count(self) -> None:
        """Count anew what waits."""
        lines = sum(_weight(line) for line in self.lines)
        self.room.update(lines + sum(tracker.waiting for tracker in self.trackers.values()))

    def _take_line(self, found: Unreadable) -> None:
        self.unreadable += 1
        if self.unreadable <= _LOGGED_UNREADABLE:
            _LOGGER.warning("Passed on as it came, for a dead letter: %s", found.reason)
        self.lines.append(unreadable(found.data, self._wiring.clock()))
        self.room.update(self.room.waiting + _weight(self.lines[-1]))


def _weight(line: Message) -> int:
    return 1 + len(line.data) // _TRADE_BYTES


def _said(ask: Ask, gone: int) -> tuple[str, int, int | None]:
    return ask.symbol, gone, ask.first
