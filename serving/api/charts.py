"""Charts of one asset: every price with the time at which it was observed."""

from typing import Any, NamedTuple

import numpy as np

from serving.api.answers import invalid, not_held
from serving.api.view import View

DAY_MILLIS = 86_400_000
FINE_DAYS = 90
"""Up to so many days a chart has every snapshot, and beyond one point a day; the rule is CoinGecko's."""

_COLUMNS = ("price", "market_cap", "total_volume", "observed_at")


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
    if not is_fine:  # one point a day, and the newest observation at the end
        fine = fine[:, -1:]
    if fine.shape[1]:
        points = _merged(points, fine)
    times = points[0].astype(np.int64).tolist()
    prices = points[1] if places is None else np.round(points[1], places)
    values = (prices, points[2], points[3])
    names = ("prices", "market_caps", "total_volumes")
    return {name: list(zip(times, _nullable(v), strict=True)) for name, v in zip(names, values, strict=True)}


def _points(view: View, kind: str, currency: str, number: int, span: Span) -> Any:
    """Times, prices, market caps and volumes of an asset that were observed within a range, one row each."""
    # A point is observed up to a day after the instant that it stands for.
    _, price, cap, volume, observed = view.bundle.series(
        kind, currency, number, _COLUMNS, span.first - DAY_MILLIS, span.last
    )
    inside = (observed >= span.first) & (observed <= span.last) & (observed > 0)
    return np.stack([observed[inside].astype(np.float64), price[inside], cap[inside], volume[inside]])


def _merged(points: Any, fine: Any) -> Any:
    """Two series as one, ascending; of one observation that both have, one point."""
    if points.shape[1] and fine[0, 0] <= points[0, -1]:
        joined = np.concatenate([points, fine], axis=1)
        return joined[:, np.unique(joined[0], return_index=True)[1]]
    return np.concatenate([points, fine], axis=1)


def _nullable(values: Any) -> list[float | None]:
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
