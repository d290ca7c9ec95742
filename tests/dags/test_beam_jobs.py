"""The task of a Beam job on Dataflow: what it asks for, and that a retry, a kill and a failure end as they should."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any

import pytest

from beam_pipelines.job.flex_template import metadata
from coinbeam.settings import ROOT
from tests.dags.description import read
from tests.dataflow import Dataflow, Job, Refused, serve

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("dags")]

OUTPUT = "gs://coinbeam/batches/20260102T0000Z-usd-all"
FOREVER = "import time; time.sleep(60)"
LONG = "gs://coinbeam/batches/" + "Very_Long-" * 9
TERMINAL = "coinbeam.errors.TerminalError: the key is wrong. Mend it."
STEP = f"{TERMINAL} [while running 'Fetch']"
TRANSIENT = "coinbeam.errors.TransientError: CoinGecko does not answer."
CASES: dict[str, tuple[str, str, dict[str, str]]] = {
    "retried": ("retried", FOREVER, {}),
    "lost answer": ("retried", FOREVER, {}),
    "other batch": ("other_batch", FOREVER, {"output": LONG}),
    "killed": ("killed", FOREVER, {"to_date": "2026-12-31"}),
    "killed in the triggerer": ("killed_in_triggerer", FOREVER, {}),
    "done": ("ended", "pass", {}),
    "terminal": ("ended", f"raise SystemExit({STEP!r})", {}),
    "transient": ("ended", f"raise SystemExit({TRANSIENT!r})", {}),
    "foreign": ("ended", "raise SystemExit('Worker lost contact')", {}),
}
"""For each case: the function of ``job_cases.py``, the snippet that stands for the job, and options."""

VARIABLES = {
    "COINBEAM_RUNNER": "dataflow",
    "COINBEAM_RELEASE": "abc1234",
    "COINBEAM_DATAFLOW__SUBNETWORK": "regions/us-central1/subnetworks/coinbeam",
    "COINBEAM_DATAFLOW__IMAGE": "us-central1-docker.pkg.dev/acme/coinbeam/pipelines:abc1234",
    "COINBEAM_DATAFLOW__POLL_SECONDS": "1",
    "COINBEAM_GOOGLE__DATAFLOW_SERVICE_ACCOUNT": "coinbeam-dataflow@acme.iam.gserviceaccount.com",
}


@dataclass(frozen=True)
class Case:
    """What became of a case: what the task said, and what the service saw."""

    told: Any
    service: Dataflow

    @property
    def job(self) -> Job:
        """The only job."""
        [job] = self.service.jobs
        return job


def service_of(snippet: str) -> Dataflow:
    """A service whose jobs run a snippet instead of a pipeline."""
    return Dataflow(
        lambda _: {"metadata": metadata("populate_date_dim")}, lambda *_: [sys.executable, "-c", snippet], os.environ
    )


@pytest.fixture(scope="module")
def cases(airflow_variables: dict[str, str]) -> Iterator[dict[str, Case]]:
    """All cases, run by one interpreter, each against a service of its own."""
    with ExitStack() as stack:
        endpoints = {name: stack.enter_context(serve(service_of(snippet))) for name, (_, snippet, _) in CASES.items()}
        endpoints["lost answer"].service.lose_answers = 1
        listed = [
            (name, function, endpoints[name].rest, endpoints[name].grpc, {"output": OUTPUT} | options)
            for name, (function, _, options) in CASES.items()
        ]
        command = [sys.executable, "-m", "tests.dags.job_cases", json.dumps(listed)]
        environment = os.environ | airflow_variables | VARIABLES
        done = subprocess.run(
            command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=200, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        told = read(done.stdout)
        yield {name: Case(told[name], endpoint.service) for name, endpoint in endpoints.items()}


def test_a_retried_task_waits_for_the_job_that_runs(cases: dict[str, Case]) -> None:
    case = cases["retried"]
    assert case.told["jobs"] == [case.job.id, case.job.id]
    assert case.told["seconds"] == [420, 420], "it waits no longer than the task may run"
    assert case.told["trigger"].startswith("airflow.providers.google."), (
        "the triggerer of Composer holds no code of ours"
    )


def test_a_launch_whose_answer_was_lost_is_found_and_not_repeated(cases: dict[str, Case]) -> None:
    case = cases["lost answer"]
    assert case.told["jobs"] == [case.job.id, case.job.id]
    launches = [path for method, path, _ in case.service.requests if method == "POST"]
    assert len(launches) == 2, "the client repeated it, and was told that the job is there"


def test_the_launch_asks_for_what_the_settings_say(cases: dict[str, Case]) -> None:
    job = cases["killed"].job
    assert job.body == {
        "jobName": job.name,
        "containerSpecGcsPath": "gs://coinbeam/releases/abc1234/templates/populate_date_dim.json",
        "parameters": {"output": OUTPUT, "to_date": "2026-12-31"},
        "environment": {
            "machineType": "n1-standard-2",
            "maxWorkers": 4,
            "ipConfiguration": "WORKER_IP_PRIVATE",
            "subnetwork": VARIABLES["COINBEAM_DATAFLOW__SUBNETWORK"],
            "serviceAccountEmail": VARIABLES["COINBEAM_GOOGLE__DATAFLOW_SERVICE_ACCOUNT"],
            "sdkContainerImage": VARIABLES["COINBEAM_DATAFLOW__IMAGE"],
            "tempLocation": "gs://coinbeam/dataflow/temp",
            "stagingLocation": "gs://coinbeam/dataflow/staging",
            "additionalUserLabels": {"app": "coinbeam", "job": "populate-date-dim", "release": "abc1234"},
        },
    }


def test_a_job_of_another_batch_has_another_name(cases: dict[str, Case]) -> None:
    first, second = cases["other batch"].told
    assert first != second
    for name in (first, second):
        assert len(name) <= 63
        assert name.startswith("populate-date-dim-very-long-")
        assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


@pytest.mark.parametrize("name", ["killed", "killed in the triggerer"])
def test_a_killed_task_cancels_its_job(cases: dict[str, Case], name: str) -> None:
    job = cases[name].job
    assert job.state == "JOB_STATE_CANCELLED"
    assert job.process is not None
    assert job.process.wait(10) != 0


def test_a_job_that_ends_well_ends_the_task(cases: dict[str, Case]) -> None:
    assert cases["done"].told == {"job": "JOB_STATE_DONE"}


@pytest.mark.parametrize(
    ("name", "raised", "decision"),
    [("terminal", TERMINAL, "FAIL"), ("transient", TRANSIENT, "DEFAULT")],
    ids=["what a person must mend is not tried again", "what may pass is tried again"],
)
def test_a_job_that_fails_is_told_by_its_own_error(
    cases: dict[str, Case], name: str, raised: str, decision: str
) -> None:
    assert cases[name].told == {"raised": raised.removeprefix("coinbeam.errors."), "decision": decision}


def test_a_failure_that_is_none_of_ours_is_told_by_dataflow(cases: dict[str, Case]) -> None:
    told = cases["foreign"].told
    assert "has failed its execution" in told["raised"]
    assert told["decision"] == "DEFAULT"


@pytest.mark.parametrize(
    ("parameters", "refusal"),
    [
        ({"output": OUTPUT, "outputs": "gs://x"}, "Unrecognized parameter outputs"),
        ({}, "Missing required parameter output"),
    ],
    ids=["a misspelt parameter", "none of the needed ones"],
)
def test_the_service_refuses_what_the_template_does_not_declare(parameters: dict[str, str], refusal: str) -> None:
    with pytest.raises(Refused, match=refusal):
        service_of("pass").launch(
            {"launchParameter": {"jobName": "a", "containerSpecGcsPath": "gs://t", "parameters": parameters}}
        )


@pytest.mark.parametrize(
    "wrong", [{"machine_typ": "x"}, {"maxWorkers": "many"}, {"ipConfiguration": "WORKER_IP_SECRET"}], ids=str
)
def test_the_service_refuses_an_environment_of_another_form(wrong: dict[str, str]) -> None:
    with pytest.raises(Refused, match="Invalid JSON payload"):
        service_of("pass").launch(
            {"launchParameter": {"jobName": "a", "containerSpecGcsPath": "gs://t", "environment": wrong}}
        )
