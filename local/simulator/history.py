"""``/coins/{id}/market_chart`` and ``/range``: the past of one coin, at the granularity of the real API."""

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Literal

import numpy as np

from local.simulator.market import Market, bucket_start, jitter

Step = Literal["5-minutely", "hourly", "daily"]

STEP_MS: dict[Step, int] = {"5-minutely": 300_000, "hourly": 3_600_000, "daily": 86_400_000}

_JITTER_MS: dict[Step, int] = {"5-minutely": 60_000, "hourly": 100_000, "daily": 0}
"""How late stamps are: those of captured hourly charts are up to 100 s after the hour, daily ones are exact."""

_SETTLED_MS: dict[Step, int] = {"5-minutely": 120_000, "hourly": 180_000, "daily": 2_100_000}
"""How long after its nominal stamp a point appears, longer than its jitter and the cache together. Source for the day:
the API's documentation of market_chart."""

FIRST_DAY = datetime.fromisoformat("2013-04-28T00:00:00+00:00")
"""The source has no prices before."""


@dataclass(frozen=True)
class Span:
    """A stretch of history; ``with_now`` closes it with a point for "now", which is no closed day or hour."""

    start: datetime
    end: datetime
    step: Step
    with_now: bool


def granularity(days: float) -> Step:
    """The step that the API chooses when it is not told: 5 minutes for a day, hours up to 90 days, then days."""
    if days <= 1:
        return "5-minutely"
    return "hourly" if days <= 90 else "daily"


def last_days(days: int, now: datetime, step: Step) -> Span:
    """The span of ``days=N``: N whole days of closed points, then "now"."""
    width = STEP_MS[step]
    last = (_ms(now) - _SETTLED_MS[step]) // width * width
    count = days * 86_400_000 // width
    start = FIRST_DAY + timedelta(milliseconds=last - (count - 1) * width - _ms(FIRST_DAY))
    return Span(start, now, step, with_now=True)


def between(start: datetime, end: datetime, now: datetime) -> Span:
    """The span of a range query; it closes with "now" when it reaches so far."""
    step = granularity((end - start) / timedelta(days=1))
    return Span(start, min(end, now), step, with_now=end >= now)


def chart(market: Market, slot: int | None, span: Span, rate: float, now: datetime) -> dict[str, list[list[float]]]:
    """The three series of a chart as [epoch milliseconds, value]; without points for a coin without a price.

    Args:
        market: the market.
        slot: the coin; None for one that is listed but has no market.
        span: which stretch.
        rate: units of the quote currency per US dollar.
        now: the present instant; the last point carries the price of its cache bucket, as /coins/markets does.
    """
    if slot is None or market.catalogue.flag("unpriced")[slot]:
        return {"prices": [], "market_caps": [], "total_volumes": []}
    # late by the jitter of their step, none of them after now
    width, settled = STEP_MS[span.step], _ms(now) - _SETTLED_MS[span.step]
    first = -(-_ms(max(span.start, FIRST_DAY)) // width) * width
    closed = np.arange(first, min(_ms(span.end), settled) + 1, width, dtype=np.int64)
    closed = closed + jitter(market.catalogue.seed, slot, closed, _JITTER_MS[span.step])
    stamps = np.append(closed, _ms(bucket_start(now))) if span.with_now else closed[closed <= _ms(span.end)]
    hours, slots = stamps / 3_600_000, np.array([slot])
    price = market.prices(slots, hours)[0] * rate
    supply = 0.0 if market.catalogue.flag("zero_cap")[slot] else market.catalogue.number("circulating")[slot]
    volume = market.volumes(slots, hours)[0] * rate
    series = {"prices": price, "market_caps": price * supply, "total_volumes": volume}
    return {
        name: [[stamp, value] for stamp, value in zip(stamps.tolist(), values.tolist(), strict=True)]
        for name, values in series.items()
    }


def _ms(moment: datetime) -> int:
    return round(moment.timestamp() * 1000)
