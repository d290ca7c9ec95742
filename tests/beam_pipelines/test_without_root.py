"""What the image starts of Dataflow's runs as a user without rights, in folders that the machine mounts as root's."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from coinbeam.settings import ROOT
from tests.beam_pipelines import image

SCRIPT = ROOT / "beam_pipelines" / "without_root.sh"
BEGINS = """#!/bin/sh
id -u; id -g; id -G; grep -E "^(CapPrm|CapEff|NoNewPrivs)" /proc/self/status
echo "home $HOME"
for argument in "$@"; do echo "argument $argument"; done
for folder in {folders}; do echo written > "$folder/by_the_program"; done
"""
as_root = pytest.mark.skipif(
    os.getuid() != 0 or not shutil.which("setpriv"), reason="gives up root's rights: needs them"
)


@pytest.fixture
def mounted() -> Iterator[Path]:
    """A folder of root's that others may enter, as a mount of the machine; pytest's own let nobody else in."""
    folder = Path(tempfile.mkdtemp(prefix="coinbeam-mounted-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


def program(mounted: Path, *folders: Path) -> Path:
    """A program in the place of Beam's, which says who it is and writes where Beam's would."""
    path = mounted / "boot"
    path.write_text(BEGINS.format(folders=" ".join(map(str, folders))))
    path.chmod(0o755)
    return path


def run(*command: str, **variables: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        ["sh", *command],
        env={"PATH": os.environ["PATH"], **variables},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


@as_root
def test_the_program_has_no_rights_and_writes_what_was_mounted(mounted: Path) -> None:
    semi_persistent, log = mounted / "semi", mounted / "log"
    semi_persistent.mkdir()
    boot = program(mounted, semi_persistent, semi_persistent / "staged", log)
    arguments = ["--id=1", f"--semi_persist_dir={semi_persistent}", "two words"]
    done = run(str(SCRIPT), str(boot), *arguments, HANDED_OVER=str(log))
    assert done.returncode == 0, done.stderr
    said = done.stdout.splitlines()
    assert said[:3] == ["10001", "10001", "10001"]
    assert {line.split()[0]: int(line.split()[1], 16) for line in said[3:6]} == {
        "CapPrm:": 0,
        "CapEff:": 0,
        "NoNewPrivs:": 1,
    }
    assert said[6:] == ["home /var/lib/coinbeam", *(f"argument {argument}" for argument in arguments)]


@as_root
def test_a_folder_that_anybody_may_write_stays_as_it_is(mounted: Path) -> None:
    shared = mounted / "tmp"
    shared.mkdir()
    shared.chmod(0o1777)
    done = run(str(SCRIPT), str(program(mounted, shared / "staged")), f"--semi_persist_dir={shared}")
    assert done.returncode == 0, done.stderr
    assert shared.stat().st_uid == 0
    assert (shared / "staged").stat().st_uid == 10001


@as_root
def test_without_the_script_the_mounted_folder_could_not_be_written(mounted: Path) -> None:
    boot = program(mounted, mounted)
    done = subprocess.run(
        ["setpriv", "--reuid=10001", "--regid=10001", "--clear-groups", str(boot)], capture_output=True, check=False
    )
    assert b"Permission denied" in done.stderr


def test_the_end_of_the_program_is_that_of_the_script() -> None:
    assert run(str(SCRIPT), "sh", "-c", "exit 7").returncode == 7


def test_the_image_starts_nothing_but_through_it() -> None:
    pipelines, launcher = image.stage("pipelines"), image.stage("launcher")
    assert pipelines[-1] == 'ENTRYPOINT ["/app/beam_pipelines/without_root.sh", "/opt/apache/beam/boot"]'
    assert any("useradd --uid 10001" in line and "coinbeam /opt/apache/beam-venv" in line for line in pipelines)
    started = [line for line in launcher if "> /opt/google/dataflow/python_template_launcher" in line]
    assert len(started) == 1
    assert (
        "exec /app/beam_pipelines/without_root.sh /opt/google/dataflow/launcher/python_template_launcher" in started[0]
    )
    assert any("HANDED_OVER=/var/log/dataflow/template_launcher" in line for line in launcher)
    assert not any(line.startswith("ENTRYPOINT") for line in launcher)
    assert SCRIPT.stat().st_mode & 0o111 == 0o111, "it is run by its name"
