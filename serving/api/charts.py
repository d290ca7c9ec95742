"""Charts of one asset: every price with the time at which it was observed."""

from typing import Any, NamedTuple

import numpy as np

from coinbeam.bundle.grid import Doubles
from serving.api.answers import invalid, not_held
from serving.api.view import View

DAY_MILLIS = 86_400_000
FINE_DAYS = 90
"""Up to so many days a chart has every snapshot, and beyond one point a day; the rule is CoinGecko's."""


class Span(NamedTuple):
    """A range of time, milliseconds since the epoch, both ends included."""

    first: int
    last: int


def chart(view: View, currency: str, number: int | None, span: Span, interval: str | None, places: int | None) -> Any:
    """The body of ``/market_chart``.

    Args:
        number: of the asset, or None when no price of it was ever observed.
        interval: ``daily``, ``hourly``, or None, which chooses by the length of the range.
        places: decimal places of prices.

    Raises:
        Refusal: an interval that is finer than what was ever observed.
    """
    if interval == "5m":
        raise not_held("A price every 5 minutes")
    is_fine = interval == "hourly" or (interval is None and span.last - span.first <= FINE_DAYS * DAY_MILLIS)
    if number is None:
        return {"prices": [], "market_caps": [], "total_volumes": []}
    points = _points(view, "charts", currency, number, span)
    newest = span if is_fine else Span(max(span.first, span.last - DAY_MILLIS), span.last)
    fine = _points(view, "intraday", currency, number, newest)
    if len(fine):
        # One point a day, and the newest observation at the end.
        points = _merged(points, fine if is_fine else fine[-1:])
    prices, caps, volumes, observed = points.T
    times = observed.astype(np.int64).tolist()
    found = {"prices": prices if places is None else np.round(prices, places), "market_caps": caps}
    return {
        name: list(zip(times, _nullable(v), strict=True)) for name, v in (found | {"total_volumes": volumes}).items()
    }


def _points(view: View, kind: str, currency: str, number: int, span: Span) -> Doubles:
    """Prices, market caps, volumes and times of an asset that were observed within a range, one row each."""
    # A point is observed up to a day after the instant that it stands for, or some time before it.
    _, found = view.bundle.series(kind, currency, number, span.first - DAY_MILLIS, span.last + DAY_MILLIS)
    observed = found[:, 3]
    return found[(observed >= span.first) & (observed <= span.last)]


def _merged(points: Doubles, fine: Doubles) -> Doubles:
    """Two series as one, ascending; of one observation that both have, one point."""
    joined = np.concatenate([points, fine])
    if len(points) and fine[0, 3] <= points[-1, 3]:
        return joined[np.unique(joined[:, 3], return_index=True)[1]]
    return joined


def _nullable(values: Doubles) -> list[float | None]:
    found: list[float | None] = values.tolist()
    return [None if value != value else value for value in found] if np.isnan(values).any() else found


def span_of_days(days: float | None, now: int, first: int) -> Span:
    """The last days, or all."""
    return Span(first if days is None else max(round(now - days * DAY_MILLIS), first), now)


def span_of_range(first: int, last: int) -> Span:
    """A range as it was given.

    Raises:
        Refusal: it ends before it starts.
    """
    if last < first:
        raise invalid("to", "it lies before from")
    return Span(first, last)
