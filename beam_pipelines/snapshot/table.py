"""Pages of one snapshot merged into one batch file: each asset once, rejects beside it, and a report."""

from collections import Counter
from collections.abc import Collection

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from beam_pipelines.batch_files.builder import BatchInput, BatchSink, ReadBody, Report, TableBuilder
from beam_pipelines.snapshot.columns import MarketColumns, to_table
from beam_pipelines.snapshot.page import read_page
from beam_pipelines.snapshot.rules import COMPUTED_COLUMNS, OBSERVED_COLUMN, MarketRules
from coinbeam.batch.universe import top_n
from coinbeam.contracts.values import ID_COLUMN


class SnapshotTable(TableBuilder[str]):
    """Builds the batch file of a snapshot from its pages: each asset once, a top N cut to its N.

    Memory holds one page and the columns of the snapshot.

    Args:
        asked: the ids that the batch was asked for, when it was asked for ids.
    """

    def __init__(self, rules: MarketRules, asked: Collection[str] = ()) -> None:
        super().__init__(rules.contract, {column.name for column in rules.contract.source_columns} | COMPUTED_COLUMNS)
        self._rules, self._asked = rules, frozenset(asked)

    def build(self, given: BatchInput[str], read: ReadBody, sink: BatchSink) -> Report:
        """Write one snapshot: ``rows_read`` is the sum of unpriced, duplicate, surplus, rejected and valid rows."""
        columns, unknown, counts, answered = list[MarketColumns](), set[str](), Counter[str](), set[str]()
        for uri in given.bodies:
            page = read_page(read(uri), given.batch, self._rules)
            sink.refuse(page.rejects)
            columns += [page.columns] if page.columns is not None else []
            unknown |= page.unknown_fields
            answered |= page.answered
            counts.update(page.counts)
        table, rows = to_table(columns, given.batch, self._rules), sum(page.height for page in columns)
        columns.clear()  # before the next copy is made: they are half of the memory
        distinct = newest_rows(table)
        sink.rows(distinct.slice(0, top_n(given.batch.universe)))
        return {
            "pages_read": len(given.bodies),
            "pages_rejected": sink.counts["pages_rejected"],
            "rows_read": counts["rows_read"],
            "rows_unpriced": counts["rows_unpriced"],
            "rows_duplicate": rows - distinct.num_rows,
            "rows_surplus": distinct.num_rows - sink.counts["rows_valid"],
            "rows_rejected": sink.counts["rows_rejected"],
            "rows_lost": sink.counts["rows_lost"],
            "rows_valid": sink.counts["rows_valid"],
            "sparkline_unusable": counts["sparkline_unusable"],
            "roi_unusable": counts["roi_unusable"],
            "image_unusable": counts["image_unusable"],
            "rejects_by_reason": sink.rejects_by_reason,
            "unknown_fields": sorted(unknown),
            "ids_missing": sorted(self._asked - answered),
        }


def newest_rows(table: pa.Table) -> pa.Table:
    """Each asset once: its newest ``observed_at``, the first seen among equals; the order of the rows stays."""
    if pc.count_distinct(table[ID_COLUMN]).as_py() == table.num_rows:
        return table
    assets = np.asarray(table[ID_COLUMN].combine_chunks().dictionary_encode().indices)
    observed = np.asarray(table[OBSERVED_COLUMN].cast(pa.int64()))
    order = np.lexsort((np.arange(len(assets)), -observed, assets))
    is_first = np.append(True, assets[order][1:] != assets[order][:-1])
    return table.take(pa.array(np.sort(order[is_first])))
