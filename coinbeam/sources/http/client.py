"""The HTTP client: within the plan's rate, patient with what passes, clear about what does not."""

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TypedDict, Unpack
from urllib.parse import urlencode

import requests
import tenacity
from pydantic import SecretStr

from coinbeam.clock import Clock, utc_now
from coinbeam.redaction import MASK, keep_secret, redact
from coinbeam.settings import PatienceSettings
from coinbeam.sources.http.errors import Api, ApiTerminalError
from coinbeam.sources.http.responses import Verdict, inspect
from coinbeam.sources.http.transport import KeyHeader, Patience, Received, exchange, new_session
from coinbeam.sources.rate import CallCap, CallsSpentError, RateLimiter

_LOGGER = logging.getLogger(__name__)

_FIRST_WAIT_SECONDS = 1.0
_FIRST_THROTTLED_WAIT_SECONDS = 15.0  # the window is a minute: five tries in fifteen seconds would all fall into it
_LONGEST_WAIT_SECONDS = 60.0
_SHOWN_URL_LENGTH = 200

Parameter = str | int | bool | Sequence[str] | None
"""A query parameter; ``None`` and empty sequences are left out, sequences are joined by commas."""


@dataclass(frozen=True)
class ApiAnswer:
    """An answer worth landing.

    Attributes:
        body: the exact bytes after transfer decoding.
        url: what was asked for; it never holds the key.
        received_at: when the last byte came, aware, UTC.
        calls: attempts made, retries included; the plan counts each.
        throttled: attempts refused for their rate (429 and its disguises).
        bytes_received: bytes of all bodies, those of failed attempts included.
        problem: what is wrong with a body that stayed malformed through all attempts.
    """

    body: bytes
    url: str
    received_at: datetime
    calls: int = 1
    throttled: int = 0
    bytes_received: int = 0
    problem: str | None = None

    @property
    def well_formed(self) -> bool:
        """True when the body is JSON of the right shape; a malformed one is landed and its page rejected."""
        return self.problem is None

    @property
    def retries(self) -> int:
        """Attempts beyond the first."""
        return self.calls - 1


@dataclass
class _Tally:
    """What the attempts of one call add up to."""

    calls: int = 0
    throttled: int = 0
    bytes_received: int = 0
    waited_seconds: float = 0.0
    gave_up: str = ""


@dataclass(frozen=True)
class _Attempt:
    verdict: Verdict
    received_at: datetime
    body: bytes = field(default=b"", repr=False)


class Wiring(TypedDict, total=False):
    """What a test, or a job with a budget, gives to a client.

    Attributes:
        session: an HTTP session to share.
        clock: stamps ``received_at``.
        sleep: waits that many seconds between attempts.
        rng: gives the jitter.
        monotonic: measures the time of one exchange.
        cap: the most attempts that this client may make; any number without one.
    """

    session: requests.Session | None
    clock: Clock
    sleep: Callable[[float], None]
    rng: random.Random | None
    monotonic: Callable[[], float]
    cap: CallCap | None


class HttpClient:
    """Asks one API, one call at a time, at its rate, and with patience. For one thread; a worker makes its own.

    Args:
        base_url: what every path is appended to.
        limiter: the rate bound; every attempt passes it.
        api_key: sent in the header of the API, and in nothing else.
    """

    def __init__(
        self,
        api: Api,
        settings: PatienceSettings,
        base_url: str,
        limiter: RateLimiter,
        api_key: str | None = None,
        **wiring: Unpack[Wiring],
    ) -> None:
        if api_key:
            keep_secret(api_key)
        self._api, self._settings, self._limiter = api, settings, limiter
        self._base_url = base_url.rstrip("/")
        self._key = SecretStr(api_key) if api_key else None
        self._auth = KeyHeader(api.key_header, api_key)
        self._cap = wiring.get("cap")
        self._session = wiring.get("session") or new_session(base_url)
        self._clock = wiring.get("clock", utc_now)
        self._sleep = wiring.get("sleep", time.sleep)
        self._rng = wiring.get("rng") or random.Random()
        monotonic = wiring.get("monotonic", time.monotonic)
        self._patience = Patience(settings.connect_timeout_seconds, settings.read_timeout_seconds, monotonic)

    def get(self, path: str, params: Mapping[str, Parameter] | None = None) -> ApiAnswer:
        """Ask for a path, again and again while that may help.

        Attempts are bounded by ``coingecko.max_attempts``, and the sum of the waits by ``coingecko.max_wait_seconds``.
        ``Retry-After`` is honoured in full or, where that bound is shorter, not waited for at all.

        Args:
            path: from the base URL on, with a leading slash.
            params: query parameters; sent in alphabetical order, so that the same question is always the same URL.

        Returns:
            The answer; one that stayed malformed has ``problem`` set.

        Raises:
            ApiTerminalError: refused for a reason that stays; the text says what to change.
            ApiTransientError: refused or unreachable until the patience ended.
            CallsSpentError: the cap of this client is reached; the call was not made.
        """
        url = self._url(path, params or {})
        tally = _Tally()
        try:
            last = self._retrying(url, tally)(self._attempt, url, tally)
        except CallsSpentError as error:
            error.calls, error.throttled = tally.calls, tally.throttled
            raise
        verdict, calls, throttled = last.verdict, tally.calls, tally.throttled
        if verdict.kind is not None:
            said = f"GET {_shown(url)}: {verdict.problem}{tally.gave_up}."
            raise verdict.kind(
                said, verdict.remedy, verdict.status, verdict.code, verdict.retry_after, calls, throttled
            )
        return ApiAnswer(last.body, url, last.received_at, calls, throttled, tally.bytes_received, verdict.problem)

    def close(self) -> None:
        """Close the connections."""
        self._session.close()

    def _url(self, path: str, params: Mapping[str, Parameter]) -> str:
        query = urlencode(
            [(name, _text(value)) for name, value in sorted(params.items()) if value not in (None, (), [])], safe=","
        )
        url = f"{self._base_url}{path}" + (f"?{query}" if query else "")
        if self._redact(url) != url:
            raise ApiTerminalError(
                "The API key does not belong in a URL, where every proxy logs it.", "Give it to the client as api_key."
            )
        return url

    def _attempt(self, url: str, tally: _Tally) -> _Attempt:
        if self._cap:
            self._cap.take()
        self._limiter.acquire()
        tally.calls += 1
        answer = exchange(self._session, url, self._auth, self._patience)
        now = self._clock()
        if isinstance(answer, Verdict):
            return _Attempt(answer, now)
        verdict = self._judge(answer, now)
        tally.bytes_received += len(answer.body)
        tally.throttled += verdict.throttled
        return _Attempt(verdict, now, answer.body)

    def _judge(self, answer: Received, now: datetime) -> Verdict:
        """The verdict on an answer, without the key even if the server repeats it, in bytes or in escapes of JSON."""
        key = self._key.get_secret_value().encode() if self._key else b""
        repeats_key = bool(key) and key in answer.body
        shown = answer.body.replace(key, MASK.encode()) if repeats_key else answer.body
        verdict = inspect(self._api, answer.status, answer.headers, shown, now, answer.cut_short)
        if repeats_key and verdict.kind is None:
            problem = "the answer repeats the API key and is not landed"
            return Verdict(ApiTerminalError, problem, "Check the configured URL of the API.")
        return replace(verdict, problem=self._redact(verdict.problem)) if verdict.problem else verdict

    def _retrying(self, url: str, tally: _Tally) -> tenacity.Retrying:
        """The loop around the attempts of one call; it ends with the last of them, never with an error of its own."""

        def out_of_patience(state: tenacity.RetryCallState) -> bool:
            if tally.calls >= self._settings.max_attempts:
                gave_up = f"; gave up after {tally.calls} calls (coingecko.max_attempts)"
                tally.gave_up = gave_up if tally.calls > 1 else ""
            elif tally.waited_seconds + state.upcoming_sleep > self._settings.max_wait_seconds:
                limit = f"coingecko.max_wait_seconds ({self._settings.max_wait_seconds:g})"
                tally.gave_up = f"; gave up, since the next wait of {state.upcoming_sleep:.0f} s would exceed {limit}"
            else:
                return False
            return True

        def before_sleep(state: tenacity.RetryCallState) -> None:
            tally.waited_seconds += state.upcoming_sleep
            problem, following = _last(state).verdict.problem, f"{tally.calls + 1} of {self._settings.max_attempts}"
            _LOGGER.warning("GET %s: %s; call %s in %.1f s", _shown(url), problem, following, state.upcoming_sleep)

        return tenacity.Retrying(
            retry=tenacity.retry_if_result(lambda attempt: attempt.verdict.retryable),
            wait=self._wait,
            stop=out_of_patience,
            before_sleep=before_sleep,
            sleep=self._sleep,
            retry_error_callback=_last,
        )

    def _wait(self, state: tenacity.RetryCallState) -> float:
        """Seconds before the next attempt: what the server asks for and a little more, else exponential with jitter."""
        verdict = _last(state).verdict
        if verdict.retry_after is not None:
            return verdict.retry_after + self._rng.uniform(0, 1)
        first = _FIRST_THROTTLED_WAIT_SECONDS if verdict.throttled else _FIRST_WAIT_SECONDS
        ceiling = min(_LONGEST_WAIT_SECONDS, first * 2.0 ** (state.attempt_number - 1))
        return ceiling * self._rng.uniform(0.5, 1)

    def _redact(self, text: str) -> str:
        return redact(text, self._key.get_secret_value()) if self._key else text


def _last(state: tenacity.RetryCallState) -> _Attempt:
    """The outcome of the attempt that just ended; attempts return their failures and do not raise."""
    if state.outcome is None:
        raise RuntimeError("asked for an outcome before the first attempt")
    attempt: _Attempt = state.outcome.result()
    return attempt


def _shown(url: str) -> str:
    """A URL as messages show it: 250 ids fill a screen and hide what went wrong."""
    return url if len(url) <= _SHOWN_URL_LENGTH else f"{url[:_SHOWN_URL_LENGTH]}... ({len(url)} characters)"


def _text(value: Parameter) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else ",".join(value or ())
