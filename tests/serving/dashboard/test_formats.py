"""Numbers and instants as people read them, for any number that there is."""

import math
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from serving.dashboard import formats


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (98_584.904, "$98,584.90"),
        (1.0, "$1.00"),
        (0.9995, "$0.9995"),
        (0.000007865123, "$0.000007865"),
        (1.5e-15, "$1.500e-15"),
        (0, "$0.00"),
        (-2.5, "-$2.50"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_a_price_has_the_digits_that_matter(value: float | None, text: str) -> None:
    assert formats.price(value, "usd") == text


def test_a_currency_without_a_symbol_is_named() -> None:
    assert formats.price(2, "chf") == "2.00 CHF"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (3.1049e12, "$3.10T"),
        (999_950, "$1.00M"),
        (999_499, "$999K"),
        (12_345, "$12.3K"),
        (99_999, "$100K"),
        (427, "$427"),
        (0.5, "$0.50"),
        (-1.5e9, "-$1.50B"),
        (None, "–"),
    ],
)
def test_a_large_number_has_three_digits_and_a_letter(value: float | None, text: str) -> None:
    assert formats.amount(value, "usd") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(1.234, "▲ +1.23%"), (-1234.5, "▼ -1,234.50%"), (0.004, "0.00%"), (-0.004, "0.00%"), (None, "–")],
)
def test_a_change_says_its_direction_without_a_colour(value: float | None, text: str) -> None:
    assert formats.percent(value) == text


def read(text: str) -> float:
    """The number in a text."""
    scales = {"T": 1e12, "B": 1e9, "M": 1e6, "K": 1e3}
    bare = text.lstrip("▲▼ ").rstrip("%").replace(",", "")
    return float(bare.rstrip("TBMK")) * scales.get(bare[-1], 1)


@given(st.floats(1e-30, 1e18))
def test_a_price_is_read_back_within_half_a_digit(value: float) -> None:
    assert read(formats.price(value)) == pytest.approx(value, rel=5.1e-3 if value >= 1 else 5.1e-4)


@given(st.floats(1, 1e18))
def test_a_large_number_is_read_back_within_half_a_digit(value: float) -> None:
    assert read(formats.amount(value)) == pytest.approx(value, rel=5.1e-3)
    assert sum(letter.isdigit() for letter in formats.amount(value)) >= 1


@given(st.floats(-1e9, 1e9).filter(lambda value: abs(value) >= 0.006))
def test_arrow_and_sign_agree(value: float) -> None:
    text = formats.percent(value)
    assert text[0] == ("▲" if value > 0 else "▼")
    assert read(text) == pytest.approx(value, abs=0.0051)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(seconds=-5), "0 s"),
        (timedelta(seconds=119), "119 s"),
        (timedelta(minutes=119), "119 min"),
        (timedelta(hours=47), "47 hours"),
        (timedelta(days=3), "3 days"),
    ],
)
def test_an_age_is_told_in_a_unit_that_it_fills_twice(span: timedelta, text: str) -> None:
    assert formats.age(span) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("2026-01-02T03:04:05Z", "2026-01-02 03:04 UTC"),
        (datetime(2026, 1, 2, 3, 4, tzinfo=UTC), "2026-01-02 03:04 UTC"),
        ("2026-01-02", "2026-01-02"),
        (1234567, "1,234,567"),
        (0.25, "0.2"),
        (True, "yes"),
        (None, "–"),
        ("published", "published"),
    ],
)
def test_a_cell_of_any_table_is_readable(value: Any, text: str) -> None:
    assert formats.readable(value) == text


def test_days_and_heads() -> None:
    assert (formats.day(date(2026, 1, 2)), formats.day(None), formats.title("rows_published")) == (
        "2026-01-02",
        "–",
        "Rows published",
    )
