"""The client against the project's own simulator, served on loopback, with its fault profiles."""

import json
import random
import socket
import threading
from contextlib import contextmanager

import pytest
import uvicorn

from coinbeam.settings import CoinGeckoSettings
from coinbeam.sources.coingecko import CoinGeckoClient
from coinbeam.sources.http.errors import ApiTransientError
from coinbeam.sources.rate import RateLimiter
from local.simulator.app import create_app
from local.simulator.faults import FaultOrder, Profile
from local.simulator.service import SimulatedApi, SimulatorOptions

COINS = 600
RETRY_AFTER = 119


@contextmanager
def simulator(faults):
    """A simulator on a free port, stopped at the end; yields its base URL."""
    options = SimulatorOptions(1, COINS, FaultOrder(profile=Profile(faults), retry_after=RETRY_AFTER))
    server = uvicorn.Server(uvicorn.Config(create_app(SimulatedApi(options)), log_level="warning", lifespan="off"))
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()  # calls made before the server is ready wait in the queue
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{listener.getsockname()[1]}/api/v3"
        finally:
            server.should_exit = True
            thread.join(20)


def walk(base_url, fake_time):
    """Ask for every page, as the fetch job does."""
    limiter = RateLimiter(1e9, monotonic=fake_time.monotonic, sleep=fake_time.sleep)
    client = CoinGeckoClient(
        CoinGeckoSettings(), base_url, limiter, clock=fake_time.now, sleep=fake_time.sleep, rng=random.Random(1)
    )
    return [client.markets_page("usd", page) for page in range(1, 4)]


@pytest.mark.parametrize(
    "faults", ["none", "throttle", "server_error", "unavailable", "html", "truncated", "error_in_200"]
)
def test_the_whole_market_comes_through_a_profile_that_passes(fake_time, faults):
    with simulator(faults) as base_url:
        answers = walk(base_url, fake_time)
    ids = [row["id"] for answer in answers for row in json.loads(answer.body)]
    assert all(answer.well_formed for answer in answers)
    assert len(ids) == len(set(ids)) == COINS
    assert (sum(answer.retries for answer in answers) > 0) is (faults != "none")
    if faults == "throttle":
        throttled = sum(answer.throttled for answer in answers)
        assert throttled > 0
        assert fake_time.seconds >= RETRY_AFTER * throttled


def test_a_page_that_stays_html_is_handed_out_as_malformed_and_the_others_as_they_are(fake_time):
    with simulator("html_persistent") as base_url:
        answers = walk(base_url, fake_time)
    assert [answer.well_formed for answer in answers] == [True, False, True]
    assert "not JSON" in answers[1].problem


def test_a_market_that_is_down_ends_in_a_clear_error(fake_time):
    with simulator("down") as base_url, pytest.raises(ApiTransientError, match=r"HTTP 503.*gave up after 5 calls"):
        walk(base_url, fake_time)


def test_prices_come_with_their_instants_and_nothing_that_nobody_needs(fake_time):
    limiter = RateLimiter(1e9, monotonic=fake_time.monotonic, sleep=fake_time.sleep)
    with simulator("none") as base_url:
        answer = CoinGeckoClient(CoinGeckoSettings(), base_url, limiter).prices(
            "usd", ["ethereum", "nothing", "bitcoin"]
        )
    rows = json.loads(answer.body)
    assert [row["id"] for row in rows] == ["bitcoin", "ethereum"]
    assert all(row["current_price"] > 0 and row["last_updated"].endswith("Z") for row in rows)
    assert len(answer.body) < 4_000, "without the sparkline of a week"
