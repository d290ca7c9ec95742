"""How our DAGs fail: which errors deserve a retry, and who gets an alert."""

import logging
from collections.abc import Callable, Collection
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy

from coinbeam.batch.jobs import FAILED, JOBS, MISUSE, REFUSED
from coinbeam.errors import CoinbeamError, SettingsError, TerminalError
from coinbeam.landing.bucket import Bucket
from coinbeam.ops.alerts import Alert, note, send
from coinbeam.ops.incidents import GAP, Failure, Incidents, recovery
from coinbeam.ops.runbooks import alert_of
from coinbeam.settings import Settings, load_settings
from coinbeam.warehouse.client import REFUSES, Warehouse

PLAN_TASKS = ("plan_batch", "plan_index", "plan_settlement")
PLAN_TASKS_OF_PIECES = ("history_batch.prepare",)
"""The tasks that return the plan of the batch of a run, or of one of its mapped batches."""

OPERATING_TASKS = frozenset({"operate_stream"})
"""Tasks of a run with a batch that are not of the batch."""

LAST_TASK = "verify"
"""The last task before the record; its success means that the batch is published."""

PUBLISH_TASK = "publish"
"""The task that a gap leaves without work; its next success ends the incident."""

STANDING = "StandingFault"
"""In place of a task and a class: what is wrong in batches whose tasks all succeed."""

logger = logging.getLogger("coinbeam.dags")

TERMINAL_EXITS = (f"return code {MISUSE}", f"return code {REFUSED}")
"""The Beam operator only reports the exit code of a job; these say that a retry cannot help."""

OWN_EXITS = (f"return code {FAILED}", *TERMINAL_EXITS)
"""The exit codes of a job that ended itself, having said why."""


class RetryTransientErrors(RetryPolicy):
    """Fail at once when a retry cannot help; otherwise retry as the task says."""

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - the signature is Airflow's
        max_tries: int,  # noqa: ARG002
        context: Any = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Decide by the class of the error, for a Beam job by its exit code, for a transaction by who ended it."""
        text = str(exception)
        if isinstance(exception, TerminalError) or text.endswith(TERMINAL_EXITS) or REFUSES in text:
            return RetryDecision.fail(reason="The error is terminal: a retry without a change cannot help.")
        return RetryDecision.default()

    def serialize(self) -> dict[str, Any]:
        """The policy has no parameters."""
        return {}

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> "RetryTransientErrors":  # noqa: ARG003 - the signature is Airflow's
        """The policy has no parameters."""
        return cls()


def alert_failure(context: Any) -> None:
    """A task failed for good: tell it once per incident, and leave the reason for the record of the batch."""
    instance, exception = context["ti"], context.get("exception")
    reason = _words_of_job(context.get("task"), str(exception)) or f"{type(exception).__name__}: {exception}"
    instance.xcom_push(key="error", value=reason[:2000])
    kind, title = reason.partition(":")[0], f"Coinbeam: {instance.dag_id}.{instance.task_id} failed"
    batch_id = batch_of(instance)
    message = f"Run {instance.run_id}. {reason}"
    failure = Failure(instance.dag_id, instance.task_id, kind, title, message, instance.run_id, batch_id)
    tell(failure, getattr(instance, "log_url", ""))


def alert_gap(instance: Any, title: str, reason: str) -> None:
    """Alert once that a batch could not honestly be filled, until a batch is published again."""
    tell(Failure(instance.dag_id, PUBLISH_TASK, GAP, title, reason, instance.run_id))


def alert_standing_fault(instance: Any, find: Callable[[], str | None]) -> None:
    """Alert once of a fault that published batches have had again and again, and once that it is over.

    Args:
        find: says it in words; empty when there is none, None when the run cannot tell.
    """
    try:
        words = find()
    except CoinbeamError as error:  # the batch is published and recorded: nothing of it failed
        logger.warning("Whether %s lacks something for long could not be found out: %s", instance.dag_id, error)
        return
    if words is None:
        return
    if words:
        title = f"Coinbeam: {instance.dag_id} publishes, but not all that is configured"
        tell(Failure(instance.dag_id, STANDING, STANDING, title, words, instance.run_id))
    else:
        _close(instance.dag_id, {STANDING})


def tell(failure: Failure, link: str = "") -> None:
    """Log a failure, and send it when it opens an incident.

    Nothing may hide the failure: where the warehouse does not answer, the alert is sent, since one too many is better
    than one too few; where the settings are wrong, the failure is in the log.
    """
    try:
        settings = load_settings()
        alert = alert_of(failure, settings, link)
        if _opens(failure, settings):
            send(alert, settings.alerts)
        else:
            note(alert)
    except SettingsError as error:
        logger.error("%s: %s (and no alert target could be read: %s)", failure.title, failure.message, error)


def batch_of(instance: Any) -> str | None:
    """The batch of the run of a task, by the plan that an earlier task left; None before there is one."""
    pull = getattr(instance, "xcom_pull", None)
    if pull is None or instance.task_id in OPERATING_TASKS:
        return None
    mapped = {"map_indexes": instance.map_index} if instance.map_index >= 0 else {}
    plans = (pull(task_ids=task, **mapped) for task in (PLAN_TASKS_OF_PIECES if mapped else PLAN_TASKS))
    return next((plan["batch_id"] for plan in plans if plan), None)


def _opens(failure: Failure, settings: Settings) -> bool:
    try:
        return Incidents(Warehouse(settings)).report(failure)
    except CoinbeamError as error:
        logger.warning("The incident could not be recorded, so the alert is sent in any case: %s", error)
        return True


def resolve_incidents(context: Any) -> None:
    """Close the incidents of every task that succeeded in this run, and tell once that they are over.

    The ``on_success_callback`` of the last task of a DAG. A task that was skipped proved nothing, so it closes nothing.
    """
    instance = context["ti"]
    index = getattr(instance, "map_index", -1)
    crumbs = [
        crumb
        for crumb in instance.get_task_breadcrumbs(instance.dag_id, instance.run_id)
        if crumb.get("map_index", index) == index
    ]
    states = {crumb["task_id"]: crumb["state"] for crumb in crumbs} | {instance.task_id: "success"}
    succeeded = {task for task, state in states.items() if state == "success"}
    is_done = "failed" not in states.values() and any(task.rpartition(".")[2] == LAST_TASK for task in succeeded)
    _close(instance.dag_id, succeeded, batch_of(instance), is_published=is_done)


def _close(dag_id: str, tasks: Collection[str], batch_id: str | None = None, *, is_published: bool = False) -> None:
    """Close the incidents of a batch, and tell once that they are over."""
    try:
        settings = load_settings()
        over = Incidents(Warehouse(settings)).resolve(dag_id, tasks, batch_id, is_published=is_published)
        if over:
            send(Alert(f"Coinbeam: {dag_id} recovered", recovery(over, batch_id), is_over=True), settings.alerts)
    except CoinbeamError as error:  # a record that cannot be kept fails no run that went well
        logger.warning("Incidents of %s could not be closed: %s", dag_id, error)


def _words_of_job(task: Any, failed: str) -> str | None:
    """What a Beam job said of its failure, its class first; the operator only knows its exit code."""
    options = getattr(task, "pipeline_options", None)
    output = options.get("output") if isinstance(options, dict) else None
    if not (output and failed.endswith(OWN_EXITS)):
        return None
    try:
        bucket = Bucket(load_settings())
        folder = output.removeprefix(bucket.uri("")).strip("/")
        return bucket.read_text(JOBS[task.beam_job].failure_path(folder))
    except CoinbeamError:
        return None
