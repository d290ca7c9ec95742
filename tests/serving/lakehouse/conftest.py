"""A warehouse that was exported three times: the first state, a new snapshot, and a batch that was published again."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from itertools import count
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from coinbeam.batch.tables import DAILY_FACT, FEAR_GREED_FACT, SNAPSHOT_FACT
from coinbeam.contracts import load_contract
from coinbeam.contracts.bigquery import table
from coinbeam.settings import LakehouseSettings, Settings, load_settings
from coinbeam.warehouse.arrow import contract_rows
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from serving.lakehouse import export
from serving.lakehouse.catalog import Lakehouse
from serving.lakehouse.difference import tagged
from serving.lakehouse.export import Export, Exporter
from serving.lakehouse.files import scanned
from serving.lakehouse.plan import RECORD
from tests.coinbeam.marts.conftest import START, Bench, day_row, index_row, snapshot_row
from tests.temporary import LocalCloud, fresh_resources

ASSETS = ("bitcoin", "Ω-coin")
DAYS = 40
"""Two months, the second one not whole."""

HISTORY, INDEX, SNAPSHOT = "history-1", "20240209T0000Z-index", "20240210T0000Z-usd-all"
SNAPSHOT_AT = datetime(2024, 2, 10, tzinfo=UTC)
EDGES = {"price_change_24h": -0.0, "atl_change_percentage": "NaN", "high_24h": 5e-324, "low_24h": None}
"""Doubles that a careless comparison takes for others."""


def history(raised_by: float = 0.0) -> list[dict[str, Any]]:
    """Forty days of two assets."""
    days = [START + timedelta(days=offset) for offset in range(DAYS)]
    return [
        day_row(asset, day, 100 + number + raised_by, HISTORY) for asset in ASSETS for number, day in enumerate(days)
    ]


@dataclass(frozen=True)
class Lake:
    """A warehouse with its open tables.

    Attributes:
        env: the variables of a process that uses both.
    """

    bench: Bench
    lakehouse: Lakehouse
    env: dict[str, str]
    exports: Sequence[Export]

    @property
    def exporter(self) -> Exporter:
        """An export of this warehouse."""
        return Exporter(self.bench.warehouse, self.lakehouse)

    def rows(self, name: str, batch: str | None = None) -> pa.Table:
        """The rows of a table as a reader sees them, now or with a tag."""
        contract = load_contract(name)
        found = self.lakehouse.find(contract)
        assert found is not None
        present = found.current_snapshot()
        assert present is not None
        return scanned(found, contract, tagged(found, batch) if batch else present.snapshot_id)

    def prices(self, batch: str | None = None) -> list[float]:
        """All prices of the daily fact, sorted."""
        return sorted(self.rows(DAILY_FACT, batch)["price"].to_pylist())


def make_lake(cloud: LocalCloud, folder: Path, only: Sequence[str] = ()) -> Lake:
    """A new warehouse, with all tables or only some, and new open tables, all empty."""
    fresh = fresh_resources(cloud)
    uri = f"sqlite:///{folder / 'catalog.db'}"
    chosen = fresh.settings.model_copy(update={"lakehouse": LakehouseSettings(uri=uri)})
    warehouse = Warehouse(chosen)
    for name in only:
        contract = load_contract(name)
        made = table(contract, warehouse.full_name(warehouse.table(contract)), constraints=False)
        warehouse.client.create_table(made, **warehouse.bounds)
    if not only:
        ensure_schema(warehouse)
    env = fresh.env | {"COINBEAM_LAKEHOUSE__URI": uri}
    return Lake(Bench(warehouse), Lakehouse(chosen), env, ())


@dataclass(frozen=True)
class Daily:
    """One fact and its open table: what an export does in trouble, without the cost of all marts."""

    lake: Lake
    prices: list[float]

    def publish(self, batch: str = HISTORY, rows: Sequence[dict[str, Any]] = ()) -> None:
        """Publish rows, or the history with prices that it never had, as a batch whose marts are refreshed."""
        queue = self.lake.bench.warehouse.names()["publication"]
        self.lake.bench.put(DAILY_FACT, batch, rows or history(next(_RAISES)))
        self.lake.bench.warehouse.query(f"UPDATE {queue} SET refreshed_at = published_at WHERE refreshed_at IS NULL")

    def published(self) -> list[float]:
        """All prices in BigQuery, sorted."""
        return sorted(contract_rows(self.lake.bench.warehouse, load_contract(DAILY_FACT))["price"].to_pylist())


_RAISES = count(1)


@pytest.fixture(scope="module")
def one_fact(local_cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """A warehouse of one fact and the queue of publishes, exported once."""
    made = make_lake(local_cloud, tmp_path_factory.mktemp("daily"), (DAILY_FACT, RECORD))
    Daily(made, []).publish()
    return made


@pytest.fixture
def daily(one_fact: Lake, monkeypatch: pytest.MonkeyPatch) -> Daily:
    """The fact with prices that were exported, and others that wait."""
    monkeypatch.setattr(export, "exported_contracts", lambda: [load_contract(DAILY_FACT)])
    one_fact.exporter.export()
    made = Daily(one_fact, one_fact.prices())
    made.publish()
    return made


_NAMED = json.dumps(
    {
        "asset_id": "bitcoin",
        "symbol": "btc",
        "name": "Bitcoin",
        "status": "active",
        "is_current": True,
        "valid_from": SNAPSHOT_AT.isoformat(),
        "source_id": "coingecko_simulator",
        "batch_id": SNAPSHOT,
    }
).encode()
"""The coin list: the marts write its name into all rows of an asset."""


@pytest.fixture(scope="module")
def exported(local_cloud: LocalCloud, tmp_path_factory: pytest.TempPathFactory) -> Lake:
    """Three exports: the history with the index; a snapshot and a coin list; the history again with other prices."""
    made = make_lake(local_cloud, tmp_path_factory.mktemp("lake"))
    days = [START + timedelta(days=offset) for offset in range(DAYS)]
    puts: list[dict[tuple[str, str], list[dict[str, Any]]]] = [
        {(DAILY_FACT, HISTORY): history(), (FEAR_GREED_FACT, INDEX): [index_row(day, 50, INDEX) for day in days]},
        {(SNAPSHOT_FACT, SNAPSHOT): [snapshot_row(one, SNAPSHOT_AT, 7.5, SNAPSHOT, **EDGES) for one in ASSETS]},
        {(DAILY_FACT, HISTORY): history(raised_by=1)},
    ]
    exports = []
    for published in puts:
        if (SNAPSHOT_FACT, SNAPSHOT) in published:
            made.bench.warehouse.append(made.bench.warehouse.table(load_contract("crypto_asset_dim")), _NAMED)
        for (fact, batch), rows in published.items():
            made.bench.put(fact, batch, rows)
        made.bench.refresh()
        done = made.exporter.export()
        assert done is not None
        exports.append(done)
    return Lake(made.bench, made.lakehouse, made.env, exports)


@pytest.fixture
def environment(exported: Lake, monkeypatch: pytest.MonkeyPatch) -> Iterator[Settings]:
    """The settings of the exported warehouse as those of this process."""
    for name, value in exported.env.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    yield load_settings()
    load_settings.cache_clear()
