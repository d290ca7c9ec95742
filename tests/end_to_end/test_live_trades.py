"""`coinbeam stream up` until a first window is there, with two of its processes killed on the way, and once more in batch."""

import json
import subprocess
import sys
import time
from datetime import date
from pathlib import Path
from typing import Any

import grpc
import pytest
from google.pubsub_v1 import PublisherClient
from google.pubsub_v1.services.publisher.transports import PublisherGrpcTransport
from google.pubsub_v1.types import PubsubMessage

from benchmarks.kills import Run, against_batch
from coinbeam.batch.tables import REJECTS, TRADE_SYMBOLS, TRADE_WINDOW_FACT, TRADE_WINDOW_PANE
from coinbeam.clock import format_instant, utc_now
from coinbeam.feeds.trades.topic import topic_path
from coinbeam.settings import ROOT
from coinbeam.warehouse.client import Warehouse
from local import cloud
from tests.temporary import temporary_settings

pytestmark = [pytest.mark.cloud, pytest.mark.timeout(400)]

SYMBOLS = ("BTCUSDT", "ETHUSDT")
LARGE = ("x" * 9_000_000, "0")
WRONG_TIMES = ("garbage", "9" * 30, "-" + "9" * 17)
MOST_SECONDS = 150.0
"""Until the first window is there: at most a minute, and the starts of two processes on a busy machine."""


@pytest.fixture
def run(tmp_path: Path) -> Any:
    """A stream on free ports; whatever happens, nothing of it is left."""
    run = Run(temporary_settings(tmp_path, coins=300), SYMBOLS)
    yield run
    cloud.down(run.settings, print)


def status(run: Run) -> list[dict[str, Any]]:
    """What `coinbeam stream status` says."""
    words = [sys.executable, "-m", "console", "stream", "status", "--format", "json"]
    said = subprocess.run(words, cwd=ROOT, env=run.environment, check=True, timeout=60, stdout=subprocess.PIPE).stdout
    found: list[dict[str, Any]] = json.loads(said)
    return found


def publish_poison(run: Run) -> None:
    """Lines that are no JSON, in messages whose time is none, and one of nine megabytes: each is one dead letter, and
    takes nothing with it.
    """
    with grpc.insecure_channel(f"127.0.0.1:{run.settings.local.ports.pubsub}") as channel:
        client = PublisherClient(transport=PublisherGrpcTransport(channel=channel))
        for data, at in (*((f"{one}x", one) for one in WRONG_TIMES), LARGE):
            attributes = {"kind": "trades", "symbol": SYMBOLS[0], "event_time": at}
            message = PubsubMessage(data=data.encode(), attributes=attributes)
            client.publish(topic=topic_path(run.settings), messages=[message], timeout=20)


def settle(run: Run, day: date) -> int:
    """`coinbeam stream settle`: the exit code."""
    words = [sys.executable, "-m", "console", "stream", "settle", "--date", day.isoformat()]
    at_once = {"COINBEAM_STREAM__LANDED_SECONDS": "0"}  # the stream has ended, and with it the broker that lands
    return subprocess.run(words, cwd=ROOT, env=run.environment | at_once, check=False, timeout=200).returncode


def status_without_gaps(run: Run) -> list[dict[str, Any]]:
    """The status, once what a killed publisher missed is refilled."""
    ends = time.monotonic() + 30
    while True:
        found = status(run)
        if all(row["gaps_open"] == 0 for row in found) or time.monotonic() > ends:
            return found
        time.sleep(0.5)


def first_windows(run: Run, warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    """The first row of each symbol, once there is one of each that has its last trade; a late pane may bring that."""
    ends = time.monotonic() + MOST_SECONDS
    table = f"{warehouse.names()[TRADE_WINDOW_FACT]} WHERE window_date >= '2026-01-01'"
    while time.monotonic() < ends:
        rows = warehouse.rows(f"SELECT * FROM {table} ORDER BY window_start DESC")
        found = {row["symbol"]: row for row in rows}
        truths = {symbol: run.truth(symbol, row["window_start"]) for symbol, row in found.items()}
        whole = [name for name, one in truths.items() if one and one.last_id == found[name]["last_agg_trade_id"]]
        if set(whole) == set(SYMBOLS):
            return found
        time.sleep(1)
    raise AssertionError(f"no whole windows within {MOST_SECONDS:g} s")


def test_a_stream_that_is_killed_goes_on_and_a_batch_of_what_was_landed_says_the_same(run: Run) -> None:
    warehouse, began = Warehouse(run.settings), utc_now()
    with run.stream():
        for victim in ("windows", "publisher"):
            run.kill(victim)
        publish_poison(run)
        for row in first_windows(run, warehouse).values():
            assert (row["is_complete"], row["open_mark_count"]) == (False, 1), "the minute in which a stream began"
            assert row["missing_trade_count"] == 0, "nothing else misses"
            assert row["source_id"] == "binance_simulator"
        shown = {row["symbol"]: row for row in status_without_gaps(run)}
        assert set(shown) == set(SYMBOLS)
        assert all(
            row["windows_per_hour"] >= 1 and row["trades"] > 0 and row["gaps_open"] == 0 for row in shown.values()
        )
    names = warehouse.names()
    refused = warehouse.rows(
        f"SELECT reason, SUBSTR(payload, 1, 40) AS payload FROM {names[REJECTS]} "
        f"WHERE snapshot_date >= '{began:%Y}-01-01' ORDER BY payload"
    )
    poison = [*(f"{one}x" for one in sorted(WRONG_TIMES)), LARGE[0][:40]]
    assert [(row["reason"], row["payload"]) for row in refused] == [("not_json", one) for one in poison]
    assets = warehouse.rows(f"SELECT symbol, asset_id FROM {names[TRADE_SYMBOLS]} ORDER BY symbol")
    assert [row["symbol"] for row in assets] == list(SYMBOLS)
    year = f"'{began:%Y}-01-01'"
    stored = warehouse.rows(f"SELECT * FROM {names[TRADE_WINDOW_FACT]} WHERE window_date >= {year}")
    rows = {(row["symbol"], row["window_start"]): row for row in stored}
    for day in dict.fromkeys(moment.date() for moment in (began, utc_now())):
        assert settle(run, day) == 0
    panes = warehouse.rows(f"SELECT * FROM {names[TRADE_WINDOW_PANE]} WHERE window_date >= {year} AND timing = 'batch'")
    again = [row | {"window_start": format_instant(row["window_start"])} for row in panes]
    assert against_batch(rows, again, min(start for _, start in rows)) == {"equal": len(SYMBOLS)}
    daily = warehouse.rows(
        f"SELECT symbol, open_price FROM {names['trade_daily']} WHERE date >= {year} ORDER BY symbol"
    )
    first = {symbol: row["open_price"] for (symbol, _), row in sorted(rows.items(), reverse=True)}
    assert {row["symbol"]: row["open_price"] for row in daily} == first
