"""How the end of a run is judged by the states of its tasks."""

from typing import Any

import pytest

from coinbeam.contracts import Rule, Severity
from coinbeam.feeds.ending import TaskEnd, count_by_status, outcome, tasks_of_batch
from coinbeam.feeds.plan import Mode
from coinbeam.quality import Result, Status
from tests.coinbeam.feeds.test_plan import plan


def ended(**states: str) -> list[TaskEnd]:
    """Tasks in their final states, of a tenth of a second each."""
    return [TaskEnd(name, state, 0.1234) for name, state in states.items()]


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
    tasks = [TaskEnd("verify", "success", 1.23456), TaskEnd("load", "skipped", 0.0), TaskEnd("plan", "success", None)]
    assert outcome(plan(), tasks, {}).task_seconds == {"verify": 1.235}


@pytest.mark.parametrize(("state", "counts"), [("success", True), ("skipped", False), ("failed", False)])
def test_a_job_counts_only_when_it_succeeded(state: str, counts: bool) -> None:
    assert (
        "populate_crypto_asset_dim" in outcome(plan(), ended(populate_crypto_asset_dim=state), {}).succeeded
    ) is counts


def crumb(task_id: str, state: str, map_index: int = -1) -> dict[str, Any]:
    """A task that ended, as Airflow tells it."""
    return {"task_id": task_id, "map_index": map_index, "state": state, "operator": "x", "duration": 1.0}


@pytest.mark.parametrize("order", [1, -1], ids=["the calendar first", "the calendar last"])
def test_a_failed_task_of_a_group_is_not_hidden_by_one_of_the_same_name(order: int) -> None:
    crumbs = [crumb("calendar.publish", "failed"), crumb("publish", "upstream_failed")][::order]
    judged = outcome(plan(), tasks_of_batch(crumbs, "record_batch", -1), {"calendar.publish": "no"})
    assert (judged.status, judged.error) == ("failed", "calendar.publish: no")
    assert set(judged.task_seconds) == {"calendar.publish", "publish"}


def test_a_mapped_batch_is_judged_by_its_own_tasks_named_without_their_group() -> None:
    crumbs = [
        crumb("plan_backfill", "success"),
        crumb("calendar.publish", "failed"),
        crumb("history_batch.fetch_market_history", "success", 0),
        crumb("history_batch.verify", "success", 0),
        crumb("history_batch.fetch_market_history", "failed", 1),
    ]
    first, second = (
        outcome(plan(), tasks_of_batch(crumbs, "history_batch.record_batch", index), {}) for index in (0, 1)
    )
    assert first.status == "published"
    assert first.succeeded == set(first.task_seconds) == {"fetch_market_history", "verify"}
    assert second.error == "fetch_market_history: see its log"


def test_a_long_error_is_cut() -> None:
    assert len(outcome(plan(), ended(audit="failed"), {"audit": "x" * 9_000}).error or "") == 2_000


def test_results_are_counted_by_status() -> None:
    rule = Rule("r", "q", "=", 0, Severity.ERROR, "d")
    results = [Result("t", rule, status, 0.0, "m") for status in (Status.PASSED, Status.PASSED, Status.WARNING)]
    assert count_by_status(results) == {"passed": 2, "warning": 1}
