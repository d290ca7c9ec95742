"""What ``ingestion_batch`` counts of a job stands in the report of that job, by the name that the contract gives it."""

from dataclasses import fields

import pytest

from beam_pipelines.assets.table import AssetReport
from beam_pipelines.history.table import HistoryReport
from beam_pipelines.sentiment.table import IndexReport
from beam_pipelines.snapshot.table import SnapshotReport
from beam_pipelines.snapshot.walk import FetchStats
from coinbeam.batch.jobs import FETCH_CRYPTO_DATA, FETCH_FEAR_GREED, FETCH_MARKET_HISTORY, POPULATE_CRYPTO_ASSET_DIM
from coinbeam.contracts import load_contract
from coinbeam.feeds.steps import RECORD

CALLS = {field.name for field in fields(FetchStats)}
REPORTED = {
    FETCH_CRYPTO_DATA.name: {field.name for field in fields(SnapshotReport)} | CALLS,
    POPULATE_CRYPTO_ASSET_DIM.name: {field.name for field in fields(AssetReport)} | CALLS,
    FETCH_MARKET_HISTORY.name: set(HistoryReport((), 0, 0, 0, 0, {}, None, None).totals()) | CALLS,
    FETCH_FEAR_GREED.name: {field.name for field in fields(IndexReport)} | CALLS,
}
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
    both = set(REPORTED[FETCH_CRYPTO_DATA.name]) & {field.name for field in fields(AssetReport)}
    assert "rows_read" in both
    assert not {(column, POPULATE_CRYPTO_ASSET_DIM.name) for column in both} & set(SOURCES)
