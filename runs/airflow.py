"""Airflow of one process: its environment, its database, and runs of DAGs as a subprocess."""

import fcntl
import json
import os
import re
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

from coinbeam.clock import format_instant, utc_now
from coinbeam.errors import TerminalError
from coinbeam.settings import ROOT, Settings
from runs.task_logs import TaskLogs

SNAPSHOT_DAG = "crypto_etl_dag"
BACKFILL_DAG = "crypto_backfill_dag"
FEAR_GREED_DAG = "fear_greed_dag"
MARTS_DAG = "crypto_marts_dag"
WITNESS_DAG = "price_witness_dag"
STREAM_DAG = "crypto_stream_dag"
RUN_TIMEOUT_SECONDS = 3_600.0
_STOP_SECONDS = 10.0


def airflow_home(settings: Settings) -> Path:
    """Where Airflow keeps its database and logs on this machine."""
    return settings.local.state_dir.resolve() / "airflow"


def database(settings: Settings) -> Path:
    """Airflow's database."""
    return airflow_home(settings) / "airflow.db"


def lineage_file(settings: Settings) -> Path:
    """Where a local Airflow tells its OpenLineage events, one JSON object per line."""
    return settings.local.state_dir.resolve() / "lineage" / "events.ndjson"


def lineage_environment(settings: Settings) -> dict[str, str]:
    """Variables that make Airflow's OpenLineage provider report what tasks read and write, given a transport."""
    transport = _lineage_transport(settings) if settings.lineage.enabled else None
    if transport is None:
        return {"AIRFLOW__OPENLINEAGE__DISABLED": "True"}
    return {
        "AIRFLOW__OPENLINEAGE__DISABLED": "False",
        "AIRFLOW__OPENLINEAGE__NAMESPACE": settings.lineage.namespace,
        "AIRFLOW__OPENLINEAGE__TRANSPORT": transport,
        # Source code says nothing about data. The lineage of hooks is one list per process: `dags test` runs all tasks
        # in one, and each task would also tell what those before it did. Our operators know what they read and write.
        "AIRFLOW__OPENLINEAGE__EMISSION_POLICY": json.dumps(
            [{"scope": {}, "controls": {"include_source_code": False, "hook_lineage": False}}]
        ),
        # A fork would lack the thread that answers the questions of a task in `dags test`, and wait for it in vain.
        "AIRFLOW__OPENLINEAGE__EXECUTE_IN_THREAD": "True",
        "AIRFLOW__OPENLINEAGE__EXECUTION_TIMEOUT": "10",
    }


def _lineage_transport(settings: Settings) -> str | None:
    if settings.lineage.transport is not None:
        return settings.lineage.transport.get_secret_value()
    if not settings.is_local:
        return None
    file = lineage_file(settings)
    file.parent.mkdir(parents=True, exist_ok=True)
    return json.dumps({"type": "file", "log_file_path": str(file), "append": True})


def environment(settings: Settings) -> dict[str, str]:
    """Variables of an Airflow that runs our DAGs, wherever their clouds are.

    What it is connected with comes from the credentials of its environment; a local cloud has variables of its own.
    """
    home = airflow_home(settings)
    connection = {"conn_type": "google_cloud_platform", "extra": {"project": settings.google.project}}
    return {
        **lineage_environment(settings),
        "AIRFLOW_HOME": str(home),
        "AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT": json.dumps(connection),
        "AIRFLOW__CORE__DAGS_FOLDER": str(ROOT / "dags"),
        "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": f"sqlite:///{database(settings)}",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": "runs.sqlite.SYNC",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC": "runs.sqlite.ASYNC",
        "AIRFLOW__USAGE_DATA_COLLECTION__ENABLED": "False",
        # The Beam operator starts a bare `python`.
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)]),
        "PYTHONPATH": os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")])),
    }


def command(module: str, *arguments: str) -> list[str]:
    """A command of this Python environment: ``python -m module arguments``."""
    return [sys.executable, "-m", module, *arguments]


def migrate_database(settings: Settings, variables: Mapping[str, str]) -> None:
    """Create or upgrade Airflow's database; remembered by version, since it costs ten seconds.

    Args:
        settings: say where it is.
        variables: of this Airflow.

    Raises:
        TerminalError: Airflow could not do it; its last words are in the message.
    """
    home = airflow_home(settings)
    marker, wanted = home / "migrated", version("apache-airflow")
    if marker.is_file() and marker.read_text() == wanted:
        return
    home.mkdir(parents=True, exist_ok=True)
    done = subprocess.run(
        command("airflow", "db", "migrate"),
        env=os.environ | dict(variables),
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    if done.returncode:
        raise TerminalError(
            f"Airflow's database could not be prepared: {done.stderr.strip()[-1000:]}", f"Delete {home} and try again."
        )
    marker.write_text(wanted)


@dataclass(frozen=True)
class DagRun:
    """One run of a DAG.

    Attributes:
        logical_date: ISO 8601 instant that Airflow files the run under.
        conf: values for the trigger form.
        variables: additional environment variables, e.g. a market source.
        dag_id: which DAG.
    """

    logical_date: str
    conf: Mapping[str, Any]
    variables: Mapping[str, str] = field(default_factory=dict)
    dag_id: str = SNAPSHOT_DAG


def marts_run(variables: Mapping[str, str] | None = None) -> DagRun:
    """A run of the marts, which a scheduler would start by its assets."""
    return DagRun(format_instant(utc_now()), {}, variables or {}, MARTS_DAG)


def run_dag(
    settings: Settings,
    variables: Mapping[str, str],
    run: DagRun,
    log: Path,
    on_line: Callable[[str], None],
    then: Sequence[DagRun] = (),
) -> int:
    """Run the DAG to its end in a process of its own.

    Args:
        settings: say where its logs are.
        variables: of this Airflow.
        run: what to run.
        log: file that receives everything Airflow prints.
        on_line: called with each line, for progress.
        then: runs after it in the same process, which saves starting Airflow again; they see its variables, and are
            left out when it fails.

    Returns:
        Airflow's exit code.

    Raises:
        TerminalError: the same instant runs already, or the run did not end in time and was stopped.
    """
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        _alone(run, log),
        log.open("w", encoding="utf-8") as sink,
        TaskLogs(airflow_home(settings) / "logs") as task_logs,
    ):

        def take(line: str) -> None:
            sink.write(f"{line}\n")
            task_logs.line(line)
            on_line(line)

        code = run_all((run, *then), dict(variables) | dict(run.variables), take, RUN_TIMEOUT_SECONDS)
    if code is None:
        raise TerminalError(
            f"The run did not end within {RUN_TIMEOUT_SECONDS:g} s and was stopped.", f"Its log is {log}."
        )
    return code


def run_all(
    runs: Sequence[DagRun],
    variables: Mapping[str, str],
    on_line: Callable[[str], None],
    seconds: float,
    *,
    each: bool = False,
) -> int | None:
    """Run DAGs one after the other in one Airflow, in a process of its own.

    Args:
        runs: what to run; their own variables are not read.
        variables: of this Airflow.
        on_line: called with each line that it prints.
        seconds: how long all of them may take.
        each: run each of them, also after one that failed.

    Returns:
        Airflow's exit code; None when they did not end in time and were stopped.
    """
    listed = json.dumps([[one.dag_id, one.logical_date, dict(one.conf)] for one in runs])
    arguments = command("runs.dag_runs", listed, *(["--each"] if each else []))
    with _process(arguments, os.environ | dict(variables)) as process, _deadline(process, seconds) as late:
        assert process.stdout is not None
        for line in process.stdout:
            on_line(line.rstrip("\n"))
        code = process.wait(_STOP_SECONDS)
    return None if late.is_set() else code


@contextmanager
def _alone(run: DagRun, log: Path) -> Iterator[None]:
    """Let one process at a time run a DAG for an instant: Airflow has one row for the two of them. The lock ends with
    the process, however that ends.
    """
    name = re.sub(r"\W", "-", f"{run.dag_id}-{run.logical_date}")
    with (log.parent / f".{name}.lock").open("a+", encoding="utf-8") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            lock.seek(0)
            raise TerminalError(
                f"{run.dag_id} runs for {run.logical_date} already: {lock.read().strip() or 'it has just begun'}.",
                "Wait for its end, or stop that process, and try again.",
            ) from None
        lock.truncate(0)
        lock.write(f"process {os.getpid()} since {format_instant(utc_now())}, log {log}")
        lock.flush()
        yield


@contextmanager
def _deadline(process: "subprocess.Popen[str]", seconds: float) -> Iterator[threading.Event]:
    """Stop the whole process group at the deadline, even if it prints nothing more; the event is set then."""
    late = threading.Event()

    def stop() -> None:
        late.set()
        _stop_group(process)

    timer = threading.Timer(seconds, stop)
    timer.daemon = True
    timer.start()
    try:
        yield late
    finally:
        timer.cancel()


_RAISED = re.compile(r"^(?:[\w]+\.)*(?P<kind>\w+(?:Error|Exception)): (?P<text>\S.*)$", re.MULTILINE)


def last_error(log: Path) -> str | None:
    """The text of the last exception in a log, or None: what a person wants to read before the log itself."""
    return last_raised(log.read_text(encoding="utf-8"))


def last_raised(text: str) -> str | None:
    """The last exception in the words of a log, or None."""
    found = _RAISED.findall(text)
    return f"{found[-1][0]}: {found[-1][1]}" if found else None


@contextmanager
def _process(arguments: list[str], environment: Mapping[str, str]) -> Iterator["subprocess.Popen[str]"]:
    """A child in its own session, so that nothing of it outlives us."""
    process = subprocess.Popen(
        arguments,
        env=dict(environment),
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
        start_new_session=True,
    )
    try:
        yield process
    finally:
        if process.poll() is None:
            _stop_group(process)


def _stop_group(process: "subprocess.Popen[str]") -> None:
    """Ask the group to end, then make it; a child may outlive its parent and hold the output open."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        with suppress(ProcessLookupError):
            os.killpg(process.pid, sign)
        with suppress(subprocess.TimeoutExpired):
            process.wait(_STOP_SECONDS)
