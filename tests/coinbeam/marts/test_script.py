"""The text of a refresh: BigQuery's SQL, one transaction, and a literal range wherever a partitioned table is read or
changed.
"""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path

import pytest
import sqlglot
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from coinbeam.contracts import load_all
from coinbeam.marts.plan import (
    LOOK_BACK_DAYS,
    MOST_SLICES,
    SLICE_DAYS,
    SLICE_ROWS,
    Latest,
    MartPlan,
    Publication,
    Range,
    Touched,
    hull,
    joined,
)
from coinbeam.marts.refresh import Marts
from coinbeam.warehouse.client import Warehouse
from tests.temporary import temporary_settings

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
DAY = date(2026, 1, 2)
PARTITIONED = {c.name: c.partition_column for c in load_all().values() if c.partition_column and not c.is_view}


@pytest.fixture(scope="module")
def idle(tmp_path_factory: pytest.TempPathFactory) -> Marts:
    """Marts that are never asked: their text needs names only."""
    settings = temporary_settings(tmp_path_factory.mktemp("state"))
    return Marts(Warehouse(settings), settings, lambda: NOW)


def a_plan(touched: bool = True, market: bool = True, sentiment: bool = True, days: int = 3) -> MartPlan:
    """A plan with the named parts."""
    reach = Touched(
        assets=3,
        first_date=DAY,
        last_date=DAY + timedelta(days),
        last_changed=DAY + timedelta(days),
        look_back_from=DAY - timedelta(LOOK_BACK_DAYS),
    )
    publication = Publication(batch_id="b'1\"", table_name="t", first_date=DAY, last_date=DAY, published_at=NOW)
    return MartPlan(
        publications=(publication, publication),
        market=((date(2020, 1, 1), date(2020, 2, 1)), (DAY, DAY)) if market else (),
        sentiment=((DAY, DAY),) if sentiment else (),
        touched=reach if touched and market else None,
        latest=Latest(first=DAY, last=DAY, lost=0) if market else None,
        refreshed_at=NOW,
    )


PLANS = {
    "everything": a_plan(),
    "many slices": a_plan(days=9_000),
    "prices alone": a_plan(sentiment=False),
    "an hour within a day": a_plan(touched=False, sentiment=False),
    "an hour and the index": a_plan(touched=False),
    "the index alone": a_plan(market=False),
    "nothing that changes a mart": a_plan(market=False, sentiment=False),
}
each_plan = pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS)


def statements(sql: str) -> list[exp.Expr]:
    """The statements of a script, each understood by sqlglot as BigQuery."""
    return [s for s in sqlglot.parse(sql, dialect="bigquery", error_level=sqlglot.ErrorLevel.RAISE) if s is not None]


def literal_ranges(scope: exp.Expr | None) -> set[str]:
    """Columns that a condition holds between two date literals, everything joined by AND."""
    if scope is None:
        return set()
    conditions = scope.this.flatten() if isinstance(scope.this, exp.And) else [scope.this]
    plain = (exp.Cast, exp.Date, exp.DateSub)
    return {
        c.this.name
        for c in conditions
        if isinstance(c, exp.Between) and all(isinstance(c.args[bound], plain) for bound in ("low", "high"))
    }


def sources(select: exp.Select) -> set[str]:
    """Tables that a SELECT reads itself."""
    origin = [select.args.get("from_") or select.args.get("from"), *(select.args.get("joins") or [])]
    return {part.this.name for part in origin if part is not None and isinstance(part.this, exp.Table)}


@each_plan
def test_every_statement_is_bigquery(idle: Marts, plan: MartPlan) -> None:
    for parsed in statements(idle.script(plan)):
        assert not isinstance(parsed, exp.Command), parsed.sql()[:100]


@each_plan
def test_partitioned_tables_are_read_and_changed_within_literal_ranges(idle: Marts, plan: MartPlan) -> None:
    seen = set()
    for parsed in statements(idle.script(plan)):
        if isinstance(parsed, exp.Delete | exp.Update) and parsed.this.name in PARTITIONED:
            assert PARTITIONED[parsed.this.name] in literal_ranges(parsed.args["where"]), parsed.sql()[:200]
            seen.add(parsed.this.name)
        for select in parsed.find_all(exp.Select):
            for name in sources(select) & set(PARTITIONED):
                assert PARTITIONED[name] in literal_ranges(select.args.get("where")), select.sql()[:300]
                seen.add(name)
    assert seen >= (set(PARTITIONED) & {"market_daily", "crypto_market_snapshot_fact"} if plan.market else set())


def test_an_unbounded_read_would_be_found() -> None:
    for sql, found in (
        ("a > 1 AND d BETWEEN DATE '2026-01-01' AND DATE '2026-01-02'", {"d"}),
        ("d BETWEEN x AND y", set()),
        ("a = 1", set()),
    ):
        assert literal_ranges(statements(f"SELECT 1 FROM t WHERE {sql}")[0].args["where"]) == found


@each_plan
def test_a_script_is_one_transaction(idle: Marts, plan: MartPlan) -> None:
    sql = idle.script(plan)
    everything = [type(parsed) for parsed in statements(sql)]
    kinds = everything[everything.index(exp.Transaction) :]
    assert set(everything[: -len(kinds)]) == {exp.Create}, "its own tables come first"
    assert exp.Create not in kinds, "no DDL belongs into a transaction"
    assert kinds[-2] is exp.Commit
    assert (kinds.count(exp.Transaction), kinds.count(exp.Commit)) == (1, 1)
    assert len(sql) < 900_000, "BigQuery takes a million characters"


def test_only_the_publications_of_the_plan_are_marked(idle: Marts) -> None:
    [update] = [
        s
        for s in statements(idle.script(PLANS["the index alone"]))
        if isinstance(s, exp.Update) and s.this.name == "publication"
    ]
    text = update.sql(dialect="bigquery")
    assert text.count("2026-01-02T03:04:05.678901Z") == 3  # refreshed_at, and published_at of either
    assert "refreshed_at IS NULL" in text


dates = st.dates(date(2013, 1, 1), date(2027, 1, 1))
ranges = st.lists(
    st.tuples(dates, st.integers(0, 400)).map(lambda pair: (pair[0], pair[0] + timedelta(pair[1]))),
    min_size=1,
    max_size=8,
)


@given(ranges)
def test_joined_ranges_hold_every_date_and_lie_apart(given_ranges: list[Range]) -> None:
    made = joined(given_ranges)
    assert all(any(first <= a and b <= last for first, last in made) for a, b in given_ranges)
    assert all(after[0] - before[1] > timedelta(LOOK_BACK_DAYS) for before, after in pairwise(made))
    assert hull(made) == hull(given_ranges)
    assert {first for first, _ in made} <= {first for first, _ in given_ranges}


@given(dates, st.integers(0, 6_000), st.integers(1, 20_000))
def test_slices_cover_every_day_once_within_their_bounds(first: date, days: int, assets: int) -> None:
    touched = Touched(
        assets=assets, first_date=first, last_date=first + timedelta(days), last_changed=first, look_back_from=first
    )
    slices = touched.slices
    covered = [a + timedelta(n) for a, b in slices for n in range((b - a).days + 1)]
    assert covered == [first + timedelta(n) for n in range(days + 1)]
    assert len(slices) <= MOST_SLICES
    widest = max((b - a).days + 1 for a, b in slices)
    assert widest <= SLICE_DAYS
    assert widest * assets <= SLICE_ROWS or widest <= max(LOOK_BACK_DAYS, -(-(days + 1) // MOST_SLICES))


def test_no_script_of_the_marts_looks_ahead() -> None:
    """Windows that follow a row would be the only way to see its future."""
    folder = Path(__file__).parents[3] / "sql" / "crypto_marts"
    for path in folder.rglob("*.sql"):
        text = path.read_text(encoding="utf-8").upper()
        assert " FOLLOWING" not in text, path
        assert "LEAD(" not in text, path
