"""What the publisher leaves behind for its next run."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coinbeam.errors import TerminalError, TransientError
from coinbeam.feeds.trades.entries import Mark
from coinbeam.feeds.trades.position import Position
from coinbeam.feeds.trades.seen import Hole, Seen
from coinbeam.feeds.trades.store import BucketStore, FileStore, Positions, only_one, store_of
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import (
    ROOT,
    Environment,
    GoogleSettings,
    LocalSettings,
    MarketSettings,
    Settings,
    StorageSettings,
)
from tests.temporary import LocalCloud


def test_a_position_comes_back_as_it_was() -> None:
    seen = Seen(5, 70, [Hole(8, 9, 60, 65)])
    seen.floor, seen.next = 6, 12
    position = Position("BTCUSDT", seen, True, {(8, 9): Mark("gap", "BTCUSDT", 8, 9, 60, 65)})
    dumped = json.loads(json.dumps(position.dump()))
    assert Position.load("BTCUSDT", dumped).dump() == position.dump()
    assert Position.load("BTCUSDT", Position("BTCUSDT").dump()) == Position("BTCUSDT")


def test_positions_of_symbols_that_are_not_followed_stay(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "state" / "positions.json")
    first = Positions(store)
    for position in first.load(["BTCUSDT", "ETHUSDT"]):
        position.intend([Mark("start", position.symbol, 1, 1, 1, 1)])
    asyncio.run(first.save())
    second = Positions(store)
    [kept] = second.load(["ETHUSDT"])
    assert kept.seen is not None
    kept.seen.add(1, 2)
    asyncio.run(second.save())
    positions = Positions(store).load(["BTCUSDT", "ETHUSDT", "BNBUSDT"])
    assert [position.seen and position.seen.next for position in positions] == [1, 2, None]
    assert [file.name for file in store.path.parent.iterdir()] == ["positions.json"]


@pytest.mark.parametrize("text", ["{", "[]", '{"BTCUSDT":{}}', '{"BTCUSDT":{"seen":7,"gaps":[],"is_started":true}}'])
def test_positions_that_cannot_be_read_are_not_begun_anew_in_silence(tmp_path: Path, text: str) -> None:
    store = FileStore(tmp_path / "positions.json")
    store.write(text)
    with pytest.raises(TerminalError, match="Delete them to follow each symbol anew"):
        Positions(store).load(["BTCUSDT"])


def test_a_file_that_cannot_be_written_keeps_its_old_text(tmp_path: Path) -> None:
    store = FileStore(tmp_path / "positions.json")
    store.write("old")
    (tmp_path / "positions.json.new").mkdir()
    with pytest.raises(TransientError, match="cannot be written"):
        store.write("new")
    assert store.read() == "old"


def made_settings(environment: Environment, folder: Path) -> Settings:
    return Settings(
        environment=environment,
        google=GoogleSettings(project="p"),
        storage=StorageSettings(bucket="bucket"),
        market=MarketSettings(source="live"),  # type: ignore[arg-type]
        local=LocalSettings(state_dir=folder),
    )


def test_one_machine_keeps_them_in_a_file(tmp_path: Path) -> None:
    store = store_of(made_settings(Environment.LOCAL, tmp_path), "binance_simulator", "positions")
    assert isinstance(store, FileStore)
    assert store.path == tmp_path / "stream" / "binance_simulator" / "positions.json"
    assert store.read() is None


def test_a_second_publisher_of_a_venue_is_refused_by_name(tmp_path: Path) -> None:
    settings = made_settings(Environment.LOCAL, tmp_path)
    refused = pytest.raises(TerminalError, match=f"Process {os.getpid()} publishes trades of binance already")
    with only_one(settings, "binance"), only_one(settings, "binance_simulator"), refused:
        only_one(settings, "binance").__enter__()
    with only_one(settings, "binance"):
        pass


def test_a_publisher_that_was_killed_keeps_nobody_out(tmp_path: Path) -> None:
    held = f"""
import time
from pathlib import Path
from coinbeam.feeds.trades.store import only_one
from tests.coinbeam.feeds.trades.test_store import Environment, made_settings
with only_one(made_settings(Environment.LOCAL, Path({str(tmp_path)!r})), "binance"):
    print("held", flush=True)
    time.sleep(60)
"""
    settings = made_settings(Environment.LOCAL, tmp_path)
    with subprocess.Popen([sys.executable, "-c", held], stdout=subprocess.PIPE, cwd=ROOT) as process:
        assert process.stdout
        assert process.stdout.readline() == b"held\n"
        with pytest.raises(TerminalError, match=f"Process {process.pid} "):
            only_one(settings, "binance").__enter__()
        process.kill()
    with only_one(settings, "binance"):
        pass


def test_a_deployment_locks_nothing(tmp_path: Path) -> None:
    settings = made_settings(Environment.PRODUCTION, tmp_path)
    with only_one(settings, "binance"), only_one(settings, "binance"):
        assert list(tmp_path.iterdir()) == []


@pytest.mark.cloud
def test_a_deployment_keeps_them_in_the_bucket(fresh_cloud: LocalCloud) -> None:
    store = BucketStore(Bucket(fresh_cloud.settings), "stream/binance/positions.json")
    assert store.read() is None
    store.write("1")
    store.write("2")
    assert store.read() == "2"
