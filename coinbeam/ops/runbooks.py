"""Which page says what to do, by the class of an error, and the alert that names it.

Alerts of Cloud Monitoring look for the name of the page in the log: ``infra/modules/alerts``.
"""

from coinbeam.ops.alerts import Alert
from coinbeam.ops.incidents import GAP, OUTAGE, Failure
from coinbeam.settings import Settings

RUNBOOKS = {
    **dict.fromkeys((*OUTAGE, GAP), "outage_of_coingecko"),
    "PublishBlockedError": "blocked_publish",
    "BudgetExceededError": "exceeded_quota",
    "CallsSpentError": "exceeded_quota",
    "ContractError": "schema_change",
    "ApiTerminalError": "rotate_the_key",
    "StreamDiffersError": "stream",
}
"""What to do, by the class of an error; the list of runbooks for others."""

OTHERS = "README"
"""The list of runbooks."""


def alert_of(failure: Failure, settings: Settings, link: str = "") -> Alert:
    """What a person is told of a failure: which batch of which environment, why, and which page to open."""
    batch = f"Batch {failure.batch_id}, environment" if failure.batch_id else "Environment"
    page = f"{settings.alerts.runbooks.rstrip('/')}/{RUNBOOKS.get(failure.error_class, OTHERS)}.md"
    where = f"{batch} {settings.environment}. Runbook: {page}"
    return Alert(failure.title, f"{failure.message}\n{where}", link)
