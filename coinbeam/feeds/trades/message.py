"""What travels through the topic: lines of NDJSON, each an aggregate trade as Binance sent it, or a line of ours, which
is a mark or a polled price.

A mark says what is known of trades that are not there. It lies in the same lines as the trades, so that the landed
bytes alone decide whether a window is complete: the stream and a batch of the landed files cannot disagree.

======  ==========================================================================================================
mark    meaning
======  ==========================================================================================================
start   this symbol is followed from id ``f`` on, first traded at ``T``; nothing before it was seen
gap     ids ``f`` to ``l`` are missing, between the trade at ``T`` and the one at ``U``
filled  the same ids, ``T`` and ``U``: the gap was refilled, whatever order the two marks come in
======  ==========================================================================================================

A ``price`` is no trade: somebody asked an index, and it said so much. It has a symbol with a colon, such as
``bitcoin:usd``, which no venue has, so that the two never share a window; its price is a number as the index wrote it,
and its id and ``T`` say when the index computed it.

Times are milliseconds since 1970 in UTC, as Binance writes them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import orjson

WINDOW = timedelta(seconds=60)
"""Length of a window; windows begin at whole multiples of it since 1970."""

ALLOWED_LATENESS = timedelta(days=1)
"""How long after its end a window still takes trades."""

START, GAP, FILLED = "start", "gap", "filled"
"""Values of ``e``, the kind of a line, beside that of a trade."""

MARKS = frozenset({START, GAP, FILLED})

PRICE = "price"
"""Value of ``e`` of a polled price."""

PRICE_COLON = ":"
"""Between asset and quote currency in the symbol of a polled price."""

HEARTBEAT = "heartbeat"
"""Value of the attribute ``kind`` of a message without lines: it carries the time on when no trade does."""

UNREADABLE = "unreadable"
"""Value of ``kind`` of a message whose line the publisher took for no trade."""


@dataclass(frozen=True)
class Message:
    """One message of the topic.

    Attributes:
        data: lines of one symbol, each ended by a newline; empty for a heartbeat.
        attributes: ``kind`` (``trades``, ``heartbeat`` or ``unreadable``), ``event_time`` (milliseconds, that of the
            earliest line); of trades also ``symbol``, ``first_id`` and ``last_id``.
    """

    data: bytes
    attributes: dict[str, str] = field(default_factory=dict)


def bundle(symbol: str, lines: Sequence[bytes], first_id: int, last_id: int, event_time: int) -> Message:
    """A message of lines of one symbol, in the order in which they are given.

    Args:
        lines: at least one, each one JSON object without a newline.
        first_id: smallest aggregate trade id among the lines, ``last_id`` the largest.
        event_time: milliseconds of the earliest line.
    """
    attributes = {
        "kind": "trades",
        "symbol": symbol,
        "event_time": str(event_time),
        "first_id": str(first_id),
        "last_id": str(last_id),
    }
    return Message(b"\n".join(lines) + b"\n", attributes)


def heartbeat(now: datetime) -> Message:
    """A message that says how late it is."""
    return Message(b"", {"kind": HEARTBEAT, "event_time": str(int(now.timestamp() * 1_000))})


def unreadable(line: bytes, now: datetime) -> Message:
    """A message of a line that is no trade of a symbol that is followed; the pipeline makes a dead letter of it without
    a second opinion, and it is not landed. It is as late as the moment at which it came.
    """
    return Message(line + b"\n", {"kind": UNREADABLE, "event_time": str(int(now.timestamp() * 1_000))})


def price_line(symbol: str, id: int, price: float, at: int) -> bytes:
    """The line of a polled price.

    Args:
        id: ascending with time, the same for the same point whoever polls it.
    """
    return orjson.dumps({"e": PRICE, "s": symbol, "a": id, "p": price, "T": at})


def start_mark(symbol: str, first_id: int, at: int) -> bytes:
    """The line that says from which id on a symbol is followed."""
    return orjson.dumps({"e": START, "s": symbol, "f": first_id, "T": at})


def gap_mark(symbol: str, first_id: int, last_id: int, after: int, before: int) -> bytes:
    """The line that says which ids are missing.

    Args:
        first_id: of those that are missing, ``last_id`` the last one, included.
        after: milliseconds of the last trade before the gap, ``before`` of the first one behind it.
    """
    return orjson.dumps({"e": GAP, "s": symbol, "f": first_id, "l": last_id, "T": after, "U": before})


def filled_mark(symbol: str, first_id: int, last_id: int, after: int, before: int) -> bytes:
    """The line that says that a gap was refilled; its arguments are those of its :func:`gap_mark`."""
    return orjson.dumps({"e": FILLED, "s": symbol, "f": first_id, "l": last_id, "T": after, "U": before})
