"""Trades in windows of 60 s beside what a user would pick instead: ``python -m benchmarks.trades`` (``make bench``).

Each contender reads the same landed lines in a process of its own, pinned to one core; ours is the command of
:mod:`beam_pipelines.trade_windows`. The table shows CPU seconds of the whole process, start-up included; results must
agree before any figure is shown. A second table shows what one more minute costs in the warehouse, with few and with
many windows there (:mod:`benchmarks.trade_merges`).
"""

import argparse
import json
import math
import os
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from benchmarks.columnar import Measurement, Target, run_measured
from benchmarks.trade_contenders import FIGURES, NAMES, absent
from benchmarks.trade_lines import SYMBOLS, landed
from benchmarks.trade_merges import Merge, measure_merges
from coinbeam.clock import parse_instant
from coinbeam.settings import STATE

OURS = "beam"
TITLES = {
    OURS: "Coinbeam (Beam, one element a block)",
    "rows": "Beam, one element a trade",
    "spark": "Spark, local[1]",
    "spark_exact": "Spark, local[1], ids once and sums exact",
    "duckdb": "DuckDB",
    "polars": "Polars",
}
LEAST_A_CPU_SECOND, MOST_MB, TIMES_ROWS, TIMES_SPARK, MOST_GROWTH = 250_000, 450, 8, 10, 1.3

Windows = dict[tuple[str, int], tuple[float, ...]]
"""Figures by symbol and begin in milliseconds."""

_EXACT = 6  # prices and counts; the volumes behind them are sums, of which the order differs
_TOLERANCE = 1e-9
_START_UP_TRADES = 100
_MB_OF_MIB = 1.048576
_PLAIN_WIDTH = 140


def main(argv: list[str] | None = None) -> int:
    """Measure, compare, print; 0 when all contenders agree, whatever the figures."""
    arguments = _arguments(argv)
    console = Console(stderr=arguments.json, width=None if sys.stdout.isatty() else _PLAIN_WIDTH)
    file, small = landed(arguments.folder, arguments.trades), landed(arguments.folder, _START_UP_TRADES)
    console.print(
        f"{arguments.trades:,} trades of {len(SYMBOLS)} symbols, {file.stat().st_size / 1e6:.0f} MB of lines."
    )
    measured, outcomes, startup, skipped = {}, {}, {}, {}
    for name in arguments.contenders:
        if reason := absent(name):
            skipped[name] = reason
            console.print(f"Left out: {TITLES[name]}, since {reason}.")
            continue
        console.print(f"Running: {TITLES[name]} ...")
        measured[name], outcomes[name] = run(name, file, arguments.trades, arguments)
        startup[name], _ = run(name, small, _START_UP_TRADES, arguments)
    merges = _merges(arguments, console)
    faults, targets = disagreements(outcomes), judge(measured, startup, merges)
    if arguments.json:
        print(json.dumps(_report(measured, startup, skipped, merges, targets, faults), indent=2))
    else:
        _print(console, measured, startup, merges, targets, faults)
    return 1 if faults else 0


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--trades", type=int, default=1_000_000, help="default: 1000000, 168 MB on disk")
    parser.add_argument(
        "--repeat",
        type=int,
        default=3,
        help="runs of each; the one of the least CPU counts, since a busy machine only adds",
    )
    parser.add_argument(
        "--merge-rows", type=int, nargs="*", default=[100, 500_000], help="rows of the fact at which minutes are added"
    )
    parser.add_argument("--minutes", type=int, default=30, help="minutes added at each size")
    parser.add_argument("--folder", type=Path, default=STATE / "bench", help="where lines are kept between runs")
    parser.add_argument(
        "--core", type=int, default=min(os.sched_getaffinity(0)), help="the one core that everything runs on"
    )
    names = (OURS, *NAMES)
    parser.add_argument("--contenders", nargs="+", choices=names, default=list(names))
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of the tables")
    arguments = parser.parse_args(argv)
    arguments.folder = arguments.folder.resolve()
    return arguments


def run(name: str, file: Path, trades: int, arguments: argparse.Namespace) -> tuple[Measurement, Windows]:
    """The run of a contender that took least CPU, and what it wrote.

    Raises:
        RuntimeError: it failed; its last lines are in the message.
    """
    runs = []
    for _ in range(arguments.repeat):
        with tempfile.TemporaryDirectory(dir=arguments.folder) as output:
            with pinned(arguments.core):
                measurement = run_measured(name, 1, trades, command(name, file, output))
            runs.append((measurement, read_windows(Path(output))))
    return min(runs, key=lambda one: one[0].cpu_seconds)


def command(name: str, file: Path, output: str) -> list[str]:
    """Module and arguments of a contender."""
    if name == OURS:
        return ["beam_pipelines.trade_windows", "--runner=DirectRunner", f"--source={file}", f"--output={output}"]
    return ["benchmarks.trade_contenders", name, str(file), output]


@contextmanager
def pinned(*cores: int) -> Iterator[None]:
    """Let the processes that are started in a block have these cores only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def read_windows(output: Path) -> Windows:
    """What a contender wrote below a folder, of whatever number of files.

    Raises:
        RuntimeError: a window is there twice.
    """
    found: Windows = {}
    for path in (*output.rglob("*windows*.ndjson*"), *output.rglob("part-*.json")):
        for line in path.open(encoding="utf-8"):
            row = json.loads(line)
            key = row["symbol"], _milliseconds(row["window_start"])
            if key in found:
                raise RuntimeError(f"{path} has the window {key} again.")
            found[key] = tuple(row[name] for name in FIGURES)
    return found


def _milliseconds(start: int | str) -> int:
    return start if isinstance(start, int) else round(parse_instant(start).timestamp() * 1_000)


def disagreements(outcomes: dict[str, Windows]) -> list[str]:
    """Which contenders say something else than the first one; empty when the comparison is fair."""
    faults: list[str] = []
    for name, windows in list(outcomes.items())[1:]:
        first, reference = next(iter(outcomes.items()))
        different = [
            key for key in windows.keys() | reference.keys() if not _agree(windows.get(key), reference.get(key))
        ]
        if different:
            key = min(different)
            faults.append(
                f"{TITLES[name]} differs from {TITLES[first]} in {len(different)} windows, like {key}: "
                f"{windows.get(key)} against {reference.get(key)}"
            )
    return faults


def _agree(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    if one is None or other is None or one[:_EXACT] != other[:_EXACT]:
        return False
    return all(math.isclose(a, b, rel_tol=_TOLERANCE) for a, b in zip(one[_EXACT:], other[_EXACT:], strict=True))


def judge(measured: dict[str, Measurement], startup: dict[str, Measurement], merges: list[Merge]) -> list[Target]:
    """The targets whose contenders ran."""
    targets = []
    if OURS in measured:
        ours = measured[OURS]
        targets += [
            Target("trades per CPU second", ours.rows_per_cpu_second, LEAST_A_CPU_SECOND, at_most=False),
            Target("peak memory, MB", ours.peak_mib * _MB_OF_MIB, MOST_MB, at_most=True),
        ]
        if "rows" in measured:
            ratio = _beyond(measured["rows"], startup["rows"]) / _beyond(ours, startup[OURS])
            targets.append(
                Target("times faster than a trade an element, less start-up", ratio, TIMES_ROWS, at_most=False)
            )
        if "spark" in measured:
            ratio = measured["spark"].cpu_seconds / ours.cpu_seconds
            targets.append(Target("times faster than Spark", ratio, TIMES_SPARK, at_most=False))
    if len(merges) > 1:
        growth = merges[-1].wall_ms / merges[0].wall_ms
        text = f"a minute at {merges[-1].rows:,} rows over one at {merges[0].rows:,}"
        targets.append(Target(text, growth, MOST_GROWTH, at_most=True))
    return targets


def _beyond(measurement: Measurement, start: Measurement) -> float:
    """CPU seconds of a trade, less start-up."""
    return (measurement.cpu_seconds - start.cpu_seconds) / (measurement.rows - start.rows)


def _merges(arguments: argparse.Namespace, console: Console) -> list[Merge]:
    if not arguments.merge_rows:
        return []
    console.print("Running: one more minute in the warehouse ...")
    with tempfile.TemporaryDirectory() as folder:
        return measure_merges(Path(folder), arguments.merge_rows, arguments.minutes)


def _report(
    measured: dict[str, Measurement],
    startup: dict[str, Measurement],
    skipped: dict[str, str],
    merges: list[Merge],
    targets: list[Target],
    faults: list[str],
) -> dict[str, Any]:
    return {
        "contenders": [asdict(m) | {"rows_per_cpu_second": m.rows_per_cpu_second} for m in measured.values()],
        "startup": [asdict(m) for m in startup.values()],
        "left_out": skipped,
        "merges": [asdict(merge) for merge in merges],
        "targets": [asdict(target) | {"met": target.met} for target in targets],
        "disagreements": faults,
    }


def _print(
    console: Console,
    measured: dict[str, Measurement],
    startup: dict[str, Measurement],
    merges: list[Merge],
    targets: list[Target],
    faults: list[str],
) -> None:
    style = box.SIMPLE_HEAD if console.is_terminal else None
    heads = (
        "contender",
        "CPU s",
        "of it start-up",
        "wall s",
        "trades/CPU s",
        "peak MB",
        "CPU over Coinbeam",
        "less start-up",
    )
    table = Table(*heads, box=style)
    for m in measured.values():
        ours = measured.get(OURS)
        table.add_row(
            TITLES[m.name].replace("[", r"\["),
            f"{m.cpu_seconds:.2f}",
            f"{startup[m.name].cpu_seconds:.2f}",
            f"{m.wall_seconds:.1f}",
            f"{m.rows_per_cpu_second:,.0f}",
            f"{m.peak_mib * _MB_OF_MIB:.0f}",
            f"{m.cpu_seconds / ours.cpu_seconds:.2f}" if ours else "-",
            f"{_beyond(m, startup[m.name]) / _beyond(ours, startup[OURS]):.2f}" if ours else "-",
        )
    console.print(table)
    if merges:
        table = Table("fact rows", "one more minute, ms", "slowest, ms", "CPU ms", box=style)
        for merge in merges:
            table.add_row(f"{merge.rows:,}", f"{merge.wall_ms:.0f}", f"{merge.slowest_ms:.0f}", f"{merge.cpu_ms:.0f}")
        console.print(table)
    for target in targets:
        sign = "at most" if target.at_most else "at least"
        value = f"{target.value:,.0f}" if target.value >= 100 else f"{target.value:.2f}"
        console.print(f"{'met    ' if target.met else 'NOT MET'} {target.text}: {value} ({sign} {target.bound:,})")
    for fault in faults:
        console.print(f"DISAGREEMENT: {fault}", markup=False)
    console.print(
        "All contenders agree: prices and counts exactly, volumes to 1e-9."
        if not faults
        else "The figures above compare different work."
    )


if __name__ == "__main__":
    sys.exit(main())
