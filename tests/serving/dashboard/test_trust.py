"""Ages are those of now, and what needs a look is named."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from serving.dashboard import trust

NOW = datetime(2026, 1, 31, 6, tzinfo=UTC)
ROW = {"table": "latest_prices", "age_hours": 0.1, "stale_after_hours": 26, "state": "fresh"}


@pytest.mark.parametrize(
    ("newest", "hours", "state"),
    [
        ("2026-01-31T05:00:00Z", 1.0, "fresh"),
        ("2026-01-30", 30.0, "stale"),
        ("2026-01-27T06:00:00Z", 96.0, "too old"),
    ],
)
def test_the_age_of_a_table_goes_on_after_the_version_was_made(newest: str, hours: float, state: str) -> None:
    [row] = trust.freshness([ROW | {"newest": newest}], NOW)
    assert (row["age_hours"], row["state"]) == (hours, state)


def test_a_table_without_rows_keeps_its_state() -> None:
    empty = ROW | {"newest": None, "state": "empty"}
    assert trust.freshness([empty], NOW) == [empty]


def blocks(**rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [{"title": title.replace("_", " ").capitalize(), "rows": found} for title, found in rows.items()]


def test_nothing_is_complained_of_when_all_is_well() -> None:
    fresh = [ROW | {"newest": NOW.isoformat()}]
    assert trust.complaints(blocks(freshness=fresh, unresolved_batches=[], api_quota=[{"left": 1}]), 0, NOW) == []


def test_each_complaint_is_one_of_a_person_on_call() -> None:
    old = [ROW | {"newest": (NOW - timedelta(days=9)).isoformat()}]
    found = trust.complaints(blocks(freshness=old, unresolved_batches=[{}, {}], open_incidents=[{}]), 3, NOW)
    assert found == [
        "latest_prices is too old",
        "unresolved batches: 2",
        "open incidents: 1",
        "failed quality rules: 3",
    ]


@pytest.mark.parametrize(
    ("text", "shown"),
    [('["a", "b"]', "a, b"), ('{"a": 1}', '{"a": 1}'), ("cut [", "cut ["), (None, "–"), (float("nan"), "–")],
)
def test_a_sample_is_one_line(text: Any, shown: str) -> None:
    assert trust.sample(text) == shown


def test_cells_are_readable_whatever_the_columns() -> None:
    cells = trust.cells([{"left": 8766, "opened_at": "2026-01-31T00:00:00Z"}], ["left", "opened_at", "message"])
    assert cells.values.tolist() == [["8,766", "2026-01-31 00:00 UTC", "–"]]
    assert list(cells.columns) == ["Left", "Opened at", "Message"]
