"""Which version, which instant and whose data an answer is of: its headers, its tag, and the past."""

import logging
import re
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from starlette.testclient import TestClient

from serving.api.app import create_app
from tests.serving.made import midnight
from tests.serving.served import LAST, NOW, Made, ServedSource, build, listening, made_in

PRICE = "/api/v3/simple/price?ids=bitcoin&vs_currencies=usd"
ADDRESSES = [
    PRICE,
    "/api/v3/coins/markets?vs_currency=usd&per_page=5",
    "/api/v3/coins/bitcoin",
    "/api/v3/coins/bitcoin/market_chart?vs_currency=usd&days=30",
    "/api/v3/coins/list",
    "/api/v3/global",
    "/v1/prices?limit=3",
    "/v1/market_daily?asset_id=bitcoin",
]


@pytest.mark.parametrize("address", ADDRESSES)
def test_every_answer_says_which_version_it_is_of(api_url: str, address: str) -> None:
    answer = httpx.get(api_url + address)
    assert answer.status_code == 200
    assert answer.headers["x-coinbeam-version"] == "20261120T010000000000Z"
    assert answer.headers["x-coinbeam-batch"] == "20261120T0000Z-usd-all"
    assert answer.headers["x-coinbeam-observed-at"] == "2026-11-20T00:10:00Z"
    assert answer.headers["x-coinbeam-source"] == "coingecko_simulator"
    assert answer.headers["x-attribution"] == "Simulated data, not market prices"
    assert answer.headers["cache-control"].startswith("private")


@pytest.mark.parametrize("address", ADDRESSES)
def test_what_the_caller_has_already_is_not_sent_again(api_url: str, address: str) -> None:
    first = httpx.get(api_url + address)
    again = httpx.get(api_url + address, headers={"If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


@pytest.mark.parametrize("address", ADDRESSES)
def test_head_has_the_headers_and_no_body(api_url: str, address: str) -> None:
    whole, head = httpx.get(api_url + address), httpx.head(api_url + address)
    assert (head.status_code, head.content) == (200, b"")
    assert head.headers["etag"] == whole.headers["etag"]
    assert head.headers["content-length"] == whole.headers["content-length"]


def test_tags_differ_by_address_and_by_form_but_not_by_key(api_url: str) -> None:
    def tag(address: str, **headers: str) -> str:
        return httpx.get(api_url + address, headers=headers).headers["etag"]

    tags = [tag(address) for address in ADDRESSES]
    assert len(set(tags)) == len(tags)
    assert tag("/v1/prices?limit=3", Accept="text/csv") != tag("/v1/prices?limit=3")
    assert tag(PRICE + "&x_cg_demo_api_key=CG-another") == tag(PRICE)


def at(day: int = 0, **more: float) -> str:
    """An instant so many days from the newest day."""
    return (midnight(LAST) + timedelta(days=day, **more)).strftime("%Y-%m-%dT%H:%M:%SZ")


@pytest.mark.parametrize("days", [1, 30, 99])
def test_a_price_of_the_past_is_the_one_of_that_day(api_url: str, made_bundle: Made, days: int) -> None:
    source = made_bundle[2]
    day = LAST - timedelta(days=days)
    found = httpx.get(f"{api_url}{PRICE}&include_last_updated_at=true&as_of={at(-days, hours=1)}")
    expected = float(source.price(day)[0])
    assert found.json() == {"bitcoin": {"usd": expected, "last_updated_at": int(midnight(day).timestamp()) + 47}}
    assert found.headers["x-coinbeam-as-of"] == f"{day}T00:00:47Z"


def test_a_price_is_not_known_before_it_was_observed(api_url: str, made_bundle: Made) -> None:
    early = httpx.get(f"{api_url}{PRICE}&as_of={at(-5, seconds=46)}").json()
    late = httpx.get(f"{api_url}{PRICE}&as_of={at(-5, seconds=47)}").json()
    days = [float(made_bundle[2].price(LAST - timedelta(days=d))[0]) for d in (6, 5)]
    assert [early["bitcoin"]["usd"], late["bitcoin"]["usd"]] == days


def test_the_snapshot_stands_for_its_instant(api_url: str, made_bundle: Made) -> None:
    found = httpx.get(f"{api_url}/api/v3/coins/markets?vs_currency=usd&per_page=1&as_of={at()}")
    [row] = found.json()
    assert row["current_price"] == float(made_bundle[2].price(LAST)[0])
    assert row["ath"] is not None  # only a snapshot knows it
    assert found.headers["x-coinbeam-as-of"] == at()


def test_what_only_a_snapshot_knows_is_null_in_the_days_of_history(api_url: str) -> None:
    [row] = httpx.get(f"{api_url}/api/v3/coins/markets?vs_currency=usd&per_page=1&as_of={at(-9, hours=2)}").json()
    assert row["current_price"] > 0
    assert row["market_cap"] > 0
    assert {row[name] for name in ("ath", "high_24h", "circulating_supply", "price_change_24h", "roi")} == {None}
    assert row["name"] == "Coin 0"


def test_a_chart_of_the_past_ends_there(api_url: str) -> None:
    found = httpx.get(f"{api_url}/api/v3/coins/bitcoin/market_chart?vs_currency=usd&days=5&as_of={at(-20, hours=3)}")
    times = [point[0] for point in found.json()["prices"]]
    day = midnight(LAST) - timedelta(days=20)
    assert times == [round((day - timedelta(days=d)).timestamp() * 1_000) + 47_000 for d in (4, 3, 2, 1, 0)]


@pytest.mark.parametrize("address", [PRICE, "/api/v3/coins/markets?vs_currency=usd", "/api/v3/global"])
def test_before_the_first_price_the_answer_says_when_that_was(api_url: str, address: str) -> None:
    separator = "&" if "?" in address else "?"
    answer = httpx.get(f"{api_url}{address}{separator}as_of=2020-01-01")
    assert answer.status_code == 404
    assert "the first is of 2026-08-13T00:00:47Z" in answer.json()["error"]


def test_the_future_is_not_known(api_url: str) -> None:
    answer = httpx.get(f"{api_url}{PRICE}&as_of=2099-01-01")
    assert answer.status_code == 422
    assert answer.json()["error"].startswith("Invalid parameter as_of: it lies in the future; now is 2026-11-20T12:30")


def test_unix_seconds_are_an_instant_too(api_url: str) -> None:
    moment = midnight(LAST) - timedelta(days=3, hours=-1)
    by_number = httpx.get(f"{api_url}{PRICE}&as_of={moment.timestamp():.0f}").json()
    assert by_number == httpx.get(f"{api_url}{PRICE}&as_of={at(-3, hours=1)}").json()


def test_prices_that_are_too_old_are_refused_for_now_but_not_for_then(tmp_path: Path) -> None:
    with made_in(tmp_path, ServedSource(5, 10), stale_after_minutes=60) as (_, (settings, bucket, _source)):
        app = create_app(settings, needs_key=False, bucket=bucket, clock=lambda: NOW)
        with TestClient(app) as api:
            now, then, ready = api.get(PRICE), api.get(f"{PRICE}&as_of={at()}"), api.get("/ready")
    assert now.status_code == 503
    assert now.json()["status"]["error_message"].startswith(
        "The newest prices are too old: they were observed at 2026-11-20T00:10"
    )
    assert int(now.headers["retry-after"]) > 0
    assert then.status_code == 200
    assert ready.status_code == 200
    assert ready.json()["stale"] is True


def test_without_a_bundle_nothing_is_answered_and_readiness_says_so(tmp_path: Path) -> None:
    with made_in(tmp_path, ServedSource(5, 10)) as (emulator, (settings, *_)):
        empty = settings.model_copy(update={"storage": settings.storage.model_copy(update={"bucket": "empty"})})
        emulator.create_bucket("empty")
        with TestClient(create_app(empty, needs_key=False, clock=lambda: NOW)) as api:
            answers = {path: api.get(path) for path in (PRICE, "/v1/prices", "/ready", "/health")}
    assert {path: answer.status_code for path, answer in answers.items()} == {
        PRICE: 503,
        "/v1/prices": 503,
        "/ready": 503,
        "/health": 200,
    }
    assert answers["/ready"].json()["fault"]
    assert answers["/v1/prices"].headers["content-type"] == "application/problem+json"


def test_a_version_that_comes_under_load_costs_no_call_and_mixes_with_none(tmp_path: Path) -> None:
    source = ServedSource(50, 10)
    with made_in(tmp_path, source, poll_seconds=0.05) as (_, (settings, bucket, _source)):
        app = create_app(settings, needs_key=False, bucket=bucket, clock=lambda: NOW)
        seen: list[tuple[str, Any]] = []
        stop = threading.Event()

        def ask(url: str) -> None:
            with httpx.Client() as client:
                while not stop.is_set():
                    answer = client.get(f"{url}/api/v3/coins/markets?vs_currency=usd&per_page=50")
                    seen.append((answer.headers.get("x-coinbeam-version", ""), (answer.status_code, answer.json())))

        with listening(app) as url:
            threads = [threading.Thread(target=ask, args=(url,)) for _ in range(4)]
            for thread in threads:
                thread.start()
            for factor in (2.0, 3.0):
                source.factor, source.refreshed_at = factor, source.refreshed_at + timedelta(minutes=1)
                build(settings, bucket, source)
                wait_for(lambda: bool(seen) and seen[-1][0] == f"{source.refreshed_at:%Y%m%dT%H%M%S%f}Z")
            stop.set()
            for thread in threads:
                thread.join()
    versions = sorted({version for version, _ in seen})
    assert len(versions) == 3
    base = ServedSource(50, 10).price(LAST)
    for version, (status, rows) in seen:
        assert status == 200
        factor = 1.0 + versions.index(version)
        assert [row["current_price"] for row in rows] == [price * factor for price in base.tolist()]


def wait_for(done: Callable[[], bool]) -> None:
    """Wait a while for something."""
    until = time.monotonic() + 20
    while not done():
        assert time.monotonic() < until, "it did not happen within 20 s"
        time.sleep(0.01)


def test_a_call_leaves_one_line_without_its_query(
    keyed_api_url: str, api_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO, "coinbeam.api.access"):
        httpx.get(f"{keyed_api_url}{PRICE}&x_cg_demo_api_key={api_key}")
        httpx.get(f"{keyed_api_url}{PRICE}", headers={"x-cg-pro-api-key": api_key})
        httpx.get(f"{keyed_api_url}{PRICE}&x_cg_pro_api_key=cbk_wrong")
    wait_for(lambda: len(lines(caplog)) >= 3)
    assert all(re.fullmatch(r"GET /api/v3/simple/price \d{3} [\d.]+ ms key \S+", line) for line in lines(caplog))
    assert not any(word in line for line in lines(caplog) for word in ("cbk_", api_key, "ids=", "?"))


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the gate logged of prices; a server of another test may still end a call of its own."""
    ours = [record for record in caplog.records if record.name == "coinbeam.api.access"]
    return [line for record in ours if "/simple/price" in (line := record.getMessage())]
