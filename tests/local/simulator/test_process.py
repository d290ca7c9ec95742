"""The real process: its command line, its port, its speed and its end."""

import json
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import psutil
import pytest
import requests
from websockets.sync.client import connect

from coinbeam.settings import ROOT

pytestmark = pytest.mark.slow

COMMAND = [sys.executable, "-m", "local.simulator"]


@contextmanager
def running(*arguments: str) -> Iterator[tuple[str, psutil.Process]]:
    """A simulator on a free port: its base URL and its process."""
    process = subprocess.Popen([*COMMAND, "--port", "0", *arguments], cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        announcement = process.stdout.readline()
        assert "http://127.0.0.1:" in announcement
        yield announcement.split()[2], psutil.Process(process.pid)
    finally:
        process.terminate()
        process.communicate(timeout=20)


def refusal(*arguments: str) -> tuple[int, str]:
    done = subprocess.run([*COMMAND, *arguments], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stderr


def cpu_seconds(process: psutil.Process) -> float:
    times = process.cpu_times()
    return float(times.user + times.system)


def test_the_whole_market_is_served_in_72_pages_at_little_cost():
    with running() as (base, process), requests.Session() as session:
        assert session.get(f"{base}/ping", timeout=30).json()["gecko_says"]
        assert cpu_seconds(process) < 4
        before, seen = cpu_seconds(process), set()
        for page in range(1, 73):
            query = {"vs_currency": "usd", "per_page": 250, "page": page, "order": "id_asc", "sparkline": "true"}
            seen |= {row["id"] for row in session.get(f"{base}/coins/markets", params=query, timeout=30).json()}
        assert len(seen) == 18_000
        assert cpu_seconds(process) - before < 4, "about 1 s of CPU on an idle machine"


def test_options_reach_the_market():
    options = (
        "--seed",
        "7",
        "--coins",
        "50",
        "--at",
        "2026-01-02T03:04:05Z",
        "--faults",
        "throttle",
        "--retry-after",
        "4",
    )
    with running(*options, "--calls-per-minute", "3") as (base, _):
        url = f"{base}/coins/markets?vs_currency=usd&per_page=250&order=id_asc"
        throttled = requests.get(url, timeout=30)
        assert (throttled.status_code, throttled.headers["Retry-After"]) == (429, "4")
        rows = requests.get(url, timeout=30).json()
        assert len(rows) == 50
        assert max(row["last_updated"] for row in rows).startswith("2026-01-02T03:03:")
        assert [requests.get(f"{base}/ping", timeout=30).status_code for _ in range(2)] == [200, 429]


@pytest.mark.parametrize("variant", ["by length", "by chunks"])
def test_a_truncated_body_is_complete_to_a_real_client(variant):
    with running("--coins", "100") as (base, _):
        control = base.replace("/api/v3", "/_control/faults")
        for seed in range(20):
            requests.post(control, json={"profile": "truncated", "seed": seed}, timeout=30)
            answer = requests.get(f"{base}/coins/markets?vs_currency=usd", timeout=30)
            if ("Content-Length" in answer.headers) is (variant == "by length"):
                break
        else:
            pytest.fail("no seed gave this variant")
        with pytest.raises(requests.JSONDecodeError):
            answer.json()
        assert variant == "by length" or answer.headers["Transfer-Encoding"] == "chunked"


def test_a_slow_body_runs_into_the_timeout_of_a_client_once():
    with running("--coins", "100", "--faults", "slow") as (base, _):
        url = f"{base}/coins/markets?vs_currency=usd"
        with pytest.raises(requests.ConnectionError, match="timed out"):
            _ = requests.get(url, timeout=0.5).content
        assert requests.get(url, timeout=30).status_code == 200


def test_trades_are_streamed_by_the_real_process_and_refilled_by_rest():
    with running("--coins", "60", "--trades-per-second", "200") as (base, _):
        root = base.removesuffix("/api/v3")
        url = f"{root.replace('http', 'ws')}/binance/stream?streams=btcusdt@aggTrade"
        with connect(url, compression=None) as websocket:
            said = [json.loads(websocket.recv(timeout=10))["data"] for _ in range(100)]
        assert [trade["a"] for trade in said] == list(range(said[0]["a"], said[0]["a"] + 100))
        assert 0 <= time.time() * 1_000 - said[-1]["T"] < 5_000
        query = {"symbol": "BTCUSDT", "fromId": said[0]["a"], "limit": 100}
        rows = requests.get(f"{root}/binance/api/v3/aggTrades", params=query, timeout=30).json()
        assert rows == [{key: trade[key] for key in "apqflTmM"} for trade in said]


def test_a_port_that_is_taken_is_named_with_the_remedy():
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        port = other.getsockname()[1]
        code, message = refusal("--port", str(port))
    assert code == 2
    assert f"Port {port}" in message
    assert "--port" in message


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(("--faults", "gremlins"), "gremlins", id="an unknown fault profile"),
        pytest.param(("--at", "teatime"), "teatime", id="an instant that is none"),
        pytest.param(("--coins", "0"), "--coins is 0", id="a market without coins"),
        pytest.param(("--calls-per-minute", "0"), "--calls-per-minute 0", id="a limit of no calls"),
        pytest.param(("--trades-per-second", "30000"), "--trades-per-second 30000", id="more trades than a tape has"),
    ],
)
def test_a_wrong_argument_is_refused_by_name(arguments, named):
    code, message = refusal("--port", "0", *arguments)
    assert code == 2
    assert named in message
