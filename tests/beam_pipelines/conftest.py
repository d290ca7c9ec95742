"""The real simulator on a random port, and settings that point at it."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from coinbeam.settings import (
    ROOT,
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
    load_settings,
)
from local.simulator.app import create_app
from local.simulator.faults import FaultOrder
from local.simulator.service import SimulatedApi, SimulatorOptions
from tests.temporary import LocalCloud, free_ports, fresh_resources

CAPTURES = ROOT.parent / "shared" / "captures"
COINS = 600


@dataclass(frozen=True)
class Simulator:
    """A running simulator.

    Attributes:
        api: what it serves; tests order faults and read counts here.
        port: where.
    """

    api: SimulatedApi
    port: int

    def order(self, **faults: Any) -> None:
        """Replace the faults."""
        self.api.order_faults(FaultOrder(**faults))

    def calls(self, path: str) -> int:
        """Calls of a path since the start of the test."""
        return self.api.traffic.calls[path]


@contextmanager
def served(api: SimulatedApi) -> Iterator[int]:
    """Serve the application from a thread; the port."""
    port = free_ports(1)[0]
    server = uvicorn.Server(
        uvicorn.Config(create_app(api), host="127.0.0.1", port=port, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    until = time.monotonic() + 30
    while not server.started:
        assert time.monotonic() < until, "the simulator did not start within 30 s"
        time.sleep(0.01)
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join(30)


@pytest.fixture(scope="session")
def running_simulator() -> Iterator[Simulator]:
    """One simulator of 600 coins for the whole session."""
    api = SimulatedApi(SimulatorOptions(seed=7, coins=COINS))
    with served(api) as port:
        yield Simulator(api, port)


@pytest.fixture
def simulator(running_simulator: Simulator) -> Simulator:
    """The simulator without faults and with empty counts."""
    running_simulator.api.reset()
    return running_simulator


@pytest.fixture
def make_settings() -> Callable[..., Settings]:
    """Settings with an impatient client; the port of the simulator where a test has one."""

    def make(port: int | None = None, environment: Environment = Environment.LOCAL, **coingecko: Any) -> Settings:
        local = environment is Environment.LOCAL
        return Settings(
            environment=environment,
            google=GoogleSettings(project="local" if local else "a-project"),
            storage=StorageSettings(bucket="coinbeam"),
            market=MarketSettings(source=MarketSource.SIMULATOR if local else MarketSource.LIVE),
            coingecko=CoinGeckoSettings(**{"max_attempts": 2, "max_wait_seconds": 20, **coingecko}),
            local=LocalSettings(ports=PortSettings(simulator=port or free_ports(1)[0])),
        )

    return make


@pytest.fixture
def settings(make_settings: Callable[..., Settings], simulator: Simulator) -> Settings:
    """Settings of the simulator of this test."""
    return make_settings(simulator.port)


@pytest.fixture
def captures() -> Path:
    """Real bodies that nobody of this project made."""
    if not CAPTURES.is_dir():
        pytest.skip("the captures lie in ../shared/captures, which this checkout does not have")
    return CAPTURES


@pytest.fixture
def live_plan() -> Callable[[str], dict[str, Any]]:
    """CoinGecko settings whose live API is some URL."""

    def plan(url: str) -> dict[str, Any]:
        return {
            "plans": {
                "keyless": PlanLimits(base_url=url, calls_per_minute=6_000, calls_per_month=10_000, history_days=365)
            }
        }

    return plan


@pytest.fixture(scope="module")
def module_cloud(local_cloud: LocalCloud) -> Iterator[LocalCloud]:
    """A bucket for this module, and the environment that leads to it."""
    fresh = fresh_resources(local_cloud)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in fresh.env.items():
            patch.setenv(name, value)
        load_settings.cache_clear()
        yield fresh
    load_settings.cache_clear()
