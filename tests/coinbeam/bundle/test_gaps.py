"""Gaps are told day by day, whatever lies around them."""

from datetime import date, timedelta

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from coinbeam.bundle.gaps import stretches


@given(st.lists(st.lists(st.booleans(), min_size=5, max_size=5), min_size=1, max_size=4))
def test_gaps_are_the_days_that_are_missing_between_days_that_are_there(held: list[list[bool]]) -> None:
    first = date(2026, 1, 1)
    padded = np.pad(np.array(held), ((0, 0), (1, 1)))
    found = stretches(padded, np.arange(first, first + timedelta(days=5)))
    spans = list(
        zip(found.numbers.tolist(), found.first.tolist(), found.last.tolist(), found.days.tolist(), strict=True)
    )
    gone = {(number, begin + timedelta(days=n)) for number, begin, _, days in spans for n in range(days)}
    newest = max((n for row in held for n, is_held in enumerate(row) if is_held), default=-1)
    expected = {
        (place, first + timedelta(days=n))
        for place, row in enumerate(held)
        for n in range(newest + 1)
        if any(row[:n]) and not row[n]
    }
    assert gone == expected
    assert all(days == (last - begin).days + 1 for _, begin, last, days in spans)
