"""What an HTTP answer really is, decided from its shape before anything parses it. Pure: no network, no clock, no
key.
"""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from coinbeam.sources.http.errors import ApiError, ApiTerminalError, ApiTransientError, ThrottledError, refusal

_EXCERPT_LENGTH = 160
_MARKUP_SCAN_LENGTH = 20_000
_KEY_SHAPE = re.compile(r"CG-\w+")
_TAG = re.compile(r"<[^>]*>")
_CLOUDFLARE_CODE = re.compile(r"\berror(?: code)?\s*:?\s*(1\d{3})\b", re.IGNORECASE)
_THROTTLE_WORDS = re.compile(r"\bthrottled\b|\brate limit|\btoo many requests\b", re.IGNORECASE)
_BLOCK_WORDS = re.compile(r"attention required! \| cloudflare|you have been blocked", re.IGNORECASE)
_SECONDS = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Verdict:
    """What an answer is. Neither ``kind`` nor ``problem``: good. ``problem`` alone: a malformed page. Both: a refusal.

    Attributes:
        kind: the error class of a refusal, which decides whether the call is tried again.
        problem: what is wrong, with a short excerpt of the body.
        remedy: what to do about a refusal; ``{plan}`` stands for the configured plan.
        status: HTTP status.
        code: the code in the body, when there is one.
        retry_after: seconds that the server asks to wait, when it does.
    """

    kind: type[ApiError] | None = None
    problem: str | None = None
    remedy: str = ""
    status: int | None = None
    code: int | None = None
    retry_after: float | None = None

    @property
    def well_formed(self) -> bool:
        """True for an answer that holds data."""
        return self.problem is None

    @property
    def throttled(self) -> bool:
        """True for a refusal because of the rate of calls."""
        return self.kind is not None and issubclass(self.kind, ThrottledError)

    @property
    def retryable(self) -> bool:
        """True when the same call may end better: transient refusals, and malformed bodies."""
        return self.problem is not None and (self.kind is None or issubclass(self.kind, ApiTransientError))


def inspect(
    status: int, headers: Mapping[str, str], body: bytes, now: datetime, cut_short: str | None = None
) -> Verdict:
    """Decide what an answer is.

    The status is not believed alone: a 200 may carry the body of a 429, an HTML page, or half of a page of data. Errors
    win over malformed bodies, since a malformed page may be set aside and a refusal may not.

    Args:
        status: HTTP status.
        headers: HTTP headers, names in any case.
        body: the body after transfer decoding.
        now: the moment of the answer, aware, to read a ``Retry-After`` date.
        cut_short: how the transport ended too early, when it did.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    wait = retry_after_seconds(lowered.get("retry-after"), _server_time(lowered) or now)
    if 300 <= status < 400:
        return Verdict(
            ApiTerminalError,
            f"HTTP {status}, a redirect, which is never followed with a key",
            refusal(status).remedy,
            status,
            None,
            wait,
        )
    payload, text = _parse(body)
    if text is None:
        refused = _refused_json(status, payload)
        shape = (
            None
            if isinstance(payload, list | dict)
            else f"the body is a bare {type(payload).__name__}, not an array or an object"
        )
    else:
        refused = _refused_text(status, text)
        shape = f"not JSON: {excerpt(text)!r}" if text.strip() else "the body is empty"
    if refused:
        number, code, said = refused
        entry = refusal(number) if number >= 400 else None  # a 200 with an error of no known code
        kind, remedy = (entry.kind, entry.remedy) if entry else (ApiTransientError, refusal(500).remedy)
        return Verdict(
            kind, _describe(status, number, entry.meaning if entry else "an error", said), remedy, status, code, wait
        )
    problem = cut_short or shape
    return Verdict(problem=problem and f"HTTP {status}, {problem}", status=status, retry_after=wait)


def _parse(body: bytes) -> tuple[Any, str | None]:
    """The parsed body and ``None``, or ``None`` and the text of a body that is not JSON.

    The standard parser is the second try, as in the pipeline: it takes NaN and Infinity, which cost one row there and
    not the page.
    """
    try:
        return orjson.loads(body), None
    except orjson.JSONDecodeError:
        pass
    try:
        return json.loads(body), None
    except (ValueError, RecursionError):
        return None, body.decode("utf-8", errors="replace")


Refused = tuple[int, int | None, str]
"""The number that decides (code or status), the code in the body, and what the body says."""


def _refused_json(status: int, payload: Any) -> Refused | None:
    code, said = _error_in(payload) if isinstance(payload, dict) else (None, None)
    if isinstance(payload, str) and _THROTTLE_WORDS.search(payload):
        code, said = 429, payload
    if status < 400 and code is None and said is None:
        return None
    said = said or excerpt(json.dumps(payload, ensure_ascii=False))
    return _decisive(status, code, said), code, said


def _error_in(payload: dict[str, Any]) -> tuple[int | None, str | None]:
    """Code and text of the error that an object carries, in any of the forms that CoinGecko uses; ``(None, None)`` for
    data.

    ``{"error": text}``, ``{"status": 500, "error": text}``, ``{"status": {"error_code", "error_message"}}``,
    ``{"error": {"status": {...}}}`` and ``{"error_code", "status": {"error_message"}}``.
    """
    code: int | None = None
    said: str | None = None
    level: Any = payload
    while isinstance(level, dict):
        error, status = level.get("error"), level.get("status")
        code = next((c for c in (code, level.get("error_code"), status) if _is_code(c)), None)
        said = next((s for s in (said, level.get("error_message"), error) if isinstance(s, str) and s), None)
        level = error if isinstance(error, dict) else status
    return code, said


def _is_code(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 400


def _refused_text(status: int, text: str) -> Refused | None:
    """A refusal in plain text or HTML: Cloudflare's codes, CoinGecko's ``Throttled``, or any body of an HTTP error."""
    words = _TAG.sub(" ", text[:_MARKUP_SCAN_LENGTH])
    if found := _CLOUDFLARE_CODE.search(words):
        code = int(found.group(1))
        return _decisive(status, code, words), code, excerpt(words)
    markup = text.lstrip()[:1] == "<"
    if text.strip().lower() == "throttled" or (markup and _THROTTLE_WORDS.search(words)):
        return 429, None, excerpt(words)
    if _BLOCK_WORDS.search(words):
        return 1020, None, excerpt(words)
    if status < 400:
        return None
    # Cloudflare answers 403 with its challenge page for a moment; a 404 in HTML is a wrong address and stays one.
    return (503 if status == 403 and markup else status), None, excerpt(words)


def _decisive(status: int, code: int | None, said: str) -> int:
    """The number by which an error is judged: a code we know, else the HTTP status, else what the text says."""
    if code is not None and (refusal(code).meaning != "refused" or code >= 10_000):
        return code
    if status >= 400:
        return status
    return 429 if _THROTTLE_WORDS.search(said) else code or status


def _describe(status: int, number: int, meaning: str, said: str) -> str:
    carried = f" with code {number}" if number not in (status, 503) else ""
    return f"HTTP {status}{carried}, {meaning}: {excerpt(said)!r}"


def excerpt(text: str) -> str:
    """The beginning of a text on one line, with anything that looks like a CoinGecko key masked."""
    line = " ".join(_KEY_SHAPE.sub("CG-***", text).split())
    return line if len(line) <= _EXCERPT_LENGTH else f"{line[:_EXCERPT_LENGTH]}..."


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a ``Retry-After`` header: seconds, or an HTTP date (RFC 9110, section 10.2.3).

    Args:
        value: the header, or ``None``.
        now: the present by the server's clock, aware.

    Returns:
        Seconds, 0 for a date in the past; ``None`` when there is no header or it cannot be read.
    """
    if value is None:
        return None
    if seconds := _SECONDS.fullmatch(value.strip()):
        return float(seconds[0])  # `strip` knows more blanks than `float`
    moment = _http_date(value)
    return None if moment is None else max(0.0, (moment - now).total_seconds())


def _server_time(lowered: Mapping[str, str]) -> datetime | None:
    """The ``Date`` of the answer: a wait counted from it does not depend on a wrong clock here."""
    return _http_date(lowered["date"]) if "date" in lowered else None


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
