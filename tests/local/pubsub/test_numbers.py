"""Sets of sequence numbers as ranges, held to sets of Python."""

from hypothesis import given
from hypothesis import strategies as st

from local.pubsub.numbers import NumberSet

RANGES = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)), max_size=12)


def members(ranges: list[tuple[int, int]]) -> set[int]:
    """What the ranges hold."""
    return {number for start, end in ranges for number in range(start, end)}


@given(RANGES)
def test_it_holds_what_was_added_in_ranges_that_neither_overlap_nor_touch(ranges: list[tuple[int, int]]) -> None:
    held = NumberSet(ranges)
    assert {number for number in range(40) if number in held} == members(ranges)
    flat = [bound for one in held.ranges() for bound in one]
    assert flat == sorted(set(flat))


@given(RANGES, st.integers(0, 40))
def test_the_first_missing_number_is_found(ranges: list[tuple[int, int]], number: int) -> None:
    first = NumberSet(ranges).first_missing(number)
    assert first == next(at for at in range(number, 100) if at not in members(ranges))


@given(RANGES, st.integers(0, 40))
def test_what_is_below_a_number_is_left(ranges: list[tuple[int, int]], number: int) -> None:
    assert members(NumberSet(ranges).below(number).ranges()) == {at for at in members(ranges) if at < number}  # type: ignore[arg-type]


@given(st.lists(st.integers(0, 30)))
def test_numbers_of_any_order_are_added(numbers: list[int]) -> None:
    held = NumberSet()
    held.add_all(numbers)
    assert members(held.ranges()) == set(numbers)  # type: ignore[arg-type]
