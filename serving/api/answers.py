"""Errors as those who called understand them: in CoinGecko's shapes below ``/api/v3``, as problem+json (RFC 9457)
elsewhere. Sources of the shapes: CoinGecko's error reference, and captured bodies.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import orjson
from rfc9457 import Problem

JSON = "application/json; charset=utf-8"
PROBLEM = "application/problem+json"

COINGECKO = "/api/v3"
"""Below this path the API is CoinGecko's."""

_TITLES = {
    304: "Not Modified",
    400: "Bad Request",
    401: "Unauthorized",
    403: "Forbidden",
    404: "Not Found",
    405: "Method Not Allowed",
    406: "Not Acceptable",
    422: "Unprocessable Content",
    429: "Too Many Requests",
    500: "Internal Server Error",
    503: "Service Unavailable",
}


@dataclass(frozen=True)
class Answer:
    """A whole answer.

    Attributes:
        headers: besides the type of the content and those that every answer has.
    """

    status: int
    body: bytes
    content_type: str = JSON
    headers: Mapping[str, str] = field(default_factory=dict)


class Refusal(Exception):
    """A call that gets an error.

    Attributes:
        code: CoinGecko's number of the error, for those that it numbers; None for most.
        headers: of the answer.
    """

    def __init__(self, status: int, message: str, code: int | None = None, **headers: str) -> None:
        super().__init__(message)
        self.status, self.message, self.code = status, message, code
        self.headers = {name.replace("_", "-"): value for name, value in headers.items()}

    def answer(self, path: str) -> Answer:
        """The answer to a call of a path."""
        if path.startswith(COINGECKO):
            body = {"error": self.message}
            numbered = {"status": {"error_code": self.code, "error_message": self.message}}
            return Answer(self.status, orjson.dumps(numbered if self.code else body), headers=self.headers)
        problem = Problem(_TITLES.get(self.status, "Error"), detail=self.message, status=self.status)
        return Answer(self.status, orjson.dumps(problem.marshal()), PROBLEM, self.headers)


def missing(name: str) -> Refusal:
    """A parameter is missing; as captured."""
    return Refusal(422, f"Missing parameter {name}")


def invalid(name: str, expected: str = "") -> Refusal:
    """A parameter has a value that it cannot have."""
    return Refusal(422, f"Invalid parameter {name}{': ' * bool(expected)}{expected}")


def unknown_coin() -> Refusal:
    """As captured."""
    return Refusal(404, "coin not found")


def not_held(what: str) -> Refusal:
    """Something that CoinGecko has and this warehouse does not."""
    return Refusal(404, f"{what} is not in this warehouse, and nothing is invented")


KEY_MISSING, KEY_WRONG = 10_002, 10_010
"""Codes of CoinGecko's reference."""


def key_missing() -> Refusal:
    """No key came with the call."""
    message = "API Key Missing. Please make sure you're using the right authentication method."
    return Refusal(401, message, KEY_MISSING)


def key_wrong() -> Refusal:
    """The key is none of ours, or was revoked."""
    return Refusal(401, "Invalid API Key: it is none of this service, or it was revoked.", KEY_WRONG)


def rate_limited(retry_after: int) -> Refusal:
    """The limit of the key is spent; in how many seconds a call passes again."""
    message = "You've exceeded the Rate Limit of your key. Wait, or ask for another limit."
    return Refusal(429, message, 429, Retry_After=str(retry_after))


def unavailable(reason: str, retry_after: int = 30) -> Refusal:
    """There is nothing to answer with now."""
    return Refusal(503, reason, 503, Retry_After=str(retry_after))
