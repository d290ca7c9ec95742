"""The contenders of the benchmark of history, each run alone: ``python -m benchmarks.history_contenders NAME --assets N
--days N ...``.
"""

import argparse
import gc
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

from beam_pipelines.batch_files.builder import BatchInput, BatchSink
from beam_pipelines.history.chart import PieceBody
from beam_pipelines.history.rules import HistoryRules
from beam_pipelines.history.table import HistoryTable
from benchmarks.charts import LANDED_AT, SOURCE, landed_bodies
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import load_contract
from coinbeam.landing.layout import LandedBody, unpack

CSV, REJECTS = "history_benchmark.csv", "rejected_history.ndjson"
CLOCK_SKEW_SECONDS, SETTLE_MINUTES = 300.0, 35.0

Contender = Callable[[list[PieceBody], HistoryRules, Path], None]

_BATCH = BatchManifest("benchmark", "market_chart", SOURCE, datetime(2026, 1, 1, tzinfo=UTC), "usd", 1, "history")


def run_plain(bodies: list[PieceBody], rules: HistoryRules, output: Path) -> None:
    """The kernel without Beam: the same calls, with the same settings of the garbage collector, which the package
    makes.
    """
    gc.freeze()
    with (output / f".{CSV}").open("wb") as csv, (output / f".{REJECTS}").open("wb") as rejects:
        given = BatchInput(_BATCH, tuple(bodies), "", "")
        HistoryTable(rules).build(given, _read, BatchSink(rules.contract, csv, rejects))
    for name in (CSV, REJECTS):
        (output / f".{name}").rename(output / name)


def _read(uri: str) -> LandedBody:
    path = Path(uri)
    return unpack(path.read_bytes(), uri, LANDED_AT)


def run_beam(bodies: list[PieceBody], rules: HistoryRules, output: Path) -> None:
    """The transform of the real job on the in-process runner with one worker."""
    import apache_beam as beam
    from apache_beam.runners.portability.fn_api_runner import FnApiRunner

    from beam_pipelines.batch_files.write import write_batches

    given = BatchInput(_BATCH, tuple(bodies), f"{output}/{CSV}", f"{output}/{REJECTS}")
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        _ = pipeline | "Batch" >> beam.Create([given]) | "History" >> write_batches(HistoryTable(rules))


_RUN: dict[str, Contender] = {"plain": run_plain, "beam": run_beam}
NAMES = tuple(_RUN)


def main() -> None:
    """Run one contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NAMES)
    for number in ("--assets", "--days", "--core"):
        parser.add_argument(number, type=int, required=True)
    for folder in ("--folder", "--output"):
        parser.add_argument(folder, type=Path, required=True)
    arguments = parser.parse_args()
    os.sched_setaffinity(0, {arguments.core})
    rules = HistoryRules(load_contract("crypto_market_daily_fact"), CLOCK_SKEW_SECONDS, SETTLE_MINUTES)
    _RUN[arguments.name](landed_bodies(arguments.folder, arguments.assets, arguments.days), rules, arguments.output)


if __name__ == "__main__":
    main()
