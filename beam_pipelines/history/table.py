"""The bodies of a batch as one batch file of ``crypto_market_daily_fact``: sorted by asset and date, each day once."""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from itertools import groupby, pairwise
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa

from beam_pipelines.history.chart import ChartColumns, Mask, PieceBody, missing_days, read_chart
from beam_pipelines.history.rules import SERIES_COLUMNS, HistoryRules
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts.arrow import csv_block, csv_header
from coinbeam.feeds.history.pieces import intervals
from coinbeam.landing.layout import LandedBody

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

ReadBody = Callable[[str], LandedBody]


@dataclass(frozen=True)
class PieceReport:
    """What became of one piece: ``points_read`` is the sum of the six counts that follow it.

    Attributes:
        asset_id: the asset.
        first: first day asked for, or first row of a file; ISO 8601, None for neither.
        last: last day, likewise.
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
class HistoryReport:
    """What became of a batch.

    Attributes:
        pieces: piece by piece, sorted.
        pages_read: bodies read, refused ones included.
        pages_rejected: bodies that hold no points.
        rows_lost: points refused, plus the days that refused bodies were asked for.
        values_unmatched: market caps and volumes that belong to no point.
        rejects_by_reason: rejected records by reason.
        first_date: first date of the batch file, ISO 8601; None when it has no row.
        last_date: last date likewise.
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


class _Tally:
    """What a batch adds up to while it is written."""

    def __init__(self) -> None:
        self.pieces: list[PieceReport] = []
        self.counts: Counter[str] = Counter()
        self.reasons: Counter[str] = Counter()
        self.dates: list[str] = []

    def report(self) -> HistoryReport:
        return HistoryReport(
            tuple(self.pieces),
            self.counts["pages_read"],
            self.counts["pages_rejected"],
            self.counts["rows_lost"],
            self.counts["values_unmatched"],
            dict(sorted(self.reasons.items())),
            min(self.dates, default=None),
            max(self.dates, default=None),
        )


def write_history(
    pieces: Iterable[PieceBody],
    read: ReadBody,
    batch: BatchManifest,
    rules: HistoryRules,
    csv_sink: BinaryIO,
    rejects_sink: BinaryIO,
) -> HistoryReport:
    """Read the bodies of a batch, one asset after the other, and write the batch file and its rejects.

    The same bodies give the same bytes, whatever their order. Memory holds the bodies of one asset.

    Args:
        pieces: the pieces.
        read: reads a body.
        batch: the batch.
        rules: rules of the contract.
        csv_sink: takes the batch file: a header and one line for each day.
        rejects_sink: takes the rejects, one line of JSON each.
    """
    tally = _Tally()
    csv_sink.write(csv_header(rules.file_columns))
    ordered = sorted(
        pieces, key=lambda piece: (piece.asset_id, piece.first or date.min, piece.last or date.min, piece.uri or "")
    )
    for _, of_asset in groupby(ordered, key=lambda piece: piece.asset_id):
        asset = list(of_asset)
        charts = [None if piece.uri is None else read_chart(read(piece.uri), piece, batch, rules) for piece in asset]
        kept = newest_days([chart for chart in charts if chart is not None])
        for chart in kept:
            rejects_sink.write(b"".join(reject.to_line() for reject in chart.rejects))
        if any(len(chart.stamps) for chart in kept):
            csv_sink.write(csv_block(asset_table(kept, batch, rules)))
        _count(asset, charts, kept, tally)
    return tally.report()


def newest_days(charts: Sequence[ChartColumns]) -> list[ChartColumns]:
    """The charts of one asset, each day in one of them only: in the one that was landed last. The other rows are
    superseded.
    """
    if len(charts) < 2 or _are_disjoint(charts):
        return list(charts)
    taken: set[int] = set()
    kept: dict[int, ChartColumns] = {}
    for index in sorted(range(len(charts)), key=lambda index: (charts[index].landed.landed_at, index), reverse=True):
        days = charts[index].days.tolist()
        kept[index] = _without(charts[index], np.array([day not in taken for day in days], bool))
        taken.update(days)
    return [kept[index] for index in range(len(charts))]


def _are_disjoint(charts: Sequence[ChartColumns]) -> bool:
    filled = [chart.days for chart in charts if len(chart.stamps)]
    return all(earlier[-1] < later[0] for earlier, later in pairwise(filled))


def _without(chart: ChartColumns, stays: Mask) -> ChartColumns:
    superseded = len(stays) - int(np.count_nonzero(stays))
    counts = chart.counts + Counter(rows_superseded=superseded)
    return ChartColumns(chart.piece, chart.landed, chart.stamps[stays], chart.values[:, stays], chart.rejects, counts)


def asset_table(charts: Sequence[ChartColumns], batch: BatchManifest, rules: HistoryRules) -> pa.Table:
    """The rows of one asset as a table in the contract's columns and types, sorted by date."""
    tables = [_table(chart, batch, rules) for chart in charts if len(chart.stamps)]
    if len(tables) == 1:
        return tables[0]
    joined = pa.concat_tables(tables)
    days = np.concatenate([chart.days for chart in charts])
    return joined if (days[1:] > days[:-1]).all() else joined.take(pa.array(np.argsort(days)))


def _table(chart: ChartColumns, batch: BatchManifest, rules: HistoryRules) -> pa.Table:
    height = len(chart.stamps)
    constants = {
        "asset_id": pa.scalar(chart.piece.asset_id),
        "quote_currency": pa.scalar(batch.quote_currency),
        "ingested_at": pa.scalar(chart.landed.landed_at, _INSTANT),
        "source_id": pa.scalar(chart.piece.source_id),
        "batch_id": pa.scalar(batch.batch_id),
    }
    columns = {name: pa.repeat(value, height) for name, value in constants.items()} | {
        "date": pa.array(chart.days.astype(np.int32)).cast(pa.date32()),
        "observed_at": pa.array(chart.stamps * 1_000).cast(_INSTANT),
    }
    for name, values in zip(SERIES_COLUMNS, chart.values, strict=True):
        columns[name] = pa.array(values, from_pandas=True)
    return pa.Table.from_arrays([columns[field.name] for field in rules.schema], schema=rules.schema)


def _count(
    asset: Sequence[PieceBody], charts: Sequence[ChartColumns | None], kept: Sequence[ChartColumns], tally: _Tally
) -> None:
    """Add the pieces of one asset to the tally; a gap is a day that the piece's own body lacks, whichever body its row
    comes from.
    """
    remaining = iter(kept)
    for piece, chart in zip(asset, charts, strict=True):
        if chart is None:
            tally.pieces.append(_piece_report(piece, missing_days(piece, np.empty(0, np.int64)), Counter(), None))
            continue
        final = next(remaining)
        tally.pieces.append(
            _piece_report(piece, chart.missing_days(), final.counts + Counter(rows_valid=len(final.stamps)), chart)
        )
        tally.reasons.update(reject.reason for reject in chart.rejects)
        lost = sum(reject.estimated_rows for reject in chart.rejects)
        own = {name: chart.counts[name] for name in ("pages_rejected", "values_unmatched")}
        tally.counts.update(pages_read=1, rows_lost=lost, **own)
        tally.dates += [_day(day) for day in (final.days[[0, -1]].tolist() if len(final.stamps) else [])]


def _piece_report(
    piece: PieceBody, missing: list[date], counts: Counter[str], chart: ChartColumns | None
) -> PieceReport:
    rows = chart.days if chart is not None else np.empty(0, np.int64)
    first, last = (_day(int(rows[0])), _day(int(rows[-1]))) if len(rows) else (None, None)
    return PieceReport(
        asset_id=piece.asset_id,
        first=piece.first.isoformat() if piece.first else first,
        last=piece.last.isoformat() if piece.last else last,
        source_id=piece.source_id,
        days_missing=len(missing),
        missing_days=tuple(intervals(missing)),
        calls=piece.calls,
        reused=piece.reused,
        error=piece.error,
        **{name: counts[name] for name in COUNTS},
    )


def _day(day: int) -> str:
    return str(np.datetime64(day, "D"))
