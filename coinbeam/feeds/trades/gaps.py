"""One symbol, followed: what is published of it and in which order, whatever arrives. Pure: no network, no clock.

A trade whose id does not follow the last one opens a gap. Trades behind it are held for ``PATIENCE_SECONDS``, in which
REST, or the other one of two connections, usually brings what is missing: then all go on in order, and no mark is
needed. Else a ``gap`` mark goes on before the first trade behind the gap; what comes later goes on when it comes, and a
``filled`` mark behind the last of it. Ids that REST has no more are never filled. A hole in time whose ids are
consecutive is a halt of the market and no gap.

An id that was seen is a duplicate and is not published again. An id that cannot be true is doubted, see
:mod:`coinbeam.feeds.trades.doubt`; where a venue counts anew, that is marked by a ``gap`` that stays and another
``start``. A trade from before the start is not published: of its window nothing else is known.
"""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import NamedTuple

from coinbeam.feeds.trades.doubt import Doubt, is_too_high
from coinbeam.feeds.trades.entries import Bundle, Entry, Mark, bundle_of
from coinbeam.feeds.trades.message import FILLED, GAP, START
from coinbeam.feeds.trades.position import Position, Range
from coinbeam.feeds.trades.seen import Hole, Seen
from coinbeam.sources.binance import LARGEST_ANSWER, Trade

PATIENCE_SECONDS = 3.0
"""How long trades behind a gap are held while REST is asked."""

GRACE_SECONDS = 0.25
"""How long the streams have to bring a missing id themselves: two connections overlap, and frames change places."""

DEAF_SECONDS = 2.0
"""How much later than REST the stream may bring a trade of a silent symbol before its connection counts as deaf."""

_LONGEST_WAIT_SECONDS = 60.0
_LARGEST_MESSAGE = 4 * 2**20


class Limits(NamedTuple):
    """How large a message may be, how long it waits for more trades, and how long a symbol may be silent."""

    trades: int
    seconds: float
    silence_seconds: float


class Ask(NamedTuple):
    """A question to REST.

    Attributes:
        first: id from which on rows are wanted; None for the newest one.
        last: id of the last one that is missing; None to go on to the newest.
        since: milliseconds from which on rows are wanted instead, where what is missing is too old for any window.
        is_watch: asked because the symbol was silent.
    """

    symbol: str
    first: int | None
    last: int | None = None
    since: int | None = None
    is_watch: bool = False

    @property
    def limit(self) -> int:
        """How many rows are asked for."""
        if self.first is None:
            return 1
        return LARGEST_ANSWER if self.last is None else min(LARGEST_ANSWER, self.last - self.first + 1)


@dataclass
class Counts:
    """What happened to one symbol since the publisher began.

    Attributes:
        trades: that were published, in so many ``messages``.
        duplicates: trades that came again.
        early: trades that came too late, from before the one with which the symbol began to be followed.
        gaps_found: with those that were open when the publisher began.
    """

    trades: int = 0
    messages: int = 0
    duplicates: int = 0
    early: int = 0
    gaps_found: int = 0
    gaps_refilled: int = 0


@dataclass
class _Pending:
    """A gap that trades behind it wait for, and what came of it."""

    hole: Hole
    deadline: float
    trades: dict[int, Trade] = field(default_factory=dict)

    def covers(self, id: int) -> bool:
        return self.hole.first <= id <= self.hole.last


class Tracker:
    """One symbol from its frames and rows to its messages.

    Attributes:
        false: trades whose ids REST does not know; whoever takes them out passes them on as no trades.

    Seconds are those of one clock that never goes back. One message of a symbol is under way at a time: between
    :meth:`take` and :meth:`acknowledged` nobody takes another one.
    """

    def __init__(self, position: Position, limits: Limits, now: float) -> None:
        """Go on from a position, which is that of a symbol never followed when it has seen nothing."""
        self.symbol, self.position, self.limits = position.symbol, position, limits
        self.seen: Seen | None = position.seen.copy() if position.seen else None
        self.counts = Counts(gaps_found=len(position.gaps))
        self.waiting = 0
        self.false: list[Trade] = []
        self._open: dict[Range, Mark] = dict(position.gaps)
        self._ready: deque[Entry] = deque()
        self._held: deque[Entry | _Pending] = deque()
        self._pending: list[_Pending] = []
        self._oldest = now
        self._tail_at = now if self.seen else now + limits.silence_seconds
        self._rest_at = now
        self._is_caught_up = self.seen is None
        self._heard = -1
        self._suspicion: tuple[float, int] | None = None
        self._doubt = Doubt()
        if self.seen and not position.is_started:
            self._queue(Mark(START, self.symbol, self.seen.first, self.seen.first, self.seen.at, self.seen.at), now)
        self._close_gaps(now)

    @property
    def gaps_open(self) -> int:
        """Gaps that are not refilled, or never will be."""
        return self.counts.gaps_found - self.counts.gaps_refilled

    def hear(self, trade: Trade, now: float) -> bool:
        """Take a trade of the stream; False for one that came before, is from before the first, or is doubted."""
        self._tail_at = now + self.limits.silence_seconds
        self._is_caught_up = True
        is_new = self._take_in(trade, now)
        if self.seen:
            self._heard = min(max(self._heard, trade.id), self.seen.next - 1)
        return is_new

    def wants(self, now: float, oldest: int) -> Ask | None:
        """What REST should be asked now, if anything.

        Args:
            oldest: milliseconds; earlier trades belong to windows that take no more trades.
        """
        if now < self._rest_at:
            return None
        seen = self.seen
        if self._doubt.wants(now):
            return Ask(self.symbol, None)
        for hole in seen.holes if seen else ():
            if not hole.is_gone and hole.ask_at <= now:
                since = oldest if hole.after < oldest else None
                return Ask(self.symbol, hole.first, hole.last, since)
        if now < self._tail_at:
            return None
        if seen is None:
            return Ask(self.symbol, None, is_watch=True)
        since = oldest if not self._is_caught_up and seen.at < oldest else None
        return Ask(self.symbol, seen.next, since=since, is_watch=self._is_caught_up)

    def missed(self, id: int, now: float) -> None:
        """A trade came that cannot be read. If it is the next one, REST is asked soon, not when another one comes."""
        if self.seen and id == self.seen.next and self._is_caught_up:
            self._is_caught_up, self._tail_at = False, now + GRACE_SECONDS

    def answered(self, ask: Ask, trades: list[Trade], rows: int, now: float, unreadable: Sequence[int] = ()) -> int:
        """Take the answer to a question.

        Args:
            trades: the readable ones of its rows, by ascending id.
            rows: how many rows it had.
            unreadable: ids of others of its rows: REST has no better ones.

        Returns:
            How many ids turned out to be gone.
        """
        if ask.first is None and self.seen:
            self._judge(self.seen, trades, now)
            return 0
        for trade in trades:
            if ask.last is None or trade.id <= ask.last:
                self._take_in(trade, now)
        seen = self.seen
        first = next((trade.id for trade in trades if ask.first is None or trade.id >= ask.first), None)
        if ask.last is None and (first is None or rows < ask.limit):
            self._tail_at, self._is_caught_up = now + self.limits.silence_seconds, True
        if ask.first is None or seen is None:
            return 0
        gone = sum(seen.give_up(id, id) for id in unreadable)
        if first is None:
            if not gone:
                self._back_off(seen, ask, now)
            return gone
        if ask.is_watch:
            self._suspicion = (now + DEAF_SECONDS, first)
        return gone + seen.give_up(ask.first, first - 1 if ask.last is None else min(first - 1, ask.last))

    def refused(self, seconds: float, now: float) -> None:
        """Ask nothing for a while: REST refuses this symbol."""
        self._rest_at = now + seconds

    def is_deaf(self, now: float) -> bool:
        """Whether REST had trades that the stream still has not brought; told once for each time it was asked."""
        if self._suspicion is None or now < self._suspicion[0]:
            return False
        _, expected = self._suspicion
        self._suspicion = None
        return self._heard < expected

    def is_due(self, now: float) -> bool:
        """Whether a message is full, or its first entry has waited long enough."""
        self._release(now)
        if not self._ready:
            return False
        return len(self._ready) >= self.limits.trades or now - self._oldest >= self.limits.seconds

    def take(self, now: float, *, all_of_it: bool = False) -> Bundle | None:
        """The next message, None when nothing waits; with ``all_of_it`` nothing is held back any longer."""
        self._release(now, all_of_it=all_of_it)
        entries: list[Entry] = []
        size = 0
        while self._ready and len(entries) < self.limits.trades and size < _LARGEST_MESSAGE:
            entries.append(self._ready.popleft())
            size += len(entries[-1].line)
        return bundle_of(self.symbol, entries) if entries else None

    def acknowledged(self, bundle: Bundle) -> None:
        """Count a message as published."""
        self.position.advance(bundle.entries)
        self.waiting -= len(bundle.entries)
        self.counts.messages += 1
        self.counts.trades += len(bundle.entries) - len(bundle.marks)

    def _judge(self, seen: Seen, newest: Sequence[Trade], now: float) -> None:
        """Take in what was doubted and is true."""
        if not newest:
            self._doubt.unanswered(now)
            return
        true, false = self._doubt.judged(seen, newest[-1])
        self.false += false
        self.waiting -= len(true) + len(false)
        for trade in true:
            self._take_in(trade, now, is_true=True)

    def _take_in(self, trade: Trade, now: float, *, is_true: bool = False) -> bool:
        seen = self.seen
        if seen is None:
            self._start(trade, now)
            return True
        if not is_true and is_too_high(seen, trade):
            self.waiting += self._doubt.hold(trade)
            return False
        if not seen.add(trade.id, trade.at):
            if trade.at <= seen.at:
                self.counts.duplicates += trade.id >= seen.first
                self.counts.early += trade.id < seen.first
                return False
            if not is_true:
                self.waiting += self._doubt.hold(trade)
                return False
            self._start_anew(seen, trade, now)
            return True
        pending = next((one for one in self._pending if one.covers(trade.id)), None) if self._pending else None
        if pending:
            self.waiting += trade.id not in pending.trades
            pending.trades[trade.id] = trade
        else:
            if seen.holes and (hole := seen.below(trade.id)):
                self._hold(hole, now)
            self._queue(trade, now)
        if self._open:
            self._close_gaps(now, trade.id)
        return True

    def _start(self, trade: Trade, now: float) -> None:
        self.seen = Seen(trade.id, trade.at)
        self._queue(Mark(START, self.symbol, trade.id, trade.id, trade.at, trade.at), now)
        self.seen.add(trade.id, trade.at)
        self._queue(trade, now)

    def _start_anew(self, seen: Seen, trade: Trade, now: float) -> None:
        """What was between the old ids and the new ones is not known, and never will be."""
        self._release(now, all_of_it=True)
        self._queue(Mark(GAP, self.symbol, seen.next, seen.next, seen.at, trade.at), now)
        self.counts.gaps_found += 1
        self._open.clear()
        self._start(trade, now)

    def _queue(self, entry: Entry, now: float) -> None:
        self.waiting += 1
        if self._held:
            self._held.append(entry)
            return
        if not self._ready:
            self._oldest = now
        self._ready.append(entry)

    def _hold(self, hole: Hole, now: float) -> None:
        hole.ask_at = max(hole.ask_at, now + GRACE_SECONDS)
        self.counts.gaps_found += 1
        pending = _Pending(Hole(hole.first, hole.last, hole.after, hole.before), now + PATIENCE_SECONDS)
        self._pending.append(pending)
        self._held.append(pending)

    def _release(self, now: float, *, all_of_it: bool = False) -> None:
        """Let go on what is held, up to the next gap that is worth waiting for."""
        while self._held:
            head = self._held[0]
            if isinstance(head, _Pending):
                if not (all_of_it or now >= head.deadline or self._is_settled(head)):
                    return
                self._pending.remove(head)
                released = self._resolved(head)
            else:
                released = [head]
            if not self._ready:
                self._oldest = now
            self._ready.extend(released)
            self._held.popleft()

    def _is_settled(self, pending: _Pending) -> bool:
        """Whether everything of a gap came, or is gone."""
        if self.seen is None:
            return True
        return all(hole.is_gone for hole in self.seen.within(pending.hole.first, pending.hole.last))

    def _resolved(self, pending: _Pending) -> list[Entry]:
        """What came of a gap by ascending id, and before each part of it that did not come a mark."""
        hole, entries = pending.hole, list[Entry]()
        came = sorted(pending.trades.values(), key=lambda trade: trade.id)
        below = Trade(self.symbol, hole.first - 1, hole.after, b"")
        above = Trade(self.symbol, hole.last + 1, hole.before, b"")
        marks = 0
        for lower, upper in pairwise([below, *came, above]):
            if lower is not below:
                entries.append(lower)
            if upper.id > lower.id + 1:
                mark = Mark(GAP, self.symbol, lower.id + 1, upper.id - 1, *sorted((lower.at, upper.at)))
                self._open[mark.first, mark.last] = mark
                entries.append(mark)
                marks += 1
        self.waiting += marks
        self.counts.gaps_refilled += not marks
        self.counts.gaps_found += max(0, marks - 1)
        return entries

    def _close_gaps(self, now: float, id: int | None = None) -> None:
        """Mark open gaps as filled of which nothing is missing any more: all of them, or those that an id lies in."""
        seen = self.seen
        if seen is None:
            return
        for ids, mark in list(self._open.items()):
            if (id is None or mark.first <= id <= mark.last) and not seen.lacks(*ids):
                del self._open[ids]
                self.counts.gaps_refilled += 1
                self._queue(mark._replace(kind=FILLED), now)
            elif mark.first < seen.floor:
                del self._open[ids]

    def _back_off(self, seen: Seen, ask: Ask, now: float) -> None:
        """REST has nothing yet from an id on: ask for the hole again later, ever more rarely."""
        for hole in seen.within(ask.first or 0, ask.first or 0):
            hole.tries += 1
            hole.ask_at = now + min(_LONGEST_WAIT_SECONDS, 2.0**hole.tries)
