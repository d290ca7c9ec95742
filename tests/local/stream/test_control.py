"""What is left of a stream whose owner was killed, and what its processes said last."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from coinbeam.settings import Settings
from local import cloud
from local.stream.__main__ import logs_folder, stream_file
from local.stream.control import down, end_orphans, failing, last_words, running
from tests.temporary import temporary_settings


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Those of a machine on which no stream ever ran."""
    return temporary_settings(tmp_path)


@pytest.fixture
def sleeper() -> Iterator[subprocess.Popen[bytes]]:
    """A process that stands for a member."""
    process = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
    yield process
    process.kill()
    process.wait()


def left_over(settings: Settings, pid: int, since: float) -> None:
    """The record of a stream whose owner is gone."""
    gone = subprocess.Popen([sys.executable, "-c", "pass"])
    gone.wait()
    member = {"pid": pid, "since": since, "restarts": 0, "last_exit": None}
    record = {"pid": gone.pid, "since": time.time(), "symbols": "BTCUSDT", "source_id": "s"}
    stream_file(settings).parent.mkdir(parents=True)
    stream_file(settings).write_text(json.dumps(record | {"members": {"broker": member}}))


def test_the_processes_of_a_killed_owner_are_ended_by_the_next_command(
    settings: Settings, sleeper: subprocess.Popen[bytes]
) -> None:
    left_over(settings, sleeper.pid, psutil.Process(sleeper.pid).create_time())
    said = list[str]()
    down(settings, said.append)
    assert said == ["What a killed stream left over is ended."]
    assert sleeper.wait(10) == -signal.SIGTERM
    assert not stream_file(settings).exists()
    down(settings, said.append)
    assert said[1:] == ["No stream was running."]


def test_the_local_cloud_ends_a_stream_that_would_be_left_without_it(
    settings: Settings, sleeper: subprocess.Popen[bytes]
) -> None:
    left_over(settings, sleeper.pid, psutil.Process(sleeper.pid).create_time())
    said = list[str]()
    for _ in range(2):
        cloud.down(settings, said.append)
    assert said == ["What a killed stream left over is ended.", *["The local cloud was not running."] * 2]
    assert sleeper.wait(10) == -signal.SIGTERM


def test_a_number_that_belongs_to_another_process_now_is_left_alone(
    settings: Settings, sleeper: subprocess.Popen[bytes]
) -> None:
    left_over(settings, sleeper.pid, psutil.Process(sleeper.pid).create_time() - 3_600)
    assert running(settings) is None
    assert not end_orphans(settings)
    assert sleeper.poll() is None


@pytest.mark.parametrize(
    ("restarts", "ago", "fails"), [(3, 1, True), (2, 1, False), (3, 3_600, False)], ids=["again", "twice", "long ago"]
)
def test_a_process_fails_that_ended_often_and_a_moment_ago(restarts: int, ago: float, fails: bool) -> None:
    record: dict[str, Any] = {"members": {"windows": {"restarts": restarts, "since": time.time() - ago}}}
    assert failing(record) == (["windows"] if fails else [])


def test_the_last_words_are_the_last_line_that_says_something(settings: Settings) -> None:
    assert last_words(settings, "publisher") == "The publisher said nothing."
    logs_folder(settings).mkdir(parents=True)
    (logs_folder(settings) / "publisher.log").write_text("first\nNo connection to wss://venue\n\n")
    assert last_words(settings, "publisher") == "The publisher said last: No connection to wss://venue"
