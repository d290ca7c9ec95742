"""``coinbeam release`` on a bucket with releases; what a deployment does with it is executed in tests/build."""

import os
from collections.abc import Callable

import pytest

from deploy.store import Pointer, ReleaseStore
from tests.console.conftest import Coinbeam, Ended
from tests.deploy.conftest import BUCKET, Release, emulator, make_release, new_bucket, store
from tests.deploy.emulator import Emulator

__all__ = ["emulator", "make_release", "new_bucket", "store"]  # fixtures

Run = Callable[..., Ended]


@pytest.fixture
def run(coinbeam: Coinbeam, emulator: Emulator, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command on the bucket."""
    for name in [name for name in os.environ if name.startswith("COINBEAM_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("COINBEAM_LOCAL__PORTS__STORAGE", str(emulator.port))
    return lambda *arguments: coinbeam("release", *arguments, "--bucket", BUCKET)


@pytest.fixture
def three(store: ReleaseStore, make_release: Callable[..., Release]) -> ReleaseStore:
    """Three releases, of which the last was switched to."""
    for name in ("one", "two", "three"):
        store.upload(*make_release(name))
        store.switch(name)
    return store


def test_going_back_makes_the_previous_release_current(run: Run, three: ReleaseStore) -> None:
    assert run("switch", "--back").out == "current: two, previous: three\n"
    assert three.pointer()[0] == Pointer("two", "three")


def test_any_release_can_be_made_current_by_name(run: Run, three: ReleaseStore) -> None:
    assert run("switch", "--release", "one").out == "current: one, previous: three\n"
    assert three.pointer()[0].current == "one"


def test_going_back_and_forward_at_once_is_misuse(run: Run, three: ReleaseStore) -> None:
    assert run("switch", "--back", "--release", "one").code == 2
    assert three.pointer()[0].current == "three"


def test_there_is_nothing_before_the_first_release(run: Run) -> None:
    ended = run("switch", "--back")
    assert (ended.code, ended.out) == (1, "")
    assert "no release before the current one" in ended.err


@pytest.mark.parametrize(
    ("command", "said"),
    [("switch", "Release development is not complete"), ("upload", "not configured for a release")],
)
def test_a_checkout_is_no_release(run: Run, command: str, said: str) -> None:
    ended = run(command)
    assert ended.code == 1
    assert said in ended.err


@pytest.mark.usefixtures("three")
def test_releases_are_listed_with_their_state(run: Run) -> None:
    lines = [line.split()[:2] for line in run("list").out.splitlines()]
    assert lines == [["release", "state"], ["three", "current"], ["two", "previous"], ["one", "complete"]]


def test_old_releases_are_deleted(run: Run, three: ReleaseStore) -> None:
    assert run("prune").out == "deleted: none\n"
    assert run("prune", "--keep", "0").out == "deleted: one\n"
    assert [one.release for one in three.releases()] == ["three", "two"]
