"""The columnar transform beside what a user would pick instead: ``python -m benchmarks.columnar`` (``make bench``).

Each contender reads the same pages in a process of its own, pinned to one core, and writes CSV files and rejects. The
table shows CPU seconds of the whole process, start-up included, so that a busy machine changes little; results must
agree before any figure is shown.
"""

import argparse
import hashlib
import json
import os
import subprocess
import sys
import tempfile
from collections import Counter
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import duckdb
from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.contenders import NAMES
from benchmarks.pages import ROWS_PER_PAGE, snapshots
from benchmarks.strict_sql import SQL_TYPES
from coinbeam.contracts import load_contract
from coinbeam.settings import ROOT, STATE

TITLES = {
    "plain": "the kernel in a plain loop",
    "beam": "Coinbeam (Beam, one element a snapshot)",
    "strict": "DuckDB, strict SQL",
    "tolerant": "DuckDB, bad rows kept apart",
    "rows": "Beam, a row at a time",
}
_MEBIBYTE = 1_024  # ru_maxrss counts KiB
_PLAIN_WIDTH = 140
_TOLERANCE = 1e-9  # of sums: the order of additions differs


@dataclass(frozen=True)
class Measurement:
    """One run of one contender.

    Attributes:
        name: the contender.
        pages: pages read.
        rows: elements of those pages.
        cpu_seconds: user and system time of its process.
        wall_seconds: elapsed time.
        peak_mib: largest resident set.
    """

    name: str
    pages: int
    rows: int
    cpu_seconds: float
    wall_seconds: float
    peak_mib: float

    @property
    def rows_per_cpu_second(self) -> float:
        """Speed, start-up included."""
        return self.rows / self.cpu_seconds


@dataclass(frozen=True)
class Outcome:
    """What a contender wrote: equal for all of them, sums up to the order of additions.

    Attributes:
        rows_valid: rows of the CSV files.
        fingerprint: exclusive or of a hash of each row's asset, batch, price bits and instant.
        sums: of price, both volatilities and rank.
        rejects: refused rows by reason.
    """

    rows_valid: int
    fingerprint: int
    sums: tuple[float, ...]
    rejects: dict[str, int]

    def agrees_with(self, other: "Outcome") -> bool:
        """Whether both say the same."""
        same = (self.rows_valid, self.fingerprint, self.rejects) == (other.rows_valid, other.fingerprint, other.rejects)
        return same and all(
            abs(a - b) <= _TOLERANCE * max(abs(a), abs(b)) for a, b in zip(self.sums, other.sums, strict=True)
        )


@dataclass(frozen=True)
class Target:
    """A bound that the transform must keep."""

    text: str
    value: float
    bound: float
    at_most: bool

    @property
    def met(self) -> bool:
        """Whether it is kept."""
        return self.value <= self.bound if self.at_most else self.value >= self.bound


def main(argv: list[str] | None = None) -> int:
    """Measure, compare, print; 0 when all contenders agree, whatever the figures."""
    arguments = _arguments(argv)
    console = Console(stderr=arguments.json, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    console.print(
        f"Pages under {arguments.folder}: {arguments.pages} of {ROWS_PER_PAGE} coins each; made now unless they are "
        "there."
    )
    for pages in {arguments.pages, arguments.row_pages}:
        snapshots(arguments.folder, pages)
    measured, outcomes = {}, {}
    for name in arguments.contenders:
        pages = arguments.row_pages if name == "rows" else arguments.pages
        with tempfile.TemporaryDirectory(dir=arguments.folder) as output:
            console.print(f"Running: {TITLES[name]} ...")
            measured[name] = measure(name, pages, arguments.folder, Path(output), arguments.core)
            outcomes[name] = (pages, read_outcome(Path(output)), csv_digest(Path(output)))
    startup = _startup(arguments) if arguments.row_pages != arguments.pages else {}
    faults = disagreements(outcomes)
    targets = judge(measured, startup)
    if arguments.json:
        print(json.dumps(_report(measured, targets, startup, faults), indent=2))
    else:
        _print(console, measured, targets, faults)
    return 1 if faults else 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--pages", type=int, default=4_000, help="pages of 250 coins with sparklines (default: 4000, 4.3 GB on disk)"
    )
    parser.add_argument(
        "--row-pages",
        type=int,
        help="pages of the row-at-a-time version, which is slow and large; compared per row, less start-up",
    )
    parser.add_argument("--folder", type=Path, default=STATE / "bench", help="where pages are kept between runs")
    parser.add_argument(
        "--core", type=int, default=min(os.sched_getaffinity(0)), help="the one core that everything runs on"
    )
    parser.add_argument("--contenders", nargs="+", choices=NAMES, default=list(NAMES))
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the table")
    arguments = parser.parse_args(argv)
    arguments.row_pages = arguments.row_pages or arguments.pages
    arguments.folder = arguments.folder.resolve()
    return arguments


def measure(name: str, pages: int, folder: Path, output: Path, core: int) -> Measurement:
    """Run one contender to its end.

    Raises:
        RuntimeError: it failed; its last lines are in the message.
    """
    command = [
        "benchmarks.contenders",
        name,
        "--folder",
        str(folder),
        "--pages",
        str(pages),
        "--output",
        str(output),
        "--core",
        str(core),
    ]
    return run_measured(name, pages, pages * ROWS_PER_PAGE, command)


def run_measured(name: str, pages: int, rows: int, command: list[str]) -> Measurement:
    """Run a module with its arguments in a process of its own, to its end.

    Args:
        name: the contender.
        pages: bodies that it reads.
        rows: what they hold.
        command: module and arguments.

    Raises:
        RuntimeError: it failed; its last lines are in the message.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.launcher", *command], capture_output=True, text=True, cwd=ROOT, check=False
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed: {done.stderr[-2_000:]}")
    used = json.loads(done.stdout)
    return Measurement(name, pages, rows, used["cpu"], used["wall"], used["peak_kib"] / _MEBIBYTE)


def read_outcome(output: Path) -> Outcome:
    """What the CSV files and rejects in a folder say."""
    columns = load_contract("crypto_market_snapshot_fact").file_columns
    has_header = (
        next(iter(sorted(output.glob("crypto*.csv")))).open("rb").read(10).startswith((b'"asset_id"', b"asset_id"))
    )
    types = ", ".join(f"'{c.name}': '{SQL_TYPES.get(c.type, c.type)}'" for c in columns)
    query = f"""
        SELECT count(*), bit_xor(hash(asset_id, batch_id, current_price, epoch_us(observed_at))), sum(current_price),
               sum(volatility_7d), sum(realized_volatility_7d), sum(market_cap_rank)
        FROM read_csv('{output}/crypto*.csv', header = {has_header}, auto_detect = false, delim = ',', quote = '"', columns = {{{types}}})
    """
    [(rows, fingerprint, *sums)] = duckdb.connect().execute(query).fetchall()
    return Outcome(rows, fingerprint, tuple(map(float, sums)), _rejects(output))


def _rejects(output: Path) -> dict[str, int]:
    """Refused rows by reason, from the rejects where there are any, else from the counts of strict SQL."""
    reasons: Counter[str] = Counter()
    for path in output.glob("rejected*.ndjson*"):
        reasons.update(json.loads(line)["reason"] for line in path.open(encoding="utf-8"))
    if not reasons:
        for path in output.glob("fates_*.csv"):
            fates = (line.strip().split(",") for line in path.open(encoding="utf-8"))
            reasons.update({fate: int(count) for fate, count in fates if fate not in {"fate", "accepted", "unpriced"}})
    return dict(sorted(reasons.items()))


def csv_digest(output: Path) -> str:
    """SHA-256 of all batch files, in order."""
    digest = hashlib.sha256()
    for path in sorted(output.glob("crypto*.csv")):
        digest.update(path.read_bytes())
    return digest.hexdigest()


def disagreements(outcomes: dict[str, tuple[int, Outcome, str]]) -> list[str]:
    """Which contenders did other work than the first one over as many pages; empty when the comparison is fair."""
    faults = []
    for name, (pages, outcome, digest) in outcomes.items():
        first, reference, reference_digest = next((n, o, d) for n, (p, o, d) in outcomes.items() if p == pages)
        if not outcome.agrees_with(reference):
            faults.append(f"{TITLES[name]} differs from {TITLES[first]}: {outcome} against {reference}")
        if name == "beam" and first == "plain" and digest != reference_digest:
            faults.append("Beam and the plain loop wrote different bytes")
    return faults


def _startup(arguments: argparse.Namespace) -> dict[str, Measurement]:
    """What Beam's two contenders cost over one page: nearly all start-up."""
    snapshots(arguments.folder, 1)
    found = {}
    for name in {"beam", "rows"} & set(arguments.contenders):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as output:
            found[name] = measure(name, 1, arguments.folder, Path(output), arguments.core)
    return found


def judge(measured: dict[str, Measurement], startup: dict[str, Measurement]) -> list[Target]:
    """The targets whose contenders ran."""
    if "beam" not in measured:
        return []
    beam = measured["beam"]
    targets = [Target("peak memory of Beam, MiB", beam.peak_mib, 300, at_most=True)]
    bounds = (("plain", "CPU over the plain loop", 1.15), ("strict", "CPU over DuckDB strict", 1.0))
    targets += [
        Target(text, beam.cpu_seconds / measured[name].cpu_seconds, bound, at_most=True)
        for name, text, bound in bounds
        if name in measured
    ]
    if "tolerant" in measured:
        targets.append(
            Target(
                "times faster than DuckDB tolerant",
                measured["tolerant"].cpu_seconds / beam.cpu_seconds,
                2.5,
                at_most=False,
            )
        )
    if "rows" in measured:
        ratio = _seconds_per_row(measured["rows"], startup) / _seconds_per_row(beam, startup)
        text = "times faster than row at a time" + (" (per row, less start-up)" if startup else "")
        targets.append(Target(text, ratio, 7, at_most=False))
    return targets


def _seconds_per_row(measurement: Measurement, startup: dict[str, Measurement]) -> float:
    """CPU seconds of a row; less start-up where one was measured, since the numbers of rows then differ."""
    start = startup.get(measurement.name)
    if start is None or start.rows >= measurement.rows:
        return measurement.cpu_seconds / measurement.rows
    return (measurement.cpu_seconds - start.cpu_seconds) / (measurement.rows - start.rows)


def _report(
    measured: dict[str, Measurement], targets: list[Target], startup: dict[str, Measurement], faults: list[str]
) -> dict[str, Any]:
    return {
        "contenders": [asdict(m) | {"rows_per_cpu_second": m.rows_per_cpu_second} for m in measured.values()],
        "startup": [asdict(m) for m in startup.values()],
        "targets": [asdict(target) | {"met": target.met} for target in targets],
        "disagreements": faults,
    }


def _print(console: Console, measured: dict[str, Measurement], targets: list[Target], faults: list[str]) -> None:
    style = box.SIMPLE_HEAD if console.is_terminal else None
    table = Table("contender", "rows", "CPU s", "wall s", "rows/CPU s", "peak MiB", "CPU over Coinbeam", box=style)
    for m in measured.values():
        over = (
            f"{m.cpu_seconds / m.rows / (measured['beam'].cpu_seconds / measured['beam'].rows):.2f}"
            if "beam" in measured
            else "-"
        )
        figures = (
            f"{m.rows:,}",
            f"{m.cpu_seconds:.1f}",
            f"{m.wall_seconds:.1f}",
            f"{m.rows_per_cpu_second:,.0f}",
            f"{m.peak_mib:.0f}",
            over,
        )
        table.add_row(TITLES[m.name], *figures)
    console.print(table)
    for target in targets:
        sign = "at most" if target.at_most else "at least"
        console.print(
            f"{'met    ' if target.met else 'NOT MET'} {target.text}: {target.value:.2f} ({sign} {target.bound:g})"
        )
    for fault in faults:
        console.print(f"DISAGREEMENT: {fault}")
    console.print(
        "All contenders agree on rows, rejects and sums." if not faults else "The figures above compare different work."
    )


if __name__ == "__main__":
    sys.exit(main())
