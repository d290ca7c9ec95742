"""What the marts of a backfill cost: the numbers behind it, held to the marts themselves and to what BigQuery bills."""

from collections import Counter
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
import sqlglot
from sqlglot import exp

from coinbeam.batch.tables import DAILY_FACT, SNAPSHOT_FACT
from coinbeam.contracts import load_contract
from coinbeam.feeds.history import refreshes
from coinbeam.feeds.history.refreshes import LEAST_BYTES, QUERIES, SCANS, dollars, row_bytes, rows_read
from coinbeam.marts.plan import LOOK_BACK_DAYS, Latest, MartPlan, Publication, Touched
from coinbeam.marts.refresh import Marts
from coinbeam.settings import Environment, Settings
from coinbeam.warehouse.client import Warehouse
from tests.coinbeam.conftest import Stage
from tests.temporary import temporary_settings

FIRST, LAST, NOW = date(2025, 1, 1), date(2025, 12, 31), datetime(2026, 1, 2, tzinfo=UTC)
OF_DAYS = {"market_daily", DAILY_FACT, SNAPSHOT_FACT}
"""Tables with a row for each asset and day, or each snapshot of one; beside them the others are small."""


@pytest.fixture
def production(tmp_path: Path) -> Settings:
    """Settings of a deployment."""
    return temporary_settings(tmp_path).model_copy(update={"environment": Environment.PRODUCTION})


def refresh(settings: Settings) -> str:
    """The SQL of a refresh after one batch of history: its plan, and its transaction."""
    published = Publication(batch_id="b", table_name=DAILY_FACT, first_date=FIRST, last_date=LAST, published_at=NOW)
    before = FIRST - timedelta(days=LOOK_BACK_DAYS)
    plan = MartPlan(
        publications=(published,),
        market=((FIRST, LAST),),
        sentiment=(),
        touched=Touched(assets=40, first_date=FIRST, last_date=LAST, last_changed=LAST, look_back_from=before),
        latest=Latest(first=FIRST, last=LAST, lost=0),
        refreshed_at=NOW,
    )
    marts = Marts(Warehouse(settings), settings)
    bounds = [(f"DATE '{FIRST}'", f"DATE '{LAST}'")]
    return f"{marts._render('plan.sql', ranges=bounds, hull=bounds[0])};\n{marts.script(plan)}"


def references(sql: str) -> Counter[str]:
    """How often the statements of a script read each table; what an INSERT only fills, it does not read."""
    found = Counter[str]()
    for statement in filter(None, sqlglot.parse(sql, dialect="bigquery")):
        found.update(table.name for table in statement.find_all(exp.Table))
        if isinstance(statement, exp.Insert):
            found[statement.find(exp.Table).name] -= 1  # type: ignore[union-attr]
    return found


def test_a_refresh_reads_the_asset_days_as_often_as_the_estimate_says(tmp_path: Path) -> None:
    sql = refresh(temporary_settings(tmp_path))
    counted = sum(times for name, times in references(sql).items() if name in OF_DAYS)
    assert 0.8 * SCANS <= counted <= SCANS


def test_a_refresh_looks_back_as_far_as_the_estimate_says() -> None:
    assert refreshes.DAYS_READ_BEFORE == LOOK_BACK_DAYS


def test_a_row_is_as_large_as_bigquery_counts_it() -> None:
    columns = Counter(column.type for column in load_contract("market_daily").columns)
    texts = columns.pop("STRING")
    assert row_bytes(load_contract("market_daily")) == 8 * sum(columns.values()) + 14 * texts


def test_a_batch_pays_the_least_of_each_query_even_when_nothing_is_there(production: Settings) -> None:
    price = production.prices.bigquery_tib_scanned
    assert dollars(production, 3, 0, 0) == pytest.approx(3 * QUERIES * LEAST_BYTES / 2**40 * price)


def test_each_refresh_reads_what_was_there_and_what_came_before_it(production: Settings) -> None:
    least = dollars(production, 4, 0, 0)
    row = SCANS * row_bytes(load_contract("market_daily")) / 2**40 * production.prices.bigquery_tib_scanned
    assert dollars(production, 4, 1_000_000, 0) - least == pytest.approx(4_000_000 * row)
    assert dollars(production, 4, 0, 400_000) - least == pytest.approx((1 + 2 + 3 + 4) * 100_000 * row)


def test_one_machine_pays_nothing(production: Settings) -> None:
    assert dollars(production.model_copy(update={"environment": Environment.LOCAL}), 3, 10**9, 10**9) == 0


@pytest.mark.cloud
def test_the_rows_that_are_read_begin_with_the_look_back(stage: Stage) -> None:
    contract = load_contract("market_daily")
    table = stage.warehouse.table(contract)
    columns = {"FLOAT64": 1.0, "INT64": 1, "STRING": "x", "DATE": "2025-01-01", "TIMESTAMP": "2025-01-01T00:00:00Z"}
    full = {column.name: columns[column.type] for column in contract.columns if column.required}
    days = ("2024-11-30", "2024-12-01", "2025-01-01", "2026-06-01")
    stage.load(table, "market_daily", [full | {"date": day} for day in days])
    assert rows_read(stage.warehouse, FIRST) == 3
