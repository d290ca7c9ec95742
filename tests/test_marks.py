"""The promise of `make check`: no test that it runs starts an emulator or Airflow."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from coinbeam.settings import ROOT
from local.services import services
from runs.airflow import command
from tests.marks import HEAVY, REFUSED
from tests.temporary import temporary_cloud, temporary_settings


@pytest.mark.parametrize("module", sorted(REFUSED))
@pytest.mark.parametrize("shell", [False, True], ids=["by words", "by a shell"])
def test_a_test_without_a_mark_starts_no_emulator(module: str, shell: bool) -> None:
    words = [sys.executable, "-m", module, "--help"]
    with pytest.raises(AssertionError, match=re.escape(f"starts {module}.")):
        subprocess.run(" ".join(words) if shell else words, shell=shell, check=False, capture_output=True, timeout=60)


def test_a_local_cloud_is_refused_before_it_starts(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match=re.escape("starts local.supervisor.")), temporary_cloud(tmp_path):
        pass


@pytest.mark.slow
def test_a_marked_test_may_start_any_process() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "local", "--help"], check=False, capture_output=True, cwd=ROOT, timeout=60
    )
    assert done.returncode == 0


def test_what_is_refused_is_what_the_local_cloud_and_airflow_start(tmp_path: Path) -> None:
    settings = temporary_settings(tmp_path)
    commands = [each.command for each in services(settings)] + [" ".join(command("airflow", "version"))]
    started = {re.findall(r" -m (\S+)", command)[0] for command in commands}
    assert started - REFUSED == {"local.simulator"}, "the simulator is ours, and light"


def test_make_leaves_out_every_heavy_mark() -> None:
    [chosen] = re.findall(r'-m "not \((.+)\)"', (ROOT / "Makefile").read_text())
    assert set(chosen.split(" or ")) == HEAVY


@pytest.mark.parametrize(
    ("fixture", "name"),
    [("fresh_cloud", "cloud"), ("module_cloud", "cloud"), ("warm_airflow", "airflow"), ("emulator", "cloud")],
)
def test_what_a_fixture_starts_marks_the_tests_that_use_it(
    request: pytest.FixtureRequest, fixture: str, name: str
) -> None:
    users = [item for item in request.session.items if fixture in getattr(item, "fixturenames", ())]
    assert [item.nodeid for item in users if item.get_closest_marker(name) is None] == []
