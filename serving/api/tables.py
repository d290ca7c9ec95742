"""The tables below ``/v1``: where the rows of each come from, and how the past of each is found."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coinbeam.batch.tables import ASSETS, FEAR_GREED_FACT, SNAPSHOT_FACT
from coinbeam.bundle.gaps import gaps
from coinbeam.bundle.grid import Doubles, Matrix, decode
from coinbeam.bundle.layout import CHART, DAY_KEY, INDICATORS, MARKET_DAILY, columns_of
from coinbeam.contracts import Column, load_contract
from coinbeam.contracts.arrow import arrow_schema
from serving.api.answers import Refusal, invalid, unknown_coin
from serving.api.view import View

_INSTANT = pa.timestamp("us", tz="UTC")
_DAY = timedelta(days=1)
_DAY_MILLIS = 86_400_000

Filters = dict[str, Any]
"""The values of a call's parameters by name; None where one is left out."""


@dataclass(frozen=True)
class Table:
    """One table.

    Attributes:
        name: of its route.
        summary: what its rows are.
        columns: of its rows.
        key: the columns that its rows are sorted by; no two rows have the same.
        equal: columns that a call may filter by.
        day: the column whose range a call may choose, or None.
        rows: its rows at an instant, or now, in the order of the key. It may use the filters to read less.
        required: filters that a call must give.
        tag: under which the documentation lists it.
    """

    name: str
    summary: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    equal: tuple[str, ...]
    day: str | None
    rows: Callable[[View, Filters, datetime | None], pa.Table]
    required: frozenset[str] = frozenset()
    tag: str = "Marts"

    @property
    def schema(self) -> pa.Schema:
        """Names and types of its columns."""
        return arrow_schema(self.columns)


def _whole(contract: str, past: str | None) -> Callable[[View, Filters, datetime | None], pa.Table]:
    """The rows of a table that the bundle holds as a whole; ``past`` is the column that says since when a row is known,
    or None where only the present is held.
    """

    def rows(view: View, _: Filters, at: datetime | None) -> pa.Table:
        found = view.table(contract)
        if at is None:
            return found
        if past is None:
            raise invalid("as_of", "of this table only the present is held")
        return found.filter(pc.less_equal(found[past], _bound(found[past].type, at)))

    return rows


def _bound(kind: pa.DataType, at: datetime) -> pa.Scalar:
    return pa.scalar(at.date(), kind) if pa.types.is_date(kind) else pa.scalar(at, kind)


def _assets(view: View, _: Filters, at: datetime | None) -> pa.Table:
    """The versions of the assets that held at an instant, or hold now."""
    found = view.table(ASSETS)
    if at is None:
        return found.filter(found["is_current"])
    moment = pa.scalar(at, _INSTANT)
    ended = pc.less_equal(found["valid_to"], moment).fill_null(False)
    return found.filter(pc.and_(pc.less_equal(found["valid_from"], moment), pc.invert(ended)))


def _snapshot(view: View, filters: Filters, at: datetime | None) -> pa.Table:
    """The newest snapshot of an instant with all its columns."""
    currency = _currency(view, filters)
    snapshot_at = view.bundle.snapshot_at(currency, at)
    schema = arrow_schema(load_contract(SNAPSHOT_FACT).columns)
    if snapshot_at is None:
        raise view.before_everything(currency)
    found = view.bundle.markets(currency, snapshot_at)
    missing = [field for field in schema if field.name not in found.column_names]  # an older version of the contract
    for field in missing:
        found = found.append_column(field, pa.nulls(found.num_rows, field.type))
    return found.select(schema.names).sort_by("asset_id")


def _currency(view: View, filters: Filters) -> str:
    currency: str = filters.get("quote_currency") or view.home_currency
    if currency not in view.bundle.currencies:
        raise Refusal(404, f"quote_currency {currency[:16]} is not held; held are {', '.join(view.bundle.currencies)}")
    return currency


_OBSERVED = CHART.index("observed_at")
_DAILY = tuple(columns_of((*DAY_KEY, *CHART, *INDICATORS)))


def _daily(view: View, filters: Filters, at: datetime | None) -> pa.Table:
    """The days of one asset with averages, volatilities and signals."""
    asset_id, currency = filters["asset_id"], _currency(view, filters)
    number = view.number_of(asset_id)
    if number is None:
        raise unknown_coin()
    last = min(filters.get("to") or date.max, (at or view.now() + _DAY).date())
    span = _millis(filters.get("from") or date(1970, 1, 2)), _millis(last)
    days, chart = view.bundle.series("charts", currency, number, *span)
    _, indicators = view.bundle.series("indicators", currency, number, *span)
    until = round(at.timestamp() * 1_000) if at else np.inf
    held = chart[:, _OBSERVED] <= until
    return _days(np.full(int(held.sum()), asset_id), currency, days[held], np.hstack([chart, indicators])[held])


def _signals(view: View, filters: Filters, at: datetime | None) -> pa.Table:
    """The newest day of an instant of every asset."""
    currency = _currency(view, filters)
    end = round((at or view.now()).timestamp() * 1_000)
    newest = _newest_day(view, currency, end)
    if newest is None:
        raise view.before_everything(currency)
    parts = [
        grid.values[:, grid.instants.index(newest)]
        for kind in ("charts", "indicators")
        for grid in view.bundle.grids(kind, currency, newest, newest)
    ]
    values = np.hstack(parts)
    held = np.flatnonzero(values[:, _OBSERVED] <= end)
    ids = np.array(view.bundle.assets, dtype=object)[held]
    return _days(ids, currency, np.full(held.size, newest), values[held]).sort_by("asset_id")


def _newest_day(view: View, currency: str, end: int) -> int | None:
    newest = None
    for grid in view.bundle.grids("charts", currency, 0, end):
        for place in np.flatnonzero((grid.column("observed_at") <= end).any(axis=0)).tolist():
            newest = grid.instants[place]
    return newest


def _days(ids: Matrix, currency: str, days: Matrix, values: Doubles) -> pa.Table:
    """Rows of days as a table; the values are those of charts and of indicators, beside each other."""
    arrays: list[Any] = [
        pa.array(ids.tolist(), pa.string()),
        pa.array([currency] * len(ids), pa.string()),
        pa.array(days.astype("datetime64[ms]").astype("datetime64[D]"), pa.date32()),
    ]
    for place, column in enumerate(_DAILY[len(arrays) :]):
        found = values[:, place]
        if column.type == "STRING":
            arrays.append(pa.array(decode(column, found), pa.string()))
        elif column.type == "TIMESTAMP":
            arrays.append(pa.array(found.astype(np.int64) * 1_000, pa.int64()).cast(_INSTANT))
        else:
            arrays.append(pa.array(found, from_pandas=True).cast(arrow_schema([column])[0].type))
    return pa.Table.from_arrays(arrays, schema=pa.schema([f.with_nullable(True) for f in arrow_schema(_DAILY)]))


_GAPS = (
    *(load_contract(MARKET_DAILY).by_name[name] for name in ("asset_id", "quote_currency")),
    Column("first_date", "DATE", "First day without a price", "UTC date", required=True),
    Column("last_date", "DATE", "Last day without a price", "UTC date", required=True),
    Column("days", "INT64", "Days without a price", "days", required=True),
)


def _gaps(view: View, filters: Filters, at: datetime | None) -> pa.Table:
    """The stretches of days without a price, after the first day of an asset and up to the newest day of the market."""
    currency = _currency(view, filters)
    found = gaps(view.bundle, currency, round((at or view.now()).timestamp() * 1_000))
    arrays = [
        pa.array([view.bundle.assets[number] for number in found.numbers.tolist()], pa.string()),
        pa.array([currency] * len(found.numbers), pa.string()),
        pa.array(found.first, pa.date32()),
        pa.array(found.last, pa.date32()),
        pa.array(found.days, pa.int64()),
    ]
    return pa.Table.from_arrays(arrays, schema=arrow_schema(_GAPS)).sort_by(
        [("asset_id", "ascending"), ("first_date", "ascending")]
    )


def _millis(day: date) -> int:
    return (day - date(1970, 1, 1)).days * _DAY_MILLIS


_KEY = ("asset_id", "quote_currency")


def _of_contract(
    name: str, contract: str, equal: tuple[str, ...], past: str | None, day: str | None = None, tag: str = "Marts"
) -> Table:
    """A table that the bundle holds as a whole, as its contract describes it."""
    described = load_contract(contract)
    rows = _whole(contract, past)
    return Table(name, described.description, described.columns, described.primary_key, equal, day, rows, tag=tag)


TABLES = (
    Table(
        name="assets",
        summary="Assets as the source lists them",
        columns=load_contract(ASSETS).columns,
        key=("asset_id",),
        equal=("asset_id", "symbol", "status"),
        day=None,
        rows=_assets,
    ),
    Table(
        name="prices",
        summary="The newest snapshot with all its columns",
        columns=load_contract(SNAPSHOT_FACT).columns,
        key=("asset_id",),
        equal=(*_KEY, "symbol"),
        day=None,
        rows=_snapshot,
    ),
    Table(
        name="market_daily",
        summary="The days of one asset: averages, volatilities, signals",
        columns=_DAILY,
        key=("date",),
        equal=_KEY,
        day="date",
        rows=_daily,
        required=frozenset({"asset_id"}),
    ),
    Table(
        name="signals",
        summary="The newest day of every asset",
        columns=_DAILY,
        key=("asset_id",),
        equal=(*_KEY, "signal", "combined_signal"),
        day=None,
        rows=_signals,
    ),
    _of_contract("asset_stats", "asset_stats", (*_KEY, "symbol"), None),
    _of_contract("market_overview", "market_overview", ("quote_currency",), "date", "date"),
    _of_contract("fear_greed", FEAR_GREED_FACT, ("classification",), "observed_at", "date"),
    _of_contract("movers", "movers", ("quote_currency", "direction"), None),
    _of_contract("new_in_top", "new_in_top", ("quote_currency",), None),
    _of_contract(
        "batches",
        "latest_ingestion_batch",
        ("status", "table_name", "universe"),
        "started_at",
        "snapshot_date",
        "Trust",
    ),
    _of_contract(
        "quality",
        "quality_result",
        ("table_name", "rule", "status", "batch_id"),
        "checked_at",
        "checked_date",
        "Trust",
    ),
    _of_contract("incidents", "incident", ("task_id", "error_class"), "opened_at", tag="Trust"),
    Table(
        name="gaps",
        summary="Days without a price, after the first day of an asset and up to the newest day of the market",
        columns=_GAPS,
        key=("asset_id", "first_date"),
        equal=_KEY,
        day=None,
        rows=_gaps,
        tag="Trust",
    ),
)
"""Every table, in the order of the documentation."""
