"""Lines of trades as columns of integers, cut at the windows that they fall into; what is no trade is refused by name.

All lines of a message are read at once; only a message in which something is wrong is read line by line. Nothing here
raises for any bytes whatever: the runner of one machine would read the message again, and again.
"""

import math
import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, NamedTuple

import numpy as np
import orjson
import pyarrow as pa

from coinbeam.errors import CoinbeamError
from coinbeam.feeds.trades.message import FILLED, GAP, MARKS, PRICE, PRICE_COLON, START, WINDOW
from coinbeam.settings import PRICE_SYMBOL
from coinbeam.sources.aggregate_trade import LARGEST_ID, MOST_SINGLES, PLACES, TRADE

SCALE = 10**PLACES

MISSED = "missed"
"""Kind of a mark that no line holds: a trade was refused, so that it is missing as long as its id does not come."""

POLLED = "polled"
"""Kind of a mark that no line holds: prices were polled in this window, and nobody knows those between them."""

WINDOW_MS = int(WINDOW.total_seconds() * 1_000)
LONGEST_MARK = 1_440
"""Windows before its last one that a mark touches, beside its first: those of the day in which late trades count."""

_FAR_AHEAD_MS = 3_600_000
"""How far a refused trade may be ahead for its window to be marked: another clock may be wrong by so much."""

LARGEST_MESSAGE = 10_000_000
"""Bytes of a message, the limit of Pub/Sub; a larger one has lost its end."""

MOST_TOUCHED = 100_000
"""Windows that the marks of a message touch; a publisher writes some few."""

COLUMNS = ("agg_trade_id", "price", "quantity", "rest")
"""Of the array of a window, all of type int64: price and quantity in 1e-8. The rest is packed, see :func:`unpack`:
half as many bytes are kept and sent for each trade. A polled price has the quantity 0, which no trade has, and as price
the bits of its double, which as integers have the same order.
"""

_TIME_BITS = 16
"""Enough for the milliseconds of a window."""

_UNREADABLE = (ValueError, TypeError, KeyError, AttributeError, OverflowError, pa.ArrowException)
"""What reading values of any JSON may raise."""

_DECIMAL = pa.decimal128(38, PLACES)

_FIELDS = "apqTflm"
_VALUES = itemgetter("e", "s", *_FIELDS)


class Mark(NamedTuple):
    """What is known of trades that are not there; see :mod:`coinbeam.feeds.trades.message`."""

    kind: str
    first_id: int
    last_id: int
    after: int
    before: int


@dataclass(frozen=True)
class Part:
    """What one message says of one window of one symbol.

    Attributes:
        start: begin of the window in milliseconds.
        trades: of shape (trades, ``COLUMNS``), int64.
        marks: those that touch the window.
    """

    symbol: str
    start: int
    trades: "np.ndarray[Any, np.dtype[np.int64]]"
    marks: frozenset[Mark] = frozenset()


@dataclass(frozen=True)
class RefusedLine:
    """A line that is no trade and no mark.

    Attributes:
        number: position in the message from 0; None for a message as a whole.
        reason: class of the fault.
        column: field that is wrong, or None.
        line: the bytes.
    """

    number: int | None
    reason: str
    column: str | None
    line: bytes


class _LineError(CoinbeamError):
    def __init__(self, reason: str, column: str | None = None) -> None:
        super().__init__(reason, "")
        self.reason, self.column = reason, column


@dataclass(frozen=True)
class Limits:
    """What a trade may be.

    Attributes:
        symbols: those that are followed; empty: any of the right form.
        earliest: milliseconds; an older trade belongs to a window that is closed for good.
        latest: milliseconds; a later one has not happened yet.
    """

    symbols: frozenset[str] = frozenset()
    earliest: int = 0
    latest: int = 4_102_444_800_000


def read_lines(data: bytes, limits: Limits, symbol: str | None = None) -> Iterator[Part | RefusedLine]:
    """The windows of a message, and each line that is refused.

    Args:
        symbol: what the message says that its lines are of; None when nothing said so, as in a landed file.
    """
    if len(data) > LARGEST_MESSAGE and symbol is not None:
        yield RefusedLine(None, "too_large", None, data)
        return
    lines = [line for line in data.splitlines() if line]
    try:
        rows = orjson.loads(b"[" + b",".join(lines) + b"]") if lines else []
        if len(rows) != len(lines):  # a line of `1,2` would be two
            raise ValueError
        trades, marks = _columns(rows, limits, symbol), list[tuple[str, Mark]]()
    except (*_UNREADABLE, _LineError):
        trades, marks, refused = _one_by_one(lines, limits, symbol)
        yield from refused
    yield from _parts(trades, marks)


def read_unreadable(data: bytes, limits: Limits, symbol: str | None = None) -> Iterator[RefusedLine]:
    """The refused lines of a message that holds no trade: the publisher keeps the id of what looks like one as missing,
    and no file has it, so that it must not count here either.
    """
    found = list(read_lines(data, limits, symbol))
    refused = [one for one in found if isinstance(one, RefusedLine)]
    yield from refused or [RefusedLine(0, "refused_by_publisher", None, data)]


def _one_by_one(
    lines: Sequence[bytes], limits: Limits, symbol: str | None
) -> tuple[dict[str, Any], list[tuple[str, Mark]], list[RefusedLine]]:
    """Trades, marks, those of refused trades among them, and refused lines."""
    good, marks, refused = list[dict[str, Any]](), list[tuple[str, Mark]](), list[RefusedLine]()
    points, reach = dict[str, list[tuple[list[int], int]]](), 0
    for number, line in enumerate(lines):
        try:
            row = _object(line)
            if row.get("e") in MARKS:
                mark = _mark(row, limits, symbol)
                reach += min((mark[1].before - mark[1].after) // WINDOW_MS, LONGEST_MARK) + 2
                if reach > MOST_TOUCHED:
                    raise _LineError("too_many_marks")
                marks.append(mark)
            elif row.get("e") == PRICE:
                name, point, start = _point(row, limits, symbol)
                points.setdefault(name, []).append((point, start))
                marks.append((name, Mark(POLLED, 0, 0, start, start)))
            else:
                _columns([row], limits, symbol)
                good.append(row)
        except _LineError as error:
            refused.append(RefusedLine(number, error.reason, error.column, line))
        except _UNREADABLE:
            refused.append(RefusedLine(number, "wrong_value", None, line))
    missed = (_missed(one.line, limits, symbol) for one in refused)
    found = _columns(good, limits, symbol) | {name: _table(known) for name, known in points.items()}
    return found, marks + [mark for mark in missed if mark], refused


def _point(row: Mapping[str, Any], limits: Limits, symbol: str | None) -> tuple[str, list[int], int]:
    """Symbol, ``COLUMNS`` and begin of the window of a polled price.

    Raises:
        _LineError: it is none.
    """
    name, price = _text(row.get("s")), row.get("p")
    _refuse_symbol(name, limits, symbol)
    if PRICE_COLON not in name:
        raise _LineError("wrong_value", "s")
    if not isinstance(price, int | float) or isinstance(price, bool) or not 0 < price < math.inf:
        raise _LineError("wrong_value", "p")
    id, at = _natural(row, "a"), _natural(row, "T")
    if not limits.earliest <= at <= limits.latest:
        raise _LineError("too_old" if at < limits.earliest else "in_future", "T")
    bits = int(np.array(price, np.float64).view(np.int64))
    return name, [id, bits, 0, (1 << _TIME_BITS | at % WINDOW_MS) << 1], at - at % WINDOW_MS


def _natural(row: Mapping[str, Any], column: str) -> int:
    value = row.get(column)
    if type(value) is not int or not 0 <= value <= LARGEST_ID:
        raise _LineError("wrong_value", column)
    return value


def _table(points: Sequence[tuple[list[int], int]]) -> tuple[Any, Any]:
    return np.array([point for point, _ in points], np.int64), np.array([start for _, start in points], np.int64)


def _missed(line: bytes, limits: Limits, symbol: str | None) -> tuple[str, Mark] | None:
    """The mark of a trade that was refused, if its symbol, id and time can be read."""
    try:
        row = _object(line)
        name = _text(row.get("s"))
        _refuse_symbol(name, limits, symbol)
    except _LineError:
        return None
    id, at = row.get("a"), row.get("T")
    if row.get("e") != TRADE or type(id) is not int or type(at) is not int or not 0 <= id <= LARGEST_ID:
        return None
    is_open = limits.earliest <= at <= limits.latest + _FAR_AHEAD_MS
    return (name, Mark(MISSED, id, id, at, at)) if is_open else None


def _object(line: bytes) -> dict[str, Any]:
    try:
        row = orjson.loads(line)
    except ValueError:
        raise _LineError("not_json") from None
    if not isinstance(row, dict):
        raise _LineError("not_an_object")
    return row


def _columns(rows: Sequence[Mapping[str, Any]], limits: Limits, symbol: str | None) -> dict[str, Any]:
    """Trades by symbol, as an array of ``COLUMNS`` and the begin of each one's window.

    Raises:
        _LineError: a row is no trade; of one row alone the error names what is wrong with it.
    """
    if not rows:
        return {}
    try:
        kinds, names, *values = zip(*map(_VALUES, rows), strict=True)
    except KeyError as error:
        if any(row.get("e") != TRADE for row in rows):
            raise _LineError("unknown_kind", "e") from None
        raise _LineError("missing_field", error.args[0]) from None
    if kinds.count(TRADE) != len(rows):
        raise _LineError("unknown_kind", "e")
    ids, prices, quantities, times, firsts, lasts, makers = map(_integers, _FIELDS, values)
    for name, amounts in (("p", prices), ("q", quantities)):
        if (amounts <= 0).any():
            raise _LineError("not_positive", name)
    counts = lasts - firsts + 1
    for name, wrong in (
        ("a", (ids < 0) | (ids > LARGEST_ID)),
        ("f", firsts < 0),
        ("l", (lasts < firsts) | (counts > MOST_SINGLES)),
    ):
        if wrong.any():
            raise _LineError("wrong_id", name)
    if times.min() < limits.earliest:
        raise _LineError("too_old", "T")
    if times.max() > limits.latest:
        raise _LineError("in_future", "T")
    found, of = _symbols(names)
    for each in found:
        _refuse_symbol(each, limits, symbol)
        if PRICE_COLON in each:
            raise _LineError("wrong_value", "s")
    rest = (counts << _TIME_BITS | times % WINDOW_MS) << 1 | makers
    table, starts = np.stack([ids, prices, quantities, rest], axis=1), times - times % WINDOW_MS
    if len(found) == 1:
        return {found[0]: (table, starts)}
    return {each: (table[of == number], starts[of == number]) for number, each in enumerate(found)}


def unpack(rest: Any) -> tuple[Any, Any, Any]:
    """Of the last column: single trades in each aggregate one, milliseconds since the begin of the window, and 1 where
    the buyer was the maker.
    """
    return rest >> _TIME_BITS + 1, (rest >> 1) & ((1 << _TIME_BITS) - 1), rest & 1


def _integers(field: str, values: Sequence[Any]) -> Any:
    """One field of all rows as integers.

    Raises:
        _LineError: one is of another type, or out of range.
    """
    try:
        if field == "m":
            return pa.array(values, pa.bool_()).to_numpy(zero_copy_only=False)
        if field in "pq":
            return _scaled(values)
        return pa.array(values, pa.int64()).to_numpy()
    except (pa.ArrowException, TypeError, ValueError, OverflowError):
        raise _LineError("wrong_value", field) from None


def _scaled(texts: Sequence[Any]) -> Any:
    """Decimal texts as integers of 1e-8, exact.

    Raises:
        ValueError: one is no decimal text of at most 8 places, or too large.
    """
    given = pa.array(texts, pa.string())
    if given.null_count:
        raise ValueError("null")
    halves = np.frombuffer(given.cast(_DECIMAL).buffers()[1], np.int64).reshape(-1, 2)  # little-endian 128 bits
    if (halves[:, 1] != halves[:, 0] >> 63).any():
        raise ValueError("too large")
    return halves[:, 0]


def _symbols(names: Sequence[Any]) -> tuple[list[str], Any]:
    """The different symbols, and the position in them of that of each row.

    Raises:
        _LineError: one is no text, or empty.
    """
    try:
        encoded = pa.array(names, pa.string()).dictionary_encode()
    except pa.ArrowException:
        raise _LineError("missing_field", "s") from None
    found: list[str] = encoded.dictionary.to_pylist()
    if encoded.null_count or "" in found:
        raise _LineError("missing_field", "s")
    return found, encoded.indices.to_numpy()


def _text(name: Any) -> str:
    if not isinstance(name, str) or not name:
        raise _LineError("missing_field", "s")
    return name


_FORM = re.compile(rf"(?:(?![a-z])[\w-]){{2,40}}|{PRICE_SYMBOL}")
"""Of a symbol, which becomes the name of a file. Binance has pairs in Chinese, and futures like ETHUSD_210924."""


def _refuse_symbol(name: str, limits: Limits, symbol: str | None) -> None:
    if symbol is not None and name != symbol:
        raise _LineError("other_symbol", "s")
    if name not in limits.symbols if limits.symbols else not _FORM.fullmatch(name):
        raise _LineError("unknown_symbol", "s")


def _mark(row: Mapping[str, Any], limits: Limits, symbol: str | None) -> tuple[str, Mark]:
    """A mark and its symbol.

    Raises:
        _LineError: it lacks what its kind needs.
    """
    kind, name = row["e"], _text(row.get("s"))
    _refuse_symbol(name, limits, symbol)
    fields = ("f", "T") if kind == START else ("f", "l", "T", "U")
    for field in fields:
        value = row.get(field)
        if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= LARGEST_ID:
            raise _LineError("wrong_value", field)
    mark = Mark(kind, row["f"], row.get("l", row["f"]), row["T"], row.get("U", row["T"]))
    if mark.last_id < mark.first_id or mark.before < mark.after:
        raise _LineError("wrong_value", "l" if mark.last_id < mark.first_id else "U")
    if not limits.earliest <= mark.before <= limits.latest:
        raise _LineError("too_old" if mark.before < limits.earliest else "in_future", "U" if "U" in fields else "T")
    return name, mark


def touched(mark: Mark) -> list[int]:
    """The begins of the windows that a mark touches, in milliseconds."""
    first, last = (moment - moment % WINDOW_MS for moment in (mark.after, mark.before))
    starts = list(range(max(first, last - WINDOW_MS * LONGEST_MARK), last + 1, WINDOW_MS))
    return starts if starts[0] == first else [first, *starts]


def _parts(trades: Mapping[str, Any], marks: Sequence[tuple[str, Mark]]) -> Iterator[Part]:
    """Trades and marks by symbol and window."""
    pieces: dict[tuple[str, int], Any] = {}
    for symbol, (table, starts) in trades.items():
        first = int(starts[0])
        if (starts == first).all():
            pieces[symbol, first] = table
        else:
            for start in np.unique(starts).tolist():
                pieces[symbol, start] = table[starts == start]
    touching: dict[tuple[str, int], set[Mark]] = {}
    for symbol, mark in marks:
        for start in touched(mark):
            touching.setdefault((symbol, start), set()).add(mark)
    empty = np.empty((0, len(COLUMNS)), np.int64)
    for symbol, start in sorted(pieces.keys() | touching.keys()):
        found = frozenset(touching.get((symbol, start), ()))
        yield Part(symbol, start, pieces.get((symbol, start), empty), found)


def open_marks(marks: frozenset[Mark], ids: Collection[int] = ()) -> int:
    """Starts, gaps that nobody filled, refused trades whose ids are not there, and that prices were polled."""
    filled = {(mark.first_id, mark.last_id) for mark in marks if mark.kind == FILLED}
    gaps = {(mark.first_id, mark.last_id) for mark in marks if mark.kind == GAP}
    missed = {mark.first_id for mark in marks if mark.kind == MISSED}.difference(ids)
    return len(gaps - filled) + len(missed) + sum(mark.kind in (START, POLLED) for mark in marks)
