"""The market at an instant: snapshots, what history observed after them, and other currencies."""

import math
from collections.abc import Iterable
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.testclient import TestClient

from serving.api.app import create_app
from serving.api.market import instant_text, plain_number, rounded
from tests.serving.made import midnight
from tests.serving.served import LAST, NOW, Made, ServedSource, made_in

MARKETS = "/api/v3/coins/markets?vs_currency=usd"


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_number_keeps_its_value(value: float) -> None:
    assert plain_number(value) == value
    assert isinstance(plain_number(value), int) is (value.is_integer() and abs(value) < 2**53)


def test_what_is_missing_is_null() -> None:
    assert plain_number(math.nan) is None
    assert rounded(None, 2) is None


@pytest.mark.parametrize(
    ("micros", "text"),
    [
        (1_767_323_045_678_000, "2026-01-02T03:04:05.678Z"),
        (1_767_323_045_000_000, "2026-01-02T03:04:05.000Z"),
        (1_767_323_045_678_901, "2026-01-02T03:04:05.678901Z"),
    ],
)
def test_an_instant_is_written_as_the_source_writes_it(micros: int, text: str) -> None:
    assert instant_text(micros) == text


def test_another_currency_is_derived_by_the_rate_of_the_snapshot_and_says_so(api_url: str) -> None:
    dollars = httpx.get(f"{api_url}/api/v3/coins/markets?vs_currency=usd&per_page=3")
    euros = httpx.get(f"{api_url}/api/v3/coins/markets?vs_currency=EUR&per_page=3")
    assert euros.headers["x-coinbeam-derived"] == "eur from usd"
    assert "x-coinbeam-derived" not in dollars.headers
    for dollar, euro in zip(dollars.json(), euros.json(), strict=True):
        for name in ("current_price", "market_cap", "total_volume", "fully_diluted_valuation"):
            assert euro[name] == pytest.approx(dollar[name] * 0.92, rel=1e-12)
        for name in ("circulating_supply", "total_supply", "max_supply", "market_cap_rank", "last_updated"):
            assert euro[name] == dollar[name]
        for name in ("ath", "high_24h", "price_change_24h", "price_change_percentage_24h", "atl_change_percentage"):
            assert euro[name] is None


def test_several_currencies_come_beside_each_other(api_url: str) -> None:
    found = httpx.get(f"{api_url}/api/v3/simple/price?ids=bitcoin&vs_currencies=usd,eur,btc").json()["bitcoin"]
    assert list(found) == ["usd", "eur", "btc"]
    assert found["btc"] == pytest.approx(found["usd"] / 50_000)


def test_the_currencies_are_those_that_answer(api_url: str) -> None:
    currencies = httpx.get(f"{api_url}/api/v3/simple/supported_vs_currencies").json()
    assert currencies == ["usd", "btc", "eur"]
    for currency in currencies:
        assert httpx.get(f"{api_url}/api/v3/coins/markets?vs_currency={currency}&per_page=1").status_code == 200


def test_in_the_days_of_history_no_rate_is_known(api_url: str) -> None:
    past = f"&as_of={LAST - timedelta(days=5)}T12:00:00Z"
    answer = httpx.get(f"{api_url}/api/v3/coins/markets?vs_currency=eur{past}")
    assert answer.status_code == 400
    assert answer.json()["error"] == "invalid vs_currency: eur is not held; held are usd"


@pytest.mark.parametrize("path", ["market_chart?days=5&", "history?date=01-11-2026&"])
def test_history_in_a_derived_currency_is_refused_or_left_out(api_url: str, path: str) -> None:
    answer = httpx.get(f"{api_url}/api/v3/coins/bitcoin/{path}vs_currency=eur")
    if path.startswith("market_chart"):
        assert answer.status_code == 404
        assert "only derived for snapshots" in answer.json()["error"]
    else:
        assert list(answer.json()["market_data"]["current_price"]) == ["usd"]


@pytest.mark.parametrize(
    ("order", "first", "last"),
    [
        ("market_cap_desc", "bitcoin", "coin-00259"),
        ("market_cap_asc", "coin-00259", "bitcoin"),
        ("volume_desc", "bitcoin", "coin-00259"),
        ("volume_asc", "coin-00259", "bitcoin"),
        ("id_asc", "bitcoin", "solana"),
        ("id_desc", "solana", "bitcoin"),
        ("gecko_desc", "bitcoin", "coin-00259"),
    ],
)
def test_pages_of_every_order_are_the_whole_market_once(api_url: str, order: str, first: str, last: str) -> None:
    pages = [httpx.get(f"{api_url}{MARKETS}&order={order}&per_page=100&page={n}").json() for n in range(1, 5)]
    ids = [row["id"] for page in pages for row in page]
    assert [len(page) for page in pages] == [100, 100, 60, 0]
    assert len(set(ids)) == 260
    volumes = [row["total_volume"] for page in pages for row in page]
    if order.startswith("volume"):
        assert volumes == sorted(volumes, reverse=order == "volume_desc")
    else:
        assert (ids[0], ids[-1]) == (first, last)


def test_coins_are_chosen_by_id_name_symbol_and_category(api_url: str) -> None:
    def ids(query: str) -> list[str]:
        return [row["id"] for row in httpx.get(f"{api_url}{MARKETS}&{query}").json()]

    assert ids("ids=solana, bitcoin ,nocoin") == ["bitcoin", "solana"]
    assert ids("names=Coin 1,coin 2") == ["ethereum", "solana"]
    assert ids("symbols=C7") == ["coin-00007"]
    assert len(ids("category=layer-1-l1&per_page=250")) == 130
    assert httpx.get(f"{api_url}{MARKETS}&category=nothing").json() == {"error": "category not found"}


def test_the_sparkline_is_that_of_the_newest_snapshot(api_url: str, made_bundle: Made) -> None:
    [row] = httpx.get(f"{api_url}{MARKETS}&ids=solana&sparkline=true").json()
    price = float(made_bundle[2].price(LAST)[2])
    assert row["sparkline_in_7d"]["price"] == (price * np.linspace(0.9, 1.0, 168)).tolist()
    [past] = httpx.get(f"{api_url}{MARKETS}&ids=solana&sparkline=true&as_of={LAST}T01:00:00Z").json()
    assert past["sparkline_in_7d"] == {"price": []}


@pytest.mark.parametrize("places", ["0", "2", "full"])
def test_precision_rounds_prices_and_nothing_else(api_url: str, places: str) -> None:
    [exact] = httpx.get(f"{api_url}{MARKETS}&ids=solana").json()
    [row] = httpx.get(f"{api_url}{MARKETS}&ids=solana&precision={places}").json()
    expected = exact["current_price"] if places == "full" else round(exact["current_price"], int(places))
    assert row["current_price"] == expected
    assert row["market_cap"] == exact["market_cap"]


class LaterHistory(ServedSource):
    """A snapshot of the fifth day before the last one, and history up to the last day that lacks the first coin on it."""

    def snapshots(self, day: date, instants: Iterable[Any]) -> pa.Table:
        """The snapshot of an older day, of two coins."""
        return super().snapshots(day, instants).slice(0, 2)

    def taken_since(self, refreshed_at: Any) -> list[Any]:
        """The snapshot is older than the history."""
        return [
            taken._replace(batch_id=taken.batch_id.replace(f"{self.last:%Y%m%d}", f"{self.snapshot_day:%Y%m%d}"))
            for taken in super().taken_since(refreshed_at)
        ]

    @property
    def snapshot_day(self) -> date:
        """The day of the snapshot."""
        return self.last - timedelta(days=5)

    def days(self, first: date, last: date) -> pa.Table:
        """Without the first coin on the last day."""
        rows = super().days(first, last)
        keep = [
            not (a == "bitcoin" and d == self.last)
            for a, d in zip(rows["asset_id"].to_pylist(), rows["date"].to_pylist(), strict=True)
        ]
        return rows.filter(pa.array(keep))


def test_history_that_is_newer_than_the_snapshot_replaces_its_prices_and_comes_to_it(tmp_path: Path) -> None:
    source = LaterHistory(4, 20)
    with (
        made_in(tmp_path, source) as (_, (settings, bucket, _source)),
        TestClient(create_app(settings, needs_key=False, bucket=bucket, clock=lambda: NOW)) as api,
    ):
        now = {row["id"]: row for row in api.get(MARKETS).json()}
        then = {row["id"]: row for row in api.get(f"{MARKETS}&as_of={source.snapshot_day}T00:00:30Z").json()}
    assert list(then) == ["bitcoin", "ethereum"]
    assert then["bitcoin"]["ath"] is not None
    assert set(now) == {"bitcoin", "ethereum", "solana", "coin-00003"}
    day_before, last = source.price(LAST - timedelta(days=1)), source.price(LAST)
    assert [now[name]["current_price"] for name in source.ids] == [float(day_before[0]), *last[1:].tolist()]
    assert {row["ath"] for row in now.values()} == {None}, "a record of another time than the price"
    assert now["bitcoin"]["circulating_supply"] is not None
    assert now["solana"]["name"] == "Coin 2"
    assert now["bitcoin"]["last_updated"] == f"{midnight(LAST - timedelta(days=1)):%Y-%m-%d}T00:00:47.000Z"
