"""The bodies of a batch as one batch file of ``crypto_market_daily_fact``: sorted by asset and date, each day once."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from datetime import date
from itertools import groupby, pairwise
from typing import Any

import numpy as np
import pyarrow as pa

from beam_pipelines.batch_files.builder import BatchInput, BatchReport, BatchSink, ReadBody, TableBuilder, assemble
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

_INSTANT = pa.timestamp("us", tz="UTC")


@dataclass(frozen=True)
class PieceReport:
    """What became of one piece: ``points_read`` is the sum of the six counts that follow it.

    Attributes:
        asset_id: the asset.
        first: first day asked for, or first row of a file; ISO 8601, None for neither.
        last: last day asked for, or last row of a file; ISO 8601, None for neither.
        points_read: points in the body.
        rows_valid: days of the batch file that come from it.
        rows_rejected: points refused.
        rows_unpriced: points without a price.
        rows_superseded: accepted points that another one of their day stands before.
        points_now: points that were not settled: "now" is no day.
        points_outside: points of days that were not asked for.
        days_missing: days of the range for which the body has no row.
        missing_days: all of them, as days and ISO 8601 intervals of days.
        calls: calls that it cost this attempt.
        reused: whether an earlier attempt had landed it.
        error: why there is no body.
    """

    asset_id: str
    first: str | None
    last: str | None
    source_id: str
    points_read: int = 0
    rows_valid: int = 0
    rows_rejected: int = 0
    rows_unpriced: int = 0
    rows_superseded: int = 0
    points_now: int = 0
    points_outside: int = 0
    days_missing: int = 0
    missing_days: tuple[str, ...] = ()
    calls: int = 0
    reused: bool = False
    error: str | None = None


@dataclass(frozen=True)
class HistoryReport(BatchReport):
    """What became of a batch.

    Attributes:
        pieces: piece by piece, sorted.
        pages_read: bodies read, refused ones included.
        pages_rejected: bodies that hold no points.
        rows_lost: points refused, plus the days that refused bodies were asked for.
        values_unmatched: market caps and volumes that belong to no point.
        rejects_by_reason: rejected records by reason.
        first_date: first date of the batch file, ISO 8601; None when it has no row.
        last_date: last date of the batch file, in the same form.
    """

    pieces: tuple[PieceReport, ...]
    pages_read: int
    pages_rejected: int
    rows_lost: int
    values_unmatched: int
    rejects_by_reason: dict[str, int]
    first_date: str | None
    last_date: str | None

    def totals(self) -> dict[str, Any]:
        """The counts over all pieces, JSON-ready, without the pieces."""
        return {
            "pieces_asked": len(self.pieces),
            "pieces_missing": sum(piece.error is not None for piece in self.pieces),
            "assets": len({piece.asset_id for piece in self.pieces}),
            "pages_read": self.pages_read,
            "pages_rejected": self.pages_rejected,
            "rows_read": sum(piece.points_read for piece in self.pieces),
            **{name: sum(getattr(piece, name) for piece in self.pieces) for name in (*COUNTS, "days_missing")},
            "rows_lost": self.rows_lost,
            "values_unmatched": self.values_unmatched,
            "rejects_by_reason": self.rejects_by_reason,
            "first_date": self.first_date,
            "last_date": self.last_date,
        }

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return {
            **self.totals(),
            "pieces": [asdict(piece) | {"missing_days": list(piece.missing_days)} for piece in self.pieces],
        }


class HistoryTable(TableBuilder[PieceBody, HistoryReport]):
    """Builds the batch file of pieces of history, one asset after the other, in an order of its own.

    Memory holds the bodies of one asset.
    """

    def __init__(self, rules: HistoryRules) -> None:
        super().__init__(rules.contract, {*SERIES_COLUMNS, *COMPUTED_COLUMNS})
        self._rules = rules

    def build(self, given: BatchInput[PieceBody], read: ReadBody, sink: BatchSink) -> HistoryReport:
        """Write one batch."""
        reports, own, dates = list[PieceReport](), Counter[str](), list[date]()
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
            kept = newest_days(landed)
            for chart in kept:
                sink.refuse(chart.rejects)
            filled = [chart for chart in kept if len(chart.stamps)]
            if filled:
                sink.rows(asset_table(filled, given.batch, self._rules))
            dates += [date_of(day) for chart in filled for day in chart.days[[0, -1]].tolist()]
            remaining = iter(kept)
            for piece, body in zip(pieces, charts, strict=True):
                reports.append(_piece_report(piece, body, None if body is None else next(remaining)))
        return HistoryReport(
            pieces=tuple(reports),
            pages_read=own["pages_read"],
            pages_rejected=sink.pages_rejected,
            rows_lost=sink.rows_lost,
            values_unmatched=own["unmatched"],
            rejects_by_reason=sink.rejects_by_reason,
            first_date=min(dates).isoformat() if dates else None,
            last_date=max(dates).isoformat() if dates else None,
        )


def newest_days(charts: Sequence[ChartColumns]) -> list[ChartColumns]:
    """The charts of one asset, each day only in the one landed last. The other rows are superseded."""
    filled = [chart.days for chart in charts if len(chart.stamps)]
    if all(earlier[-1] < later[0] for earlier, later in pairwise(filled)):
        return list(charts)
    taken: set[int] = set()
    kept: dict[int, ChartColumns] = {}
    for index in sorted(range(len(charts)), key=lambda index: (charts[index].landed.landed_at, index), reverse=True):
        chart, days = charts[index], charts[index].days.tolist()
        stays = np.array([day not in taken for day in days], bool)
        kept[index] = replace(
            chart,
            stamps=chart.stamps[stays],
            values=chart.values[:, stays],
            counts=chart.counts + Counter(rows_superseded=int(np.count_nonzero(~stays))),
        )
        taken.update(days)
    return [kept[index] for index in range(len(charts))]


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
        "ingested_at": pa.repeat(pa.scalar(chart.landed.landed_at, _INSTANT), height),
        "source_id": pa.repeat(pa.scalar(piece.source_id), height),
    }
    for name, values in zip(SERIES_COLUMNS, chart.values, strict=True):
        filled[name] = pa.array(values, from_pandas=True)
    return assemble(rules.schema, filled, batch)


def _piece_report(piece: PieceBody, chart: ChartColumns | None, kept: ChartColumns | None) -> PieceReport:
    """What became of one piece; a gap is a day that its own body lacks, also when another body has a row for it."""
    days = np.empty(0, np.int64) if chart is None else chart.days
    counts = Counter[str]() if kept is None else kept.counts + Counter(rows_valid=len(kept.stamps))
    missing = missing_days(piece, days)
    ends = [date_of(day) for day in days[[0, -1]].tolist()] if len(days) else [None, None]
    first, last = piece.first or ends[0], piece.last or ends[1]
    return PieceReport(
        asset_id=piece.asset_id,
        first=first.isoformat() if first else None,
        last=last.isoformat() if last else None,
        source_id=piece.source_id,
        days_missing=len(missing),
        missing_days=tuple(intervals(missing)),
        calls=piece.calls,
        reused=piece.reused,
        error=piece.error,
        **{name: counts[name] for name in COUNTS},
    )
