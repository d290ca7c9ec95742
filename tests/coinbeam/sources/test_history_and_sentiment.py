"""The call for history, and the client of the Fear & Greed index, against a scripted server."""

from datetime import UTC, datetime
from urllib.parse import parse_qs, urlsplit

import pytest

from coinbeam.settings import CoinGeckoSettings
from coinbeam.sources.alternative_me import FearGreedClient
from coinbeam.sources.coingecko import CoinGeckoClient
from coinbeam.sources.http.errors import ApiTerminalError, ApiTransientError
from coinbeam.sources.rate import RateLimiter

START, END = datetime(2025, 1, 1, tzinfo=UTC), datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_history_is_asked_for_in_epoch_seconds_and_full_precision(api):
    client = CoinGeckoClient(CoinGeckoSettings(), api.base_url, RateLimiter(6_000))
    client.market_chart_range("a/b", "usd", START, END)
    asked = urlsplit(api.paths[0])
    assert asked.path == "/api/v3/coins/a%2Fb/market_chart/range"
    assert parse_qs(asked.query) == {
        "vs_currency": ["usd"],
        "from": ["1735689600"],
        "to": ["1767225599"],
        "precision": ["full"],
    }


def test_an_id_that_leaves_its_path_is_refused(api):
    with pytest.raises(ApiTerminalError, match="not an asset id"):
        CoinGeckoClient(CoinGeckoSettings(), api.base_url, RateLimiter(6_000)).market_chart_range(
            "..", "usd", START, END
        )
    assert api.paths == []


@pytest.fixture
def index(api, fake_time):
    """A client of the index that has a CoinGecko key in its settings."""
    settings = CoinGeckoSettings(plan="demo", api_key="CG-secret-of-somebody", max_attempts=2)
    client = FearGreedClient(
        settings, f"http://127.0.0.1:{api.server_port}/fng/", clock=fake_time.now, sleep=fake_time.sleep
    )
    yield client
    client.close()


def test_the_whole_index_is_one_call_without_any_key(api, index, fake_time):
    api.play(api.Answer(body=b'{"data": []}'))
    answer = index.index()
    assert (answer.body, answer.calls, answer.received_at) == (b'{"data": []}', 1, fake_time.now())
    assert api.paths == ["/fng/?limit=0"]
    assert "secret" not in str(api.request_headers)


def test_a_passing_refusal_costs_a_retry(api, index):
    api.play(api.Answer(503), api.Answer(body=b'{"data": []}'))
    assert index.index().calls == 2


@pytest.mark.parametrize(("status", "kind"), [(404, ApiTerminalError), (500, ApiTransientError)])
def test_a_refusal_names_the_setting_and_not_coingecko(api, index, status, kind):
    api.play(api.Answer(status, b'{"error": "no"}'))
    with pytest.raises(kind, match=r"history\.fear_greed_url") as refused:
        index.index()
    assert "CoinGecko" not in str(refused.value)
    assert refused.value.status == status
