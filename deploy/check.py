"""The smoke check of a release: the loader imports its DAGs as in Composer, with no checkout in reach."""

import json
import os
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import asdict
from importlib import resources
from pathlib import Path
from typing import Any

from coinbeam.errors import TerminalError
from deploy.loader import MANIFEST, PACKAGES, POINTER, RELEASES
from deploy.parse import MARK
from deploy.store import IGNORE, IGNORED, LOADER, Pointer
from deploy.tree import Manifest

TIMEOUT_SECONDS = 300.0
_LAST_CHARACTERS = 3_000


def check_release(manifest: Manifest, content: Mapping[str, bytes], python: Path) -> list[str]:
    """Parse a release with an Airflow.

    Args:
        manifest: of the release.
        content: bytes by path.
        python: interpreter of an environment that holds what Composer holds.

    Returns:
        The ids of its DAGs.

    Raises:
        TerminalError: a DAG cannot be imported, or there is none; the message says where and why.
    """
    with tempfile.TemporaryDirectory(prefix="coinbeam-release-") as name:
        home = Path(name).resolve()
        lay_out(home / "dags", manifest, content)
        found = _parse(home, python)
    faults = [f"{path}: {text}".strip() for path, text in found["errors"].items()]
    faults += [f"{name} was not imported from the release" for name in found["strangers"]]
    if faults or not found["dags"]:
        raise TerminalError(
            f"Release {manifest.release} cannot be imported: " + ("\n".join(faults) or "it holds no DAG") + "\n",
            _REMEDY,
        )
    return list(found["dags"])


_REMEDY = "Mend the DAG, or add the missing package to config/composer-requirements.txt."


def lay_out(dags: Path, manifest: Manifest, content: Mapping[str, bytes]) -> None:
    """Write a DAG folder as Composer's bucket holds it when this release is current."""
    tree = dags / RELEASES / manifest.release
    for path, body in content.items():
        (tree / path).parent.mkdir(parents=True, exist_ok=True)
        (tree / path).write_bytes(body)
    (tree / MANIFEST).write_text(manifest.text, encoding="utf-8")
    (dags / POINTER).write_text(json.dumps(asdict(Pointer(manifest.release))), encoding="utf-8")
    (dags / Path(LOADER).name).write_bytes(_source("loader.py"))
    (dags / Path(IGNORE).name).write_text(f"{IGNORED}\n", encoding="utf-8")


def _parse(home: Path, python: Path) -> dict[str, Any]:
    script = home / "parse.py"
    script.write_bytes(_source("parse.py"))
    done = subprocess.run(
        # -I, isolated: no PYTHONPATH, no folder of the caller
        [str(python.absolute()), "-I", str(script), str(home / "dags"), *PACKAGES],
        cwd=home,
        env=_variables(home),
        capture_output=True,
        text=True,
        timeout=TIMEOUT_SECONDS,
        check=False,
    )
    line = next((line for line in done.stdout.splitlines() if line.startswith(MARK)), None)
    if done.returncode or line is None:
        raise TerminalError(
            f"{python} could not parse the release: {(done.stderr or done.stdout)[-_LAST_CHARACTERS:].strip()}", _REMEDY
        )
    return dict(json.loads(line.removeprefix(MARK)))


def _variables(home: Path) -> dict[str, str]:
    """An Airflow of its own; nothing of ours is handed on, since the release brings its settings."""
    return {
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": str(home),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__CORE__DAGBAG_IMPORT_TIMEOUT": str(TIMEOUT_SECONDS),
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
    }


def _source(name: str) -> bytes:
    return resources.files("deploy").joinpath(name).read_bytes()
