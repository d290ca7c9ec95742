"""One more hour, whatever is there already: ``python -m benchmarks.growth --plot docs/growth.svg`` (part of ``make
bench``).

The local warehouse is filled to so many hours of 250 assets; then single hours are added as the DAG adds them (staging,
publish, refresh of the marts) and measured, apart for hours within a day and for the first of a new day, on which all
daily figures are computed. The contender does what pipelines commonly do for a new hour: it reads and computes its
history again (:mod:`benchmarks.rebuilding`). CPU seconds are those of the emulator and of this process; for the
contender those of its own process less the start of the interpreter.
"""

import argparse
import io
import json
import re
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from statistics import median

import psutil
import pyarrow.parquet as pq
from google.cloud import bigquery
from rich.console import Console
from rich.table import Table

from benchmarks.columnar import run_measured
from benchmarks.hours import asset_ids, instant, months, snapshots
from benchmarks.rebuilding import COLUMNS, STORES, TABLE
from coinbeam.batch.kinds import SNAPSHOTS, Batch
from coinbeam.batch.tables import ASSETS, DATES, REJECTS, SNAPSHOT_FACT
from coinbeam.contracts import load_contract
from coinbeam.contracts.arrow import csv_block, csv_header
from coinbeam.contracts.bigquery import schema
from coinbeam.marts.refresh import Marts
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.publish import publish_script, rejects_script
from coinbeam.warehouse.schema import ensure_schema
from coinbeam.warehouse.staging import StagingTables, merge_rows
from tests.temporary import temporary_cloud

HOURS_A_DAY = 24
MOST_GROWTH = 1.5
"""What an added hour may cost at the largest size, over its cost at the smallest."""

MOST_MIB = 1_024
"""What the emulator may hold while hours are added."""

TITLES = {"files": "rebuilt from batch files (pandas)", "table": "rebuilt from one table (pandas)"}
_PLAIN_WIDTH = 160
_AGREEMENT = 1e-9  # pandas' rolling windows add and subtract, which costs it some digits
_COMPARED = ("sma_7d", "sma_30d", "volatility_7d", "volatility_30d", "rsi_14d", "drawdown_percentage")


@dataclass(frozen=True)
class Cost:
    """What one added hour cost.

    Attributes:
        cpu_seconds: user and system time of emulator and benchmark.
        wall_seconds: elapsed time.
    """

    cpu_seconds: float
    wall_seconds: float


@dataclass
class Size:
    """The figures of one size of the warehouse: medians over the hours added there.

    Attributes:
        hours: hours that are there.
        rows: snapshot rows that are there.
        within_day: cost of an hour that starts no day.
        new_day: cost of the first hour of a day.
        peak_mib: largest resident set of the emulator while hours were added.
        rebuilding: cost of one hour to the contender, by how it stores its history, where it ran.
    """

    hours: int
    rows: int
    within_day: Cost
    new_day: Cost
    peak_mib: float
    rebuilding: dict[str, Cost] = field(default_factory=dict)


@dataclass
class Growing:
    """The warehouse that grows.

    Attributes:
        warehouse: of a local cloud of its own.
        emulator: its process.
        assets: assets of every hour.
        hours: hours that are there.
    """

    warehouse: Warehouse
    emulator: psutil.Process
    assets: int
    hours: int = 0
    peak_mib: float = field(default=0.0)

    @property
    def marts(self) -> Marts:
        """Its marts."""
        return Marts(self.warehouse, self.warehouse.settings)

    def fill(self, hours: int) -> None:
        """Bring it to so many hours by load jobs of a month each, and its marts up to date; not measured."""
        contract = load_contract(SNAPSHOT_FACT)
        for first, last in months(self.hours, hours):
            body = csv_header(contract.columns) + csv_block(snapshots(first, last, self.assets, f"fill-{first}"))
            config = bigquery.LoadJobConfig(
                source_format=bigquery.SourceFormat.CSV,
                skip_leading_rows=1,
                schema=schema(contract.columns),
                write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
            )
            name = f"{self.warehouse.settings.google.project}.{self.warehouse.table(contract)}"
            self.warehouse.client.load_table_from_file(io.BytesIO(body), name, job_config=config).result(retry=None)
            dates = {"first_date": f"{instant(first):%Y-%m-%d}", "last_date": f"{instant(last - 1):%Y-%m-%d}"}
            queued = {
                "batch_id": f"fill-{first}",
                "table_name": SNAPSHOT_FACT,
                "rows_published": (last - first) * self.assets,
                **dates,
            }
            merge_rows(
                self.warehouse,
                load_contract("publication"),
                [{**queued, "published_at": datetime.now(UTC).isoformat()}],
            )
        if self.hours < hours:
            self.hours = hours
            self.marts.refresh()

    def add_hour(self) -> Cost:
        """Add the next hour as the DAG does, and measure it."""
        with measured(self.emulator) as costs:
            self._publish_hour()
            self.marts.refresh()
        self.hours += 1
        return costs[0]

    def _publish_hour(self) -> None:
        at = instant(self.hours)
        batch = Batch(SNAPSHOTS, f"{at:%Y%m%dT%H%MZ}-usd-top-{self.assets}", "growth", at, at.date(), at.date())
        staging = StagingTables(self.warehouse.settings, batch)
        contracts = [load_contract(name) for name in SNAPSHOTS.staged]
        staging.create(self.warehouse, contracts)
        rows = snapshots(self.hours, self.hours + 1, self.assets, batch.batch_id).to_pylist()
        listed = {"status": "active", "source_id": "coingecko_simulator", "batch_id": batch.batch_id}
        self._append(staging.name(load_contract(SNAPSHOT_FACT)), rows)
        self._append(
            staging.name(load_contract(ASSETS)), [{"asset_id": name, **listed} for name in asset_ids(self.assets)]
        )
        self._append(staging.name(load_contract(DATES)), [_calendar_day(at)])
        self.warehouse.query(rejects_script(self.warehouse, batch))
        self.warehouse.query(publish_script(self.warehouse, batch, {}))
        staging.drop(self.warehouse, [*contracts, load_contract(REJECTS)])

    def _append(self, table: str, rows: list[dict[str, object]]) -> None:
        self.warehouse.append(table, "\n".join(json.dumps(row, default=str) for row in rows).encode())

    def last_day(self) -> dict[str, dict[str, float]]:
        """Figures of the newest day by asset."""
        day = f"DATE '{instant(self.hours - 1):%Y-%m-%d}'"
        name = self.warehouse.names()["market_daily"]
        found = self.warehouse.rows(f"SELECT asset_id, {', '.join(_COMPARED)} FROM {name} WHERE date = {day}")
        return {row.pop("asset_id"): row for row in found}


def _calendar_day(at: datetime) -> dict[str, object]:
    """The row of ``date_dim`` of a day."""
    year, week, weekday = at.isocalendar()
    return {
        "date": f"{at:%Y-%m-%d}",
        "year": at.year,
        "quarter": (at.month + 2) // 3,
        "month": at.month,
        "month_name": f"{at:%B}",
        "day": at.day,
        "day_of_year": at.timetuple().tm_yday,
        "iso_year": year,
        "iso_week": week,
        "iso_weekday": weekday,
        "day_name": f"{at:%A}",
        "is_weekend": weekday > 5,
        "is_month_end": False,
        "days_to_month_end": 0,
    }


@contextmanager
def measured(emulator: psutil.Process) -> Iterator[list[Cost]]:
    """Measure a block; the list holds its cost afterwards."""

    def cpu() -> float:
        times = emulator.cpu_times()
        return times.user + times.system + time.process_time()

    costs: list[Cost] = []
    before, started = cpu(), time.monotonic()
    yield costs
    costs.append(Cost(cpu() - before, time.monotonic() - started))


def reset_peak(process: psutil.Process) -> None:
    """Let the kernel forget the largest resident set of a process."""
    Path(f"/proc/{process.pid}/clear_refs").write_text("5", encoding="ascii")


def peak_mib(process: psutil.Process) -> float:
    """Largest resident set of a process since the last reset."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{process.pid}/status").read_text(encoding="ascii"))
    assert found, "the kernel names the peak of every live process"
    return int(found[1]) / 1_024


def measure(growing: Growing, hours: int, repeats: int) -> Size:
    """Fill to a size, then add hours within a day and first hours of days."""
    growing.fill(hours)
    rows = growing.hours * growing.assets
    if growing.hours % HOURS_A_DAY + repeats + 1 > HOURS_A_DAY or growing.hours % HOURS_A_DAY == 0:
        growing.fill(growing.hours + HOURS_A_DAY - growing.hours % HOURS_A_DAY + 1)
    growing.add_hour()  # the first one after a fill finds cold caches
    reset_peak(growing.emulator)
    within_day = [growing.add_hour() for _ in range(repeats)]
    new_day = []
    for _ in range(repeats):
        growing.fill(-(-growing.hours // HOURS_A_DAY) * HOURS_A_DAY)
        new_day.append(growing.add_hour())
    return Size(hours, rows, _median(within_day), _median(new_day), peak_mib(growing.emulator))


def _median(costs: list[Cost]) -> Cost:
    return Cost(median(cost.cpu_seconds for cost in costs), median(cost.wall_seconds for cost in costs))


def rebuild(folder: Path, hours: int, assets: int, store: str) -> Cost:
    """The contender adds the hour after so many."""
    write_history(folder, hours, assets, store)
    command = ["benchmarks.rebuilding", str(folder), "--assets", str(assets), "--hour", str(hours), "--store", store]
    run = run_measured("rebuilding", hours, hours * assets, command)
    return Cost(run.cpu_seconds, run.wall_seconds)


def write_history(folder: Path, hours: int, assets: int, store: str) -> None:
    """What the contender starts from."""
    folder.mkdir(exist_ok=True)
    if store == "table":
        with pq.ParquetWriter(folder / TABLE, snapshots(0, 1, assets, "").select(COLUMNS).schema) as writer:
            for first, last in months(0, hours):
                writer.write_table(snapshots(first, last, assets, "history").select(COLUMNS))
        return
    header = csv_header(load_contract(SNAPSHOT_FACT).columns)
    for hour in range(hours):
        path = folder / f"crypto_{instant(hour):%Y-%m-%dT%H%M}.csv"
        if not path.exists():
            path.write_bytes(header + csv_block(snapshots(hour, hour + 1, assets, "history")))


def startup() -> Cost:
    """What the contender costs before it does anything: the interpreter and its imports."""
    run = run_measured("rebuilding", 0, 0, ["benchmarks.rebuilding", "--help"])
    return Cost(run.cpu_seconds, run.wall_seconds)


def disagreements(growing: Growing, folder: Path) -> list[str]:
    """Where the newest day of both contenders differs, over the same hours; empty when they did the same work."""
    rebuild(folder, growing.hours - 1, growing.assets, "table")
    table = pq.read_table(folder / "market_daily.parquet", columns=["asset_id", "date", *_COMPARED]).to_pylist()
    newest = max(row["date"] for row in table)
    theirs = {row["asset_id"]: row for row in table if row["date"] == newest}
    ours = growing.last_day()
    faults = [] if set(ours) == set(theirs) else [f"{len(ours)} assets against {len(theirs)}"]
    for asset in sorted(set(ours) & set(theirs)):
        faults += [f"{asset} {name}" for name in _COMPARED if not _agree(ours[asset][name], theirs[asset][name])]
    return faults


def _agree(ours: float | None, theirs: float | None) -> bool:
    if ours is None or theirs is None or theirs != theirs:
        return ours is None and (theirs is None or theirs != theirs)
    return abs(ours - theirs) <= _AGREEMENT * max(1.0, abs(theirs))


def growth(sizes: list[Size]) -> dict[str, float]:
    """Cost at the largest size over that at the smallest, in CPU seconds, for both kinds of hours."""
    first, last = sizes[0], sizes[-1]
    return {
        "within_day": last.within_day.cpu_seconds / first.within_day.cpu_seconds,
        "new_day": last.new_day.cpu_seconds / first.new_day.cpu_seconds,
    }


def plot(sizes: list[Size], path: Path) -> None:
    """Both curves, over the hours that are there."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot as plt

    mpl.rcParams["svg.hashsalt"] = "growth"
    figure, axes = plt.subplots(figsize=(7, 4))
    hours = [size.hours for size in sizes]
    axes.plot(
        hours,
        [size.new_day.cpu_seconds for size in sizes],
        "o-",
        color="#1b7837",
        label="Coinbeam, first hour of a day",
    )
    axes.plot(
        hours, [size.within_day.cpu_seconds for size in sizes], "o-", color="#7fbf7b", label="Coinbeam, any other hour"
    )
    for store, colour in zip(STORES, ("#762a83", "#af8dc3"), strict=True):
        rebuilt = [(size.hours, size.rebuilding[store].cpu_seconds) for size in sizes if store in size.rebuilding]
        axes.plot([hour for hour, _ in rebuilt], [cpu for _, cpu in rebuilt], "s--", color=colour, label=TITLES[store])
    axes.set_xscale("log")
    axes.set_ylim(bottom=0)
    axes.set_xlabel("hours in the warehouse")
    axes.set_ylabel("CPU seconds for one more hour")
    axes.legend()
    axes.grid(alpha=0.3)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)


def main(argv: list[str] | None = None) -> int:
    """Measure, compare, print; 0 when both contenders agree, whatever the figures."""
    arguments = _arguments(argv)
    console = Console(stderr=arguments.json, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        with temporary_cloud(folder / "cloud", coins=1) as cloud:
            warehouse = Warehouse(cloud.settings)
            ensure_schema(warehouse)
            growing = Growing(warehouse, emulator_process(cloud.settings.local.ports.bigquery), arguments.assets)
            sizes = []
            for hours in sorted(arguments.hours):
                console.print(f"{hours:,} hours of {arguments.assets} assets ...")
                sizes.append(measure(growing, hours, arguments.repeats))
                console.print(_line(sizes[-1]), highlight=False)
            faults = disagreements(growing, folder)
        idle = startup()
        bounds = dict(zip(STORES, (arguments.files_up_to, arguments.table_up_to), strict=True))
        for store, size in ((store, size) for store in STORES for size in sizes if size.hours <= bounds[store]):
            cost = rebuild(folder / store, size.hours, arguments.assets, store)
            size.rebuilding[store] = Cost(cost.cpu_seconds - idle.cpu_seconds, cost.wall_seconds - idle.wall_seconds)
            console.print(
                f"  {TITLES[store]}, {size.hours:,} hours: CPU {size.rebuilding[store].cpu_seconds:.2f} s",
                highlight=False,
            )
    if arguments.plot:
        plot(sizes, arguments.plot)
    if arguments.json:
        print(
            json.dumps(
                {"sizes": [asdict(size) for size in sizes], "growth": growth(sizes), "disagreements": faults}, indent=2
            )
        )
    else:
        _print(console, sizes, faults)
    return 1 if faults else 0


def emulator_process(port: int) -> psutil.Process:
    """The process of the BigQuery emulator that serves a port.

    Raises:
        RuntimeError: there is none.
    """
    for process in psutil.process_iter(["cmdline"]):
        line = process.info["cmdline"] or []
        if "local.emulators.bigquery" in line and str(port) in line:
            return process
    raise RuntimeError(f"No emulator serves port {port}; did it die? Look at the log of the local cloud.")


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--hours", type=int, nargs="+", default=[100, 1_000, 5_000, 20_000], help="sizes at which an hour is added"
    )
    parser.add_argument("--assets", type=int, default=250)
    parser.add_argument("--repeats", type=int, default=5, help="hours of each kind measured at each size; at most 20")
    parser.add_argument(
        "--files-up-to", type=int, default=5_000, help="largest size at which the contender reads its batch files"
    )
    parser.add_argument(
        "--table-up-to", type=int, default=20_000, help="largest size at which it reads a table of its own"
    )
    parser.add_argument("--plot", type=Path, help="write the curves to this file (.svg or .png)")
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    return parser.parse_args(argv)


def _line(size: Size) -> str:
    """The figures of a size, told as soon as they are known."""
    costs = f"CPU {size.within_day.cpu_seconds:.2f} s an hour, {size.new_day.cpu_seconds:.2f} s the first hour of a day"
    return f"  {costs}; emulator's peak {size.peak_mib:.0f} MiB"


def _print(console: Console, sizes: list[Size], faults: list[str]) -> None:
    table = Table(
        "hours",
        "rows",
        "CPU s, an hour",
        "wall s",
        "CPU s, a new day",
        "wall s",
        "emulator peak MiB",
        *(f"CPU s, {title}" for title in TITLES.values()),
    )
    for size in sizes:
        costs = [
            f"{value:.2f}"
            for cost in (size.within_day, size.new_day)
            for value in (cost.cpu_seconds, cost.wall_seconds)
        ]
        rebuilt = [f"{size.rebuilding[store].cpu_seconds:.1f}" if store in size.rebuilding else "-" for store in STORES]
        table.add_row(f"{size.hours:,}", f"{size.rows:,}", *costs, f"{size.peak_mib:.0f}", *rebuilt)
    console.print(table)
    for name, ratio in growth(sizes).items():
        verdict = "met    " if ratio <= MOST_GROWTH else "NOT MET"
        console.print(
            f"{verdict} CPU of an added hour ({name}), largest size over smallest: {ratio:.2f} (at most {MOST_GROWTH})"
        )
    peak = max(size.peak_mib for size in sizes)
    console.print(
        f"{'met    ' if peak < MOST_MIB else 'NOT MET'} emulator's memory while hours are added: {peak:.0f} MiB "
        f"(under {MOST_MIB})"
    )
    for fault in faults:
        console.print(f"DISAGREEMENT: {fault}")
    console.print(
        "Both contenders agree on the figures of the newest day."
        if not faults
        else "The figures above compare different work."
    )


if __name__ == "__main__":
    sys.exit(main())
