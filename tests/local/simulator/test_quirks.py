"""Every quirk that real answers have is in the seeded market, at an id that tests can name; the rest is ordinary."""

from collections import Counter
from datetime import UTC, datetime, timedelta

import pytest

NOON = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)

FILLED = {"id", "symbol", "name", "image", "last_updated"}


def test_an_all_time_low_change_that_overflows_numeric(rows):
    assert rows["overflowing-atl"]["atl_change_percentage"] == 3.57e38


def test_a_price_that_numeric_would_erase(rows):
    assert 2.3e-10 < rows["dust-price"]["current_price"] < 2.5e-10


def test_an_all_time_low_with_twenty_fraction_digits(rows):
    assert f"{rows['deep-atl']['atl']:.20f}" == "0.00000000000009912345"


@pytest.mark.parametrize(
    "field", ["current_price", "circulating_supply", "max_supply", "market_cap_change_24h", "high_24h"]
)
def test_a_field_that_is_an_integer_in_one_coin_and_a_float_in_the_next(rows, field):
    assert {type(row[field]) for row in rows.values()} >= {int, float}


def test_a_price_without_a_fraction_is_an_integer(rows):
    assert isinstance(rows["whole-price"]["current_price"], int)


def test_a_market_cap_of_zero_instead_of_null(rows):
    assert rows["zero-market-cap"]["market_cap"] == 0
    assert rows["zero-market-cap"]["market_cap_rank"] is None


def test_more_in_circulation_than_there_is(rows):
    assert rows["oversupplied"]["circulating_supply"] > rows["oversupplied"]["total_supply"]


def test_supplies_of_zero(rows):
    assert (rows["zero-supply"]["total_supply"], rows["zero-supply"]["max_supply"]) == (0, 0)


def test_a_coin_last_seen_three_days_ago_without_high_and_low(rows):
    stale = rows["stale-coin"]
    age = NOON - datetime.fromisoformat(stale["last_updated"])
    assert timedelta(days=3) <= age < timedelta(days=3, minutes=2)
    assert (stale["high_24h"], stale["low_24h"]) == (None, None)
    assert stale["current_price"] > 0


def test_a_coin_without_a_price_has_nothing_but_its_name(rows):
    coin = rows["unpriced-coin"]
    assert {field for field, value in coin.items() if value is not None} == FILLED | {"sparkline_in_7d"}
    assert coin["sparkline_in_7d"] == {"price": []}


def test_a_coin_with_nothing_but_a_price(rows):
    coin = rows["price-only"]
    assert {field for field, value in coin.items() if value is not None} == FILLED | {
        "sparkline_in_7d",
        "current_price",
    }


def test_every_nullable_field_is_null_somewhere_and_filled_elsewhere(rows):
    for field in set(rows["bitcoin"]) - FILLED - {"sparkline_in_7d"}:
        assert {row[field] is None for row in rows.values()} == {True, False}, field


def test_seventy_four_in_eighteen_thousand_coins_are_weth(start):
    body = start(coins=18_000).get("/api/v3/coins/list").json()
    counts = Counter(coin["symbol"] for coin in body)
    assert 50 <= counts["weth"] <= 100


def test_symbols_repeat_in_a_small_market_too(rows):
    assert sum(row["symbol"] == "weth" for row in rows.values()) >= 3


@pytest.mark.parametrize(
    ("coin", "name"),
    [
        pytest.param("emoji-name", "Frog 🐸 Coin 🚀", id="with emoji"),
        pytest.param("zero-width-name", "\u200bZero Width", id="with a zero-width prefix"),
        pytest.param("nbsp-name", "Trailing NBSP\u00a0", id="with a trailing no-break space"),
        pytest.param("ideographic-name", "鸡鸡币\u3000Coin", id="with an ideographic space"),
        pytest.param("quoted-name", 'The "Quoted" Coin', id="with quotes"),
        pytest.param("comma-name", "Comma, Inc., the 'Coin'", id="with commas"),
    ],
)
def test_a_name(rows, coin, name):
    assert rows[coin]["name"] == name


def test_an_empty_symbol(rows):
    assert rows["empty-symbol"]["symbol"] == ""


@pytest.mark.parametrize(
    ("coin", "sign"), [("roi-holder", 1), ("roi-loser", -1), ("ethereum", 1)], ids=["a gain", "a loss", "ethereum"]
)
def test_roi_is_an_object(rows, coin, sign):
    roi = rows[coin]["roi"]
    assert set(roi) == {"times", "currency", "percentage"}
    assert roi["times"] * sign > 0


def test_roi_is_null_for_most(rows):
    assert rows["bitcoin"]["roi"] is None
    assert sum(row["roi"] is None for row in rows.values()) > len(rows) * 0.9


def test_most_sparklines_have_168_points_and_a_few_have_fewer(rows):
    counts = Counter(len(row["sparkline_in_7d"]["price"]) for row in rows.values())
    assert counts.most_common(1)[0][0] == 168
    assert len(rows["young-coin"]["sparkline_in_7d"]["price"]) == 31
    assert max(counts) == 168


def test_a_ranked_token_can_lose_its_rank_by_the_method_of_2026(start):
    query = {"vs_currency": "usd", "per_page": 250, "include_rehypothecated": True}
    body = start(coins=2_000).get("/api/v3/coins/markets", params=query).json()
    assert any(row["market_cap_rank"] is None and row["market_cap_rank_with_rehypothecated"] for row in body)


def test_the_list_and_the_markets_do_not_know_the_same_coins(client, rows):
    listed = {coin["id"] for coin in client.get("/api/v3/coins/list").json()}
    assert "unlisted-coin" in rows.keys() - listed
    assert {"matic-network", "null-explorers", "preview-coin-1"} <= listed - rows.keys()
    assert len(listed & rows.keys()) > 0.95 * len(rows)


def test_a_renamed_id_answers_with_an_empty_price(client):
    answer = client.get("/api/v3/coins/matic-network")
    assert answer.status_code == 200
    assert answer.json()["market_data"]["current_price"] == {}


def test_explorers_can_be_null_and_descriptions_have_crlf(client):
    body = client.get("/api/v3/coins/null-explorers").json()
    assert None in body["links"]["blockchain_site"]
    assert "\r\n" in body["description"]["en"]


def test_details_have_null_facts_in_one_coin_and_filled_ones_in_the_next(client):
    bodies = [
        client.get(f"/api/v3/coins/{coin}").json() for coin in ("bitcoin", "tether", "unpriced-coin", "quoted-name")
    ]
    for field in ("genesis_date", "hashing_algorithm", "asset_platform_id", "market_cap_rank"):
        assert {body[field] is None for body in bodies} == {True, False}, field


def test_otherwise_no_value_breaks_a_sensible_rule(rows):
    for row in rows.values():
        assert row["current_price"] is None or row["current_price"] > 0
        assert datetime.fromisoformat(row["last_updated"]) < NOON
        assert all(
            row[field] is None or row[field] >= 0
            for field in ("market_cap", "total_volume", "high_24h", "low_24h", "ath", "atl")
        )
        assert row["low_24h"] is None or row["low_24h"] <= row["current_price"] <= row["high_24h"]
        assert all(point > 0 for point in row["sparkline_in_7d"]["price"])
        assert all(datetime.fromisoformat(row[field]) < NOON for field in ("ath_date", "atl_date") if row[field])
