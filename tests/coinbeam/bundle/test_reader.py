"""A reader has one whole version at any moment, whatever happens to the bucket and to its own disk."""

import errno
import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from coinbeam.bundle.manifest import POINTER, read_pointer
from coinbeam.bundle.reader import Bundle, Follower
from coinbeam.errors import DiskFullError, TerminalError, TransientError
from tests.coinbeam.bundle.conftest import Workshop

CHART = "charts/usd/2026-03.arrow"


def test_before_the_first_build_it_is_told_what_to_do(workshop: Workshop) -> None:
    with pytest.raises(TerminalError, match=r"no serving bundle yet.*coinbeam run"):
        workshop.bundle()


def test_a_file_is_brought_once(workshop: Workshop) -> None:
    workshop.build()
    bundle = workshop.bundle()
    bundle.prefetch("charts")
    entry = bundle.manifest.files[CHART]
    workshop.bucket.delete(entry.path)
    again = Bundle(bundle.manifest, workshop.files())
    assert list(again.grids("charts", "usd", 0, 2**53))


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-1], lambda data: data + b"x", lambda _: b"", lambda data: data[::-1]]
)
def test_another_file_than_was_written_is_refused(workshop: Workshop, damage: Callable[[bytes], bytes]) -> None:
    workshop.build()
    bundle = workshop.bundle()
    entry = bundle.manifest.files[CHART]
    data = workshop.bucket.read_bytes(entry.path) or b""
    workshop.bucket.delete(entry.path)
    workshop.bucket.write_new(entry.path, damage(data))
    with pytest.raises(TerminalError, match="not what its manifest says"):
        bundle.prefetch("charts")


def test_a_copy_that_was_damaged_here_is_brought_again(workshop: Workshop) -> None:
    workshop.build()
    workshop.bundle().prefetch("charts")
    path = workshop.cache / workshop.bundle().manifest.files[CHART].path
    path.write_bytes(path.read_bytes()[:-8])
    [grid] = [g for g in workshop.bundle().grids("charts", "usd", 0, 2**53) if g.instants[0] > 1_772_000_000_000]
    assert grid.height == 5


def test_a_file_that_is_gone_is_told(workshop: Workshop) -> None:
    workshop.build()
    bundle = workshop.bundle()
    workshop.bucket.delete(bundle.manifest.files[CHART].path)
    with pytest.raises(TerminalError, match="is gone"):
        bundle.prefetch("charts")


@pytest.mark.parametrize("text", ["", "{", "[]", '{"version": "1"}'])
def test_a_damaged_pointer_is_told(workshop: Workshop, text: str) -> None:
    workshop.build()
    workshop.bucket.write_text(POINTER, text)
    with pytest.raises(TerminalError, match=r"current.json is damaged.*--rebuild"):
        workshop.bundle()


def test_a_manifest_of_a_later_release_is_told(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.build()
    monkeypatch.setattr("coinbeam.bundle.manifest.FORMAT", 0)
    with pytest.raises(TerminalError, match="has format 1; this release reads 0"):
        workshop.bundle()


def test_a_path_that_leaves_the_folder_is_refused(workshop: Workshop) -> None:
    workshop.build()
    text = workshop.bucket.read_text(POINTER) or ""
    workshop.bucket.write_text(POINTER, text.replace("serving/2", "serving/../2", 1))
    with pytest.raises(TerminalError, match="damaged"):
        workshop.bundle()


def test_a_full_disk_is_told(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    workshop.build()

    def full(_: Path, target: Path) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(target))

    monkeypatch.setattr(Path, "replace", full)
    with pytest.raises(DiskFullError, match="disk is full"):
        workshop.bundle().prefetch("charts")
    assert [path for path in workshop.cache.rglob("*") if path.is_file()] == []


def test_a_folder_that_cannot_be_written_is_told(workshop: Workshop, tmp_path: Path) -> None:
    workshop.build()
    (tmp_path / "file").write_text("x")
    files = workshop.files(tmp_path / "file")
    with pytest.raises(TransientError, match="cannot be written"):
        Bundle(files.manifest(), files).prefetch("charts")


def follower(workshop: Workshop, make: Callable[[Bundle], Any] = lambda bundle: bundle) -> Follower[Any]:
    """A follower that looks when it is told."""
    return Follower(workshop.files(), make, 3_600)


def test_a_follower_takes_the_next_version_as_a_whole(workshop: Workshop) -> None:
    workshop.build()
    reader = follower(workshop)
    assert reader.view is None
    assert reader.look()
    first = reader.view
    assert not reader.look()
    workshop.one_day_later()
    workshop.build()
    assert reader.look()
    assert reader.view.version > first.version
    assert reader.fault is None


def test_a_follower_keeps_what_it_has_when_the_next_version_is_damaged(workshop: Workshop) -> None:
    workshop.build()
    reader = follower(workshop, lambda bundle: (bundle.prefetch("charts"), bundle)[1])
    reader.look()
    first = reader.view
    workshop.one_day_later()
    workshop.build()
    pointer = read_pointer(workshop.bucket.read_text(POINTER) or "")
    whole = workshop.bucket.read_bytes(pointer.manifest.path) or b""
    workshop.bucket.write_text(pointer.manifest.path, str(whole[:-1], "utf-8"))
    assert not reader.look()
    assert reader.view is first
    assert "not what its manifest says" in (reader.fault or "")
    workshop.bucket.write_text(pointer.manifest.path, str(whole, "utf-8"))
    assert reader.look()
    assert reader.fault is None


def test_a_follower_takes_no_version_of_which_a_file_is_missing(workshop: Workshop) -> None:
    workshop.build()
    reader = follower(workshop, lambda bundle: (bundle.prefetch("charts"), bundle)[1])
    reader.look()
    first = reader.view
    workshop.one_day_later()
    workshop.build()
    workshop.bucket.delete(workshop.bundle().manifest.files[CHART].path)
    assert not reader.look()
    assert reader.view is first


def test_a_follower_looks_by_itself_and_stops(workshop: Workshop) -> None:
    workshop.build()
    threads = set(threading.enumerate())
    reader = Follower(workshop.files(), lambda bundle: bundle.version, 0.02)
    reader.start()
    first = reader.view
    workshop.one_day_later()
    workshop.build()
    end = time.monotonic() + 10
    while reader.view == first and time.monotonic() < end:
        time.sleep(0.02)
    reader.stop()
    assert reader.view != first
    assert threads == set(threading.enumerate())


def test_copies_that_nobody_needs_are_deleted_after_a_while(workshop: Workshop) -> None:
    workshop.build()
    workshop.bundle().prefetch("charts")
    old = workshop.cache / workshop.bundle().manifest.files[CHART].path
    workshop.one_day_later()
    workshop.build()
    files = workshop.files()
    files.drop_unused(files.manifest())
    assert old.exists()  # another reader may be about to open it
    os.utime(old, (0, 0))
    kept = workshop.cache / workshop.bundle().manifest.files["charts/usd/2026-02.arrow"].path
    os.utime(kept, (0, 0))
    files.drop_unused(files.manifest())
    assert not old.exists()
    assert kept.exists()
