"""Equal means equal in every bit."""

import math
import struct
from datetime import UTC, datetime

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinbeam.contracts import load_contract
from serving.lakehouse.difference import compared
from serving.lakehouse.equality import Inequality, differing, first_inequality

PAIRS: dict[str, tuple[float | None, float | None, bool]] = {
    "the same": (0.1, 0.1, False),
    "the next double": (0.3, math.nextafter(0.3, 1), True),
    "two zeros": (0.0, -0.0, True),
    "two NaN": (math.nan, math.nan, False),
    "NaN and null": (math.nan, None, True),
    "null and 0": (None, 0.0, True),
    "two nulls": (None, None, False),
}


@pytest.mark.parametrize(("one", "other", "differs"), PAIRS.values(), ids=PAIRS)
def test_doubles(one: float | None, other: float | None, differs: bool) -> None:
    columns = [pa.chunked_array([pa.array([value], pa.float64())]) for value in (one, other)]
    assert differing(*columns).to_pylist() == [differs]


@given(st.lists(st.tuples(st.floats() | st.none(), st.floats() | st.none())))
def test_a_mask_says_where_the_bits_differ(pairs: list[tuple[float | None, float | None]]) -> None:
    one, other = (pa.chunked_array([pa.array([pair[side] for pair in pairs], pa.float64())]) for side in (0, 1))
    bits = [[None if value is None else struct.pack("<d", value) for value in pair] for pair in pairs]
    assert differing(one, other).to_pylist() == [left != right for left, right in bits]


def table(*rows: tuple[str, float | None]) -> pa.Table:
    """Rows of a key and a number."""
    return pa.table(
        {
            "k": pa.array([key for key, _ in rows], pa.string()),
            "x": pa.array([number for _, number in rows], pa.float64()),
        }
    )


CASES: dict[str, tuple[pa.Table, pa.Table, Inequality | None]] = {
    "another order": (table(("a", 1.0), ("b", 2.0)), table(("b", 2.0), ("a", 1.0)), None),
    "another value": (table(("a", 1.0), ("b", 2.0)), table(("b", 3.0), ("a", 1.0)), Inequality("x", ("b",), 2.0, 3.0)),
    "a missing row": (table(("a", 1.0), ("b", 2.0)), table(("b", 2.0)), Inequality(None, ("a",), "a row", None)),
    "a row too many": (table(("a", 1.0)), table(("a", 1.0), ("b", 2.0)), Inequality(None, ("b",), None, "a row")),
    "no rows at all": (table(), table(), None),
    "nothing arrived": (table(("a", 1.0)), table(), Inequality(None, ("a",), "a row", None)),
}


@pytest.mark.parametrize(("expected", "found", "unequal"), CASES.values(), ids=CASES)
def test_the_first_inequality(expected: pa.Table, found: pa.Table, unequal: Inequality | None) -> None:
    assert first_inequality(expected, found, ["k"]) == unequal


def test_two_states_are_compared_by_key_and_column() -> None:
    contract = load_contract("fear_greed_fact")
    day = [datetime(2024, 1, number, tzinfo=UTC).date() for number in (1, 2, 3)]
    old = pa.table({"date": day[:2], "value": [1, 2], "classification": ["Fear", "Fear"]})
    new = pa.table({"date": day[1:], "value": [3, 4], "classification": ["Fear", "Greed"]})
    found = compared(contract, old, new)
    assert (found.added, found.removed, found.changed, found.columns) == (1, 1, 1, {"value": 1})
    [change] = found.sample
    assert (change.key, change.column, change.before, change.after) == ({"date": day[1]}, "value", 2, 3)
