"""How a run of a batch ended, judged by the states of its tasks."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coinbeam.feeds.plan import BatchPlan, Mode
from coinbeam.quality import Result

LONGEST_ERROR = 2_000
"""Characters of an error in the records."""


@dataclass(frozen=True)
class TaskEnd:
    """A task instance that ended in a state of Airflow's, after so many seconds if it ever ran.

    Its name is without the group of a mapped batch: ``audit``, ``calendar.publish``.
    """

    name: str
    state: str
    duration: float | None = None


@dataclass(frozen=True)
class Ending:
    """How a run of a batch ended, for its record: published, failed or gap, and why if it was not published."""

    status: str
    error: str | None
    task_seconds: Mapping[str, float] = field(default_factory=dict)
    succeeded: frozenset[str] = frozenset()


def tasks_of_batch(breadcrumbs: Iterable[Mapping[str, Any]], task_id: str, map_index: int) -> list[TaskEnd]:
    """The tasks of a batch that ended.

    Args:
        breadcrumbs: of every ended task instance of the run, as Airflow gives them.
        task_id: a task of the batch. Its group is left out of all names.
        map_index: which of the mapped batches of the run; -1 when the run is the batch.
    """
    group = task_id.rpartition(".")[0]
    return [
        TaskEnd(crumb["task_id"].removeprefix(f"{group}."), crumb["state"], crumb["duration"])
        for crumb in breadcrumbs
        if crumb["map_index"] == map_index
    ]


def outcome(plan: BatchPlan, tasks: Iterable[TaskEnd], errors: Mapping[str, str | None]) -> Ending:
    """Judge a batch by its tasks that ended, the last before the record being ``verify``, and by their errors."""
    states = {task.name: task.state for task in tasks}
    seconds = {
        task.name: round(task.duration, 3) for task in tasks if task.duration is not None and task.state != "skipped"
    }
    succeeded = frozenset(name for name, state in states.items() if state == "success")
    failed = sorted(name for name, state in states.items() if state == "failed")
    if failed:
        text = "; ".join(f"{name}: {errors.get(name) or 'see its log'}" for name in failed)
        return Ending("failed", text[:LONGEST_ERROR], seconds, succeeded)
    if plan.mode == Mode.GAP:
        return Ending("gap", plan.reason, seconds, succeeded)
    if "verify" not in succeeded:
        return Ending("failed", "The run was stopped before its batch was verified.", seconds, succeeded)
    return Ending("published", None, seconds, succeeded)


def count_by_status(results: Iterable[Result]) -> dict[str, int]:
    """How many rules passed, failed, warned."""
    return dict(Counter(result.status.value for result in results))
