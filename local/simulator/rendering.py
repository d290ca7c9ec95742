"""Numbers as the API writes them: rounded prices, integers without a fraction, null for unknown values."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import orjson

from local.simulator.noise import BoolArray, FloatArray, IntArray

Number = int | float | None
Row = dict[str, Any]

FULL = "full"
"""Value of ``precision`` that asks for unrounded prices."""

SIGNIFICANT_DIGITS = 6
"""Digits of a price below 1, as seen in captured answers."""


def to_json(value: object) -> bytes:
    """Compact JSON; numpy rows are written as arrays, NaN as null."""
    return orjson.dumps(value, option=orjson.OPT_SERIALIZE_NUMPY)


def display_prices(values: FloatArray, precision: str | None = None) -> list[Number]:
    """Prices as shown: whole from 10,000, two decimals from 1, six significant digits below.

    Args:
        values: NaN stands for null.
        precision: ``full``, or a number of decimals from 0 to 18; None for the usual display.
    """
    if precision == FULL:
        return numbers(values, whole=False)
    return numbers(_usual_rounding(values) if precision is None else np.round(values, int(precision)))


def _usual_rounding(values: FloatArray) -> FloatArray:
    size = np.abs(np.where(np.isfinite(values) & (values != 0), values, 1.0))
    digits = SIGNIFICANT_DIGITS - 1 - np.floor(np.log10(size))
    scale = 10.0 ** np.where(size >= 10_000, 0.0, np.where(size >= 1, 2.0, digits))
    rounded: FloatArray = np.round(values * scale) / scale
    return rounded


def percentages(values: FloatArray) -> list[Number]:
    """Percentages with five decimals."""
    return numbers(np.round(values, 5))


def money(values: FloatArray, exact: BoolArray | None = None) -> list[Number]:
    """Amounts in whole units, except where ``exact`` asks for the unrounded float: the API does both in one page."""
    rounded = np.rint(values)
    return numbers(rounded if exact is None else np.where(exact, values, rounded))


def numbers(values: FloatArray, whole: bool | BoolArray = True) -> list[Number]:
    """Python numbers: integers where ``whole`` allows it and there is no fraction, None for NaN."""
    cells: list[Number] = values.tolist()
    as_int = np.flatnonzero((values == np.floor(values)) & (np.abs(values) < 2**63) & whole)
    for position in as_int.tolist():
        cells[position] = int(values[position])
    for position in np.flatnonzero(np.isnan(values)).tolist():
        cells[position] = None
    return cells


def ranks(values: IntArray) -> list[Number]:
    """Ranks; 0 becomes null."""
    return [rank or None for rank in values.tolist()]


def blank(cells: Sequence[Any], where: BoolArray) -> list[Any]:
    """The same cells, None at some positions."""
    blanked = list(cells)
    for position in np.flatnonzero(where).tolist():
        blanked[position] = None
    return blanked
