"""One landed body as days, rejects and counts: a bad point costs only itself, an unreadable body its piece."""

from collections import Counter
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime

import numpy as np
import numpy.typing as npt

from beam_pipelines.batch_files.json_bodies import BodyFault
from beam_pipelines.batch_files.rejects import Refused, Reject, RejectMaker
from beam_pipelines.history.bodies import Points, read_points
from beam_pipelines.history.rules import (
    DAY_MS,
    EARLIEST_MS,
    FINER_THAN_DAILY_MS,
    NEAR_MIDNIGHT_MS,
    HistoryRules,
    Integers,
)
from beam_pipelines.history.specification import (
    Accepted,
    Dropped,
    Window,
    date_of,
    days_since_epoch,
    judge_point,
    stamp_fault,
)
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts.instants import FIRST_DATE
from coinbeam.contracts.values import Doubles
from coinbeam.landing.layout import LandedBody
from coinbeam.sources.registry import COINGECKO_EXPORT, FILES

Mask = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class PieceBody:
    """A piece of history and where its body lies.

    Attributes:
        source_id: key of ``source_dim``.
        first: first day asked for; None for a foreign file, which is read from its first day on.
        last: last day asked for; None for a foreign file, which is read to its end.
        uri: its body; None when there is none, and ``error`` says why.
        calls: calls that it cost this attempt.
        reused: whether an earlier attempt had landed it.
    """

    asset_id: str
    source_id: str
    first: date | None
    last: date | None
    uri: str | None
    calls: int = 0
    reused: bool = False
    error: str | None = None

    @property
    def is_foreign(self) -> bool:
        """Whether it is a file that a user brought; when the source answered is unknown."""
        return self.source_id in {FILES.id, COINGECKO_EXPORT.id}

    def window(self, landed: LandedBody, rules: HistoryRules, batch_day: date) -> Window:
        """Which stamps of the body count; none after the day that the batch stands for."""
        moment = (self.is_foreign and rules.read_at) or landed.landed_at
        latest = rules.latest_stamp(moment)
        first = days_since_epoch(self.first or FIRST_DATE) * DAY_MS
        last = (days_since_epoch(self.last or batch_day) + 1) * DAY_MS - 1
        return Window(first, last, rules.last_settled(moment), latest)


@dataclass
class ChartColumns:
    """What one landed body holds: at most one row for each day, sorted.

    Attributes:
        known_at: when its values were known: when an answer was landed; of a foreign file, its newest stamp.
        stamps: milliseconds since the epoch.
        values: price, market cap and volume, NaN for null.
        rejects: refused points, or the refused body.
        counts: what became of the points; ``points_read`` is the sum of all but ``values_unmatched`` and the rows.
    """

    piece: PieceBody
    landed: LandedBody
    known_at: datetime
    stamps: Integers = field(default_factory=lambda: np.empty(0, np.int64))
    values: Doubles = field(default_factory=lambda: np.empty((3, 0)))
    rejects: list[Reject] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    @property
    def days(self) -> Integers:
        """Days since the epoch."""
        return self.stamps // DAY_MS


def missing_days(piece: PieceBody, days: Integers) -> list[date]:
    """Days asked for, or of a file between its ends, that are not among ``days``, sorted since the epoch."""
    if not len(days) and (piece.first is None or piece.last is None):
        return []
    first = int(days[0]) if piece.first is None else days_since_epoch(piece.first)
    last = int(days[-1]) if piece.last is None else days_since_epoch(piece.last)
    if len(days) == last - first + 1:
        return []
    return [date_of(day) for day in np.setdiff1d(np.arange(first, last + 1), days, assume_unique=True).tolist()]


def read_chart(landed: LandedBody, piece: PieceBody, batch: BatchManifest, rules: HistoryRules) -> ChartColumns:
    """Read one landed body; never raises for what is in it."""
    points, rejects = read_points(landed.body, rules.zone, batch.quote_currency), RejectMaker(batch, rules.contract)
    if isinstance(points, BodyFault):
        days = 1 if piece.first is None or piece.last is None else (piece.last - piece.first).days + 1
        return ChartColumns(
            piece, landed, landed.landed_at, rejects=[rejects.body(landed, points.reason, days, piece.asset_id)]
        )
    window = piece.window(landed, rules, batch.snapshot_at.date())
    return _ChartReader(points, landed, piece, rejects, rules, window).read()


class _ChartReader:
    """Sorts the points of one body into accepted, dropped and refused ones."""

    def __init__(
        self,
        points: Points,
        landed: LandedBody,
        piece: PieceBody,
        rejects: RejectMaker,
        rules: HistoryRules,
        window: Window,
    ) -> None:
        self._points = points
        self._rejects = rejects
        self._rules = rules
        self._window = window
        self._result = ChartColumns(piece, landed, landed.landed_at)
        self._stamps, self._values = points.stamps, points.values

    def read(self) -> ChartColumns:
        """The rows of the body, vectorised; unusual points are judged one by one and put back, or dropped."""
        if self._result.piece.is_foreign:
            self._know_newest()
        accepted, unusual = self._sort_out()
        if unusual.size:
            self._stamps, self._values = self._stamps.copy(), self._values.copy()
            for position in unusual.tolist():
                accepted[position] = self._judge(position)
        self._result.counts.update(points_read=len(accepted), values_unmatched=self._points.unmatched)
        self._keep_first_of_day(accepted)
        return self._result

    def _sort_out(self) -> tuple[Mask, npt.NDArray[np.intp]]:
        """Accepted points, and positions of unusual ones; the rest is counted in the specification's order."""
        stamps, price, window = self._stamps, self._values[0], self._window
        usual = np.ones(len(stamps), bool)
        usual[list(self._points.unusual)] = False
        left = usual & self._has_good_stamp()
        unusual = ~left
        for count, drops in (
            ("points_now", (stamps > window.last_settled) | (stamps == (np.nan if window.now is None else window.now))),
            ("points_outside", (stamps < window.first) | (stamps > window.last)),
            ("rows_unpriced", (price == 0) | np.isnan(price)),
        ):
            dropped = left & drops
            self._result.counts[count] += int(np.count_nonzero(dropped))
            left &= ~dropped
        smallest, largest = self._rules.bounds
        is_null = np.isnan(self._values) & np.array([[column.required] for column in self._rules.series])
        faulty = left & ((self._values < smallest) | (self._values > largest) | is_null).any(axis=0)
        return left & ~faulty, np.flatnonzero(unusual | faulty)

    def _has_good_stamp(self) -> Mask:
        stamps = self._stamps
        good: Mask = (stamps >= EARLIEST_MS) & (stamps <= self._window.latest) & (stamps == np.floor(stamps))
        return good

    def _know_newest(self) -> None:
        """The last point of a foreign file, whose answer has no known time, tells when it was known; unless at midnight
        it is "now".
        """
        good = self._has_good_stamp()
        good[list(self._points.unusual)] = False
        stamps = [int(self._stamps[good].max())] if good.any() else []
        unusual = map(self._points.point, self._points.unusual)
        stamps += [int(p.stamp) for p in unusual if p.is_point and stamp_fault(p.stamp, self._window) is None]
        if stamps:
            newest = max(stamps)
            self._result.known_at = datetime.fromtimestamp(newest // 1_000, UTC)
            self._window = self._window if newest % DAY_MS == 0 else replace(self._window, now=newest)

    def _judge(self, position: int) -> bool:
        """Put one point before the specification; True when it stays, with canonical values."""
        point = self._points.point(position)
        verdict = judge_point(point, self._rules, self._window)
        match verdict:
            case Accepted():
                self._stamps[position] = verdict.stamp
                self._values[:, position] = [np.nan if value is None else value for value in verdict.values]
                return True
            case Dropped():
                self._result.counts[verdict.count] += 1
            case Refused():
                series = dict(zip(self._rules.fields, point.values, strict=True))
                record = {"stamp": point.stamp, **series} if point.is_point else point.element
                piece, landed = self._result.piece, self._result.landed
                self._result.counts["rows_rejected"] += 1
                self._result.rejects.append(self._rejects.row(landed, position, record, verdict, piece.asset_id))
        return False

    def _keep_first_of_day(self, accepted: Mask) -> None:
        """The earliest accepted point of each day, the first one in the body among equals."""
        stamps, values = self._stamps[accepted].astype(np.int64), self._values[:, accepted]
        if (stamps[1:] < stamps[:-1]).any():
            order = np.argsort(stamps, kind="stable")
            stamps, values = stamps[order], values[:, order]
        if self._begins_in_a_day(stamps):
            begun = stamps // DAY_MS == stamps[0] // DAY_MS
            self._result.counts["points_outside"] += int(np.count_nonzero(begun))
            stamps, values = stamps[~begun], values[:, ~begun]
        days = stamps // DAY_MS
        is_first = np.ones(len(days), bool)
        is_first[1:] = days[1:] != days[:-1]
        self._result.stamps, self._result.values = stamps[is_first], values[:, is_first]
        self._result.counts["rows_superseded"] += len(days) - int(np.count_nonzero(is_first))

    def _begins_in_a_day(self, stamps: Integers) -> bool:
        """Whether a foreign file of hours begins in the middle of a day, so that its first point is none of 00:00."""
        if not self._result.piece.is_foreign or len(stamps) < 2:
            return False
        late, step = stamps[0] % DAY_MS > NEAR_MIDNIGHT_MS, stamps[1] - stamps[0]
        return bool(late and step < FINER_THAN_DAILY_MS)
