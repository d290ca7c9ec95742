"""The bodies of a batch as one batch file of ``crypto_market_daily_fact``: sorted by asset and date, each day once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import replace
from datetime import date
from itertools import groupby, pairwise

import numpy as np
import pyarrow as pa

from beam_pipelines.batch_files.builder import BatchInput, BatchSink, ReadBody, Report, TableBuilder, assemble
from beam_pipelines.history.chart import ChartColumns, PieceBody, missing_days, read_chart
from beam_pipelines.history.rules import COMPUTED_COLUMNS, SERIES_COLUMNS, HistoryRules
from beam_pipelines.history.specification import date_of
from coinbeam.batch.manifest import BatchManifest
from coinbeam.feeds.history.pieces import intervals

COUNTS = (
    "points_read",
    "rows_valid",
    "rows_rejected",
    "rows_unpriced",
    "rows_superseded",
    "points_now",
    "points_outside",
)
"""What is counted of a piece: ``points_read`` is the sum of the others. A row is superseded by an earlier point of its
day, or by one of the same stamp that was known later; ``points_now`` were not settled, and ``points_outside`` not asked
for, or of a day in whose middle a file begins.
"""

_INSTANT = pa.timestamp("us", tz="UTC")


class HistoryTable(TableBuilder[PieceBody]):
    """Builds the batch file of pieces of history, one asset after the other, in an order of its own.

    Memory holds the bodies of one asset.
    """

    def __init__(self, rules: HistoryRules) -> None:
        super().__init__(rules.contract, {*SERIES_COLUMNS, *COMPUTED_COLUMNS})
        self._rules = rules

    def build(self, given: BatchInput[PieceBody], read: ReadBody, sink: BatchSink) -> Report:
        """Write one batch, and report it as a whole and piece by piece."""
        reports, own, dates = list[Report](), Counter[str](), list[date]()
        ordered = sorted(
            given.bodies,
            key=lambda piece: (piece.asset_id, piece.first or date.min, piece.last or date.min, piece.uri or ""),
        )
        for _, of_asset in groupby(ordered, key=lambda piece: piece.asset_id):
            pieces = list(of_asset)
            charts = [
                None if piece.uri is None else read_chart(read(piece.uri), piece, given.batch, self._rules)
                for piece in pieces
            ]
            landed = [chart for chart in charts if chart is not None]
            own.update(pages_read=len(landed), unmatched=sum(chart.counts["values_unmatched"] for chart in landed))
            kept = best_days(landed)
            for chart in kept:
                sink.refuse(chart.rejects)
            filled = [chart for chart in kept if len(chart.stamps)]
            if filled:
                sink.rows(asset_table(filled, given.batch, self._rules))
            dates += [date_of(day) for chart in filled for day in chart.days[[0, -1]].tolist()]
            remaining = iter(kept)
            for piece, body in zip(pieces, charts, strict=True):
                reports.append(_piece_report(piece, body, None if body is None else next(remaining)))
        return {
            "pieces_asked": len(reports),
            "pieces_missing": sum(report["error"] is not None for report in reports),
            "assets": len({report["asset_id"] for report in reports}),
            "pages_read": own["pages_read"],
            "pages_rejected": sink.counts["pages_rejected"],
            "rows_read": sum(report["points_read"] for report in reports),
            **{name: sum(report[name] for report in reports) for name in (*COUNTS, "days_missing")},
            "rows_lost": sink.counts["rows_lost"],
            "values_unmatched": own["unmatched"],
            "rejects_by_reason": sink.rejects_by_reason,
            "first_date": min(dates).isoformat() if dates else None,
            "last_date": max(dates).isoformat() if dates else None,
            "pieces": reports,
        }


def best_days(charts: Sequence[ChartColumns]) -> list[ChartColumns]:
    """The charts of one asset, each day only in the one whose point lies nearest after 00:00; among equals in the one
    known last. The other rows are superseded. The publish chooses between batches by the same order.
    """
    filled = [chart.days for chart in charts if len(chart.stamps)]
    if all(earlier[-1] < later[0] for earlier, later in pairwise(filled)):
        return list(charts)
    best: dict[int, tuple[int, int]] = {}  # by day: the stamp and the chart
    for index in sorted(range(len(charts)), key=lambda index: _precedence(charts[index], index)):
        for day, stamp in zip(charts[index].days.tolist(), charts[index].stamps.tolist(), strict=True):
            if day not in best or stamp < best[day][0]:
                best[day] = (stamp, index)
    kept = []
    for index, chart in enumerate(charts):
        stays = np.array([best[day][1] == index for day in chart.days.tolist()], bool)
        superseded = Counter(rows_superseded=int(np.count_nonzero(~stays)))
        kept.append(
            replace(chart, stamps=chart.stamps[stays], values=chart.values[:, stays], counts=chart.counts + superseded)
        )
    return kept


def _precedence(chart: ChartColumns, index: int) -> tuple[float, str, int]:
    return -chart.known_at.timestamp(), chart.piece.source_id, -index


def asset_table(charts: Sequence[ChartColumns], batch: BatchManifest, rules: HistoryRules) -> pa.Table:
    """The rows of one asset as a table in the contract's columns and types, sorted by date; no chart is empty."""
    tables = [_table(chart, batch, rules) for chart in charts]
    if len(tables) == 1:
        return tables[0]
    joined = pa.concat_tables(tables)
    days = np.concatenate([chart.days for chart in charts])
    return joined if (days[1:] > days[:-1]).all() else joined.take(pa.array(np.argsort(days)))


def _table(chart: ChartColumns, batch: BatchManifest, rules: HistoryRules) -> pa.Table:
    """The rows of one body."""
    height, piece = len(chart.stamps), chart.piece
    filled = {
        "asset_id": pa.repeat(pa.scalar(piece.asset_id), height),
        "date": pa.array(chart.days.astype(np.int32)).cast(pa.date32()),
        "observed_at": pa.array(chart.stamps * 1_000).cast(_INSTANT),
        "ingested_at": pa.repeat(pa.scalar(chart.known_at, _INSTANT), height),
        "source_id": pa.repeat(pa.scalar(piece.source_id), height),
    }
    for name, values in zip(SERIES_COLUMNS, chart.values, strict=True):
        filled[name] = pa.array(values, from_pandas=True)
    return assemble(rules.contract, filled, batch)


def _piece_report(piece: PieceBody, chart: ChartColumns | None, kept: ChartColumns | None) -> Report:
    """What became of one piece; a gap is a day that its own body lacks, also when another body has a row for it."""
    days = np.empty(0, np.int64) if chart is None else chart.days
    counts = Counter[str]() if kept is None else kept.counts + Counter(rows_valid=len(kept.stamps))
    missing = missing_days(piece, days)
    ends = [date_of(day) for day in days[[0, -1]].tolist()] if len(days) else [None, None]
    first, last = piece.first or ends[0], piece.last or ends[1]
    return {
        "asset_id": piece.asset_id,
        "first": first and first.isoformat(),
        "last": last and last.isoformat(),
        "source_id": piece.source_id,
        **{name: counts[name] for name in COUNTS},
        "days_missing": len(missing),
        "missing_days": intervals(missing),
        "calls": piece.calls,
        "reused": piece.reused,
        "error": piece.error,
    }
