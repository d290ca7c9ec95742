"""The DAG as Airflow reads it: it imports, it is documented, and it does nothing at parse time."""

import json
from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("dags")  # one database, one description
DESCRIBE = """
import json
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import Param
import os
bag = DagBag(os.environ["AIRFLOW__CORE__DAGS_FOLDER"])
dag = bag.dags["crypto_etl_dag"]
print("RESULT" + json.dumps({
    "errors": bag.import_errors,
    "dags": sorted(bag.dags),
    "doc": dag.doc_md,
    "owner": dag.default_args["owner"],
    "tags": sorted(dag.tags),
    "schedule": dag.timetable.expression,
    "catchup": dag.catchup,
    "max_active_runs": dag.max_active_runs,
    "params": {name: dag.params.get_param(name).schema | {"description": dag.params.get_param(name).description} for name in dag.params},
    "tasks": {t.task_id: {"down": sorted(t.downstream_task_ids), "rule": str(t.trigger_rule), "teardown": t.is_teardown,
              "timeout": t.execution_timeout.total_seconds(), "policy": type(t.retry_policy).__name__ if t.retry_policy else None,
              "alerts": bool(t.on_failure_callback), "retries": t.retries,
              "options": getattr(t, "default_pipeline_options", None)} for t in dag.tasks},
}, default=str))
"""


@pytest.fixture(scope="module")
def described(run_python: Any) -> dict[str, Any]:
    return read_result(run_python(DESCRIBE))


def read_result(output: str) -> dict[str, Any]:
    line = next(line for line in output.splitlines() if line.startswith("RESULT"))
    return dict(json.loads(line.removeprefix("RESULT")))


def test_the_folder_imports_without_errors_and_holds_one_dag(described: dict[str, Any]) -> None:
    assert described["errors"] == {}
    assert described["dags"] == ["crypto_etl_dag"]


def test_it_runs_daily_one_run_at_a_time_and_never_catches_up(described: dict[str, Any]) -> None:
    assert (described["schedule"], described["catchup"], described["max_active_runs"]) == ("0 0 * * *", False, 1)


def test_hourly_is_a_setting(run_python: Any) -> None:
    hourly = read_result(run_python(DESCRIBE, COINBEAM_MARKET__PERIOD="hourly"))
    assert hourly["schedule"] == "0 * * * *"


def test_it_has_an_owner_tags_and_a_doc_that_says_what_to_do_when_it_failed(described: dict[str, Any]) -> None:
    assert described["owner"] == "data-platform"
    assert "market" in described["tags"]
    assert "It failed. What now?" in described["doc"]


@pytest.mark.parametrize(
    "name", ["universe", "ids", "top_n", "category", "quote_currency", "runner", "replay_date", "snapshot_at", "source", "dry_run"]
)
def test_every_field_of_the_form_is_explained(described: dict[str, Any], name: str) -> None:
    schema = described["params"][name]
    assert schema["title"]
    assert schema["description"].endswith(".")


def test_fields_with_few_values_are_lists_to_choose_from(described: dict[str, Any]) -> None:
    assert described["params"]["universe"]["enum"] == ["all", "top", "ids", "category"]
    assert described["params"]["runner"]["enum"] == ["local", "dataflow"]
    assert "usd" in described["params"]["quote_currency"]["enum"]
    assert described["params"]["replay_date"]["format"] == "date"


def test_the_jobs_start_in_parallel_after_the_schema(described: dict[str, Any]) -> None:
    tasks = described["tasks"]
    assert "choose_jobs" in tasks["ensure_schema"]["down"]
    assert tasks["choose_jobs"]["down"] == ["fetch_crypto_data", "populate_crypto_asset_dim", "populate_date_dim"]


def test_nothing_is_published_before_the_audit_or_recorded_before_the_verification(described: dict[str, Any]) -> None:
    tasks = described["tasks"]
    loads = [name for name in tasks if name.startswith("load_") and name != "load_rejected_record"]
    assert loads
    assert all(tasks[name]["down"] == ["audit"] for name in loads)
    assert tasks["load_rejected_record"]["down"] == ["record_rejects"]
    assert tasks["audit"]["down"] == ["publish"]
    assert tasks["publish"]["down"] == ["verify"]
    assert tasks["verify"]["down"] == ["record_batch"]


def test_the_record_is_written_whatever_happened_and_does_not_hide_a_failure(described: dict[str, Any]) -> None:
    assert described["tasks"]["record_batch"]["teardown"]


def test_every_task_is_bounded_retries_by_error_class_and_tells_a_person(described: dict[str, Any]) -> None:
    for name, task in described["tasks"].items():
        assert task["timeout"] > 0, name
        assert task["policy"] == "RetryTransientErrors", name
        assert task["alerts"], name
        assert task["retries"] >= 1, name


def test_parsing_imports_no_beam_and_opens_no_connection(run_python: Any) -> None:
    guard = """
import socket, sys
def refuse(*a, **k): raise AssertionError("network at parse time")
socket.socket.connect = refuse
socket.getaddrinfo = refuse
import dags.crypto_etl_dag
assert "apache_beam" not in sys.modules
print("quiet")
"""
    assert "quiet" in run_python(guard)


@pytest.mark.parametrize(
    ("error", "action"),
    [
        pytest.param("SettingsError('x')", "FAIL", id="a wrong setting is not retried"),
        pytest.param("PublishBlockedError('x')", "FAIL", id="a blocked publish is not retried"),
        pytest.param("TransientError('x')", "DEFAULT", id="a transient error is retried"),
        pytest.param("ValueError('x')", "DEFAULT", id="an unknown error is retried"),
        pytest.param("RuntimeError('Beam process failed with return code 2')", "FAIL", id="a job that says terminal is not retried"),
        pytest.param("RuntimeError('Beam process failed with return code 3')", "FAIL", id="a job that was refused is not retried"),
        pytest.param("RuntimeError('Beam process failed with return code 1')", "DEFAULT", id="a job that failed otherwise is retried"),
    ],
)
def test_retries_follow_the_class_of_the_error(run_python: Any, error: str, action: str) -> None:
    snippet = f"""
from coinbeam.errors import *
from dags.operations import RetryTransientErrors
print("ACTION", RetryTransientErrors().evaluate({error}, 1, 2).action.name)
"""
    assert f"ACTION {action}" in run_python(snippet)


def test_production_gives_dataflow_what_it_needs(run_python: Any) -> None:
    variables = {
        "COINBEAM_ENV": "production",
        "COINBEAM_GOOGLE__PROJECT": "acme-crypto",
        "COINBEAM_STORAGE__BUCKET": "acme-market",
        "COINBEAM_GOOGLE__DATAFLOW_SERVICE_ACCOUNT": "flow@acme-crypto.iam.gserviceaccount.com",
        "COINBEAM_MARKET__SOURCE": "live",
    }
    options = read_result(run_python(DESCRIBE, **variables))["tasks"]["fetch_crypto_data"]["options"]
    assert options["project"] == "acme-crypto"
    assert options["temp_location"] == "gs://acme-market/dataflow/temp"
    assert options["no_use_public_ips"] is True
    assert options["service_account_email"] == "flow@acme-crypto.iam.gserviceaccount.com"
    assert options["max_num_workers"] == "4"


def test_retries_are_a_setting(run_python: Any) -> None:
    described = read_result(run_python(DESCRIBE, COINBEAM_RETRY__RETRIES="5"))
    assert {task["retries"] for task in described["tasks"].values()} == {5}
