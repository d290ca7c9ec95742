"""The API as a real server on loopback, over a bundle of a made market in a storage emulator of this process."""

import socket
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import uvicorn

from coinbeam.batch.tables import ASSETS
from coinbeam.bundle.builder import Builder
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import (
    Environment,
    GoogleSettings,
    LocalSettings,
    PortSettings,
    ServingSettings,
    Settings,
    StorageSettings,
)
from coinbeam.warehouse.client import Warehouse
from tests.deploy.emulator import Emulator, running
from tests.serving.made import MadeSource

LAST = date(2026, 11, 20)
NOW = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
"""The clock of the servers stands still here."""

ASSETS_MADE, DAYS_MADE = 260, 100
"""More than one full page, and more days than a chart of every snapshot has."""

HOST = "127.0.0.1"
_BUCKET = "served"


class ServedSource(MadeSource):
    """A made market whose largest coins are called as the real ones are, with rates of other currencies."""

    def __init__(self, assets: int = ASSETS_MADE, days: int = DAYS_MADE, last: date = LAST) -> None:
        super().__init__(assets, days, last)
        self.ids[:3] = ["bitcoin", "ethereum", "solana"]

    def rates(self, day: date, instants: Iterable[datetime]) -> dict[datetime, dict[str, float]]:  # noqa: ARG002
        """The rates of the time of each snapshot."""
        return {instant: {"btc": 1.0, "usd": 50_000.0, "eur": 46_000.0} for instant in instants}

    def table(self, name: str, newest: date | None) -> pa.Table:
        """Assets in the order of their key, which the names have broken."""
        rows = super().table(name, newest)
        return rows.sort_by("asset_id") if name == ASSETS else rows


Made = tuple[Settings, Bucket, ServedSource]


@contextmanager
def made_in(folder: Path, source: ServedSource | None = None, **serving: Any) -> Iterator[tuple[Emulator, Made]]:
    """A bundle that was built from a made market; more settings of serving by name."""
    source = source or ServedSource()
    with running() as emulator:
        emulator.create_bucket(_BUCKET)
        settings = Settings(
            environment=Environment.LOCAL,
            google=GoogleSettings(project="local"),
            storage=StorageSettings(bucket=_BUCKET),
            serving=ServingSettings(cache_dir=folder / "cache", **serving),
            local=LocalSettings(state_dir=folder, ports=PortSettings(storage=emulator.port)),
        )
        bucket = Bucket(settings)
        build(settings, bucket, source)
        yield emulator, (settings, bucket, source)


def build(settings: Settings, bucket: Bucket, source: MadeSource) -> None:
    """Bring the bundle in step with a source."""
    assert Builder(Warehouse(settings), bucket, lambda: NOW, source).build() is not None


@contextmanager
def listening(app: Any) -> Iterator[str]:
    """Serve an application from a thread, as `coinbeam serve` does; its base URL."""
    config = uvicorn.Config(app, log_config=None, access_log=False, server_header=False)
    server = uvicorn.Server(config)
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        listener.listen(256)  # calls made before the server is ready wait in the queue
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]}, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{listener.getsockname()[1]}"
        finally:
            server.should_exit = True
            thread.join(20)
            assert not thread.is_alive(), "the server did not stop within 20 s"
