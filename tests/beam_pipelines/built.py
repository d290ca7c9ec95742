"""A batch that is built in memory, and everything that its sink took."""

import io
import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from beam_pipelines.batch_files.builder import BatchInput, BatchSink, TableBuilder
from beam_pipelines.batch_files.rejects import Reject
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts.arrow import arrow_schema
from coinbeam.landing.layout import LandedBody


class KeptSink(BatchSink):
    """A sink that also keeps what it takes."""

    def __init__(self, builder: TableBuilder[Any]) -> None:
        self.csv, self.lines = io.BytesIO(), io.BytesIO()
        self.tables = [arrow_schema(builder.contract.file_columns).empty_table()]
        self.rejects: list[Reject] = []
        super().__init__(builder.contract, self.csv, self.lines)

    def rows(self, table: pa.Table) -> None:
        self.tables.append(table)
        super().rows(table)

    def refuse(self, rejects: Iterable[Reject]) -> None:
        kept = list(rejects)
        self.rejects += kept
        super().refuse(kept)


@dataclass(frozen=True)
class Built:
    """What came of a batch."""

    report: Any
    table: pa.Table
    rejects: list[Reject]
    csv: bytes
    lines: list[dict[str, Any]]


def build(builder: TableBuilder[Any], batch: BatchManifest, bodies: Sequence[LandedBody]) -> Built:
    """Build a batch of bodies, which may share their names."""
    return build_from(builder, batch, [str(index) for index in range(len(bodies))], lambda index: bodies[int(index)])


def build_from(
    builder: TableBuilder[Any],
    batch: BatchManifest,
    bodies: Iterable[Any],
    read: Callable[[str], LandedBody],
) -> Built:
    """Build a batch of bodies in the form of the builder."""
    sink = KeptSink(builder)
    report = builder.build(BatchInput(batch, tuple(bodies), "", ""), read, sink)
    lines = [json.loads(line) for line in sink.lines.getvalue().splitlines()]
    return Built(report, pa.concat_tables(sink.tables), sink.rejects, sink.csv.getvalue(), lines)
