"""From an empty project to the first published batch, on loopback, killed on the way.

Real: the command, gcloud, Terraform with its state and lock in Cloud Storage, the build of what was uploaded, Airflow
and the snapshot's jobs on the emulators. Loopback: see ``tests.deploy.project.google``. No real cloud says yes here.
"""

import random
import re
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from coinbeam.settings import GoogleSettings, StorageSettings, WarehouseSettings
from coinbeam.warehouse.client import Warehouse
from local.airflow import DagRun
from local.environment import environment
from tests.deploy.project.google import Project, serving
from tests.deploy.project.site import KEY, OPTIONS, Site, repeated
from tests.end_to_end.warm import WarmAirflow
from tests.temporary import LocalCloud

pytestmark = [
    pytest.mark.clients,  # minutes: `make clients` runs it
    pytest.mark.cloud,
    pytest.mark.airflow,
    pytest.mark.xdist_group("deploy"),
    pytest.mark.skipif(not (shutil.which("terraform") and shutil.which("gcloud")), reason="needs gcloud and terraform"),
]
STEPS = ("bootstrap APIs", "state bucket", "files", "infrastructure", "API key", "release", "DAGs", "first run")
"""The steps that change something."""


@pytest.fixture
def site(local_cloud: LocalCloud, warm_airflow: WarmAirflow, tmp_path: Path) -> Iterator[Site]:
    """An empty project, and a checkout to deploy it from."""
    identifier = f"acme-{uuid4().hex[:8]}"
    storage = f"http://127.0.0.1:{local_cloud.settings.local.ports.storage}"
    project = Project(identifier, tmp_path / "cloud", storage)
    with serving(project) as google:
        made = Site(tmp_path, project, google, local_cloud)
        project.execute = made.execute
        project.run_dag = lambda dag, form: run_dag(made, warm_airflow, dag, form)
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


class Killer:
    """Kills a start within a step, at a random moment."""

    def __init__(self, step: str, moments: random.Random) -> None:
        self.step, self.moments, self.at = step, moments, None

    def __call__(self, line: str) -> float | None:
        """Whether this line enters the step."""
        if line.startswith(f"{self.step}: ") and not line.startswith(f"{self.step}: done"):
            return self.moments.uniform(0, 3)
        return None


@pytest.mark.timeout(400)
def test_an_empty_project_becomes_a_published_batch_though_it_is_killed_at_three_steps(site: Site) -> None:
    seed = random.SystemRandom().randrange(1_000_000)
    moments = random.Random(seed)
    killed = sorted(moments.sample(STEPS, 3), key=STEPS.index)
    print(f"seed {seed}: killed at {', '.join(killed)}")

    for step in killed:
        attempt = site.run("deploy", "--yes", *OPTIONS, kill=Killer(step, moments))
        assert attempt.code in {-9, 0, 1}, attempt.output
        assert "Traceback" not in attempt.output
    last = site.run("deploy", "--yes", *OPTIONS)
    wrong = re.findall(r"^(?:bootstrap APIs|[\w ]+?) +(?:wrong|unknown)  .*$", last.output, re.MULTILINE)
    assert len(wrong) == 1, last.output
    assert re.match(r"tables +wrong .*primary key is none", wrong[0]), "the emulator keeps no keys; all else is fine"
    assert re.search(r"^freshness +ok .* is published", last.output, re.MULTILINE)

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
    assert len(project.runs) == 1, "one run"
    assert repeated(project) == []
    assert KEY not in last.output
