"""An apply that is killed in its middle: its lock and what it could not write down are in the way of nobody.

Real Terraform with its state in the stock emulator of Cloud Storage, on a root module of three resources and the
provider of these tests. The whole module with real gcloud is that of ``test_killed_apply``, in minutes.
"""

import fcntl
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from coinbeam.settings import ROOT
from deploy.project.steps import Infrastructure, State
from deploy.project.terraform import Terraform
from tests.deploy.emulator import Emulator, running
from tests.deploy.project import provider
from tests.deploy.project.google import Google, Project, serving
from tests.deploy.project.site import changes, mirror_providers
from tests.deploy.project.test_steps import Somebody, deployment

pytestmark = [
    pytest.mark.slow,
    pytest.mark.xdist_group("terraform"),
    pytest.mark.skipif(not shutil.which("terraform"), reason="Terraform is not on this machine"),
]
STATE = "acme-project-terraform-state"
MODULE = """
terraform {
  required_providers {
    google = {
      source = "hashicorp/google"
    }
  }
  backend "gcs" {}
}

provider "google" {
  project = "acme-project"
}

resource "google_service_account" "account" {
  project    = "acme-project"
  account_id = "coinbeam-build"
}

resource "google_storage_bucket" "data" {
  project  = "acme-project"
  name     = "acme-project-coinbeam"
  location = "US"
}

resource "google_secret_manager_secret" "key" {
  project    = "acme-project"
  secret_id  = google_storage_bucket.data.name
  depends_on = [google_service_account.account]
  replication {
    auto {}
  }
}
"""
APPLIES = """
import sys
from pathlib import Path

from deploy.project.terraform import Terraform

terraform = Terraform(Path(sys.argv[1]), "acme-project", lambda _: False)
terraform.plan()
terraform.apply()
"""


@pytest.fixture
def storage() -> Iterator[Emulator]:
    """Cloud Storage with the bucket of the state."""
    with running() as emulator:
        emulator.create_bucket(STATE)
        yield emulator


@pytest.fixture
def google(storage: Emulator, tmp_path: Path) -> Iterator[Google]:
    """What the emulator lacks: a write may demand a generation, as the lock does."""
    with serving(Project("acme-project", tmp_path / "cloud", f"http://127.0.0.1:{storage.port}")) as server:
        yield server


@pytest.fixture
def infra(google: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The root module, and the environment of a Terraform whose cloud is a folder."""
    made = tmp_path / "infra"
    made.mkdir()
    (made / "main.tf").write_text(MODULE)
    (made / "backend.hcl").write_text(f'bucket = "{STATE}"\nprefix = "coinbeam"\n')
    for name, value in {
        "GOOGLE_OAUTH_ACCESS_TOKEN": "a-token-of-loopback",
        "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT": f"{google.url}storage/v1/",
        "TF_CLI_CONFIG_FILE": str(mirror_providers(tmp_path)),
        "TF_DISABLE_PLUGIN_TLS": "1",
        "CHECKPOINT_DISABLE": "1",
        provider.FOLDER: str(google.project.folder),
        provider.SLOW: "30",
        provider.SLOW_TYPE: "google_secret_manager_secret",
    }.items():
        monkeypatch.setenv(name, value)
    return made


def made(project: Project) -> dict[str, int]:
    """What lies in the cloud, and how often it was written."""
    return {name.removeprefix("google_").partition("/")[0]: writes for name, writes in changes(project).items()}


def kill_in_the_middle(infra: Path, project: Project) -> None:
    """Apply until two of the three are made, which the state does not know by then, and kill all of it."""
    process = subprocess.Popen([sys.executable, "-c", APPLIES, str(infra)], cwd=ROOT, start_new_session=True)
    until = time.monotonic() + 60
    while len(made(project)) < 2 and process.poll() is None and time.monotonic() < until:
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait(30) == -signal.SIGKILL
    with (infra / ".terraform" / "deploy.lock").open() as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until Terraform is dead, too


@pytest.mark.timeout(150)
def test_a_killed_apply_leaves_a_lock_and_things_and_the_next_one_takes_both(
    infra: Path, google: Google, storage: Emulator, monkeypatch: pytest.MonkeyPatch
) -> None:
    cloud, person = google.project, Somebody()
    kill_in_the_middle(infra, cloud)
    assert made(cloud) == {"service_account": 1, "storage_bucket": 1}
    assert "coinbeam/default.tflock" in storage.names(STATE), "Terraform could not release its lock"

    monkeypatch.setenv(provider.SLOW, "0")
    deploys = deployment(person=person)
    deploys.terraform = Terraform(infra, "acme-project", person.confirm)
    step = Infrastructure(deploys)
    found = step.look()
    assert found.text == "create 3 (1 secret_manager_secret, 1 service_account, 1 storage_bucket)"
    assert "left a lock on the state. Take it away?" in person.asked[0]
    step.do()
    [taken] = person.said
    assert "google_service_account.account" in taken
    assert "google_storage_bucket.data" in taken
    assert made(cloud) == {"secret_manager_secret": 1, "service_account": 1, "storage_bucket": 1}
    assert "coinbeam/default.tflock" not in storage.names(STATE)
    assert step.look().state is State.DONE
