"""The releases in a bucket: immutable, verified, listed, and pruned without harm."""

from collections.abc import Callable

import pytest

from coinbeam.errors import TerminalError
from coinbeam.settings import ROOT
from deploy.bucket import in_parallel
from deploy.loader import MANIFEST, POINTER, RELEASES
from deploy.store import IGNORE, LOADER, ReleaseStore
from tests.deploy.conftest import BUCKET, Release
from tests.deploy.emulator import Emulator

MakeRelease = Callable[..., Release]


def test_the_manifest_comes_last_and_what_keeps_airflow_away_comes_first(
    emulator: Emulator, store: ReleaseStore, make_release: MakeRelease
) -> None:
    written: list[str] = []
    emulator.watchers.append(written.append)
    manifest, content = make_release("new")
    assert store.upload(manifest, content) == len(content)
    assert written[0] == IGNORE
    assert written[-1] == f"dags/{RELEASES}/new/{MANIFEST}"
    assert len(written) == len(content) + 2


def test_the_loader_comes_with_the_first_switch_and_is_that_of_the_package(
    emulator: Emulator, store: ReleaseStore, make_release: MakeRelease
) -> None:
    written: list[str] = []
    store.upload(*make_release("new"))
    emulator.watchers.append(written.append)
    store.switch("new")
    assert written == [f"dags/{POINTER}", LOADER]
    assert emulator.content(BUCKET, LOADER) == (ROOT / "deploy/loader.py").read_bytes()


def test_lines_of_others_in_airflowignore_stay(
    emulator: Emulator, store: ReleaseStore, make_release: MakeRelease
) -> None:
    store.bucket.write(IGNORE, b"theirs/")
    store.upload(*make_release("one"))
    store.upload(*make_release("two"))
    assert emulator.content(BUCKET, IGNORE) == b"theirs/\ncoinbeam_releases/\n"


def test_a_release_never_changes(store: ReleaseStore, make_release: MakeRelease) -> None:
    store.upload(*make_release("new"))
    assert store.upload(*make_release("new")) == 0
    with pytest.raises(TerminalError, match="with other files"):
        store.upload(*make_release("new", **{"dags/tasks.py": "SEEN = ()\n"}))


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        pytest.param(lambda store, path: store.bucket.delete(path), "dags/tasks.py", id="a file was deleted"),
        pytest.param(lambda store, path: store.bucket.write(path, b"x"), "dags/tasks.py", id="a file was changed"),
    ],
)
def test_a_release_that_was_damaged_is_not_made_current(
    store: ReleaseStore, make_release: MakeRelease, spoil: Callable[[ReleaseStore, str], None], said: str
) -> None:
    manifest, content = make_release("new")
    store.upload(manifest, content)
    assert store.download(store.manifest("new")) == content
    spoil(store, f"dags/{RELEASES}/new/dags/tasks.py")
    with pytest.raises(TerminalError, match=f"not complete.*{said}"):
        store.switch("new")
    with pytest.raises(TerminalError, match=f"changed while it was read: {said}"):
        store.download(manifest)
    assert store.pointer()[0].current is None
    assert store.upload(manifest, content) == 1
    assert store.switch("new").current == "new"


def test_a_release_that_is_not_there_is_not_made_current(store: ReleaseStore) -> None:
    with pytest.raises(TerminalError, match="Release none is not complete"):
        store.switch("none")


def test_a_pointer_that_is_not_ours_is_not_overwritten(store: ReleaseStore, make_release: MakeRelease) -> None:
    store.upload(*make_release("new"))
    store.bucket.write(f"dags/{POINTER}", b"[1]")
    with pytest.raises(TerminalError, match="is not readable"):
        store.switch("new")


@pytest.fixture
def five(store: ReleaseStore, make_release: MakeRelease) -> ReleaseStore:
    """Five releases, of which the first one is current again and the last one previous; and half of a sixth."""
    for number in range(5):
        store.upload(*make_release(f"r{number}"))
        store.switch(f"r{number}")
    store.switch("r0")
    store.bucket.write(f"dags/{RELEASES}/half/coinbeam/__init__.py", b"")
    return store


def test_releases_are_listed_newest_first_with_their_state(five: ReleaseStore) -> None:
    listed = {one.release: (one.state, one.files) for one in five.releases()}
    assert list(listed) == ["half", "r4", "r3", "r2", "r1", "r0"]
    assert listed["half"] == ("incomplete", 1)
    assert listed["r4"] == ("previous", 7)
    assert listed["r3"] == ("complete", 7)
    assert listed["r0"] == ("current", 7)


def test_the_oldest_are_pruned_and_never_the_current_or_the_previous_one(five: ReleaseStore) -> None:
    assert five.prune(2) == ["r2", "r1"]
    assert [one.release for one in five.releases()] == ["half", "r4", "r3", "r0"]
    assert five.prune(0) == ["half", "r3"]
    assert {one.state for one in five.releases()} == {"current", "previous"}
    assert five.switch("r4").previous == "r0"


def test_a_manifest_is_deleted_before_its_files(five: ReleaseStore, monkeypatch: pytest.MonkeyPatch) -> None:
    gone: list[str] = []
    monkeypatch.setattr(five.bucket, "delete", gone.append)
    five.prune(3)
    assert gone[0].endswith(f"r1/{MANIFEST}")
    assert len(gone) > 1


def test_the_first_failure_of_many_is_raised_and_the_rest_is_not_begun() -> None:
    begun: list[int] = []

    def work(number: int) -> None:
        begun.append(number)
        raise ValueError(number)

    with pytest.raises(ValueError):
        in_parallel(work, range(1000))
    assert len(begun) < 1000
