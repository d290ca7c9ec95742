"""The rules of a point of history, one point at a time: the readable specification, and the judge of every unusual
point.

The columnar path in ``chart`` must accept the same points with the same values and refuse the others for the same
reason; a property test holds the two together.

The day rule: a point belongs to the UTC date of its stamp, and of several points of a day the earliest accepted one
stands for it. A stamp of 00:05:18 or of 23:39:21 is therefore a day like any other, when it is the only one of its
date; rounding to the nearest midnight would move the second one onto the next day, which has a point of its own, and
leave a gap.
"""

import math
from dataclasses import dataclass
from datetime import date
from typing import Any

from beam_pipelines.batch_files.csv_bodies import NAIVE_STAMP
from beam_pipelines.batch_files.rejects import Refused
from beam_pipelines.history.rules import EARLIEST_MS, STAMP_COLUMN, HistoryRules
from coinbeam.contracts.values import fault_of, is_unpriced

EPOCH_ORDINAL = date(1970, 1, 1).toordinal()


@dataclass(frozen=True)
class RawPoint:
    """A point as its source wrote it.

    Attributes:
        stamp: milliseconds since the epoch, where it is right.
        values: price, market cap and volume.
        element: the whole element, when it is no point at all.
    """

    stamp: Any
    values: tuple[Any, ...]
    element: Any = None
    is_point: bool = True


@dataclass(frozen=True)
class Window:
    """Which stamps of a body count, in milliseconds since the epoch.

    Attributes:
        first: first millisecond of the first day asked for.
        last: last millisecond of the last day asked for.
        last_settled: later points are "now".
        latest: later points come from the future.
        now: stamp of the one point of a foreign file that may be its "now", or None.
    """

    first: int
    last: int
    last_settled: int
    latest: int
    now: int | None = None


@dataclass(frozen=True)
class Accepted:
    """A point that may stand for its day: stamp in milliseconds; price, market cap and volume or None."""

    stamp: int
    values: tuple[float | None, ...]


@dataclass(frozen=True)
class Dropped:
    """A point that is no fault and no row: ``points_now``, ``points_outside`` or ``rows_unpriced``."""

    count: str


Verdict = Accepted | Dropped | Refused

NOW, OUTSIDE, UNPRICED = Dropped("points_now"), Dropped("points_outside"), Dropped("rows_unpriced")


def judge_point(point: RawPoint, rules: HistoryRules, window: Window) -> Verdict:
    """Judge one point.

    First its stamp, then whether it is "now", then whether its day was asked for, then whether it has a price, also if
    more is wrong with it; then the first fault counts, in the order of the contract.
    """
    if not point.is_point:
        return Refused("wrong_type", None, point.element)
    fault = stamp_fault(point.stamp, window)
    if fault:
        return Refused(fault, STAMP_COLUMN, point.stamp)
    stamp = int(point.stamp)
    if stamp > window.last_settled or stamp == window.now:
        return NOW
    if not window.first <= stamp <= window.last:
        return OUTSIDE
    if is_unpriced(point.values[0]):
        return UNPRICED
    for column, value in zip(rules.series, point.values, strict=True):
        reason = fault_of(value, column)
        if reason:
            return Refused(reason, column.name, value)
    return Accepted(stamp, tuple(None if value is None else float(value) for value in point.values))


def stamp_fault(stamp: Any, window: Window) -> str | None:
    """The reason to refuse a stamp, or None."""
    if stamp is None:
        return "null_value"
    if isinstance(stamp, str) and NAIVE_STAMP.fullmatch(stamp):
        return "stamp_without_zone"
    if type(stamp) not in {int, float}:  # a bool is an int to isinstance
        return "wrong_type"
    if not math.isfinite(stamp) if isinstance(stamp, float) else False:
        return "not_finite"
    if stamp != int(stamp):
        return "wrong_type"
    if stamp < EARLIEST_MS:
        return "below_minimum"
    return "future_observation" if stamp > window.latest else None


def days_since_epoch(day: date) -> int:
    """Days since the epoch of a date."""
    return day.toordinal() - EPOCH_ORDINAL


def date_of(day: int) -> date:
    """The date that lies so many days after the epoch."""
    return date.fromordinal(day + EPOCH_ORDINAL)
