"""The marts: recomputed for what publishes touched since the last refresh, and never from the beginning."""

from coinbeam.marts.plan import (
    LOOK_BACK_DAYS,
    MOST_SLICES,
    SLICE_DAYS,
    SLICE_ROWS,
    MartPlan,
    Publication,
    Range,
    Touched,
    hull,
    joined,
)
from coinbeam.marts.refresh import Marts, Refresh

__all__ = [
    "LOOK_BACK_DAYS",
    "MOST_SLICES",
    "SLICE_DAYS",
    "SLICE_ROWS",
    "MartPlan",
    "Marts",
    "Publication",
    "Range",
    "Refresh",
    "Touched",
    "hull",
    "joined",
]
