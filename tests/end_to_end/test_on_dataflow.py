"""The snapshot DAG as production runs it: Flex Templates launched on a Dataflow service on loopback, waited for by
deferred tasks.
"""

import json
import os
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from beam_pipelines.job.flex_template import metadata
from coinbeam.batch.jobs import JOBS
from tests.dataflow import Dataflow, in_this_environment, serve
from tests.temporary import COINS

UNSETTLED = """
import runpy, sys
from beam_pipelines.job import reservation as spending

spending._settle = lambda *_: None
sys.argv = sys.argv[1:]
runpy.run_module(sys.argv[0], run_name="__main__")
"""

pytestmark = [pytest.mark.airflow, pytest.mark.cloud, pytest.mark.timeout(400)]


def upload_templates(pipeline: Any) -> None:
    """What a deployment leaves in the bucket for each job."""
    for job in JOBS:
        spec = {"image": f"image-of-{job}", "metadata": metadata(job), "sdkInfo": {"language": "PYTHON"}}
        pipeline.bucket.write_text(f"{template_path(pipeline)}/{job}.json", json.dumps(spec))


def launched_job(job: str, parameters: Mapping[str, str]) -> list[str]:
    """A job as the launcher of a template starts it: with reserved calls, which it cannot settle since it does not
    wait.
    """
    return [sys.executable, "-c", UNSETTLED, *in_this_environment(job, parameters)[2:], "--call_ledger=on"]


def template_path(pipeline: Any) -> str:
    """The folder of the templates, below the bucket."""
    return str(pipeline.settings.template_folder).removeprefix(pipeline.settings.bucket_uri + "/")


def test_a_snapshot_is_published_by_jobs_that_were_launched_as_templates(pipeline: Any) -> None:
    pipeline.fill_calendar()
    upload_templates(pipeline)

    def template(uri: str) -> dict[str, Any]:
        assert uri.startswith(pipeline.settings.template_folder)
        return dict(pipeline.bucket.read_json(uri.removeprefix(pipeline.settings.bucket_uri + "/")))

    with serve(Dataflow(template, launched_job, os.environ)) as endpoint:
        variables = {
            "COINBEAM_RUNNER": "dataflow",
            "COINBEAM_DATAFLOW__POLL_SECONDS": "1",
            "COINBEAM_MARKET__MAX_DETAILS": "2",
        }
        ran = pipeline.run_on_dataflow((endpoint.rest, endpoint.grpc), variables)
        assert ran.code == 0, ran.log[-4000:]
        launched = {job.body["containerSpecGcsPath"].rpartition("/")[2]: job for job in endpoint.service.jobs}

    assert set(launched) == {"fetch_crypto_data.json", "populate_crypto_asset_dim.json"}
    (batch,) = pipeline.batches()
    assert (batch["status"], batch["rows_read"]) == ("published", COINS)
    for job in launched.values():
        assert job.state == "JOB_STATE_DONE"
        assert job.body["parameters"]["output"] == f"{pipeline.settings.bucket_uri}/batches/{batch['batch_id']}"
        assert job.body["environment"]["ipConfiguration"] == "WORKER_IP_PRIVATE"
    asked = {job_id for method, job_id, _ in endpoint.service.requests if method == "GetJob"}
    assert asked == {job.id for job in launched.values()}, "the deferred tasks asked for the state of their jobs"
    ledger = pipeline.rows(
        "SELECT job, calls_spent FROM `{ops}.api_call_budget` WHERE budget_month >= '2000-01-01' AND job != 'lock'"
    )
    assert sum(row["calls_spent"] or 0 for row in ledger) == batch["api_calls"] > 0
    assert {row["job"] for row in ledger} == {"fetch_crypto_data", "populate_crypto_asset_dim"}
    assert all(row["calls_spent"] for row in ledger), "what a launch reserves is settled when its job has ended"
