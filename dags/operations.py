"""How our DAGs fail: which errors deserve a retry, and who is told."""

import logging
from typing import Any

from airflow.sdk import RetryDecision, RetryPolicy

from coinbeam.alerts import Alert, send
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.settings import load_settings

logger = logging.getLogger("coinbeam.dags")

TERMINAL_EXITS = ("return code 2", "return code 3")
"""The Beam operator only reports the exit code of a job; 2 and 3 are a job's way of saying that a retry cannot help."""


class RetryTransientErrors(RetryPolicy):
    """Fail at once when a retry cannot help; otherwise retry as the task says."""

    def evaluate(
        self,
        exception: BaseException,
        try_number: int,  # noqa: ARG002 - the signature is Airflow's
        max_tries: int,  # noqa: ARG002
        context: Any = None,  # noqa: ARG002
    ) -> RetryDecision:
        """Decide by the class of the error, and for a Beam job by its exit code."""
        if isinstance(exception, TerminalError) or str(exception).endswith(TERMINAL_EXITS):
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
    """Tell the configured target that a task failed for good, and leave the reason for the record of the batch."""
    instance = context["ti"]
    reason = f"{type(context.get('exception')).__name__}: {context.get('exception')}"
    instance.xcom_push(key="error", value=reason[:2000])
    alert(f"Coinbeam: {instance.dag_id}.{instance.task_id} failed", f"Run {instance.run_id}. {reason}", getattr(instance, "log_url", ""))


def alert(title: str, text: str, link: str = "") -> None:
    """Send an alert by the settings; wrong settings must not hide the failure that is being told."""
    try:
        send(Alert(title, text, link), load_settings().alerts)
    except SettingsError as error:
        logger.error("%s: %s (and no alert target could be read: %s)", title, text, error)
