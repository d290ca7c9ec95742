"""Facts put in place by load jobs, with their entry in the queue of the marts; and rows compared with the reference."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from decimal import Decimal
from itertools import count
from typing import Any

import pytest

from coinbeam.batch.tables import DAILY_FACT, FEAR_GREED_FACT, SNAPSHOT_FACT
from coinbeam.contracts import load_contract
from coinbeam.marts import specs
from coinbeam.marts.refresh import Marts, Refresh
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from tests.coinbeam.conftest import Stage
from tests.temporary import LocalCloud, fresh_resources

RELATIVE = 1e-12
START = date(2024, 1, 1)
MARTS = tuple(mart.name for mart in specs.MARTS)
_SERIAL = count()


def day_row(asset: str, day: date, price: float, batch: str, **changes: Any) -> dict[str, Any]:
    """A day of history."""
    stamp = datetime.combine(day, time(), UTC).isoformat()
    return {
        "asset_id": asset,
        "quote_currency": "usd",
        "date": day.isoformat(),
        "price": price,
        "market_cap": price * 1_000,
        "total_volume": price * 10,
        "observed_at": stamp,
        "ingested_at": stamp,
        "source_id": "coingecko_export",
        "batch_id": batch,
        **changes,
    }


def snapshot_row(asset: str, at: datetime, price: float, batch: str, **changes: Any) -> dict[str, Any]:
    """A snapshot of an asset."""
    return {
        "asset_id": asset,
        "quote_currency": "usd",
        "snapshot_at": at.isoformat(),
        "snapshot_date": at.date().isoformat(),
        "time_id": at.hour * 60 + at.minute,
        "symbol": asset[:3],
        "name": asset.title(),
        "current_price": price,
        "market_cap": price * 1_000,
        "total_volume": price * 10,
        "observed_at": at.isoformat(),
        "ingested_at": at.isoformat(),
        "source_id": "coingecko_simulator",
        "batch_id": batch,
        **changes,
    }


def index_row(day: date, value: int, batch: str = "index") -> dict[str, Any]:
    """A day of the Fear & Greed index."""
    bands = ((25, "Extreme Fear"), (46, "Fear"), (54, "Neutral"), (75, "Greed"), (100, "Extreme Greed"))
    stamp = datetime.combine(day, time(), UTC).isoformat()
    return {
        "date": day.isoformat(),
        "value": value,
        "classification": next(name for top, name in bands if value <= top),
        "observed_at": stamp,
        "ingested_at": stamp,
        "source_id": "alternative_me",
        "batch_id": batch,
    }


_DATE = {DAILY_FACT: "date", SNAPSHOT_FACT: "snapshot_date", FEAR_GREED_FACT: "date"}


@dataclass
class Bench:
    """A warehouse with its marts, fed without Beam."""

    warehouse: Warehouse
    queue: dict[tuple[str, str], tuple[str, str]] = field(default_factory=dict)

    @property
    def marts(self) -> Marts:
        """The marts of this warehouse."""
        return Marts(
            self.warehouse,
            self.warehouse.settings,
            lambda: datetime(2026, 1, 2, tzinfo=UTC) + timedelta(seconds=next(_SERIAL)),
        )

    def put(self, table: str, batch: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Leave exactly these rows of a batch in a fact, taking over rows of the same key, and queue it for the
        marts.
        """
        name, key = self.warehouse.table(load_contract(table)), load_contract(table).primary_key
        if any(known == table for _, known in self.queue):
            taken = [" AND ".join(f"{column} = '{row[column]}'" for column in key) for row in rows]
            self.warehouse.query(
                f"DELETE FROM `{name}` WHERE batch_id = '{batch}'{''.join(f' OR ({keys})' for keys in taken)}"
            )
        if rows:
            self.warehouse.append(name, "\n".join(json.dumps(row) for row in rows).encode())
        self.enqueue(table, batch, [row[_DATE[table]] for row in rows])

    def enqueue(self, table: str, batch: str, days: Sequence[str]) -> None:
        """Tell the marts what a publish touched, as the publish does: also the dates that the batch had before."""
        before = self.queue.get((batch, table))
        first, last = min([*days, *(before or ())[:1]]), max([*days, *(before or ())[1:]])
        self.queue[(batch, table)] = (first, last)
        at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=next(_SERIAL))
        name = self.warehouse.names()["publication"]
        if before:
            self.warehouse.query(f"DELETE FROM {name} WHERE batch_id = '{batch}' AND table_name = '{table}'")
        row = {
            "batch_id": batch,
            "table_name": table,
            "first_date": first,
            "last_date": last,
            "rows_published": len(days),
        }
        self.warehouse.append(name.strip("`"), json.dumps({**row, "published_at": at.isoformat()}).encode())

    def refresh(self) -> Refresh:
        """Refresh the marts."""
        return self.marts.refresh()

    def rows(self, mart: str, columns: Sequence[str] = ()) -> dict[tuple[Any, ...], dict[str, Any]]:
        """All rows of a mart by key, with all columns or the named ones beside the key."""
        contract = load_contract(mart)
        wanted = ", ".join([*contract.primary_key, *columns]) if columns else "*"
        where = f" WHERE {contract.partition_column} >= '1970-01-01'" if contract.partition_column else ""
        found = self.warehouse.rows(f"SELECT {wanted} FROM `{self.warehouse.table(contract)}`{where}")
        keyed = {tuple(row[name] for name in contract.primary_key): row for row in found}
        assert len(keyed) == len(found), f"{mart} repeats a key"
        return keyed

    def everything(self) -> dict[str, dict[tuple[Any, ...], dict[str, Any]]]:
        """All marts."""
        return {mart: self.rows(mart) for mart in MARTS}


def make_bench(cloud: LocalCloud) -> Bench:
    """A new warehouse with all tables, empty."""
    made = Bench(Warehouse(fresh_resources(cloud).settings))
    ensure_schema(made.warehouse)
    return made


@pytest.fixture
def bench(stage: Stage) -> Bench:
    """The warehouse of one test."""
    return Bench(stage.warehouse)


def assert_close(found: Any, expected: Any, label: str, scale: float = 0.0) -> None:
    """Numbers agree to 1e-12 relative; everything else is equal. ``scale`` is what the number was subtracted from."""
    if isinstance(found, float) and expected is not None:
        assert abs(Decimal(found) - Decimal(expected)) <= Decimal(RELATIVE) * abs(Decimal(expected)) + Decimal(scale), (
            label,
            found,
            expected,
        )
    else:
        assert found == expected, (label, found, expected)


def assert_same_marts(found: Mapping[str, Any], expected: Mapping[str, Any], ignoring: Iterable[str] = ()) -> None:
    """Two sets of marts agree."""
    for mart in MARTS:
        assert set(found[mart]) == set(expected[mart]), mart
        for key, row in expected[mart].items():
            for name in set(row) - set(ignoring):
                assert_close(found[mart][key][name], row[name], f"{mart} {key} {name}")
