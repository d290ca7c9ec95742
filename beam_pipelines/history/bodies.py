"""Read a chart of the API, or a CSV export of the website, as points: by columns where every value is usual, else one
by one.

A chart holds three series, ``prices``, ``market_caps`` and ``total_volumes``, of ``[milliseconds, value]``. A point is
an element of ``prices``; the other series are joined to it by stamp. An export holds
``snapped_at,price,market_cap,total_volume``, or what others call these columns.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from functools import lru_cache
from typing import Any

import numpy as np
import simdjson

from beam_pipelines.batch_files.csv_bodies import Rows, number_reader, positions, read_moment, read_rows
from beam_pipelines.batch_files.json_bodies import (
    CURRENCY_FIELDS,
    OBJECTS,
    UNREADABLE,
    BodyFault,
    answer,
    other_currency,
    parse_lazily,
    read_json,
)
from beam_pipelines.history.specification import RawPoint
from coinbeam.contracts.instants import to_micros
from coinbeam.contracts.values import Doubles
from coinbeam.feeds.forms import CURRENCIES

FIELDS = ("prices", "market_caps", "total_volumes")
EXPORT_HEADER = ("snapped_at", "price", "market_cap", "total_volume")
EXPORT_COLUMNS = {
    "snapped_at": ("snapped_at", "date", "datetime", "timestamp", "time", "day"),
    "price": ("price",),
    "market_cap": ("market_cap", "marketcap", "market_caps"),
    "total_volume": ("total_volume", "volume", "total_volumes"),
}
"""The columns of an export, and what others call them."""

_DAY_OF_TRADE = {name: (name,) for name in ("open", "high", "low")}
"""Beside these a price is that of the end of its day, and would stand for a moment at which nobody knew it."""

_UNSTRUCTURAL = bytes(set(range(256)) - set(b"[],"))
_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)
_EPOCH_S = re.compile(r"\d{9,10}", re.ASCII)
_EPOCH_MS = re.compile(r"\d{12,13}", re.ASCII)
_UTC = re.compile(r" utc\Z", re.IGNORECASE | re.ASCII)
_NONE = type(None)


@dataclass(frozen=True)
class Points:
    """The points of a body, in its order.

    Attributes:
        stamps: milliseconds since the epoch; without meaning where unusual.
        values: one row for each series, NaN for null; without meaning where unusual.
        unusual: positions that must be judged one by one; all others hold numbers, and null only outside of stamps.
        raw: every point as it was written, when it was read one by one.
        unmatched: elements of the other series that belong to no point.
    """

    stamps: Doubles
    values: Doubles
    unusual: frozenset[int] = frozenset()
    raw: Sequence[RawPoint] | None = field(default=None, repr=False)
    unmatched: int = 0

    def point(self, position: int) -> RawPoint:
        """One point as it was written."""
        if self.raw is not None:
            return self.raw[position]
        values = self.values[:, position].tolist()
        return RawPoint(self.stamps[position].item(), tuple(None if value != value else value for value in values))


def read_points(body: bytes, zone: tzinfo | None = None, currency: str | None = None) -> Points | BodyFault:
    """The points in a body; never raises.

    Args:
        zone: of the stamps of a CSV that name none; None leaves them texts, which are refused.
        currency: what the body may not contradict: a column ``price_eur`` of a CSV, or an object around the series.
    """
    rows = read_rows(body)
    if rows is not None:
        return _read_export(rows, zone, currency)
    told = currency if b"currency" in body else None  # a search for one word costs less than a look at each level
    return _read_buffers(body, told) or _read_document(body, told)


def _read_export(rows: Rows, zone: tzinfo | None, currency: str | None) -> Points | BodyFault:
    """The points of a CSV by its header; columns beside stamp and price may be missing."""
    header, lines = rows[0], rows[1:]
    told = positions(header, {"currency": CURRENCY_FIELDS}).values()
    said = {cells[place].lower() for cells in lines for place in told if len(cells) > place and cells[place]}
    if currency and said & CURRENCIES - {currency}:
        return BodyFault("other_currency")
    places = positions(header, _columns_in(currency))
    if not {"snapped_at", "price"} <= places.keys():
        return BodyFault(_fault_of_header(header))
    if positions(header, _DAY_OF_TRADE).keys() == _DAY_OF_TRADE.keys():
        return BodyFault("closing_prices")
    width, series = len(header), [places.get(name) for name in EXPORT_HEADER[1:]]
    columns = [place for place in series if place is not None]
    read_number = number_reader([cells[place] for cells in lines if len(cells) == width for place in columns])
    points = []
    for cells in lines:
        if len(cells) != width:
            points.append(RawPoint(None, (None, None, None), cells, is_point=False))
            continue
        values = tuple(None if place is None else read_number(cells[place]) for place in series)
        points.append(RawPoint(_export_stamp(cells[places["snapped_at"]], zone), values))
    return _of_raw(points)


def _fault_of_header(header: Sequence[str]) -> str:
    """Why the columns of a CSV are not those of an export."""
    if positions(header, {"close": ("close", "closing_price", "adj_close")}):
        return "closing_prices"
    others = positions(header, {code: (f"price_{code}",) for code in CURRENCIES})
    return "other_currency" if others else "unknown_header"


def _columns_in(currency: str | None) -> dict[str, tuple[str, ...]]:
    """The names of the columns of an export; those of values may end in its currency."""
    return {
        column: names if column == "snapped_at" or not currency else (*names, *(f"{name}_{currency}" for name in names))
        for column, names in EXPORT_COLUMNS.items()
    }


def is_chart(body: bytes) -> bool:
    """Whether a body holds points at all, none included; a landed body that does not is asked for again."""
    return not isinstance(read_points(body), BodyFault)


def _read_buffers(body: bytes, currency: str | None) -> Points | None:
    """The points of a chart that is nothing but numbers at rising stamps, by simdjson's buffers; None for any other.

    A buffer reads through nested arrays in silence, so the brackets and commas of the body are compared with those
    of pairs.
    """
    series: list[Any] | BodyFault | None = None
    try:
        series = _series_of(parse_lazily(body), currency)
        if isinstance(series, BodyFault) or any(type(array) is not simdjson.Array for array in series):
            return None
        count = len(series[0])
        if any(len(array) != count for array in series) or body.translate(None, _UNSTRUCTURAL) != _structure(count):
            return None
        blocks = np.stack([np.frombuffer(array.as_buffer(of_type="d"), np.float64) for array in series])
    except (TypeError, *UNREADABLE):
        return None
    finally:
        series = None  # the parser's memory is free for the next body
    pairs = blocks.reshape(len(FIELDS), count, 2)
    stamps = pairs[0, :, 0]
    if not (pairs[1:, :, 0] == stamps).all() or not (stamps[1:] > stamps[:-1]).all():
        return None
    return Points(stamps, pairs[:, :, 1])


@lru_cache(maxsize=64)
def _structure(count: int) -> bytes:
    """Brackets and commas of an object of three arrays of so many pairs."""
    return b",".join([b"[" + b",".join([b"[,]"] * count) + b"]"] * len(FIELDS))


def _series_of(document: Any, currency: str | None) -> list[Any] | BodyFault:
    """The three series of a parsed chart, bare or as ``data`` of an object."""
    chart = other_currency(document, currency) or answer(document, OBJECTS, "not_a_chart", "prices")
    return chart if isinstance(chart, BodyFault) else [chart.get(name) for name in FIELDS]


def _read_document(body: bytes, currency: str | None) -> Points | BodyFault:
    """The points of a chart by the parsers that make Python values."""
    document = read_json(body)
    series = document if isinstance(document, BodyFault) else _series_of(document.value, currency)
    if isinstance(series, BodyFault):
        return series
    arrays = [[] if array is None and name != "prices" else array for name, array in zip(FIELDS, series, strict=True)]
    if not all(isinstance(array, list) for array in arrays):
        return BodyFault("not_a_chart")
    return _aligned(arrays) or _joined(arrays)


def _aligned(arrays: list[list[Any]]) -> Points | None:
    """The points of series of pairs at the same stamps, each once; null is a value, no stamp. Else None."""
    stamps, values = [], []
    for array in arrays:
        if not set(map(type, array)) <= {list} or not set(map(len, array)) <= {2}:
            return None
        own_stamps, own_values = zip(*array, strict=True) if array else ((), ())
        stamps.append(own_stamps)
        values.append(own_values)
    if any(own != stamps[0] for own in stamps[1:]) or not set(map(type, stamps[0])) <= {int, float}:
        return None
    if len(set(stamps[0])) != len(stamps[0]):  # of several values of one stamp the first counts: they are joined
        return None
    if not all(set(map(type, own)) <= {int, float, _NONE} for own in values):
        return None
    try:
        numbers, given = np.array(stamps[0], np.float64), np.array(values, np.float64)
    except OverflowError:
        return None
    if np.isnan(given).sum() != sum(own.count(None) for own in values):  # NaN is no null
        return None
    return Points(numbers, given)


def _joined(arrays: list[list[Any]]) -> Points:
    """The points of any series, one by one; of several values of one stamp the first counts."""
    others = [{element[0]: element[1] for element in reversed(array) if _has_stamp(element)} for array in arrays[1:]]
    points, known = list[RawPoint](), set[Any]()
    for element in arrays[0]:
        if _has_stamp(element):
            known.add(element[0])
            points.append(RawPoint(element[0], (element[1], *(other.get(element[0]) for other in others))))
        elif isinstance(element, list) and len(element) == 2:
            points.append(RawPoint(element[0], (element[1], None, None)))
        else:
            points.append(RawPoint(None, (None, None, None), element, is_point=False))
    taken = sum(len(other.keys() & known) for other in others)
    return _of_raw(points, sum(map(len, arrays[1:])) - taken)


def _has_stamp(element: Any) -> bool:
    """Whether an element can be joined by its stamp."""
    return isinstance(element, list) and len(element) == 2 and type(element[0]) in {int, float}


def _of_raw(points: list[RawPoint], unmatched: int = 0) -> Points:
    """Points as columns, the unusual ones marked."""
    usual = [_is_usual(point) for point in points]
    filled = [
        (point.stamp, *point.values) if fine else (0.0, None, None, None)
        for point, fine in zip(points, usual, strict=True)
    ]
    columns = np.array(filled, np.float64).reshape(len(points), 1 + len(FIELDS)).T
    unusual = frozenset(position for position, fine in enumerate(usual) if not fine)
    return Points(columns[0], columns[1:], unusual, points, unmatched)


def _is_usual(point: RawPoint) -> bool:
    """Whether a point can be a part of a column of doubles."""
    if type(point.stamp) not in {int, float} or not {*map(type, point.values)} <= {int, float, _NONE}:
        return False
    try:
        return all(
            float(value) == value or type(value) is int for value in (point.stamp, *point.values) if value is not None
        )
    except OverflowError:
        return False


def _export_stamp(cell: str, zone: tzinfo | None) -> int | str | None:
    """Milliseconds since the epoch; a text that is no stamp, or says no zone, stays a text, and is refused. A date is
    the day of its 00:00 UTC.
    """
    if _EPOCH_MS.fullmatch(cell):
        return int(cell)
    if _EPOCH_S.fullmatch(cell):
        return 1_000 * int(cell)
    moment = read_moment(_UTC.sub(" UTC", cell))
    if moment is None:
        return cell or None
    if moment.tzinfo is None:
        known = UTC if _DATE.fullmatch(cell) else zone
        if known is None:
            return cell
        moment = moment.replace(tzinfo=known)
    return to_micros(moment) // 1_000
