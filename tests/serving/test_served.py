"""The servers of the tests answer, and as `coinbeam serve` does."""

import time
from pathlib import Path

import httpx

from serving.api.app import create_app
from tests.serving.served import ASSETS_MADE, NOW, Made, listening, made_in


def test_a_server_answers_from_the_made_bundle(api_url: str, made_bundle: Made) -> None:
    answer = httpx.get(f"{api_url}/api/v3/simple/price?ids=bitcoin&vs_currencies=usd,eur").json()
    price = made_bundle[2].price(made_bundle[2].last)[0]
    assert answer == {"bitcoin": {"usd": price, "eur": answer["bitcoin"]["eur"]}}
    assert abs(answer["bitcoin"]["eur"] / price - 0.92) < 1e-12
    assert len(httpx.get(f"{api_url}/api/v3/coins/list").json()) == ASSETS_MADE


def test_a_server_with_keys_refuses_whoever_has_none(keyed_api_url: str, api_key: str) -> None:
    assert httpx.get(f"{keyed_api_url}/api/v3/ping").status_code == 401
    assert httpx.get(f"{keyed_api_url}/api/v3/ping", headers={"x-cg-demo-api-key": api_key}).status_code == 200


def test_a_bundle_and_a_server_are_cheap(tmp_path: Path) -> None:
    started = time.process_time()
    with made_in(tmp_path) as (_, (settings, bucket, _)):
        app = create_app(settings, needs_key=False, bucket=bucket, clock=lambda: NOW)
        with listening(app) as url:
            assert httpx.get(f"{url}/ready").json()["ready"] is True
    assert time.process_time() - started < 5
