"""What an analyst asks first: who is it, which place has it, what moved, and what is new among the largest."""

import json
from datetime import timedelta
from typing import Any

import pytest

from coinbeam.batch.tables import ASSETS, DAILY_FACT
from coinbeam.contracts import load_contract
from tests.coinbeam.conftest import asset_row
from tests.coinbeam.marts.conftest import START, Bench, day_row

pytestmark = pytest.mark.cloud

DAY = timedelta(1)


def put_day(bench: Bench, day: int, caps: dict[str, float | None], batch: str = "") -> None:
    """A day on which each asset costs a thousandth of its market cap, or 1 where that is not known."""
    rows = [
        day_row(asset, START + DAY * day, cap / 1_000 if cap else 1.0, batch or f"day-{day}", market_cap=cap)
        for asset, cap in caps.items()
    ]
    bench.put(DAILY_FACT, batch or f"day-{day}", rows)


def name(bench: Bench, *rows: dict[str, Any]) -> None:
    """Versions of assets in the dimension, as a publish leaves them."""
    table = bench.warehouse.table(load_contract(ASSETS))
    known = {column.name for column in load_contract(ASSETS).columns}
    bench.warehouse.query(f"DELETE FROM `{table}` WHERE TRUE")
    made = [{"valid_from": "2013-01-01T00:00:00Z", "is_current": True, **row} for row in rows]
    body = "\n".join(json.dumps({key: value for key, value in row.items() if key in known}) for row in made)
    bench.warehouse.append(table, body.encode())


def test_a_name_that_becomes_known_later_is_that_of_every_day(bench: Bench) -> None:
    put_day(bench, 0, {"bitcoin": 9.0, "ethereum": 5.0})
    bench.refresh()
    assert {row["name"] for row in bench.rows("market_daily").values()} == {None}
    name(bench, asset_row("bitcoin", name="Bitcoin", symbol="btc"))
    put_day(bench, 1, {"bitcoin": 9.0})
    bench.refresh()
    named = {key[0]: row["name"] for key, row in bench.rows("market_daily").items() if key[2] == START}
    assert named == {"bitcoin": "Bitcoin", "ethereum": None}
    name(bench, asset_row("bitcoin", name="Bitcoin II", symbol="btc"), asset_row("ethereum", name="Ether"))
    put_day(bench, 2, {"third": 1.0})  # neither of the renamed ones
    bench.refresh()
    found = {(key[0], str(key[2])): row["name"] for key, row in bench.rows("market_daily").items()}
    assert set(found.values()) == {"Bitcoin II", "Ether", None}
    assert {key[0]: row["name"] for key, row in bench.rows("asset_stats").items()} == {
        "bitcoin": "Bitcoin II",
        "ethereum": "Ether",
        "third": None,
    }


def test_one_asset_more_moves_the_places_of_its_day_and_what_the_next_day_remembers(bench: Bench) -> None:
    for day in range(3):
        put_day(bench, day, {"bitcoin": 9.0, "ethereum": 5.0, "unknown": None})
    bench.refresh()
    put_day(bench, 1, {"third": 7.0}, "late")
    bench.refresh()
    places = {
        (key[0], (key[2] - START).days): (row["market_cap_rank"], row["previous_rank"])
        for key, row in bench.rows("market_daily").items()
    }
    assert places == {
        ("bitcoin", 0): (1, None),
        ("bitcoin", 1): (1, 1),
        ("bitcoin", 2): (1, 1),
        ("ethereum", 0): (2, None),
        ("ethereum", 1): (3, 2),
        ("ethereum", 2): (2, 3),
        ("third", 1): (2, None),
        ("unknown", 0): (None, None),
        ("unknown", 1): (None, None),
        ("unknown", 2): (None, None),
    }
    bench.put(DAILY_FACT, "late", [])
    bench.refresh()
    again = {key[0]: row["market_cap_rank"] for key, row in bench.rows("market_daily").items() if key[2] == START + DAY}
    assert again == {"bitcoin": 1, "ethereum": 2, "unknown": None}


def test_movers_are_placed_by_days_and_direction(bench: Bench) -> None:
    for day in range(8):
        put_day(bench, day, {"up": 10.0 + day, "down": 20.0 - day, "flat": 5.0, "steep": 2.0 * 1.5**day})
    bench.refresh()
    last = START + DAY * 7
    found = {key[2:]: row["asset_id"] for key, row in bench.rows("movers").items() if key[0] == last}
    assert found == {
        (1, "up", 1): "steep",
        (1, "up", 2): "up",
        (1, "down", 1): "down",
        (7, "up", 1): "steep",
        (7, "up", 2): "up",
        (7, "down", 1): "down",
    }
    one = bench.rows("movers")[last, "usd", 7, "up", 2]
    assert (one["market_cap_rank"], round(one["price_change_percentage"], 9)) == (2, 70.0)


def test_what_entered_the_largest_is_told_only_where_the_day_before_is_known(bench: Bench) -> None:
    many = {f"asset-{n:02d}": 1_000.0 - n for n in range(12)}
    put_day(bench, 0, many)
    put_day(bench, 1, {**many, "asset-11": 995.5, "new": 999.5})
    put_day(bench, 3, many)  # the day before it is missing
    bench.refresh()
    found = {
        (key[0], key[2], key[3]): (row["market_cap_rank"], row["previous_rank"])
        for key, row in bench.rows("new_in_top").items()
    }
    second = START + DAY
    assert found == {(second, 10, "asset-11"): (7, 12), (second, 10, "new"): (2, None)}
