"""A local cloud for a ``with`` block of a test or a benchmark, on free ports and in a folder of its own."""

import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import disk_usage
from uuid import uuid4

from coinbeam.settings import (
    Environment,
    GoogleSettings,
    LocalSettings,
    MarketSettings,
    MarketSource,
    PortSettings,
    Settings,
    SimulatorSettings,
    StorageSettings,
    WarehouseSettings,
)
from local import cloud
from local.environment import HOST, environment

COINS = 600
"""Size of the simulated market: more than two full pages."""

START_TIMEOUT_SECONDS = 120.0
"""Patience with a busy test machine."""


ROOM_BYTES = 4 << 30
"""Free memory in which the clouds of three test processes, of some 200 MB each, are no burden."""


@dataclass(frozen=True)
class LocalCloud:
    """A running local cloud.

    Attributes:
        settings: its settings.
        env: the variables that make a child process use it.
    """

    settings: Settings
    env: dict[str, str]


def memory() -> Path | None:
    """A folder in memory with ample room, if the machine has one: every statement of the emulator is a commit to disk."""
    folder = Path("/dev/shm")
    return folder if folder.is_dir() and disk_usage(folder).free >= ROOM_BYTES else None


def free_ports(count: int) -> list[int]:
    """Different ports that nobody listened on a moment ago."""
    with ExitStack() as stack:
        probes = [stack.enter_context(socket.socket()) for _ in range(count)]
        for probe in probes:
            probe.bind((HOST, 0))
        return [probe.getsockname()[1] for probe in probes]


def temporary_settings(state_dir: Path, coins: int = COINS) -> Settings:
    """Settings of a local cloud on free ports, with its market from the simulator."""
    names = list(PortSettings.model_fields)
    ports = PortSettings(**dict(zip(names, free_ports(len(names)), strict=True)))
    simulator = SimulatorSettings(coins=coins)
    return Settings(
        environment=Environment.LOCAL,
        google=GoogleSettings(project="local"),
        storage=StorageSettings(bucket="coinbeam"),
        market=MarketSettings(source=MarketSource.SIMULATOR),
        local=LocalSettings(
            state_dir=state_dir, ports=ports, simulator=simulator, start_timeout_seconds=START_TIMEOUT_SECONDS
        ),
    )


@contextmanager
def temporary_cloud(state_dir: Path, coins: int = COINS) -> Iterator[LocalCloud]:
    """Start the three services, and stop them at the end.

    Raises:
        LocalCloudError: a service did not come up.
    """
    settings = temporary_settings(state_dir, coins)
    cloud.up(settings, _silent)
    try:
        yield LocalCloud(settings, environment(settings))
    finally:
        cloud.down(settings, _silent)


def fresh_resources(running: LocalCloud) -> LocalCloud:
    """The same services with a new, empty bucket and new, empty datasets: cheap isolation of one test."""
    suffix = uuid4().hex[:8]
    names = {f"{kind}_dataset": f"{kind}_{suffix}" for kind in ("data", "staging", "ops", "marts")}
    warehouse = WarehouseSettings(**names)
    settings = running.settings.model_copy(
        update={"warehouse": warehouse, "storage": StorageSettings(bucket=f"bucket-{suffix}")}
    )
    cloud.create_resources(settings)
    return LocalCloud(settings, environment(settings))


def _silent(_: str) -> None:
    """Nobody reads along."""
