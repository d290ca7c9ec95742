"""A bundle in a bucket of an emulator that heeds generations, made of a market of our own."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from coinbeam.bundle.builder import Builder, Built
from coinbeam.bundle.reader import Bundle, Files
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import Settings
from tests.deploy.emulator import Emulator, running
from tests.serving.made import MadeSource
from tests.temporary import temporary_settings

LAST = date(2026, 3, 10)
NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)


@dataclass
class Workshop:
    """Where bundles are made.

    Attributes:
        written: names of the objects that were written, in order.
    """

    settings: Settings
    bucket: Bucket
    emulator: Emulator
    source: MadeSource
    cache: Path
    written: list[str] = field(default_factory=list)

    def build(self, source: MadeSource | None = None, **options: Any) -> Built | None:
        """Build a version."""
        warehouse: Any = SimpleNamespace(settings=self.settings)
        return Builder(warehouse, self.bucket, lambda: NOW, source or self.source).build(**options)

    def files(self, cache: Path | None = None) -> Files:
        """The files of the bundle as a reader has them."""
        return Files(self.bucket, cache or self.cache)

    def bundle(self) -> Bundle:
        """The version that readers take now."""
        files = self.files()
        return Bundle(files.manifest(), files)

    def one_day_later(self) -> None:
        """The market of the next day is published."""
        self.source.last += timedelta(days=1)
        self.source.first_touched = self.source.last
        self.source.refreshed_at += timedelta(days=1)

    def corrected(self, first_touched: date) -> None:
        """All prices from a day on are other ones."""
        self.source.factor *= 2
        self.source.first_touched = first_touched
        self.source.refreshed_at += timedelta(minutes=1)


@pytest.fixture(scope="session")
def emulator() -> Iterator[Emulator]:
    """An emulator for all tests of this process."""
    with running() as started:
        yield started


@pytest.fixture
def workshop(emulator: Emulator, tmp_path: Path) -> Iterator[Workshop]:
    """An empty bucket, and a market of 5 assets and 40 days."""
    base = temporary_settings(tmp_path)
    name = tmp_path.name.replace("_", "-").lower()[:60]
    ports = base.local.ports.model_copy(update={"storage": emulator.port})
    settings = base.model_copy(
        update={
            "local": base.local.model_copy(update={"ports": ports}),
            "storage": base.storage.model_copy(update={"bucket": name}),
            "serving": base.serving.model_copy(update={"keep_versions": 2}),
        }
    )
    emulator.create_bucket(name)
    made = Workshop(settings, Bucket(settings), emulator, MadeSource(5, 40, LAST), tmp_path / "cache")
    emulator.watchers.append(made.written.append)
    yield made
    emulator.watchers.remove(made.written.append)
