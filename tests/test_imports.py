"""The rules of `[tool.importlinter]` refuse an import that points up: each is planted in a copy of the packages.

The linter runs as a process of its own. This one has our packages loaded, and the linter would read those instead of
the copy.
"""

import os
import subprocess
import sys
import tomllib
from pathlib import Path
from shutil import copy2, copytree, ignore_patterns

import pytest

from coinbeam.settings import ROOT

CONFIGURATION = "pyproject.toml"

PLANTS = {
    "the core imports an outer package": ("coinbeam.clock", "beam_pipelines.job.report"),
    "the core imports the console": ("coinbeam.warehouse.client", "console.app"),
    "the core imports Airflow": ("coinbeam.ops.alerts", "airflow"),
    "the core imports Beam": ("coinbeam.batch.jobs", "apache_beam"),
    "a low room of the core imports a higher one": ("coinbeam.contracts.model", "coinbeam.feeds.steps"),
    "a source knows the warehouse": ("coinbeam.sources.registry", "coinbeam.warehouse.client"),
    "feeds and marts know each other": ("coinbeam.marts.plan", "coinbeam.feeds.steps"),
    "a feed of the jobs imports another feed": ("beam_pipelines.snapshot.table", "beam_pipelines.history.table"),
    "what every job does imports a feed": ("beam_pipelines.job.launch", "beam_pipelines.assets.table"),
    "landing imports what every job does": ("beam_pipelines.landing.files", "beam_pipelines.job.report"),
    "DAGs import Beam": ("dags.beam_jobs", "apache_beam"),
    "DAGs import a job": ("dags.crypto_etl_dag", "beam_pipelines.fetch_crypto_data"),
    "DAGs import the local cloud": ("dags.operations", "local.ports"),
    "the local cloud imports the console": ("local.cloud", "console.app"),
    "a release imports the console": ("deploy.store", "console.app"),
}
"""A module, and what it must not import."""


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A copy of the packages that the rules name, and of the rules."""
    copy2(ROOT / CONFIGURATION, tmp_path)
    rules = tomllib.loads((ROOT / CONFIGURATION).read_text(encoding="utf-8"))["tool"]["importlinter"]
    for package in rules["root_packages"]:
        copytree(ROOT / package, tmp_path / package, ignore=only_python)
    return tmp_path


def only_python(folder: str, names: list[str]) -> set[str]:
    """What `copytree` leaves out: all but folders and modules."""
    skipped = ignore_patterns("__pycache__")(folder, names)
    return skipped | {name for name in names if not name.endswith(".py") and not (Path(folder) / name).is_dir()}


def linted(repository: Path) -> subprocess.CompletedProcess[str]:
    """`lint-imports` of a repository, on lines so wide that none is broken."""
    return subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"],
        cwd=repository,
        env=os.environ | {"PYTHONPATH": str(repository), "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )


def test_our_imports_point_one_way(repository: Path) -> None:
    checked = linted(repository)
    assert checked.returncode == 0, checked.stdout
    assert " 0 broken." in checked.stdout


@pytest.mark.parametrize(("module", "imported"), PLANTS.values(), ids=PLANTS)
def test_an_import_that_points_up_is_refused(repository: Path, module: str, imported: str) -> None:
    path = repository / f"{module.replace('.', '/')}.py"
    with path.open("a", encoding="utf-8") as source:
        source.write(f"\n\ndef planted() -> None:\n    import {imported}\n")
    line = len(path.read_text(encoding="utf-8").splitlines())
    checked = linted(repository)
    assert checked.returncode == 1, checked.stdout
    assert f"{module} -> {imported} (l.{line})" in checked.stdout


def test_a_room_without_a_place_in_the_order_is_refused(repository: Path) -> None:
    (repository / "coinbeam" / "shed.py").touch()
    checked = linted(repository)
    assert checked.returncode == 1, checked.stdout
    assert "shed" in checked.stdout
