"""The Beam shell of the market kernel: a snapshot is one element, so that no row ever crosses from one step to
another.
"""

import gc
from collections.abc import Iterator
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection

from beam_pipelines.landing.files import atomic_writer, read_page_body
from beam_pipelines.snapshot.rules import MarketRules
from beam_pipelines.snapshot.table import SnapshotReport, write_snapshot
from coinbeam.batch.manifest import BatchManifest

METRICS_NAMESPACE = "markets"


@dataclass(frozen=True)
class SnapshotInput:
    """One snapshot to write.

    Attributes:
        batch: the batch.
        uris: its landed pages, in order.
        csv_uri: the batch file to write.
        rejects_uri: the file of rejects to write.
        limit: at most so many assets, the first of the pages: the N of a top N.
    """

    batch: BatchManifest
    uris: tuple[str, ...]
    csv_uri: str
    rejects_uri: str
    limit: int | None = None


class WriteSnapshots(beam.PTransform[PCollection[SnapshotInput], PCollection[SnapshotReport]]):
    """``PCollection[SnapshotInput]`` to ``PCollection[SnapshotReport]``; the files are there when a report is.

    Each file is written under a temporary name and renamed, so that a retry overwrites and no reader sees half a file.

    Args:
        rules: rules of the contract.
    """

    def __init__(self, rules: MarketRules) -> None:
        super().__init__()
        self._rules = rules

    def expand(self, snapshots: PCollection[SnapshotInput]) -> PCollection[SnapshotReport]:
        """Wire the transform."""
        return (
            snapshots
            | "Spread snapshots" >> beam.Reshuffle()
            | "Write snapshot" >> beam.ParDo(WriteSnapshotFn(self._rules))
        )


class WriteSnapshotFn(beam.DoFn):
    """Streams the pages of a snapshot through the kernel into its files, and counts what became of the rows.

    Args:
        rules: rules of the contract.
    """

    def __init__(self, rules: MarketRules) -> None:
        super().__init__()
        self._rules = rules

    def setup(self) -> None:
        """Keep the garbage collector from walking what lives for the whole job."""
        gc.freeze()

    def process(self, snapshot: SnapshotInput) -> Iterator[SnapshotReport]:
        """Write one snapshot.

        Raises:
            TerminalError: a landed page is gone.
        """
        with atomic_writer(snapshot.rejects_uri) as rejects, atomic_writer(snapshot.csv_uri) as csv:
            report = write_snapshot(
                map(read_page_body, snapshot.uris), snapshot.batch, self._rules, csv, rejects, snapshot.limit
            )
        count_report(report)
        yield report


def count_report(report: SnapshotReport) -> None:
    """Add a report to the job's counters: ``pages_read``, ``rows_valid`` and so on, and ``rejected_<reason>``."""
    for name, value in report.to_dict().items():
        if isinstance(value, int):
            Metrics.counter(METRICS_NAMESPACE, name).inc(value)
    for reason, records in report.rejects_by_reason.items():
        Metrics.counter(METRICS_NAMESPACE, f"rejected_{reason}").inc(records)
