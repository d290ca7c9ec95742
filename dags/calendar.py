"""The calendar, made before a batch that it does not cover: the same tasks in every DAG that may come first."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from airflow.sdk import chain, get_current_context, task, task_group

from coinbeam.batch.kinds import CALENDAR, Batch
from coinbeam.batch.tables import DATES
from coinbeam.feeds.history.plan import BackfillPlan
from coinbeam.feeds.plan import BatchPlan
from coinbeam.feeds.steps import BatchSteps
from coinbeam.settings import load_settings
from dags.batch_tasks import load_task, script_task, settings, staging_table
from dags.beam_jobs import beam_job


@dataclass(frozen=True)
class Calendar:
    """The tasks that extend the calendar.

    Attributes:
        steps_type: the steps of the feed.
        plan_type: the plan whose days the calendar must cover.
        plan_task: the task that returns the plan.
        name: field of the plan that names the batch.
    """

    steps_type: type[BatchSteps[Any]]
    plan_type: type[BatchPlan | BackfillPlan]
    plan_task: str
    name: str

    @property
    def macros(self) -> dict[str, Callable[[Mapping[str, Any]], str]]:
        """The publish transaction of the calendar and its staging table for templates, which give the plan."""
        return {"calendar_script": self._script, "calendar_staging": self._staging}

    def _script(self, plan: Mapping[str, Any]) -> str:
        steps, batch = self._steps_and_batch(plan)
        return steps.publish_script(steps.calendar_of(batch))

    def _staging(self, plan: Mapping[str, Any]) -> str:
        steps, batch = self._steps_and_batch(plan)
        return staging_table(steps.calendar_of(batch), DATES)

    def _steps_and_batch(self, plan: Mapping[str, Any]) -> tuple[BatchSteps[Any], Batch]:
        return self.steps_type(load_settings()), self.plan_type.from_dict(plan).batch

    def extend(self, before: Sequence[Any], then: Any) -> None:
        """Extend the calendar between the tasks of the plan and the next one, or go straight on when it covers the
        batch.

        Args:
            before: tasks, one after another; the last one comes right before the choice.
            then: the task that follows. Its trigger rule lets one of its upstream tasks be skipped.
        """
        plan = f"ti.xcom_pull(task_ids='{self.plan_task}')"
        batch_id = f"'calendar-' ~ {plan}.{self.name}"

        @task.branch(doc_md="The calendar is extended when it does not cover the days of the run.")
        def choose_calendar() -> str:
            steps, batch = self._steps_and_batch(get_current_context()["ti"].xcom_pull(task_ids=self.plan_task))
            return f"calendar.{CALENDAR.job.name}" if steps.prepare_calendar(batch) else str(then.roots[0].task_id)

        @task_group
        def calendar() -> None:
            made = beam_job(CALENDAR.job, options={"output": f"{settings.bucket_uri}/batches/{{{{ {batch_id} }}}}"})
            publish = script_task("publish", f"{{{{ calendar_script({plan}) }}}}")
            chain(made, load_task(CALENDAR.job, DATES, batch_id, f"calendar_staging({plan})"), publish)

        choice = choose_calendar()
        chain(*before, choice, calendar(), then)
        chain(choice, then)
