"""The one process that owns the services: ``python -m local.supervisor``, started detached by ``python -m local up``.

honcho starts them, collects their output and, when one ends, ends all. This module keeps a log per service and the
record of the run.
"""

import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import ExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import IO

import psutil
from honcho.manager import SYSTEM_PRINTER_NAME, Manager
from honcho.printer import Message

from coinbeam.settings import Settings, load_settings
from local import state
from local.environment import cloud_dir
from local.services import Service, services

_STOPPED = re.compile(r"(?P<service>\w+) stopped \(rc=(?P<code>-?\d+)\)")
_ENDED_BY_US = re.compile(r"sending SIG|SIG\w+ received")


def state_file(settings: Settings) -> Path:
    """The record of the last run."""
    return cloud_dir(settings) / "state.json"


def log_file(settings: Settings, name: str) -> Path:
    """The log of a service, or of the ``supervisor``."""
    return cloud_dir(settings) / "logs" / f"{name}.log"


def record_start(settings: Settings, supervisor: psutil.Process) -> state.CloudState:
    """Write the record of a run that has just begun."""
    record = state.CloudState(state.ProcessRecord.of(supervisor), settings.local.ports.model_dump())
    state.write(state_file(settings), record)
    return record


class ServiceLogs:
    """honcho's printer: writes each service's lines to its own log and the run's record to the state file."""

    width = 0
    """honcho widens its prefix column here; the logs have none."""

    def __init__(self, files: Mapping[str, IO[bytes]], record: state.CloudState, path: Path) -> None:
        self._files, self._record, self._path = files, record, path
        self._ending = False

    def write(self, message: Message) -> None:
        """Take one line of a service, or of honcho itself."""
        data = message.data if isinstance(message.data, bytes) else str(message.data).encode()
        self._files[message.name].write(data)
        self._files[message.name].flush()
        if message.name == SYSTEM_PRINTER_NAME:
            self._observe(data.decode())

    def _observe(self, line: str) -> None:
        """Note new processes, and the first service that ended without being told to."""
        stopped = _STOPPED.search(line)
        if stopped and not self._ending:
            self._record = replace(self._record, failure=state.Failure(stopped["service"], int(stopped["code"])))
        self._ending = self._ending or bool(stopped or _ENDED_BY_US.search(line))
        if not self._ending:
            self._record = self._record.with_children(psutil.Process().children(recursive=True))
        # somebody may have deleted the folder, which must not keep the services from being stopped
        with suppress(FileNotFoundError):
            state.write(self._path, self._record)


def supervise(settings: Settings, wanted: Iterable[Service]) -> int:
    """Run the services until one ends or SIGTERM comes, then end all.

    Returns:
        0 after SIGTERM, 1 when a service ended by itself.
    """
    record = record_start(settings, psutil.Process())
    with ExitStack() as stack:
        names = [*(service.name for service in wanted), SYSTEM_PRINTER_NAME]
        files = {name: stack.enter_context(log_file(settings, name).open("wb")) for name in names}
        manager = Manager(printer=ServiceLogs(files, record, state_file(settings)))
        for service in wanted:
            manager.add_process(service.name, service.command)
        try:
            manager.loop()
        finally:
            _kill_descendants()
    final = state.read(state_file(settings))
    return 1 if final and final.failure else 0


def _kill_descendants() -> None:
    """Leave nothing behind when honcho itself fails; after an orderly end there is nothing left."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            process.kill()


def main() -> None:
    """Supervise the services of the settings in the environment."""
    settings = load_settings()
    sys.exit(supervise(settings, services(settings)))


if __name__ == "__main__":
    main()
