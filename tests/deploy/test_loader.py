"""The loader, read as Airflow reads it: what it takes, what it refuses, and that modules of two releases never meet."""

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from coinbeam.settings import ROOT
from deploy import loader
from deploy.check import lay_out
from tests.deploy.conftest import Release

MakeRelease = Callable[..., Release]
TWICE = """
import runpy, sys, pathlib
folder = pathlib.Path(sys.argv[1])
names = []
for text in sys.argv[2:]:
    (folder / "coinbeam_release.json").write_text(text)
    names += [name for name in runpy.run_path(str(folder / "coinbeam_dags.py")) if name.startswith("one-")]
import os
print(*names, os.environ["COINBEAM_ENV"], sum("coinbeam_releases" in entry for entry in sys.path))
"""


@pytest.fixture
def folder(tmp_path: Path, make_release: MakeRelease) -> Path:
    """A DAG folder with two whole releases; the new one is current."""
    for name in ("old", "new"):
        lay_out(tmp_path, *make_release(name))
    point(tmp_path, current="new", previous="old")
    return tmp_path


def point(folder: Path, **releases: str | None) -> None:
    """Say which release is current."""
    (folder / loader.POINTER).write_text(json.dumps(releases))


def load(folder: Path, *pointers: str) -> str:
    """What a fresh interpreter finds in the loader's file, parsed once for each pointer."""
    done = subprocess.run(
        [sys.executable, "-I", "-S", "-c", TWICE, str(folder), *pointers],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.stdout.strip() or done.stderr


def test_a_process_that_parses_twice_takes_every_module_of_the_release_of_the_moment(folder: Path) -> None:
    new, old = '{"current": "new", "previous": "old"}', '{"current": "old", "previous": "new"}'
    assert (
        load(folder, new, old, old, new)
        == "one-new-new-new one-old-old-old one-old-old-old one-new-new-new production 1"
    )


def test_modules_of_an_earlier_parse_would_meet_without_being_forgotten(folder: Path) -> None:
    forgetting = "del sys.modules[name]"
    source = (folder / "coinbeam_dags.py").read_text()
    assert source.count(forgetting) == 1
    (folder / "coinbeam_dags.py").write_text(source.replace(forgetting, "pass"))
    assert "one-old" not in load(folder, '{"current": "new"}', '{"current": "old"}')


FAULTS = {
    "a missing file": (lambda tree: (tree / "dags/tasks.py").unlink(), "lacks dags/tasks.py"),
    "half a file": (lambda tree: (tree / "coinbeam/settings.py").write_text("RELEASE"), "lacks coinbeam/settings.py"),
    "a file of another release": (
        lambda tree: (tree / "sql/one/contract.yaml").write_text("release: old\n"),
        "lacks sql/one/contract.yaml",
    ),
    "no manifest yet": (lambda tree: (tree / loader.MANIFEST).unlink(), "has no readable MANIFEST.json"),
    "half a manifest": (
        lambda tree: (tree / loader.MANIFEST).write_text('{"files": ['),
        "has no readable MANIFEST.json",
    ),
}


@pytest.mark.parametrize(("spoil", "said"), FAULTS.values(), ids=FAULTS)
def test_a_release_that_is_not_whole_gives_way_to_the_one_before(
    folder: Path, spoil: Callable[[Path], object], said: str, caplog: pytest.LogCaptureFixture
) -> None:
    spoil(folder / loader.RELEASES / "new")
    tree, manifest = loader.choose(folder)
    assert (tree.name, manifest["release"]) == ("old", "old")
    assert f"release new {said}" in caplog.text


def test_when_none_is_whole_the_error_names_what_is_missing(folder: Path) -> None:
    (folder / loader.RELEASES / "new" / "dags/tasks.py").unlink()
    (folder / loader.RELEASES / "old" / loader.MANIFEST).unlink()
    with pytest.raises(
        loader.NoCompleteReleaseError,
        match=r"release new lacks dags/tasks.py; release old has no readable MANIFEST.json",
    ):
        loader.choose(folder)


def test_only_the_first_missing_files_are_named(folder: Path) -> None:
    for path in (folder / loader.RELEASES / "new").rglob("*.py"):
        path.unlink()
    assert loader.inspect(folder / loader.RELEASES / "new")[0].endswith("dags/__init__.py and 2 more")


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "{}", None], ids=["empty", "half", "a list", "without a release", "absent"]
)
def test_a_pointer_that_stays_unreadable_is_an_error_that_names_it(
    folder: Path, text: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loader, "PAUSE_SECONDS", 0)
    (folder / loader.POINTER).unlink() if text is None else (folder / loader.POINTER).write_text(text)
    with pytest.raises(loader.NoCompleteReleaseError, match=r"coinbeam_release\.json cannot be used"):
        loader.choose(folder)


def test_a_pointer_that_is_just_being_copied_is_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / loader.POINTER).write_text("")
    monkeypatch.setattr(loader.time, "sleep", lambda _: point(folder, current="old", previous=None))
    assert loader.choose(folder)[0].name == "old"


def test_an_environment_that_composer_sets_wins(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBEAM_ENV", "local")
    assert load(folder, '{"current": "new"}').endswith(" local 1")


def test_it_stands_alone_and_airflow_takes_it_for_a_dag_file() -> None:
    source = (ROOT / "deploy" / "loader.py").read_text()
    imported = {
        line.split()[1].partition(".")[0] for line in source.splitlines() if line.startswith(("import ", "from "))
    }
    assert imported <= sys.stdlib_module_names
    assert "dag" in source.lower(), "the words by which Airflow's safe mode knows a DAG file"
    assert "airflow" in source.lower()


def test_every_dag_file_of_ours_calls_its_dag_as_the_loader_expects() -> None:
    files = list((ROOT / "dags").glob(f"*{loader.DAG_FILE}"))
    assert len(files) >= 4
    assert [path.name for path in files if ") as dag:" not in path.read_text()] == []
