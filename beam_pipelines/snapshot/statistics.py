"""Statistics of 7-day sparklines over a two-dimensional block: one row for each asset, one column for each hourly
price, oldest first.

A result that does not exist is NaN: too few points, a price that is not positive where a logarithm is taken, an
overflow.
"""

import math

import numpy as np

from coinbeam.contracts.values import Doubles

MIN_POINTS = 160
"""Fewest of the 168 hourly points that still make a week."""

HOURS_PER_YEAR = 8_760

# Beyond it the squares of deviations may have underflowed or overflowed; such rows are scaled by a power of two first.
_SQUARE_SAFE = (1e-140, 1e150)


def volatility_7d(prices: Doubles) -> Doubles:
    """Population standard deviation of the prices of each row, in the unit of the prices.

    Deviations are taken from the first price of the row before the mean is (shifted data, Chan, Golub and LeVeque
    1983), so that a nearly constant series does not lose its digits and a constant one has exactly 0.
    """
    if prices.shape[1] < MIN_POINTS:
        return np.full(len(prices), np.nan)
    with np.errstate(all="ignore"):
        result = _deviation(prices - prices[:, :1], freedom=0)
        is_safe = (result > _SQUARE_SAFE[0]) & (result < _SQUARE_SAFE[1])
        for row in np.flatnonzero(~is_safe):  # a constant row is among them
            result[row] = _scaled_deviation(prices[row])
    return _finite(result)


def realized_volatility_7d(prices: Doubles) -> Doubles:
    """Realised volatility of each row, as a fraction per year.

    Sample standard deviation of the hourly log returns ``ln(S[i] / S[i - 1])`` times the square root of the hours of a
    year. Source: Hull, Options, Futures and Other Derivatives, "Estimating volatility from historical data".
    """
    if prices.shape[1] < MIN_POINTS:
        return np.full(len(prices), np.nan)
    with np.errstate(all="ignore"):
        returns = prices[:, 1:] / prices[:, :-1]
        np.log(returns, out=returns)
        result = _deviation(returns, freedom=1)
        result *= math.sqrt(HOURS_PER_YEAR)
        if prices.min() <= 0:
            result[prices.min(axis=1) <= 0] = np.nan
    return _finite(result)


def _deviation(values: Doubles, freedom: int) -> Doubles:
    """Standard deviation of each row; overwrites its argument."""
    count = values.shape[1]
    values -= values.mean(axis=1, keepdims=True)
    np.square(values, out=values)
    return np.asarray(np.sqrt(values.sum(axis=1) / (count - freedom)))


def _scaled_deviation(prices: Doubles) -> float:
    """Population standard deviation of one row whose squares would leave the range of doubles."""
    exponent = int(np.frexp(np.abs(prices).max())[1])
    halved = np.ldexp(prices, -exponent - 1)  # below 1/2 each, so that no difference overflows either
    shifted = (halved - halved[:1])[np.newaxis]
    spread = int(np.frexp(np.abs(shifted).max())[1])
    deviation = _deviation(np.ldexp(shifted, -spread), freedom=0)[0]
    return float(np.ldexp(deviation, spread + exponent + 1))


def _finite(values: Doubles) -> Doubles:
    """The values, with NaN for what overflowed."""
    values[np.isinf(values)] = np.nan
    return values
