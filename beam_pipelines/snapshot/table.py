"""Pages of one snapshot merged into one batch file: each asset once, rejects beside it, and a report of what was
read.
"""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.batch_files.rejects import Reject
from beam_pipelines.snapshot.columns import MarketColumns, to_table
from beam_pipelines.snapshot.page import PageColumns, read_page
from beam_pipelines.snapshot.rules import ID_COLUMN, OBSERVED_COLUMN, MarketRules
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts.arrow import csv_block, csv_header
from coinbeam.landing.layout import LandedBody

_BLOCK_ROWS = 4_096  # bounds the memory of the text form of a snapshot


@dataclass(frozen=True)
class SnapshotReport:
    """What became of the rows of a snapshot: ``rows_read`` is the sum of unpriced, duplicate, surplus, rejected and
    valid rows.

    Attributes:
        pages_read: bodies read, refused ones included.
        pages_rejected: bodies that are no page.
        rows_read: elements of all pages.
        rows_unpriced: rows without a price.
        rows_duplicate: accepted rows left out because a newer one of the same asset is in.
        rows_surplus: accepted rows beyond the N of a top N.
        rows_rejected: rows refused.
        rows_lost: rows refused, plus the rows that refused pages were asked for.
        rows_valid: rows of the batch file.
        sparkline_unusable: accepted rows whose sparkline is malformed.
        rejects_by_reason: rejected records, rows and pages, by reason.
        unknown_fields: fields that the contract does not know, sorted.
    """

    pages_read: int
    pages_rejected: int
    rows_read: int
    rows_unpriced: int
    rows_duplicate: int
    rows_surplus: int
    rows_rejected: int
    rows_lost: int
    rows_valid: int
    sparkline_unusable: int
    rejects_by_reason: dict[str, int]
    unknown_fields: list[str]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return dict(vars(self))


class SnapshotMerger:
    """Collects the pages of one snapshot.

    Args:
        batch: the batch that all pages belong to.
        rules: rules of the contract.
    """

    def __init__(self, batch: BatchManifest, rules: MarketRules) -> None:
        self._batch = batch
        self._rules = rules
        self._columns: list[MarketColumns] = []
        self._counts: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._unknown: set[str] = set()

    def add(self, page: PageColumns) -> None:
        """Take in one page; its rejects are counted, not kept."""
        if page.columns is not None:
            self._columns.append(page.columns)
        self._unknown |= page.unknown_fields
        self._reasons.update(reject.reason for reject in page.rejects)
        self._counts.update(
            pages_read=1,
            pages_rejected=page.pages_rejected,
            rows_read=page.rows_read,
            rows_unpriced=page.rows_unpriced,
            rows_rejected=sum(reject.level == "row" for reject in page.rejects),
            rows_lost=sum(reject.estimated_rows for reject in page.rejects),
            sparkline_unusable=page.sparkline_unusable,
        )

    def table(self) -> pa.Table:
        """The accepted rows, each asset once, in the order of the pages."""
        return newest_rows(to_table(self._columns, self._batch, self._rules))

    def report(self, rows_distinct: int, rows_valid: int) -> SnapshotReport:
        """The counts, given how many rows the table has, and how many of them were written."""
        counts = self._counts
        accepted = sum(columns.height for columns in self._columns)
        return SnapshotReport(
            pages_read=counts["pages_read"],
            pages_rejected=counts["pages_rejected"],
            rows_read=counts["rows_read"],
            rows_unpriced=counts["rows_unpriced"],
            rows_duplicate=accepted - rows_distinct,
            rows_surplus=rows_distinct - rows_valid,
            rows_rejected=counts["rows_rejected"],
            rows_lost=counts["rows_lost"],
            rows_valid=rows_valid,
            sparkline_unusable=counts["sparkline_unusable"],
            rejects_by_reason=dict(sorted(self._reasons.items())),
            unknown_fields=sorted(self._unknown),
        )


def newest_rows(table: pa.Table) -> pa.Table:
    """Each asset once: its newest ``observed_at``, the first seen among equals; the order of the rows stays."""
    if pc.count_distinct(table[ID_COLUMN]).as_py() == table.num_rows:
        return table
    assets = np.asarray(table[ID_COLUMN].combine_chunks().dictionary_encode().indices)
    observed = np.asarray(table[OBSERVED_COLUMN].cast(pa.int64()))
    order = np.lexsort((np.arange(len(assets)), -observed, assets))
    is_first = np.append(True, assets[order][1:] != assets[order][:-1])
    return table.take(pa.array(np.sort(order[is_first])))


def write_snapshot(
    bodies: Iterable[LandedBody],
    batch: BatchManifest,
    rules: MarketRules,
    csv_sink: BinaryIO,
    rejects_sink: BinaryIO,
    limit: int | None = None,
) -> SnapshotReport:
    """Read landed pages one after the other and write the batch file and its rejects.

    The same bodies in the same order give the same bytes. Memory holds one page and the columns of the snapshot.

    Args:
        bodies: landed bodies, in order.
        batch: the batch that they belong to.
        rules: rules of the contract.
        csv_sink: takes the batch file: a header and one line for each asset.
        rejects_sink: takes the rejects, one line of JSON each.
        limit: at most so many assets are written, the first of the pages.
    """
    merger = SnapshotMerger(batch, rules)
    for body in bodies:
        page = read_page(body, batch, rules)
        _write_rejects(page.rejects, rejects_sink)
        merger.add(page)
    distinct = merger.table()
    table = distinct.slice(0, limit)
    csv_sink.write(csv_header(rules.file_columns))
    for start in range(0, table.num_rows, _BLOCK_ROWS):
        csv_sink.write(csv_block(table.slice(start, _BLOCK_ROWS)))
    return merger.report(distinct.num_rows, table.num_rows)


def _write_rejects(rejects: Iterable[Reject], sink: BinaryIO) -> None:
    for reject in rejects:
        sink.write(reject.to_line())
