"""The rules that every DAG of the folder is held to: documented, bounded, told to a person, typed, and quiet when it is
parsed.
"""

import re
from collections.abc import Iterator
from typing import Any

import pytest

from coinbeam.batch.kinds import FEEDS
from coinbeam.batch.tables import TRADE_WINDOW_FACT
from coinbeam.marts.specs import MARTS
from coinbeam.settings import ROOT, HistorySettings, load_settings
from runs.airflow import BACKFILL_DAG, FEAR_GREED_DAG, MARTS_DAG, SNAPSHOT_DAG, STREAM_DAG, WITNESS_DAG
from runs.due import INDEX_AFTER, WITNESS_AFTER
from runs.execution import LONGEST_SECONDS
from tests.dags.schedules import DAILY

pytestmark = pytest.mark.xdist_group("dags")  # one database, one description

DAGS = (BACKFILL_DAG, SNAPSHOT_DAG, MARTS_DAG, FEAR_GREED_DAG, STREAM_DAG, WITNESS_DAG)
BATCH_DAGS = (BACKFILL_DAG, SNAPSHOT_DAG, FEAR_GREED_DAG)
FACTS = {feed.fact for feed in FEEDS if feed.feeds_marts} | {TRADE_WINDOW_FACT}
every_dag = pytest.mark.parametrize("name", DAGS)
every_batch_dag = pytest.mark.parametrize("name", BATCH_DAGS)


def tasks(described: dict[str, Any], name: str) -> dict[str, dict[str, Any]]:
    """The tasks of a DAG by their ids."""
    return dict(described["dags"][name]["tasks"])


def last_name(task_id: str) -> str:
    """The name of a task without those of its groups."""
    return task_id.rpartition(".")[2]


def upstream(graph: dict[str, dict[str, Any]], task_id: str) -> set[str]:
    """The tasks right before a task."""
    return {name for name, task in graph.items() if task_id in task["down"]}


def ancestors(graph: dict[str, dict[str, Any]], task_id: str) -> set[str]:
    """Every task that must end before a task."""
    found: set[str] = set()
    rest = {task_id}
    while rest:
        rest = {name for known in rest for name in upstream(graph, known)} - found
        found |= rest
    return found


def publishes(graph: dict[str, dict[str, Any]]) -> Iterator[str]:
    """The tasks that make facts visible."""
    return (name for name, task in graph.items() if FACTS & set(task["outlets"]))


def test_the_folder_parses_without_errors_without_beam_and_with_the_network_closed(described: dict[str, Any]) -> None:
    assert described["errors"] == {}
    assert described["imported"] == []


def test_every_schedule_is_the_one_of_the_table(described: dict[str, Any]) -> None:
    assert {name: dag["schedule"] for name, dag in described["dags"].items()} == DAILY


def test_the_folder_holds_six_dags(described: dict[str, Any]) -> None:
    assert set(described["dags"]) == set(DAGS)


@every_dag
def test_it_has_an_owner_tags_and_a_doc_that_says_what_to_do_when_it_failed(
    described: dict[str, Any], name: str
) -> None:
    dag = described["dags"][name]
    assert dag["owner"] == "data-platform"
    assert {"coinbeam", "local"} < set(dag["tags"])
    assert dag["description"].endswith(".")
    failed = dag["doc"].partition("### It failed. What now?")[2]
    assert "- **" in failed


@every_dag
def test_the_doc_explains_failures_of_tasks_that_exist(described: dict[str, Any], name: str) -> None:
    failed = described["dags"][name]["doc"].partition("### It failed. What now?")[2]
    named = {part.partition("**")[0] for part in failed.split("- **")[1:]}
    assert named <= {last_name(task) for task in tasks(described, name)}


@every_dag
def test_one_run_at_a_time_bounded_and_never_catching_up(described: dict[str, Any], name: str) -> None:
    dag = described["dags"][name]
    assert (dag["catchup"], dag["max_active_runs"]) == (False, 1)
    assert dag["timeout"] > max(task["timeout"] for task in dag["tasks"].values())


@every_dag
def test_every_task_is_bounded_retried_by_error_class_and_told_to_a_person(
    described: dict[str, Any], name: str
) -> None:
    retries = load_settings().retry.retries
    for task_id, task in tasks(described, name).items():
        assert task["timeout"] > 0, task_id
        assert task["policy"] == "RetryTransientErrors", task_id
        assert task["on_failure"] == ["alert_failure"], task_id
        assert task["retries"] == retries >= 1, task_id


@every_dag
def test_every_python_task_is_documented(described: dict[str, Any], name: str) -> None:
    for task_id, task in tasks(described, name).items():
        assert "Python" not in task["kind"] or task["doc"].endswith("."), task_id


@every_dag
def test_every_field_of_the_form_is_typed_and_explained(described: dict[str, Any], name: str) -> None:
    for field, schema in described["dags"][name]["params"].items():
        assert schema["title"], field
        assert schema["description"].endswith("."), field
        assert schema["type"] in ("string", "integer", "boolean", ["null", "string"]), field
        assert schema["type"] != "integer" or {"minimum", "maximum"} <= set(schema), field
        assert ("date" in field.split("_")) == (schema.get("format") == "date"), field


@every_dag
def test_a_form_that_is_sent_as_it_opens_is_valid(described: dict[str, Any], name: str) -> None:
    for field, schema in described["dags"][name]["params"].items():
        assert "enum" not in schema or schema["default"] in schema["enum"], field
        assert schema["default"] is not None or "null" in schema["type"], field


@every_dag
def test_the_last_task_closes_the_incidents_of_a_run_that_went_well(described: dict[str, Any], name: str) -> None:
    graph = tasks(described, name)
    last = [task_id for task_id, task in graph.items() if not task["down"]]
    assert len(last) == 1
    assert graph[last[0]]["on_success"] == ["resolve_incidents"]
    assert ancestors(graph, last[0]) == set(graph) - set(last), "it comes after every other task"


@every_batch_dag
def test_nothing_is_published_before_the_audit_and_everything_staged_is_audited(
    described: dict[str, Any], name: str
) -> None:
    graph = tasks(described, name)
    (publish,) = publishes(graph)
    (audit,) = upstream(graph, publish)
    assert last_name(audit) == "audit"
    staged = {
        task_id for task_id in graph if last_name(task_id).startswith("load_") and not task_id.startswith("calendar.")
    }
    assert len(staged) >= 2
    assert staged <= ancestors(graph, audit)


@every_batch_dag
def test_rejects_are_recorded_before_the_audit(described: dict[str, Any], name: str) -> None:
    graph = tasks(described, name)
    (audit,) = (task_id for task_id in graph if last_name(task_id) == "audit")
    (record,) = (task_id for task_id in graph if last_name(task_id) == "record_rejects")
    assert record in upstream(graph, audit)
    assert {last_name(task_id) for task_id in upstream(graph, record)} == {"load_rejected_record"}


@every_batch_dag
def test_the_record_is_written_whatever_happened_and_hides_no_failure(described: dict[str, Any], name: str) -> None:
    graph = tasks(described, name)
    (record,) = (task_id for task_id in graph if last_name(task_id) == "record_batch")
    assert graph[record]["teardown"]
    assert graph[record]["rule"] == "all_done_setup_success"
    assert {last_name(task_id) for task_id in upstream(graph, record)} == {"verify"}
    assert not any(task["teardown"] for task_id, task in graph.items() if task_id != record)


def test_the_marts_start_when_any_fact_was_published_and_by_nothing_else(described: dict[str, Any]) -> None:
    marts = described["dags"][MARTS_DAG]
    prices = {"crypto_market_snapshot_fact", "crypto_market_daily_fact", "trade_window_fact"}
    assert set(marts["assets"]) == FACTS == {*prices, "fear_greed_fact"}
    assert not marts["needs_all_assets"]


def test_every_fact_is_updated_by_the_publish_of_one_dag(described: dict[str, Any]) -> None:
    updated = {
        name: {
            asset
            for task_id in publishes(tasks(described, name))
            for asset in tasks(described, name)[task_id]["outlets"]
        }
        for name in BATCH_DAGS
    }
    assert updated == {
        SNAPSHOT_DAG: {"crypto_market_snapshot_fact"},
        BACKFILL_DAG: {"crypto_market_daily_fact"},
        FEAR_GREED_DAG: {"fear_greed_fact"},
    }


def test_the_marts_tell_what_they_recomputed_and_update_no_fact(described: dict[str, Any]) -> None:
    graph = tasks(described, MARTS_DAG)
    assert set(graph["refresh"]["outlets"]) == {mart.name for mart in MARTS}
    assert list(publishes(graph)) == []
    assert graph["plan_refresh"]["down"] == ["refresh"]
    assert graph["refresh"]["down"] == ["verify"]


def test_a_backfill_shows_its_plan_unless_told_otherwise(described: dict[str, Any]) -> None:
    assert described["dags"][BACKFILL_DAG]["params"]["dry_run"]["default"] is True


def test_a_backfill_plans_first_and_makes_the_calendar_before_any_batch(described: dict[str, Any]) -> None:
    graph = tasks(described, BACKFILL_DAG)
    batch = [task_id for task_id in graph if task_id.startswith("history_batch.")]
    assert all(graph[task_id]["is_mapped"] for task_id in batch)
    for task_id in batch:
        assert {"plan_backfill", "write_plan", "calendar.publish", "batches"} <= ancestors(graph, task_id), task_id
    assert not any(task["is_mapped"] for task_id, task in graph.items() if task_id not in batch)


def test_a_backfill_that_needs_no_calendar_goes_on_without_it(described: dict[str, Any]) -> None:
    graph = tasks(described, BACKFILL_DAG)
    assert graph["choose_calendar"]["down"] == ["batches", "calendar.populate_date_dim"]
    assert graph["batches"]["rule"] == "none_failed_min_one_success"


def test_a_backfill_asks_for_few_batches_at_a_time(
    described: dict[str, Any], described_production: dict[str, Any]
) -> None:
    job = "history_batch.fetch_market_history"
    assert tasks(described, BACKFILL_DAG)[job]["width"] == load_settings().history.max_parallel
    assert tasks(described_production, BACKFILL_DAG)[job]["width"] == HistorySettings().max_parallel


@pytest.mark.parametrize(
    ("error", "action"),
    [
        pytest.param("SettingsError: x", "FAIL", id="a wrong setting is not retried"),
        pytest.param("PublishBlockedError: x", "FAIL", id="a blocked publish is not retried"),
        pytest.param("TransientError: x", "DEFAULT", id="a transient error is retried"),
        pytest.param("ValueError: x", "DEFAULT", id="an unknown error is retried"),
        pytest.param(
            "RuntimeError: Beam process failed with return code 2", "FAIL", id="a job that says terminal is not retried"
        ),
        pytest.param(
            "RuntimeError: Beam process failed with return code 3", "FAIL", id="a job that was refused is not retried"
        ),
        pytest.param(
            "RuntimeError: Beam process failed with return code 1",
            "DEFAULT",
            id="a job that failed otherwise is retried",
        ),
    ],
)
def test_retries_follow_the_class_of_the_error(described: dict[str, Any], error: str, action: str) -> None:
    assert described["decisions"][error] == action


@every_dag
def test_retries_are_a_setting(described_production: dict[str, Any], name: str) -> None:
    assert {task["retries"] for task in tasks(described_production, name).values()} == {5}


@every_batch_dag
def test_production_launches_templates_and_waits_in_the_triggerer(
    described_production: dict[str, Any], name: str
) -> None:
    assert described_production["errors"] == {}
    assert described_production["imported"] == []
    jobs = [
        task
        for task in tasks(described_production, name).values()
        if "Job" in task["kind"] and "BigQuery" not in task["kind"]
    ]
    assert jobs
    assert {(job["kind"], job["deferrable"]) for job in jobs} == {("DataflowJobOperator", True)}
    assert all(job["timeout"] for job in jobs)


def test_the_job_of_the_small_profile_outlasts_all_tasks_of_a_day_one_after_another(described: dict[str, Any]) -> None:
    due = (SNAPSHOT_DAG, FEAR_GREED_DAG, WITNESS_DAG, MARTS_DAG)
    seconds = sum(task["timeout"] for name in due for task in tasks(described, name).values())
    text = (ROOT / "infra" / "modules" / "small" / "main.tf").read_text(encoding="utf-8")
    [timeout] = re.findall(r'timeout += "(\d+)s"', text)
    assert 0 < seconds < int(timeout) < LONGEST_SECONDS


def test_what_is_due_without_a_scheduler_is_due_at_the_instants_of_the_schedules(described: dict[str, Any]) -> None:
    minutes = {FEAR_GREED_DAG: INDEX_AFTER, WITNESS_DAG: WITNESS_AFTER}
    for name, after in minutes.items():
        assert described["dags"][name]["schedule"] == f"{after.seconds // 60} 0 * * *"


def due(cron: str) -> str:
    """The instant of a day at which a daily schedule is due."""
    minute, hour, *rest = cron.split()
    assert rest == ["*", "*", "*"]
    return f"2026-03-02 {int(hour):02}:{int(minute):02}"


SCHEDULED = {name: due(cron) for name, cron in DAILY.items() if cron}
"""When the first run of a day is due."""


def test_only_these_dags_have_a_schedule(described: dict[str, Any]) -> None:
    assert {name for name, dag in described["dags"].items() if dag["first_run"]} == set(SCHEDULED)


def test_a_scheduled_run_is_filed_under_the_instant_at_which_it_is_due(
    described: dict[str, Any], described_production: dict[str, Any]
) -> None:
    """Whatever the deployment says of cron, which it says differently in the two: a run filed under the day before would
    be a gap, since nobody can ask for the prices of yesterday.
    """
    for name, instant in SCHEDULED.items():
        for dags in (described, described_production):
            first = dags["dags"][name]["first_run"]
            assert first == {"logical_date": f"{instant}:00+00:00", "run_after": f"{instant}:00+00:00"}, name
