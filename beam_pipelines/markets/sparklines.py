"""Sparklines of a page as two-dimensional blocks, and their statistics row by row."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import simdjson

from beam_pipelines.markets.rules import Doubles
from beam_pipelines.markets.statistics import MIN_POINTS, realized_volatility_7d, volatility_7d

_DOUBLE_BYTES = 8


class UnusableSparkline(ValueError):
    """A sparkline that is neither null nor an array of finite numbers."""


def sparkline_statistics(values: Sequence[Any], *, flat: bool = False) -> tuple[Doubles, int]:
    """Both volatilities of each row.

    Args:
        values: the field ``sparkline_in_7d`` of each row: null or ``{"price": [...]}``.
        flat: the body is known to hold no arrays inside the price arrays.

    Returns:
        a block of two rows (volatility_7d, realized_volatility_7d; NaN for null), and the number of sparklines that are unusable.
    """
    result = np.full((2, len(values)), np.nan)
    by_size: dict[int, tuple[list[int], list[Any]]] = {}
    unusable = 0
    for position, value in enumerate(values):
        if value is None:
            continue
        try:
            points = _points(value, flat=flat)
        except UnusableSparkline:
            unusable += 1
            continue
        positions, rows = by_size.setdefault(points.nbytes, ([], []))
        positions.append(position)
        rows.append(points)
    for size, (positions, rows) in by_size.items():
        if size >= MIN_POINTS * _DOUBLE_BYTES:
            block = np.frombuffer(b"".join(rows), np.float64).reshape(len(rows), -1)
            result[:, positions] = volatility_7d(block), realized_volatility_7d(block)
    return result, unusable


def has_prices(value: Any) -> bool:
    """Whether the sparkline has an array of prices, whatever is in it."""
    return isinstance(value, (simdjson.Object, dict)) and isinstance(value.get("price"), (simdjson.Array, list))


def _points(value: Any, *, flat: bool) -> memoryview:
    """The prices of one sparkline as the bytes of doubles.

    Raises:
        UnusableSparkline: it is not what the API documents, or a price is not a finite number.
    """
    try:
        prices = value["price"]
    except (KeyError, TypeError, IndexError):
        raise UnusableSparkline from None
    if prices is None:
        return memoryview(b"")
    if isinstance(prices, simdjson.Array):
        return _lazy_points(prices, flat=flat)
    if not isinstance(prices, list) or not set(map(type, prices)) <= {int, float}:
        raise UnusableSparkline
    try:
        points = np.array(prices, np.float64)
    except OverflowError:
        raise UnusableSparkline from None
    if not np.isfinite(points).all():
        raise UnusableSparkline
    return memoryview(points.tobytes())


def _lazy_points(prices: simdjson.Array, *, flat: bool) -> memoryview:
    """The same of a lazy array, whose numbers are finite by its parser; it would read through nested arrays without a word."""
    if not flat and simdjson.Array in set(map(type, prices)):
        raise UnusableSparkline
    try:
        return memoryview(prices.as_buffer(of_type="d"))
    except TypeError:
        raise UnusableSparkline from None
