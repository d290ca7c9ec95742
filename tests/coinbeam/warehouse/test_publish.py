"""Publishing: all SQL is BigQuery's and prunes by partition, a batch is visible as a whole or not at all, and assets
keep their history.
"""

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from functools import partial
from itertools import groupby, pairwise, permutations
from pathlib import Path
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from coinbeam.batch.kinds import FEEDS, HISTORY, SNAPSHOTS, Batch, Feed
from coinbeam.batch.tables import ASSETS, DAILY_FACT, DATES, RATES_FACT, REJECTS
from coinbeam.batch.tables import SNAPSHOT_FACT as FACT
from coinbeam.contracts import Contract, load_contract
from coinbeam.errors import TerminalError
from coinbeam.sources.registry import SOURCES
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.publish import QUEUE, publish_script, rejects_script, statement
from coinbeam.warehouse.schema import ensure_schema
from coinbeam.warehouse.staging import StagingTables
from tests.coinbeam.conftest import DAY, Stage, asset_row, date_row, fact_row, rate_row, reject_row, snapshot_batch
from tests.temporary import LocalCloud, fresh_resources, temporary_settings

HOUR = timedelta(hours=1)
PUBLISHED = [
    (feed, load_contract(name))
    for feed in FEEDS
    for name in (*feed.published, *((REJECTS, QUEUE) if feed.feeds_marts else ()))
]
each_statement = pytest.mark.parametrize(
    ("feed", "contract"), PUBLISHED, ids=[f"{feed.job.name}-{c.name}" for feed, c in PUBLISHED]
)


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """A warehouse that is never asked: rendering needs names only."""
    return Warehouse(temporary_settings(tmp_path_factory.mktemp("state")))


def statements(sql: str) -> list[exp.Expr]:
    """The statements of a script, each understood by sqlglot as BigQuery."""
    parsed = sqlglot.parse(sql, dialect="bigquery", error_level=sqlglot.ErrorLevel.RAISE)
    return [statement for statement in parsed if statement is not None]


def rendered(idle: Warehouse, contract: Contract, feed: Feed = SNAPSHOTS) -> str:
    """The publish statements of a table."""
    return statement(
        idle, contract, Batch(feed, "20260102T0000Z-usd-all", "run", DAY, DAY.date() - timedelta(days=400), DAY.date())
    )


@each_statement
def test_every_publish_statement_is_bigquery(feed: Feed, contract: Contract, idle: Warehouse) -> None:
    for parsed in statements(rendered(idle, contract, feed)):
        assert isinstance(parsed, exp.Merge | exp.Delete | exp.Insert), parsed.sql()[:80]


@each_statement
def test_every_change_of_a_partitioned_table_names_its_partition(
    feed: Feed, contract: Contract, idle: Warehouse
) -> None:
    for parsed in statements(rendered(idle, contract, feed)):
        changes_it = parsed.this.name == contract.name and isinstance(parsed, exp.Merge | exp.Delete)
        if contract.partition_column and changes_it:
            condition = parsed.args["on"] if isinstance(parsed, exp.Merge) else parsed.args["where"]
            equal = [e.expression for e in condition.find_all(exp.EQ) if e.this.name == contract.partition_column]
            between = [
                b.args["low"] for b in condition.find_all(exp.Between) if b.this.name == contract.partition_column
            ]
            assert any(isinstance(bound, exp.Cast | exp.Date | exp.Literal) for bound in equal + between), parsed.sql()[
                :200
            ]


@each_statement
def test_columns_are_named_wherever_rows_are_written(feed: Feed, contract: Contract, idle: Warehouse) -> None:
    sql = rendered(idle, contract, feed)
    for parsed in statements(sql):
        for insert in parsed.find_all(exp.Insert):
            named = insert.this.expressions if isinstance(insert.this, exp.Schema | exp.Tuple) else []
            target = insert.this.this if isinstance(insert.this, exp.Schema) else parsed.this
            columns = load_contract(target.name).columns
            found = [column.name for column in named]
            assert found == [column.name for column in columns if column.name in found]
            assert {column.name for column in columns if column.required} <= set(found), target.name
    assert "INSERT ROW" not in sql.upper()


@pytest.mark.parametrize("feed", FEEDS, ids=lambda feed: feed.job.name)
def test_dimensions_are_published_before_the_fact(feed: Feed) -> None:
    assert feed.published[-1] == feed.fact
    assert feed.fact in feed.staged


@pytest.mark.parametrize("make", [partial(publish_script, seals={FACT: "2:1"}), rejects_script])
def test_a_script_is_one_transaction_without_a_way_out(make: Any, idle: Warehouse) -> None:
    sql = make(idle, snapshot_batch("20260102T0000Z-usd-all"))
    lines = [line for line in sql.splitlines() if line.strip()]
    assert lines[0] == "BEGIN TRANSACTION;"
    assert lines[-1] == "COMMIT TRANSACTION;"
    assert sql.upper().count("TRANSACTION") == 2
    assert "EXCEPTION" not in sql.upper()


def test_a_script_is_the_same_for_the_same_batch(idle: Warehouse) -> None:
    assert publish_script(idle, snapshot_batch("b"), {}) == publish_script(idle, snapshot_batch("b"), {})


def test_a_placeholder_that_nobody_fills_is_an_error(idle: Warehouse, tmp_path: Path) -> None:
    from dataclasses import replace

    from jinja2 import UndefinedError

    (tmp_path / "publish.sql").write_text("DELETE FROM {{ targets }}")
    with pytest.raises(UndefinedError, match="targets"):
        rendered(idle, replace(load_contract(FACT), folder=tmp_path))


def batch(number: int = 1) -> str:
    """A batch id."""
    return f"b{number}"


@pytest.mark.cloud
def test_publishing_again_changes_nothing(stage: Stage) -> None:
    rows = {
        FACT: [fact_row("bitcoin"), fact_row("ethereum", market_cap=None)],
        RATES_FACT: [rate_row("btc"), rate_row("eur"), rate_row("usd")],
        ASSETS: [asset_row("bitcoin"), asset_row("ethereum", categories='["x"]', details_at=DAY.isoformat())],
        DATES: [date_row(DAY), date_row(DAY + timedelta(days=1))],
        REJECTS: [reject_row(1), reject_row(2)],
    }
    stage.publish("batch", **rows)
    first = stage.everything()
    assert {name: len(table) for name, table in first.items()} == {
        "source_dim": len(SOURCES),
        "time_dim": 1_440,
        DATES: 2,
        ASSETS: 2,
        FACT: 2,
        RATES_FACT: 3,
        REJECTS: 2,
    }
    stage.publish("batch", **rows)
    assert stage.everything() == first


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("table", "column", "changed"), [("source_dim", "name", "'Another name'"), (DATES, "day_name", "'Someday'")]
)
def test_a_dimension_that_all_batches_share_is_written_only_where_it_differs(
    stage: Stage, table: str, column: str, changed: str
) -> None:
    """Two transactions that change the same row conflict: a publish that writes what is there stops all others."""
    rows = {FACT: [fact_row("bitcoin")], DATES: [date_row(DAY), date_row(DAY + timedelta(days=1))]}
    stage.publish("batch", **rows)
    before = stage.contents(table)
    batch = snapshot_batch("batch")
    stage.fill(batch, batch.feed.staged, **rows)
    again = statement(stage.warehouse, load_contract(table), batch)
    assert stage.warehouse.run(again).num_dml_affected_rows == 0
    name, key = stage.warehouse.table(load_contract(table)), load_contract(table).primary_key[0]
    other = f"UPDATE `{name}` SET {column} = {changed} WHERE {key} = (SELECT MAX({key}) FROM `{name}`)"
    assert stage.warehouse.run(other).num_dml_affected_rows == 1
    assert stage.warehouse.run(again).num_dml_affected_rows == 1
    assert stage.contents(table) == before


@pytest.mark.cloud
def test_doubles_keep_their_bits_from_staging_to_the_fact(stage: Stage) -> None:
    values = [5e-324, 1.7976931348623157e308, 3.57e38, 2.4e-10, 9.9e-14, 0.1 + 0.2, 1 / 3]
    stage.publish("batch", **{FACT: [fact_row(f"coin-{n}", current_price=value) for n, value in enumerate(values)]})
    assert [row["current_price"].hex() for row in stage.contents(FACT)] == [value.hex() for value in values]


@pytest.mark.cloud
def test_a_rerun_with_fewer_rows_removes_exactly_its_own(stage: Stage) -> None:
    other_day = DAY - timedelta(days=1)
    stage.publish(
        "yesterday",
        other_day,
        **{FACT: [fact_row("bitcoin", other_day, "yesterday"), fact_row("gone", other_day, "yesterday")]},
    )
    stage.publish("small", **{FACT: [fact_row("dogecoin", batch="small")]})
    stage.publish("euro", **{FACT: [fact_row("gone", batch="euro", quote_currency="eur")]})
    stage.publish("batch", **{FACT: [fact_row("bitcoin"), fact_row("gone")]})
    before = stage.contents(FACT)
    stage.publish("batch", **{FACT: [fact_row("bitcoin", current_price=7.5)]})
    expected = [dict(row, current_price=7.5) if row["batch_id"] == "batch" else row for row in before]
    assert stage.contents(FACT) == [row for row in expected if (row["batch_id"], row["asset_id"]) != ("batch", "gone")]


@pytest.mark.cloud
def test_another_universe_at_the_same_instant_is_left_alone(stage: Stage) -> None:
    stage.publish("ids", **{FACT: [fact_row("dogecoin", batch="ids"), fact_row("pepe", batch="ids")]})
    before = stage.contents(FACT)
    stage.publish("all", **{FACT: [fact_row("bitcoin", batch="all")]})
    stage.publish("all", **{FACT: [fact_row("ethereum", batch="all")]})
    after = stage.contents(FACT)
    assert [row for row in after if row["batch_id"] == "ids"] == before
    assert [row["asset_id"] for row in after if row["batch_id"] == "all"] == ["ethereum"]


@pytest.mark.cloud
def test_hours_of_one_day_live_side_by_side(stage: Stage) -> None:
    for hour in range(3):
        at = DAY + hour * HOUR
        stage.publish(f"h{hour}", at, **{FACT: [fact_row("bitcoin", at, f"h{hour}")]})
    stage.publish("h1", DAY + HOUR, **{FACT: [fact_row("bitcoin", DAY + HOUR, "h1", current_price=5.0)]})
    assert [row["current_price"] for row in stage.contents(FACT)] == [0.1 + 0.2, 5.0, 0.1 + 0.2]


@pytest.mark.cloud
def test_the_rejects_of_a_batch_are_those_of_its_latest_run(stage: Stage) -> None:
    stage.publish("other", **{REJECTS: [reject_row(9, "other")]})
    stage.publish("batch", **{REJECTS: [reject_row(1), reject_row(2)]})
    stage.publish("batch", **{REJECTS: [reject_row(2), reject_row(3)]})
    assert [(row["batch_id"], row["rejected_id"]) for row in stage.contents(REJECTS)] == [
        ("batch", "r2"),
        ("batch", "r3"),
        ("other", "r9"),
    ]


@pytest.mark.cloud
@pytest.mark.parametrize("position", [1, 3, 5, 8, 10], ids=lambda n: f"after {n} statements")
def test_a_script_that_fails_anywhere_leaves_nothing_half_visible(position: int, stage: Stage) -> None:
    rows = {FACT: [fact_row("bitcoin")], ASSETS: [asset_row("bitcoin")], DATES: [date_row(DAY)]}
    stage.publish("batch", **rows, **{RATES_FACT: [rate_row("btc"), rate_row("usd")]})
    before = stage.everything()
    changed = {
        RATES_FACT: [rate_row("btc"), rate_row("usd", value=2.0)],
        FACT: [fact_row("ethereum", current_price=2.0)],
        ASSETS: [asset_row("ethereum")],
        DATES: [date_row(DAY + timedelta(days=1))],
    }
    stage.fill("batch", **changed)
    parts = publish_script(stage.warehouse, snapshot_batch("batch"), {}).split(";\n")
    assert len(parts) == 13, "BEGIN, eleven statements, COMMIT"
    broken = ";\n".join([*parts[:position], "SELECT ERROR('the power went')", *parts[position:]])
    with pytest.raises(TerminalError, match="the power went"):
        stage.warehouse.query(broken)
    assert stage.everything() == before


@pytest.mark.cloud
def test_rates_are_replaced_by_those_of_their_batch_and_never_by_none(stage: Stage) -> None:
    def told() -> dict[str, tuple[str, float]]:
        return {row["currency"]: (row["batch_id"], row["value"]) for row in stage.contents(RATES_FACT)}

    stage.publish("batch", **{RATES_FACT: [rate_row(one) for one in ("btc", "eur", "usd")]})
    stage.publish("batch", **{RATES_FACT: [rate_row("btc"), rate_row("usd", value=7.0)]})
    assert told() == {"btc": ("batch", 1.0), "usd": ("batch", 7.0)}, "a rerun replaces its own"
    stage.publish("batch", **{FACT: [fact_row("bitcoin")]})
    assert told() == {"btc": ("batch", 1.0), "usd": ("batch", 7.0)}, "an answer that failed takes nothing away"
    older = {"ingested_at": DAY.isoformat(), "batch": "older"}
    stage.publish("older", **{RATES_FACT: [rate_row(one, value=1.0, **older) for one in ("btc", "gbp", "usd")]})
    assert told() == {"btc": ("batch", 1.0), "gbp": ("older", 1.0), "usd": ("batch", 7.0)}, "newer knowledge wins"


# Precedence.


def day_row(asset: str, day: int, price: float, known: int, seconds: int = 0, **changes: Any) -> dict[str, Any]:
    """A day of history: known on a day of February, observed so many seconds after its midnight."""
    at = datetime(2026, 1, day, tzinfo=UTC)
    return {
        "asset_id": asset,
        "quote_currency": "usd",
        "date": f"{at:%Y-%m-%d}",
        "price": price,
        "observed_at": (at + timedelta(seconds=seconds)).isoformat(),
        "ingested_at": datetime(2026, 2, known, tzinfo=UTC).isoformat(),
        "source_id": "file",
        **changes,
    }


OVERLAPPING = {
    "old": [day_row("bitcoin", day, 1.0, 1) for day in (1, 2, 3)],
    "corrected": [day_row("bitcoin", day, 2.0, 5) for day in (2, 3, 4)],
    "hourly": [day_row("bitcoin", day, 3.0, 9, seconds=740) for day in (1, 4, 5)],
    "api": [day_row("bitcoin", 3, 4.0, 5, source_id="coingecko"), day_row("ethereum", 3, 4.0, 5)],
    "twin": [day_row("ethereum", 3, 5.0, 5), day_row("ethereum", 4, 5.0, 1)],
}
"""Five files by batch that overlap in every way: known later, a later stamp, another source, nothing but the name."""


@pytest.mark.cloud
def test_the_same_files_in_any_order_give_the_same_table(stage: Stage) -> None:
    batches = {
        name: Batch(HISTORY, name, "run", DAY, date(2026, 1, 1), date(2026, 1, 31), holds_all=False)
        for name in OVERLAPPING
    }
    for name, rows in OVERLAPPING.items():
        stage.fill(batches[name], HISTORY.staged, **{DAILY_FACT: [{**row, "batch_id": name} for row in rows]})
    scripts = {name: statement(stage.warehouse, load_contract(DAILY_FACT), batch) for name, batch in batches.items()}
    table = stage.warehouse.table(load_contract(DAILY_FACT))
    orders = list(permutations(OVERLAPPING))
    found = []
    for order in orders:
        stage.warehouse.query(f"DELETE FROM `{table}` WHERE date >= '2013-01-01'")
        stage.warehouse.query("\n".join(scripts[name] for name in (*order, order[0])))  # the first one again
        found.append(
            stage.warehouse.rows(f"SELECT * FROM `{table}` WHERE date >= '2013-01-01' ORDER BY asset_id, date")
        )
    assert all(rows == found[0] for rows in found)
    assert [(row["asset_id"], row["date"].day, row["batch_id"]) for row in found[0]] == [
        ("bitcoin", 1, "old"),
        ("bitcoin", 2, "corrected"),
        ("bitcoin", 3, "api"),
        ("bitcoin", 4, "corrected"),
        ("bitcoin", 5, "hourly"),
        ("ethereum", 3, "twin"),
        ("ethereum", 4, "twin"),
    ]


@pytest.mark.cloud
def test_a_file_takes_nothing_away_and_a_batch_of_pieces_only_its_own(stage: Stage) -> None:
    table = stage.warehouse.table(load_contract(DAILY_FACT))
    for holds_all, left in ((False, [1, 2, 3]), (True, [2, 3])):
        batch = Batch(HISTORY, "b", "run", DAY, date(2026, 1, 1), date(2026, 1, 31), holds_all=holds_all)
        for days in ((1, 2), (2, 3)):
            rows = [day_row("bitcoin", day, 1.0, 1, batch_id="b") for day in days]
            stage.fill(batch, HISTORY.staged, **{DAILY_FACT: rows})
            stage.warehouse.query(statement(stage.warehouse, load_contract(DAILY_FACT), batch))
        found = stage.warehouse.rows(f"SELECT date FROM `{table}` WHERE date >= '2013-01-01' ORDER BY date")
        assert [row["date"].day for row in found] == left


@pytest.mark.cloud
def test_of_two_batches_of_one_instant_the_newer_knowledge_stays(stage: Stage) -> None:
    newer = fact_row("bitcoin", batch="newer", current_price=2.0, ingested_at=(DAY + HOUR).isoformat())
    stage.publish("newer", **{FACT: [newer]})
    stage.publish(
        "older", **{FACT: [fact_row("bitcoin", batch="older", current_price=1.0), fact_row("ethereum", batch="older")]}
    )
    assert [(row["asset_id"], row["batch_id"]) for row in stage.contents(FACT)] == [
        ("bitcoin", "newer"),
        ("ethereum", "older"),
    ]


@pytest.mark.cloud
def test_an_asset_is_valid_from_its_first_known_instant_and_later_knowledge_fills_it(stage: Stage) -> None:
    batch = Batch(HISTORY, "h", "run", DAY, date(2026, 1, 1), date(2026, 1, 31))
    stage.publish("late", **{FACT: [fact_row("bitcoin", batch="late")], ASSETS: [asset_row("bitcoin", "late")]})
    rows = [day_row(asset, 1, 1.0, 1, batch_id="h") for asset in ("bitcoin", "early")]
    stage.fill(batch, HISTORY.staged, **{DAILY_FACT: rows})
    stage.warehouse.query(statement(stage.warehouse, load_contract(DAILY_FACT), batch))
    first = datetime(2026, 1, 1, tzinfo=UTC)
    assert [(row["asset_id"], row["valid_from"], row["name"]) for row in stage.contents(ASSETS)] == [
        ("bitcoin", first, "Bitcoin"),
        ("early", first, None),
    ]
    stage.publish(
        "list", DAY + HOUR, **{FACT: [fact_row("early", DAY + HOUR, "list")], ASSETS: [asset_row("bitcoin", "list")]}
    )
    stage.publish("replay", DAY - 30 * HOUR, **{FACT: [fact_row("bitcoin", DAY - 30 * HOUR, "replay")]})
    assert [(row["asset_id"], row["valid_from"], row["name"], row["status"]) for row in stage.contents(ASSETS)] == [
        ("bitcoin", DAY - 30 * HOUR, "Bitcoin", "active"),
        ("early", first, "Early", "inferred"),
    ]


# Slowly changing dimension, type 2.


@dataclass
class Listed:
    """One batch of a history: days after the first, the coin list (None: no list), and the assets of the fact."""

    day: int
    listed: Sequence[dict[str, Any]] | None = None
    fact: Sequence[str] = ()
    changes: dict[str, Any] = field(default_factory=dict)

    @property
    def at(self) -> datetime:
        """The instant of the batch."""
        return DAY + timedelta(days=self.day)


@pytest.fixture(scope="module")
def shared_stage(local_cloud: LocalCloud) -> Stage:
    """One warehouse for all histories, since laying one out takes longer than a history."""
    made = Stage(Warehouse(fresh_resources(local_cloud).settings, clock=lambda: DAY))
    ensure_schema(made.warehouse)
    made.fill("history")
    return made


@pytest.fixture
def history(shared_stage: Stage) -> Stage:
    """The shared warehouse without any asset."""
    shared_stage.warehouse.query(f"TRUNCATE TABLE `{shared_stage.warehouse.table(load_contract(ASSETS))}`")
    return shared_stage


def play(stage: Stage, *batches: Listed) -> None:
    """Publish the assets of batches in the order given: the one statement of the script that these tests are about."""
    staging = StagingTables(stage.warehouse.settings, snapshot_batch("history"))
    for made in batches:
        name = f"day{made.day}"
        listed = [{**row, "batch_id": name} for row in made.listed or []]
        snapshot = [fact_row(asset, made.at, name) for asset in made.fact]
        for table, rows in ((ASSETS, listed), (FACT, snapshot)):
            if not rows:
                stage.warehouse.query(f"TRUNCATE TABLE `{staging.name(load_contract(table))}`")
            stage.load(staging.name(load_contract(table)), table, rows)
        stage.warehouse.query(statement(stage.warehouse, load_contract(ASSETS), snapshot_batch("history", made.at)))


def versions(stage: Stage, asset: str, *columns: str) -> list[tuple[Any, ...]]:
    """The versions of an asset: from day, to day, and the columns asked for."""
    return [
        (
            (row["valid_from"] - DAY).days,
            (row["valid_to"] - DAY).days if row["valid_to"] else None,
            *(row[column] for column in columns),
        )
        for row in stage.contents(ASSETS)
        if row["asset_id"] == asset
    ]


def details(day: int, **values: Any) -> dict[str, Any]:
    """Details as fetched on a day."""
    return {"details_at": (DAY + timedelta(days=day)).isoformat(), **values}


A = asset_row("a")
B = asset_row("b")
HISTORIES = {
    "a new asset opens its first version": ([Listed(0, [A])], ["name"], [(0, None, "A")]),
    "an unchanged asset keeps its version": (
        [Listed(0, [A]), Listed(1, [A]), Listed(2, [A])],
        ["batch_id"],
        [(0, None, "day0")],
    ),
    "a renamed asset gets a second version": (
        [Listed(0, [A]), Listed(2, [{**A, "name": "A2"}])],
        ["name", "is_current"],
        [(0, 2, "A", False), (2, None, "A2", True)],
    ),
    "a name that becomes null is a change": (
        [Listed(0, [A]), Listed(1, [{**A, "name": None}]), Listed(2, [A])],
        ["name"],
        [(0, 1, "A"), (1, 2, None), (2, None, "A")],
    ),
    "details that arrive later are a change": (
        [Listed(0, [A]), Listed(1, [{**A, **details(1, categories='["x"]', genesis_date="2013-01-01")}])],
        ["categories"],
        [(0, 1, None), (1, None, '["x"]')],
    ),
    "details that were not refreshed are kept": (
        [
            Listed(0, [{**A, **details(0, homepage="h", hashing_algorithm="z")}]),
            Listed(1, [A]),
            Listed(2, [{**A, "name": "A2"}]),
        ],
        ["name", "homepage", "hashing_algorithm"],
        [(0, 2, "A", "h", "z"), (2, None, "A2", "h", "z")],
    ),
    "details refreshed without a change open no version": (
        [Listed(0, [{**A, **details(0, homepage="h")}]), Listed(3, [{**A, **details(3, homepage="h")}])],
        ["details_at"],
        [(0, None, DAY + timedelta(days=3))],
    ),
    "a detail that was taken away is a change": (
        [Listed(0, [{**A, **details(0, homepage="h")}]), Listed(1, [{**A, **details(1)}])],
        ["homepage"],
        [(0, 1, "h"), (1, None, None)],
    ),
    "an asset that vanishes from the list becomes inactive": (
        [Listed(0, [{**A, **details(0, homepage="h")}, B]), Listed(1, [B])],
        ["status", "homepage", "batch_id"],
        [(0, 1, "active", "h", "day0"), (1, None, "inactive", "h", "history")],
    ),
    "an asset that stays away changes no more": (
        [Listed(0, [A, B]), Listed(1, [B]), Listed(2, [B])],
        ["status"],
        [(0, 1, "active"), (1, None, "inactive")],
    ),
    "an asset that reappears is active again": (
        [Listed(0, [A, B]), Listed(1, [B]), Listed(2, [A, B])],
        ["status"],
        [(0, 1, "active"), (1, 2, "inactive"), (2, None, "active")],
    ),
    "without a list nothing vanishes": ([Listed(0, [A]), Listed(1, None, ["a"])], ["status"], [(0, None, "active")]),
    "an asset only the snapshot knows is inferred": (
        [Listed(0, [B], ["a"])],
        ["status", "name"],
        [(0, None, "inferred", "A")],
    ),
    "an inferred asset stays so until it is listed": (
        [Listed(0, [B], ["a"]), Listed(1, [B], ["a"]), Listed(2, [A, B], ["a"])],
        ["status"],
        [(0, 2, "inferred"), (2, None, "active")],
    ),
    "an inactive asset in the snapshot is not inferred again": (
        [Listed(0, [A, B]), Listed(1, [B], ["a"]), Listed(2, [B], ["a"])],
        ["status"],
        [(0, 1, "active"), (1, None, "inactive")],
    ),
    "a batch amended at its own instant makes no second version": (
        [Listed(0, [A]), Listed(0, [{**A, "name": "A2"}])],
        ["name"],
        [(0, None, "A2")],
    ),
    "a later version amended at its own instant keeps the earlier one": (
        [Listed(0, [A]), Listed(1, [{**A, "name": "A2"}]), Listed(1, [{**A, "name": "A3"}])],
        ["name"],
        [(0, 1, "A"), (1, None, "A3")],
    ),
    "an older batch changes nothing": (
        [Listed(0, [A]), Listed(5, [{**A, "name": "A5"}]), Listed(2, [{**A, "name": "A2"}])],
        ["name"],
        [(0, 5, "A"), (5, None, "A5")],
    ),
    "an older list makes nobody inactive": (
        [Listed(5, [A, B]), Listed(2, [B])],
        ["status"],
        [(5, None, "active")],
    ),
    "an asset that only an older batch knows is taken in": (
        [Listed(5, [B]), Listed(2, None, ["a"])],
        ["status"],
        [(2, None, "inferred")],
    ),
}


@pytest.mark.cloud
@pytest.mark.parametrize(("batches", "columns", "expected"), HISTORIES.values(), ids=HISTORIES)
def test_assets_keep_their_history(
    batches: list[Listed], columns: list[str], expected: list[tuple[Any, ...]], history: Stage
) -> None:
    play(history, *batches)
    assert versions(history, "a", *columns) == expected
    check_history(history)
    before = history.contents(ASSETS)
    play(history, batches[-1])
    assert history.contents(ASSETS) == before, "the last batch again changes nothing"


def check_history(stage: Stage) -> set[str]:
    """Exactly one current version of each asset, and versions that neither overlap nor leave a hole; returns the
    assets.
    """
    assets = set()
    for asset, rows in groupby(stage.contents(ASSETS), key=lambda row: row["asset_id"]):
        known = list(rows)
        assert [row["is_current"] for row in known] == [False] * (len(known) - 1) + [True], asset
        assert known[-1]["valid_to"] is None, asset
        for earlier, later in pairwise(known):
            assert earlier["valid_from"] < earlier["valid_to"] == later["valid_from"], asset
        assets.add(asset)
    return assets


def random_history(seed: int) -> Iterator[Listed]:
    """Batches of random lists, details and snapshots; some repeat an instant, some come late."""
    chance = random.Random(seed)
    for day in (*range(6), 5, 2, 6, 0, 7):
        listed = [
            {
                **asset_row(asset, name=chance.choice(["N", "M", None])),
                **(details(day, homepage=chance.choice("hi")) if chance.random() < 0.3 else {}),
            }
            for asset in "abcdef"
            if chance.random() < 0.7
        ]
        yield Listed(
            day, listed if chance.random() < 0.8 else None, [asset for asset in "abcdefgh" if chance.random() < 0.4]
        )


@pytest.mark.cloud
@pytest.mark.parametrize("seed", [1, 2])
def test_no_sequence_of_batches_breaks_the_history(seed: int, history: Stage) -> None:
    for made in random_history(seed):
        play(history, made)
        known = check_history(history)
        assert set(made.fact) <= known, "every asset of a snapshot is found in the dimension"
