"""Stretches of days without a price, read off the grids of charts."""

from typing import NamedTuple

import numpy as np

from coinbeam.bundle.grid import Matrix
from coinbeam.bundle.reader import Bundle

_DAY_MILLIS = 86_400_000


class Gaps(NamedTuple):
    """Stretches, one at each place: by the number of the asset, then by time.

    Attributes:
        numbers: the asset of each.
        first: first day without a price, ``datetime64[D]``; ``last`` the last one.
        days: how many.
    """

    numbers: Matrix
    first: Matrix
    last: Matrix
    days: Matrix


def gaps(bundle: Bundle, currency: str, end: int) -> Gaps:
    """The stretches of days without a price, after the first day of an asset and up to the newest day of the market.

    Args:
        end: what was observed later is not looked at, milliseconds since the epoch.
    """
    grids = [grid for grid in bundle.grids("charts", currency, 0, end) if grid.instants[0] <= end]
    instants = np.arange(grids[0].instants[0], end + 1, _DAY_MILLIS) if grids else np.empty(0, np.int64)
    held = np.zeros((len(bundle.assets), len(instants) + 2), bool)
    for grid in grids:
        inside = grid.labels <= end
        places = (grid.labels[inside] - instants[0]) // _DAY_MILLIS + 1
        held[: grid.height, places] = ~np.isnan(grid.column("observed_at")[:, inside])
    return stretches(held, instants.astype("datetime64[ms]").astype("datetime64[D]"))


def stretches(held: Matrix, days: Matrix) -> Gaps:
    """Runs of days that are not held between days that are; both ends of ``held`` are margins."""
    newest = int(np.flatnonzero(held.any(axis=0)).max(initial=0))
    first = np.where(held.any(axis=1), held.argmax(axis=1), held.shape[1])
    places = np.arange(held.shape[1])
    absent = ~held & (places >= first[:, None]) & (places <= newest)
    change = np.diff(absent.astype(np.int8), axis=1)
    rows, starts = np.nonzero(change == 1)
    _, ends = np.nonzero(change == -1)
    return Gaps(rows, days[starts], days[ends - 1], ends - starts)
