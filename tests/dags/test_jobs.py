"""The task of a Beam job on Dataflow: what it asks for, and that a retry, a kill and a failure end as they should."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import pytest

from beam_pipelines.flex_template import metadata
from coinbeam.settings import ROOT
from tests.dags.description import read
from tests.dataflow import Dataflow, Endpoint, serve

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("dags")]

FOREVER = "import time; time.sleep(60)"
Serve = Callable[[str], AbstractContextManager[Endpoint]]


@pytest.fixture
def dataflow() -> Serve:
    """A service whose jobs run a given snippet."""

    @contextmanager
    def start(snippet: str) -> Iterator[Endpoint]:
        service = Dataflow(lambda _: {"metadata": metadata("populate_date_dim")}, lambda *_: [sys.executable, "-c", snippet], os.environ)
        with serve(service) as endpoint:
            yield endpoint

    return start


@pytest.fixture
def run_case(airflow_variables: dict[str, str]) -> Callable[..., Any]:
    """Run a case of ``job_cases.py`` in a process of its own, with a production-like launch."""

    def run(endpoint: Endpoint, case: str, **options: str) -> Any:
        given = {"output": "gs://coinbeam/batches/20260102T0000Z-usd-all"} | options
        variables = {
            "COINBEAM_RUNNER": "dataflow",
            "COINBEAM_RELEASE": "abc1234",
            "COINBEAM_DATAFLOW__SUBNETWORK": "regions/us-central1/subnetworks/coinbeam",
            "COINBEAM_DATAFLOW__IMAGE": "us-central1-docker.pkg.dev/acme/coinbeam/pipelines:abc1234",
            "COINBEAM_DATAFLOW__POLL_SECONDS": "1",
            "COINBEAM_GOOGLE__DATAFLOW_SERVICE_ACCOUNT": "coinbeam-dataflow@acme.iam.gserviceaccount.com",
        }
        command = [sys.executable, "-m", "tests.dags.job_cases", endpoint.rest, endpoint.grpc, case, json.dumps(given)]
        environment = os.environ | airflow_variables | variables
        done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr[-3000:]
        return read(done.stdout)

    return run


def test_a_retried_task_waits_for_the_job_that_runs(dataflow: Serve, run_case: Callable[..., Any]) -> None:
    with dataflow(FOREVER) as endpoint:
        seen = run_case(endpoint, "retried")
        [job] = endpoint.service.jobs
    assert seen["jobs"] == [job.id, job.id]
    assert seen["seconds"] == [420, 420], "it waits no longer than the task may run"
    assert seen["trigger"].startswith("airflow.providers.google."), "the triggerer of Composer holds no code of ours"


def test_the_launch_asks_for_what_the_settings_say(dataflow: Serve, run_case: Callable[..., Any]) -> None:
    with dataflow(FOREVER) as endpoint:
        run_case(endpoint, "killed", to_date="2026-12-31")
        [job] = endpoint.service.jobs
    assert job.body == {
        "jobName": job.name,
        "containerSpecGcsPath": "gs://coinbeam/releases/abc1234/templates/populate_date_dim.json",
        "parameters": {"output": "gs://coinbeam/batches/20260102T0000Z-usd-all", "to_date": "2026-12-31"},
        "environment": {
            "machineType": "n1-standard-2",
            "maxWorkers": 4,
            "ipConfiguration": "WORKER_IP_PRIVATE",
            "subnetwork": "regions/us-central1/subnetworks/coinbeam",
            "serviceAccountEmail": "coinbeam-dataflow@acme.iam.gserviceaccount.com",
            "sdkContainerImage": "us-central1-docker.pkg.dev/acme/coinbeam/pipelines:abc1234",
            "tempLocation": "gs://coinbeam/dataflow/temp",
            "stagingLocation": "gs://coinbeam/dataflow/staging",
            "additionalUserLabels": {"app": "coinbeam", "job": "populate-date-dim", "release": "abc1234"},
        },
    }


def test_a_job_of_another_batch_has_another_name(dataflow: Serve, run_case: Callable[..., Any]) -> None:
    with dataflow(FOREVER) as endpoint:
        first, second = run_case(endpoint, "other_batch", output="gs://coinbeam/batches/" + "Very_Long-" * 9)
    assert first != second
    for name in (first, second):
        assert len(name) <= 63
        assert name.startswith("populate-date-dim-very-long-")
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize("case", ["killed", "killed_in_triggerer"])
def test_a_killed_task_cancels_its_job(dataflow: Serve, run_case: Callable[..., Any], case: str) -> None:
    with dataflow(FOREVER) as endpoint:
        run_case(endpoint, case)
        [job] = endpoint.service.jobs
        assert job.state == "JOB_STATE_CANCELLED"
        assert job.process is not None
        assert job.process.wait(10) != 0


def test_a_job_that_ends_well_ends_the_task(dataflow: Serve, run_case: Callable[..., Any]) -> None:
    with dataflow("pass") as endpoint:
        assert run_case(endpoint, "ended") == {"job": "JOB_STATE_DONE"}


@pytest.mark.parametrize(
    ("raised", "decision"),
    [
        ("coinbeam.errors.TerminalError: the key is wrong. Mend it. [while running 'Fetch']", "FAIL"),
        ("coinbeam.errors.TransientError: CoinGecko does not answer.", "DEFAULT"),
    ],
    ids=["what a person must mend is not tried again", "what may pass is tried again"],
)
def test_a_job_that_fails_is_told_by_its_own_error(dataflow: Serve, run_case: Callable[..., Any], raised: str, decision: str) -> None:
    with dataflow(f"raise SystemExit({raised!r})") as endpoint:
        seen = run_case(endpoint, "ended")
    assert seen["decision"] == decision
    assert seen["raised"] == raised.removeprefix("coinbeam.errors.").partition(" [while")[0]


def test_a_failure_that_is_none_of_ours_is_told_by_dataflow(dataflow: Serve, run_case: Callable[..., Any]) -> None:
    with dataflow("raise SystemExit('Worker lost contact')") as endpoint:
        seen = run_case(endpoint, "ended")
    assert "has failed its execution" in seen["raised"]
    assert seen["decision"] == "DEFAULT"


def test_a_launch_whose_answer_was_lost_is_found_and_not_repeated(dataflow: Serve, run_case: Callable[..., Any]) -> None:
    with dataflow(FOREVER) as endpoint:
        endpoint.service.lose_answers = 1
        seen = run_case(endpoint, "retried")
        [job] = endpoint.service.jobs
    assert seen["jobs"] == [job.id, job.id]
    launches = [path for method, path, _ in endpoint.service.requests if path.endswith(":launch") or ":launch?" in path]
    assert len(launches) == 2, "the client repeated it, and was told that the job is there"


@pytest.mark.parametrize(
    ("options", "refusal"),
    [({"outputs": "gs://x"}, "Unrecognized parameter outputs"), ({"output": ""}, "Missing required")],
    ids=["a misspelt parameter", "none of the needed ones"],
)
def test_the_service_refuses_what_the_template_does_not_declare(options: dict[str, str], refusal: str) -> None:
    service = Dataflow(lambda _: {"metadata": metadata("populate_date_dim")}, lambda *_: [sys.executable, "-c", "pass"], os.environ)
    parameters = {name: text for name, text in ({"output": "gs://x/y"} | options).items() if text}
    body = {"launchParameter": {"jobName": "a", "containerSpecGcsPath": "gs://t", "parameters": parameters}}
    with pytest.raises(Exception, match=refusal):
        service.launch(body)


@pytest.mark.parametrize("wrong", [{"machine_typ": "x"}, {"maxWorkers": "many"}, {"ipConfiguration": "WORKER_IP_SECRET"}], ids=str)
def test_the_service_refuses_an_environment_of_another_form(wrong: dict[str, str]) -> None:
    service = Dataflow(lambda _: {}, lambda *_: [], os.environ)
    with pytest.raises(Exception, match="Invalid JSON payload"):
        service.launch({"launchParameter": {"jobName": "a", "containerSpecGcsPath": "gs://t", "environment": wrong}})
