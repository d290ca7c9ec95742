"""Which market a run reads, asked of a real server on loopback in place of the live one."""

import socket
import threading
import time

import pytest
from pydantic import HttpUrl, SecretStr

from beam_pipelines.job.clients import ShardClients
from coinbeam.errors import SettingsError
from coinbeam.settings import (
    CoinGeckoSettings,
    Environment,
    GoogleSettings,
    LocalSettings,
    MarketSettings,
    MarketSource,
    PlanLimits,
    PortSettings,
    Settings,
    StorageSettings,
)
from coinbeam.sources.choose import RuntimeSource, choose_source, probe_live
from coinbeam.sources.rate import quota
from coinbeam.sources.registry import COINGECKO


@pytest.fixture
def make_settings(api, monkeypatch):
    """Makes settings whose live API is the scripted server."""
    monkeypatch.delenv("COINGECKO_API_KEY", raising=False)

    def make(source=MarketSource.AUTO, environment=Environment.LOCAL, key_header=None, live_url=None, **coingecko):
        limits = PlanLimits(
            base_url=HttpUrl(live_url or api.base_url),
            key_header=key_header,
            calls_per_minute=30,
            calls_per_month=10_000,
            history_days=365,
        )
        return Settings(
            environment=environment,
            google=GoogleSettings(project="p"),
            storage=StorageSettings(bucket="bucket"),
            market=MarketSettings(source=source),
            coingecko=CoinGeckoSettings(plan="test", plans={"test": limits}, **coingecko),
            local=LocalSettings(ports=PortSettings(simulator=api.server_port)),
        )

    return make


def test_live_is_taken_without_asking(api, make_settings):
    assert choose_source(make_settings(MarketSource.LIVE)) == RuntimeSource("live", api.base_url)
    assert api.paths == []


def test_the_simulator_is_taken_without_asking(api, make_settings):
    settings = make_settings(MarketSource.SIMULATOR)
    assert choose_source(settings) == RuntimeSource("simulator", settings.simulator_url)
    assert api.paths == []


def test_auto_is_live_when_ping_answers(api, make_settings):
    api.play(api.Answer(body=b'{"gecko_says":"(V3) To the Moon!"}'))
    assert choose_source(make_settings()) == RuntimeSource("live", api.base_url)
    assert api.paths == ["/api/v3/ping"]


def test_auto_is_live_when_the_api_asks_to_wait(api, make_settings):
    api.play(api.Answer(status=429, headers={"Retry-After": "60"}))
    assert choose_source(make_settings()).kind == "live"


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ({"status": 503}, "HTTP 503"),
        ({"body": b"<html>log in to this wifi</html>"}, "not JSON"),
        ({"status": 302, "headers": {"Location": "http://portal.invalid/"}}, "redirect"),
        ({"hang_up": True}, "no answer"),
    ],
    ids=["an outage", "a page of a hotel", "a redirect to a portal", "a closed connection"],
)
def test_auto_falls_back_with_a_banner_that_says_why(api, make_settings, answer, reason):
    api.play(api.Answer(**answer))
    settings = make_settings()
    source = choose_source(settings)
    assert (source.kind, source.base_url) == ("simulator", settings.simulator_url)
    assert "SIMULATED PRICES" in source.banner
    assert reason in source.banner
    assert len(source.banner.splitlines()) >= 5
    assert len(api.paths) == 1


def test_a_name_server_that_does_not_answer_cannot_hold_the_probe(make_settings, monkeypatch):
    release = threading.Event()

    def hang(*_args, **_kwargs):
        release.wait(20)
        raise socket.gaierror("no name server")

    monkeypatch.setattr(socket, "getaddrinfo", hang)
    url = "http://api.invalid/api/v3"
    started = time.monotonic()
    try:
        reason = probe_live(make_settings(live_url=url, probe_timeout_seconds=0.2), RuntimeSource("live", url))
        assert time.monotonic() - started < 10
        assert reason == f"no answer from {url} within 0.2 s"
    finally:
        release.set()


def test_a_refused_key_is_told_in_the_banner_without_the_key(api, make_settings):
    api.play(api.Answer(status=400, body=b'{"status":{"error_code":10011,"error_message":"demo key CG-sentinel"}}'))
    source = choose_source(make_settings(key_header="x-cg-pro-api-key", api_key=SecretStr("CG-sentinel")))
    assert "Set coingecko.plan to demo" in source.banner
    assert "CG-sentinel" not in source.banner
    assert api.request_headers[0]["x-cg-pro-api-key"] == "CG-sentinel"


def test_a_missing_key_is_an_error_before_the_first_call(api, make_settings):
    with pytest.raises(SettingsError, match="COINGECKO_API_KEY"):
        choose_source(make_settings(key_header="x-cg-demo-api-key"))
    assert api.paths == []


@pytest.mark.parametrize("wanted", [MarketSource.SIMULATOR, MarketSource.AUTO])
def test_outside_the_local_environment_nothing_but_live_is_possible(make_settings, wanted):
    settings = make_settings(MarketSource.LIVE, Environment.PRODUCTION)
    assert choose_source(settings).kind == "live"
    with pytest.raises(SettingsError, match="must never reach a shared warehouse"):
        choose_source(settings, wanted)


def test_a_flag_wins_over_the_setting(make_settings):
    assert choose_source(make_settings(MarketSource.LIVE), MarketSource.SIMULATOR).kind == "simulator"


def test_the_simulator_has_its_own_rate_and_never_gets_the_key(api, make_settings):
    settings = make_settings(MarketSource.SIMULATOR, key_header="x-cg-demo-api-key", api_key=SecretStr("CG-sentinel"))
    source = choose_source(settings)
    assert quota(settings, COINGECKO.answering(source.kind)) == settings.local.simulator
    ShardClients(settings.coingecko, source, settings.local.simulator.calls_per_minute, shards=4)().ping()
    assert "CG-sentinel" not in str(api.request_headers)


def test_the_live_api_has_the_rate_of_the_plan_and_gets_the_key(api, make_settings):
    settings = make_settings(MarketSource.LIVE, key_header="x-cg-demo-api-key", api_key=SecretStr("CG-sentinel"))
    source = choose_source(settings)
    assert quota(settings, COINGECKO.answering(source.kind)).calls_per_minute == 30
    ShardClients(settings.coingecko, source, 30, shards=3)().ping()
    assert api.request_headers[0]["x-cg-demo-api-key"] == "CG-sentinel"


def test_a_quota_too_small_for_the_shards_is_an_error_before_the_first_call(make_settings):
    settings = make_settings(MarketSource.LIVE)
    with pytest.raises(SettingsError, match=r"market\.fetch_shards"):
        ShardClients(settings.coingecko, choose_source(settings), 30, shards=31)()
