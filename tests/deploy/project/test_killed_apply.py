"""The apply of the whole of ``infra/``, killed in its middle and continued; ``test_terraform`` has the same of a small module.

Real gcloud, real Terraform, its state in the stock emulator of Cloud Storage; the rest of Google as in
``tests.deploy.project.google``. The build of the release fails here: the whole way is that of ``test_walk``.
"""

import json
import re
import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from local.environment import _CREDENTIALS
from tests.deploy.emulator import Emulator, running
from tests.deploy.project.google import Project, serving
from tests.deploy.project.site import KEY, OPTIONS, Site, changes, image_registry, repeated

pytestmark = [
    pytest.mark.clients,  # the better part of a minute: `make clients` runs it
    pytest.mark.xdist_group("terraform"),
    pytest.mark.skipif(not (shutil.which("terraform") and shutil.which("gcloud")), reason="needs gcloud and terraform"),
]
HALF = 40
"""Resources, of some hundred."""


@pytest.fixture
def storage() -> Iterator[Emulator]:
    """Cloud Storage without a bucket."""
    with running() as emulator:
        yield emulator


@pytest.fixture
def site(storage: Emulator, tmp_path: Path) -> Iterator[Site]:
    """An empty project without a warehouse."""
    address = f"http://127.0.0.1:{storage.port}"
    project = Project("acme-project", tmp_path / "cloud", address, execute=lambda _: "FAILURE")
    credentials = tmp_path / "credentials.json"
    credentials.write_text(json.dumps(_CREDENTIALS))
    env = {"STORAGE_EMULATOR_HOST": address, "GOOGLE_APPLICATION_CREDENTIALS": str(credentials)}
    cloud: Any = SimpleNamespace(env=env)
    denied = {"error": {"code": 403, "message": "Access Denied: no warehouse", "errors": [{"reason": "accessDenied"}]}}
    project.refusals["/bigquery"] = (403, denied)
    with serving(project) as google, image_registry() as images:
        env["BIGQUERY_EMULATOR_HOST"] = google.url.rstrip("/")
        yield Site(tmp_path, project, google, cloud, images.url)


@pytest.mark.timeout(280)
def test_a_killed_apply_is_continued_and_nothing_is_made_twice(site: Site, storage: Emulator) -> None:
    def in_the_middle(line: str) -> float | None:
        if not line.startswith("infrastructure: create"):
            return None
        until = time.monotonic() + 120
        while len(changes(site.project)) < HALF and time.monotonic() < until:
            time.sleep(0.01)
        return 0.0

    state = f"{site.project.id}-terraform-state"
    first = site.run("deploy", "--yes", *OPTIONS, kill=in_the_middle)
    assert first.code == -9, first.output
    assert "coinbeam/default.tflock" in storage.names(state), "Terraform could not release its lock"
    made = len(changes(site.project))
    assert HALF <= made < 90, "killed in its middle"

    second = site.run("deploy", "--yes", *OPTIONS)
    assert "left a lock on the state" in second.output
    taken_in = re.findall(r"An apply that was killed had made (.*): taken in", second.output)
    assert taken_in, second.output
    assert repeated(site.project) == []
    assert "coinbeam/default.tflock" not in storage.names(state)
    assert len(site.project.versions) == 1
    assert "release: Build 11111111-2222-3333-4444-000000000001 ended with FAILURE" in second.output
    assert second.code == 1
    assert KEY not in second.output

    bucket = storage.storage.buckets[state]
    assert bucket["versioning"] == {"enabled": True}
    assert bucket["iamConfiguration"]["publicAccessPrevention"].lower() == "enforced"

    checked = site.run("deploy-check")
    assert checked.code == 1
    states = dict(
        re.findall(r"^(bootstrap APIs|state bucket|infrastructure|API key|release) +(ok|wrong)", checked.output, re.M)
    )
    assert states == {
        "bootstrap APIs": "ok",
        "state bucket": "ok",
        "infrastructure": "ok",
        "API key": "ok",
        "release": "wrong",
    }
