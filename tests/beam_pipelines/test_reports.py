"""What ``ingestion_batch`` counts of a job stands in the report of that job, by the name that the contract gives it."""

from dataclasses import fields
from datetime import UTC, datetime
from typing import Any

import pytest

from beam_pipelines.assets.table import AssetTable
from beam_pipelines.batch_files.builder import TableBuilder
from beam_pipelines.history.rules import HistoryRules
from beam_pipelines.history.table import HistoryTable
from beam_pipelines.landing.folder import FetchStats
from beam_pipelines.sentiment.table import IndexTable
from beam_pipelines.snapshot.rules import MarketRules
from beam_pipelines.snapshot.table import SnapshotTable
from coinbeam.batch.jobs import FETCH_CRYPTO_DATA, FETCH_FEAR_GREED, FETCH_MARKET_HISTORY, POPULATE_CRYPTO_ASSET_DIM
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.tables import ASSETS, DAILY_FACT, FEAR_GREED_FACT, SNAPSHOT_FACT
from coinbeam.contracts import load_contract
from coinbeam.feeds.steps import RECORD
from tests.beam_pipelines.built import build

BUILDERS: dict[str, TableBuilder[Any]] = {
    FETCH_CRYPTO_DATA.name: SnapshotTable(MarketRules(load_contract(SNAPSHOT_FACT), 0)),
    POPULATE_CRYPTO_ASSET_DIM.name: AssetTable(load_contract(ASSETS), {}),
    FETCH_MARKET_HISTORY.name: HistoryTable(HistoryRules(load_contract(DAILY_FACT), 0, 0)),
    FETCH_FEAR_GREED.name: IndexTable(load_contract(FEAR_GREED_FACT), 0),
}
EMPTY = BatchManifest("b", "markets", "coingecko", datetime(2026, 1, 2, tzinfo=UTC), "usd", 1, "all")
CALLS = {field.name for field in fields(FetchStats)}
REPORTED = {job: {*build(builder, EMPTY, []).report, *CALLS} for job, builder in BUILDERS.items()}
SOURCES = [(column.name, source) for column in load_contract(RECORD).columns for source in column.reports]
COUNTED_IN_THE_WAREHOUSE = {"rows_staged", "rows_published"}


@pytest.mark.parametrize(("column", "source"), SOURCES, ids=lambda value: value)
def test_a_job_reports_what_the_contract_takes_from_it(column: str, source: str) -> None:
    job, _, count = source.partition(".")
    assert (count or column) in REPORTED[job]


def test_every_count_of_a_batch_says_where_it_comes_from() -> None:
    counts = {column.name for column in load_contract(RECORD).columns if column.type == "INT64"}
    assert counts - {column for column, _ in SOURCES} == COUNTED_IN_THE_WAREHOUSE


def test_counts_of_assets_are_not_mistaken_for_rows_of_the_fact() -> None:
    both = (REPORTED[FETCH_CRYPTO_DATA.name] & REPORTED[POPULATE_CRYPTO_ASSET_DIM.name]) - CALLS
    assert "rows_read" in both
    assert not {(column, POPULATE_CRYPTO_ASSET_DIM.name) for column in both} & set(SOURCES)
