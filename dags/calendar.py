"""The calendar, made before a batch that it does not cover: the same tasks in every DAG that may be the first in a
warehouse.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow.sdk import get_current_context, task, task_group

from coinbeam.batch.kinds import CALENDAR
from coinbeam.batch.tables import DATES
from dags.batch_tasks import load_task, script_task, settings
from dags.beam_jobs import beam_job

StepsAndBatch = Callable[[Mapping[str, Any]], tuple[Any, Any]]
"""Gives, for the plan of a run, its steps and the batch that the calendar must cover."""


@dataclass(frozen=True)
class CalendarTasks:
    """The tasks; the one that follows needs both, and a trigger rule that lets one of them be skipped.

    Attributes:
        choice: decides whether the calendar needs more days.
        made: the group that makes them.
    """

    choice: Any
    made: Any


def calendar_script(of: StepsAndBatch) -> Callable[[Mapping[str, Any]], str]:
    """The template function ``calendar_script(plan)``: the publish transaction of the calendar."""

    def script(plan: Mapping[str, Any]) -> str:
        steps, batch = of(plan)
        return str(steps.publish_script(steps.calendar_of(batch)))

    return script


def calendar_tasks(of: StepsAndBatch, plan_task: str, name: str, then: str) -> CalendarTasks:
    """The tasks of the calendar.

    Args:
        of: the steps and the batch of a plan.
        plan_task: the task that made the plan.
        name: field of the plan that names the batch.
        then: the task that follows when the calendar covers the batch already.
    """
    plan = f"ti.xcom_pull(task_ids='{plan_task}')"
    batch_id = f"'calendar-' ~ {plan}.{name}"

    @task.branch(doc_md="The calendar is extended when it does not cover the days of the run.")
    def choose_calendar() -> str:
        steps, batch = of(get_current_context()["ti"].xcom_pull(task_ids=plan_task))
        return f"calendar.{CALENDAR.job.name}" if steps.prepare_calendar(batch) else then

    @task_group
    def calendar() -> None:
        made = beam_job(CALENDAR.job, options={"output": f"{settings.bucket_uri}/batches/{{{{ {batch_id} }}}}"})
        publish = script_task("publish", f"{{{{ calendar_script({plan}) }}}}")
        _ = made >> load_task(CALENDAR.job, DATES, batch_id) >> publish

    return CalendarTasks(choose_calendar(), calendar())
