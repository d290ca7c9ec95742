"""Half a deployment is never seen: whatever has arrived of an upload, a reader takes one release, whole."""

import json
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import pytest

from deploy import loader
from deploy.bucket import DeploymentConflictError, VersionedBucket
from deploy.store import DAGS, Pointer, ReleaseStore
from tests.deploy.conftest import BUCKET, Release
from tests.deploy.emulator import Emulator
from tests.deploy.mount import Mount

MakeRelease = Callable[..., Release]


@pytest.fixture(params=range(5), ids=lambda seed: f"order {seed}")
def mount(request: pytest.FixtureRequest, emulator: Emulator, tmp_path: Path) -> Mount:
    """A folder that follows the bucket in an order of its own."""
    synchronised = Mount(emulator, BUCKET, tmp_path / "mount", request.param)
    emulator.watchers.append(synchronised.written)
    return synchronised


def deploy(store: ReleaseStore, release: Release) -> None:
    """What a deployment does to the bucket."""
    store.upload(*release)
    store.switch(release[0].release)


def watch(mount: Mount, *releases: Release) -> list[str]:
    """Let a reader look after each arrival; the names that it took so far. What it takes must be one of the releases,
    whole.
    """
    whole = {manifest.release: content for manifest, content in releases}
    taken: list[str] = []

    def look() -> None:
        name, files = mount.chosen()
        assert files == whole[name]
        taken.append(name)

    mount.after_each = look
    return taken


def test_a_reader_sees_the_old_release_or_the_new_one_at_every_moment(
    store: ReleaseStore, mount: Mount, make_release: MakeRelease
) -> None:
    old, new = make_release("old"), make_release("new", **{"dags/more.py": "MORE = 1\n"})
    deploy(store, old)
    mount.settle()
    taken = watch(mount, old, new)
    deploy(store, new)
    mount.settle()
    assert taken[0] == "old"
    assert taken[-1] == "new"
    assert len(taken) == len(new[1]) + 2, "a look after each file, the manifest and the pointer"
    assert sorted(taken, key=["old", "new"].index) == taken, "nobody goes back"
    assert mount.dags() == ["one-new-new-new"]


@pytest.fixture
def pointer_first(emulator: Emulator, tmp_path: Path) -> Mount:
    """A folder in which the newest object arrives first, and nothing before it is asked for."""
    synchronised = Mount(emulator, BUCKET, tmp_path / "reversed", seed=None)
    emulator.watchers.append(synchronised.written)
    return synchronised


def test_a_pointer_that_arrives_before_the_files_is_not_followed_yet(
    store: ReleaseStore, pointer_first: Mount, make_release: MakeRelease
) -> None:
    old, new = make_release("old"), make_release("new")
    deploy(store, old)
    pointer_first.settle()
    taken = watch(pointer_first, old, new)
    deploy(store, new)
    pointer_first.settle()
    assert taken == ["old"] * (len(new[1]) + 1) + ["new"]


def test_the_proof_would_find_a_reader_that_trusts_the_pointer(
    store: ReleaseStore, pointer_first: Mount, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = make_release("old"), make_release("new")
    deploy(store, old)
    pointer_first.settle()
    watch(pointer_first, old, new)
    deploy(store, new)
    monkeypatch.setattr(loader, "arrived", lambda *_: True)
    with pytest.raises(AssertionError):
        pointer_first.settle()


def test_going_back_is_the_same_overwrite(store: ReleaseStore, mount: Mount, make_release: MakeRelease) -> None:
    old, new = make_release("old"), make_release("new")
    for release in (old, new):
        deploy(store, release)
    mount.settle()
    taken = watch(mount, old, new)
    assert store.switch("old") == Pointer("old", "new")
    mount.settle()
    assert taken == ["old"], "one object was written"
    assert mount.dags() == ["one-old-old-old"]


@pytest.mark.parametrize("killed_at", [1, 100], ids=lambda count: f"after {count} files")
def test_an_upload_that_is_killed_harms_nobody_and_is_taken_up_again(
    killed_at: int,
    store: ReleaseStore,
    emulator: Emulator,
    checkout: Path,
    run_cli: Callable[..., "subprocess.Popen[str]"],
    make_release: MakeRelease,
    tmp_path: Path,
) -> None:
    mount = Mount(emulator, BUCKET, tmp_path / "mount")
    old = make_release("old")
    emulator.watchers.append(mount.written)
    deploy(store, old)
    configure(checkout, "abc1234")
    written: list[str] = []
    upload: list[Any] = []

    def kill(name: str) -> None:
        written.append(name)
        if len(written) == killed_at:
            upload[0].send_signal(signal.SIGKILL)

    emulator.watchers.append(kill)
    upload.append(run_cli("release", "upload", "--bucket", BUCKET))
    assert upload[0].wait(60) == -signal.SIGKILL
    mount.settle()
    assert mount.chosen()[0] == "old"
    refused = run_cli("release", "switch", "--bucket", BUCKET)
    assert "not complete" in refused.communicate(timeout=60)[0]
    assert refused.returncode == 1

    before = len(written)
    again = run_cli("release", "upload", "--bucket", BUCKET)
    said = again.communicate(timeout=60)[0]
    assert again.returncode == 0, said
    assert f" {len(written) - before - 1} of " in said, "all but the manifest, which comes on top"
    assert written[-1].endswith(f"abc1234/{loader.MANIFEST}")
    assert len(set(written)) == len(written), "what had arrived is not sent again"
    store.switch("abc1234")
    mount.settle()
    assert mount.chosen()[0] == "abc1234"


def configure(checkout: Path, release: str) -> None:
    """Name the release of a checkout."""
    values = {
        "environment": "production",
        "release": release,
        "google": {"project": "acme"},
        "storage": {"bucket": "acme-coinbeam"},
    }
    (checkout / "config" / "deployment.json").write_text(json.dumps(values))


class Meeting(VersionedBucket):
    """A bucket whose writers of the pointer wait for each other, so that both have read it before one writes."""

    barrier: Barrier
    heeds_generations = True

    def write(self, path: str, content: bytes, generation: int | None = None) -> None:
        """Wait, then write."""
        if path == f"{DAGS}/{loader.POINTER}":
            self.barrier.wait(20)
        super().write(path, content, generation if self.heeds_generations else None)


def switch_together(stores: list[ReleaseStore]) -> list[str]:
    """Two deployments that switch at the same moment: what became of each."""
    ends: dict[int, str] = {}

    def switch(number: int) -> None:
        try:
            stores[number].switch(f"release{number}")
            ends[number] = "won"
        except DeploymentConflictError as error:
            ends[number] = str(error)

    threads = [Thread(target=switch, args=(number,)) for number in range(len(stores))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    return [ends[number] for number in sorted(ends)]


@pytest.fixture
def two(
    new_bucket: Callable[[], VersionedBucket], store: ReleaseStore, make_release: MakeRelease
) -> list[ReleaseStore]:
    """Two deployments that have uploaded and are about to switch."""
    barrier = Barrier(2)
    deploy(store, make_release("old"))
    stores = []
    for number in range(2):
        store.upload(*make_release(f"release{number}"))
        own = new_bucket()
        own.__class__ = Meeting
        own.barrier = barrier  # type: ignore[attr-defined]
        stores.append(ReleaseStore(own))
    return stores


def test_of_two_deployments_at_the_same_moment_one_wins_and_the_other_says_so(
    two: list[ReleaseStore], store: ReleaseStore
) -> None:
    ends = switch_together(two)
    winner = ends.index("won")
    assert f"Another deployment made release{winner} current at the same moment" in ends[1 - winner]
    assert store.pointer()[0] == Pointer(f"release{winner}", "old")


def test_the_proof_would_find_a_switch_without_a_precondition(
    two: list[ReleaseStore], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Meeting, "heeds_generations", False)
    assert switch_together(two) == ["won", "won"]


def test_a_deployment_that_another_one_overtook_says_so(store: ReleaseStore, make_release: MakeRelease) -> None:
    deploy(store, make_release("old"))
    _, seen = store.pointer()
    store.upload(*make_release("slow"))
    deploy(store, make_release("quick"))
    with pytest.raises(DeploymentConflictError, match="made quick current since this one began"):
        store.switch("slow", seen)
    assert store.pointer()[0] == Pointer("quick", "old")


def test_a_write_whose_answer_was_lost_is_no_conflict(
    store: ReleaseStore, make_release: MakeRelease, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.upload(*make_release("new"))
    write = store.bucket.write

    def twice(path: str, content: bytes, generation: int | None = None) -> None:
        write(path, content, generation)
        write(path, content, generation)

    monkeypatch.setattr(store.bucket, "write", twice)
    assert store.switch("new") == Pointer("new", None)


def test_the_pointer_is_written_alone(emulator: Emulator, store: ReleaseStore, make_release: MakeRelease) -> None:
    deploy(store, make_release("old"))
    store.upload(*make_release("new"))
    written: list[str] = []
    emulator.watchers.append(written.append)
    store.switch("new")
    assert written == [f"{DAGS}/{loader.POINTER}"]
