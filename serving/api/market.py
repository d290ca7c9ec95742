"""The market at an instant: the newest snapshot until then, and what of daily history was observed after it."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt
import orjson
import pyarrow as pa
import pyarrow.compute as pc

from coinbeam.batch.tables import SNAPSHOT_FACT
from coinbeam.bundle.reader import Bundle
from coinbeam.contracts import Column, load_contract
from coinbeam.contracts.instants import EPOCH
from serving.api.assets import Assets

Doubles = npt.NDArray[np.float64]
Places = npt.NDArray[np.intp]

REACH = timedelta(days=7)
"""Without a snapshot a price of daily history stands for an instant so long after it, no longer."""

ROW_FIELDS = (
    "id", "symbol", "name", "image", "current_price", "market_cap", "market_cap_rank", "fully_diluted_valuation",
    "total_volume", "high_24h", "low_24h", "price_change_24h", "price_change_percentage_24h", "market_cap_change_24h",
    "market_cap_change_percentage_24h", "circulating_supply", "total_supply", "max_supply", "ath",
    "ath_change_percentage", "ath_date", "atl", "atl_change_percentage", "atl_date", "roi", "last_updated",
)  # fmt: skip
"""Fields of a row of ``/coins/markets``, in the order of the real answers."""

CONVERTED = frozenset({"current_price", "market_cap", "fully_diluted_valuation", "total_volume"})
"""Columns that one rate turns into another currency. All other amounts and changes would need the rate of another time,
so they are null there.
"""

UNCHANGED = frozenset({"market_cap_rank", "circulating_supply", "total_supply", "max_supply"})
"""Numbers that have no currency."""

PRICES = frozenset({"current_price", "high_24h", "low_24h", "ath", "atl"})
"""Fields that ``precision`` rounds."""

_COLUMN_OF = {c.source: c for c in load_contract(SNAPSHOT_FACT).columns if c.source}
_OBSERVED = "observed_at"
_CHART = {"price": "current_price", "market_cap": "market_cap", "total_volume": "total_volume"}
_DAY_MILLIS = 86_400_000
_EXACT = 2**53
_RENDERED_AT_ONCE = 1_000
_TEXTS = ("asset_id", "symbol", "name", "image", "roi_currency")


_NUMBERS = tuple(
    c.name
    for c in load_contract(SNAPSHOT_FACT).columns
    if c.type != "STRING" and c.name != _OBSERVED and (c.source or c.name.startswith("roi_"))
)
"""Columns of a market that are numbers; instants are microseconds since the epoch."""


@dataclass(frozen=True)
class Market:
    """Every asset that has a price at an instant, the largest first.

    Attributes:
        quote_currency: of all amounts.
        as_of: the instant that the prices stand for: of the snapshot, else of the newest observation.
        observed: microseconds since the epoch at which each price was observed.
        numbers: the other numbers by column, NaN for null.
        texts: the texts by column.
        sources: where its snapshot came from.
        derived_from: the currency that the amounts were converted from, or None where they are the source's own.
    """

    quote_currency: str
    as_of: datetime
    ids: Sequence[str]
    observed: npt.NDArray[np.int64]
    numbers: Mapping[str, Doubles]
    texts: Mapping[str, Sequence[str | None]]
    sources: tuple[str, ...] = ()
    derived_from: str | None = None

    def __len__(self) -> int:
        return len(self.ids)

    @cached_property
    def place(self) -> dict[str, int]:
        """The place of each asset by its id."""
        return {asset_id: place for place, asset_id in enumerate(self.ids)}

    @cached_property
    def newest(self) -> datetime:
        """When the newest of its prices was observed."""
        return datetime.fromtimestamp(int(self.observed.max()) / 1e6, UTC)

    @cached_property
    def orders(self) -> dict[str, Places]:
        """The places of all assets in each order that can be asked for."""
        by_rank = np.arange(len(self))
        by_volume = np.argsort(-np.nan_to_num(self.numbers["total_volume"], nan=-1.0), kind="stable")
        by_id = np.array(sorted(range(len(self)), key=self.ids.__getitem__), dtype=np.intp)
        return {
            "market_cap_desc": by_rank,
            "market_cap_asc": by_rank[::-1],
            "volume_desc": by_volume,
            "volume_asc": by_volume[::-1],
            "id_asc": by_id,
            "id_desc": by_id[::-1],
        }

    @cached_property
    def by_symbol(self) -> dict[str, list[int]]:
        """The places of the assets of each symbol, in small letters, the largest first."""
        return _grouped(self.texts["symbol"])

    @cached_property
    def by_name(self) -> dict[str, list[int]]:
        """The same for names."""
        return _grouped(self.texts["name"])

    @cached_property
    def rendered(self) -> list[bytes]:
        """The row of each asset as JSON, all made at once."""
        made: list[bytes] = []
        for first in range(0, len(self), _RENDERED_AT_ONCE):
            places = range(first, min(first + _RENDERED_AT_ONCE, len(self)))
            columns = [self._values(field, places) for field in ROW_FIELDS]
            rows = (dict(zip(ROW_FIELDS, values, strict=True)) for values in zip(*columns, strict=True))
            # A copy: orjson gives out a buffer of 8 KiB for each, of which the unused part stays in fragments.
            made += [bytes(bytearray(orjson.dumps(row))) for row in rows]
        return made

    def _values(self, field: str, places: range) -> Sequence[Any]:
        """The values of one field of some assets."""
        column = _COLUMN_OF.get(field)
        if column is None or column.type in {"STRING", "TIMESTAMP"} or column.name not in self.numbers:
            return [self.value(field, place) for place in places]
        numbers = self.numbers[column.name][places.start : places.stop]
        made: npt.NDArray[Any] = numbers.astype(object)
        is_whole = (numbers == np.floor(numbers)) & (np.abs(numbers) < _EXACT)
        made[is_whole] = numbers[is_whole].astype(np.int64)
        made[np.isnan(numbers)] = None
        values: list[Any] = made.tolist()
        return values

    def row(self, place: int, precision: int | None = None) -> dict[str, Any]:
        """The row of an asset as ``/coins/markets`` has it, without what a call has to ask for."""
        return {field: self.value(field, place, precision) for field in ROW_FIELDS}

    def value(self, field: str, place: int, precision: int | None = None) -> Any:
        """The value of one field of an asset."""
        if field == "roi":
            return self._roi(place)
        column = _COLUMN_OF[field]
        if column.type == "STRING":
            return (self.ids if column.name == "asset_id" else self.texts[column.name])[place] or ""
        if column.name == _OBSERVED:
            return instant_text(int(self.observed[place]))
        if column.type == "TIMESTAMP":
            micros = self.number(column.name, place)
            return None if micros is None else instant_text(int(micros))
        found = self.number(column.name, place)
        return rounded(found, precision) if precision is not None and field in PRICES else found

    def number(self, column: str, place: int) -> float | None:
        """A number by the name of its column; whole ones as JSON writes them."""
        return plain_number(self.numbers[column][place]) if column in self.numbers else None

    def _roi(self, place: int) -> dict[str, Any] | None:
        times, percentage = self.number("roi_times", place), self.number("roi_percentage", place)
        currency = self.texts["roi_currency"][place]
        if times is None or percentage is None or currency is None:
            return None  # the real API has all three or none
        return {"times": times, "currency": currency, "percentage": percentage}

    def converted(self, currency: str, rate: float) -> "Market":
        """The market in another currency.

        Args:
            rate: units of it for one of the quote currency, at the time of the market.
        """
        nothing = np.full(len(self), np.nan)
        numbers = {
            name: values * rate if name in CONVERTED else values if name in UNCHANGED else nothing
            for name, values in self.numbers.items()
        }
        return Market(
            currency, self.as_of, self.ids, self.observed, numbers, self.texts, self.sources, self.quote_currency
        )


def column_of(field: str) -> Column:
    """The column that holds a field of a row."""
    return _COLUMN_OF[field]


def market_at(
    bundle: Bundle, assets: Callable[[], Assets], currency: str, at: datetime | None, now: datetime
) -> Market | None:
    """The market at an instant, or now; None when nothing was observed until then.

    The newest snapshot is the market. What daily history observed after the snapshot was taken replaces its price or
    comes to it; without a snapshot history alone is the market, as far as it reaches.
    """
    snapshot_at = bundle.snapshot_at(currency, at)
    base = _of_snapshot(currency, snapshot_at, bundle.markets(currency, snapshot_at)) if snapshot_at else None
    until = at or now
    later = _observed_between(bundle, currency, max(base.newest if base else until - REACH, until - REACH), until)
    if base is None:
        return _of_history(bundle, assets(), currency, later) if later else None
    return _joined(base, _of_history(bundle, assets(), currency, later)) if later else base


def _of_snapshot(currency: str, snapshot_at: datetime, rows: pa.Table) -> Market:
    columns = [c for c in load_contract(SNAPSHOT_FACT).columns if c.name in rows.column_names]
    numbers = {c.name: _doubles(c, rows[c.name]) for c in columns if c.name in _NUMBERS}
    texts: dict[str, list[Any]] = {
        name: rows[name].to_pylist() if name in rows.column_names else [None] * rows.num_rows for name in _TEXTS
    }
    observed = np.asarray(rows[_OBSERVED].cast(pa.int64()))
    sources = tuple(pc.unique(rows["source_id"]).to_pylist())
    return Market(currency, snapshot_at, texts.pop("asset_id"), observed, numbers, texts, sources)


def _doubles(column: Column, values: pa.ChunkedArray) -> Doubles:
    numbers = values.cast(pa.int64()) if column.type == "TIMESTAMP" else values
    return np.asarray(numbers.cast(pa.float64(), safe=False).fill_null(np.nan), np.float64)


def _observed_between(bundle: Bundle, currency: str, after: datetime, until: datetime) -> dict[str, Any] | None:
    """The newest point of daily history of each asset that was observed after an instant, and not after another one."""
    first, last = round(after.timestamp() * 1_000), round(until.timestamp() * 1_000)
    found = {name: np.full(len(bundle.assets), np.nan) for name in _CHART.values()}
    observed = np.zeros(len(bundle.assets), np.int64)
    for grid in bundle.grids("charts", currency, first - _DAY_MILLIS, last):
        times = grid.column(_OBSERVED)
        inside = (times > first) & (times <= last)
        numbers = np.flatnonzero(inside.any(axis=1))
        places = inside.shape[1] - 1 - inside[numbers, ::-1].argmax(axis=1)
        observed[numbers] = times[numbers, places]
        for name, own in _CHART.items():
            found[own][numbers] = grid.column(name)[numbers, places]
    numbers = np.flatnonzero(observed)
    if not numbers.size:
        return None
    return {"numbers": numbers, "observed": observed[numbers], **{own: v[numbers] for own, v in found.items()}}


def _of_history(bundle: Bundle, assets: Assets, currency: str, found: Mapping[str, Any]) -> Market:
    """A market of points of daily history, the largest asset first."""
    order = np.argsort(-np.nan_to_num(found["market_cap"], nan=-1.0), kind="stable")
    ids = [bundle.assets[number] for number in found["numbers"][order].tolist()]
    nothing = np.full(len(ids), np.nan)
    numbers = {name: found[name][order] if name in found else nothing for name in _NUMBERS}
    known = [assets.by_id.get(asset_id) for asset_id in ids]
    texts: dict[str, Sequence[str | None]] = {name: [None] * len(ids) for name in _TEXTS if name != "asset_id"}
    texts["symbol"] = [asset.symbol if asset else None for asset in known]
    texts["name"] = [asset.name if asset else None for asset in known]
    observed = found["observed"][order] * 1_000
    as_of = datetime.fromtimestamp(int(observed.max()) / 1e6, UTC)
    return Market(currency, as_of, ids, observed, numbers, texts)


def _joined(base: Market, later: Market) -> Market:
    """A market with later prices: of those that it has, the amounts of the later one; the rest comes after it."""
    known = [place for place, asset_id in enumerate(later.ids) if asset_id in base.place]
    new = [place for place, asset_id in enumerate(later.ids) if asset_id not in base.place]
    at = np.array([base.place[later.ids[place]] for place in known], np.intp)
    numbers = {}
    for name, values in base.numbers.items():
        # What only a snapshot has is of another time than the later price, and null beside it.
        merged = values.copy()
        if name not in UNCHANGED:
            merged[at] = later.numbers[name][known]
        numbers[name] = np.concatenate([merged, later.numbers[name][new]])
    observed = base.observed.copy()
    observed[at] = later.observed[known]
    return Market(
        base.quote_currency,
        max(base.as_of, later.as_of),
        [*base.ids, *(later.ids[place] for place in new)],
        np.concatenate([observed, later.observed[new]]),
        numbers,
        {name: [*values, *(later.texts[name][place] for place in new)] for name, values in base.texts.items()},
        base.sources,
    )


def plain_number(value: float) -> float | int | None:
    """A double as JSON has it: null for NaN, and whole numbers without a point as far as they are exact."""
    number = float(value)
    if number != number:
        return None
    return int(number) if number.is_integer() and abs(number) < _EXACT else number


def rounded(value: float | None, places: int | None) -> float | None:
    """A price with as many decimal places as were asked for."""
    return value if value is None or places is None else plain_number(round(value, places))


def instant_text(micros: int) -> str:
    """An instant as the API writes it: milliseconds, and microseconds only where there are some."""
    moment = EPOCH + timedelta(microseconds=micros)
    fraction = f"{moment:%f}" if micros % 1_000 else f"{moment:%f}"[:3]
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{fraction}Z"


def _grouped(texts: Iterable[str | None]) -> dict[str, list[int]]:
    groups: dict[str, list[int]] = {}
    for place, text in enumerate(texts):
        if text:
            groups.setdefault(text.lower(), []).append(place)
    return groups
