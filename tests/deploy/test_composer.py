"""Triggering a run in Composer.

There is no Composer emulator: a fake of Airflow's stable REST API on loopback stands in, and the session is a plain one
without Google's authorisation. What we send is held to the models of Airflow's own API; what it cannot prove is that an
environment accepts it.
"""

import json
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import google.auth
import pytest
import requests
from airflow.api_fastapi.core_api.datamodels.dag_run import TriggerDAGRunPostBody
from airflow.api_fastapi.core_api.datamodels.dags import DAGPatchBody
from google.auth.exceptions import DefaultCredentialsError, RefreshError
from pydantic import HttpUrl

from coinbeam.errors import SettingsError, TerminalError, TransientError
from coinbeam.settings import ComposerSettings, Environment, GoogleSettings, MarketSettings, Settings, StorageSettings
from deploy.composer import Composer
from tests.temporary import free_ports

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
Answer = tuple[int, str]


class FakeAirflow(ThreadingHTTPServer):
    """Answers each request with the next prepared answer, the last one for ever, and remembers what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.answers: list[Answer] = []
        self.asked: list[tuple[str, str, Any]] = []

    def next_answer(self) -> Answer:
        """The next prepared answer."""
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


class _Handler(BaseHTTPRequestHandler):
    server: FakeAirflow

    def _answer(self) -> None:
        size = int(self.headers.get("Content-Length") or 0)
        self.server.asked.append((self.command, self.path, json.loads(self.rfile.read(size) or "null")))
        status, text = self.server.next_answer()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    do_GET = do_POST = do_PATCH = _answer

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@pytest.fixture
def airflow() -> Iterator[FakeAirflow]:
    """A fake Airflow for one test."""
    with FakeAirflow() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


class Waiting:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = NOW

    def __call__(self) -> datetime:
        return self.now

    def sleep(self, seconds: float) -> None:
        """Let time pass."""
        self.now += timedelta(seconds=seconds)


def settings(url: str | None) -> Settings:
    """Production with a web server."""
    return Settings(
        environment=Environment.PRODUCTION,
        google=GoogleSettings(project="p"),
        storage=StorageSettings(bucket="bucket"),
        market=MarketSettings(),
        composer=ComposerSettings(airflow_url=HttpUrl(url) if url else None, run_timeout_seconds=60),
    )


def composer(airflow: FakeAirflow, *answers: Answer) -> Composer:
    """A composer whose fake gives these answers."""
    airflow.answers = list(answers)
    clock = Waiting()
    return Composer(settings(f"http://127.0.0.1:{airflow.server_address[1]}/"), requests.Session(), clock, clock.sleep)


ACTIVE: Answer = (200, json.dumps({"dag_id": "crypto_etl_dag", "is_paused": False}))
"""Airflow's answer about a DAG that is switched on."""


def state(name: str) -> Answer:
    """Airflow's answer about a run."""
    return 200, json.dumps({"dag_run_id": "manual__x", "state": name})


def test_a_run_is_triggered_with_its_instant_and_form(airflow: FakeAirflow) -> None:
    made = composer(airflow, ACTIVE, state("queued")).trigger({"universe": "top", "top_n": 5})
    assert made == "manual__x"
    assert airflow.asked == [
        ("GET", "/api/v2/dags/crypto_etl_dag", None),
        (
            "POST",
            "/api/v2/dags/crypto_etl_dag/dagRuns",
            {"logical_date": "2026-01-02T03:04:05Z", "conf": {"universe": "top", "top_n": 5}},
        ),
    ]
    TriggerDAGRunPostBody.model_validate(airflow.asked[1][2])


def test_a_run_of_a_paused_dag_is_refused_since_it_would_stay_queued(airflow: FakeAirflow) -> None:
    paused = (200, json.dumps({"dag_id": "crypto_etl_dag", "is_paused": True}))
    with pytest.raises(TerminalError, match=r"crypto_etl_dag is paused.*coinbeam dags unpause"):
        composer(airflow, paused, state("queued")).trigger({})
    assert [method for method, _, _ in airflow.asked] == ["GET"], "nothing was triggered"


def test_which_dags_are_paused_is_told_by_their_ids(airflow: FakeAirflow) -> None:
    listed = {"dags": [{"dag_id": "a", "is_paused": True}, {"dag_id": "b", "is_paused": False}], "total_entries": 2}
    assert composer(airflow, (200, json.dumps(listed))).paused() == {"a": True, "b": False}


def test_a_dag_is_switched_on_by_the_one_field_that_changes(airflow: FakeAirflow) -> None:
    composer(airflow, ACTIVE).unpause("crypto_marts_dag")
    asked = ("PATCH", "/api/v2/dags/crypto_marts_dag?update_mask=is_paused", {"is_paused": False})
    assert airflow.asked == [asked]
    DAGPatchBody.model_validate(asked[2])


@pytest.mark.parametrize(
    ("runs", "found"),
    [
        pytest.param([{"dag_run_id": "manual__x", "state": "queued"}], "manual__x", id="one waits"),
        pytest.param([], None, id="none"),
    ],
)
def test_a_run_that_somebody_left_behind_is_found(
    runs: list[dict[str, str]], found: str | None, airflow: FakeAirflow
) -> None:
    answer = (200, json.dumps({"dag_runs": runs, "total_entries": len(runs)}))
    assert composer(airflow, answer).unfinished() == found
    assert "state=queued&state=running" in airflow.asked[0][1]


@pytest.mark.parametrize("end", ["success", "failed"])
def test_a_run_is_followed_to_its_end_and_each_new_state_is_told_once(end: str, airflow: FakeAirflow) -> None:
    said: list[str] = []
    waiting = composer(airflow, state("queued"), state("running"), state("running"), state(end))
    assert waiting.wait("manual__x", said.append) == end
    assert said == ["manual__x: queued", "manual__x: running", f"manual__x: {end}"]


def test_a_run_id_is_safe_in_an_address(airflow: FakeAirflow) -> None:
    composer(airflow, state("success")).wait("manual__2026-01-02T03:04:05+00:00/x", lambda _: None)
    assert airflow.asked[0][1].endswith("/dagRuns/manual__2026-01-02T03%3A04%3A05%2B00%3A00%2Fx")


def test_a_run_that_does_not_end_is_left_running_and_said_so(airflow: FakeAirflow) -> None:
    with pytest.raises(TerminalError, match=r"did not end within 60 s; it goes on.*RUN_TIMEOUT_SECONDS"):
        composer(airflow, state("running")).wait("manual__x", lambda _: None)
    assert len(airflow.asked) == 4, "one look every 15 seconds"


def test_one_bad_answer_does_not_end_the_wait(airflow: FakeAirflow) -> None:
    said: list[str] = []
    assert (
        composer(airflow, state("running"), (503, "busy"), state("success")).wait("manual__x", said.append) == "success"
    )
    assert "HTTP 503" in said[1]


@pytest.mark.parametrize(
    ("answer", "error", "named"),
    [
        pytest.param((401, "no"), TerminalError, "HTTP 401.*gcloud auth", id="not logged in"),
        pytest.param((403, "no"), TerminalError, "HTTP 403.*role Composer User", id="not allowed"),
        pytest.param((404, "no such dag"), TerminalError, "no such dag.*Deploy crypto_etl_dag", id="not deployed"),
        pytest.param((409, "exists"), TerminalError, "HTTP 409.*wait a second", id="a run of the same instant"),
        pytest.param((422, "bad conf"), TerminalError, "bad conf.*log", id="a form that Airflow refuses"),
        pytest.param((429, "slow"), TransientError, "HTTP 429", id="too many requests"),
        pytest.param((503, "busy"), TransientError, "HTTP 503", id="a busy web server"),
        pytest.param(
            (200, "<html>log in</html>"), TerminalError, "does not answer as Airflow's API does", id="a log-in page"
        ),
        pytest.param((200, "[]"), TerminalError, "does not answer as Airflow's API does", id="another API"),
        pytest.param((200, "{}"), TerminalError, "does not answer as Airflow's API does", id="an answer without a run"),
    ],
)
def test_every_answer_but_a_run_is_an_error_with_a_remedy(
    answer: Answer, error: type[Exception], named: str, airflow: FakeAirflow
) -> None:
    with pytest.raises(error, match=named):
        composer(airflow, ACTIVE, answer).trigger({})


def test_a_web_server_that_is_down_may_be_up_later() -> None:
    down = Composer(settings(f"http://127.0.0.1:{free_ports(1)[0]}"), requests.Session())
    with pytest.raises(TransientError, match="does not answer: ConnectionError"):
        down.trigger({})


def test_credentials_that_expired_are_told() -> None:
    class Expired(requests.Session):
        def request(self, *_: Any, **__: Any) -> requests.Response:  # type: ignore[override]
            raise RefreshError("the token of sentinelsecret expired")

    with pytest.raises(TerminalError, match=r"RefreshError.*gcloud auth") as caught:
        Composer(settings("http://127.0.0.1:9"), Expired()).trigger({})
    assert "sentinelsecret" not in str(caught.value)


def test_without_an_address_nothing_is_triggered() -> None:
    with pytest.raises(SettingsError, match="COINBEAM_COMPOSER__AIRFLOW_URL"):
        Composer(settings(None))


def test_without_credentials_nothing_is_triggered(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody(**_: Any) -> Callable[[], None]:
        raise DefaultCredentialsError("none")

    monkeypatch.setattr(google.auth, "default", nobody)
    with pytest.raises(SettingsError, match="gcloud auth application-default login"):
        Composer(settings("http://127.0.0.1:9"))
