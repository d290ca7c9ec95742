"""What a version is made of, read from the warehouse and, for sparklines, from landing."""

from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, date, datetime, timedelta
from typing import Any, NamedTuple

import orjson
import pyarrow as pa
import pyarrow.compute as pc

from coinbeam.batch.identity import parse_batch_id
from coinbeam.batch.tables import ASSETS, DAILY_FACT, FEAR_GREED_FACT, RATES_FACT, SNAPSHOT_FACT
from coinbeam.bundle.layout import CHART, DAY_KEY, INDICATORS, MARKET_DAILY, columns_of
from coinbeam.clock import Clock
from coinbeam.contracts import Column, load_contract
from coinbeam.contracts.arrow import arrow_schema
from coinbeam.contracts.bigquery import literal
from coinbeam.contracts.instants import FIRST_DATE, parse_micros
from coinbeam.errors import SettingsError
from coinbeam.landing.bucket import Bucket
from coinbeam.landing.layout import folder, newest_revisions, unpack
from coinbeam.ops.status import Status
from coinbeam.warehouse.arrow import arrow_rows
from coinbeam.warehouse.client import Warehouse

INTRADAY = {
    "price": "current_price",
    "market_cap": "market_cap",
    "total_volume": "total_volume",
    "observed_at": "observed_at",
}
"""Columns of a grid of charts by those of the fact of snapshots."""

_FIRST_INSTANT = datetime(FIRST_DATE.year, 1, 1, tzinfo=UTC)
_BATCHES_KEPT = 400
_QUALITY_DAYS = 7

TABLES = {
    ASSETS: "TRUE",
    "latest_prices": "TRUE",
    "asset_stats": "TRUE",
    "market_overview": "date >= {beginning}",
    FEAR_GREED_FACT: "date >= {beginning}",
    "movers": "date >= {newest} QUALIFY DENSE_RANK() OVER (ORDER BY date DESC) = 1",
    "new_in_top": "date >= {newest} QUALIFY DENSE_RANK() OVER (ORDER BY date DESC) = 1",
    "latest_ingestion_batch": "snapshot_date >= {beginning} ORDER BY started_at DESC LIMIT {batches}",
    "quality_result": "checked_date >= {week}",
    "incident": "TRUE ORDER BY opened_at DESC LIMIT {batches}",
}
"""Tables that a version holds as a whole, and the rows of each."""


class Taken(NamedTuple):
    """A publish that the marts have taken."""

    batch_id: str
    table_name: str
    first_date: date
    last_date: date
    refreshed_at: datetime


class Source:
    """Reads the warehouse and landing of one environment."""

    def __init__(self, warehouse: Warehouse, bucket: Bucket, clock: Clock) -> None:
        self._warehouse, self._bucket, self._clock = warehouse, bucket, clock

    def taken_since(self, refreshed_at: datetime | None) -> list[Taken]:
        """The publishes that refreshes took after an instant, the newest refresh last."""
        since = literal(refreshed_at or _FIRST_INSTANT)
        rows = self._warehouse.rows(
            f"SELECT {', '.join(Taken._fields)} FROM {self._warehouse.names()['publication']} "
            f"WHERE refreshed_at > {since} ORDER BY refreshed_at, published_at, batch_id, table_name"
        )
        return [Taken(**row) for row in rows]

    def days(self, first: date, last: date) -> pa.Table:
        """The rows of ``market_daily`` of some days: identity, charts and indicators."""
        columns = columns_of((*DAY_KEY, *CHART, *INDICATORS))
        return self._read(MARKET_DAILY, columns, f"date BETWEEN {literal(first)} AND {literal(last)}")

    def last_day(self) -> date | None:
        """The newest day of ``market_daily``."""
        name = self._warehouse.names()[MARKET_DAILY]
        [row] = self._warehouse.rows(f"SELECT MAX(date) AS day FROM {name} WHERE date >= {literal(FIRST_DATE)}")
        day: date | None = row["day"]
        return day

    def snapshots(self, day: date, instants: Iterable[datetime]) -> pa.Table:
        """All rows of some snapshots of one day, the largest asset of each first."""
        where = f"snapshot_date = {literal(day)} AND snapshot_at IN ({_literals(instants)})"
        rows = self._read(SNAPSHOT_FACT, load_contract(SNAPSHOT_FACT).columns, where)
        order = [("quote_currency", "ascending"), ("snapshot_at", "ascending"), ("market_cap_rank", "ascending")]
        return rows.sort_by([*order, ("market_cap", "descending"), ("asset_id", "ascending")])

    def rates(self, day: date, instants: Iterable[datetime]) -> dict[datetime, dict[str, float]]:
        """Units of each currency for one bitcoin at the time of some snapshots of one day, as far as anybody asked."""
        where = f"snapshot_date = {literal(day)} AND snapshot_at IN ({_literals(instants)})"
        rows = self._read(RATES_FACT, load_contract(RATES_FACT).columns, where).sort_by("currency")
        found: dict[datetime, dict[str, float]] = {}
        for row in rows.select(["snapshot_at", "currency", "value"]).to_pylist():
            found.setdefault(row["snapshot_at"].astimezone(UTC), {})[row["currency"]] = row["value"]
        return found

    def table(self, name: str, newest: date | None) -> pa.Table:
        """A table as a whole, or what of it readers are shown, in the order of its key."""
        now = self._clock()
        where = TABLES[name].format(
            beginning=literal(FIRST_DATE),
            newest=literal(newest or FIRST_DATE),
            week=literal(now.date() - timedelta(days=_QUALITY_DAYS)),
            batches=_BATCHES_KEPT,
        )
        contract = load_contract(name)
        rows = self._read(name, contract.columns, where)
        return rows.sort_by([(column, "ascending") for column in contract.primary_key])

    def status(self) -> list[dict[str, Any]]:
        """The state of the warehouse, as `coinbeam status` shows it."""
        return [asdict(block) for block in Status(self._warehouse, self._clock).blocks()]

    def sparklines(self, snapshot: pa.Table) -> dict[str, list[Any]]:
        """The hourly prices of each asset of a snapshot as they were landed, by id.

        Of an asset that a walk met twice the row counts that was published, which its time of observation tells. What
        was landed elsewhere, or is no list of numbers, has none.
        """
        wanted = dict(zip(snapshot["asset_id"].to_pylist(), _micros(snapshot["observed_at"]), strict=True))
        found: dict[str, list[Any]] = {}
        for batch in snapshot.group_by(["batch_id", "source_id"]).aggregate([]).to_pylist():
            for row in self._landed(batch["batch_id"], batch["source_id"]):
                series: Any = (row.get("sparkline_in_7d") or {}).get("price")
                if _is_series(series) and _observed(row) == wanted.get(row["id"], -1):
                    found[row["id"]] = series
        return found

    def _landed(self, batch_id: str, source_id: str) -> Iterable[dict[str, Any]]:
        names = self._bucket.names(folder("", "markets", batch_id, source_id) + "/")
        for name in newest_revisions(names):
            raw = self._bucket.read_bytes(name)
            if raw is None:
                continue
            try:
                rows = orjson.loads(unpack(raw, name, self._clock()).body)
            except orjson.JSONDecodeError:
                continue  # a page that was refused as a whole
            yield from (row for row in rows if isinstance(row, dict) and isinstance(row.get("id"), str))

    def _read(self, table: str, columns: Sequence[Column], where: str) -> pa.Table:
        names = ", ".join(column.name for column in columns)
        sql = f"SELECT {names} FROM {self._warehouse.names()[table]} WHERE {where}"
        return arrow_rows(self._warehouse, sql, arrow_schema(columns))


def _literals(instants: Iterable[datetime]) -> str:
    return ", ".join(literal(instant) for instant in sorted(instants))


def instants_of(taken: Iterable[Taken]) -> dict[date, set[datetime]]:
    """The snapshots that publishes filled, by their day."""
    found: dict[date, set[datetime]] = {}
    for publish in taken:
        if publish.table_name == SNAPSHOT_FACT:
            try:
                instant = parse_batch_id(publish.batch_id).snapshot_at
            except SettingsError:
                continue  # a batch of a table that only shares the name of the fact
            found.setdefault(instant.date(), set()).add(instant)
    return found


def first_touched(taken: Iterable[Taken]) -> date | None:
    """The first day of ``market_daily`` that publishes of prices may have changed; all later ones may have changed too,
    since averages and records carry on.
    """
    return min((p.first_date for p in taken if p.table_name in {SNAPSHOT_FACT, DAILY_FACT}), default=None)


def _micros(column: pa.ChunkedArray) -> list[int]:
    micros: list[int] = pc.cast(column, pa.int64()).to_pylist()
    return micros


def _observed(row: dict[str, Any]) -> int | None:
    text = row.get("last_updated")
    return parse_micros(text) if isinstance(text, str) else None


def _is_series(values: Any) -> bool:
    return isinstance(values, list) and all(type(value) in {int, float} for value in values)
