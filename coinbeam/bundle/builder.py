"""Builds the next version of the bundle: reads what refreshes touched since the last one, writes it, switches to it.

Files are written first, the manifest after them and the pointer last, so that a build that was cut short leaves
readers where they were. A file is named after its content, so that building again is safe.
"""

import io
import logging
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from datetime import time as midnight

import numpy as np
import orjson
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from coinbeam.bundle import grid as grids
from coinbeam.bundle.layout import CHART, INDICATORS, columns_of
from coinbeam.bundle.manifest import (
    ASSETS,
    POINTER,
    RATES,
    STATUS,
    Entry,
    Manifest,
    Pointer,
    folder,
    grid_name,
    grids_of,
    manifest_path,
    markets_name,
    month,
    read_manifest,
    read_pointer,
    snapshots_of,
    sparklines_name,
    table_name,
    unreferenced,
    version_name,
)
from coinbeam.bundle.source import INTRADAY, TABLES, Source, Taken, first_touched, instants_of
from coinbeam.clock import Clock, utc_now
from coinbeam.errors import TerminalError
from coinbeam.landing.bucket import Bucket
from coinbeam.warehouse.client import Warehouse

logger = logging.getLogger("coinbeam.bundle")

_DAY_MILLIS = 86_400_000
_PARALLEL = 5


@dataclass(frozen=True)
class Built:
    """What a build did.

    Attributes:
        written: files that it wrote; the rest is what older versions wrote.
        size: their bytes.
        total: all bytes of the version.
    """

    version: str
    batch_id: str
    written: int
    size: int
    total: int
    seconds: float


class Builder:
    """Makes versions of the bundle of one environment.

    Args:
        source: what they are made of; read from the warehouse and the bucket when left out.
    """

    def __init__(
        self, warehouse: Warehouse, bucket: Bucket, clock: Clock = utc_now, source: Source | None = None
    ) -> None:
        self._bucket, self._clock = bucket, clock
        self._keep = warehouse.settings.serving.keep_versions
        self._source = source or Source(warehouse, bucket, clock)

    def build(self, *, rebuild: bool = False) -> Built | None:
        """Bring the bundle in step with the marts; None when it is.

        Args:
            rebuild: take nothing of older versions.

        Raises:
            WriteConflictError: another build was faster; nothing was switched.
            TerminalError: the warehouse or the bucket refuses.
            TransientError: one of them does not answer.
        """
        started = time.monotonic()
        pointer, generation = self._pointer()
        before = None if rebuild or pointer is None else self._manifest(pointer.manifest)
        taken = self._source.taken_since(before.refreshed_at if before else None)
        if not taken:
            return None
        version = version_name(taken[-1].refreshed_at)
        files = _Files(self._bucket, folder(version), dict(before.files) if before else {})
        self._fill(files, taken)
        manifest = Manifest(
            version=version,
            refreshed_at=taken[-1].refreshed_at,
            built_at=self._clock(),
            batch_id=taken[-1].batch_id,
            files=dict(sorted(files.entries.items())),
        )
        self._switch(manifest, pointer, generation)
        total = sum(entry.size for entry in manifest.files.values())
        return Built(version, manifest.batch_id, files.written, files.size, total, round(time.monotonic() - started, 3))

    def _pointer(self) -> tuple[Pointer | None, int]:
        text, generation = self._bucket.read_versioned(POINTER)
        return (None if text is None else read_pointer(text)), generation

    def _manifest(self, entry: Entry) -> Manifest | None:
        """An older manifest; None when nothing can be built upon it."""
        data = self._bucket.read_bytes(entry.path)
        try:
            return None if data is None else read_manifest(entry, data)
        except TerminalError as error:
            logger.warning("%s The bundle is built from nothing.", error.message)
            return None

    def _fill(self, files: "_Files", taken: Sequence[Taken]) -> None:
        assets = _Assets(files)
        first, last = first_touched(taken), self._source.last_day()
        if first and last:
            for start, end in _months(first, last):
                self._fill_month(files, assets, start, end)
        newest: dict[str, pa.Table] = {}
        for day, instants in sorted(instants_of(taken).items()):
            newest |= self._fill_day(files, assets, day, instants)
        for currency, snapshot in newest.items():
            self._fill_sparklines(files, assets, currency, snapshot)
        with ThreadPoolExecutor(_PARALLEL, thread_name_prefix="bundle") as pool:  # each mostly waits for its answer
            for name, table in zip(TABLES, pool.map(lambda name: self._source.table(name, last), TABLES), strict=True):
                files.put(table_name(name), grids.table_to_ipc(table))
        files.put(STATUS, orjson.dumps(self._source.status(), option=orjson.OPT_UTC_Z))
        assets.write(files)

    def _fill_month(self, files: "_Files", assets: "_Assets", first: date, last: date) -> None:
        """The days of one month, from the first touched one on."""
        rows = self._source.days(first, last)
        touched = _millis(first), _millis(last)
        for kind, names in (("charts", CHART), ("indicators", INDICATORS)):
            for currency in files.currencies(kind, month(first)) | set(pc.unique(rows["quote_currency"]).to_pylist()):
                chosen = rows.filter(pc.equal(rows["quote_currency"], currency))
                name, columns = grid_name(kind, currency, month(first)), columns_of(names)
                numbers, before = assets.numbers(chosen["asset_id"]), files.grid(name)
                at = np.asarray(chosen["date"].cast(pa.int32())).astype(np.int64) * _DAY_MILLIS
                kept = [i for i in (before.instants if before else ()) if not touched[0] <= i <= touched[1]]
                instants = sorted({*kept, *np.unique(at).tolist()})
                if not instants:
                    files.entries.pop(name, None)
                    continue
                grid = grids.extended(before, columns, instants, assets.height)
                grids.blank(grid, *touched)
                grids.fill(grid, columns, numbers, at, chosen)
                files.put(name, grid.to_ipc())

    def _fill_day(self, files: "_Files", assets: "_Assets", day: date, instants: set[datetime]) -> dict[str, pa.Table]:
        """The snapshots of one day; returns those among them that are the newest of their currency."""
        rows, rates, newest = self._source.snapshots(day, instants), self._source.rates(day, instants), {}
        known = {c for c, found in files.snapshots.items() if found & instants}
        for currency in sorted(known | set(pc.unique(rows["quote_currency"]).to_pylist())):
            chosen = rows.filter(pc.equal(rows["quote_currency"], currency))
            for instant in sorted(instants):
                at = pa.scalar(instant, pa.timestamp("us", tz="UTC"))
                snapshot = chosen.filter(pc.equal(chosen["snapshot_at"], at))
                if found := rates.get(instant):
                    snapshot = snapshot.replace_schema_metadata({RATES: orjson.dumps(found)})
                files.put_snapshot(currency, instant, snapshot)
                if snapshot.num_rows and instant == max(files.snapshots[currency]):
                    newest[currency] = snapshot
            self._fill_intraday(files, assets, day, currency, chosen)
        return newest

    def _fill_intraday(self, files: "_Files", assets: "_Assets", day: date, currency: str, chosen: pa.Table) -> None:
        name, columns = grid_name("intraday", currency, f"{day:%Y-%m-%d}"), columns_of(INTRADAY)
        held = sorted(_millis(at) for at in files.snapshots.get(currency, ()) if at.date() == day)
        if not held:
            files.entries.pop(name, None)
            return
        numbers = assets.numbers(chosen["asset_id"])
        grid = grids.extended(files.grid(name), columns, held, assets.height)
        at = np.asarray(chosen["snapshot_at"].cast(pa.int64())) // 1_000
        for instant in np.unique(at).tolist():
            grids.blank(grid, instant, instant)
        values = pa.table({own: chosen[theirs] for own, theirs in INTRADAY.items()})
        grids.fill(grid, columns, numbers, at, values)
        files.put(name, grid.to_ipc())

    def _fill_sparklines(self, files: "_Files", assets: "_Assets", currency: str, snapshot: pa.Table) -> None:
        found = self._source.sparklines(snapshot)
        ids = sorted(found)
        made = pa.table(
            {
                "asset": assets.numbers(pa.chunked_array([ids], pa.string())).astype(np.int32),
                "price": pa.array([found[asset_id] for asset_id in ids], pa.list_(pa.float64())),
            }
        )
        files.put(sparklines_name(currency), grids.table_to_ipc(made))

    def _switch(self, manifest: Manifest, pointer: Pointer | None, generation: int) -> None:
        """Make a version the one that readers take, and delete what is too old.

        Deleted is what the pointer of before no longer needs, before it is replaced: a build that is cut short between
        the two deletes it again the next time.
        """
        older = [pointer.manifest, *pointer.older] if pointer else []
        kept, dropped = older[: self._keep - 1], older[self._keep - 1 :]
        data = manifest.model_dump_json().encode()
        entry = Entry.of(manifest_path(manifest.version, data), data)
        self._bucket.write_new(entry.path, data, "application/json")
        self._prune(dropped, kept)
        made = Pointer(version=manifest.version, manifest=entry, older=tuple(kept))
        self._bucket.replace_text(POINTER, made.model_dump_json(), generation)

    def _prune(self, dropped: Sequence[Entry], kept: Sequence[Entry]) -> None:
        """Delete what only dropped versions need. A file that a version no longer needs never comes back, so the oldest
        kept version says for all of them what is still needed.
        """
        oldest = self._manifest(kept[-1]) if kept else None
        gone = [manifest for manifest in map(self._manifest, dropped) if manifest]
        if oldest is None:
            return
        for path in [*unreferenced(gone, [oldest]), *(entry.path for entry in dropped)]:
            self._bucket.delete(path)


class _Files:
    """The files of a version while it is made, beginning with those of the version before."""

    def __init__(self, bucket: Bucket, path: str, entries: dict[str, Entry]) -> None:
        self._bucket, self._path = bucket, path
        self.entries = entries
        self.written, self.size = 0, 0
        self.snapshots = {currency: set(instants) for currency, instants in snapshots_of(entries).items()}

    def put(self, name: str, data: bytes | pa.Buffer) -> None:
        """Write a file, unless the version before has the same."""
        content = bytes(data)
        entry = Entry.of(f"{self._path}/{name}", content)
        before = self.entries.get(name)
        if before and before.sha256 == entry.sha256:
            return
        stem, _, ending = entry.path.rpartition(".")
        entry = entry.model_copy(update={"path": f"{stem}.{entry.sha256[:12]}.{ending}"})
        self._bucket.write_new(entry.path, content)
        self.entries[name] = entry
        self.written, self.size = self.written + 1, self.size + entry.size

    def put_snapshot(self, currency: str, instant: datetime, snapshot: pa.Table) -> None:
        """Write a snapshot, or forget it when nothing of it is left."""
        name, held = markets_name(currency, instant), self.snapshots.setdefault(currency, set())
        if snapshot.num_rows:
            self.put(name, _parquet(snapshot))
            held.add(instant)
        else:
            self.entries.pop(name, None)
            held.discard(instant)

    def currencies(self, kind: str, period: str) -> set[str]:
        """The quote currencies that have a grid of a period."""
        return {held.currency for held in grids_of(self.entries) if (held.kind, held.period) == (kind, period)}

    def read(self, name: str) -> bytes | None:
        """A file of the version before.

        Raises:
            TerminalError: it is gone.
        """
        entry = self.entries.get(name)
        if entry is None:
            return None
        data = self._bucket.read_bytes(entry.path)
        if data is None:
            raise TerminalError(f"{entry.path} is gone.", "Build it anew: `coinbeam bundle --rebuild`.")
        return data

    def grid(self, name: str) -> grids.Grid | None:
        """A grid of the version before."""
        data = self.read(name)
        return None if data is None else grids.open_grid(data)


class _Assets:
    """The numbers of the assets: those of before, and new ones after them."""

    def __init__(self, files: _Files) -> None:
        data = files.read(ASSETS)
        self._ids = [] if data is None else pa.ipc.open_file(data).read_all()["asset_id"].to_pylist()
        self._known = pa.array(self._ids, pa.string())

    @property
    def height(self) -> int:
        """How many there are."""
        return len(self._known)

    def numbers(self, ids: pa.ChunkedArray) -> grids.Matrix:
        """The number of each id; an id that has none takes the next ones."""
        new = sorted(set(pc.unique(ids).to_pylist()) - set(self._known.to_pylist()))
        if new:
            self._known = pa.concat_arrays([self._known, pa.array(new, pa.string())])
        return np.asarray(pc.index_in(ids, self._known)).astype(np.int64)

    def write(self, files: _Files) -> None:
        """Write them."""
        files.put(ASSETS, grids.table_to_ipc(pa.table({"asset_id": self._known})))


def _months(first: date, last: date) -> Iterator[tuple[date, date]]:
    """The months from a day on, each from its first touched day to its last day."""
    while first <= last:
        following = (first.replace(day=1) + timedelta(days=32)).replace(day=1)
        yield first, following - timedelta(days=1)
        first = following


def _millis(moment: date) -> int:
    """Milliseconds since the epoch of an instant, or of the beginning of a day."""
    instant = moment if isinstance(moment, datetime) else datetime.combine(moment, midnight(), UTC)
    return round(instant.timestamp() * 1_000)


def _parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue()
