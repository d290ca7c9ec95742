"""Published tables: their shape, the rows that a check reads, and who is blamed for their age."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import date, datetime, timedelta

import pytest
from google.cloud import bigquery

from coinbeam.batch.tables import ASSETS, DATES
from coinbeam.batch.tables import SNAPSHOT_FACT as FACT
from coinbeam.contracts import Contract, Severity, load_all, load_contract
from coinbeam.contracts import Stage as AuditStage
from coinbeam.errors import PublishBlockedError
from coinbeam.quality import Audit, Result, Status, check_published, newest_dates, refuse_if_blocked
from coinbeam.quality.published import is_present, published_rules, rows_of_dates, shape_of
from coinbeam.warehouse.client import Warehouse
from tests.coinbeam.conftest import DAY, Stage, asset_row, date_row, fact_row

Columns = Mapping[str, tuple[str, bool]]


class Described(Warehouse):
    """A warehouse of which only the columns of tables are asked."""

    def __init__(self, columns: Columns | None) -> None:
        self._columns = columns

    def table(self, contract: Contract) -> str:
        """The name of a table."""
        return f"d.{contract.name}"

    @contextmanager
    def answering(self) -> Iterator[None]:
        """Nothing fails."""
        yield

    def get_table(self, name: str) -> bigquery.Table | None:
        """A table with the columns that the test wants."""
        if self._columns is None:
            return None
        fields = [
            bigquery.SchemaField(column, kind, mode="REQUIRED" if required else "NULLABLE")
            for column, (kind, required) in self._columns.items()
        ]
        return bigquery.Table(f"project.{name}", schema=fields)


def as_written(contract: Contract) -> dict[str, tuple[str, bool]]:
    """The columns of a contract as a warehouse tells them."""
    return {column.name: (column.type, column.required) for column in contract.columns}


def shapes(contract: Contract, columns: Columns | None) -> dict[str, Result]:
    """The results over the shape of a table."""
    return {result.rule.name: result for result in shape_of(Described(columns), contract)}


@pytest.mark.parametrize("contract", load_all().values(), ids=lambda contract: contract.name)
def test_a_table_like_its_contract_passes_and_a_missing_one_blocks(contract: Contract) -> None:
    assert {r.status for r in shapes(contract, as_written(contract)).values()} == {Status.PASSED}
    (missing,) = shapes(contract, None).values()
    assert (missing.rule.name, missing.status, missing.value, missing.blocks) == (
        "table_exists",
        Status.FAILED,
        1,
        True,
    )


@pytest.mark.parametrize(
    ("change", "difference"),
    [
        pytest.param(
            {"current_price": ("NUMERIC", True)},
            "current_price: NUMERIC REQUIRED, not FLOAT64 REQUIRED",
            id="another type",
        ),
        pytest.param(
            {"current_price": ("FLOAT64", False)},
            "current_price: FLOAT64 NULLABLE, not FLOAT64 REQUIRED",
            id="another mode",
        ),
        pytest.param({"current_price": None}, "current_price: missing, not FLOAT64 REQUIRED", id="a column is missing"),
        pytest.param(
            {"price": ("FLOAT64", False)}, "price: FLOAT64 NULLABLE, not missing", id="a column that nobody described"
        ),
    ],
)
def test_a_schema_that_differs_blocks_and_names_the_difference(
    change: dict[str, tuple[str, bool] | None], difference: str
) -> None:
    fact = load_contract(FACT)
    columns = {name: column for name, column in {**as_written(fact), **change}.items() if column is not None}
    result = shapes(fact, columns)["schema_matches"]
    assert (result.status, result.value, result.sample) == (Status.FAILED, 1, (difference,))
    with pytest.raises(PublishBlockedError, match="schema_matches"):
        refuse_if_blocked([result], AuditStage.PUBLISHED)


def test_modes_of_a_view_are_not_judged() -> None:
    view = load_contract("price_history")
    columns = {name: (kind, False) for name, (kind, _) in as_written(view).items()}
    assert shapes(view, columns)["schema_matches"].status is Status.PASSED
    assert shapes(view, columns | {"price": ("STRING", False)})["schema_matches"].sample == (
        "price: STRING, not FLOAT64",
    )


def audit(first: date, last: date, now: datetime = DAY) -> Audit:
    """An audit of some dates."""
    return Audit.of_dates("marts", first, last, now)


@pytest.mark.parametrize("contract", load_all().values(), ids=lambda contract: contract.name)
def test_a_check_prunes_to_the_dates_in_question(contract: Contract) -> None:
    rows = rows_of_dates(Described({}), contract, audit(date(2026, 1, 1), date(2026, 1, 2)))
    if contract.partition_column:
        assert f"{contract.partition_column} BETWEEN DATE '2026-01-01' AND DATE '2026-01-02'" in rows
    else:
        assert "WHERE" not in rows


@pytest.mark.parametrize(
    ("age_days", "severity"),
    [
        pytest.param(0, Severity.ERROR, id="today's rows answer for the age of the table"),
        pytest.param(3, Severity.ERROR, id="so do those within the bound"),
        pytest.param(30, Severity.WARNING, id="a replay of an old batch is not to blame"),
    ],
)
def test_only_rows_of_the_present_are_blocked_by_the_age_of_their_table(age_days: int, severity: Severity) -> None:
    then = (DAY - timedelta(days=age_days)).date()
    rules = {rule.name: rule for rule in published_rules(load_contract(FACT), audit(then, then))}
    assert rules["freshness_limit"].severity is severity
    assert rules["freshness"].severity is Severity.WARNING


def test_a_table_that_promises_no_freshness_is_never_the_present() -> None:
    assert not is_present(load_contract(DATES), audit(DAY.date(), DAY.date()))


@pytest.fixture
def filled(stage: Stage) -> Stage:
    """Two published days."""
    for number in (0, 1):
        then = DAY + timedelta(days=number)
        stage.publish(
            f"batch-{number}",
            then,
            **{
                FACT: [fact_row("a", then, f"batch-{number}")],
                ASSETS: [asset_row("a", f"batch-{number}")],
                DATES: [date_row(DAY), date_row(DAY + timedelta(days=1))],
            },
        )
    return stage


def by_name(results: list[Result]) -> dict[tuple[str, str], Result]:
    """Results by table and rule."""
    return {(result.table, result.rule.name): result for result in results}


@pytest.mark.cloud
def test_a_check_of_what_readers_see(filled: Stage) -> None:
    warehouse, contracts = filled.warehouse, [load_contract(name) for name in (FACT, ASSETS, DATES, "price_history")]
    today, now = (DAY + timedelta(days=1)).date(), DAY + timedelta(days=1, hours=1)
    assert newest_dates(warehouse, load_contract(FACT), 2, today + timedelta(days=5)) == (
        DAY.date(),
        today + timedelta(days=5),
    )
    assert newest_dates(warehouse, load_contract("market_daily"), 1, today) == (today, today)

    sound = check_published(warehouse, contracts, audit(today, today, now))
    assert {name: r.message for name, r in by_name(sound).items() if r.status is not Status.PASSED} == {}

    fact = warehouse.table(load_contract(FACT))
    columns = ", ".join(c.name for c in load_contract(FACT).columns if c.name not in {"batch_id", "current_price"})
    warehouse.query(
        f"INSERT INTO `{fact}` ({columns}, batch_id, current_price) "
        f"SELECT {columns}, 'another', -1.0 FROM `{fact}` WHERE snapshot_date = '{today}'"
    )
    found = by_name(check_published(warehouse, contracts, audit(today, today, now)))
    broken = {name for name, result in found.items() if result.blocks}
    assert {(FACT, "unique_key"), (FACT, "current_price_in_range")} <= broken, (
        "rows of other batches count on these dates"
    )
    assert {name for name in broken if name[0] in {ASSETS, DATES}} == set()
    before = by_name(check_published(warehouse, contracts[:1], audit(DAY.date(), DAY.date(), now)))
    assert not any(result.blocks for result in before.values()), "another day is not in question"

    late = by_name(check_published(warehouse, contracts[:1], audit(DAY.date(), DAY.date(), now + timedelta(days=30))))
    assert late[FACT, "freshness_limit"].status is Status.WARNING
    month_later = DAY + timedelta(days=31, hours=1)
    stale = check_published(warehouse, contracts[:1], audit(month_later.date(), month_later.date(), month_later))
    with pytest.raises(
        PublishBlockedError,
        match=r"1 rule.* refuse what was published: crypto_market_snapshot_fact\.freshness_limit = 721\.0",
    ):
        refuse_if_blocked(stale, AuditStage.PUBLISHED)
    recorded = filled.contents("quality_result")
    assert {row["run_id"] for row in recorded} == {"marts"}
    assert {row["stage"] for row in recorded} == {"published"}


def test_an_empty_table_is_late_only_in_a_warehouse_that_is_old_enough(stage: Stage) -> None:
    contract, now = load_contract("market_daily"), DAY + timedelta(hours=1)
    day = now.date()

    def late() -> set[str]:
        results = check_published(stage.warehouse, [contract], audit(day, day, now))
        return {result.rule.name for result in results if result.status is not Status.PASSED}

    assert late() == set(), "nothing ever ran"
    stage.warehouse.query(
        f"INSERT INTO `{stage.warehouse.table(load_contract('ingestion_batch'))}` "
        + record_of(started_at=now - timedelta(hours=2))
    )
    assert late() == set(), "the first batch is two hours old"
    stage.warehouse.query(
        f"INSERT INTO `{stage.warehouse.table(load_contract('ingestion_batch'))}` "
        + record_of(started_at=now - timedelta(days=9))
    )
    assert late() == {"freshness", "freshness_limit"}


def record_of(started_at: datetime) -> str:
    """The columns and values of a batch that began at an instant."""
    columns = [column for column in load_contract("ingestion_batch").columns if column.required]
    known = {"started_at": f"TIMESTAMP '{started_at.isoformat()}'", "snapshot_date": f"DATE '{DAY.date()}'"}
    zero = {"STRING": "'x'", "INT64": "0", "TIMESTAMP": f"TIMESTAMP '{DAY.isoformat()}'"}
    values = ", ".join(known.get(column.name) or zero[column.type] for column in columns)
    return f"({', '.join(column.name for column in columns)}) VALUES ({values})"
