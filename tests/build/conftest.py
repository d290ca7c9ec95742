"""The workspace of a build on the emulators, and Composer's environment."""

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from local.environment import HOST
from tests.build import composer, execution
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
}
"""What Cloud Build and Terraform give."""


@pytest.fixture(scope="session")
def composer_python() -> Path:
    """The interpreter of an environment that holds what Composer holds."""
    if sys.version_info[:2] != (3, 11):
        pytest.skip("Composer's image has Python 3.11, and this is another one")
    return composer.environment()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Cloud Storage with the two buckets of a deployment, empty."""
    with running() as server:
        for name in (COMPOSER_BUCKET, DATA_BUCKET):
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
