"""The HTTP client: within the plan's rate, patient with what passes, clear about what does not."""

import logging
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from urllib.parse import quote, urlencode

import requests
import tenacity
from pydantic import SecretStr

from coinbeam.clock import Clock, utc_now
from coinbeam.secrets import MASK, guard_logs, redact
from coinbeam.settings import CoinGeckoSettings
from coinbeam.sources.http.errors import ApiError, ApiTerminalError
from coinbeam.sources.http.responses import Verdict, inspect
from coinbeam.sources.http.transport import KeyHeader, Patience, Received, exchange, new_session
from coinbeam.sources.rate import CallCap, RateLimiter

_LOGGER = logging.getLogger(__name__)

_FIRST_WAIT_SECONDS = 1.0
_FIRST_THROTTLED_WAIT_SECONDS = (
    15.0  # the window of the limit is a minute: five tries in fifteen seconds would all fall into it
)
_LONGEST_WAIT_SECONDS = 60.0

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


class CoinGeckoClient:
    """Asks CoinGecko, or the simulator, one call at a time. For one thread; a worker makes its own."""

    def __init__(
        self,
        settings: CoinGeckoSettings,
        base_url: str,
        limiter: RateLimiter,
        api_key: str | None = None,
        session: requests.Session | None = None,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
        monotonic: Callable[[], float] = time.monotonic,
        cap: CallCap | None = None,
    ) -> None:
        """Make a client.

        Args:
            settings: plan, timeouts and patience.
            base_url: of the API, up to and including ``/api/v3``.
            limiter: the rate bound; every attempt passes it.
            api_key: sent in the header of the plan, and in nothing else.
            session: an HTTP session to share.
            clock: stamps ``received_at``.
            sleep: waits that many seconds between attempts.
            rng: gives the jitter.
            monotonic: measures the time of one exchange.
            cap: the most attempts that this client may make; any number without one.
        """
        if api_key:
            guard_logs(api_key)
        self._settings = settings
        self._base_url = base_url.rstrip("/")
        self._limiter = limiter
        self._cap = cap
        self._key = SecretStr(api_key) if api_key else None
        self._auth = KeyHeader(settings.limits.key_header, api_key)
        self._session = session or new_session(base_url)
        self._clock = clock
        self._sleep = sleep
        self._rng = rng or random.Random()
        self._patience = Patience(settings.connect_timeout_seconds, settings.read_timeout_seconds, monotonic)

    def get(self, path: str, params: Mapping[str, Parameter] | None = None) -> ApiAnswer:
        """Ask for a path, again and again while that may help.

        Attempts are bounded by ``coingecko.max_attempts``, and the waits between them, taken together, by
        ``coingecko.max_wait_seconds``.
        ``Retry-After`` is honoured in full or, where that bound is shorter, not waited for at all.

        Args:
            path: from the base URL on, with a leading slash.
            params: query parameters; sent in alphabetical order, so that the same question is always the same URL.

        Returns:
            The answer; one that stayed malformed has ``problem`` set.

        Raises:
            ApiTerminalError: refused for a reason that stays; the text says what to change.
            ApiTransientError: refused or unreachable until the patience ended.
            BudgetExceededError: the cap of this client is reached; the call was not made.
        """
        url = self._url(path, params or {})
        tally = _Tally()
        last = self._retrying(url, tally)(self._attempt, url, tally)
        if last.verdict.kind is not None:
            raise self._error(last.verdict.kind, last.verdict, url, tally)
        return ApiAnswer(
            last.body, url, last.received_at, tally.calls, tally.throttled, tally.bytes_received, last.verdict.problem
        )

    def ping(self) -> ApiAnswer:
        """``/ping``: whether the API answers."""
        return self.get("/ping")

    def key_usage(self) -> ApiAnswer:
        """``/key``: plan, limits and credits of the key; pro hosts only."""
        return self.get("/key")

    def coins_list(self, include_platform: bool = True, status: str | None = None) -> ApiAnswer:
        """``/coins/list``: every id, symbol and name; not paged.

        Args:
            include_platform: add contract addresses by platform.
            status: ``active`` (the API's default) or ``inactive``.
        """
        return self.get("/coins/list", {"include_platform": include_platform, "status": status})

    def coin(self, asset_id: str) -> ApiAnswer:
        """``/coins/{id}``: categories, launch date, platforms and links of one coin, without prices, tickers and
        translations.

        Raises:
            ApiTerminalError: the id cannot be part of a path, or there is no such coin.
        """
        unwanted = ("localization", "tickers", "market_data", "community_data", "developer_data", "sparkline")
        return self.get(_coin_path(asset_id), dict.fromkeys(unwanted, False))

    def markets_page(
        self,
        quote_currency: str,
        page: int,
        per_page: int = 250,
        order: str = "id_asc",
        ids: Sequence[str] = (),
        category: str | None = None,
        sparkline: bool = True,
    ) -> ApiAnswer:
        """``/coins/markets``: one page of prices, with changes over 1 h, 24 h and 7 d, in full precision.

        Args:
            quote_currency: currency of all prices, such as ``usd``.
            page: number of the page, from 1.
            per_page: rows per page, up to 250; bounds ``ids`` too.
            order: ``id_asc`` is the only order under which pages do not shift while they are walked.
            ids: only these coins.
            category: only coins of this category.
            sparkline: add the hourly prices of the last seven days.
        """
        return self.get(
            "/coins/markets",
            {
                "vs_currency": quote_currency,
                "order": order,
                "per_page": per_page,
                "page": page,
                "ids": ids,
                "category": category,
                "sparkline": sparkline,
                "price_change_percentage": ("1h", "24h", "7d"),
                "precision": "full",
            },
        )

    def market_chart_range(self, asset_id: str, quote_currency: str, start: datetime, end: datetime) -> ApiAnswer:
        """``/coins/{id}/market_chart/range``: price, market cap and volume of one coin over a stretch of time, in full
        precision.

        The API chooses the distance of the points by the length of the stretch: up to a day 5 minutes, up to 90 days an
        hour, above it a day, at 00:00 UTC. A stretch that reaches into the present ends with a point for "now".

        Args:
            asset_id: CoinGecko id.
            quote_currency: currency of all prices, such as ``usd``.
            start: first instant, aware; whole seconds count.
            end: last instant, aware; whole seconds count.

        Raises:
            ApiTerminalError: the id cannot be part of a path, there is no such coin, or the plan does not reach so far.
        """
        seconds = {"from": int(start.timestamp()), "to": int(end.timestamp())}
        return self.get(
            f"{_coin_path(asset_id)}/market_chart/range",
            {"vs_currency": quote_currency, "precision": "full", **seconds},
        )

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
        """The verdict on an answer, in which nothing repeats the key, even if the server does: in its bytes, or in
        escapes of JSON.
        """
        key = self._key.get_secret_value().encode() if self._key else b""
        repeats_key = bool(key) and key in answer.body
        shown = answer.body.replace(key, MASK.encode()) if repeats_key else answer.body
        verdict = inspect(answer.status, answer.headers, shown, now, answer.cut_short)
        if repeats_key and verdict.kind is None:
            return Verdict(
                ApiTerminalError, "the answer repeats the API key and is not landed", "Check base_url of plan {plan!r}."
            )
        return replace(verdict, problem=self._redact(verdict.problem)) if verdict.problem else verdict

    def _retrying(self, url: str, tally: _Tally) -> tenacity.Retrying:
        """The loop around the attempts of one call; it ends with the last attempt and never with an exception of its
        own.
        """

        def out_of_patience(state: tenacity.RetryCallState) -> bool:
            if tally.calls >= self._settings.max_attempts:
                tally.gave_up = (
                    f"; gave up after {tally.calls} calls (coingecko.max_attempts)" if tally.calls > 1 else ""
                )
            elif tally.waited_seconds + state.upcoming_sleep > self._settings.max_wait_seconds:
                limit = f"coingecko.max_wait_seconds ({self._settings.max_wait_seconds:g})"
                tally.gave_up = f"; gave up, since the next wait of {state.upcoming_sleep:.0f} s would exceed {limit}"
            else:
                return False
            return True

        def before_sleep(state: tenacity.RetryCallState) -> None:
            tally.waited_seconds += state.upcoming_sleep
            problem = _last(state).verdict.problem
            _LOGGER.warning(
                "GET %s: %s; call %d of %d in %.1f s",
                url,
                problem,
                tally.calls + 1,
                self._settings.max_attempts,
                state.upcoming_sleep,
            )

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

    def _error(self, kind: type[ApiError], verdict: Verdict, url: str, tally: _Tally) -> ApiError:
        message = f"GET {url}: {verdict.problem}{tally.gave_up}."
        remedy = verdict.remedy.format(plan=self._settings.plan)
        return kind(message, remedy, verdict.status, verdict.code, verdict.retry_after, tally.calls, tally.throttled)

    def _redact(self, text: str) -> str:
        return redact(text, self._key.get_secret_value()) if self._key else text


def _last(state: tenacity.RetryCallState) -> _Attempt:
    """The outcome of the attempt that just ended; attempts return their failures and do not raise."""
    if state.outcome is None:
        raise RuntimeError("asked for an outcome before the first attempt")
    attempt: _Attempt = state.outcome.result()
    return attempt


def _coin_path(asset_id: str) -> str:
    """The path of one coin.

    Raises:
        ApiTerminalError: the id cannot be part of a path.
    """
    if not asset_id.strip("."):
        raise ApiTerminalError(f"{asset_id!r} is not an asset id.", "Remove it from the assets that are asked for.")
    return f"/coins/{quote(asset_id, safe='')}"


def _text(value: Parameter) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    return str(value) if isinstance(value, str | int) else ",".join(value or ())
