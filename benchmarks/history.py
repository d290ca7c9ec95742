"""The history transform beside a plain loop around the same kernel: ``python -m benchmarks.history``.

Both read the same landed pieces, a calendar year of one asset each, every one in a process of its own that is pinned to
one core, and must write the same bytes. The table shows CPU seconds of the whole process, start-up included; runs over
one piece show what of it is start-up.
"""

import argparse
import hashlib
import json
import os
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from rich.console import Console

from benchmarks.charts import landed_bodies
from benchmarks.columnar import Measurement, Target, run_measured
from benchmarks.history_contenders import CSV, NAMES, REJECTS
from coinbeam.settings import STATE

BOUND = 1.3


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 0 when both wrote the same bytes, whatever the figures."""
    arguments = _arguments(argv)
    console = Console(stderr=arguments.json)
    console.print(
        f"{arguments.assets * arguments.days:,} points: {arguments.assets} assets of {arguments.days} days, landed by "
        "the year."
    )
    landed_bodies(arguments.folder, arguments.assets, arguments.days)
    landed_bodies(arguments.folder, 1, 1)
    runs = [
        {name: _measure(name, arguments.assets, arguments.days, arguments) for name in NAMES}
        for _ in range(arguments.repeat)
    ]
    measured = {name: _least([run[name][0] for run in runs]) for name in NAMES}
    written = {name: {run[name][1] for run in runs} for name in NAMES}
    startup = {name: _least([_measure(name, 1, 1, arguments)[0] for _ in range(arguments.repeat)]) for name in NAMES}
    target = judge(measured)
    same = len(set.union(*written.values())) == 1
    _tell(console, arguments, measured, startup, target, same)
    return 0 if same else 1


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=int, default=250)
    parser.add_argument("--days", type=int, default=4_000, help="days of each asset (default: 4000)")
    parser.add_argument(
        "--repeat",
        type=int,
        default=3,
        help="runs of each; the one of the least CPU counts, since a busy machine only adds",
    )
    parser.add_argument(
        "--folder", type=Path, default=STATE / "bench", help="where landed pieces are kept between runs"
    )
    parser.add_argument(
        "--core", type=int, default=min(os.sched_getaffinity(0)), help="the one core that everything runs on"
    )
    parser.add_argument("--json", action="store_true", help="print one JSON document instead of lines")
    arguments = parser.parse_args(argv)
    arguments.folder = arguments.folder.resolve()
    return arguments


def _least(runs: list[Measurement]) -> Measurement:
    return min(runs, key=lambda run: run.cpu_seconds)


def _measure(name: str, assets: int, days: int, arguments: argparse.Namespace) -> tuple[Measurement, str]:
    """One run, and digests of the files that it wrote."""
    bodies = len(landed_bodies(arguments.folder, assets, days))
    with tempfile.TemporaryDirectory(dir=arguments.folder) as output:
        size = [
            "--assets",
            str(assets),
            "--days",
            str(days),
            "--folder",
            str(arguments.folder),
            "--core",
            str(arguments.core),
        ]
        command = ["benchmarks.history_contenders", name, "--output", output, *size]
        measurement = run_measured(name, bodies, assets * days, command)
        return measurement, "".join(_digest(Path(output) / name) for name in (CSV, REJECTS))


def _digest(path: Path) -> str:
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def judge(measured: dict[str, Measurement]) -> Target:
    """The bound on Beam's CPU."""
    return Target(
        "CPU over the plain loop", measured["beam"].cpu_seconds / measured["plain"].cpu_seconds, BOUND, at_most=True
    )


def _tell(
    console: Console,
    arguments: argparse.Namespace,
    measured: dict[str, Measurement],
    startup: dict[str, Measurement],
    target: Target,
    same: bool,
) -> None:
    share = startup["beam"].cpu_seconds / measured["beam"].cpu_seconds
    beyond = {name: measured[name].cpu_seconds - startup[name].cpu_seconds for name in NAMES}
    if arguments.json:
        runs = [asdict(m) | {"rows_per_cpu_second": m.rows_per_cpu_second} for m in measured.values()]
        target_now = asdict(target) | {"met": target.met}
        print(
            json.dumps(
                {
                    "contenders": runs,
                    "startup": [asdict(m) for m in startup.values()],
                    "startup_share": share,
                    "target": target_now,
                    "same": same,
                }
            )
        )
        return
    for m in measured.values():
        console.print(
            f"{m.name:<6} {m.cpu_seconds:6.2f} CPU s  {m.rows_per_cpu_second:>9,.0f} points/CPU s  peak "
            f"{m.peak_mib:.0f} MiB"
        )
    console.print(f"{'met' if target.met else 'NOT MET'}: {target.text} {target.value:.2f} (at most {target.bound:g})")
    console.print(
        f"Start-up: Beam {startup['beam'].cpu_seconds:.2f} CPU s ({share:.0%} of its run), the loop "
        f"{startup['plain'].cpu_seconds:.2f}; "
        f"beyond it Beam takes {beyond['beam'] / beyond['plain']:.2f} times the CPU of the loop."
    )
    console.print("Both wrote the same bytes." if same else "DISAGREEMENT: the two wrote different bytes.")


if __name__ == "__main__":
    sys.exit(main())
