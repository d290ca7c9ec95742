"""The Beam shell around a table builder: a batch is one element, so no row ever crosses between steps."""

import gc
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.metrics.metric import Metrics
from apache_beam.typehints.decorators import no_annotations

from beam_pipelines.batch_files.builder import BatchInput, BatchSink, Report, TableBuilder
from beam_pipelines.landing.files import atomic_writer, read_landed
from coinbeam.batch.jobs import JobSpec
from coinbeam.batch.manifest import BatchManifest


def write_landed(
    builder: TableBuilder[Any],
    job: JobSpec,
    output: str,
    part: Callable[[BatchManifest], str] = lambda _: "*",
    prefix: str = "",
) -> beam.PTransform[Any, Any]:
    """`LandedBatch` to the report of the builder; its files lie in ``output``, stamped with ``part`` of the batch, the
    rejects after a ``prefix``.
    """
    table = builder.contract.name
    named = beam.Map(lambda landed: BatchInput.of(landed, output, job, table, part(landed.batch), prefix))
    return "Name files" >> named | write_batches(builder)


def write_batches(builder: TableBuilder[Any]) -> beam.PTransform[Any, Any]:
    """`BatchInput` to the report of the builder; the files are there when a report is.

    Each file is written under a temporary name and renamed, so that a retry overwrites and no reader sees half a file.
    """
    return "Spread batches" >> beam.Reshuffle() | "Write batch" >> beam.ParDo(WriteBatchFn(builder))


class WriteBatchFn(beam.DoFn):
    """Streams the bodies of a batch through its builder into its files, and counts what became of the rows."""

    def __init__(self, builder: TableBuilder[Any]) -> None:
        super().__init__()
        self._builder = builder

    def setup(self) -> None:
        """Keep the garbage collector from walking what lives for the whole job."""
        gc.freeze()

    @no_annotations
    def process(self, given: BatchInput[Any]) -> Iterator[Report]:
        """Write one batch.

        Raises:
            TerminalError: a landed body is gone.
        """
        with atomic_writer(given.rejects_uri) as rejects, atomic_writer(given.csv_uri) as csv:
            sink = BatchSink(self._builder.contract, csv, rejects)
            report = self._builder.build(given, partial(read_landed, tolerant=True), sink)
        table = self._builder.contract.name
        for name, value in report.items():
            if isinstance(value, int):
                Metrics.counter(table, name).inc(value)
        for reason, records in report["rejects_by_reason"].items():
            Metrics.counter(table, f"rejected_{reason}").inc(records)
        yield report
