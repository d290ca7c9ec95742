"""What the API can refuse, and what to do about each refusal."""

from dataclasses import dataclass

from coinbeam.errors import CoinbeamError, TerminalError, TransientError


class ApiError(CoinbeamError):
    """A call that gave no usable answer.

    Attributes:
        status: HTTP status, when there was an answer.
        code: CoinGecko's or Cloudflare's own code, when the body held one.
        retry_after: seconds that the server asked to wait, when it did.
        calls: attempts made, each of which the plan counts.
        throttled: how many of them were refused for their rate.
    """

    def __init__(
        self,
        message: str,
        remedy: str = "",
        status: int | None = None,
        code: int | None = None,
        retry_after: float | None = None,
        calls: int = 0,
        throttled: int = 0,
    ) -> None:
        super().__init__(message, remedy)
        self.status = status
        self.code = code
        self.retry_after = retry_after
        self.calls = calls
        self.throttled = throttled

    def __reduce__(self) -> tuple[type["ApiError"], tuple[object, ...]]:  # type: ignore[override]
        return type(self), (
            self.message,
            self.remedy,
            self.status,
            self.code,
            self.retry_after,
            self.calls,
            self.throttled,
        )


class ApiTerminalError(ApiError, TerminalError):
    """The same call will be refused again: a setting, the key or the plan has to change."""


class ApiTransientError(ApiError, TransientError):
    """The server or the network failed; the same call may succeed later."""


class ThrottledError(ApiTransientError):
    """Too many calls in too short a time."""


class UnreachableError(ApiTransientError):
    """No answer at all: no connection, or none in time."""


@dataclass(frozen=True)
class Refusal:
    """One entry of the table of refusals.

    Attributes:
        kind: the error class, which decides whether the call is tried again.
        meaning: what the code says.
        remedy: what to do; ``{plan}`` is the configured plan.
    """

    kind: type[ApiError]
    meaning: str
    remedy: str


_OUTAGE = "Try again later; status.coingecko.com tells of outages."
_BLOCKED = (
    "Cloudflare blocks this network: run from another address, or use a plan with a key. Trying again prolongs the "
    "block."
)
_SLOWER = (
    "Lower calls_per_minute of plan {plan!r}, run nothing else from this address, or choose a larger coingecko.plan."
)

REFUSALS: dict[int, Refusal] = {
    400: Refusal(ApiTerminalError, "bad request", "Check market.ids, market.category and market.quote_currency."),
    401: Refusal(
        ApiTerminalError,
        "not authorised",
        "Check COINGECKO_API_KEY and that coingecko.plan ({plan}) is the plan of that key.",
    ),
    403: Refusal(
        ApiTerminalError,
        "access blocked",
        "Check that this network may reach CoinGecko, and that coingecko.plan is not {plan} by mistake.",
    ),
    404: Refusal(
        ApiTerminalError,
        "not found",
        "CoinGecko drops ids over time: remove it from market.ids, or check market.category.",
    ),
    408: Refusal(ApiTransientError, "request timed out", "Check the speed of this network and try again."),
    422: Refusal(
        ApiTerminalError,
        "a parameter is missing or wrong",
        "Check market.quote_currency, market.ids and market.category.",
    ),
    429: Refusal(ThrottledError, "rate limit exceeded", _SLOWER),
    500: Refusal(ApiTransientError, "internal server error", _OUTAGE),
    502: Refusal(ApiTransientError, "bad gateway", _OUTAGE),
    503: Refusal(ApiTransientError, "service unavailable", _OUTAGE),
    504: Refusal(ApiTransientError, "gateway timeout", _OUTAGE),
    1006: Refusal(ApiTerminalError, "address banned by Cloudflare", _BLOCKED),
    1007: Refusal(ApiTerminalError, "address banned by Cloudflare", _BLOCKED),
    1008: Refusal(ApiTerminalError, "address banned by Cloudflare", _BLOCKED),
    1009: Refusal(ApiTerminalError, "country banned by Cloudflare", _BLOCKED),
    1010: Refusal(ApiTerminalError, "client banned by Cloudflare", _BLOCKED),
    1012: Refusal(ApiTerminalError, "access denied by Cloudflare", _BLOCKED),
    1015: Refusal(ThrottledError, "rate limit of Cloudflare exceeded", _SLOWER),
    1020: Refusal(ApiTerminalError, "blocked by a Cloudflare firewall rule", _BLOCKED),
    10002: Refusal(
        ApiTerminalError,
        "API key missing",
        "Set COINGECKO_API_KEY (or coingecko.api_key_secret) to the key of plan {plan!r}.",
    ),
    10005: Refusal(
        ApiTerminalError,
        "endpoint not in the plan",
        "Set coingecko.plan to the plan that you pay for, if it is not {plan!r}, or upgrade it.",
    ),
    10006: Refusal(
        ApiTerminalError,
        "monthly credits used up",
        "Wait for the first of the month, or upgrade the plan and set coingecko.plan (now {plan!r}).",
    ),
    10010: Refusal(
        ApiTerminalError,
        "a pro key on the public host, or an invalid key",
        "Set coingecko.plan to the paid plan of this key (basic or analyst, not {plan}), or set COINGECKO_API_KEY to "
        "a demo key.",
    ),
    10011: Refusal(
        ApiTerminalError,
        "a demo key on the pro host, or an invalid key",
        "Set coingecko.plan to demo (it is {plan}), or set COINGECKO_API_KEY to the key of plan {plan}.",
    ),
    10012: Refusal(
        ApiTerminalError,
        "beyond the history that the plan covers",
        "Ask for a later date, lower history_days of plan {plan!r}, or choose a larger coingecko.plan.",
    ),
}
"""By HTTP status, Cloudflare code (1xxx) or CoinGecko code (100xx).

Sources: https://docs.coingecko.com/docs/errors-and-rate-limits; 10006 and 10012 as seen in answers; Cloudflare's list
of 1xxx errors.
"""


def refusal(number: int) -> Refusal:
    """The entry of a code or HTTP status; unknown ones by their class: 5xx are transient, everything else is
    terminal.
    """
    if number in REFUSALS:
        return REFUSALS[number]
    if 500 <= number < 600:  # Cloudflare adds 520 to 530
        return Refusal(ApiTransientError, "server error", _OUTAGE)
    if number >= 10_000:
        return Refusal(
            ApiTerminalError,
            "refused",
            "Check COINGECKO_API_KEY and coingecko.plan ({plan}) on the CoinGecko developer dashboard.",
        )
    return Refusal(ApiTerminalError, "refused", "Check coingecko.plan ({plan}) and the base_url of that plan.")
