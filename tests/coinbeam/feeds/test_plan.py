"""The plan of a batch: how its run is named, how it is shown, and how it passes between tasks."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from coinbeam.batch.kinds import SNAPSHOTS
from coinbeam.feeds.plan import Mode, run_identity
from coinbeam.feeds.snapshot.plan import SnapshotPlan, describe

SCHEDULED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


def plan(mode: str = Mode.FETCH, **values: Any) -> SnapshotPlan:
    """A plan as the first task makes it."""
    given: dict[str, Any] = {
        "batch_id": "20260102T0000Z-usd-all",
        "run_id": "manual__2026-01-02T00:00:00Z",
        "snapshot_at": "2026-01-02T00:00:00Z",
        "first_date": "2026-01-02",
        "stamp": "2026-01-02",
        "mode": mode,
        "reason": "because",
        "universe": "all",
        "quote_currency": "usd",
        "fetch_options": {},
        "assets_options": {},
        "source_id": None,
        "runner": "local",
        "output": "gs://bucket/batches/x",
        "started_at": "2026-01-02T00:01:00Z",
        "estimate": {
            "calls": 127,
            "minutes": 4.25,
            "rows": 18_000,
            "landing_bytes": 77_000_000,
            "file_bytes": 8_640_000,
            "dollars": 0.0,
            "credits_left": 9_000,
        },
    }
    return SnapshotPlan(**(given | values))


def test_the_same_type_and_instant_is_the_same_run() -> None:
    names = {run_identity("manual", SCHEDULED, run_id) for run_id in ("manual__a", "manual__b")}
    assert names == {"manual__2026-01-02T03:04:05Z"}


@pytest.mark.parametrize(
    "other", [run_identity("scheduled", SCHEDULED, "x"), run_identity("manual", SCHEDULED + timedelta(days=1), "x")]
)
def test_another_type_or_instant_is_another_run(other: str) -> None:
    assert other != run_identity("manual", SCHEDULED, "x")


def test_a_run_without_an_instant_keeps_its_own_name() -> None:
    assert run_identity("asset_triggered", None, "asset__1") == "asset__1"


def test_the_plan_in_words_holds_what_a_person_asks() -> None:
    text = describe(plan(banner="### SIMULATED ###"))
    assert text.splitlines()[0] == "### SIMULATED ###"
    for part in (
        "20260102T0000Z-usd-all",
        "fetch: because",
        "127 (9000 left this month)",
        "4.2 minutes",
        "18000",
        "77.0 MB",
        "$0.00",
    ):
        assert part in text


def test_a_plan_without_a_banner_has_no_empty_line() -> None:
    assert "" not in describe(plan()).split("\n")


def test_a_plan_survives_the_way_through_airflow() -> None:
    assert SnapshotPlan.from_dict(json.loads(json.dumps(plan().to_dict()))) == plan()


def test_a_plan_tells_the_batch_that_it_is_for() -> None:
    batch = plan(snapshot_at="2026-01-02T03:00:00Z", first_date="2026-01-01").batch
    assert (batch.feed, batch.instant) == (SNAPSHOTS, datetime(2026, 1, 2, 3, tzinfo=UTC))
    assert (batch.first_date, batch.last_date) == (date(2026, 1, 1), date(2026, 1, 2))
