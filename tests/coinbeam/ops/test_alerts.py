"""Alerts: the log always, the webhook when there is one, and its address never anywhere."""

import logging
from collections.abc import Iterator

import pytest
from pydantic import SecretStr

from coinbeam.ops.alerts import Alert, note, send
from coinbeam.settings import AlertSettings
from tests.temporary import free_ports
from tests.webhook import Webhook

ALERT = Alert("Coinbeam: audit failed", "5 rules refuse the batch — é", "https://airflow/log")


@pytest.fixture(autouse=True)
def keep_log_factory() -> Iterator[None]:
    """Take the guard of the logs off again."""
    factory = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(factory)


def settings(url: str) -> AlertSettings:
    """Settings with a webhook."""
    return AlertSettings(webhook_url=SecretStr(url), timeout_seconds=0.5)


def test_without_a_webhook_the_log_has_it_all(caplog: pytest.LogCaptureFixture) -> None:
    assert send(ALERT, AlertSettings()) is False
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert all(part in record.getMessage() for part in (ALERT.title, ALERT.text, ALERT.link))


def test_the_webhook_gets_what_chat_programs_show(webhook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    assert send(ALERT, settings(webhook.url)) is True
    (told,) = webhook.told
    assert told["path"] == "/services/sentinelsecret"
    assert told["type"] == "application/json"
    assert told["text"] == f"{ALERT.title}\n{ALERT.text}\n{ALERT.link}"
    assert told["title"] == ALERT.title
    assert ALERT.title in caplog.text, "the log has it too"


def test_an_alert_without_a_link_has_no_empty_line() -> None:
    assert Alert("a", "b").to_dict()["text"] == "a\nb"


@pytest.mark.parametrize("status", [302, 400, 404, 500])
def test_a_webhook_that_refuses_is_logged_and_never_raised(
    status: int, webhook: Webhook, caplog: pytest.LogCaptureFixture
) -> None:
    webhook.status = status
    with caplog.at_level(logging.INFO):
        assert send(ALERT, settings(webhook.url)) is False
    assert "The alert webhook failed" in caplog.text
    assert "sentinelsecret" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        pytest.param(f"http://127.0.0.1:{free_ports(1)[0]}/sentinelsecret", id="nobody listens"),
        pytest.param("http://no-such-host.invalid/sentinelsecret", id="no such host"),
        pytest.param("sentinelsecret", id="no address at all"),
        pytest.param("http://[sentinelsecret", id="half an address"),
        pytest.param("ftp://127.0.0.1/sentinelsecret", id="another protocol"),
        pytest.param("http://.sentinelsecret./x", id="an empty label"),
        pytest.param("http://127.0.0.1:99999/sentinelsecret", id="no such port"),
        pytest.param("", id="empty"),
    ],
)
def test_a_webhook_that_cannot_be_reached_is_never_raised_nor_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        assert send(ALERT, settings(url)) is False
    assert "The alert webhook failed" in caplog.text
    assert "COINBEAM_ALERTS__WEBHOOK_URL" in caplog.text, "the remedy"
    assert "sentinelsecret" not in caplog.text


def test_a_webhook_that_hangs_is_given_up(webhook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    webhook.hangs = True
    assert send(ALERT, settings(webhook.url)) is False
    assert "sentinelsecret" not in caplog.text


def test_even_the_debug_log_never_shows_the_address(webhook: Webhook, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.DEBUG):
        assert send(ALERT, settings(webhook.url)) is True
    assert "sentinelsecret" not in caplog.text


def test_the_end_of_an_incident_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        note(Alert("recovered", "audit", is_over=True))
        note(ALERT)
    assert [record.levelno for record in caplog.records] == [logging.INFO, logging.ERROR]
