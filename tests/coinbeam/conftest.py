"""What the tests of the core share: rows of valid data, and staging tables filled by the same load jobs that the DAG
uses.
"""

import io
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from google.cloud import bigquery

from coinbeam.batch.kinds import SNAPSHOTS, Batch
from coinbeam.batch.tables import ASSETS, DATES, RATES_FACT, REJECTS
from coinbeam.batch.tables import SNAPSHOT_FACT as FACT
from coinbeam.contracts import load_contract
from coinbeam.contracts.bigquery import staging_schema
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.lease import PublishLease
from coinbeam.warehouse.publish import publish_script, rejects_script
from coinbeam.warehouse.schema import ensure_schema
from coinbeam.warehouse.staging import StagingTables
from tests.temporary import LocalCloud

DAY = datetime(2026, 1, 2, tzinfo=UTC)
Row = Mapping[str, Any]


def fact_row(asset: str, at: datetime = DAY, batch: str = "batch", **changes: Any) -> dict[str, Any]:
    """A row of the fact that breaks no rule."""
    return {
        "asset_id": asset,
        "quote_currency": "usd",
        "snapshot_at": at.isoformat(),
        "snapshot_date": f"{at:%Y-%m-%d}",
        "time_id": at.hour * 60 + at.minute,
        "symbol": asset[:3],
        "name": asset.title(),
        "current_price": 0.1 + 0.2,
        "market_cap": 1e9,
        "low_24h": 1.0,
        "high_24h": 2.0,
        "observed_at": at.isoformat(),
        "ingested_at": (at + timedelta(minutes=1)).isoformat(),
        "source_id": "coingecko_simulator",
        "batch_id": batch,
        **changes,
    }


def asset_row(asset: str, batch: str = "batch", **changes: Any) -> dict[str, Any]:
    """A row of the coin list, without details."""
    return {
        "asset_id": asset,
        "symbol": asset[:3],
        "name": asset.title(),
        "status": "active",
        "source_id": "coingecko_simulator",
        "batch_id": batch,
        **changes,
    }


def date_row(day: datetime) -> dict[str, Any]:
    """A row of the calendar that breaks no rule."""
    year, week, weekday = day.isocalendar()
    return {
        "date": f"{day:%Y-%m-%d}",
        "year": day.year,
        "quarter": (day.month + 2) // 3,
        "month": day.month,
        "month_name": f"{day:%B}",
        "day": day.day,
        "day_of_year": day.timetuple().tm_yday,
        "iso_year": year,
        "iso_week": week,
        "iso_weekday": weekday,
        "day_name": f"{day:%A}",
        "is_weekend": weekday > 5,
        "is_month_end": (day + timedelta(days=1)).day == 1,
        "days_to_month_end": 3,
    }


def rate_row(currency: str, at: datetime = DAY, batch: str = "batch", **changes: Any) -> dict[str, Any]:
    """An exchange rate that breaks no rule."""
    return {
        "snapshot_at": at.isoformat(),
        "snapshot_date": f"{at:%Y-%m-%d}",
        "currency": currency,
        "name": currency.upper(),
        "unit": currency.upper(),
        "type": "fiat",
        "value": 1.0 if currency == "btc" else 100_000.0,
        "ingested_at": (at + timedelta(minutes=2)).isoformat(),
        "source_id": "coingecko_simulator",
        "batch_id": batch,
        **changes,
    }


def reject_row(number: int, batch: str = "batch", **changes: Any) -> dict[str, Any]:
    """A refused row."""
    return {
        "rejected_id": f"r{number}",
        "batch_id": batch,
        "snapshot_date": f"{DAY:%Y-%m-%d}",
        "table_name": FACT,
        "level": "row",
        "estimated_rows": 1,
        "page_uri": "gs://b/page-00001.json.gz",
        "row_number": number,
        "reason": "negative",
        "column_name": "current_price",
        "value": "-1",
        "contract_version": "1.0.0",
        "rejected_at": DAY.isoformat(),
        **changes,
    }


def snapshot_batch(batch: str, at: datetime = DAY) -> Batch:
    """A batch of one snapshot."""
    return Batch(SNAPSHOTS, batch, "run", at, at.date(), at.date())


@dataclass
class Stage:
    """A warehouse of one test, and what tests do with it again and again."""

    warehouse: Warehouse

    def fill(
        self, batch: str | Batch, only: Sequence[str] = SNAPSHOTS.staged, **tables: Sequence[Row]
    ) -> StagingTables:
        """Lay out the staging tables of a batch, by default of a snapshot, and load rows into them by load jobs; tables
        without rows stay empty.
        """
        made = snapshot_batch(batch) if isinstance(batch, str) else batch
        PublishLease(self.warehouse, made).lay_out()
        staging = StagingTables(self.warehouse.settings, made)
        staging.create(self.warehouse, [load_contract(name) for name in only])
        for name, rows in tables.items():
            self.load(staging.name(load_contract(name)), name, rows)
        return staging

    def load(self, table: str, contract: str, rows: Sequence[Row]) -> None:
        """One load job, as the DAG configures it."""
        if not rows:
            return
        body = "\n".join(json.dumps(row) for row in rows).encode()
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.NEWLINE_DELIMITED_JSON,
            write_disposition=bigquery.WriteDisposition.WRITE_TRUNCATE,
            schema=staging_schema(load_contract(contract).file_columns),
        )
        self.warehouse.client.load_table_from_file(io.BytesIO(body), f"local.{table}", job_config=config).result(
            retry=None, timeout=60
        )

    def publish(self, batch: str, at: datetime = DAY, **tables: Sequence[Row]) -> None:
        """Stage and publish a batch."""
        self.fill(batch, **tables)
        self.warehouse.query(rejects_script(self.warehouse, snapshot_batch(batch, at)))
        self.warehouse.query(publish_script(self.warehouse, snapshot_batch(batch, at), {}))

    def contents(self, name: str) -> list[dict[str, Any]]:
        """All rows of a table, in the order of its key."""
        contract = load_contract(name)
        return self.warehouse.rows(
            f"SELECT * FROM `{self.warehouse.table(contract)}` ORDER BY {', '.join(contract.primary_key)}"
        )

    def everything(self) -> dict[str, list[dict[str, Any]]]:
        """The full contents of every published table."""
        return {
            name: self.contents(name) for name in ("source_dim", "time_dim", DATES, ASSETS, FACT, RATES_FACT, REJECTS)
        }


@pytest.fixture
def stage(fresh_cloud: LocalCloud) -> Stage:
    """A new warehouse with every table of the contracts, empty."""
    made = Stage(Warehouse(fresh_cloud.settings, clock=lambda: DAY))
    ensure_schema(made.warehouse)
    return made
