"""A venue on a free port: its clock stands still until a test moves it, and so does the clock of its limits."""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import httpx
import pytest
import uvicorn
from websockets.sync.client import ClientConnection, connect

from local.simulator.app import create_app, server_config
from local.simulator.binance.tape import Tape, milliseconds
from local.simulator.service import SimulatedApi, SimulatorOptions

NOON = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
NOON_MS = milliseconds(NOON)
WAIT_SECONDS = 10


class Bench:
    """A running venue and its clocks."""

    def __init__(self, port: int, api: SimulatedApi, monotonic: list[float]) -> None:
        self.port, self.api, self.monotonic = port, api, monotonic
        self.tape: Tape = api.venue.tape
        self.http = httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=WAIT_SECONDS)

    def advance(self, seconds: float) -> None:
        """Move the simulated clock on."""
        at = (self.api.now() + timedelta(seconds=seconds)).isoformat()
        assert self.http.post("/_control/clock", json={"at": at}).status_code == 200

    def rest(self, path: str = "aggTrades", **query: Any) -> httpx.Response:
        """Ask the REST of the venue."""
        return self.http.get(f"/binance/api/v3/{path}", params=query)

    def order(self, what: str, **order: Any) -> dict[str, Any]:
        """Order something at a control path."""
        answer = self.http.post(f"/_control/binance/{what}", json=order)
        assert answer.status_code == 200, answer.text
        found: dict[str, Any] = answer.json()
        return found

    def report(self) -> dict[str, Any]:
        """What the venue says of itself."""
        found: dict[str, Any] = self.http.get("/_control/binance").json()
        return found

    def stream(self, *symbols: str, path: str | None = None) -> ClientConnection:
        """A client of the combined stream, as it is open; the venue knows it."""
        names = "/".join(f"{symbol.lower()}@aggTrade" for symbol in symbols)
        before = len(self.api.venue.connections)
        client = connect(
            f"ws://127.0.0.1:{self.port}{path or f'/binance/stream?streams={names}'}",
            compression=None,
            ping_interval=None,
            max_size=2**25,
            close_timeout=1,
        )
        eventually(lambda: len(self.api.venue.connections) > before)
        return client


def eventually(is_so: Callable[[], bool]) -> None:
    """Wait until something is so, for a bounded time."""
    end = time.monotonic() + WAIT_SECONDS
    while not is_so():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(0.005)


@contextmanager
def serving(**pings: float) -> Iterator[Bench]:
    """A venue on a free port."""
    monotonic = [1_000.0]
    api = SimulatedApi(SimulatorOptions(seed=7, coins=600, at=NOON), monotonic=lambda: monotonic[0])
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        server = uvicorn.Server(server_config(create_app(api), **pings))
        thread = threading.Thread(target=server.run, args=([listener],), daemon=True)
        thread.start()
        bench = Bench(listener.getsockname()[1], api, monotonic)
        try:
            eventually(lambda: server.started)
            yield bench
        finally:
            bench.http.close()
            server.should_exit = True
            thread.join(WAIT_SECONDS)
            assert not thread.is_alive()


@pytest.fixture(scope="module")
def _bench() -> Iterator[Bench]:
    with serving() as bench:
        yield bench


@pytest.fixture
def bench(_bench: Bench) -> Iterator[Bench]:
    """The venue of the module without faults and halts, at noon."""
    _bench.http.post("/_control/reset")
    eventually(lambda: not _bench.api.venue.connections)
    return _bench
