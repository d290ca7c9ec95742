"""How runs ended, read from Airflow's database without loading Airflow."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from coinbeam.clock import parse_instant
from runs.airflow import DagRun

_FAILED = """
SELECT task_instance.dag_id, task_instance.task_id, task_instance.try_number, task_instance.max_tries
FROM task_instance JOIN dag_run ON dag_run.dag_id = task_instance.dag_id AND dag_run.run_id = task_instance.run_id
WHERE task_instance.state = 'failed' AND dag_run.dag_id = ? AND dag_run.logical_date = ?
ORDER BY task_instance.end_date
"""


@dataclass(frozen=True)
class FailedTask:
    """A task that failed for good.

    Attributes:
        name: DAG and task.
        is_terminal: it had tries left, and our retry policy took none: a retry without a change cannot help.
    """

    name: str
    is_terminal: bool


def failed_tasks(database: Path, runs: Sequence[DagRun]) -> list[FailedTask]:
    """The tasks of some runs that failed, in the order of their ends."""
    failed = []
    with closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True)) as connection:
        for run in runs:
            moment = parse_instant(run.logical_date).strftime("%Y-%m-%d %H:%M:%S.%f")
            for dag, task, tried, most in connection.execute(_FAILED, (run.dag_id, moment)):
                failed.append(FailedTask(f"{dag}.{task}", tried <= most))
    return failed
