"""What the files of a release say to each other, read from any copy of the tree: names of images, jobs and their
templates, versions of Python, schedules of the DAGs.
"""

import ast
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from coinbeam.settings import ROOT
from tests.build.cloudbuild import FILE, SMALL, read, script, substitute, values
from tests.dags.schedules import DAILY, HOURLY

PYTHON = "3.11"
"""That of Composer 3, which nobody can choose.
Source: https://cloud.google.com/composer/docs/composer-versions
"""

READ = (
    FILE.name,
    SMALL.name,
    "Dockerfile",
    "batch.Dockerfile",
    "serving.Dockerfile",
    "Makefile",
    "deploy",
    "beam_pipelines",
    "dags",
    "sql",
    "config",
)
"""The files that these rules read."""

_PYTHONS = (
    ("Dockerfile", r"/python(\d)(\d+)-template-launcher-base\b", "the launchers"),
    ("Dockerfile", r"\bapache/beam_python(\d)\.(\d+)_sdk\b", "the workers"),
    ("batch.Dockerfile", r"\bpython:(\d)\.(\d+)", "the job"),
    ("serving.Dockerfile", r"\bpython:(\d)\.(\d+)", "the services"),
    (FILE.name, r"\blibrary/python:(\d)\.(\d+)", "the builder"),
    (SMALL.name, r"\blibrary/python:(\d)\.(\d+)", "the builder"),
    (FILE.name, r"--python python(\d)\.(\d+)", "the smoke check"),
    ("Makefile", r"--python-version (\d)\.(\d+)", "the requirements"),
)
_IMAGE = re.compile(r"-docker\.pkg\.dev/my-project/coinbeam/([\w-]+)[:@]")
_CRON = re.compile(r"[\d*/,-]+( [\d*/,-]+){4}")
_STUB = """#!/bin/sh
printf '%s ' "${0##*/}" "$@" | tr '\\n' ' ' >> "$CALLS"
echo >> "$CALLS"
for last; do :; done
if [ "$1" = inspect ]; then echo "${last%:*}@sha256:0"; fi
"""
"""Writes down how it was called, and has the digest of each image that docker is asked for."""


def copy(folder: Path) -> Path:
    """A copy of the files that the rules read, for deliberate mistakes."""
    for name in READ:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            folder.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, folder / name)
    return folder


def python_faults(root: Path) -> Iterator[str]:
    """One Python everywhere: a launcher pickles what a worker unpickles, and Airflow imports what both import."""
    for file, pattern, what in _PYTHONS:
        found = {".".join(pair) for pair in re.findall(pattern, (root / file).read_text(encoding="utf-8"))}
        if not found:
            yield f"{file} says no Python for {what}"
        yield from (f"Python {one} for {what}, and Composer has {PYTHON}" for one in sorted(found - {PYTHON}))
    targets = set(re.findall(r"^(\w+):", (root / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for file in sorted((root / "config").glob("*-requirements.txt")):
        made_by = re.findall(r"^#\s+make (\w+)$", file.read_text(encoding="utf-8"), re.MULTILINE)
        if not set(made_by) & targets:
            yield f"{file.name} does not say which target of the Makefile compiles it"


def schedule_faults(root: Path) -> Iterator[str]:
    """Every DAG runs when the table of schedules says."""
    written = schedules(root)
    for name in sorted(set(written) | set(DAILY)):
        pinned = {DAILY.get(name), HOURLY.get(name)} - {None}
        if written.get(name) != pinned:
            yield f"{name} runs at {sorted(written.get(name, ()))}, and the table says {sorted(map(str, pinned))}"


def schedules(root: Path) -> dict[str, set[str]]:
    """The cron expressions in the schedule of each DAG, those of names that it mentions too; none for a DAG that runs
    by hand or after facts.
    """
    trees = [ast.parse(file.read_text(encoding="utf-8")) for file in sorted((root / "dags").glob("*.py"))]
    names = {
        target.id: node.value
        for tree in trees
        for node in tree.body
        if isinstance(node, ast.Assign)
        for target in node.targets
        if isinstance(target, ast.Name)
    }
    found = {}
    for tree in trees:
        for call in ast.walk(tree):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id == "DAG":
                said = {one.arg: one.value for one in call.keywords}
                found[ast.literal_eval(said["dag_id"])] = set(_crons(said["schedule"], names))
    return found


def _crons(expression: ast.expr, names: dict[str, ast.expr]) -> Iterator[str]:
    for node in ast.walk(expression):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _CRON.fullmatch(node.value):
            yield node.value
        if isinstance(node, ast.Name) and node.id in names:
            yield from _crons(names[node.id], names)


def template_faults(root: Path) -> Iterator[str]:
    """Every job has a template, and every template a job."""
    jobs = {file.stem for file in (root / "beam_pipelines").glob("*.py")} - {"__init__"}
    templates = {file.stem for file in (root / "beam_pipelines" / "templates").glob("*.json")}
    yield from (f"the job {name} has no template" for name in sorted(jobs - templates))
    yield from (f"the template {name} is of no job" for name in sorted(templates - jobs))


@dataclass(frozen=True)
class Images:
    """Names of images.

    Attributes:
        pushed: by the build.
        used: by its templates, job, services and settings.
    """

    pushed: frozenset[str]
    used: frozenset[str]


def image_faults(images: Images, of_terraform: set[str]) -> Iterator[str]:
    """What is used is pushed, and what is pushed is used."""
    used = images.used | of_terraform
    yield from (f"the image {name} is used, and no build pushes it" for name in sorted(used - images.pushed))
    yield from (f"the image {name} is pushed, and nothing uses it" for name in sorted(images.pushed - used))


def images(root: Path, folder: Path, file: str = FILE.name) -> Images:
    """Run the steps of the build with programs that only write down how they were called.

    Args:
        root: a copy of the tree.
        folder: an empty one, to run in.
        file: the release of a profile.
    """
    _, build = read((root / file).read_text(encoding="utf-8"))
    bucket = {"_COMPOSER_BUCKET": "airflow"} if "_COMPOSER_BUCKET" in build.substitutions else {}
    known = values(build, PROJECT_ID="my-project", SHORT_SHA="abc1234", _SERVING="deploy", **bucket)
    for program in ("bin/docker", "bin/gcloud", "bin/make", "bin/pip", ".venv/bin/python", ".venv/bin/uv"):
        stub = folder / program
        stub.parent.mkdir(parents=True, exist_ok=True)
        stub.write_text(_STUB, encoding="utf-8")
        stub.chmod(0o755)
    for part in ("beam_pipelines/templates", "deploy"):
        shutil.copytree(root / part, folder / part, ignore=shutil.ignore_patterns("__pycache__"))
    calls = folder / "calls"
    for step in build.steps:
        subprocess.run(
            ["bash", "-c", substitute(script(step) or "", known)],
            cwd=folder,
            env={"PATH": f"{folder / 'bin'}:{os.defpath}", "HOME": str(folder), "CALLS": str(calls)},
            capture_output=True,
            timeout=30,
            check=False,
        )
    pushed, used = set(), set()
    for line in calls.read_text(encoding="utf-8").splitlines():
        program, *words = line.split()
        names = set(_IMAGE.findall(line))
        if program == "docker":
            pushed |= names if {"push", "--push"} & set(words) else set()
        else:
            used |= names
    return Images(frozenset(pushed), frozenset(used))
