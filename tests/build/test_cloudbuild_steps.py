"""The steps of ``cloudbuild.yaml`` executed from first to last, on loopback; and a mistake in each stops the build before the switch."""

import json
from typing import Any

import pytest

from beam_pipelines.flex_template import JOBS
from tests.build.conftest import COMPOSER_BUCKET, DATA_BUCKET, PROJECT, RELEASE
from tests.build.execution import ELSEWHERE, Workspace
from tests.coinbeam.release.emulator import Emulator

pytestmark = [pytest.mark.cloud, pytest.mark.xdist_group("build")]


def read_json(emulator: Emulator, bucket: str, name: str) -> Any:
    """An object that holds JSON."""
    return json.loads(emulator.content(bucket, name))


@pytest.mark.timeout(280)
def test_a_commit_becomes_the_current_release(workspace: Workspace, emulator: Emulator, capsys: pytest.CaptureFixture[str]) -> None:
    ended = workspace.run_all()
    assert {name: end.output for name, end in ended.items() if end.code} == {}
    left_out = {line.split()[1] for line in capsys.readouterr().out.splitlines() if "is not executed" in line}
    assert left_out == set(ELSEWHERE)
    assert list(ended) == ["configure", "templates", "upload", "check", "contracts", "switch"]

    for job in JOBS:
        template = read_json(emulator, DATA_BUCKET, f"releases/{RELEASE}/templates/{job}.json")
        assert template["image"] == f"us-central1-docker.pkg.dev/{PROJECT}/coinbeam/{job.replace('_', '-')}:{RELEASE}"
        assert template["sdkInfo"] == {"language": "PYTHON"}
        assert template["metadata"]["parameters"]
    assert "4 DAGs: crypto_backfill_dag, crypto_etl_dag, crypto_marts_dag, fear_greed_dag" in ended["check"].output
    assert "created table crypto_data.crypto_market_snapshot_fact" in ended["contracts"].output
    assert read_json(emulator, COMPOSER_BUCKET, "dags/coinbeam_release.json") == {"current": RELEASE, "previous": None}
    deployed = read_json(emulator, COMPOSER_BUCKET, f"dags/coinbeam_releases/{RELEASE}/config/deployment.json")
    assert deployed["release"] == RELEASE
    assert deployed["dataflow"]["image"].endswith(f"/coinbeam/pipelines:{RELEASE}")
    assert deployed["storage"]["bucket"] == DATA_BUCKET

    again = workspace.run_all()
    assert {name: end.output for name, end in again.items() if end.code} == {}
    assert ": 0 of " in again["upload"].output
    assert "0 changes" in again["contracts"].output


@pytest.mark.timeout(120)
def test_a_dag_that_cannot_be_imported_stops_the_build_before_the_switch(workspace: Workspace, emulator: Emulator) -> None:
    (workspace.folder / "dags" / "crypto_marts_dag.py").write_text("from coinbeam.marts import NOTHING\n")
    for step in ("configure", "upload"):
        assert workspace.run(step).code == 0
    checked = workspace.run("check")
    assert checked.code == 1
    assert "cannot import name 'NOTHING'" in checked.output
    assert emulator.generation(COMPOSER_BUCKET, "dags/coinbeam_release.json") == 0


def test_a_substitution_that_was_forgotten_stops_the_first_step(workspace: Workspace) -> None:
    workspace.given = {"PROJECT_ID": PROJECT, "SHORT_SHA": RELEASE}
    ended = workspace.run("configure")
    assert (ended.code, ended.output) == (1, "ERROR: _COMPOSER_BUCKET is not set; give the bucket of the Composer environment.\n")
