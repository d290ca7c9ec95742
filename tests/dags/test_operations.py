"""Who is told of a failure, and how often: our callbacks in an Airflow of their own, against the emulators and a
webhook on loopback.
"""

import json
from typing import Any

import pytest

from coinbeam.landing.bucket import Bucket
from coinbeam.ops.incidents import Incidents
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from tests.temporary import LocalCloud, free_ports
from tests.webhook import Webhook

pytestmark = [pytest.mark.cloud, pytest.mark.airflow, pytest.mark.xdist_group("dags")]

PRELUDE = """
import json, logging, sys
from types import SimpleNamespace
from dags import operations

logging.basicConfig(stream=sys.stdout, level=logging.INFO, format="%(levelname)s %(message)s")

def instance(task, run, states=()):
    pushed = {}
    crumbs = [{"task_id": name, "state": state} for name, state in states]
    return SimpleNamespace(dag_id="etl", task_id=task, run_id=run, log_url="https://airflow/" + run, pushed=pushed,
        xcom_push=lambda key, value: pushed.update({key: value}), get_task_breadcrumbs=lambda dag_id, run_id: crumbs)

def fail(run, task="audit", error=None, operator=None):
    ti = instance(task, run)
    operations.alert_failure({"ti": ti, "exception": error or ValueError("5 rules"), "task": operator})
    return ti.pushed

def succeed(run, **states):
    operations.resolve_incidents({"ti": instance("record_batch", run, states.items())})
"""


def titles(webhook: Webhook) -> list[str]:
    """What the person was told, in order."""
    return [told["title"] for told in webhook.told]


def test_three_failing_runs_are_one_alert_and_success_ends_it(
    fresh_cloud: LocalCloud, run_python: Any, webhook: Webhook
) -> None:
    warehouse = Warehouse(fresh_cloud.settings)
    ensure_schema(warehouse)
    Bucket(fresh_cloud.settings).write_text(
        "batches/b/failure_fetch_crypto_data.txt", "ApiTerminalError: the key is wrong. Mend it."
    )
    said = run_python(
        PRELUDE
        + """
from airflow.exceptions import AirflowException
for run in ("r1", "r2", "r3"):
    fail(run)
succeed("r4", audit="skipped", fetch="success")
fail("r5")
succeed("r6", audit="success", verify="failed")
succeed("r7", audit="success")
fail("r8")
beam = SimpleNamespace(beam_job="fetch_crypto_data", pipeline_options={"output": operations.Bucket(operations.load_settings()).uri("batches/b")})
print(json.dumps(fail("r8", "fetch", AirflowException("Apache Beam process failed with return code 3"), beam)))
print(json.dumps(fail("r8", "fetch", AirflowException("Apache Beam process failed with return code -9"), beam)))
for run in ("g1", "g2"):
    operations.alert_gap(instance("record_batch", run), "Coinbeam: gap", "it is past")
    succeed(run, publish="skipped")
succeed("r9", publish="success")
for words in ("typo is missing", None, "typo is missing", "", ""):
    operations.alert_standing_fault(instance("record_batch", "s"), lambda: words)
    succeed("s", publish="success")
def unknown():
    raise operations.SettingsError("no.", "Mend it.")
operations.alert_standing_fault(instance("record_batch", "s"), unknown)
""",
        **fresh_cloud.env,
        COINBEAM_ALERTS__WEBHOOK_URL=webhook.url,
    )
    assert titles(webhook) == [
        "Coinbeam: etl.audit failed",
        "Coinbeam: etl recovered",
        "Coinbeam: etl.audit failed",
        "Coinbeam: etl.fetch failed",
        "Coinbeam: etl.fetch failed",
        "Coinbeam: gap",
        "Coinbeam: etl recovered",
        "Coinbeam: etl publishes, but not all that is configured",
        "Coinbeam: etl recovered",
    ]
    assert "etl.audit: ValueError, open since" in webhook.told[1]["text"]
    assert "4 failures" in webhook.told[1]["text"]
    assert webhook.told[0]["link"] == "https://airflow/r1"
    assert said.count("] Coinbeam: etl.audit failed: Run r") == 5, "the log has every failure"
    assert json.dumps({"error": "ApiTerminalError: the key is wrong. Mend it."}) in said
    assert "AirflowException: Apache Beam process failed with return code -9" in said, (
        "a job that was killed left no words of its own"
    )
    left = [(i.task_id, i.error_class) for i in Incidents(warehouse).open()]
    assert left == [("audit", "ValueError"), ("fetch", "ApiTerminalError"), ("fetch", "AirflowException")]


@pytest.mark.parametrize(
    "broken",
    [
        pytest.param({"COINBEAM_LOCAL__PORTS__BIGQUERY": str(free_ports(1)[0])}, id="the warehouse does not answer"),
        pytest.param({"COINBEAM_WAREHOUSE__OPS_DATASET": "nowhere"}, id="there is no table yet"),
    ],
)
def test_what_cannot_be_recorded_is_told_every_time(
    fresh_cloud: LocalCloud, run_python: Any, webhook: Webhook, broken: dict[str, str]
) -> None:
    variables = fresh_cloud.env | broken | {"COINBEAM_ALERTS__WEBHOOK_URL": webhook.url}
    said = run_python(PRELUDE + 'fail("r1"); fail("r2"); succeed("r3", audit="success")', **variables)
    assert titles(webhook) == ["Coinbeam: etl.audit failed"] * 2
    assert "could not be recorded, so the alert is sent in any case" in said
