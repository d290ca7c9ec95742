"""The check of partition filters finds every statement that BigQuery would refuse: each bound of our own scripts is
taken away once.
"""

from collections.abc import Iterator
from datetime import timedelta

import pytest
from sqlglot import exp

from coinbeam.batch.kinds import FEEDS, SNAPSHOTS, Batch
from coinbeam.contracts import Contract, Stage, load_all, load_contract
from coinbeam.contracts.bigquery import ddl
from coinbeam.contracts.model import fill
from coinbeam.marts.refresh import Marts
from coinbeam.quality import Audit
from coinbeam.quality.published import published_rules, rows_of_dates
from coinbeam.quality.rules import rules_of
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.publish import publish_script, rejects_script
from coinbeam.warehouse.staging import StagingTables
from console.partitions import bounds, hidden_partitions, statements, unbounded, unbounded_tables
from tests.coinbeam.conftest import DAY
from tests.coinbeam.marts.test_script import PLANS
from tests.temporary import temporary_settings

PARTITIONED = {c.name: c.partition_column for c in load_all().values() if c.partition_column}
VIEWS = [contract for contract in load_all().values() if contract.is_view]
every_view = pytest.mark.parametrize("view", VIEWS, ids=lambda view: view.name)

DAYS = {"days": "day", "months": "month"}
BOUNDED = {
    "a literal": "SELECT 1 FROM days WHERE day = DATE '2026-01-02'",
    "a parameter": "SELECT 1 FROM days WHERE day >= @first AND x = 1",
    "a range": "SELECT 1 FROM days AS d WHERE (d.day BETWEEN DATE_SUB(CURRENT_DATE(), INTERVAL 7 DAY) AND CURRENT_DATE())",
    "the other way round": "SELECT 1 FROM days WHERE DATE '2026-01-02' <= day",
    "a list": "SELECT 1 FROM days WHERE day IN (DATE '2026-01-02', @other)",
    "either of two ranges": "SELECT 1 FROM days WHERE day = @a OR (day = @b AND x = 1)",
    "an inner join": "SELECT 1 FROM days AS d JOIN other AS o ON d.x = o.x AND d.day = @day",
    "the optional side of a join": "SELECT 1 FROM other AS o LEFT JOIN days AS d ON d.x = o.x AND d.day = @day",
    "a merge": "MERGE days AS t USING s ON t.day = @day AND t.x = s.x WHEN MATCHED THEN DELETE",
    "a change": "UPDATE days SET x = 1 WHERE day = @day",
    "a change by another table": "UPDATE days AS d SET x = o.x FROM other AS o WHERE d.day = @day AND o.x = d.y",
    "a deletion": "DELETE FROM days WHERE day = @day",
    "rows that are inserted": "INSERT INTO days (day) SELECT x FROM other",
    "a table that is made": "CREATE TABLE days (day DATE) PARTITION BY day",
    "a column that is added": "ALTER TABLE days ADD COLUMN x STRING",
    "each table by its own column": "SELECT 1 FROM days AS d JOIN months AS m ON d.x = m.x WHERE d.day = @day AND m.month = @month",
    "staging of the same name": "SELECT 1 FROM days__batch",
}
UNBOUNDED = {
    "nothing": "SELECT 1 FROM days",
    "another column": "SELECT 1 FROM days WHERE x = DATE '2026-01-02'",
    "a join only": "SELECT 1 FROM days AS d JOIN other AS o ON d.day = o.day",
    "a subquery": "SELECT 1 FROM days WHERE day = (SELECT MAX(x) FROM other)",
    "a subquery's list": "SELECT 1 FROM days WHERE day IN (SELECT x FROM other)",
    "one side of an OR": "SELECT 1 FROM days WHERE day = @a OR x = 1",
    "a negation": "SELECT 1 FROM days WHERE NOT day = @a",
    "a function of the column": "SELECT 1 FROM days WHERE DATE_TRUNC(day, MONTH) = @a",
    "the bound of its neighbour": "SELECT 1 FROM days AS d JOIN other AS o ON d.x = o.x WHERE o.day = @a",
    "a bound of nobody in particular": "SELECT 1 FROM days AS d JOIN other AS o ON d.x = o.x WHERE day = @a",
    "the lasting side of a join": "SELECT 1 FROM days AS d LEFT JOIN other AS o ON d.x = o.x AND d.day = @a",
    "the first of two references": "SELECT 1 FROM days WHERE x IN (SELECT x FROM days WHERE day = @a)",
    "a merge without": "MERGE days AS t USING s ON t.x = s.x WHEN MATCHED THEN DELETE",
    "a merge by a column of its source": "MERGE days AS t USING s ON t.day = s.day WHEN MATCHED THEN DELETE",
    "a source of a merge": "MERGE other AS t USING days AS s ON t.x = s.x WHEN MATCHED THEN DELETE",
    "a change without": "UPDATE days SET x = 1 WHERE x = 2",
    "a deletion without": "DELETE FROM days WHERE x = 2",
    "rows that are read for an insertion": "INSERT INTO other (x) SELECT x FROM days",
    "a table made of another": "CREATE TEMP TABLE made AS SELECT x FROM days",
    "the second statement": "SELECT 1 FROM days WHERE day = @a; SELECT 1 FROM days;",
}


@pytest.mark.parametrize("sql", BOUNDED.values(), ids=BOUNDED)
def test_what_bigquery_prunes_is_accepted(sql: str) -> None:
    assert unbounded(sql, DAYS) == []


@pytest.mark.parametrize("sql", UNBOUNDED.values(), ids=UNBOUNDED)
def test_what_bigquery_cannot_prune_is_found(sql: str) -> None:
    (found,) = unbounded(sql, DAYS)
    assert found.startswith("days in: ")


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A warehouse that is never asked: rendering needs names only."""
    return Warehouse(temporary_settings(tmp_path_factory.mktemp("state")))


@pytest.fixture(scope="module")
def scripts(idle: Warehouse) -> list[exp.Expr]:
    """The statements of every publish and of whole refreshes, rendered by the code that runs them."""
    batches = [Batch(feed, "b", "run", DAY, DAY.date() - timedelta(days=400), DAY.date()) for feed in FEEDS]
    texts = [publish_script(idle, batch, dict.fromkeys(batch.feed.staged, "1:1")) for batch in batches] + [
        rejects_script(idle, batches[0])
    ]
    texts += [Marts(idle, idle.settings).script(PLANS[name]) for name in ("everything", "an hour and the index")]
    return [statement for text in texts for statement in statements(text)]


def test_every_publish_and_refresh_bounds_what_it_reads_and_changes(scripts: list[exp.Expr]) -> None:
    assert [str(table) for statement in scripts for table in unbounded_tables(statement, PARTITIONED)] == []


def test_no_bound_of_a_publish_or_a_refresh_can_be_taken_away_unnoticed(scripts: list[exp.Expr]) -> None:
    taken = 0
    for statement in scripts:
        for mutant in without_one_bound(statement):
            assert unbounded_tables(mutant, PARTITIONED), mutant.sql("bigquery")[:500]
            taken += 1
    assert taken > 40


def without_one_bound(statement: exp.Expr) -> Iterator[exp.Expr]:
    """The statement with each of its bounds replaced by TRUE, one at a time."""
    for bound in {id(bound): bound for bound in bounds(statement, PARTITIONED)}.values():
        truth = exp.true()
        bound.replace(truth)
        yield statement
        truth.replace(bound)


def rule_queries(contract: Contract, stage: Stage, idle: Warehouse) -> list[str]:
    """Every query and sample of the rules of a table at a stage, as the audit asks them."""
    batch = Batch(SNAPSHOTS, "b", "run", DAY, DAY.date(), DAY.date())
    audit = Audit.of_batch(batch, stage, DAY)
    staged = stage is Stage.STAGING
    rules = rules_of(contract, contract.file_columns, stage) if staged else published_rules(contract, audit)
    rows = f"`{StagingTables(idle.settings, batch).name(contract)}`" if staged else rows_of_dates(idle, contract, audit)
    values = {**idle.names(), **audit.literals, "table": rows}
    return [fill(sql, values) for rule in rules for sql in (rule.query, rule.sample) if sql]


@pytest.mark.parametrize("stage", [Stage.STAGING, Stage.PUBLISHED])
@pytest.mark.parametrize("contract", load_all().values(), ids=lambda contract: contract.name)
def test_every_rule_bounds_what_it_reads(contract: Contract, stage: Stage, idle: Warehouse) -> None:
    queries = rule_queries(contract, stage, idle)
    assert queries
    assert [found for sql in queries for found in unbounded(sql, PARTITIONED)] == []


def test_a_rule_that_reads_a_whole_table_would_be_found(idle: Warehouse) -> None:
    sql = fill(
        "SELECT COUNT(*) FROM {table} WHERE batch_id NOT IN (SELECT batch_id FROM {ingestion_batch})",
        {**idle.names(), "table": "t"},
    )
    assert len(unbounded(sql, PARTITIONED)) == 1


def shown(view: Contract) -> str:
    """The ``CREATE VIEW`` of a contract."""
    return ddl(view, "d")


@every_view
def test_readers_of_a_view_can_bound_what_it_reads(view: Contract) -> None:
    assert hidden_partitions(shown(view), view.partition_column, PARTITIONED) == []


@every_view
def test_a_view_that_hides_its_partition_is_found(view: Contract) -> None:
    assert hidden_partitions(shown(view), None, PARTITIONED), "no column to filter by"
    other = next(column.name for column in view.columns if column.name != view.partition_column)
    assert hidden_partitions(shown(view), other, PARTITIONED), "a column that is no partition"


def test_a_view_may_bound_what_it_reads_itself() -> None:
    sql = "CREATE VIEW v (x) AS SELECT x FROM days WHERE day = CURRENT_DATE()"
    assert hidden_partitions(sql, None, DAYS) == []
    assert hidden_partitions(sql.partition(" WHERE")[0], None, DAYS) == ["days"]


def test_the_partitioned_tables_are_those_that_demand_a_filter() -> None:
    assert {name for name in PARTITIONED if not load_contract(name).is_view} == {
        contract.name for contract in load_all().values() if "require_partition_filter = TRUE" in ddl(contract, "d")
    }
