"""Volatilities against independent arithmetic, and the cases in which a naive formula fails."""

import itertools
import math
import statistics

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.snapshot.statistics import HOURS_PER_YEAR, realized_volatility_7d, volatility_7d

series = st.lists(st.floats(1e-12, 1e12), min_size=160, max_size=169)


@settings(max_examples=100, deadline=None)
@given(prices=series)
def test_volatility_is_the_population_standard_deviation(prices: list[float]) -> None:
    assert volatility_7d(np.array([prices]))[0] == pytest.approx(statistics.pstdev(prices), rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(prices=series)
def test_realized_volatility_is_the_annualised_sample_deviation_of_log_returns(prices: list[float]) -> None:
    returns = [math.log(after / before) for before, after in itertools.pairwise(prices)]
    expected = statistics.stdev(returns) * math.sqrt(HOURS_PER_YEAR)
    assert realized_volatility_7d(np.array([prices]))[0] == pytest.approx(expected, rel=1e-9)


@settings(max_examples=100, deadline=None)
@given(data=st.data())
def test_a_row_has_the_same_bits_whatever_its_neighbours(data: st.DataObject) -> None:
    prices = st.floats(0, 1e308) | st.sampled_from([0.0, 5e-324, 1e-200, 1e200])
    rows = data.draw(st.lists(st.lists(prices, min_size=160, max_size=160), min_size=2, max_size=4))
    for statistic in (volatility_7d, realized_volatility_7d):
        together = statistic(np.array(rows))
        alone = np.concatenate([statistic(np.array([row])) for row in rows])
        assert together.tobytes() == alone.tobytes()


def test_a_known_week_has_the_value_worked_out_by_hand() -> None:
    prices = np.array([[1.0, math.e] * 84])
    assert volatility_7d(prices)[0] == pytest.approx((math.e - 1) / 2)
    assert realized_volatility_7d(prices)[0] == pytest.approx(math.sqrt((167 - 1 / 167) / 166 * 8760))


@pytest.mark.parametrize("price", [0.1, 1 / 3, 7e-10, 123456.789, 5e-324, 1.7e308], ids=str)
def test_a_constant_week_has_exactly_no_volatility(price: float) -> None:
    week = np.full((3, 168), price)
    assert volatility_7d(week).tolist() == [0.0] * 3
    assert realized_volatility_7d(week).tolist() == [0.0] * 3


@pytest.mark.parametrize("scale", [-1060, -700, -500, 0, 400, 900, 1000])
def test_prices_near_the_ends_of_the_doubles_keep_their_volatility(scale: int) -> None:
    week = np.ldexp(np.array([[1.0, 3.0] * 84]), scale)
    assert volatility_7d(week)[0] == np.ldexp(1.0, scale)


def test_a_tiny_wobble_on_a_large_price_is_not_lost() -> None:
    week = np.array([[1e9, 1e9 + 2**-20] * 84])
    assert volatility_7d(week)[0] == 2**-21


@pytest.mark.parametrize(("points", "exists"), [(159, False), (160, True), (168, True), (0, False)])
def test_fewer_than_160_points_make_no_week(points: int, exists: bool) -> None:
    prices = np.linspace(1, 2, points)[np.newaxis]
    assert bool(np.isfinite(volatility_7d(prices))[0]) is exists
    assert bool(np.isfinite(realized_volatility_7d(prices))[0]) is exists


@pytest.mark.parametrize("price", [0.0, -1.0, -0.0])
def test_a_price_that_is_not_positive_has_no_logarithm_but_a_deviation(price: float) -> None:
    week = np.linspace(1, 2, 168)
    week[80:82] = price
    assert np.isnan(realized_volatility_7d(week[np.newaxis]))[0]
    assert volatility_7d(week[np.newaxis])[0] > 0


def test_an_overflow_is_null_and_stays_in_its_row() -> None:
    week = np.array([[5e-324, 1.7e308] * 84, [1.0, 2.0] * 84])
    assert np.isnan(realized_volatility_7d(week)).tolist() == [True, False]
    assert volatility_7d(week).tolist() == [0.85e308, 0.5]
