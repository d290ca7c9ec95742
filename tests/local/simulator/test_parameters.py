"""Every parameter of every path, and the shape of every refusal."""

import gzip
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from fastapi.testclient import TestClient

from coinbeam.settings import ROOT

CAPTURES = ROOT.parent / "shared" / "captures"
MARKETS = "/api/v3/coins/markets"


def ask(client: TestClient, **query: Any) -> list[dict[str, Any]]:
    answer = client.get(MARKETS, params={"vs_currency": "usd", **query})
    assert answer.status_code == 200, answer.text
    body: list[dict[str, Any]] = answer.json()
    return body


def ids(page: list[dict[str, Any]]) -> list[str]:
    return [row["id"] for row in page]


def captured_pages() -> Iterator[Path]:
    yield from sorted((CAPTURES / "markets").glob("*.json"))


def test_rows_have_the_26_fields_in_the_order_of_the_real_ones(client):
    if not CAPTURES.is_dir():
        pytest.skip("real captures are not here: ../shared/captures")
    plain = [json.loads(path.read_text()) for path in captured_pages()]
    real = {tuple(row) for page in plain for row in page if len(row) == 26}
    assert len(real) == 1
    assert {tuple(row) for row in ask(client)} == real


def test_types_of_fields_occur_in_the_real_pages_too(rows):
    if not CAPTURES.is_dir():
        pytest.skip("real captures are not here: ../shared/captures")
    pages = [json.loads(path.read_text()) for path in captured_pages()]
    for field in next(row for page in pages for row in page if len(row) == 26):
        real = {type(row[field]) for page in pages for row in page} - {type(None)}
        ours = {type(row[field]) for row in rows.values()} - {type(None)}
        numbers = {int, float}
        assert ours <= (numbers if real & numbers else real), field


def test_list_rows_have_the_fields_of_the_real_ones(client):
    if not CAPTURES.is_dir():
        pytest.skip("real captures are not here: ../shared/captures")
    with gzip.open(CAPTURES / "list" / "coins_list_2024-02-24_12868.json.gz") as capture:
        real = {tuple(row) for row in json.load(capture)}
    assert {tuple(row) for row in client.get("/api/v3/coins/list").json()} == real


def test_a_missing_quote_currency_is_422(client):
    answer = client.get(MARKETS)
    assert (answer.status_code, answer.json()) == (422, {"error": "Missing parameter vs_currency"})


@pytest.mark.parametrize(
    "query",
    [
        pytest.param({"per_page": 0}, id="no rows per page"),
        pytest.param({"per_page": "many"}, id="rows per page in words"),
        pytest.param({"page": 0}, id="page zero"),
        pytest.param({"order": "luck_desc"}, id="an unknown order"),
        pytest.param({"precision": 19}, id="more decimals than 18"),
        pytest.param({"price_change_percentage": "24h,2y"}, id="an unknown period"),
        pytest.param({"sparkline": "maybe"}, id="a flag that is no flag"),
    ],
)
def test_a_malformed_parameter_is_refused_by_name(client, query):
    answer = client.get(MARKETS, params={"vs_currency": "usd", **query})
    assert (answer.status_code, answer.json()) == (422, {"error": f"Invalid parameter {next(iter(query))}"})


def test_an_unknown_currency_is_refused(client):
    answer = client.get(MARKETS, params={"vs_currency": "doubloon"})
    assert (answer.status_code, answer.json()) == (400, {"error": "invalid vs_currency"})


def test_an_unknown_category_is_refused(client):
    assert client.get(MARKETS, params={"vs_currency": "usd", "category": "void"}).status_code == 404


def test_bodies_are_bare_arrays(client):
    assert client.get(MARKETS, params={"vs_currency": "usd"}).content.startswith(b'[{"id":"bitcoin"')


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        pytest.param(None, 100, id="100 by default"),
        pytest.param(1, 1, id="one"),
        pytest.param(250, 250, id="the most"),
        pytest.param(500, 250, id="never more than the most"),
    ],
)
def test_rows_per_page(client, asked, given):
    assert len(ask(client, **({} if asked is None else {"per_page": asked}))) == given


def test_pages_cover_the_market_once_and_then_are_empty(client):
    pages = [ids(ask(client, per_page=250, page=page, order="id_asc")) for page in (1, 2, 3, 4)]
    assert [len(page) for page in pages] == [250, 250, 100, 0]
    assert len({coin for page in pages for coin in page}) == 600


@pytest.mark.parametrize(
    ("order", "field", "reverse"),
    [
        ("market_cap_desc", "market_cap", True),
        ("market_cap_asc", "market_cap", False),
        ("volume_desc", "total_volume", True),
        ("volume_asc", "total_volume", False),
        ("id_asc", "id", False),
        ("id_desc", "id", True),
    ],
)
def test_order(client, order, field, reverse):
    values = [row[field] for page in (1, 2, 3) for row in ask(client, per_page=250, page=page, order=order)]
    filled = [value for value in values if value is not None]
    assert filled == sorted(filled, reverse=reverse)
    assert values[: len(filled)] == filled, "nulls come last"


def test_ids_select_and_unknown_ones_are_silently_absent(client):
    assert ids(ask(client, ids="ethereum,nobody, bitcoin")) == ["bitcoin", "ethereum"]


def test_ids_are_bounded_by_the_page_too(client):
    wanted = ids(ask(client, per_page=120))
    assert len(ask(client, ids=",".join(wanted))) == 100
    assert len(ask(client, ids=",".join(wanted), per_page=250)) == 120
    assert len(ask(client, ids=",".join(wanted), page=2)) == 20


def test_category_selects(client):
    stable = ids(ask(client, category="stablecoins"))
    assert {"tether", "usd-coin"} <= set(stable)
    assert "bitcoin" not in stable


def test_sparklines_come_only_when_asked_for_and_hold_full_doubles(client):
    assert "sparkline_in_7d" not in ask(client)[0]
    series = ask(client, sparkline=True)[0]["sparkline_in_7d"]["price"]
    assert len(series) == 168
    assert all(isinstance(point, float) and len(repr(point)) > 12 for point in series[:5])


def test_price_changes_come_in_their_own_fields(client):
    periods = ["1h", "24h", "7d", "14d", "30d", "200d", "1y"]
    row = ask(client, price_change_percentage=",".join(periods))[0]
    assert list(row)[26:] == [f"price_change_percentage_{period}_in_currency" for period in periods]
    assert row["price_change_percentage_24h_in_currency"] == pytest.approx(row["price_change_percentage_24h"], abs=1e-5)


def test_full_precision_rounds_no_price(client):
    usual, full = (ask(client, ids="chainlink", **query)[0]["current_price"] for query in ({}, {"precision": "full"}))
    assert usual == round(full, 2)
    assert len(repr(full)) > len(repr(usual)) + 5


@pytest.mark.parametrize("decimals", [0, 3, 12])
def test_precision_is_a_number_of_decimals(client, decimals):
    price, full = (ask(client, ids="chainlink", precision=p)[0]["current_price"] for p in (decimals, "full"))
    assert price == round(full, decimals)


def test_another_currency_scales_prices_and_leaves_supplies(client):
    dollars, yen = (client.get(MARKETS, params={"vs_currency": c, "ids": "bitcoin"}).json()[0] for c in ("usd", "jpy"))
    assert yen["current_price"] / dollars["current_price"] == pytest.approx(151.2, rel=1e-4)
    assert yen["market_cap"] / dollars["market_cap"] == pytest.approx(151.2, rel=1e-6)
    assert yen["circulating_supply"] == dollars["circulating_supply"]


def test_bitcoin_costs_one_bitcoin(client):
    assert client.get(MARKETS, params={"vs_currency": "btc", "ids": "bitcoin"}).json()[0]["current_price"] == 1


def test_ping(client):
    assert client.get("/api/v3/ping").json() == {"gecko_says": "(V3) To the Moon!"}


def test_the_list_names_platforms_when_asked(client):
    plain = client.get("/api/v3/coins/list").json()
    full = client.get("/api/v3/coins/list", params={"include_platform": True}).json()
    assert set(plain[0]) == {"id", "symbol", "name"}
    assert {coin["id"]: bool(coin["platforms"]) for coin in full}["tether"] is True
    assert {coin["id"]: coin["platforms"] for coin in full}["bitcoin"] == {}
    assert ids(plain) == ids(full) == sorted(ids(plain))


def test_the_list_of_inactive_coins_is_another_one(client):
    active = ids(client.get("/api/v3/coins/list").json())
    inactive = ids(client.get("/api/v3/coins/list", params={"status": "inactive"}).json())
    assert inactive
    assert not set(active) & set(inactive)


@pytest.mark.parametrize(
    ("flag", "field"),
    [
        ("localization", "localization"),
        ("tickers", "tickers"),
        ("market_data", "market_data"),
        ("community_data", "community_data"),
        ("developer_data", "developer_data"),
    ],
)
def test_a_part_of_the_details_can_be_left_out(client, flag, field):
    assert field in client.get("/api/v3/coins/bitcoin").json()
    assert field not in client.get("/api/v3/coins/bitcoin", params={flag: False}).json()


def test_details_agree_with_the_markets(client):
    detail = client.get("/api/v3/coins/ethereum", params={"sparkline": True}).json()
    row = ask(client, ids="ethereum", sparkline=True)[0]
    data = detail["market_data"]
    assert {field: data[field]["usd"] for field in ("current_price", "market_cap", "ath", "atl_date", "high_24h")} == {
        field: row[field] for field in ("current_price", "market_cap", "ath", "atl_date", "high_24h")
    }
    assert data["sparkline_7d"] == row["sparkline_in_7d"]["price"]
    assert detail["last_updated"] == row["last_updated"]


def test_an_unknown_coin_is_404(client):
    for path in ("/coins/nobody", "/coins/nobody/market_chart?vs_currency=usd&days=1"):
        answer = client.get(f"/api/v3{path}")
        assert (answer.status_code, answer.json()) == (404, {"error": "coin not found"})


def test_the_key_endpoint_is_for_pro_keys(client):
    refused = client.get("/api/v3/key")
    assert (refused.status_code, refused.json()["status"]["error_code"]) == (401, 10002)
    usage = client.get("/api/v3/key", headers={"x-cg-pro-api-key": "CG-simulated"}).json()
    assert (
        usage["monthly_call_credit"] - usage["current_total_monthly_calls"] == usage["current_remaining_monthly_calls"]
    )
    assert usage["rate_limit_request_per_minute"] == 60_000


def test_health_answers_without_being_counted(client):
    assert client.get("/healthz").json() == {"status": "ok"}
    assert client.get("/_control/stats").json()["total_calls"] == 0
