"""The record that the local cloud keeps of itself on disk: its processes, their ports, and why one failed."""

import os
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
from pydantic import TypeAdapter


@dataclass(frozen=True)
class ProcessRecord:
    """A process, told apart from a later one with the same id by its creation time (seconds since the epoch)."""

    pid: int
    created: float

    @classmethod
    def of(cls, process: psutil.Process) -> "ProcessRecord":
        """The record of a live process."""
        return cls(process.pid, process.create_time())

    def find(self) -> psutil.Process | None:
        """The process, if it still runs."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.created) < 1.0
        except psutil.NoSuchProcess:
            return None
        return process if same and is_alive(process) else None


def is_alive(process: psutil.Process) -> bool:
    """Whether the process still runs; one that has ended and that nobody has collected yet does not."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@dataclass(frozen=True)
class Failure:
    """The service that ended by itself and thereby the whole cloud; a negative code is a signal's number."""

    service: str
    exit_code: int


@dataclass(frozen=True)
class CloudState:
    """The record of one run of the supervisor: ports by setting name, all processes below it, and why it failed."""

    supervisor: ProcessRecord
    ports: dict[str, int]
    children: tuple[ProcessRecord, ...] = ()
    failure: Failure | None = None

    @property
    def is_running(self) -> bool:
        """Whether the recorded supervisor is alive."""
        return self.supervisor.find() is not None

    def orphans(self) -> list[psutil.Process]:
        """Recorded children that are still alive."""
        return [process for record in self.children if (process := record.find())]

    def with_children(self, processes: Iterable[psutil.Process]) -> "CloudState":
        """The same state with the live ones of these processes as children."""
        return replace(self, children=tuple(_records(processes)))


_SERVICES = ("local.supervisor", "local.emulators", "local.simulator")
_STATE_DIR = "COINBEAM_LOCAL__STATE_DIR"


def strays(cloud: Path) -> list[psutil.Process]:
    """The processes of the local cloud of a state folder, the supervisor first, found without any record of them: it
    may have been deleted while they ran.
    """
    found = []
    for process in psutil.process_iter():
        with suppress(psutil.Error, OSError):
            arguments = process.cmdline()
            named = [name for name in _SERVICES if any(argument.startswith(name) for argument in arguments)]
            if named and process.environ().get(_STATE_DIR) == str(cloud.parent) and is_alive(process):
                found.append((_SERVICES.index(named[0]), process))
    return [process for _, process in sorted(found, key=lambda one: one[0])]


_RECORD = TypeAdapter(CloudState)


def _records(processes: Iterable[psutil.Process]) -> Iterable[ProcessRecord]:
    for process in processes:
        try:
            yield ProcessRecord.of(process)
        except psutil.NoSuchProcess:
            continue


def read(path: Path) -> CloudState | None:
    """The recorded state, or None when there is none or it cannot be read."""
    try:
        return _RECORD.validate_json(path.read_bytes())
    except (OSError, ValueError):
        return None


def write(path: Path, state: CloudState) -> None:
    """Replace the record in one step, so that a reader never sees half of it."""
    draft = path.with_suffix(f".{os.getpid()}")
    draft.write_bytes(_RECORD.dump_json(state))
    draft.replace(path)
