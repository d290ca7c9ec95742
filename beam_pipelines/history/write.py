"""The Beam shell of the history kernel: a batch is one element, its bodies are read one asset at a time, and no point
crosses steps.
"""

import gc
import pickle
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.pvalue import PCollection

from beam_pipelines.history.chart import PieceBody
from beam_pipelines.history.rules import HistoryRules
from beam_pipelines.history.table import HistoryReport, write_history
from beam_pipelines.landing.files import atomic_writer, read_page_body
from coinbeam.batch.manifest import BatchManifest

METRICS_NAMESPACE = "history"


@dataclass(frozen=True)
class HistoryInput:
    """One batch to write.

    Attributes:
        batch: the batch.
        pieces: its pieces, in any order.
        csv_uri: the batch file to write.
        rejects_uri: the file of rejects to write.
    """

    batch: BatchManifest
    pieces: tuple[PieceBody, ...]
    csv_uri: str
    rejects_uri: str

    def __getstate__(self) -> dict[str, Any]:
        """The batch as it travels: thousands of pieces share most of their words, and a job graph has a limit."""
        return {**vars(self), "pieces": zlib.compress(pickle.dumps(self.pieces), 1)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The batch as it came."""
        vars(self).update({**state, "pieces": pickle.loads(zlib.decompress(state["pieces"]))})


class WriteHistory(beam.PTransform[PCollection[HistoryInput], PCollection[HistoryReport]]):
    """``PCollection[HistoryInput]`` to ``PCollection[HistoryReport]``; the files are there when a report is. A job has
    one batch.

    Args:
        rules: rules of the contract.
    """

    def __init__(self, rules: HistoryRules) -> None:
        super().__init__()
        self._rules = rules

    def expand(self, batches: PCollection[HistoryInput]) -> PCollection[HistoryReport]:
        """Wire the transform."""
        return batches | "Write history" >> beam.ParDo(WriteHistoryFn(self._rules))


class WriteHistoryFn(beam.DoFn):
    """Streams the bodies of a batch through the kernel into its files, and counts what became of the points.

    Args:
        rules: rules of the contract.
    """

    def __init__(self, rules: HistoryRules) -> None:
        super().__init__()
        self._rules = rules

    def setup(self) -> None:
        """Keep the garbage collector from walking what lives for the whole job."""
        gc.freeze()

    def process(self, given: HistoryInput) -> Iterator[HistoryReport]:
        """Write one batch.

        Raises:
            TerminalError: a landed body is gone.
        """
        with atomic_writer(given.rejects_uri) as rejects, atomic_writer(given.csv_uri) as csv:
            report = write_history(given.pieces, read_page_body, given.batch, self._rules, csv, rejects)
        _count_report(report)
        yield report


def _count_report(report: HistoryReport) -> None:
    """Add a report to the job's counters: ``pages_read``, ``rows_valid`` and so on, and ``rejected_<reason>``."""
    for name, value in report.totals().items():
        if isinstance(value, int):
            Metrics.counter(METRICS_NAMESPACE, name).inc(value)
    for reason, records in report.rejects_by_reason.items():
        Metrics.counter(METRICS_NAMESPACE, f"rejected_{reason}").inc(records)
