"""What an export takes, and the dates that it writes anew."""

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinbeam.batch.tables import DAILY_FACT, SNAPSHOT_FACT
from coinbeam.contracts import load_contract
from coinbeam.marts.plan import Range
from serving.lakehouse import plan
from serving.lakehouse.plan import (
    Refreshed,
    batches,
    exported_contracts,
    first_renamed,
    last_of_month,
    month_of,
    pieces,
    touched,
    waiting,
)

DAY = date(2024, 1, 1)
AT = datetime(2026, 1, 1, tzinfo=UTC)


def publish(batch: str, first: date, last: date, minute: int = 0, table: str = SNAPSHOT_FACT) -> Refreshed:
    """A publish whose marts were refreshed so many minutes after it."""
    return Refreshed(
        batch_id=batch,
        table_name=table,
        first_date=first,
        last_date=last,
        published_at=AT,
        refreshed_at=AT + timedelta(minutes=minute),
    )


def test_what_waits_is_new_or_was_published_again_and_comes_by_its_refresh() -> None:
    old, late, early = publish("a", DAY, DAY), publish("b", DAY, DAY, 9), publish("c", DAY, DAY, 5)
    again = old.model_copy(update={"published_at": AT + timedelta(hours=1)})
    assert waiting([late, old, early], [old]) == [early, late]
    assert waiting([again], [old]) == [again]
    assert batches([early, late, early]) == ["c", "b"]


def test_a_fact_changes_where_its_own_publishes_do_and_a_mart_from_the_first_on() -> None:
    taken = [publish("a", date(2024, 3, 1), date(2024, 3, 2)), publish("b", DAY, DAY, table=DAILY_FACT)]
    assert touched(load_contract(SNAPSHOT_FACT), taken, None) == [(date(2024, 3, 1), date(2024, 3, 2))]
    assert touched(load_contract("market_daily"), taken, None) == [(DAY, date.max)]
    assert touched(load_contract("market_daily"), taken, date(2020, 5, 5)) == [(date(2020, 5, 5), date.max)]
    assert touched(load_contract("asset_stats"), taken, None) is None


def test_no_view_is_exported_and_every_table_mart_is() -> None:
    exported = exported_contracts()
    assert not any(contract.is_view for contract in exported)
    assert {"market_daily", "market_overview", "latest_prices", "asset_stats"} < {one.name for one in exported}


def days(first: date, count: int, rows: int = 1) -> dict[date, int]:
    """So many rows on each of some days."""
    return {first + timedelta(days=offset): rows for offset in range(count)}


CASES: dict[str, tuple[list[Range], dict[date, int], list[Range], list[Range]]] = {
    "a new day": ([(DAY, DAY)], days(DAY, 1), [], [(DAY, DAY)]),
    "a day within a file of more": (
        [(date(2024, 1, 5), date(2024, 1, 5))],
        days(DAY, 31),
        [(DAY, date(2024, 1, 31))],
        [(DAY, date(2024, 1, 31))],
    ),
    "a day beside another file": (
        [(date(2024, 1, 2), date(2024, 1, 2))],
        days(DAY, 2),
        [(DAY, DAY)],
        [(date(2024, 1, 2), date(2024, 1, 2))],
    ),
    "two months": (
        [(date(2024, 1, 31), date(2024, 2, 1))],
        days(date(2024, 1, 31), 2),
        [],
        [(date(2024, 1, 31), date(2024, 1, 31)), (date(2024, 2, 1), date(2024, 2, 1))],
    ),
    "rows that are gone": ([(DAY, DAY)], {}, [(DAY, DAY)], [(DAY, DAY)]),
    "nothing there": ([(DAY, DAY)], {}, [], []),
}


@pytest.mark.parametrize(("ranges", "rows", "files", "expected"), CASES.values(), ids=CASES)
def test_pieces(ranges: list[Range], rows: dict[date, int], files: list[Range], expected: list[Range]) -> None:
    assert pieces(ranges, rows, files) == expected


RANGES = st.tuples(st.integers(0, 90), st.integers(0, 40)).map(
    lambda drawn: (DAY + timedelta(days=drawn[0]), DAY + timedelta(days=drawn[0] + drawn[1]))
)


@given(
    ranges=st.lists(RANGES, min_size=1, max_size=4),
    dated=st.sets(st.integers(0, 130)),
    cuts=st.sets(st.integers(0, 130)),
)
def test_pieces_hold_every_changed_row_and_replace_files_whole_within_a_month(
    ranges: list[Range], dated: set[int], cuts: set[int]
) -> None:
    """Whatever changed, whatever the files are: none is replaced in part, and no piece overlaps another."""
    rows = {DAY + timedelta(days=offset): 400_000 for offset in dated}
    files: list[Range] = []
    for day in sorted(rows):  # present files: disjoint, of one month each
        offset = (day - DAY).days
        if files and month_of(files[-1][0]) == month_of(day) and offset not in cuts:
            files[-1] = (files[-1][0], day)
        else:
            files.append((day, day))
    found = pieces(ranges, rows, files)
    assert all(month_of(first) == month_of(last) and first <= last for first, last in found)
    assert all(one[1] < other[0] for one, other in pairwise(found))
    for first, last in files:
        covering = [one for one in found if one[0] <= last and first <= one[1]]
        assert not covering or (min(one[0] for one in covering) <= first and last <= max(one[1] for one in covering))
    for day in rows:
        if any(first <= day <= last for first, last in ranges):
            assert any(first <= day <= last for first, last in found)
    assert all(sum(rows.get(day, 0) for day in _days(one)) <= plan.MOST_ROWS for one in found)


def _days(piece: Range) -> list[date]:
    return [piece[0] + timedelta(days=offset) for offset in range((piece[1] - piece[0]).days + 1)]


@given(st.dates())
def test_the_last_day_of_a_month_is_of_it_and_the_next_is_not(day: date) -> None:
    last = last_of_month(day)
    assert month_of(last) == month_of(day)
    assert last == date.max or month_of(last + timedelta(days=1)) != month_of(day)


def stats(*rows: tuple[str, str | None, date]) -> pa.Table:
    """Rows of ``asset_stats``: asset, name, first date."""
    names = ("asset_id", "name", "first_date")
    made = pa.table([pa.array(column) for column in zip(*rows, strict=True)], names=names)
    made = made.set_column(1, "name", made["name"].cast(pa.string()))
    return made.append_column("quote_currency", pa.array(["usd"] * len(rows))).append_column("symbol", made["name"])


def test_the_first_date_of_a_renamed_asset() -> None:
    before = stats(("a", "A", DAY), ("b", None, date(2020, 1, 1)), ("gone", "G", date(2010, 1, 1)))
    after = stats(("a", "A", DAY), ("b", "B", date(2021, 1, 1)), ("new", "N", date(2011, 1, 1)))
    assert first_renamed(before, after) == date(2020, 1, 1)
    assert first_renamed(before, before) is None
