"""Reads the bundle: a version is opened once and never changes, and a follower swaps it for the next one."""

import ctypes
import gc
import hashlib
import logging
import tempfile
import threading
import time
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache
from pathlib import Path
from typing import Any, Generic, TypeVar

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.parquet as pq

from coinbeam.bundle.grid import Doubles, Grid, Matrix, open_grid
from coinbeam.bundle.layout import CHART, INDICATORS
from coinbeam.bundle.manifest import (
    ASSETS,
    POINTER,
    RATES,
    REBUILD,
    STATUS,
    Entry,
    Manifest,
    Named,
    check,
    grid_name,
    markets_name,
    read_manifest,
    read_pointer,
    sparklines_name,
    table_name,
)
from coinbeam.errors import CoinbeamError, TerminalError, TransientError, disk_full
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import Settings

logger = logging.getLogger("coinbeam.bundle")

_NO_INSTANT = np.empty(0, np.int64)
_NO_VALUES = {
    "charts": np.empty((0, len(CHART))),
    "intraday": np.empty((0, len(CHART))),
    "indicators": np.empty((0, len(INDICATORS))),
}

_UNUSED_SECONDS = 3_600
"""After so long a copy of a file that the present version does not need is deleted."""


class Files:
    """Copies of the bundle's files on this machine, each held to its digest before it is first used."""

    def __init__(self, bucket: Bucket, cache: Path) -> None:
        self._bucket, self._cache = bucket, cache
        self._proven: set[str] = set()
        self._lock = threading.Lock()

    def manifest(self, known: Manifest | None = None) -> Manifest:
        """The manifest of the version that readers take now; the known one when it still is.

        Raises:
            TerminalError: there is none yet, or it is damaged.
            TransientError: the bucket does not answer.
        """
        text = self._bucket.read_text(POINTER)
        if text is None:
            raise TerminalError(
                "There is no serving bundle yet.", "`coinbeam run` makes one, as does `coinbeam bundle`."
            )
        pointer = read_pointer(text)
        if known is not None and known.version == pointer.version:
            return known
        return read_manifest(pointer.manifest, self._read(pointer.manifest))

    def path(self, entry: Entry) -> Path:
        """Where the copy of a file is, brought now if it is not here.

        Raises:
            TerminalError: the file is gone, or is not the one that was written.
            DiskFullError: there is no room for it.
        """
        path = self._cache / entry.path
        with self._lock:
            if entry.path in self._proven and path.is_file():
                return path
            if not self._is_proven(path, entry):
                self._bring(path, entry)
            self._proven.add(entry.path)
            return path

    def drop_unused(self, manifest: Manifest) -> None:
        """Delete the copies that a version does not need and that were not touched for an hour."""
        needed = {self._cache / entry.path for entry in manifest.files.values()}
        for path in self._cache.rglob("*"):
            try:
                if path.is_file() and path not in needed and path.stat().st_mtime < time.time() - _UNUSED_SECONDS:
                    path.unlink()
            except OSError:  # another reader was faster
                continue

    def _is_proven(self, path: Path, entry: Entry) -> bool:
        try:
            with path.open("rb") as file:
                return hashlib.file_digest(file, "sha256").hexdigest() == entry.sha256
        except OSError:
            return False

    def _bring(self, path: Path, entry: Entry) -> None:
        data = self._read(entry)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=path.parent, delete=False) as file:
                try:
                    file.write(data)
                    file.flush()
                    Path(file.name).replace(path)
                except BaseException:
                    Path(file.name).unlink(missing_ok=True)
                    raise
        except OSError as error:
            full = disk_full(error)
            raise full or TransientError(f"{path} cannot be written: {error.strerror}.", "Check the folder.") from error

    def _read(self, entry: Entry) -> bytes:
        data = self._bucket.read_bytes(entry.path)
        if data is None:
            raise TerminalError(f"{entry.path} is gone.", "A newer version has come; try again.")
        check(entry, data)
        return data


def open_files(settings: Settings, bucket: Bucket | None = None) -> Files:
    """The bundle's files of one environment."""
    cache = settings.serving.cache_dir or settings.local.state_dir / "serving"
    return Files(bucket or Bucket(settings), cache)


class Bundle:
    """One version. Everything in it is read when it is first asked for and stays as it is.

    Attributes:
        manifest: what it consists of.
        snapshots: the instants of its snapshots, ascending, by quote currency.
    """

    def __init__(self, manifest: Manifest, files: Files) -> None:
        self.manifest, self._files = manifest, files
        self.snapshots = manifest.snapshots
        self._periods: dict[tuple[str, str], list[tuple[int, int, str]]] = {}
        for held in manifest.grids:
            self._periods.setdefault((held.kind, held.currency), []).append(_bounds(held))
        self._grid = lru_cache(maxsize=None)(self._open_grid)
        self._table = lru_cache(maxsize=None)(self._open_table)

    @property
    def version(self) -> str:
        """Its name."""
        return self.manifest.version

    @cached_property
    def currencies(self) -> tuple[str, ...]:
        """Quote currencies of its prices."""
        return tuple(sorted({*self.snapshots, *(currency for _, currency in self._periods)}))

    @cached_property
    def assets(self) -> list[str]:
        """The id of each asset by its number."""
        ids: list[str] = self._mapped(ASSETS)["asset_id"].to_pylist()
        return ids

    @cached_property
    def numbers(self) -> dict[str, int]:
        """The number of each asset by its id."""
        return {asset_id: number for number, asset_id in enumerate(self.assets)}

    def snapshot_at(self, currency: str, at: datetime | None = None) -> datetime | None:
        """The newest snapshot, or the newest one of an instant and before it; None when there is none."""
        instants = self.snapshots.get(currency, [])
        place = len(instants) if at is None else bisect_right(instants, at)
        return instants[place - 1] if place else None

    def markets(self, currency: str, snapshot_at: datetime) -> pa.Table:
        """All rows of a snapshot, the largest asset first."""
        with pq.ParquetFile(self._path(markets_name(currency, snapshot_at)), memory_map=True) as file:
            return file.read(use_threads=False)  # threads would keep buffers of theirs

    def rates(self, currency: str, snapshot_at: datetime) -> dict[str, float]:
        """Units of each currency for one bitcoin at the time of a snapshot; empty when nobody asked."""
        schema = pq.read_schema(self._path(markets_name(currency, snapshot_at)))
        found = (schema.metadata or {}).get(RATES)
        return dict(orjson.loads(found)) if found else {}

    def table(self, name: str) -> pa.Table:
        """A table that the bundle holds as a whole."""
        return self._table(name)

    def status(self) -> list[dict[str, Any]]:
        """What `coinbeam status` showed when the version was made: blocks of a title, columns and rows."""
        found: list[dict[str, Any]] = orjson.loads(self._path(STATUS).read_bytes())
        return found

    def sparklines(self, currency: str) -> dict[int, pa.Array]:
        """Hourly prices of seven days of the newest snapshot, by the number of the asset."""
        name = sparklines_name(currency)
        if name not in self.manifest.files:
            return {}
        rows = self._mapped(name)
        if not rows.num_rows:
            return {}
        series = rows["price"].chunk(0)
        return {number: series[place].values for place, number in enumerate(rows["asset"].to_pylist())}

    def grids(self, kind: str, currency: str, first: int, last: int) -> Iterator[Grid]:
        """The grids of one kind that may hold instants of a range, ascending.

        Args:
            first: first instant, milliseconds since the epoch; ``last`` the last one.
        """
        for begins, ends, period in self._periods.get((kind, currency), ()):
            if begins <= last and first < ends:
                yield self._grid(kind, currency, period)

    def series(self, kind: str, currency: str, number: int, first: int, last: int) -> tuple[Matrix, Doubles]:
        """All that grids of one kind know of an asset for the instants of a range.

        Returns:
            the instants, milliseconds since the epoch, and their values, instants x columns.
        """
        instants, values = [_NO_INSTANT], [_NO_VALUES[kind]]
        for grid in self.grids(kind, currency, first, last):
            if number < grid.height:
                instants.append(grid.labels)
                values.append(grid.values[number])
        at, found = np.concatenate(instants), np.concatenate(values)
        start, end = np.searchsorted(at, (first, last + 1)).tolist()
        return at[start:end], found[start:end]

    def prefetch(self, *kinds: str) -> None:
        """Bring the files of some kinds, such as ``charts``, before anybody asks for them."""
        for name, entry in self.manifest.files.items():
            if name.partition("/")[0] in kinds:
                self._files.path(entry)

    def _path(self, name: str) -> Path:
        entry = self.manifest.files.get(name)
        if entry is None:
            raise TerminalError(f"Version {self.version} lacks {name}.", REBUILD)
        return self._files.path(entry)

    def _open_grid(self, kind: str, currency: str, period: str) -> Grid:
        return open_grid(self._path(grid_name(kind, currency, period)))

    def _open_table(self, name: str) -> pa.Table:
        return self._mapped(table_name(name))

    def _mapped(self, name: str) -> pa.Table:
        """A table in a file that is mapped into memory."""
        return pa.ipc.open_file(pa.memory_map(str(self._path(name)))).read_all()


def _bounds(held: Named) -> tuple[int, int, str]:
    """First instant of the period of a grid, and the first one after it."""
    is_day = held.kind == "intraday"
    first = datetime.strptime(held.period, "%Y-%m-%d" if is_day else "%Y-%m").replace(tzinfo=UTC)
    after = first + timedelta(days=1) if is_day else (first + timedelta(days=32)).replace(day=1)
    return round(first.timestamp() * 1_000), round(after.timestamp() * 1_000), held.period


def _settle() -> None:
    """Free the version of before now, and keep the collector from walking through the new one again and again: a pause
    of it is one of every reader.
    """
    gc.unfreeze()
    gc.collect()
    gc.freeze()
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc keeps what a version needed while it was opened
    if trim:
        trim(0)


View = TypeVar("View")


class Follower(Generic[View]):
    """The newest version as its reader sees it; a newer one replaces it as a whole, when it is ready.

    Args:
        files: where versions come from.
        make: makes the reader's view of a version; what it needs at once is brought here.
        poll_seconds: between two looks.
        beside: what else is looked for each time.
    """

    def __init__(
        self,
        files: Files,
        make: Callable[[Bundle], View],
        poll_seconds: float,
        beside: Sequence[Callable[[], None]] = (),
    ) -> None:
        self._files, self._make, self._poll_seconds, self._beside = files, make, poll_seconds, beside
        self._held: tuple[Bundle, View] | None = None
        self._fault: str | None = None
        self._is_unsettled = False
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    @property
    def view(self) -> View | None:
        """The view of the newest version that could be read, or None before the first."""
        held = self._held
        return held[1] if held else None

    @property
    def fault(self) -> str | None:
        """Why the last look brought no version, or None when it was well."""
        return self._fault

    def look(self) -> bool:
        """Take the newest version; whether it is another one. A fault leaves the version of before in place."""
        try:
            for look in self._beside:
                look()
            is_new = self._take_newer()
        except Exception as error:  # whatever is wrong with it, the version of before answers, and looks go on
            if self._fault != str(error):
                known = isinstance(error, CoinbeamError)
                logger.warning("The bundle cannot be read: %s", error, exc_info=None if known else error)
            self._fault = str(error)
            return False
        if is_new or self._is_unsettled:
            _settle()
            self._is_unsettled = is_new  # calls under way may still hold the version of before: once more, next time
        self._fault = None
        return is_new

    def _take_newer(self) -> bool:
        """Swap the version where there is a newer one; whether there was."""
        held = self._held
        manifest = self._files.manifest(held[0].manifest if held else None)
        if held and manifest is held[0].manifest:
            return False
        bundle = Bundle(manifest, self._files)
        self._held = bundle, self._make(bundle)
        self._files.drop_unused(manifest)
        return True

    def start(self) -> None:
        """Look now, and again and again in the background."""
        self.look()
        self._thread = threading.Thread(target=self._follow, name="bundle", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """End the background."""
        self._stop.set()
        if self._thread:
            self._thread.join()

    def _follow(self) -> None:
        while not self._stop.wait(self._poll_seconds):
            self.look()
