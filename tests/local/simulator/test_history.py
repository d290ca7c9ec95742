"""The granularity rules of market_chart: what lies between two points, what the last one is, how far back a plan may
look.
"""

import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coinbeam.settings import ROOT

CAPTURES = ROOT.parent / "shared" / "captures" / "market_chart"
NOON = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
NOON_MS = int(NOON.timestamp() * 1000)
CHART = "/api/v3/coins/bitcoin/market_chart"
DAY_MS = 86_400_000
PRO = {"x-cg-pro-api-key": "CG-simulated"}


def stamps(client, path: str = CHART, **query: Any) -> list[int]:
    answer = client.get(path, params={"vs_currency": "usd", **query}, headers=query.pop("headers", {}))
    assert answer.status_code == 200, answer.text
    return [stamp for stamp, _ in answer.json()["prices"]]


@pytest.mark.parametrize(
    ("query", "points", "step"),
    [
        pytest.param({"days": 1}, 289, 300_000, id="a day is 288 points five minutes apart, and now"),
        pytest.param({"days": 2}, 49, 3_600_000, id="two days are hourly"),
        pytest.param({"days": 30}, 721, 3_600_000, id="thirty days are 720 hours, and now"),
        pytest.param({"days": 90}, 2161, 3_600_000, id="ninety days are hourly still"),
        pytest.param({"days": 91}, 92, DAY_MS, id="ninety-one days are daily"),
        pytest.param({"days": 90, "interval": "daily"}, 91, DAY_MS, id="daily on request is 90 midnights, and now"),
        pytest.param({"days": 365}, 366, DAY_MS, id="a year is daily"),
    ],
)
def test_granularity(client, query, points, step):
    found = stamps(client, **query)
    assert len(found) == points
    assert found == sorted(found)
    assert found[-1] == NOON_MS
    typical = (found[-2] - found[0]) / (len(found) - 2)
    assert typical == pytest.approx(step, rel=0.05)


@pytest.mark.parametrize(
    ("capture", "query"),
    [
        pytest.param("bitcoin_30d_hourly_721pts.json", {"days": 30}, id="thirty days"),
        pytest.param("bitcoin_7d_169pts_2023-10.json", {"days": 7}, id="seven days"),
        pytest.param("bitcoin_90d_daily_91pts.json", {"days": 90, "interval": "daily"}, id="ninety days, daily"),
    ],
)
def test_the_number_of_points_is_that_of_a_real_answer(client, capture, query):
    if not CAPTURES.is_dir():
        pytest.skip("real captures are not here: ../shared/captures")
    real = json.loads((CAPTURES / capture).read_text())
    real = real.get("data", real)
    assert len(stamps(client, **query)) == len(real["prices"])


def test_daily_points_are_midnights_but_the_last_which_is_now(client):
    found = stamps(client, days=90, interval="daily")
    assert all(stamp % DAY_MS == 0 for stamp in found[:-1])
    assert found[-1] % DAY_MS != 0


def test_hourly_stamps_are_jittered_and_stay_so(client):
    found = stamps(client, days=7)
    late = [stamp % 3_600_000 for stamp in found[:-1]]
    assert max(late) < 100_000
    assert len(set(late)) > len(late) * 0.9
    assert stamps(client, days=7) == found
    assert set(stamps(client, days=3)) <= set(found)


@pytest.mark.parametrize(("minute", "ready"), [(34, False), (35, True)], ids=["not before 00:35", "from 00:35"])
def test_the_midnight_point_is_ready_at(start, minute, ready):
    midnight = datetime(2026, 11, 20, tzinfo=UTC)
    found = stamps(start(at=midnight + timedelta(minutes=minute)), days=3, interval="daily")
    assert len(found) == 4
    assert (int(midnight.timestamp() * 1000) in found) is ready


def test_the_last_point_has_the_present_price(client):
    chart = client.get(CHART, params={"vs_currency": "usd", "days": 1}).json()
    row = client.get(
        "/api/v3/coins/markets", params={"vs_currency": "usd", "ids": "bitcoin", "precision": "full"}
    ).json()[0]
    assert chart["prices"][-1][1] == pytest.approx(row["current_price"], rel=1e-12)
    assert chart["market_caps"][-1][1] == pytest.approx(row["market_cap"], rel=1e-6)


def test_the_three_series_have_the_same_stamps(client):
    chart = client.get(CHART, params={"vs_currency": "usd", "days": 2}).json()
    assert [list(part) for part in {tuple(s for s, _ in series) for series in chart.values()}] == [
        [s for s, _ in chart["prices"]]
    ]


def test_prices_of_charts_have_the_decimals_asked_for(client):
    chart = client.get(CHART, params={"vs_currency": "usd", "days": 2, "precision": 2}).json()
    assert all(price == round(price, 2) for _, price in chart["prices"])


def test_a_coin_without_a_price_has_no_points(client):
    assert stamps(client, "/api/v3/coins/unpriced-coin/market_chart", days=1) == []
    assert stamps(client, "/api/v3/coins/matic-network/market_chart", days=1) == []


@pytest.mark.parametrize("days", ["max", "367", "400"])
def test_beyond_365_days_the_demo_plan_is_refused_with_401(client, days):
    answer = client.get(CHART, params={"vs_currency": "usd", "days": days})
    assert answer.status_code == 401
    status = answer.json()["error"]["status"]
    assert status["error_code"] == 10012
    assert "exceeds the allowed time range" in status["error_message"]
    assert datetime.fromisoformat(status["timestamp"]) == NOON


def test_a_pro_key_reads_from_the_first_day(client):
    first = stamps(client, days="max", headers=PRO)[0]
    assert datetime.fromtimestamp(first / 1000, UTC) == datetime(2013, 4, 28, tzinfo=UTC)


def test_an_unusable_number_of_days_is_refused(client):
    answer = client.get(CHART, params={"vs_currency": "usd", "days": "soon"})
    assert (answer.status_code, answer.json()) == (422, {"error": "Invalid parameter days"})


@pytest.mark.parametrize("missing", ["vs_currency", "days"])
def test_a_missing_parameter_of_a_chart_is_named(client, missing):
    query = {"vs_currency": "usd", "days": "1"}
    del query[missing]
    answer = client.get(CHART, params=query)
    assert (answer.status_code, answer.json()) == (422, {"error": f"Missing parameter {missing}"})


def epoch(**ago: float) -> int:
    return int((NOON - timedelta(**ago)).timestamp())


def test_a_range_has_the_points_between_its_ends(client):
    start, end = epoch(days=10), epoch(days=5)
    found = stamps(client, f"{CHART}/range", **{"from": start, "to": end})
    assert len(found) in {119, 120, 121}
    assert start * 1000 <= found[0] <= found[-1] <= end * 1000


@pytest.mark.parametrize(
    ("days", "step"), [(1, 300_000), (30, 3_600_000), (120, DAY_MS)], ids=["a day", "a month", "four months"]
)
def test_the_granularity_of_a_range(client, days, step):
    found = stamps(client, f"{CHART}/range", **{"from": epoch(days=days + 2), "to": epoch(days=2)})
    assert (found[-1] - found[0]) / (len(found) - 1) == pytest.approx(step, rel=0.05)


def test_a_range_that_reaches_the_present_ends_with_now(client):
    found = stamps(client, f"{CHART}/range", **{"from": epoch(days=2), "to": epoch(days=-1)})
    assert found[-1] == NOON_MS


def test_a_range_into_the_deep_past_is_refused_to_the_demo_plan(client):
    query = {"vs_currency": "usd", "from": epoch(days=400), "to": epoch(days=390)}
    assert client.get(f"{CHART}/range", params=query).json()["error"]["status"]["error_code"] == 10012
    assert len(client.get(f"{CHART}/range", params=query, headers=PRO).json()["prices"]) in {240, 241}


def test_a_range_that_runs_backwards_is_refused(client):
    query = {"vs_currency": "usd", "from": epoch(days=1), "to": epoch(days=2)}
    assert client.get(f"{CHART}/range", params=query).status_code == 422


def test_a_range_needs_its_start(client):
    answer = client.get(f"{CHART}/range", params={"vs_currency": "usd", "to": epoch()})
    assert answer.json() == {"error": "Missing parameter from"}
