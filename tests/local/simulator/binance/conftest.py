"""A venue on loopback whose clock moves when a test says so."""

import json
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import uvicorn
from websockets.sync.client import ClientConnection, connect

from local.simulator.app import create_app, server_config
from local.simulator.binance.faults import VenueOrder
from local.simulator.binance.tape import Tape, milliseconds
from local.simulator.market import Market
from local.simulator.service import SimulatedApi, SimulatorOptions
from tests.temporary import free_ports

NOON = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
NOON_MS = milliseconds(NOON)

SEED, COINS = 7, 60


@pytest.fixture(scope="session")
def tape() -> Tape:
    """The trades of a small market, five a second; nobody may halt it."""
    return Tape(Market(SEED, COINS))


class Server:
    """A venue behind uvicorn.

    Attributes:
        api: what is served.
        port: on loopback.
        seconds: what its limits are counted by.
    """

    def __init__(self, api: SimulatedApi, port: int) -> None:
        self.api, self.port = api, port

    @property
    def tape(self) -> Tape:
        """What it trades."""
        return self.api.venue.tape

    def connect(self, target: str) -> ClientConnection:
        """A websocket to a path and query below ``/binance``."""
        url = f"ws://127.0.0.1:{self.port}/binance/{target}"
        return connect(url, compression=None, max_size=None, max_queue=None)  # unread frames keep no close waiting

    def stream(self, *symbols: str) -> ClientConnection:
        """A websocket to the combined stream of some symbols."""
        return self.connect(f"stream?streams={'/'.join(f'{symbol.lower()}@aggTrade' for symbol in symbols)}")

    def order(self, **faults: Any) -> None:
        """Replace the faults."""
        self.api.venue.order_faults(VenueOrder(**faults))

    def now_ms(self) -> int:
        """The simulated instant."""
        return self.api.venue.now_ms()

    def wait(self, seconds: float) -> None:
        """Let simulated time pass."""
        self.api.at = self.api.now() + timedelta(seconds=seconds)


@contextmanager
def served(api: SimulatedApi, **config: float) -> Iterator[Server]:
    """Serve a venue from a thread."""
    settings = server_config(create_app(api), **config)
    settings.host, settings.port = "127.0.0.1", free_ports(1)[0]
    server = uvicorn.Server(settings)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < until, "the venue did not start within 30 s"
        time.sleep(0.01)
    try:
        yield Server(api, settings.port)
    finally:
        server.should_exit = True
        thread.join(30)


class Stopwatch:
    """Seconds that pass only when told."""

    seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture(scope="session")
def stopwatch() -> Stopwatch:
    """What the limits of the served venue count by."""
    return Stopwatch()


@pytest.fixture(scope="session")
def running_server(stopwatch: Stopwatch) -> Iterator[Server]:
    """One venue for all tests of a session."""
    with served(SimulatedApi(SimulatorOptions(SEED, COINS, at=NOON), monotonic=stopwatch)) as server:
        yield server


@pytest.fixture
def server(running_server: Server) -> Server:
    """The venue without faults and with all limits unused."""
    running_server.api.reset()
    return running_server


def frames(websocket: ClientConnection, count: int) -> list[str]:
    """The next frames, as text."""
    return [str(websocket.recv(timeout=10)) for _ in range(count)]


def data(websocket: ClientConnection, count: int) -> list[dict[str, Any]]:
    """What the next combined frames carry."""
    return [json.loads(frame)["data"] for frame in frames(websocket, count)]
