"""`coinbeam stream publish --source=coingecko`: a process of its own between the simulated market and a broker."""

import asyncio
import os
import signal
import sys
from datetime import timedelta
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from coinbeam.errors import SettingsError
from coinbeam.feeds.trades.merge import append_panes, merge_panes, starts_of
from coinbeam.settings import ROOT, CoinGeckoSettings, MarketSettings, Settings, StreamSettings
from coinbeam.sources.choose import RuntimeSource
from console.prices import chosen_prices, index_of
from console.stream import recent_windows
from local.stream.__main__ import members
from tests.coinbeam.conftest import Stage
from tests.coinbeam.feeds.trades.broker import stub_broker
from tests.coinbeam.feeds.trades.conftest import FIRST, pane, polled
from tests.coinbeam.feeds.trades.venue import until
from tests.coinbeam.sources.test_against_simulator import simulator
from tests.console.conftest import Coinbeam
from tests.temporary import temporary_settings


def test_it_polls_until_it_is_told_to_stop(tmp_path: Path) -> None:
    async def scene(port: int) -> None:
        async with stub_broker() as broker:
            variables = {
                "COINBEAM_MARKET__SOURCE": "simulator",
                "COINBEAM_LOCAL__STATE_DIR": str(tmp_path),
                "COINBEAM_LOCAL__PORTS__SIMULATOR": str(port),
                "COINBEAM_LOCAL__PORTS__PUBSUB": str(broker.port),
            }
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "console", "stream", "publish"),
                *("--symbols", "bitcoin,ethereum:usd", "--source", "coingecko"),
                cwd=ROOT,
                env=os.environ | variables,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                await until(lambda: len(broker.lines) == 2 or process.returncode is not None, 30)
                process.send_signal(signal.SIGTERM)
                out, err = await asyncio.wait_for(process.communicate(), 20)
            finally:
                if process.returncode is None:
                    process.kill()
            assert process.returncode == 0, err
            assert b"Stopped: 2 prices published in 1 polls." in out
            assert {(line["e"], line["s"]) for line in broker.lines} == {
                ("price", "bitcoin:usd"),
                ("price", "ethereum:usd"),
            }
            assert all(line["a"] == line["T"] > 1_700_000_000_000 for line in broker.lines)
            assert (tmp_path / "stream" / "coingecko_simulator" / "positions.json").exists()

    with simulator("none") as base_url:
        asyncio.run(scene(urlsplit(base_url).port or 0))


@pytest.mark.parametrize("symbols", ["bitcoin:USD", "bitcoin,bitcoin:usd", "bit coin:usd", ","])
def test_what_is_no_list_of_assets_is_misuse(coinbeam: Coinbeam, symbols: str) -> None:
    ended = coinbeam("stream", "publish", "--symbols", symbols, "--source", "coingecko")
    assert ended.code == 2
    assert "Name assets and currencies" in ended.err


def test_an_asset_without_a_currency_is_meant_in_that_of_the_market() -> None:
    settings = Settings(market=MarketSettings(quote_currency="eur"))
    assert chosen_prices(settings, "bitcoin,tether:usd").prices == ("bitcoin:eur", "tether:usd")
    assert chosen_prices(settings, None).prices == ("bitcoin:usd", "ethereum:usd")


def test_polls_are_held_to_the_plan(capsys: pytest.CaptureFixture[str]) -> None:
    settings = Settings(coingecko=CoinGeckoSettings(plan="keyless"))
    live = RuntimeSource("live", "http://127.0.0.1:9/api/v3")
    with pytest.raises(SettingsError, match="Polls each 5 s are 12 calls a minute; 5 are allowed"):
        index_of(settings, StreamSettings(poll_seconds=5), live)
    assert capsys.readouterr().err == ""
    index_of(settings, StreamSettings(), live).close()
    assert "44,640 calls a month, and 5,000 are theirs" in capsys.readouterr().err
    index_of(settings, StreamSettings(poll_seconds=540), live).close()
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("source_id", "kind", "published"),
    [
        ("binance", "live", "live"),
        ("binance_simulator", "simulator", "simulator"),
        ("coingecko", "live", "coingecko"),
        ("coingecko_simulator", "simulator", "coingecko"),
    ],
)
def test_publisher_and_pipeline_of_a_stream_agree_on_the_source(
    tmp_path: Path, source_id: str, kind: str, published: str
) -> None:
    _, windows, publisher = members(temporary_settings(tmp_path), "symbols", source_id)
    assert f"--source={kind}" in windows.command
    assert f"--source={published}" in publisher.command


@pytest.mark.cloud
def test_windows_of_polled_prices_are_shown_and_not_counted_as_incomplete(stage: Stage) -> None:
    panes = [pane(0), pane(1, 6), polled(0), polled(1, timing="late")]
    append_panes(stage.warehouse, panes)
    merge_panes(stage.warehouse, *starts_of(panes))
    found = recent_windows(stage.warehouse, FIRST + timedelta(minutes=5))
    until = FIRST + timedelta(minutes=2)
    shown = {"newest_window": FIRST + timedelta(minutes=1), "windows_per_hour": 2, "watermark": until}
    assert found == {
        "BTCUSDT": {**shown, "incomplete": 1, "late_panes": 0},
        "bitcoin:usd": {**shown, "incomplete": None, "late_panes": 1},
    }
