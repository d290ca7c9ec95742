"""The Fear & Greed index of alternative.me: one value a day, everything as strings."""

from datetime import UTC, date, datetime, timedelta

import numpy as np

from coinbeam.sources.alternative_me import FIRST_DAY, NEVER_PUBLISHED, classification
from local.simulator.noise import normals
from local.simulator.rendering import Row


def index_answer(seed: int, now: datetime, limit: int) -> Row:
    """The body of ``/fng/``: newest first, ``time_until_update`` on the newest only.

    Args:
        seed: seed of the market.
        now: the present instant, aware.
        limit: number of values; 0 for all.
    """
    today = now.astimezone(UTC).date()
    published = [today - timedelta(days=back) for back in range((today - FIRST_DAY).days + 1)]
    days = [day for day in published if day not in NEVER_PUBLISHED][: limit or None]
    entries = [_entry(day, value) for day, value in zip(days, _values(seed, days), strict=True)]
    if entries:
        midnight = datetime(today.year, today.month, today.day, tzinfo=UTC) + timedelta(days=1)
        entries[0]["time_until_update"] = str(int((midnight - now).total_seconds()))
    return {"name": "Fear and Greed Index", "data": entries, "metadata": {"error": None}}


def _entry(day: date, value: int) -> Row:
    midnight = datetime(day.year, day.month, day.day, tzinfo=UTC)
    return {
        "value": str(value),
        "value_classification": classification(value),
        "timestamp": str(int(midnight.timestamp())),
    }


def _values(seed: int, days: list[date]) -> list[int]:
    """Slow swings around the middle with a little noise of the day."""
    ordinals = np.array([day.toordinal() for day in days], dtype=np.int64)
    month, part = ordinals // 30, ordinals % 30 / 30
    swing = normals(seed, "fng", month) * (1 - part) + normals(seed, "fng", month + 1) * part
    values = 48 + 17 * swing + 3 * normals(seed, "fng day", ordinals)
    return [int(value) for value in np.clip(np.rint(values), 5, 95)]
