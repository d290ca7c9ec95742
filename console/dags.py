"""Running a DAG to its end, on this machine or in Composer, for the commands that do."""

import os
import subprocess
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from coinbeam.clock import utc_now
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.ops.status import BEGINNING
from coinbeam.secrets import check_key
from coinbeam.settings import ROOT, MarketSource, Settings, load_settings
from coinbeam.sources.choose import refuse_without_network
from coinbeam.warehouse.client import Warehouse
from console.output import complain, console, say, show
from console.progress import TaskProgress
from deploy.composer import OPTIONAL_DAGS, Composer
from local.airflow import migrate_database, run_dag
from runs.airflow import DagRun, command, last_error, marts_run

MOST_FAULTS = 5
"""So many different sentences say what went wrong in the batches of a run."""


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


@dataclass(frozen=True)
class Source:
    """The option ``--source``: live, simulator, auto, a glob of files to replay, or None for the setting."""

    text: str | None

    @property
    def variables(self) -> dict[str, str]:
        """The market source, for the processes of the run."""
        return {"COINBEAM_MARKET__SOURCE": self.text} if self.text and self.text in set(MarketSource) else {}

    @property
    def files(self) -> str | None:
        """The glob, absolute, a leading ``~`` being the home folder; None when the source is a market."""
        if not self.text or self.variables:
            return None
        return self.text if "://" in self.text else str(Path.cwd() / Path(self.text).expanduser())

    def refuse_in_cloud(self) -> None:
        """Refuse to choose a market for a deployment, which reads live prices only.

        Raises:
            SettingsError: one is chosen.
        """
        if self.variables:
            raise SettingsError(
                f"--source {self.text} chooses a market for this machine; a deployment reads live prices.",
                "Leave --source out, or use --mode local.",
            )

    def settings(self, *, will_ask: bool = True) -> Settings:
        """The settings with this source, in this process.

        Args:
            will_ask: a market is going to be asked.

        Raises:
            SettingsError: a setting is wrong, or plan and key do not fit.
            UnreachableError: live prices are asked for, and there is no network; nothing was started.
        """
        os.environ.update(self.variables)
        load_settings.cache_clear()
        settings = load_settings()
        if will_ask and settings.market.source is MarketSource.LIVE and not self.files:
            check_key(settings.coingecko)
            refuse_without_network(settings)
        return settings


def run_locally(settings: Settings, run: DagRun, *then: DagRun) -> tuple[int, Path]:
    """Run a DAG on this machine, and others after it unless it fails, showing each task as it ends.

    Returns:
        Airflow's exit code, and the log.
    """
    log = settings.local.state_dir / "logs" / f"{run.dag_id}-{utc_now():%Y%m%dT%H%M%SZ}.log"
    with TaskProgress(console) as progress:
        return run_dag(settings, run, log, progress.line, then), log


def run_and_report(settings: Settings, run: DagRun, *then: DagRun, failure: str, advice: str = "") -> int:
    """Run as :func:`run_locally` does, and return the exit code; show what went wrong and where the log lies.

    Args:
        failure: what to say when neither the warehouse nor the log knows.
        advice: what to say after the name of the log.
    """
    began = utc_now()
    code, log = run_locally(settings, run, *then)
    if code:
        complain(fault(settings, log, began) or failure)
        say(f"Log: {log}{advice}")
    return code


def fault(settings: Settings, log: Path, began: datetime) -> str | None:
    """What went wrong in a run, in the words that its batches recorded, else those of the last error in its log.

    Of a job that failed, Airflow's operator only knows the exit code; the record has the sentence of the job.
    """
    failed = [batch for batch in batches_since(settings, began) if batch["status"] == "failed"]
    said = dict.fromkeys(batch["error_message"] for batch in failed if batch["error_message"])
    return "\n".join(list(said)[:MOST_FAULTS]) or last_error(log)


def batches_since(settings: Settings, began: datetime) -> list[dict[str, Any]]:
    """What batches that ended since a moment recorded, the newest first; none where nothing was ever recorded."""
    warehouse = Warehouse(settings)
    table = warehouse.table(load_contract("ingestion_batch"))
    if not warehouse.exists(table):
        return []
    sql = f"SELECT * FROM `{table}` WHERE snapshot_date >= '{BEGINNING}' AND finished_at >= @began"
    return warehouse.rows(f"{sql} ORDER BY finished_at DESC", began=began)


def refresh_marts(settings: Settings, variables: Mapping[str, str] | None = None) -> int:
    """Run the DAG of the marts; returns Airflow's exit code."""
    return run_and_report(settings, marts_run(variables), failure="The marts were not refreshed.")


def list_dags() -> None:
    """Show each DAG of the Composer environment, and whether it is paused."""
    found = Composer(load_settings()).paused()
    show(("dag_id", "is_paused"), [{"dag_id": name, "is_paused": found[name]} for name in sorted(found)])


def unpause_dags(chosen: Sequence[str]) -> None:
    """Switch DAGs on: the chosen ones, or all but the optional ones."""
    composer = Composer(load_settings())
    found = composer.paused()
    for name in chosen or sorted(found.keys() - OPTIONAL_DAGS):
        if found.get(name, True):
            composer.unpause(name)
        say(f"{name} is on.")


def run_in_composer(settings: Settings, dag_id: str, conf: Mapping[str, Any]) -> int:
    """Trigger a DAG in Composer and wait for its end; 0 when it succeeded."""
    composer = Composer(settings, dag_id=dag_id)
    run_id = composer.trigger(conf)
    say(f"Triggered {run_id}")
    state = composer.wait(run_id, say)
    say(f"{run_id} ended: {state}")
    return 0 if state == "success" else 1
