"""What a refresh of the marts does: the publishes that it takes, and the dates that it recomputes."""

from collections.abc import Iterable
from datetime import date, timedelta

from pydantic import AwareDatetime, BaseModel, ConfigDict

LOOK_BACK_DAYS = 31
"""How far the longest window reads back: the volatility of 30 log returns needs 31 prices."""

SLICE_ROWS = 100_000
"""Asset days that one statement recomputes, which bounds its memory."""

SLICE_DAYS = 4_000
"""Most days of one statement: the powers of Wilder's average, (14/13)^days, stay below 1e130, far from overflow."""

MOST_SLICES = 40
"""Most statements of one refresh; the text of a script has a limit."""

_JOIN_GAP = timedelta(days=LOOK_BACK_DAYS)

Range = tuple[date, date]
"""First and last date, both included."""


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Publication(_Value):
    """A publish that the marts have not seen: the fact that it filled, and the first and last date that it touched.

    A batch that is published again, at another instant, is another publication.
    """

    batch_id: str
    table_name: str
    first_date: date
    last_date: date
    published_at: AwareDatetime


class Touched(_Value):
    """What of ``market_daily`` is recomputed.

    Attributes:
        assets: assets, by quote currency, with a changed day.
        first_date: first changed day of any; ``last_changed`` is the last one.
        last_date: last day that is recomputed.
        look_back_from: no earlier day is read.
    """

    assets: int
    first_date: date
    last_date: date
    last_changed: date
    look_back_from: date

    @property
    def slices(self) -> list[Range]:
        """The days to recompute, cut into stretches that bound memory and the powers of Wilder's average."""
        days = (self.last_date - self.first_date).days + 1
        width = min(SLICE_DAYS, max(SLICE_ROWS // self.assets, LOOK_BACK_DAYS, -(-days // MOST_SLICES)))
        firsts = [self.first_date + timedelta(days=offset) for offset in range(0, days, width)]
        return [(first, min(first + timedelta(days=width - 1), self.last_date)) for first in firsts]


class Latest(_Value):
    """Where the newest prices are of the assets for which another one may be the newest now.

    Attributes:
        first: first day that is read; ``last`` the last one.
        lost: assets of which no price may be left.
    """

    first: date
    last: date
    lost: int


class MartPlan(_Value):
    """One refresh, before it is done; ``model_dump(mode="json")`` and ``model_validate`` carry it between tasks.

    Attributes:
        publications: what it takes from the queue.
        market: dates that publishes of prices touched.
        sentiment: dates that publishes of the Fear & Greed index touched.
        trades: dates whose windows of trades were settled, and the day after each range.
        touched: what is recomputed, or None when no day changed.
        latest: where the newest prices are, or None when none may have changed.
        renamed: assets whose name became known, or another one, since their rows were written.
    """

    publications: tuple[Publication, ...]
    market: tuple[Range, ...]
    sentiment: tuple[Range, ...]
    touched: Touched | None
    latest: Latest | None
    refreshed_at: AwareDatetime
    renamed: int = 0
    trades: tuple[Range, ...] = ()

    @property
    def dates(self) -> Range:
        """First and last day on which a mart may change."""
        touched = [(self.touched.first_date, self.touched.last_date)] if self.touched else []
        return hull(
            [*self.market, *self.sentiment, *self.trades, *touched, *([self.overview] if self.overview else [])]
        )

    @property
    def overview(self) -> Range | None:
        """First and last day of ``market_overview`` that may change, or None."""
        bounds = [*self.sentiment]
        if self.touched:
            bounds.append((self.touched.first_date, self.touched.last_changed + timedelta(days=LOOK_BACK_DAYS)))
        return hull(bounds) if bounds else None


def joined(ranges: Iterable[Range], gap: timedelta = _JOIN_GAP) -> tuple[Range, ...]:
    """The same dates in fewer ranges, in order: those that overlap, or lie within the gap, become one."""
    merged: list[Range] = []
    for first, last in sorted(ranges):
        if merged and first <= merged[-1][1] + gap:
            merged[-1] = (merged[-1][0], max(merged[-1][1], last))
        else:
            merged.append((first, last))
    return tuple(merged)


def hull(ranges: Iterable[Range]) -> Range:
    """The smallest range that holds all of them.

    Raises:
        ValueError: there is none.
    """
    firsts, lasts = zip(*ranges, strict=True)
    return min(firsts), max(lasts)
