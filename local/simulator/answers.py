"""The error bodies of the real API. Sources: its error reference, captured bodies, and threads that quote them."""

from dataclasses import dataclass, field
from datetime import datetime

from local.simulator.rendering import to_json

JSON = "application/json; charset=utf-8"
HTML = "text/html; charset=UTF-8"
TEXT = "text/plain; charset=utf-8"


@dataclass(frozen=True)
class Answer:
    """A whole HTTP answer.

    Attributes:
        status: HTTP status.
        body: exact bytes.
        content_type: of the body.
        headers: further headers.
    """

    status: int
    body: bytes
    content_type: str = JSON
    headers: dict[str, str] = field(default_factory=dict)


RATE_LIMIT_MESSAGE = (
    "You've exceeded the Rate Limit. Please visit https://www.coingecko.com/en/api/pricing to subscribe to our API "
    "plans for higher "
    "rate limits."
)

CLOUDFLARE_PAGE = b"""<!DOCTYPE html>
<html lang="en-US">
<head><title>Just a moment...</title><meta charset="UTF-8"></head>
<body><h1>api.coingecko.com</h1><p>Checking if the site connection is secure</p><p>Performance &amp; security by Cloudflare</p></body>
</html>
"""  # noqa: E501 - the page as Cloudflare writes it


class ApiError(Exception):
    """An error answer of the simulated API.

    Args:
        answer: what the caller gets.
    """

    def __init__(self, answer: Answer) -> None:
        super().__init__(f"HTTP {answer.status}")
        self.answer = answer


def plain_error(status: int, message: str) -> Answer:
    """``{"error": message}``."""
    return Answer(status, to_json({"error": message}))


def missing_parameter(name: str) -> Answer:
    """422, as captured."""
    return plain_error(422, f"Missing parameter {name}")


def status_error(status: int, code: int, message: str, headers: dict[str, str] | None = None) -> Answer:
    """``{"status": {"error_code": ..., "error_message": ...}}``."""
    return Answer(status, to_json({"status": {"error_code": code, "error_message": message}}), headers=headers or {})


def rate_limited(retry_after: int) -> Answer:
    """429 with its wait in seconds."""
    return status_error(429, 429, RATE_LIMIT_MESSAGE, {"Retry-After": str(retry_after)})


def throttled_text(retry_after: int) -> Answer:
    """The 429 of the network's edge: plain text instead of JSON."""
    return Answer(429, b"Throttled", TEXT, {"Retry-After": str(retry_after)})


def error_in_200() -> Answer:
    """A success by its status that carries the body of a 429."""
    return Answer(200, rate_limited(0).body)


def server_error() -> Answer:
    """500, as captured."""
    return Answer(500, to_json({"status": 500, "error": "Internal Server Error"}))


def unavailable() -> Answer:
    """503."""
    return status_error(503, 503, "Service Unavailable")


def cloudflare_page() -> Answer:
    """200 with the waiting page of the content network."""
    return Answer(200, CLOUDFLARE_PAGE, HTML)


def beyond_history(now: datetime, limit_days: int) -> Answer:
    """401 for a history deeper than the plan's, with an error inside an error."""
    text = (
        "Your request exceeds the allowed time range. Public API users are limited to querying historical data "
        "within the past "
        f"{limit_days} days. Upgrade to a paid plan to enjoy full historical data access: "
        "https://www.coingecko.com/en/api/pricing. "
    )
    stamp = now.isoformat(timespec="milliseconds")
    return Answer(401, to_json({"error": {"status": {"timestamp": stamp, "error_code": 10012, "error_message": text}}}))


def key_missing() -> Answer:
    """401 for a call that needs a key."""
    return status_error(401, 10002, "API Key Missing. Please make sure you're using the right authentication method.")


def plan_too_small() -> Answer:
    """401 for an endpoint beyond the plan."""
    return status_error(
        401, 10005, "This request is limited to PRO API subscribers. Please subscribe to a plan to continue."
    )


def not_found(what: str) -> Answer:
    """404."""
    return plain_error(404, f"{what} not found")
