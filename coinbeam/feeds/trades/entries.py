"""What waits to be published of one symbol: trades and marks, in the order in which they must be."""

from collections.abc import Sequence
from typing import NamedTuple

from coinbeam.feeds.trades.message import FILLED, GAP, START, Message, bundle, filled_mark, gap_mark, start_mark
from coinbeam.sources.binance import Trade


class Mark(NamedTuple):
    """A mark, see :mod:`coinbeam.feeds.trades.message`.

    Attributes:
        kind: ``start``, ``gap`` or ``filled``.
        first: id; ``last`` is the same for a start.
        after: milliseconds; ``before`` is the same for a start.
    """

    kind: str
    symbol: str
    first: int
    last: int
    after: int
    before: int

    @property
    def line(self) -> bytes:
        """The mark as it is published."""
        if self.kind == START:
            return start_mark(self.symbol, self.first, self.after)
        write = {GAP: gap_mark, FILLED: filled_mark}[self.kind]
        return write(self.symbol, self.first, self.last, self.after, self.before)


Entry = Trade | Mark


class Bundle(NamedTuple):
    """Entries that travel in one message, and the message."""

    entries: Sequence[Entry]
    message: Message

    @property
    def marks(self) -> list[Mark]:
        """The marks among the entries."""
        return [entry for entry in self.entries if isinstance(entry, Mark)]


def bundle_of(symbol: str, entries: Sequence[Entry]) -> Bundle:
    """The message of at least one entry; first and last id are those of its trades, or of its marks if it has none."""
    trades = [entry for entry in entries if isinstance(entry, Trade)]
    marks = [entry for entry in entries if isinstance(entry, Mark)]
    ids = [trade.id for trade in trades] or [id for mark in marks for id in (mark.first, mark.last)]
    earliest = min([trade.at for trade in trades] + [mark.after for mark in marks])
    return Bundle(entries, bundle(symbol, [entry.line for entry in entries], min(ids), max(ids), earliest))
