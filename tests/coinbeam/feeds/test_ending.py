"""What a form asks for, how a run is named, and how its end is judged."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from coinbeam.batch.universe import UniverseSpec
from coinbeam.contracts import Rule, Severity
from coinbeam.errors import SettingsError
from coinbeam.feeds.ending import Ended, count_by_status, describe, outcome, present_instant, request_from, run_identity
from coinbeam.feeds.snapshot.plan import Mode
from coinbeam.feeds.snapshot.steps import BatchPlan
from coinbeam.quality import Result, Status
from coinbeam.settings import (
    Environment,
    GoogleSettings,
    MarketSettings,
    Period,
    Settings,
    StorageSettings,
    Universe,
)

SCHEDULED = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
FORM: dict[str, Any] = {
    "universe": "all",
    "ids": "",
    "top_n": 250,
    "category": "",
    "quote_currency": "usd",
    "replay_date": None,
    "snapshot_at": None,
    "source": "",
}


def settings(environment: Environment = Environment.LOCAL, period: Period = Period.DAILY) -> Settings:
    """Settings without the machine's variables."""
    return Settings(
        environment=environment,
        google=GoogleSettings(project="p"),
        storage=StorageSettings(bucket="bucket"),
        market=MarketSettings(period=period),
    )


def plan(mode: str = Mode.FETCH, **values: Any) -> BatchPlan:
    """A plan as the first task makes it."""
    given: dict[str, Any] = {
        "batch_id": "20260102T0000Z-usd-all",
        "run_id": "manual__2026-01-02T00:00:00Z",
        "snapshot_at": "2026-01-02T00:00:00Z",
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
    return BatchPlan(**(given | values))


@pytest.mark.parametrize(
    ("period", "named", "expected"),
    [
        pytest.param(
            Period.DAILY, {}, datetime(2026, 1, 2, tzinfo=UTC), id="an empty form means the day of the schedule"
        ),
        pytest.param(Period.HOURLY, {}, datetime(2026, 1, 2, 3, tzinfo=UTC), id="or its hour"),
        pytest.param(
            Period.DAILY,
            {"replay_date": "2025-12-24"},
            datetime(2025, 12, 24, tzinfo=UTC),
            id="a replay date is a midnight",
        ),
        pytest.param(
            Period.HOURLY,
            {"snapshot_at": "2025-12-24T07:00:00+02:00"},
            datetime(2025, 12, 24, 5, tzinfo=UTC),
            id="an instant is taken in its own time zone",
        ),
    ],
)
def test_the_form_names_the_snapshot(period: Period, named: dict[str, str], expected: datetime) -> None:
    assert request_from(FORM | named, SCHEDULED, settings(period=period)).snapshot_at == expected


def test_the_form_names_the_universe_and_the_currency() -> None:
    request = request_from(
        FORM | {"universe": "ids", "ids": " bitcoin, ethereum ,,", "quote_currency": "eur"}, SCHEDULED, settings()
    )
    assert request.universe == UniverseSpec(Universe.IDS, ids=("bitcoin", "ethereum"))
    assert request.quote_currency == "eur"
    assert request.batch_id.startswith("20260102T0000Z-eur-ids-")


def test_files_are_a_batch_of_their_own() -> None:
    with_files = request_from(FORM | {"source": "captures/*.json"}, SCHEDULED, settings())
    assert with_files.files == "captures/*.json"
    assert with_files.batch_id != request_from(FORM, SCHEDULED, settings()).batch_id


@pytest.mark.parametrize(
    ("fields", "named"),
    [
        pytest.param(
            {"replay_date": "2026-01-01", "snapshot_at": "2026-01-01"}, "replay_date and snapshot_at", id="two instants"
        ),
        pytest.param({"snapshot_at": "noon"}, "'noon'", id="no instant"),
        pytest.param(
            {"snapshot_at": "2026-01-01T12:34:00Z"},
            "start of a daily interval.*2026-01-01T00:00:00Z",
            id="within an interval",
        ),
        pytest.param({"universe": "moon"}, "'moon'", id="an unknown universe"),
        pytest.param({"universe": "top", "top_n": None}, "top_n", id="the largest without a number"),
        pytest.param({"universe": "ids", "ids": " , "}, "ids is empty", id="only commas for ids"),
        pytest.param({"universe": "category"}, "category", id="no category"),
        pytest.param({"quote_currency": "USD"}, "quote_currency is 'USD'", id="an upper-case currency"),
        pytest.param({"quote_currency": "u'd"}, "quote_currency", id="a currency that would break out of SQL"),
    ],
)
def test_a_wrong_field_is_refused_and_named(fields: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        request_from(FORM | fields, SCHEDULED, settings())


def test_files_never_enter_a_warehouse_that_is_not_local() -> None:
    with pytest.raises(SettingsError, match="source names files, but the warehouse is not local"):
        request_from(FORM | {"source": "captures/*.json"}, SCHEDULED, settings(Environment.PRODUCTION))


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
    assert BatchPlan.from_dict(plan().to_dict()) == plan()


def ended(**states: str) -> list[Ended]:
    """Tasks in their final states, of a tenth of a second each."""
    return [Ended(name, state, 0.1234) for name, state in states.items()]


@pytest.mark.parametrize(
    ("mode", "states", "status", "error"),
    [
        pytest.param(
            Mode.FETCH, {"audit": "success", "verify": "success"}, "published", None, id="a verified batch is published"
        ),
        pytest.param(
            Mode.FETCH,
            {"audit": "failed", "verify": "upstream_failed"},
            "failed",
            "audit: bad rows",
            id="a failed task is named",
        ),
        pytest.param(
            Mode.FETCH, {"load": "failed"}, "failed", "load: see its log", id="without its words it points at the log"
        ),
        pytest.param(
            Mode.FETCH,
            {"load": "failed", "audit": "failed"},
            "failed",
            "audit: bad rows; load: see its log",
            id="all are named",
        ),
        pytest.param(
            Mode.FETCH, {"audit": "success"}, "failed", "stopped before", id="a run stopped before its end failed"
        ),
        pytest.param(
            Mode.FETCH, {"verify": "skipped"}, "failed", "stopped before", id="a skipped verification proves nothing"
        ),
        pytest.param(Mode.GAP, {"choose_jobs": "success", "verify": "skipped"}, "gap", "because", id="a gap says why"),
        pytest.param(
            Mode.GAP, {"ensure_schema": "failed"}, "failed", "ensure_schema", id="a gap whose schema failed has failed"
        ),
    ],
)
def test_the_states_of_the_tasks_judge_the_run(
    mode: str, states: dict[str, str], status: str, error: str | None
) -> None:
    judged = outcome(plan(mode), ended(**states), {"audit": "bad rows"})
    assert judged.status == status
    assert judged.error == error if error is None else error in (judged.error or "")


def test_the_seconds_of_skipped_tasks_are_not_told() -> None:
    tasks = [Ended("verify", "success", 1.23456), Ended("load", "skipped", 0.0), Ended("plan", "success", None)]
    assert outcome(plan(), tasks, {}).seconds == {"verify": 1.235}


@pytest.mark.parametrize(("state", "counts"), [("success", True), ("skipped", False), ("failed", False)])
def test_a_job_counts_only_when_it_succeeded(state: str, counts: bool) -> None:
    assert (
        "populate_crypto_asset_dim" in outcome(plan(), ended(populate_crypto_asset_dim=state), {}).succeeded
    ) is counts


def test_a_long_error_is_cut() -> None:
    assert len(outcome(plan(), ended(audit="failed"), {"audit": "x" * 9_000}).error or "") == 2_000


def test_results_are_counted_by_status() -> None:
    rule = Rule("r", "q", "=", 0, Severity.ERROR, "d")
    results = [Result("t", rule, status, 0.0, "m") for status in (Status.PASSED, Status.PASSED, Status.WARNING)]
    assert count_by_status(results) == {"passed": 2, "warning": 1}


@pytest.mark.parametrize(
    ("period", "expected"), [(Period.DAILY, "2026-01-02T00:00:00Z"), (Period.HOURLY, "2026-01-02T03:00:00Z")]
)
def test_now_belongs_to_one_snapshot(period: Period, expected: str) -> None:
    assert present_instant(SCHEDULED, settings(period=period)) == expected


def test_a_landed_batch_is_asked_for_by_its_name() -> None:
    name = "20251224T0000Z-eur-ids-1a2b3c4d"
    request = request_from(
        FORM | {"replay_batch": name, "universe": "top", "snapshot_at": "2025-12-24"}, SCHEDULED, settings()
    )
    assert (request.batch_id, request.label, request.quote_currency) == (name, "ids-1a2b3c4d", "eur")
    assert request.snapshot_at == datetime(2025, 12, 24, tzinfo=UTC)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        pytest.param({"replay_batch": "yesterday"}, "names no snapshot", id="no name"),
        pytest.param(
            {"replay_batch": "20251224T0000Z-usd-all", "replay_date": "2025-12-25"},
            "another source or instant",
            id="two instants",
        ),
        pytest.param(
            {"replay_batch": "20251224T0000Z-usd-all", "source": "x/*"}, "another source or instant", id="files too"
        ),
        pytest.param({"replay_batch": "20251224T0000Z-usd-all-files-1a2b3c4d"}, "never landed", id="a batch of files"),
    ],
)
def test_a_replay_that_cannot_be_meant_is_refused(fields: dict[str, Any], said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        request_from(FORM | fields, SCHEDULED, settings())
