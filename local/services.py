"""What the local cloud consists of: each service's command, ports and health endpoint."""

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path

import requests

from coinbeam.settings import Settings
from local.emulators.storage import OBJECTS_FOLDER
from local.environment import HOST, bigquery_url, cloud_dir, storage_url


@dataclass(frozen=True)
class Service:
    """One process of the local cloud.

    Attributes:
        name: also the name of its log.
        url: base URL, for people.
        health_url: answers 200 once the service is ready.
        ports: setting name below ``local.ports`` to port.
        command: shell command.
    """

    name: str
    url: str
    health_url: str
    ports: dict[str, int]
    command: str

    def is_healthy(self, timeout_seconds: float = 2.0) -> bool:
        """Whether the health endpoint answers 200 in time."""
        try:
            return requests.get(self.health_url, timeout=timeout_seconds).ok
        except requests.RequestException:
            return False


def services(settings: Settings) -> tuple[Service, ...]:
    """The three services of the local cloud, on the ports of the settings."""
    return _bigquery(settings), _storage(settings), _simulator(settings)


def data_dirs(settings: Settings) -> tuple[Path, Path]:
    """The folders that hold the data of the warehouse and of the bucket: what a reset deletes."""
    return cloud_dir(settings) / "bigquery", cloud_dir(settings) / "storage"


def stream_dirs(settings: Settings) -> tuple[Path, Path]:
    """The folders of a stream, a part of the data: what its broker keeps, and what its publisher knows to be there."""
    return cloud_dir(settings) / "pubsub", settings.local.state_dir.resolve() / "stream"


def _bigquery(settings: Settings) -> Service:
    ports, url = settings.local.ports, bigquery_url(settings)
    warehouse, storage = data_dirs(settings)
    listen = ("--port", ports.bigquery, "--grpc-port", ports.bigquery_grpc)
    command = _command(
        "local.emulators.bigquery", *listen, "--data-dir", warehouse, "--gcs-root", storage / OBJECTS_FOLDER
    )
    return Service(
        "bigquery", url, f"{url}/healthz", {"bigquery": ports.bigquery, "bigquery_grpc": ports.bigquery_grpc}, command
    )


def _storage(settings: Settings) -> Service:
    port, url = settings.local.ports.storage, storage_url(settings)
    command = _command("local.emulators.storage", "--port", port, "--data-dir", data_dirs(settings)[1])
    return Service("storage", url, f"{url}/", {"storage": port}, command)


def _simulator(settings: Settings) -> Service:
    port = settings.local.ports.simulator
    command = _command("local.simulator", "--port", port)
    return Service("simulator", settings.simulator_url, f"http://{HOST}:{port}/healthz", {"simulator": port}, command)


def _command(module: str, *arguments: object) -> str:
    """A shell command; ``exec`` makes the service itself, and not a shell, receive the signals."""
    return "exec " + shlex.join([sys.executable, "-m", module, *map(str, arguments)])
