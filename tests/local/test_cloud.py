"""The life of the local cloud through its command line: up, down, status, reset, and what can go wrong between."""

import os
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest
import requests

from coinbeam.settings import Settings
from local import cloud, state
from local.environment import environment
from local.services import data_dirs, services, stream_dirs
from local.supervisor import log_file, state_file
from tests.temporary import LocalCloud, temporary_settings

pytestmark = pytest.mark.cloud

Command = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def settings(tmp_path: Path) -> Iterator[Settings]:
    """Settings of a cloud of this test alone; whatever runs at the end is stopped."""
    own = temporary_settings(tmp_path / "state")
    yield own
    cloud.down(own, lambda _: None)


@pytest.fixture
def run(settings: Settings) -> Command:
    """``python -m local ...`` with these settings."""

    def command(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        env = os.environ | environment(settings) | variables
        argv = [sys.executable, "-m", "local", *arguments]
        return subprocess.run(
            argv, env=env, capture_output=True, text=True, timeout=150, stdin=subprocess.DEVNULL, check=False
        )

    return command


def _recorded(settings: Settings) -> state.CloudState:
    record = state.read(state_file(settings))
    assert record is not None
    return record


def _process(settings: Settings, module: str) -> psutil.Process:
    """The service process itself, among those that the record names."""
    [found] = [child for child in _recorded(settings).orphans() if child.cmdline()[1:3] == ["-m", module]]
    return found


def _wait_until(condition: Callable[[], object], seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


def test_up_status_up_again_down(settings: Settings, run: Command) -> None:
    first = run("up")
    assert (first.returncode, first.stderr) == (0, "")
    assert all(service.url in first.stdout for service in services(settings))
    record = _recorded(settings)

    status = run("status")
    assert (status.returncode, status.stdout.count(" up ")) == (0, 3)

    again = run("up")
    assert (again.returncode, "already up" in again.stdout) == (0, True)
    assert _recorded(settings) == record, "nothing was started a second time"

    stopped = run("down")
    assert (stopped.returncode, "is stopped" in stopped.stdout) == (0, True)
    assert not record.is_running
    assert record.orphans() == []
    assert run("status").returncode == 1
    assert "was not running" in run("down").stdout


def test_the_bucket_and_the_three_datasets_exist(local_cloud: LocalCloud) -> None:
    project, env = local_cloud.settings.google.project, local_cloud.env
    bucket = requests.get(
        f"{env['STORAGE_EMULATOR_HOST']}/storage/v1/b/{local_cloud.settings.storage.bucket}", timeout=10
    )
    datasets = requests.get(
        f"{env['BIGQUERY_EMULATOR_HOST']}/bigquery/v2/projects/{project}/datasets", timeout=10
    ).json()
    assert bucket.ok
    names = {entry["datasetReference"]["datasetId"] for entry in datasets["datasets"]}
    assert (
        set(
            local_cloud.settings.warehouse.model_dump(
                include={"data_dataset", "staging_dataset", "ops_dataset"}
            ).values()
        )
        <= names
    )


def test_every_service_listens_on_loopback_only(local_cloud: LocalCloud) -> None:
    ports = {port for service in services(local_cloud.settings) for port in service.ports.values()}
    listening = [
        c for c in psutil.net_connections("tcp") if c.laddr and c.laddr.port in ports and c.status == psutil.CONN_LISTEN
    ]
    assert {c.laddr.port for c in listening} == ports
    assert {c.laddr.ip.removeprefix("::ffff:") for c in listening} == {"127.0.0.1"}


def test_a_service_that_dies_ends_all_and_status_and_up_say_which(settings: Settings, run: Command) -> None:
    assert run("up").returncode == 0
    record = _recorded(settings)
    _process(settings, "local.emulators.storage").kill()
    _wait_until(lambda: not record.is_running and not record.orphans())

    status = run("status")
    assert (status.returncode, status.stdout.count(" down ")) == (1, 3)
    assert "The service storage ended with exit code -9" in status.stdout
    assert str(log_file(settings, "storage")) in status.stdout

    again = run("up")
    assert again.returncode == 0
    assert "The last run failed. The service storage ended with exit code -9" in again.stdout
    assert "ended with exit code" not in run("status").stdout


def test_up_right_after_a_service_died_starts_again(settings: Settings, run: Command) -> None:
    assert run("up").returncode == 0
    _process(settings, "local.emulators.storage").kill()
    again = run("up")  # the supervisor may still be ending the others
    assert again.returncode == 0, again.stderr
    assert "The last run failed. The service storage ended with exit code -9" in again.stdout
    assert run("status").returncode == 0


def test_a_service_that_cannot_start_fails_up_with_the_last_lines_of_its_log(settings: Settings, run: Command) -> None:
    warehouse, _ = data_dirs(settings)
    warehouse.mkdir(parents=True)
    (warehouse / "bqemulator.duckdb").write_text("this is no database")
    result = run("up")
    assert result.returncode == 1
    assert "The service bigquery ended with exit code 1" in result.stderr
    assert "not a valid DuckDB database file" in result.stderr
    assert "Traceback" not in result.stdout
    assert _recorded(settings).orphans() == []


def test_a_taken_port_stops_up_before_anything_starts(settings: Settings, run: Command) -> None:
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", settings.local.ports.storage))
        holder.listen()
        result = run("up")
    assert result.returncode == 1
    assert (
        f"Port {settings.local.ports.storage} of the local storage service is taken by process {os.getpid()}"
        in result.stderr
    )
    assert "COINBEAM_LOCAL__PORTS__STORAGE=" in result.stderr
    assert not state_file(settings).exists()


def test_a_killed_supervisor_leaves_a_stale_record_that_up_names_and_cleans(settings: Settings, run: Command) -> None:
    assert run("up").returncode == 0
    record = _recorded(settings)
    supervisor = record.supervisor.find()
    assert supervisor is not None
    supervisor.kill()
    _wait_until(lambda: not record.is_running)
    assert record.orphans(), "its services outlive it, and would hold the ports"

    result = run("up")
    assert result.returncode == 0
    assert f"The last run (process {record.supervisor.pid}) ended without `down`" in result.stdout
    assert record.orphans() == []
    assert _recorded(settings).is_running


def test_a_record_of_a_process_id_that_now_belongs_to_another_is_stale(settings: Settings) -> None:
    me = psutil.Process()
    path = state_file(settings)
    path.parent.mkdir(parents=True)
    state.write(
        path, state.CloudState(state.ProcessRecord(me.pid, me.create_time() - 1000), settings.local.ports.model_dump())
    )
    lines: list[str] = []
    cloud.down(settings, lines.append)
    assert lines == ["The local cloud was not running."]
    assert not path.exists()


def test_other_ports_than_those_that_run_are_refused(settings: Settings, run: Command) -> None:
    path = state_file(settings)
    path.parent.mkdir(parents=True)
    me = state.ProcessRecord.of(psutil.Process())
    state.write(path, state.CloudState(me, settings.local.ports.model_dump() | {"storage": 1}))
    try:
        result = run("up")
    finally:
        path.unlink()
    assert result.returncode == 1
    assert "already runs on other ports" in result.stderr
    assert "coinbeam local down" in result.stderr


def test_a_service_that_does_not_answer_in_time_fails_up_and_leaves_nothing_running(
    settings: Settings, run: Command
) -> None:
    result = run("up", COINBEAM_LOCAL__START_TIMEOUT_SECONDS="0.01")
    assert result.returncode == 1
    assert "does not answer" in result.stderr
    assert "COINBEAM_LOCAL__START_TIMEOUT_SECONDS" in result.stderr
    _wait_until(lambda: all(not service.is_healthy() for service in services(settings)))
    assert not _recorded(settings).is_running


def test_the_services_stop_with_their_supervisor_even_when_the_state_folder_is_gone(
    settings: Settings, run: Command
) -> None:
    assert run("up").returncode == 0
    record = _recorded(settings)
    supervisor = record.supervisor.find()
    assert supervisor is not None
    shutil.rmtree(settings.local.state_dir)
    supervisor.terminate()
    _wait_until(lambda: not record.is_running and not record.orphans())


def test_down_finds_its_own_services_when_their_record_is_gone(settings: Settings, run: Command) -> None:
    assert run("up").returncode == 0
    record = _recorded(settings)
    shutil.rmtree(settings.local.state_dir)
    result = run("down")
    assert (result.returncode, result.stdout) == (0, "The local cloud is stopped.\n")
    assert not record.is_running
    assert not record.orphans()


def test_reset_says_what_it_deletes_and_needs_a_yes(settings: Settings, run: Command) -> None:
    folders = (*data_dirs(settings), *stream_dirs(settings))  # a broker would bring old trades into a new warehouse
    for folder in folders:
        folder.mkdir(parents=True)
        (folder / "data").touch()
    refused = run("reset")
    assert refused.returncode == 1
    assert all(str(folder) in refused.stderr for folder in folders)
    assert all((folder / "data").exists() for folder in folders)

    done = run("reset", "--yes")
    assert done.returncode == 0
    assert not any(folder.exists() for folder in folders)
    assert Path(environment(settings)["GOOGLE_APPLICATION_CREDENTIALS"]).exists(), "only data are deleted"


@pytest.mark.parametrize(
    ("arguments", "variables", "complaint"),
    [
        pytest.param([], {}, "up|down|status|reset", id="no command"),
        pytest.param(["sideways"], {}, "sideways", id="an unknown command"),
        pytest.param(
            ["status"], {"COINBEAM_LOCAL__PORTS__STORAGE": "many"}, "local.ports.storage", id="a wrong setting"
        ),
        pytest.param(["up"], {"COINBEAM_ENV": "moon"}, "COINBEAM_ENV", id="an unknown environment"),
    ],
)
def test_misuse_exits_with_2(run: Command, arguments: list[str], variables: dict[str, str], complaint: str) -> None:
    result = run(*arguments, **variables)
    assert result.returncode == 2
    assert complaint in result.stderr
    assert "Traceback" not in result.stderr
