"""The Fear & Greed index of alternative.me: one value a day, everything as strings."""

from datetime import UTC, date, datetime, time, timedelta

import numpy as np

from coinbeam.sources.alternative_me import FIRST_DAY, NEVER_PUBLISHED, classification
from local.simulator.noise import normals
from local.simulator.rendering import Row


def index_answer(seed: int, now: datetime, limit: int) -> Row:
    """The body of ``/fng/``: newest first, ``time_until_update`` on the newest only; a limit of 0 gives all."""
    today = now.astimezone(UTC).date()
    published = [today - timedelta(days=back) for back in range((today - FIRST_DAY).days + 1)]
    days = [day for day in published if day not in NEVER_PUBLISHED][: limit or None]
    entries = [
        {
            "value": str(value),
            "value_classification": classification(value),
            "timestamp": str(int(_midnight(day).timestamp())),
        }
        for day, value in zip(days, _values(seed, days), strict=True)
    ]
    if entries:
        entries[0]["time_until_update"] = str(int((_midnight(today) + timedelta(days=1) - now).total_seconds()))
    return {"name": "Fear and Greed Index", "data": entries, "metadata": {"error": None}}


def _midnight(day: date) -> datetime:
    return datetime.combine(day, time(), UTC)


def _values(seed: int, days: list[date]) -> list[int]:
    """Slow swings around the middle with a little noise of the day."""
    ordinals = np.array([day.toordinal() for day in days], dtype=np.int64)
    month, part = ordinals // 30, ordinals % 30 / 30
    swing = normals(seed, "fng", month) * (1 - part) + normals(seed, "fng", month + 1) * part
    values = 48 + 17 * swing + 3 * normals(seed, "fng day", ordinals)
    return [int(value) for value in np.clip(np.rint(values), 5, 95)]
