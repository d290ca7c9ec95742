"""A bucket of Composer for each test, small releases to put into it, and a configured checkout."""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from coinbeam.settings import ROOT, Environment, GoogleSettings, LocalSettings, PortSettings, Settings, StorageSettings
from deploy.bucket import VersionedBucket
from deploy.store import ReleaseStore
from deploy.tree import SHIPPED, Manifest, describe
from tests.deploy.emulator import Emulator, running

BUCKET = "composer-bucket"
Release = tuple[Manifest, dict[str, bytes]]


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Cloud Storage with an empty bucket of Composer."""
    with running() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def new_bucket(emulator: Emulator) -> Callable[[], VersionedBucket]:
    """Makes a client of the bucket, as each deployment has its own."""
    settings = Settings(
        environment=Environment.LOCAL,
        google=GoogleSettings(project="local"),
        storage=StorageSettings(bucket="data"),
        local=LocalSettings(ports=PortSettings(storage=emulator.port)),
    )
    return lambda: VersionedBucket(settings, f"gs://{BUCKET}")


@pytest.fixture
def store(new_bucket: Callable[[], VersionedBucket]) -> ReleaseStore:
    """The releases in that bucket."""
    return ReleaseStore(new_bucket())


@pytest.fixture
def make_release() -> Callable[..., Release]:
    """Makes a small release whose DAG says, from each of its files, which release it is."""

    def make(release: str, **extra: str) -> Release:
        texts = {
            "coinbeam/__init__.py": "",
            "coinbeam/settings.py": f"RELEASE = {release!r}\n",
            "dags/__init__.py": "",
            "dags/tasks.py": f"from coinbeam.settings import RELEASE\nSEEN = (RELEASE, {release!r})\n",
            "dags/one_dag.py": f"from dags.tasks import SEEN\nclass dag:\n    dag_id = '-'.join(('one', *SEEN, {release!r}))\n",
            "sql/one/contract.yaml": f"release: {release}\n",
            **extra,
        }
        content = {path: text.encode() for path, text in sorted(texts.items())}
        return Manifest(release, "production", tuple(describe(path, body) for path, body in content.items())), content

    return make


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what is shipped, without a deployment."""
    folder = tmp_path / "checkout"
    for name in SHIPPED:
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__", "deployment.json"))
    return folder


@pytest.fixture
def run_cli(checkout: Path, emulator: Emulator) -> Callable[..., "subprocess.Popen[str]"]:
    """Starts ``coinbeam`` of the checkout as the deployment does: stock clients, the address of the emulator,
    production.
    """
    credentials = checkout.parent / "credentials.json"
    credentials.write_text('{"type": "authorized_user", "client_id": "x", "client_secret": "x", "refresh_token": "x"}')
    kept = {name: value for name, value in os.environ.items() if not name.startswith("COINBEAM_")}
    variables = {
        "COINBEAM_ENV": "production",
        "STORAGE_EMULATOR_HOST": f"http://127.0.0.1:{emulator.port}",
        "GOOGLE_APPLICATION_CREDENTIALS": str(credentials),
        "PYTHONPATH": str(checkout),
    }

    def start(*arguments: str) -> "subprocess.Popen[str]":
        return subprocess.Popen(
            [sys.executable, "-m", "console", *arguments],
            cwd=checkout,
            env=kept | variables,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    return start
