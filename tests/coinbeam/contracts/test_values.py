"""One value is judged by its column: in the type and the bounds of the contract, or refused with a reason."""

from typing import Any

import numpy as np
import pytest

from coinbeam.contracts import Column
from coinbeam.contracts.values import INT64_RANGE, convert, fault_of, is_unpriced, number_bounds, smallest_number


def column(kind: str, **bounds: Any) -> Column:
    return Column("c", kind, "a column", "none", **bounds)


def test_an_exclusive_minimum_refuses_the_bound_and_nothing_above_it() -> None:
    price = column("FLOAT64", exclusive_minimum=0)
    assert smallest_number(price) == 5e-324
    assert (fault_of(0, price), fault_of(5e-324, price)) == ("below_minimum", None)


@pytest.mark.parametrize(
    "bad",
    [
        "a,b",
        'a"b',
        "a\nb",
        "a\rb",
        "a\tb",
        "a/b",
        "a\\b",
        "..",
        "a\u2028b",
        "a\u202eb",
        "a\u200bb",
        "\ufeffa",
        " a",
        "a ",
        " ",
        "a\xa0",
    ],
)
def test_an_id_that_the_source_cannot_send_is_refused(bad: str) -> None:
    assert fault_of(bad, Column("asset_id", "STRING", "an id", "none")) == "invalid_id"


@pytest.mark.parametrize("good", ["bitcoin", "1move token", "boringdao-[old]", "x.r2", "_", "币安人生"])
def test_ids_that_the_source_has_sent_are_kept(good: str) -> None:
    assert fault_of(good, Column("asset_id", "STRING", "an id", "none")) is None


def test_bounds_of_a_block_are_the_largest_doubles_where_a_contract_names_none() -> None:
    smallest, largest = number_bounds([column("FLOAT64"), column("FLOAT64", minimum=0, maximum=1)])
    limit = np.finfo(np.float64).max
    assert (smallest.tolist(), largest.tolist()) == ([[-limit], [0.0]], [[limit], [1.0]])


@pytest.mark.parametrize(
    ("value", "of", "reason"),
    [
        (None, column("STRING", required=True), "null_value"),
        ("", column("STRING", required=True), "null_value"),
        (1, column("STRING"), "wrong_type"),
        ("a\0", column("STRING"), "invalid_text"),
        ("\ud800", column("STRING"), "invalid_text"),
        ("abc", column("STRING", max_length=2), "too_long"),
        (True, column("FLOAT64"), "wrong_type"),
        (10**400, column("FLOAT64"), "not_finite"),
        (float("nan"), column("FLOAT64"), "not_finite"),
        (2, column("FLOAT64", maximum=1), "above_maximum"),
        (1.5, column("INT64"), "wrong_type"),
        (INT64_RANGE[1] + 1, column("INT64"), "above_maximum"),
        (INT64_RANGE[0] - 1, column("INT64"), "below_minimum"),
        ("yesterday", column("TIMESTAMP"), "wrong_type"),
    ],
)
def test_a_value_that_breaks_its_column_is_refused_with_a_reason(value: Any, of: Column, reason: str) -> None:
    assert fault_of(value, of) == reason


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        ("", "STRING", None),
        ("x", "STRING", "x"),
        (2.0, "INT64", 2),
        (3, "FLOAT64", 3.0),
        ("1970-01-01T00:00:01Z", "TIMESTAMP", 1_000_000),
    ],
)
def test_a_value_takes_the_type_of_its_column(value: Any, kind: str, expected: Any) -> None:
    found = convert(value, column(kind))
    assert (found, type(found)) == (expected, type(expected))


@pytest.mark.parametrize(
    ("price", "expected"), [(None, True), (0, True), (0.0, True), (False, False), ("0", False), (1e-9, False)]
)
def test_no_price_is_null_or_the_number_0(price: Any, expected: bool) -> None:
    assert is_unpriced(price) is expected
