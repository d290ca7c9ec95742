"""From an empty project to the first published batch, on loopback, killed on the way.

Real: the command, gcloud, Terraform with its state and lock in Cloud Storage, the build of what was uploaded, Airflow
and the snapshot's jobs on the emulators. Three kills a walk; ``SEED`` repeats one. Loopback: see ``tests.deploy.project.google``. No real cloud says yes here.
"""

import os
import random
import re
import shutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from coinbeam.clock import utc_now
from coinbeam.feeds.snapshot.request import present_instant
from coinbeam.settings import GoogleSettings, Settings, StorageSettings, WarehouseSettings
from coinbeam.warehouse.client import Warehouse
from deploy.tools import git
from local.airflow import DagRun, airflow_environment
from local.environment import environment
from runs.airflow import SNAPSHOT_DAG
from tests.deploy.project.google import Project, serving
from tests.deploy.project.site import KEY, OPTIONS, Site, image_registry, repeated
from tests.end_to_end.warm import WarmAirflow
from tests.temporary import LocalCloud

pytestmark = [
    pytest.mark.clients,  # minutes: `make clients` runs it
    pytest.mark.cloud,
    pytest.mark.airflow,
    pytest.mark.xdist_group("deploy"),
    pytest.mark.skipif(not (shutil.which("terraform") and shutil.which("gcloud")), reason="needs gcloud and terraform"),
]
STEPS = (
    "bootstrap APIs", "state project", "state bucket", "files", "infrastructure", "API key", "pins", "release", "DAGs",
    "first run",
)  # fmt: skip
"""The steps that change something."""

NOT_SMALL = ("state project", "DAGs")


@pytest.fixture
def cloud(local_cloud: LocalCloud, tmp_path: Path) -> LocalCloud:
    """The emulators, with an Airflow for this project alone: it knows a table by its name, and that of another project."""
    local = local_cloud.settings.local.model_copy(update={"state_dir": tmp_path / "state"})
    return replace(local_cloud, settings=local_cloud.settings.model_copy(update={"local": local}))


@pytest.fixture
def airflow(cloud: LocalCloud, migrated_airflow: Callable[[Settings], None], tmp_path: Path) -> Iterator[WarmAirflow]:
    """That Airflow."""
    migrated_airflow(cloud.settings)
    running = WarmAirflow(airflow_environment(cloud.settings), tmp_path / "warm.log")
    yield running
    running.close()


@pytest.fixture
def site(cloud: LocalCloud, airflow: WarmAirflow, tmp_path: Path) -> Iterator[Site]:
    """An empty project, and a checkout to deploy it from."""
    identifier = f"acme-{uuid4().hex[:8]}"
    storage = f"http://127.0.0.1:{cloud.settings.local.ports.storage}"
    project = Project(identifier, tmp_path / "cloud", storage)
    with serving(project) as google, image_registry() as images:
        made = Site(tmp_path, project, google, cloud, images.url)
        project.execute = made.execute
        project.run_dag = lambda dag, form: run_dag(made, airflow, dag, form)
        project.execute_job = lambda variables: run_job(made, airflow, variables)
        yield made


def run_dag(site: Site, airflow: WarmAirflow, dag: str, form: dict[str, Any]) -> str:
    """Run a DAG of the deployed tables and bucket by real Airflow, on the simulated market."""
    settings = site.cloud.settings.model_copy(
        update={
            "google": GoogleSettings(project=site.project.id),
            "storage": StorageSettings(bucket=f"{site.project.id}-coinbeam"),
            "warehouse": WarehouseSettings(),
        }
    )
    variables = {**environment(settings), "COINBEAM_MARKET__MAX_DETAILS": "2"}
    run = DagRun(form["snapshot_at"], form, {}, dag)
    return "failed" if airflow.run([run], variables, site.folder / "run.log") else "success"


def run_job(site: Site, airflow: WarmAirflow, variables: dict[str, str]) -> str:
    """An execution of the job of Cloud Run: its DAG, not its image, which ``tests/build/test_batch`` executes."""
    form = {
        "universe": variables["COINBEAM_MARKET__UNIVERSE"],
        "top_n": int(variables["COINBEAM_MARKET__TOP_N"]),
        "snapshot_at": present_instant(utc_now(), site.cloud.settings),
    }
    return "True" if run_dag(site, airflow, SNAPSHOT_DAG, form) == "success" else "False"


class Killer:
    """Kills a start within a step, at a random moment."""

    def __init__(self, step: str, moments: random.Random) -> None:
        self.step, self.moments, self.at = step, moments, None

    def __call__(self, line: str) -> float | None:
        """Whether this line enters the step."""
        if line.startswith(f"{self.step}: ") and not line.startswith(f"{self.step}: done"):
            return self.moments.uniform(0, 3)
        return None


def killed_and_continued(site: Site, profile: str, steps: Sequence[str]) -> str:
    """Deploy with three kills at random moments of random steps, then to the end; what the last start said."""
    seed = int(os.environ.get("SEED", random.SystemRandom().randrange(1_000_000)))
    moments = random.Random(seed)
    killed = sorted(moments.sample(steps, 3), key=STEPS.index)
    options = ("--yes", "--profile", profile, *OPTIONS)
    codes = []
    for step in killed:
        attempt = site.run("deploy", *options, kill=Killer(step, moments))
        assert attempt.code in {-9, 0, 1}, attempt.output
        assert "Traceback" not in attempt.output
        codes.append(attempt.code)
    last = site.run("deploy", *options)
    print(f"seed {seed}, {profile}: killed at {', '.join(killed)}, which ended with {codes}, then {last.code}")
    assert KEY not in last.output
    return last.output


def assert_published_once(site: Site, output: str) -> None:
    """All is as it should be, and nothing was done twice."""
    wrong = re.findall(r"^(?:bootstrap APIs|[\w ]+?) +(?:wrong|unknown)  .*$", output, re.MULTILINE)
    assert len(wrong) == 1, output
    assert re.match(r"tables +wrong .*primary key is none", wrong[0]), "the emulator keeps no keys; all else is fine"
    assert re.search(r"^freshness +ok .* is published", output, re.MULTILINE)

    project = site.project
    warehouse = Warehouse(
        site.cloud.settings.model_copy(
            update={"google": GoogleSettings(project=project.id), "warehouse": WarehouseSettings()}
        )
    )
    rows = warehouse.rows(
        "SELECT status, rows_published FROM crypto_ops.ingestion_batch WHERE snapshot_date > '2000-01-01'"
    )
    assert ("published", 50) in {(row["status"], row["rows_published"]) for row in rows}
    assert len(project.versions) == 1, "one version of the secret"
    assert len(project.builds) == 1, "one build of the commit"
    assert repeated(project) == []
    commits = git(site.checkout, "log", "--format=%s").splitlines()
    assert commits == ["Base images and providers are pinned to what they are today", "A commit."]
    assert (
        project.builds[0]["substitutions"]["_RELEASE"] == git(site.checkout, "rev-parse", "--short=7", "HEAD").strip()
    )


@pytest.mark.timeout(500)
def test_an_empty_project_becomes_a_published_batch_though_it_is_killed_at_three_steps(site: Site) -> None:
    assert_published_once(site, killed_and_continued(site, "composer", STEPS))
    project = site.project
    assert len(project.runs) == 1, "one run"
    assert list(project.others) == [f"{project.id}-state"]
    assert project.homes[f"{project.id}-terraform-state"] == f"{project.id}-state"


@pytest.mark.timeout(500)
def test_so_does_the_small_profile_in_one_project(site: Site) -> None:
    steps = [name for name in STEPS if name not in NOT_SMALL]
    assert_published_once(site, killed_and_continued(site, "small", steps))
    project = site.project
    assert len(project.executions) == 1, "one execution"
    assert project.runs == []
    assert project.others == {}
    assert project.homes[f"{project.id}-terraform-state"] == project.id
