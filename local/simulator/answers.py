"""The error bodies of the real API. Sources: its error reference, captured bodies, and threads that quote them."""

from dataclasses import dataclass, field
from datetime import datetime

from local.simulator.rendering import to_json

JSON = "application/json; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer: its exact bytes, and the headers besides the type of the content."""

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


RATE_LIMIT_MESSAGE = (
    "You've exceeded the Rate Limit. Please visit https://www.coingecko.com/en/api/pricing to subscribe to our API "
    "plans for higher rate limits."
)

CLOUDFLARE_PAGE = Answer(
    200,
    b"""<!DOCTYPE html>
<html lang="en-US">
<head><title>Just a moment...</title><meta charset="UTF-8"></head>
<body><h1>api.coingecko.com</h1><p>Checking if the site connection is secure</p><p>Performance &amp; security by Cloudflare</p></body>
</html>
""",  # noqa: E501 - the page as Cloudflare writes it
    "text/html; charset=UTF-8",
)
"""The waiting page of the content network."""


class ApiError(Exception):
    """An error of the simulated API, with the answer that the caller gets."""

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"HTTP {answer.status}")
        self.answer = answer


def plain_error(status: int, message: str) -> Answer:
    """``{"error": message}``."""
    return Answer(status, to_json({"error": message}))


def status_error(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    """``{"status": {"error_code": ..., "error_message": ...}}``."""
    return Answer(status, to_json({"status": {"error_code": code, "error_message": message}}), headers=headers or {})


def rate_limited(retry_after: int) -> Answer:
    """429 with its wait in seconds."""
    return status_error(429, 429, RATE_LIMIT_MESSAGE, {"Retry-After": str(retry_after)})


def throttled_text(retry_after: int) -> Answer:
    """The 429 of the network's edge: plain text instead of JSON."""
    return Answer(429, b"Throttled", "text/plain; charset=utf-8", {"Retry-After": str(retry_after)})


def beyond_history(now: datetime, limit_days: int) -> Answer:
    """401 for a history deeper than the plan's, with an error inside an error."""
    text = (
        "Your request exceeds the allowed time range. Public API users are limited to querying historical data "
        f"within the past {limit_days} days. Upgrade to a paid plan to enjoy full historical data access: "
        "https://www.coingecko.com/en/api/pricing. "
    )
    stamp = now.isoformat(timespec="milliseconds")
    return Answer(401, to_json({"error": {"status": {"timestamp": stamp, "error_code": 10012, "error_message": text}}}))


SERVER_ERROR = Answer(500, to_json({"status": 500, "error": "Internal Server Error"}))
"""As captured."""

UNAVAILABLE = status_error(503, 503, "Service Unavailable")

ERROR_IN_200 = Answer(200, rate_limited(0).body)
"""A success by its status that carries the body of a 429."""

KEY_MISSING = status_error(
    401, 10002, "API Key Missing. Please make sure you're using the right authentication method."
)
