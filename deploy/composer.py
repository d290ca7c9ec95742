"""The DAGs of a Composer environment, through Airflow's stable REST API: which are paused, and a run to its end."""

import time
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

import google.auth
import requests
from google.auth.exceptions import DefaultCredentialsError, GoogleAuthError
from google.auth.transport.requests import AuthorizedSession

from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.errors import SettingsError, TerminalError, TransientError
from coinbeam.settings import Settings
from runs.airflow import SNAPSHOT_DAG, STREAM_DAG, WITNESS_DAG

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"
_FINAL = frozenset({"success", "failed"})
_TIMEOUT_SECONDS = 30.0
_POLL_SECONDS = 15.0
_MOST_DAGS = 100

OPTIONAL_DAGS = frozenset({STREAM_DAG, WITNESS_DAG})
"""The DAGs that a person switches on by name, once what they read is there."""


class Composer:
    """The Airflow web server of a Composer environment, for one DAG; its session is made when left out.

    Raises:
        SettingsError: the address is not set, or there are no credentials.
    """

    def __init__(
        self,
        settings: Settings,
        session: requests.Session | None = None,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        dag_id: str = SNAPSHOT_DAG,
        poll_seconds: float = _POLL_SECONDS,
    ) -> None:
        if settings.composer.airflow_url is None:
            remedy = "Set COINBEAM_COMPOSER__AIRFLOW_URL to the environment's Airflow address."
            raise SettingsError("composer.airflow_url is not set.", remedy)
        self._settings, self._dag_id = settings, dag_id
        self._dags = f"{str(settings.composer.airflow_url).rstrip('/')}/api/v2/dags"
        self._base = f"{self._dags}/{dag_id}/dagRuns"
        self._session = session or _authorised()
        self._clock, self._sleep, self._poll_seconds = clock, sleep, poll_seconds

    def trigger(self, conf: Mapping[str, Any]) -> str:
        """Start a run and return its id.

        Raises:
            TerminalError: Airflow refused it, or the DAG is paused: its run would wait in the queue, and say nothing.
            TransientError: Airflow did not answer.
        """
        if self._call("GET", f"{self._dags}/{self._dag_id}", "is_paused"):
            problem = f"{self._dag_id} is paused in Airflow: a run would stay queued for ever."
            raise TerminalError(problem, "Switch the DAGs on with `coinbeam dags unpause`, then run it again.")
        body = {"logical_date": format_instant(self._clock()), "conf": dict(conf)}
        return str(self._call("POST", self._base, "dag_run_id", body))

    def paused(self) -> dict[str, bool]:
        """Whether each DAG of the environment is paused, by its id.

        Raises:
            TerminalError: Airflow refused to tell.
            TransientError: Airflow did not answer.
        """
        found = self._call("GET", f"{self._dags}?limit={_MOST_DAGS}", "dags")
        return {one["dag_id"]: one["is_paused"] for one in found}

    def unpause(self, dag_id: str) -> None:
        """Switch a DAG on.

        Raises:
            TerminalError: Airflow refused it.
            TransientError: Airflow did not answer.
        """
        self._call("PATCH", f"{self._dags}/{dag_id}?update_mask=is_paused", "is_paused", {"is_paused": False})

    def unfinished(self) -> str | None:
        """The id of a run that waits or runs, or None; whoever started it may have been killed since.

        Raises:
            TerminalError: Airflow refused to tell.
            TransientError: Airflow did not answer.
        """
        runs = self._call("GET", f"{self._base}?state=queued&state=running&order_by=-run_after&limit=1", "dag_runs")
        return str(runs[0]["dag_run_id"]) if runs else None

    def wait(self, run_id: str, say: Callable[[str], None]) -> str:
        """Wait for the end of a run, ``success`` or ``failed``, and say each new state.

        Raises:
            TerminalError: it did not end within ``composer.run_timeout_seconds``; it goes on running.
        """
        limit = self._settings.composer.run_timeout_seconds
        started, known = self._clock(), ""
        while (self._clock() - started).total_seconds() < limit:
            state = self._state(run_id, say)
            if state and state != known:
                say(f"{run_id}: {state}")
                known = state
            if state in _FINAL:
                return state
            self._sleep(self._poll_seconds)
        raise TerminalError(
            f"{run_id} did not end within {limit:.0f} s; it goes on.",
            "Look at it in the Airflow UI, or raise COINBEAM_COMPOSER__RUN_TIMEOUT_SECONDS.",
        )

    def _state(self, run_id: str, say: Callable[[str], None]) -> str:
        """The state of a run; empty when Airflow could not be asked this time, since the run goes on without us."""
        try:
            return str(self._call("GET", f"{self._base}/{quote(run_id, safe='')}", "state"))
        except TransientError as error:
            say(str(error))
            return ""

    def _call(self, method: str, url: str, field: str, body: Mapping[str, Any] | None = None) -> Any:
        """One call; returns a field of what Airflow answers with."""
        try:
            answer = self._session.request(method, url, json=body, timeout=_TIMEOUT_SECONDS)
        except requests.RequestException as error:
            problem = f"Airflow at {self._base} does not answer: {type(error).__name__}."
            raise TransientError(problem, "Check composer.airflow_url and the network.") from error
        except GoogleAuthError as error:
            problem = f"The Google credentials do not work: {type(error).__name__}."
            raise TerminalError(problem, _REMEDIES[401]) from error
        status = answer.status_code
        if status >= 500 or status == 429:
            remedy = "Try again in a minute; see its web server's log."
            raise TransientError(f"Airflow answered {method} with HTTP {status}.", remedy)
        if status >= 400:
            remedy = _REMEDIES.get(status, "See the Airflow web server's log.").format(dag=self._dag_id)
            raise TerminalError(f"Airflow refused {method} with HTTP {status}: {answer.text[:300]}", remedy)
        try:
            return answer.json()[field]
        except (ValueError, TypeError, LookupError) as error:
            problem = f"{self._base} does not answer as Airflow's API does."
            raise TerminalError(problem, "Check composer.airflow_url.") from error


_REMEDIES = {
    401: "Log in with `gcloud auth application-default login`.",
    403: "The account needs the role Composer User and an Airflow role that may trigger runs.",
    404: "Deploy {dag} to the environment first.",
    409: "A run for this instant exists already; wait a second and try again.",
}


def _authorised() -> requests.Session:
    try:
        credentials, _ = google.auth.default(scopes=[_SCOPE])
    except DefaultCredentialsError as error:
        remedy = "Run `gcloud auth application-default login`."
        raise SettingsError("There are no Google credentials.", remedy) from error
    return AuthorizedSession(credentials)  # type: ignore[no-untyped-call]
