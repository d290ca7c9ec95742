"""What is read of a version for the page of the market, and where it comes from."""

import math
from datetime import timedelta

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinbeam.bundle.reader import Bundle, open_files
from coinbeam.settings import Settings
from serving.dashboard import market as content
from tests.serving.dashboard.made import NOW

NAMES = st.lists(st.text("abcXYZ $.*", min_size=1, max_size=6), min_size=1, max_size=8)


@pytest.fixture
def bundle(market: Settings) -> Bundle:
    """The made market."""
    files = open_files(market)
    return Bundle(files.manifest(), files)


def test_coins_are_in_order_with_the_changes_of_the_snapshot(bundle: Bundle) -> None:
    coins = content.coins(bundle, "usd")
    assert list(coins["asset_id"][:3]) == ["coin-00000", "coin-00001", "coin-00002"]
    assert coins["price_change_percentage_1h"].notna().all()
    assert content.coins(bundle, "eur").empty


def test_an_asset_without_a_line_has_an_empty_one(bundle: Bundle) -> None:
    known, unknown = content.sparklines(bundle, "usd", ["coin-00001", "nobody"])
    assert (len(known), unknown) == (28, [])


def frame(names: list[str]) -> pd.DataFrame:
    return pd.DataFrame(
        {"asset_id": [f"id-{n}" for n in range(len(names))], "name": names, "symbol": [None] * len(names)}
    )


@given(NAMES, st.integers(0, 7), st.data())
def test_any_part_of_a_name_finds_it_and_nothing_else(names: list[str], place: int, data: st.DataObject) -> None:
    name = names[place % len(names)]
    start = data.draw(st.integers(0, len(name) - 1))
    part = name[start:].swapcase()
    found = set(content.matching(frame(names), part)["asset_id"])
    wanted = part.strip().casefold()
    assert found == {f"id-{n}" for n, one in enumerate(names) if wanted in one.casefold()}


def coins(count: int) -> pd.DataFrame:
    ids = ["bitcoin", *(f"coin-{n}" for n in range(1, count))]
    known = {"market_cap": [100.0] * count, "total_volume": [2.0] * count}
    return pd.DataFrame({"asset_id": ids, "price_change_percentage_24h": [1.0, -1.0] * (count // 2), **known})


def test_sums_stand_for_the_market_before_its_first_day() -> None:
    found = content.sums(coins(200))
    assert (found["total_market_cap"], found["total_volume"]) == (20_000, 400)
    assert (found["advancers"], found["decliners"]) == (100, 100)
    assert found["bitcoin_dominance_percentage"] == 0.5
    assert math.isnan(found["ethereum_dominance_percentage"])


def test_a_few_coins_have_no_dominance() -> None:
    assert math.isnan(content.sums(coins(10))["bitcoin_dominance_percentage"])


def test_prices_are_stale_by_their_contract_or_by_the_setting(bundle: Bundle) -> None:
    by_contract, by_setting = content.origin(bundle, None), content.origin(bundle, 60)
    assert (by_contract.is_stale(NOW), by_setting.is_stale(NOW)) == (False, True)
    assert by_contract.is_stale(NOW + timedelta(hours=26))
    assert by_contract.is_simulated


def test_who_enters_several_circles_is_named_once_with_the_smallest(bundle: Bundle) -> None:
    assert content.entrants(bundle, "usd")["top"].tolist() == [10]
