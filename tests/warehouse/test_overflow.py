"""The arithmetic of the marts on the largest and the smallest numbers that a contract lets in, by Google's own rules.

BigQuery fails where a double overflows, and a refresh with it, for every asset; the emulator goes on with ``inf``. So
the contracts of the facts bound each number that the marts compute with, and a row beyond is refused with its reason.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

import hypothesis
import hypothesis.strategies as st
import pytest

from coinbeam.batch.tables import DAILY_FACT, SNAPSHOT_FACT, TRADE_WINDOW_FACT
from coinbeam.contracts import load_all, load_contract
from coinbeam.contracts.values import fault_of, smallest_number
from coinbeam.marts.plan import Latest, MartPlan, Publication, Touched
from coinbeam.marts.refresh import Marts
from coinbeam.marts.specs import MARTS
from coinbeam.warehouse.client import Warehouse
from tests.temporary import temporary_settings
from tests.warehouse.googlesql import GoogleSql, Refused

FIRST = date(2026, 1, 1)
DAYS = 32
"""The longest window, with a day before it and one after it."""
LAST = FIRST + timedelta(days=DAYS - 1)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(500)]  # the first run of all compiles the library

Rows = Sequence[Mapping[str, Any]]


@pytest.fixture(scope="module")
def warehouse(tmp_path_factory: pytest.TempPathFactory) -> Warehouse:
    """The names of the tables; nothing is asked."""
    return Warehouse(temporary_settings(tmp_path_factory.mktemp("overflow")))


@pytest.fixture(scope="module")
def reference(warehouse: Warehouse, googlesql_folder: Path) -> GoogleSql:
    """Google's reference implementation of the language, with the tables of the contracts."""
    tables = {warehouse.table(c): {column.name: column.type for column in c.columns} for c in load_all().values()}
    return GoogleSql(googlesql_folder, tables)


def midnight(day: date) -> datetime:
    """The beginning of a day."""
    return datetime.combine(day, time(), UTC)


def days_of(asset: str, prices: Sequence[float], amount: float) -> Rows:
    """Days of history of an asset, one for each price."""
    stamps = [midnight(FIRST + timedelta(days=n)) for n in range(len(prices))]
    known = {"quote_currency": "usd", "source_id": "s", "batch_id": "b", "market_cap": amount, "total_volume": amount}
    return [
        {"asset_id": asset, "date": at.date(), "price": price, "observed_at": at, "ingested_at": at, **known}
        for at, price in zip(stamps, prices, strict=True)
    ]


def refresh_script(warehouse: Warehouse) -> str:
    """The refresh of every mart for the days of the tests, without what needs rows that were there before."""
    publications = tuple(
        Publication(batch_id="b", table_name=name, first_date=FIRST, last_date=LAST, published_at=midnight(LAST))
        for name in (DAILY_FACT, TRADE_WINDOW_FACT)
    )
    touched = Touched(assets=2, first_date=FIRST, last_date=LAST, last_changed=LAST, look_back_from=FIRST)
    plan = MartPlan(
        publications=publications,
        market=((FIRST, LAST),),
        sentiment=(),
        touched=touched,
        latest=Latest(first=FIRST, last=LAST, lost=0),
        refreshed_at=midnight(LAST),
        trades=((FIRST, FIRST),),
    )
    return Marts(warehouse, warehouse.settings).script(plan)


def history(*assets: tuple[str, Sequence[float], float]) -> dict[str, Rows]:
    """The facts with these assets: name, prices by day, market cap and volume of every day."""
    return {DAILY_FACT: [row for asset in assets for row in days_of(*asset)]}


def windows(prices: Sequence[float], volume: float) -> dict[str, Rows]:
    """Minutes of trades."""
    start = midnight(FIRST)
    names = [c.name for c in load_contract(TRADE_WINDOW_FACT).columns if c.type == "FLOAT64"]
    return {
        TRADE_WINDOW_FACT: [
            {name: price if name.endswith("price") else volume for name in names}
            | {"symbol": "X", "window_start": start + timedelta(minutes=n), "window_date": FIRST, "is_complete": True}
            | {"agg_trade_count": 1, "trade_count": 1, "first_agg_trade_id": n, "last_agg_trade_id": n}
            for n, price in enumerate(prices)
        ]
    }


def refreshed(reference: GoogleSql, warehouse: Warehouse, facts: Mapping[str, Rows]) -> dict[str, list[Any]]:
    """The rows of every table after a refresh."""
    named = {warehouse.table(load_contract(name)): rows for name, rows in facts.items()}
    return reference.run(refresh_script(warehouse), named)


def bounds(name: str) -> tuple[float, float]:
    """The smallest and the largest number that the facts take in a column."""
    [(smallest, largest)] = {
        (smallest_number(c), c.maximum or math.inf)
        for fact, column in ((DAILY_FACT, name), (SNAPSHOT_FACT, "current_price" if name == "price" else name))
        for c in [load_contract(fact).by_name[column]]
    }
    return smallest, largest


@st.composite
def markets(draw: st.DrawFn) -> dict[str, Rows]:
    """Markets at the edges of their contracts: days that leap from one end to the other, and days in between."""
    low, high = bounds("price")
    price = st.sampled_from([low, high]) | st.floats(low, high)
    amount = st.sampled_from(bounds("market_cap"))
    prices = st.lists(price, min_size=DAYS, max_size=DAYS)
    trades = st.lists(st.sampled_from([1e-8, 9e10]), min_size=3, max_size=3)
    wild = ("wild", draw(prices), draw(amount))
    still = ("bitcoin", [draw(st.sampled_from([low, high]))] * DAYS, draw(amount))
    return history(wild, still) | windows(draw(trades), draw(st.sampled_from([1e-8, 1e30])))


@hypothesis.given(markets())
@hypothesis.settings(max_examples=2, deadline=None)
def test_a_refresh_computes_with_every_number_that_the_contracts_let_in(
    reference: GoogleSql, warehouse: Warehouse, facts: dict[str, Rows]
) -> None:
    made = refreshed(reference, warehouse, facts)
    for contract in (load_contract(mart.name) for mart in MARTS):
        rows = made[warehouse.table(contract)]
        assert rows, contract.name
        assert all(math.isfinite(cell.double_value) for row in rows for cell in row), contract.name
    assert len(made[warehouse.table(load_contract("market_daily"))]) == len(facts[DAILY_FACT])


@pytest.mark.parametrize(
    ("price", "reason"), [(1e155, "above_maximum"), (1e308, "above_maximum"), (5e-324, "below_minimum")], ids=str
)
def test_a_price_that_no_refresh_could_compute_with_is_refused_with_its_reason(
    reference: GoogleSql, warehouse: Warehouse, price: float, reason: str
) -> None:
    """One row would fail the refresh of every asset; the contract keeps it out, and only it."""
    with pytest.raises(Refused, match=r"overflow|division by zero|Floating point error"):
        refreshed(reference, warehouse, history(("good", [1.0] * DAYS, 1.0), ("bad", [1.0, price] * (DAYS // 2), 1.0)))
    for fact, name in ((DAILY_FACT, "price"), (SNAPSHOT_FACT, "current_price")):
        assert fault_of(price, load_contract(fact).by_name[name]) == reason


def test_the_sum_of_a_market_cannot_overflow(reference: GoogleSql) -> None:
    """A million assets of the largest market cap are far from the largest double, and so are a thousand years."""
    _, largest = bounds("market_cap")
    assert reference.evaluate("n * cap", n=1e9, cap=largest) == pytest.approx(1e9 * largest)


def test_the_bounds_let_in_whatever_a_chain_can_count() -> None:
    """A token counts its units in 256 bits; a supply in units, at a price of one, is the largest number in sight."""
    assert max(bounds("market_cap")) > 2.0**256
    assert min(bounds("price")) < 2.0**-256
