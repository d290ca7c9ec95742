"""Time is aware and UTC; texts are read and written as ISO 8601."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinbeam.clock import format_instant, parse_instant, utc_now
from coinbeam.errors import SettingsError

OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
INSTANTS = st.datetimes(datetime(1990, 1, 1), datetime(2200, 1, 1), timezones=OFFSETS)  # noqa: DTZ001 - hypothesis wants naive bounds


def test_the_clock_of_production_is_aware_and_utc() -> None:
    assert utc_now().utcoffset() == timedelta(0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC), id="a date is its midnight"),
        pytest.param("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), id="Z is UTC"),
        pytest.param("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), id="no offset means UTC"),
        pytest.param(
            "2026-01-02T03:04:05+05:30", datetime(2026, 1, 1, 21, 34, 5, tzinfo=UTC), id="another offset is converted"
        ),
        pytest.param(
            "2026-01-02T03:04:05.25Z", datetime(2026, 1, 2, 3, 4, 5, 250_000, tzinfo=UTC), id="a fraction is kept"
        ),
    ],
)
def test_an_instant_is_read_as_aware_utc(text: str, expected: datetime) -> None:
    parsed = parse_instant(text)
    assert parsed == expected
    assert parsed.tzinfo is UTC


@pytest.mark.parametrize("text", ["", "yesterday", "02.01.2026", "2026-13-01", "2026-01-02T25:00:00Z", "1767312000"])
def test_what_is_no_instant_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(SettingsError, match=r"not an ISO 8601 instant.*2026-01-02T00:00:00Z") as caught:
        parse_instant(text)
    assert repr(text) in str(caught.value)


@given(INSTANTS)
def test_what_was_written_is_read_back_as_the_same_instant(moment: datetime) -> None:
    text = format_instant(moment)
    assert text.endswith("Z")
    assert parse_instant(text) == moment


def test_whole_seconds_are_written_without_a_fraction() -> None:
    assert format_instant(datetime(2026, 1, 2, 3, tzinfo=UTC)) == "2026-01-02T03:00:00Z"
