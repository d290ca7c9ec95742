"""The workspace of a build on the emulators, and Composer's environment."""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.environment import HOST
from tests.build import composer, execution
from tests.build.cloudbuild import SMALL, text
from tests.deploy.emulator import Emulator, running
from tests.temporary import LocalCloud

PROJECT = "acme"
COMPOSER_BUCKET = "acme-composer-bucket"
DATA_BUCKET = f"{PROJECT}-coinbeam"
RELEASE = "abc1234"
SUBSTITUTIONS = {
    "PROJECT_ID": PROJECT,
    "SHORT_SHA": RELEASE,
    "_COMPOSER_BUCKET": COMPOSER_BUCKET,
    "_LOCATION": "US",
    "_SUBNETWORK": "regions/us-central1/subnetworks/coinbeam",
    "_PLAN": "analyst",
    "_PERIOD": "daily",
    "_SCAN": "off",
}
"""What Cloud Build and Terraform give."""

SMALL_PROJECT = "acme-small"
"""Another one: both releases make their tables in the same emulator."""

SMALL_BUCKET = f"{SMALL_PROJECT}-coinbeam"
SMALL_SUBSTITUTIONS = {
    "PROJECT_ID": SMALL_PROJECT,
    "SHORT_SHA": RELEASE,
    "_LOCATION": "US",
    "_PLAN": "demo",
    "_PERIOD": "daily",
    "_SERVING": "deploy",
    "_SCAN": "off",
}
"""The same for the small profile, with the API and the dashboard."""


@pytest.fixture(scope="session")
def composer_python() -> Path:
    """The interpreter of an environment that holds what Composer holds."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("Composer's image has Python 3.11, and this is another one")
    return composer.environment()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Cloud Storage with the buckets of a deployment of each profile, empty."""
    with running() as server:
        for name in (COMPOSER_BUCKET, DATA_BUCKET, SMALL_BUCKET):
            server.create_bucket(name)
        yield server


@pytest.fixture
def workspace(
    local_cloud: LocalCloud, emulator: Emulator, composer_python: Path, tmp_path: Path
) -> execution.Workspace:
    """A checkout in which the steps of a build can be executed."""
    cloud = {**local_cloud.env, "STORAGE_EMULATOR_HOST": f"http://{HOST}:{emulator.port}"}
    variables = execution.variables(cloud, tmp_path / "gcloud", PROJECT)
    made = execution.Workspace(tmp_path / "workspace", variables, dict(SUBSTITUTIONS))
    made.prepare(composer_python)
    return made


@pytest.fixture
def small_workspace(local_cloud: LocalCloud, emulator: Emulator, tmp_path: Path) -> execution.Workspace:
    """The same for a release of the small profile, whose calls to Cloud Run are written down."""
    cloud = {**local_cloud.env, "STORAGE_EMULATOR_HOST": f"http://{HOST}:{emulator.port}"}
    variables = execution.variables(cloud, tmp_path / "gcloud", SMALL_PROJECT)
    variables["PATH"] = f"{recorder(tmp_path / 'bin', tmp_path / 'calls')}:{variables['PATH']}"
    made = execution.Workspace(
        tmp_path / "workspace", variables, dict(SMALL_SUBSTITUTIONS), text(SMALL), ("batch", "serving")
    )
    made.prepare()
    return made


def recorder(folder: Path, calls: Path) -> Path:
    """A gcloud that writes down what it is told of Cloud Run, which has no emulator, and does all else."""
    folder.mkdir()
    (folder / "gcloud").write_text(
        f'#!/bin/sh\nif [ "$1" = run ]; then echo "$@" >> "{calls}"; else exec "{shutil.which("gcloud")}" "$@"; fi\n'
    )
    (folder / "gcloud").chmod(0o755)
    return folder
