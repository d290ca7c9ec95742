"""The record of a run: true about processes, and harmless when it is damaged."""

import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from local import state
from local.state import CloudState, Failure, ProcessRecord


def test_a_record_reads_back_as_it_was_written(tmp_path: Path) -> None:
    written = CloudState(ProcessRecord(1, 2.5), {"bigquery": 9050}, (ProcessRecord(3, 4.5),), Failure("storage", -9))
    state.write(tmp_path / "state.json", written)
    assert state.read(tmp_path / "state.json") == written


@pytest.mark.parametrize(
    "content",
    [
        pytest.param(None, id="no file"),
        pytest.param("", id="an empty file"),
        pytest.param('{"supervisor": {"pid": 1', id="half a file"),
        pytest.param("[]", id="something else"),
        pytest.param('{"supervisor": {"pid": 1}, "ports": {}, "children": [], "failure": null}', id="a missing field"),
    ],
)
def test_a_damaged_record_is_no_record(tmp_path: Path, content: str | None) -> None:
    path = tmp_path / "state.json"
    if content is not None:
        path.write_text(content)
    assert state.read(path) is None


def test_a_live_process_is_found() -> None:
    assert ProcessRecord.of(psutil.Process()).find() == psutil.Process()


def test_another_process_that_got_the_same_id_is_not_taken_for_the_recorded_one() -> None:
    alive = ProcessRecord.of(psutil.Process())
    assert ProcessRecord(alive.pid, alive.created - 60).find() is None


def test_an_ended_process_is_not_found_even_before_its_parent_collects_it() -> None:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    record = ProcessRecord.of(psutil.Process(process.pid))
    process.kill()
    deadline = time.monotonic() + 10
    while record.find() and time.monotonic() < deadline:
        time.sleep(0.01)
    assert psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE
    assert record.find() is None
    process.communicate(timeout=10)
    assert record.find() is None
