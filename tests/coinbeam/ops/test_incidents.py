"""Incidents on the emulator: opened once, counted, closed by success."""

from dataclasses import replace
from datetime import timedelta
from threading import Barrier, Thread

import pytest

from coinbeam.contracts import load_contract
from coinbeam.errors import TerminalError
from coinbeam.ops.incidents import Failure, Incidents, recovery
from coinbeam.warehouse.client import Warehouse
from tests.coinbeam.conftest import DAY, Stage
from tests.temporary import LocalCloud

pytestmark = pytest.mark.cloud


def failure(
    task: str = "audit", kind: str = "PublishBlockedError", run: str = "r1", dag: str = "etl", message: str = "5 rules"
) -> Failure:
    """A failure of a task."""
    return Failure(dag, task, kind, f"Coinbeam: {dag}.{task} failed", message, run)


def at(stage: Stage, hour: int) -> Incidents:
    """The incidents, some hours into the day."""
    return Incidents(stage.warehouse, lambda: DAY + timedelta(hours=hour))


def test_the_first_failure_opens_and_the_next_ones_only_count(stage: Stage) -> None:
    told = [at(stage, hour).report(failure(run=f"r{hour}", message=f"number {hour}")) for hour in range(3)]
    assert told == [True, False, False]
    (row,) = stage.contents("incident")
    assert (row["opened_at"], row["last_seen_at"]) == (DAY, DAY + timedelta(hours=2))
    assert (row["occurrences"], row["last_run_id"], row["message"], row["closed_at"]) == (3, "r2", "number 2", None)


def test_success_closes_and_the_next_failure_is_a_new_incident(stage: Stage) -> None:
    at(stage, 0).report(failure())
    at(stage, 1).report(failure())
    (over,) = at(stage, 2).resolve("etl", {"audit", "publish"})
    assert recovery([over]) == "etl.audit: PublishBlockedError, open since 2026-01-02T00:00:00Z, 2 failures."
    assert at(stage, 3).resolve("etl", {"audit"}) == [], "told once"
    assert at(stage, 4).report(failure()) is True
    closed = {row["occurrences"]: row["closed_at"] for row in stage.contents("incident")}
    assert closed == {2: DAY + timedelta(hours=2), 1: None}


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(failure(task="verify"), id="another task"),
        pytest.param(failure(kind="TransientError"), id="another class of error"),
        pytest.param(failure(dag="marts"), id="another DAG"),
    ],
)
def test_another_cause_is_another_incident(stage: Stage, other: Failure) -> None:
    assert at(stage, 0).report(failure()) is True
    assert at(stage, 0).report(other) is True
    at(stage, 1).resolve("etl", {"audit"})
    left = {(i.dag_id, i.task_id) for i in at(stage, 1).open()}
    assert left == ({(other.dag_id, other.task_id)} if (other.dag_id, other.task_id) != ("etl", "audit") else set())


def test_only_tasks_that_succeeded_are_over(stage: Stage) -> None:
    at(stage, 0).report(failure())
    assert at(stage, 1).resolve("etl", {"fetch", "publish"}) == []
    assert len(at(stage, 1).open("etl")) == 1
    assert at(stage, 1).open("marts") == []


def test_failures_at_the_same_moment_are_told_by_one_of_them(stage: Stage) -> None:
    """Mapped tasks fail together; the record may hold each, but only one of them wakes a person."""
    start, told = Barrier(4), list[bool]()

    def fail(number: int) -> None:
        incidents = Incidents(Warehouse(stage.warehouse.settings), lambda: DAY + timedelta(microseconds=number))
        start.wait(30)
        told.append(incidents.report(failure()))

    threads = [Thread(target=fail, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    assert len(told) == 4
    assert 1 <= sum(told) < 4
    assert sum(row["occurrences"] for row in stage.contents("incident")) >= 4


def test_a_long_message_is_cut(stage: Stage) -> None:
    at(stage, 0).report(failure(message="x" * 5000))
    assert len(stage.contents("incident")[0]["message"]) == 2000


def test_without_a_table_nothing_is_open_and_a_report_fails_so_that_the_caller_sends(fresh_cloud: LocalCloud) -> None:
    incidents = Incidents(Warehouse(fresh_cloud.settings))
    assert incidents.open() == []
    assert incidents.resolve("etl", {"audit"}) == []
    with pytest.raises(TerminalError):
        incidents.report(failure())


def test_a_contract_describes_every_field_of_a_report() -> None:
    names = set(load_contract("incident").by_name)
    assert set(Failure.__annotations__) - {"run_id"} <= names


def test_an_incident_is_closed_by_its_own_batch_and_no_other(stage: Stage) -> None:
    assert at(stage, 0).report(replace(failure(), batch_id="monday")) is True
    (told,) = at(stage, 24).resolve("etl", {"audit", "verify"}, "tuesday", is_published=True)
    assert "Batch monday is still unresolved" in recovery([told], "tuesday")
    (left,) = at(stage, 24).open()
    assert (left.batch_id, left.recovered_at) == ("monday", DAY + timedelta(hours=24))
    assert at(stage, 48).resolve("etl", {"audit"}, "wednesday", is_published=True) == [], "told once"
    assert at(stage, 49).resolve("etl", {"verify"}, "monday", is_published=True) == [], "its end was told"
    assert at(stage, 49).open() == []


def test_a_published_batch_has_no_open_incident_whichever_task_had_failed(stage: Stage) -> None:
    at(stage, 0).report(replace(failure(task="populate_date_dim"), batch_id="monday"))
    assert at(stage, 1).resolve("etl", {"audit"}, "monday") == []
    (over,) = at(stage, 2).resolve("etl", {"verify"}, "monday", is_published=True)
    assert "unresolved" not in recovery([over], "monday")
    assert at(stage, 2).open() == []


def test_an_outage_is_one_alert_for_all_that_it_fails(stage: Stage) -> None:
    tasks = [("etl", "fetch"), ("etl", "populate"), ("fear_greed", "fetch_index"), ("etl", "fetch")]
    kinds = ["ApiTransientError", "UnreachableError", "UnreachableError", "ThrottledError"]
    told = [
        at(stage, hour).report(replace(failure(task, kind, dag=dag), batch_id=f"batch-{hour}"))
        for hour, ((dag, task), kind) in enumerate(zip(tasks, kinds, strict=True))
    ]
    assert told == [True, False, False, False]
    assert at(stage, 4).report(replace(failure(), batch_id="batch-4")) is True, "another cause is told"
    assert len(at(stage, 4).open()) == 5
    over = at(stage, 5).resolve("etl", {"fetch", "populate"}, "batch-5", is_published=True)
    assert {incident.batch_id for incident in over} == {"batch-0", "batch-1", "batch-3"}
    at(stage, 5).resolve("fear_greed", {"fetch_index"}, "batch-6", is_published=True)
    assert at(stage, 6).report(replace(failure("fetch", "ApiTransientError"), batch_id="batch-7")) is True, (
        "the next outage is another one"
    )


def test_a_batch_that_fails_again_is_open_again(stage: Stage) -> None:
    at(stage, 0).report(replace(failure(), batch_id="monday"))
    at(stage, 1).resolve("etl", {"audit"}, "tuesday")
    assert at(stage, 2).report(replace(failure(), batch_id="monday")) is False, "whoever runs it again is there"
    (left,) = at(stage, 2).open()
    assert (left.occurrences, left.recovered_at) == (2, None)
