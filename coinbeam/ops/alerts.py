"""Telling a person: always the log, and a webhook when one is set. `coinbeam.ops.incidents` decides which failures."""

import logging
from dataclasses import dataclass
from typing import Any

import requests

from coinbeam.redaction import keep_secret
from coinbeam.settings import AlertSettings

logger = logging.getLogger("coinbeam.ops.alerts")

_SHORTEST_SECRET = 8  # a shorter path is no secret, and masking it would garble other lines


@dataclass(frozen=True)
class Alert:
    """What happened, why, what to do next and where to look, in the words of the person who will be woken.

    ``is_over`` tells of the end of a failure, which is no error.
    """

    title: str
    text: str
    link: str = ""
    is_over: bool = False

    def to_dict(self) -> dict[str, Any]:
        """The body of the webhook: ``text`` is what Slack, Mattermost and Google Chat show."""
        return {"text": f"{self.title}\n{self.text}\n{self.link}".strip(), "title": self.title, "link": self.link}


def note(alert: Alert) -> None:
    """Write the alert into the log."""
    logger.log(logging.INFO if alert.is_over else logging.ERROR, "%s: %s %s", alert.title, alert.text, alert.link)


def send(alert: Alert, settings: AlertSettings) -> bool:
    """Log the alert and post it to the webhook.

    A webhook that fails is logged and never raised: the alert must not hide the failure that it tells of.

    Returns:
        Whether the webhook took it; False also when there is none.
    """
    note(alert)
    if settings.webhook_url is None:
        return False
    url = settings.webhook_url.get_secret_value()
    path = url.partition("://")[2].partition("/")[2]
    if len(path) >= _SHORTEST_SECRET:
        keep_secret(path)  # the secret part of the address: the HTTP library writes it into the log at DEBUG
    try:
        # A redirect would turn the POST into a GET without a body: not a delivery.
        answer = requests.post(url, json=alert.to_dict(), timeout=settings.timeout_seconds, allow_redirects=False)
        if answer.status_code >= 300:
            raise requests.HTTPError(f"HTTP {answer.status_code}")
    except requests.RequestException as error:
        # Only the class: the text of the exception holds the address of the webhook, which is a secret.
        logger.error("The alert webhook failed (%s). Check COINBEAM_ALERTS__WEBHOOK_URL.", type(error).__name__)
        return False
    return True
