"""The steps of the release of each profile executed from first to last, on loopback; and a mistake in each stops the
build before the switch.
"""

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coinbeam.batch.jobs import JOBS
from coinbeam.settings import Settings
from runs import airflow as orchestrator
from tests.build.cloudbuild import FILE, SMALL, text
from tests.build.conftest import (
    COMPOSER_BUCKET,
    DATA_BUCKET,
    PROJECT,
    RELEASE,
    SMALL_BUCKET,
    SMALL_PROJECT,
    SMALL_SUBSTITUTIONS,
    SUBSTITUTIONS,
)
from tests.build.execution import Workspace, left_out_here
from tests.deploy.emulator import Emulator
from tests.docs.test_commands import fault_of_gcloud
from tests.temporary import temporary_settings

pytestmark = [pytest.mark.cloud, pytest.mark.xdist_group("build")]


def read_json(emulator: Emulator, bucket: str, name: str) -> Any:
    """An object that holds JSON."""
    return json.loads(emulator.content(bucket, name))


@pytest.fixture
def airflow_home(migrated_airflow: Callable[[Settings], None], tmp_path: Path) -> Path:
    """A home of Airflow with a database."""
    settings = temporary_settings(tmp_path / "state")
    migrated_airflow(settings)
    return orchestrator.airflow_home(settings)


def run_deployed(
    workspace: Workspace, emulator: Emulator, home: Path, python: Path
) -> "subprocess.CompletedProcess[str]":
    """Run a DAG as Composer has it: what lies in its bucket, its packages, and no variable of ours."""
    for name in emulator.names(COMPOSER_BUCKET):
        path = home / "gcs" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(emulator.content(COMPOSER_BUCKET, name))
    form = {"assets": "bitcoin", "from_date": "2026-01-01", "to_date": "2026-01-31", "dry_run": True}
    own = {
        "AIRFLOW_HOME": str(home),
        "AIRFLOW__CORE__DAGS_FOLDER": str(home / "gcs" / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{home / 'airflow.db'}",
    }
    return subprocess.run(
        [
            str(python),
            "-I",
            "-m",
            "airflow",
            "dags",
            "test",
            "crypto_backfill_dag",
            "2026-02-01",
            "--conf",
            json.dumps(form),
        ],
        cwd=home,
        env={**workspace.variables, **own},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )


@pytest.mark.airflow
@pytest.mark.timeout(280)
def test_a_commit_becomes_the_current_release_and_its_dags_run(
    workspace: Workspace,
    emulator: Emulator,
    airflow_home: Path,
    composer_python: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    ended = workspace.run_all()
    assert {name: end.output for name, end in ended.items() if end.code} == {}
    left_out = {line.split()[1] for line in capsys.readouterr().out.splitlines() if "is not executed" in line}
    assert left_out == set(left_out_here()) - {"batch-image"}
    assert [*ended] == [
        name
        for name in (
            "configure",
            "sbom",
            "vulnerabilities",
            "templates",
            "upload",
            "check",
            "contracts",
            "serving-revisions",
            "switch",
            "serving-traffic",
        )
        if name not in left_out
    ]

    for job in JOBS if "templates" in ended else ():
        template = read_json(emulator, DATA_BUCKET, f"releases/{RELEASE}/templates/{job}.json")
        assert template["image"] == f"us-central1-docker.pkg.dev/{PROJECT}/coinbeam/{job.replace('_', '-')}:{RELEASE}"
        assert template["sdkInfo"] == {"language": "PYTHON"}
        assert template["metadata"]["parameters"]
    if "sbom" in ended:
        assert {name for name in emulator.names(DATA_BUCKET) if "/images/" in name} == {
            f"releases/{RELEASE}/images/pipelines.{kind}" for kind in ("digest", "cdx.json")
        }
    assert (
        "6 DAGs: crypto_backfill_dag, crypto_etl_dag, crypto_marts_dag, crypto_stream_dag, fear_greed_dag, price_witness_dag"
        in ended["check"].output
    )
    assert "created table crypto_data.crypto_market_snapshot_fact" in ended["contracts"].output
    assert read_json(emulator, COMPOSER_BUCKET, "dags/coinbeam_release.json") == {"current": RELEASE, "previous": None}
    deployed = read_json(emulator, COMPOSER_BUCKET, f"dags/coinbeam_releases/{RELEASE}/config/deployment.json")
    assert deployed["release"] == RELEASE
    assert deployed["dataflow"]["image"].endswith(f"/coinbeam/pipelines:{RELEASE}")
    assert deployed["storage"]["bucket"] == DATA_BUCKET

    assert ": 0 of " in workspace.run("upload").output, "a step may be repeated"
    assert workspace.run("switch").code == 0

    ran = run_deployed(workspace, emulator, airflow_home, composer_python)
    assert ran.returncode == 0, ran.stdout[-5000:]
    assert "Dry run: the plan is shown above" in ran.stdout
    assert re.search(r"state=success|Marking run.*successful", ran.stdout)


@pytest.mark.timeout(200)
def test_a_commit_becomes_the_release_that_the_job_of_the_small_profile_runs(
    small_workspace: Workspace, emulator: Emulator, tmp_path: Path
) -> None:
    ended = small_workspace.run_all()
    assert {name: end.output for name, end in ended.items() if end.code} == {}
    wanted = ["configure", "sbom", "vulnerabilities", "contracts", "serving-revisions", "batch-job", "serving-traffic"]
    assert [*ended] == [name for name in wanted if name not in left_out_here()]

    deployed = json.loads((small_workspace.folder / "config" / "deployment.json").read_text())
    assert (deployed["release"], deployed["runner"]) == (RELEASE, "local")
    assert deployed["storage"]["bucket"] == SMALL_BUCKET
    assert not {"dataflow", "composer"} & set(deployed)
    if "sbom" in ended:
        assert set(emulator.names(SMALL_BUCKET)) == {
            f"releases/{RELEASE}/images/{name}.{kind}"
            for name in ("batch", "serving")
            for kind in ("digest", "cdx.json")
        }
    assert "created table crypto_data.crypto_market_snapshot_fact" in ended["contracts"].output

    calls = [line.split() for line in (tmp_path / "calls").read_text().splitlines()]
    assert [call[1:4] for call in calls] == [
        ["services", "update", "coinbeam-api"],
        ["services", "update", "coinbeam-dashboard"],
        ["jobs", "update", "coinbeam-daily"],
        ["services", "update-traffic", "coinbeam-api"],
        ["services", "update-traffic", "coinbeam-dashboard"],
    ], "the job is switched between the revisions and their requests"
    assert [call[call.index("--image") + 1].rpartition("/")[2] for call in calls[:3]] == [
        f"serving:{RELEASE}",
        f"serving:{RELEASE}",
        f"batch:{RELEASE}",
    ]
    assert [call for call in calls if call[call.index("--project") + 1] != SMALL_PROJECT] == []
    assert [fault for call in calls if (fault := fault_of_gcloud(call))] == []


@pytest.mark.parametrize(
    ("file", "given"), [(FILE, SUBSTITUTIONS), (SMALL, SMALL_SUBSTITUTIONS)], ids=["composer", "small"]
)
def test_nobody_waits_for_scans_that_are_off(file: Path, given: dict[str, str], tmp_path: Path) -> None:
    """With a program in the place of our own that tells that it was called: the scans themselves have their own tests."""
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").write_text('#!/bin/sh\necho asked: "$@"\n')
    (tmp_path / ".venv" / "bin" / "python").chmod(0o755)
    path = {"PATH": os.environ["PATH"]}
    off, on, wrong = (
        Workspace(tmp_path, path, {**given, "_SCAN": word}, text(file)).run("vulnerabilities")
        for word in ("off", "on", "yes")
    )
    assert (off.code, on.code, wrong.code) == (0, 0, 1)
    assert "asked" not in off.output
    assert "scan_images = false" in off.output
    assert on.output == "asked: -m console release scan --images images\n"
    assert wrong.output == "ERROR: _SCAN is yes; it is on or off.\n"


@pytest.mark.timeout(120)
def test_a_dag_that_cannot_be_imported_stops_the_build_before_the_switch(
    workspace: Workspace, emulator: Emulator
) -> None:
    (workspace.folder / "dags" / "calendar.py").write_text("from coinbeam.batch.kinds import NOTHING\n")
    for step in ("configure", "upload"):
        assert workspace.run(step).code == 0
    checked = workspace.run("check")
    assert checked.code == 1
    assert "cannot import name 'NOTHING'" in checked.output
    assert emulator.generation(COMPOSER_BUCKET, "dags/coinbeam_release.json") == 0


@pytest.mark.parametrize(
    ("forgotten", "said"),
    [
        ("_COMPOSER_BUCKET", "ERROR: _COMPOSER_BUCKET is not set; give the bucket of the Composer environment."),
        ("_LOCATION", "has to say google.location"),
        ("_PERIOD", "has to say market.period"),
        ("_PLAN", "has to say coingecko.plan"),
        ("_SUBNETWORK", "private workers reach nothing"),
    ],
)
def test_a_substitution_that_was_forgotten_stops_the_first_step(
    forgotten: str, said: str, workspace: Workspace
) -> None:
    workspace.given = {name: value for name, value in SUBSTITUTIONS.items() if name != forgotten}
    ended = workspace.run("configure")
    assert ended.code != 0
    assert said in " ".join(ended.output.split())


def test_substitutions_that_were_forgotten_stop_a_small_release_at_its_first_step(small_workspace: Workspace) -> None:
    forgotten = {"_LOCATION", "_PERIOD", "_PLAN"}
    small_workspace.given = {name: value for name, value in SMALL_SUBSTITUTIONS.items() if name not in forgotten}
    ended = small_workspace.run("configure")
    assert ended.code != 0
    assert "has to say google.location, market.period, coingecko.plan" in " ".join(ended.output.split())
    small_workspace.given = {**SMALL_SUBSTITUTIONS, "SHORT_SHA": ""}
    assert small_workspace.run("configure").output == "ERROR: _RELEASE is not set; give the short commit.\n"
