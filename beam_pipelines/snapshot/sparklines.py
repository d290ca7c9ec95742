"""Sparklines of a page as two-dimensional blocks, and their statistics row by row."""

from collections.abc import Sequence
from operator import itemgetter
from typing import Any

import numpy as np
import simdjson

from beam_pipelines.snapshot.rules import SPARKLINE_FIELD
from beam_pipelines.snapshot.statistics import MIN_POINTS, realized_volatility_7d, volatility_7d
from coinbeam.contracts.values import Doubles

Prices = Any
"""What a sparkline says: an array, lazy or not, None where there is none, or ``MALFORMED``."""

MALFORMED = "malformed"
"""Stands for a sparkline that is neither null nor an object with ``price``; like any text it is no array."""

_ARRAY_OPENS = b"["


def read_prices(rows: Sequence[Any]) -> list[Prices]:
    """The prices of each row's sparkline."""
    try:
        return list(map(itemgetter("price"), map(itemgetter(SPARKLINE_FIELD), rows)))
    except (KeyError, TypeError, IndexError):  # some row is no row, or has no sparkline
        return list(map(prices_of, rows))


def prices_of(row: Any) -> Prices:
    """The prices of one row's sparkline."""
    if not isinstance(row, (simdjson.Object, dict)):
        return None
    sparkline = row.get(SPARKLINE_FIELD)
    if sparkline is None:
        return None
    return sparkline.get("price", MALFORMED) if isinstance(sparkline, (simdjson.Object, dict)) else MALFORMED


def holds_flat_arrays(body: bytes, prices: Sequence[Prices]) -> bool:
    """Whether no price array holds another array: the body has no more brackets than the page and its price arrays
    need.

    A lazy array reads through nested arrays in silence. Comparing bytes is a hundredth of the work of looking at
    every price.
    """
    allowed = 1 + list(map(type, prices)).count(simdjson.Array)
    position = body.find(_ARRAY_OPENS)
    while position >= 0 and allowed:  # find is memchr; count looks at one byte after the other
        allowed -= 1
        position = body.find(_ARRAY_OPENS, position + 1)
    return position < 0 and allowed == 0


def sparkline_statistics(prices: Sequence[Prices], *, flat: bool = False) -> tuple[Doubles, int]:
    """Both volatilities of each row.

    Args:
        prices: the prices of each row.
        flat: no lazy array holds another array.

    Returns:
        a block of two rows (volatility_7d, realized_volatility_7d; NaN for null), and the number of sparklines that are
        unusable: neither null nor an array of finite numbers.
    """
    block = _block_of_equal_lengths(prices) if flat else None
    if block is not None:
        return np.stack([volatility_7d(block), realized_volatility_7d(block)]), 0
    result = np.full((2, len(prices)), np.nan)
    unusable = 0
    by_length: dict[int, list[tuple[int, Doubles]]] = {}
    for position, given in enumerate(prices):
        points = _points(given, flat=flat)
        if points is None:
            unusable += 1
        elif len(points) >= MIN_POINTS:
            by_length.setdefault(len(points), []).append((position, points))
    for group in by_length.values():
        block = np.stack([points for _, points in group])
        result[:, [position for position, _ in group]] = volatility_7d(block), realized_volatility_7d(block)
    return result, unusable


def _block_of_equal_lengths(prices: Sequence[Prices]) -> Doubles | None:
    """All prices as one block, when they are lazy arrays of numbers of one length; else None."""
    if set(map(type, prices)) != {simdjson.Array} or len(set(map(len, prices))) != 1:
        return None
    try:
        joined = b"".join([array.as_buffer(of_type="d") for array in prices])
    except TypeError:
        return None
    return np.frombuffer(joined, np.float64).reshape(len(prices), -1)


def _points(prices: Prices, *, flat: bool) -> Doubles | None:
    """The prices of one sparkline; empty for null, None when they are not finite numbers."""
    if prices is None:
        return np.empty(0)
    if isinstance(prices, simdjson.Array):  # its numbers are finite by its parser
        if not flat and simdjson.Array in set(map(type, prices)):
            return None
        try:
            return np.frombuffer(prices.as_buffer(of_type="d"), np.float64)
        except TypeError:
            return None
    if not isinstance(prices, list) or not set(map(type, prices)) <= {int, float}:
        return None
    try:
        points = np.array(prices, np.float64)
    except OverflowError:
        return None
    return points if np.isfinite(points).all() else None
