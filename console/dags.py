"""Running a DAG to its end, on this machine or in Composer, for the commands that do."""

import subprocess
import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from coinbeam.clock import format_instant, utc_now
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.settings import ROOT, Settings
from console.composer import Composer
from console.output import complain, console, say
from console.progress import TaskProgress
from local.airflow import MARTS_DAG, DagRun, command, last_error, migrate_database, run_dag


def start_services(settings: Settings) -> None:
    """Start the emulators.

    Raises:
        SettingsError: the environment is not local.
        TerminalError: a service did not come up; it has said why.
    """
    if not settings.is_local:
        raise SettingsError(
            f"--mode local, but the environment is {settings.environment}.", "Unset COINBEAM_ENV, or use --mode cloud."
        )
    if subprocess.run(command("local", "up"), cwd=ROOT, check=False).returncode:
        raise TerminalError("The local cloud did not start.", "See the message above, and `coinbeam local status`.")


def start_local_cloud(settings: Settings) -> None:
    """Start the emulators and prepare Airflow's database at the same time.

    Raises:
        SettingsError: the environment is not local.
        TerminalError: a service or the database did not come up; it has said why.
    """
    failures: list[BaseException] = []

    def migrate() -> None:
        try:
            migrate_database(settings)
        except (TerminalError, OSError, subprocess.TimeoutExpired) as error:
            failures.append(error)

    thread = threading.Thread(target=migrate, name="airflow-db-migrate")
    thread.start()
    try:
        start_services(settings)
    finally:
        thread.join()
    if failures:
        raise failures[0]


def run_locally(settings: Settings, run: DagRun, *then: DagRun) -> tuple[int, Path]:
    """Run a DAG on this machine, and others after it unless it fails, showing each task as it ends.

    Returns:
        Airflow's exit code, and the log.
    """
    log = settings.local.state_dir / "logs" / f"{run.dag_id}-{utc_now():%Y%m%dT%H%M%SZ}.log"
    with TaskProgress(console) as progress:
        return run_dag(settings, run, log, progress.line, then), log


def marts_run(variables: Mapping[str, str] | None = None) -> DagRun:
    """The run of the marts, which a scheduler would start by its assets."""
    return DagRun(format_instant(utc_now()), {}, variables or {}, MARTS_DAG)


def refresh_marts(settings: Settings, variables: Mapping[str, str] | None = None) -> int:
    """Run the DAG of the marts; returns Airflow's exit code."""
    code, log = run_locally(settings, marts_run(variables))
    if code:
        complain(last_error(log) or "The marts were not refreshed.")
        say(f"Log: {log}")
    return code


def run_in_composer(settings: Settings, dag_id: str, conf: Mapping[str, Any]) -> int:
    """Trigger a DAG in Composer and wait for its end; 0 when it succeeded."""
    composer = Composer(settings, dag_id=dag_id)
    run_id = composer.trigger(conf)
    say(f"Triggered {run_id}")
    state = composer.wait(run_id, say)
    say(f"{run_id} ended: {state}")
    return 0 if state == "success" else 1
