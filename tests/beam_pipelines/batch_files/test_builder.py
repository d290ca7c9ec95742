"""Every column of a batch file is filled by somebody, and everything that is filled is a column; the job says so when
it starts.
"""

import dataclasses
import json
import pickle
from collections.abc import Callable
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines import populate_date_dim
from beam_pipelines.assets.table import AssetTable
from beam_pipelines.batch_files.builder import BatchInput, TableBuilder
from beam_pipelines.history.rules import HistoryRules
from beam_pipelines.history.table import HistoryTable
from beam_pipelines.sentiment.table import IndexTable
from beam_pipelines.snapshot.rules import MarketRules
from beam_pipelines.snapshot.table import SnapshotTable
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.tables import ASSETS, DAILY_FACT, DATES, FEAR_GREED_FACT, SNAPSHOT_FACT
from coinbeam.contracts import Column, Contract, load_contract
from coinbeam.errors import ContractError
from coinbeam.landing.layout import LandedBody
from coinbeam.settings import Settings
from tests.beam_pipelines.built import build

BATCH = BatchManifest("b", "any", "coingecko", datetime(2026, 1, 2, 6, 30, tzinfo=UTC), "usd", 1, "all")

BUILDERS: dict[str, Callable[[Contract], TableBuilder[Any]]] = {
    SNAPSHOT_FACT: lambda contract: SnapshotTable(MarketRules(contract, 300)),
    DAILY_FACT: lambda contract: HistoryTable(HistoryRules(contract, 300, 35)),
    ASSETS: lambda contract: AssetTable(contract, {}),
    FEAR_GREED_FACT: lambda contract: IndexTable(contract, 300),
}


def changed(table: str, *, without: str = "", plus: Column | None = None) -> Contract:
    contract = load_contract(table)
    columns = tuple(column for column in contract.columns if column.name != without)
    return dataclasses.replace(contract, columns=(*columns, *([plus] if plus else [])))


@pytest.mark.parametrize("table", BUILDERS)
@pytest.mark.parametrize("type_name", ["FLOAT64", "STRING", "DATE"])
def test_a_derived_column_without_code_stops_the_job(table: str, type_name: str) -> None:
    planted = changed(table, plus=Column("turnover", type_name, "volume over market cap", "ratio"))
    with pytest.raises(ContractError, match=f"Nothing fills turnover of {table}"):
        BUILDERS[table](planted)


def test_a_derived_column_that_the_publish_fills_needs_no_code() -> None:
    column = Column("turnover", "FLOAT64", "volume over market cap", "ratio", in_files=False)
    assert BUILDERS[SNAPSHOT_FACT](changed(SNAPSHOT_FACT, plus=column))


@pytest.mark.parametrize(
    ("table", "column"),
    [(SNAPSHOT_FACT, "volatility_7d"), (DAILY_FACT, "date"), (ASSETS, "categories"), (FEAR_GREED_FACT, "ingested_at")],
)
def test_code_that_fills_no_column_stops_the_job(table: str, column: str) -> None:
    with pytest.raises(ContractError, match=f"fills {column}, which batch files of {table} do not have"):
        BUILDERS[table](changed(table, without=column))


def test_a_column_from_a_field_that_no_code_reads_stops_the_job() -> None:
    planted = changed(ASSETS, plus=Column("hashrate", "FLOAT64", "of the chain", "hash/s", source="hashrate"))
    with pytest.raises(ContractError, match="Nothing fills hashrate"):
        BUILDERS[ASSETS](planted)


def test_the_calendar_is_held_to_its_contract_too(
    monkeypatch: pytest.MonkeyPatch, settings: Settings, tmp_path: Path
) -> None:
    planted = changed(DATES, plus=Column("is_holiday", "BOOL", "a bank holiday", "none"))
    monkeypatch.setattr(populate_date_dim, "load_contract", lambda _: planted)
    with pytest.raises(ContractError, match=f"Nothing fills is_holiday of {DATES}"):
        populate_date_dim.run(["--runner=DirectRunner", f"--output={tmp_path}"], settings)


@pytest.mark.parametrize("table", BUILDERS)
def test_a_batch_of_nothing_has_every_column(table: str) -> None:
    built = build(BUILDERS[table](load_contract(table)), BATCH, [])
    assert built.csv.decode() == ",".join(f'"{column.name}"' for column in load_contract(table).file_columns) + "\n"


@pytest.mark.parametrize(
    ("name", "value"), [("snapshot_date", date(2026, 1, 2)), ("time_id", 390), ("quote_currency", "usd")]
)
def test_what_the_batch_itself_says_needs_no_code_of_a_feed(name: str, value: Any) -> None:
    contract = changed(FEAR_GREED_FACT, plus=load_contract(SNAPSHOT_FACT).by_name[name])
    entry = {"value": "50", "value_classification": "Neutral", "timestamp": "1767225600"}
    body = LandedBody("index.json", json.dumps({"data": [entry]}).encode(), BATCH.snapshot_at)
    assert build(BUILDERS[FEAR_GREED_FACT](contract), BATCH, [body]).table[name].to_pylist() == [value]


def test_a_builder_and_its_batch_survive_the_journey_to_a_worker() -> None:
    given = BatchInput(BATCH, ("a", "b"), "x.csv", "x.ndjson", missing=3)
    assert pickle.loads(pickle.dumps(given)) == given
    for table, make in BUILDERS.items():
        assert pickle.loads(pickle.dumps(make(load_contract(table)))).contract == load_contract(table)
