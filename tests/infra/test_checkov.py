"""checkov, which knows the advice of the field: nothing fails, and whatever is skipped says why.

It pins many packages, so it lives in an environment of its own below ``.coinbeam/``, made once.
"""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from filelock import FileLock

from coinbeam.settings import STATE
from tests.infra.configuration import INFRA

PACKAGE = "checkov==3.3.30"
ENVIRONMENT = STATE / "envs" / PACKAGE.replace("==", "-")


@pytest.fixture(scope="module")
def checkov() -> Path:
    """The program, installed once; a machine without a package index skips."""
    program = ENVIRONMENT / "bin" / "checkov"
    ENVIRONMENT.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(f"{ENVIRONMENT}.lock", timeout=280):
        if not program.exists():
            install()
    return program


def install() -> None:
    """Make the environment, with uv since pip takes twenty times as long."""
    shutil.rmtree(ENVIRONMENT, ignore_errors=True)
    uv = [sys.executable, "-m", "uv"]
    try:
        subprocess.run(
            [*uv, "venv", "--quiet", "--python", sys.executable, str(ENVIRONMENT)],
            check=True,
            capture_output=True,
            timeout=60,
        )
        target = ["--python", str(ENVIRONMENT / "bin" / "python")]
        subprocess.run(
            [*uv, "pip", "install", "--quiet", *target, PACKAGE], check=True, capture_output=True, timeout=200
        )
    except (subprocess.SubprocessError, OSError) as error:
        shutil.rmtree(ENVIRONMENT, ignore_errors=True)
        pytest.skip(f"{PACKAGE} cannot be installed here: {type(error).__name__}")


def scan(checkov: Path, folder: Path) -> dict[str, Any]:
    """What checkov says of a folder, without asking anybody on the network."""
    options = [
        "--framework",
        "terraform",
        "--skip-download",
        "--compact",
        "--output",
        "json",
        "--directory",
        str(folder),
    ]
    own = {
        name: value for name, value in os.environ.items() if not name.startswith("PYTHON")
    }  # it has another python-hcl2
    done = subprocess.run([checkov, *options], capture_output=True, text=True, timeout=120, check=False, env=own)
    assert done.stdout, done.stderr
    return dict(json.loads(done.stdout))


def failed(told: dict[str, Any]) -> set[tuple[str, str]]:
    return {(check["check_id"], check["resource"]) for check in told["results"]["failed_checks"]}


@pytest.mark.timeout(300)
def test_nothing_fails_and_a_mistake_does(checkov: Path, tmp_path: Path) -> None:
    """One scan for both, since most of its time is its start."""
    shutil.copytree(INFRA, tmp_path / "infra", ignore=shutil.ignore_patterns(".terraform*"))
    (tmp_path / "mistake.tf").write_text(
        'resource "google_storage_bucket_iam_member" "open" {\n  bucket = "b"\n  role = "roles/storage.objectViewer"\n'
        '  member = "allUsers"\n}\n',
        encoding="utf-8",
    )
    told = scan(checkov, tmp_path)
    assert failed(told) == {("CKV_GCP_28", "google_storage_bucket_iam_member.open")}
    assert told["summary"]["parsing_errors"] == 0
    assert told["summary"]["passed"] > 30


def test_every_skip_says_why() -> None:
    text = "\n".join(path.read_text(encoding="utf-8") for path in INFRA.rglob("*.tf"))
    skips = re.findall(r"checkov:skip=(\S*)(.*)", text)
    assert skips
    assert [skip for skip in skips if not re.fullmatch(r"CKV_GCP_\d+:\w+", skip[0]) or len(skip[1].split()) < 3] == []
