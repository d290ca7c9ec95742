"""`coinbeam stream publish`, as a process of its own between a venue and a broker on loopback."""

import asyncio
import os
import signal
import sys
from pathlib import Path

import pytest

from coinbeam.settings import ROOT
from tests.coinbeam.feeds.trades.broker import stub_broker
from tests.coinbeam.feeds.trades.venue import scripted_venue, until
from tests.console.conftest import Coinbeam


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_publishes_until_it_is_told_to_stop(tmp_path: Path, number: signal.Signals) -> None:
    async def scene() -> None:
        async with scripted_venue("BTCUSDT", "ETHUSDT") as venue, stub_broker() as broker:
            variables = {
                "COINBEAM_LOCAL__STATE_DIR": str(tmp_path),
                "COINBEAM_LOCAL__PORTS__SIMULATOR": str(venue.port),
                "COINBEAM_LOCAL__PORTS__PUBSUB": str(broker.port),
            }
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", "console", "stream", "publish"),
                *("--symbols", "BTCUSDT,ETHUSDT", "--source", "simulator"),
                cwd=ROOT,
                env=os.environ | variables,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
            )
            try:
                await until(lambda: venue.listening, 30)
                await venue.trades(3, "BTCUSDT")
                await (await venue.listening[0].ping())  # what was sent before has arrived
                await asyncio.sleep(0.1)
                process.send_signal(number)
                out, err = await asyncio.wait_for(process.communicate(), 20)
            finally:
                if process.returncode is None:
                    process.kill()
            assert process.returncode == 0, err
            assert b"Stopped: 3 trades published, 0 gaps open." in out
            assert broker.ids() == [100, 101, 102], "what waited is published before it ends"
            assert len(broker.made) == 4
            assert (tmp_path / "stream" / "binance_simulator" / "positions.json").exists()

    asyncio.run(scene())


@pytest.mark.parametrize("symbols", ["btcusdt", "BTCUSDT,BTCUSDT", ","])
def test_what_is_no_list_of_symbols_is_misuse(coinbeam: Coinbeam, symbols: str) -> None:
    ended = coinbeam("stream", "publish", "--symbols", symbols, "--source", "simulator")
    assert ended.code == 2
    assert "Name pairs as Binance writes them" in ended.err
