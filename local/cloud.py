"""Starting, stopping, inspecting and emptying the local cloud."""

import fcntl
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass

import psutil
import requests

from coinbeam.errors import TerminalError
from coinbeam.settings import ROOT, Settings
from local import ports, state
from local.environment import bigquery_url, cloud_dir, environment, storage_url
from local.services import Service, data_dirs, services, stream_dirs
from local.supervisor import log_file, record_start, state_file

STOP_TIMEOUT_SECONDS = 15.0
"""How long ``down`` waits before it kills; honcho itself kills a service that ignores SIGTERM for 5 s."""

_LAST_WAIT_SECONDS = 3.0
_POLL_SECONDS = 0.05
_LOG_LINES = 8
_LOG_WIDTH = 300

Say = Callable[[str], None]
"""Takes one line for the person at the terminal."""


class LocalCloudError(TerminalError):
    """The local cloud could not be started, or a service of it died."""


@dataclass(frozen=True)
class ServiceStatus:
    """One line of ``status``: the condition is ``up``, ``down``, or ``no answer`` of one that is busy or hangs."""

    service: Service
    condition: str


def up(settings: Settings, say: Say) -> None:
    """Start the services unless they run, wait until all answer, and make the bucket and the datasets.

    Raises:
        LocalCloudError: a port is taken, a service died or did not answer within ``local.start_timeout_seconds``.
    """
    env = environment(settings)
    with _locked(settings):
        if _already_up(settings, say):
            return
        _clean_up_after_last_run(settings, say)
        ports.check_free(settings)
        try:
            supervisor = _start_supervisor(settings, env)
            _wait_until_healthy(settings, lambda: supervisor.poll() is None)
            create_resources(settings)
        except BaseException:
            _end_processes(settings)
            raise
    _say_addresses(settings, say, "The local cloud is up.")


def down(settings: Settings, say: Say) -> None:
    """Stop every service, in at most about ``STOP_TIMEOUT_SECONDS``; says so when nothing runs. A stream ends first,
    which would be left without its warehouse.
    """
    from local.stream import control

    control.down(settings, say, only_told=True)
    with _locked(settings):
        say("The local cloud is stopped." if _stop(settings) else "The local cloud was not running.")


def reset(settings: Settings, say: Say, confirm: Callable[[str], bool]) -> bool:
    """Stop the services and delete their data, if ``confirm`` says yes before anything happens; whether it did."""
    folders = [folder for folder in (*data_dirs(settings), *stream_dirs(settings)) if folder.exists()]
    question = "This deletes " + (" and ".join(map(str, folders)) or "nothing: there are no data") + "."
    if not confirm(question):
        say("Nothing was deleted.")
        return False
    down(settings, say)
    with _locked(settings):
        for folder in folders:
            shutil.rmtree(folder)
    say("Deleted: " + (", ".join(map(str, folders)) or "nothing, there were no data."))
    return True


def status(settings: Settings) -> list[ServiceStatus]:
    """The condition of each service."""
    last = state.read(state_file(settings))
    silent = "no answer" if last and last.is_running else "down"
    return [ServiceStatus(service, "up" if service.is_healthy() else silent) for service in services(settings)]


def failure_report(settings: Settings) -> str | None:
    """Which service of the last run died, with its exit code and the last lines of its log; None when none did."""
    last = state.read(state_file(settings))
    if last is None or last.failure is None:
        return None
    name, code = last.failure.service, last.failure.exit_code
    return f"The service {name} ended with exit code {code}. {_last_lines(settings, name)}"


@contextmanager
def _locked(settings: Settings) -> Iterator[None]:
    """Let one command at a time change the local cloud; a second one waits for it."""
    folder = cloud_dir(settings)
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _already_up(settings: Settings, say: Say) -> bool:
    last = state.read(state_file(settings))
    if last is None or not last.is_running:
        return False
    if last.ports != settings.local.ports.model_dump():
        raise LocalCloudError(
            f"The local cloud already runs on other ports: {last.ports}.",
            "Stop it with `coinbeam local down` or set those ports again.",
        )
    try:
        _wait_until_healthy(settings, last.supervisor.find)
    except LocalCloudError:
        if last.supervisor.find():
            raise
        return False  # a service died, and the supervisor was about to end the others: that is the end of the last run
    create_resources(settings)
    _say_addresses(settings, say, "The local cloud is already up.")
    return True


def _clean_up_after_last_run(settings: Settings, say: Say) -> None:
    """Say what the last run left behind when it did not end by ``down``, and remove it."""
    if report := failure_report(settings):
        say(f"The last run failed. {report}")
    elif last := state.read(state_file(settings)):
        say(f"The last run (process {last.supervisor.pid}) ended without `down`; its record is removed.")
    _stop(settings)


def _start_supervisor(settings: Settings, env: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start the supervisor in a session of its own, so that it outlives this command and its terminal."""
    for folder in (*data_dirs(settings), log_file(settings, "supervisor").parent):
        folder.mkdir(parents=True, exist_ok=True)
    with log_file(settings, "supervisor").open("wb") as log:
        supervisor = subprocess.Popen(
            [sys.executable, "-m", "local.supervisor"],
            cwd=ROOT,
            env=os.environ | env,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    # from the first moment, so that it can be stopped while it still starts
    record_start(settings, psutil.Process(supervisor.pid))
    return supervisor


def _wait_until_healthy(settings: Settings, is_supervised: Callable[[], object]) -> None:
    """Wait until every service answers, which may take long while it is busy; fail at once without a supervisor."""
    deadline = time.monotonic() + settings.local.start_timeout_seconds
    waiting = list(services(settings))
    while waiting:
        if not is_supervised():
            ended = f"The supervisor ended. {_last_lines(settings, 'supervisor')}"
            raise LocalCloudError(failure_report(settings) or ended)
        if time.monotonic() > deadline:
            raise _late(settings, waiting)
        waiting = [service for service in waiting if not service.is_healthy()]
        time.sleep(_POLL_SECONDS if waiting else 0)


def _late(settings: Settings, waiting: Iterable[Service]) -> LocalCloudError:
    silent = " ".join(
        f"{service.name} does not answer {service.health_url}. {_last_lines(settings, service.name)}"
        for service in waiting
    )
    return LocalCloudError(
        f"After {settings.local.start_timeout_seconds:g} s {silent}",
        "Raise COINBEAM_LOCAL__START_TIMEOUT_SECONDS if the machine is only slow, else run `coinbeam local down`, "
        "then `up`.",
    )


def create_resources(settings: Settings) -> None:
    """Make the bucket and the datasets; those that exist stay as they are."""
    project, warehouse = settings.google.project, settings.warehouse
    _create(f"{storage_url(settings)}/storage/v1/b?project={project}", {"name": settings.storage.bucket})
    for dataset in (warehouse.data_dataset, warehouse.staging_dataset, warehouse.ops_dataset, warehouse.marts_dataset):
        reference = {"projectId": project, "datasetId": dataset}
        body = {"datasetReference": reference, "location": settings.google.location}
        _create(f"{bigquery_url(settings)}/bigquery/v2/projects/{project}/datasets", body)


def _create(url: str, body: Mapping[str, object]) -> None:
    response = requests.post(url, json=body, timeout=10)
    if response.status_code != requests.codes.conflict and not response.ok:
        raise LocalCloudError(
            f"{url} refused {body}: {response.status_code} {response.text[:_LOG_WIDTH]}", "Try `coinbeam local reset`."
        )


def _stop(settings: Settings) -> bool:
    """End the recorded processes and forget them; whether anything was running."""
    was_running = _end_processes(settings)
    state_file(settings).unlink(missing_ok=True)
    return was_running


def _end_processes(settings: Settings) -> bool:
    last = state.read(state_file(settings))
    strays = state.strays(cloud_dir(settings))
    if last is None and not strays:
        return False
    supervisor = last.supervisor.find() if last else next(iter(strays), None)
    children = {process.pid: process for process in [*(last.orphans() if last else []), *strays]}
    if supervisor:
        with suppress(psutil.NoSuchProcess):
            children |= {process.pid: process for process in supervisor.children(recursive=True)}
            supervisor.terminate()
        _wait_for_end([supervisor], STOP_TIMEOUT_SECONDS)
    end(process for process in (supervisor, *children.values()) if process)
    return bool(supervisor or children)


def end(processes: Iterable[psutil.Process], seconds: float = _LAST_WAIT_SECONDS) -> None:
    """Terminate what is left, then kill what ignores it for so long."""
    alive = [process for process in processes if state.is_alive(process)]
    for stop in (psutil.Process.terminate, psutil.Process.kill):
        for process in alive:
            with suppress(psutil.NoSuchProcess):
                stop(process)
        alive = _wait_for_end(alive, seconds)


def _wait_for_end(processes: list[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Wait until all have ended, even if nobody has collected them yet; returns those that have not in time."""
    deadline = time.monotonic() + seconds
    alive = [process for process in processes if state.is_alive(process)]
    while alive and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        alive = [process for process in alive if state.is_alive(process)]
    return alive


def _last_lines(settings: Settings, name: str) -> str:
    path = log_file(settings, name)
    lines = path.read_text(errors="replace").splitlines()[-_LOG_LINES:] if path.is_file() else []
    shown = "\n".join(f"    {line[:_LOG_WIDTH]}" for line in lines) or "    (empty)"
    return f"Last lines of {path}:\n{shown}\n"


def _say_addresses(settings: Settings, say: Say, headline: str) -> None:
    say(headline)
    for service in services(settings):
        say(f"  {service.name:<10} {service.url}")
    say(f"  bucket     {settings.bucket_uri}")
