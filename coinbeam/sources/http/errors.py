"""What an API can refuse, and what to do about each refusal."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from coinbeam.errors import CoinbeamError, TerminalError, TransientError


class ApiError(CoinbeamError):
    """A call that gave no usable answer.

    Attributes:
        status: HTTP status, when there was an answer.
        code: the API's or Cloudflare's own code, when the body held one.
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
        self.status, self.code, self.retry_after = status, code, retry_after
        self.calls, self.throttled = calls, throttled

    def __reduce__(self) -> tuple[type["ApiError"], tuple[object, ...]]:  # type: ignore[override]
        kept = self.status, self.code, self.retry_after, self.calls, self.throttled
        return type(self), (self.message, self.remedy, *kept)


class ApiTerminalError(ApiError, TerminalError):
    """The same call will be refused again: a setting, the key or the plan has to change."""


class ApiTransientError(ApiError, TransientError):
    """The server or the network failed; the same call may succeed later."""


class ThrottledError(ApiTransientError):
    """Too many calls in too short a time."""


class UnreachableError(ApiTransientError):
    """No answer at all: no connection, or none in time."""


Meaning = tuple[type[ApiError], str]
"""The error class of a refusal, which decides whether the call is tried again, and what the number says."""

MEANINGS: dict[int, Meaning] = {
    400: (ApiTerminalError, "bad request"),
    401: (ApiTerminalError, "not authorised"),
    402: (ApiTerminalError, "payment required: the plan does not cover this call, or is used up"),
    403: (ApiTerminalError, "access blocked"),
    404: (ApiTerminalError, "not found"),
    407: (ApiTerminalError, "the proxy asks for a login"),
    408: (ApiTransientError, "request timed out"),
    413: (ApiTerminalError, "request too large"),
    414: (ApiTerminalError, "URL too long"),
    422: (ApiTerminalError, "a parameter is missing or wrong"),
    429: (ThrottledError, "rate limit exceeded"),
    431: (ApiTerminalError, "request headers too large"),
    451: (ApiTerminalError, "not available here for legal reasons"),
    500: (ApiTransientError, "internal server error"),
    502: (ApiTransientError, "bad gateway"),
    503: (ApiTransientError, "service unavailable"),
    504: (ApiTransientError, "gateway timeout"),
    511: (ApiTerminalError, "this network asks for a login"),
    **dict.fromkeys((1006, 1007, 1008), (ApiTerminalError, "address banned by Cloudflare")),
    1009: (ApiTerminalError, "country banned by Cloudflare"),
    1010: (ApiTerminalError, "client banned by Cloudflare"),
    1012: (ApiTerminalError, "access denied by Cloudflare"),
    1015: (ThrottledError, "rate limit of Cloudflare exceeded"),
    1020: (ApiTerminalError, "blocked by a Cloudflare firewall rule"),
}
"""By HTTP status or Cloudflare code (1xxx), the same for every API. Source: Cloudflare's list of 1xxx errors."""

_PORTAL = "Sign in to this network (a captive portal or a proxy answers in place of the API), or check the base_url."
_SHORTER = "Lower per_page, or ask for fewer ids at once."
REMEDIES: dict[int, str] = {
    **dict.fromkeys((301, 302, 303, 307, 308, 511), _PORTAL),
    407: "Give the login of the proxy in HTTPS_PROXY or HTTP_PROXY, or exempt the host with NO_PROXY.",
    **dict.fromkeys((413, 414), _SHORTER),
    431: "Check the length of the API key, and that no proxy adds headers.",
    451: "Run from a network where the API may be reached.",
}
"""What to do about a status, the same for every API; the API's own remedy wins."""


@dataclass(frozen=True)
class Refusal:
    """What a number means: error class, meaning, and what to do."""

    kind: type[ApiError]
    meaning: str
    remedy: str


def message_in(payload: Mapping[str, Any]) -> tuple[int | None, str | None]:
    """Code and text of the error that an object carries as ``{"error": text}``; ``(None, None)`` for data."""
    said = payload.get("error")
    return None, said if isinstance(said, str) and said else None


@dataclass(frozen=True)
class Api:
    """What sets one API apart for the client.

    Attributes:
        remedy: what to do where ``remedies`` has no entry.
        remedies: what to do, by HTTP status, Cloudflare code or code of its own; 500 serves every 5xx, 10,000 every
            unknown code of its own.
        codes: its own codes in bodies.
        key_header: the header that carries its key; None for a keyless API.
        key_shape: a form that its keys have, masked in every excerpt.
        error_in: code and text of the error that a JSON object carries, or ``(None, None)``.
    """

    remedy: str
    remedies: Mapping[int, str] = field(default_factory=dict)
    codes: Mapping[int, Meaning] = field(default_factory=dict)
    key_header: str | None = None
    key_shape: re.Pattern[str] | None = None
    error_in: Callable[[dict[str, Any]], tuple[int | None, str | None]] = message_in

    def knows(self, number: int) -> bool:
        """Whether a number has a meaning of its own; every number from 10,000 is one of the API."""
        return number in MEANINGS or number in self.codes or number >= 10_000 or 500 <= number < 600

    def refusal(self, number: int) -> Refusal:
        """The meaning of a status or code. Unknown ones by their class: 5xx are transient, the rest is terminal."""
        server = 500 <= number < 600  # Cloudflare adds 520 to 530
        unknown = (ApiTransientError, "server error") if server else (ApiTerminalError, "refused")
        kind, meaning = self.codes.get(number) or MEANINGS.get(number, unknown)
        family = 500 if server else 10_000 if number >= 10_000 else None
        remedy = self.remedies.get(number) or REMEDIES.get(number)
        remedy = remedy or (self.remedies.get(family) if family else None)
        return Refusal(kind, meaning, remedy or self.remedy)
