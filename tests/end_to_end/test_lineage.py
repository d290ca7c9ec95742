"""The lineage that a real run leaves: from the endpoint to the published table, through the same names at every
step.
"""

import json
from collections.abc import Iterable
from datetime import timedelta
from typing import Any

import pytest

from coinbeam.clock import format_instant, utc_now
from runs.airflow import FEAR_GREED_DAG, lineage_file
from tests.webhook import Webhook

pytestmark = [pytest.mark.airflow, pytest.mark.cloud]

KEY = "CG-sentinelsecret"
LOAD, REJECTS = "load_fear_greed_fact", "load_rejected_record"


def names(datasets: Iterable[dict[str, Any]]) -> set[str]:
    """Datasets by namespace and name."""
    return {f"{dataset['namespace']} {dataset['name']}" for dataset in datasets}


@pytest.fixture
def told(pipeline: Any, webhook: Webhook) -> dict[tuple[str, str], dict[str, Any]]:
    """The events of one run by task and type; the index is a month old, so that its ``verify`` refuses it after the
    publish, and fails.
    """
    pipeline.freeze(format_instant(utc_now() - timedelta(days=30)))
    pipeline.fill_calendar()
    file = lineage_file(pipeline.settings)
    before = file.read_text().count("\n") if file.is_file() else 0
    secrets = {"COINGECKO_API_KEY": KEY, "COINBEAM_ALERTS__WEBHOOK_URL": webhook.url}
    ran = pipeline.run_other(FEAR_GREED_DAG, secrets, source=None, refetch=False)
    assert ran.code == 1, ran.log[-3000:]
    assert [told["title"] for told in webhook.told] == ["Coinbeam: fear_greed_dag.verify failed"]
    lines = file.read_text().splitlines()[before:]
    assert "sentinelsecret" not in "".join(lines), "neither the key nor the webhook"
    assert "OpenLineage" not in "".join(line for line in ran.log.splitlines() if "[warning" in line or "[error" in line)
    events = [json.loads(line) for line in lines]
    assert {event["job"]["namespace"] for event in events} == {"coinbeam"}
    found = {(event["job"]["name"].removeprefix(f"{FEAR_GREED_DAG}."), event["eventType"]): event for event in events}
    assert len(found) == len(events), "each is told once"
    return found


def test_a_run_tells_what_each_task_read_and_wrote(pipeline: Any, told: dict[tuple[str, str], dict[str, Any]]) -> None:
    settings, staged = pipeline.settings, pipeline.settings.warehouse.staging_dataset
    done = {
        "plan_index",
        "ensure_schema",
        "choose_calendar",
        "fetch_fear_greed",
        LOAD,
        REJECTS,
        "record_rejects",
        "audit",
        "publish",
        "record_batch",
    }
    assert {task for task, kind in told if kind == "START"} == done | {"verify"}
    assert {task for task, kind in told if kind == "COMPLETE"} == done
    assert {task for task, kind in told if kind == "FAIL"} == {"verify", FEAR_GREED_DAG}
    assert "PublishBlockedError" in json.dumps(told["verify", "FAIL"]["run"]["facets"]["errorMessage"])

    def inputs(task: str) -> set[str]:
        return names(told[task, "COMPLETE"]["inputs"])

    def outputs(task: str) -> set[str]:
        return names(told[task, "COMPLETE"]["outputs"])

    assert inputs("fetch_fear_greed") == {f"http://127.0.0.1:{settings.local.ports.simulator} api/v3/fng"}
    assert outputs("fetch_fear_greed") == {f"{settings.bucket_uri} landing/fear_greed"} | inputs(LOAD) | inputs(REJECTS)
    assert all(name.startswith(f"bigquery local.{staged}.") for name in outputs(LOAD) | outputs(REJECTS))
    assert outputs(REJECTS) == inputs("record_rejects")
    assert outputs(LOAD) <= inputs("publish")
    data, ops = settings.warehouse.data_dataset, settings.warehouse.ops_dataset
    published = {
        f"bigquery local.{data}.fear_greed_fact",
        f"bigquery local.{data}.source_dim",
        f"bigquery local.{ops}.publication",
    }
    lease = f"bigquery local.{ops}.publish_lease"
    assert outputs("publish") == {*published, lease}
    assert outputs("record_rejects") == {f"bigquery local.{ops}.rejected_record", lease}
    assert inputs("audit") == outputs("audit") == set()
