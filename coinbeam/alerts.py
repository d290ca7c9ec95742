"""Telling a person: always the log, and a webhook when one is configured."""

import logging
from dataclasses import dataclass
from typing import Any

import requests

from coinbeam.settings import AlertSettings

logger = logging.getLogger("coinbeam.alerts")


@dataclass(frozen=True)
class Alert:
    """What happened, in the words of the person who will be woken.

    Attributes:
        title: one line.
        text: what failed, why, and what to do next.
        link: where to look, or empty.
    """

    title: str
    text: str
    link: str = ""

    def to_dict(self) -> dict[str, Any]:
        """The body of the webhook: ``text`` is what Slack, Mattermost and Google Chat show."""
        return {"text": f"{self.title}\n{self.text}\n{self.link}".strip(), "title": self.title, "link": self.link}


def send(alert: Alert, settings: AlertSettings) -> bool:
    """Log the alert and post it to the webhook.

    A webhook that fails is logged and never raised: the alert must not hide the failure that it tells of.

    Returns:
        Whether the webhook took it; False also when there is none.
    """
    logger.error("%s: %s %s", alert.title, alert.text, alert.link)
    if settings.webhook_url is None:
        return False
    try:
        answer = requests.post(settings.webhook_url.get_secret_value(), json=alert.to_dict(), timeout=settings.timeout_seconds)
        answer.raise_for_status()
    except requests.RequestException as error:
        # Only the class: the text of the exception holds the address of the webhook, which is a secret.
        logger.error("The alert webhook failed (%s). Check COINBEAM_ALERTS__WEBHOOK_URL.", type(error).__name__)
        return False
    return True
