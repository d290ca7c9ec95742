"""Triggering the DAG in Cloud Composer through Airflow's stable REST API."""

import time
from collections.abc import Callable, Mapping
from typing import Any

import google.auth
import requests
from google.auth.exceptions import DefaultCredentialsError
from google.auth.transport.requests import AuthorizedSession

from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.errors import SettingsError, TerminalError, TransientError
from coinbeam.orchestrator import DAG_ID
from coinbeam.settings import Settings

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_FINAL = frozenset({"success", "failed"})
_TIMEOUT_SECONDS = 30.0
_POLL_SECONDS = 15.0


class Composer:
    """The Airflow web server of a Composer environment.

    Args:
        settings: its address and how long to wait for a run.
        session: an authorised HTTP session; made from the default credentials when left out.
        clock: source of "now".
        sleep: waits between two looks.

    Raises:
        SettingsError: the address is not set, or there are no credentials.
    """

    def __init__(
        self,
        settings: Settings,
        session: requests.Session | None = None,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        if settings.composer.airflow_url is None:
            raise SettingsError(
                "composer.airflow_url is not set.", "Set COINBEAM_COMPOSER__AIRFLOW_URL to the environment's Airflow address."
            )
        self._settings = settings
        self._base = f"{str(settings.composer.airflow_url).rstrip('/')}/api/v2/dags/{DAG_ID}/dagRuns"
        self._session = session or _authorised()
        self._clock, self._sleep = clock, sleep

    def trigger(self, conf: Mapping[str, Any]) -> str:
        """Start a run and return its id.

        Raises:
            TerminalError: Airflow refused it.
            TransientError: Airflow did not answer.
        """
        body = {"logical_date": format_instant(self._clock()), "conf": dict(conf)}
        return str(self._call("POST", self._base, body)["dag_run_id"])

    def wait(self, run_id: str, say: Callable[[str], None]) -> str:
        """Wait for the end of a run.

        Args:
            run_id: from :meth:`trigger`.
            say: told each new state.

        Returns:
            ``success`` or ``failed``.

        Raises:
            TerminalError: it did not end within ``composer.run_timeout_seconds``; it goes on running.
        """
        limit = self._settings.composer.run_timeout_seconds
        started, known = self._clock(), ""
        while (self._clock() - started).total_seconds() < limit:
            state = str(self._call("GET", f"{self._base}/{run_id}")["state"])
            if state != known:
                say(f"{run_id}: {state}")
                known = state
            if state in _FINAL:
                return state
            self._sleep(_POLL_SECONDS)
        raise TerminalError(
            f"{run_id} did not end within {limit:.0f} s; it goes on.",
            "Look at it in the Airflow UI, or raise COINBEAM_COMPOSER__RUN_TIMEOUT_SECONDS.",
        )

    def _call(self, method: str, url: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        try:
            answer = self._session.request(method, url, json=body, timeout=_TIMEOUT_SECONDS)
        except requests.RequestException as error:
            raise TransientError(
                f"Airflow at {self._base} does not answer: {type(error).__name__}.", "Check composer.airflow_url and the network."
            ) from error
        if answer.status_code >= 400:
            raise TerminalError(
                f"Airflow refused {method} with HTTP {answer.status_code}: {answer.text[:300]}",
                _REMEDIES.get(answer.status_code, "See the Airflow web server's log."),
            )
        return dict(answer.json())


_REMEDIES = {
    401: "Log in with `gcloud auth application-default login`.",
    403: "The account needs the role Composer User and an Airflow role that may trigger runs.",
    404: f"Deploy {DAG_ID} to the environment first.",
    409: "A run for this instant exists already; wait a second and try again.",
}


def _authorised() -> requests.Session:
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except DefaultCredentialsError as error:
        raise SettingsError("There are no Google credentials.", "Run `gcloud auth application-default login`.") from error
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
