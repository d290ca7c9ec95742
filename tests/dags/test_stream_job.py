"""The streaming job on Dataflow: at most one runs, and an update goes snapshot, drain, seek, start."""

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
from tests.dags.test_beam_jobs import FOREVER, TRANSIENT, VARIABLES
from tests.dataflow import Dataflow, serve
from tests.local.pubsub.conftest import our_broker

pytestmark = [pytest.mark.airflow, pytest.mark.xdist_group("dags")]

SLOW = "import signal, sys, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(3), sys.exit())); time.sleep(60)"
"""A job that takes a while to drain."""

ACCOUNT = "coinbeam-stream@acme.iam.gserviceaccount.com"
CASES: dict[str, tuple[str, list[tuple[str, str]]]] = {
    "checked": (FOREVER, [("check", "one"), ("check", "one"), ("check", "two")]),
    "updated": (SLOW, [("check", "one"), ("update", "two"), ("update", "two")]),
    "stopped": (FOREVER, [("stop", "one"), ("check", "one"), ("stop", "one"), ("check", "two")]),
    "failing": (f"raise SystemExit({TRANSIENT!r})", [("check", "one")]),
}
"""For each case: the snippet that stands for the job, then actions, each of a release."""


@dataclass(frozen=True)
class Case:
    """What the tasks of a case said, the snapshots that are left, and what the service saw."""

    said: list[str]
    snapshots: list[str]
    service: Dataflow

    @property
    def states(self) -> list[str]:
        """The states of all jobs, the oldest first."""
        return [job.state.removeprefix("JOB_STATE_") for job in self.service.jobs]

    @property
    def releases(self) -> list[str]:
        """Their releases."""
        return [job.body["environment"]["additionalUserLabels"]["release"] for job in self.service.jobs]


@pytest.fixture(scope="module")
def cases(airflow_variables: dict[str, str], tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Case]]:
    """All cases, run by one interpreter."""
    broker = our_broker(tmp_path_factory.mktemp("broker"))
    with ExitStack() as stack:
        stack.callback(broker.kill)
        endpoints = {name: stack.enter_context(serve(service_of(snippet))) for name, (snippet, _) in CASES.items()}
        listed = [(name, endpoints[name].rest, endpoints[name].grpc, actions) for name, (_, actions) in CASES.items()]
        own = {
            "COINBEAM_LOCAL__PORTS__PUBSUB": str(broker.port),
            "COINBEAM_GOOGLE__STREAM_SERVICE_ACCOUNT": ACCOUNT,
            "COINBEAM_DATAFLOW__POLL_SECONDS": "1",
        }
        done = subprocess.run(
            [sys.executable, "-m", "tests.dags.stream_cases", json.dumps(listed)],
            cwd=ROOT,
            env=os.environ | airflow_variables | VARIABLES | own,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        assert done.returncode == 0, done.stderr[-3000:]
        told = read(done.stdout)
        yield {name: Case(**told[name], service=endpoint.service) for name, endpoint in endpoints.items()}


def service_of(snippet: str) -> Dataflow:
    """A service whose jobs run a snippet instead of the pipeline."""
    spec = {"metadata": metadata("trade_windows")}
    service = Dataflow(lambda _: spec, lambda *_: [sys.executable, "-c", snippet], os.environ)
    service.queued_seconds = 0.5
    return service


def test_a_check_starts_the_job_once_and_leaves_another_release_alone(cases: dict[str, Case]) -> None:
    case = cases["checked"]
    assert (case.states, case.releases) == (["RUNNING"], ["one"])
    assert case.said[0] == "no job runs; done: snapshot, seek, start"
    assert [said.partition("; ")[2] for said in case.said[1:]] == ["done: nothing"] * 2
    assert case.snapshots == [], "it is not kept once the job runs"


def test_an_update_drains_the_old_job_before_it_starts_the_new_one_and_once(cases: dict[str, Case]) -> None:
    case = cases["updated"]
    assert (case.states, case.releases) == (["DRAINED", "RUNNING"], ["one", "two"])
    assert case.said[1].endswith("of release one is JOB_STATE_RUNNING; done: snapshot, drain, seek, start")
    assert case.said[2].endswith("of release two is JOB_STATE_RUNNING; done: nothing"), "a retry changes nothing"


def test_a_stopped_job_is_drained_and_the_next_check_starts_one(cases: dict[str, Case]) -> None:
    case = cases["stopped"]
    assert (case.states, case.releases) == (["DRAINED", "RUNNING"], ["one", "two"])
    assert case.said[0] == "no job runs; done: nothing"


def test_a_job_that_does_not_start_says_why(cases: dict[str, Case]) -> None:
    case = cases["failing"]
    assert case.said == ["TransientError: CoinGecko does not answer."]
    assert len(case.snapshots) == 1, "the next attempt needs it"


def test_alerts_look_for_the_job_by_the_name_that_it_is_started_with(cases: dict[str, Case]) -> None:
    [job] = cases["checked"].service.jobs
    text = (ROOT / "infra" / "modules" / "alerts" / "main.tf").read_text()
    assert text.count(f'resource.labels.job_name = \\"{job.name}\\"') >= 2


def test_the_launch_names_the_account_and_the_subscription_of_the_stream(cases: dict[str, Case]) -> None:
    body: dict[str, Any] = cases["checked"].service.jobs[0].body
    assert body["jobName"] == "trade-windows"
    assert body["containerSpecGcsPath"] == "gs://coinbeam/releases/one/templates/trade_windows.json"
    assert body["parameters"] == {
        "source": "live",
        "subscription": "projects/coinbeam-local/subscriptions/trade-windows",
        "output": "gs://coinbeam/stream",
    }
    environment = body["environment"]
    assert (environment["serviceAccountEmail"], environment["enableStreamingEngine"]) == (ACCOUNT, True)
