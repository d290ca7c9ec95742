"""The contenders, each run alone in a process of its own: ``python -m benchmarks.contenders NAME --pages N --folder DIR
--output DIR``.
"""

# mypy: disable-error-code="no-untyped-call,attr-defined"
# Beam is untyped where it counts.
import argparse
import gc
import importlib
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from beam_pipelines.batch_files.builder import BatchInput, BatchSink
from beam_pipelines.snapshot.rules import MarketRules
from beam_pipelines.snapshot.table import SnapshotTable
from benchmarks.pages import Snapshot, snapshots
from coinbeam.contracts import load_contract
from coinbeam.landing.layout import LandedBody, unpack

CLOCK_SKEW_SECONDS = 300.0

Contender = Callable[[list[Snapshot], MarketRules, Path], None]


def run_plain_loop(given: list[Snapshot], rules: MarketRules, output: Path) -> None:
    """The kernel without Beam: the same calls in a loop, with the same settings of the garbage collector."""
    gc.freeze()
    gc.set_threshold(100_000, 50, 50)
    for day, snapshot in enumerate(given):
        with _file(output, f"crypto_{day:03d}.csv") as csv, _file(output, f"rejected_{day:03d}.ndjson") as rejects:
            given = BatchInput(snapshot.batch, snapshot.files, "", "")
            SnapshotTable(rules).build(given, _read, BatchSink(rules.contract, csv, rejects))
        for name in (f"crypto_{day:03d}.csv", f"rejected_{day:03d}.ndjson"):
            (output / f".{name}").rename(output / name)


def _file(output: Path, name: str) -> BinaryIO:
    return (output / f".{name}").open("wb")


def _read(path: str) -> LandedBody:
    return unpack(Path(path).read_bytes(), path, datetime.fromtimestamp(Path(path).stat().st_mtime, UTC))


def run_beam(given: list[Snapshot], rules: MarketRules, output: Path) -> None:
    """The transform of the real job on the in-process runner with one worker."""
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from beam_pipelines.batch_files.write import write_batches

    inputs = [
        BatchInput(
            snapshot.batch, snapshot.files, f"{output}/crypto_{day:03d}.csv", f"{output}/rejected_{day:03d}.ndjson"
        )
        for day, snapshot in enumerate(given)
    ]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        pipeline | "Snapshots" >> beam.Create(inputs) | "Market" >> write_batches(SnapshotTable(rules))


_MODULES = {
    "plain": "benchmarks.contenders:run_plain_loop",
    "beam": "benchmarks.contenders:run_beam",
    "strict": "benchmarks.strict_sql:run_strict",
    "tolerant": "benchmarks.tolerant_sql:run_tolerant",
    "rows": "benchmarks.row_at_a_time:run_rows",
}
NAMES = tuple(_MODULES)


def load(name: str) -> Contender:
    """The function of a contender; only its own libraries are imported."""
    module, _, function = _MODULES[name].partition(":")
    contender: Contender = getattr(importlib.import_module(module), function)
    return contender


def main() -> None:
    """Run one contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--pages", type=int, required=True)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--core", type=int)
    arguments = parser.parse_args()
    if arguments.core is not None:
        os.sched_setaffinity(0, {arguments.core})
    rules = MarketRules(load_contract("crypto_market_snapshot_fact"), CLOCK_SKEW_SECONDS)
    load(arguments.name)(snapshots(arguments.folder, arguments.pages), rules, arguments.output)


if __name__ == "__main__":
    main()
