"""Airflow on the local cloud: what `runs.airflow` runs anywhere, with the variables of the emulators."""

from collections.abc import Callable, Sequence
from pathlib import Path

from coinbeam.settings import Settings
from local import environment as emulators
from runs import airflow as orchestrator
from runs.airflow import DagRun


def airflow_environment(settings: Settings) -> dict[str, str]:
    """Variables of a local Airflow that runs our DAGs against the local cloud, and can show them in its interface."""
    address = f"{emulators.HOST}:{settings.local.ports.airflow}"
    return {
        **orchestrator.environment(settings),
        **emulators.environment(settings),
        "AIRFLOW__CORE__SIMPLE_AUTH_MANAGER_ALL_ADMINS": "True",
        "AIRFLOW__API__HOST": emulators.HOST,
        "AIRFLOW__API__PORT": str(settings.local.ports.airflow),
        "AIRFLOW__API__BASE_URL": f"http://{address}",  # of links in alerts
        "AIRFLOW__CORE__EXECUTION_API_SERVER_URL": f"http://{address}/execution/",
    }


def migrate_database(settings: Settings) -> None:
    """Create or upgrade the database of the local Airflow.

    Raises:
        TerminalError: Airflow could not do it; its last words are in the message.
    """
    orchestrator.migrate_database(settings, airflow_environment(settings))


def run_dag(
    settings: Settings, run: DagRun, log: Path, on_line: Callable[[str], None], then: Sequence[DagRun] = ()
) -> int:
    """Run a DAG on the local cloud to its end, see `runs.airflow.run_dag`."""
    return orchestrator.run_dag(settings, airflow_environment(settings), run, log, on_line, then)
