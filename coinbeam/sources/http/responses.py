"""What an HTTP answer really is, decided from its shape before anything parses it. Pure: no network, clock or key."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import orjson

from coinbeam.sources.http.errors import Api, ApiError, ApiTerminalError, ApiTransientError, ThrottledError

_EXCERPT_LENGTH = 160
_MARKUP_SCAN_LENGTH = 20_000
_TAG = re.compile(r"<[^>]*>")
_CLOUDFLARE_CODE = re.compile(r"\berror(?: code)?\s*:?\s*(1\d{3})\b", re.IGNORECASE)
_THROTTLE_WORDS = re.compile(r"\bthrottled\b|\brate limit|\btoo many requests\b", re.IGNORECASE)
_BLOCK_WORDS = re.compile(
    r"attention required! \| cloudflare|you have been (?:blocked|banned)|\b(?:ip|address) (?:address )?"
    r"(?:has been |is |was )?(?:banned|blocked)\b",
    re.IGNORECASE,
)
_SECONDS = re.compile(r"\d+(?:\.\d+)?")


@dataclass(frozen=True)
class Verdict:
    """What an answer is. Neither ``kind`` nor ``problem``: good. ``problem`` alone: a malformed page. Both: a refusal.

    Attributes:
        kind: the error class of a refusal, which decides whether the call is tried again.
        problem: what is wrong, with a short excerpt of the body; ``remedy`` says what to do about a refusal.
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
    api: Api, status: int, headers: Mapping[str, str], body: bytes, now: datetime, cut_short: str | None = None
) -> Verdict:
    """Decide what an answer is.

    The status is not believed alone: a 200 may carry the body of a 429, an HTML page, or half of a page of data. Errors
    win over malformed bodies, since a malformed page may be set aside and a refusal may not.

    Args:
        headers: names in any case.
        body: the body after transfer decoding.
        now: the moment of the answer, aware, to read a ``Retry-After`` date.
        cut_short: how the transport ended too early, when it did.
    """
    lowered = {name.lower(): value for name, value in headers.items()}
    # A wait that is counted from the Date of the answer does not depend on a wrong clock here.
    wait = retry_after_seconds(lowered.get("retry-after"), _http_date(lowered.get("date", "")) or now)
    if 300 <= status < 400:
        problem = f"HTTP {status}, a redirect, which is never followed with a key"
        return Verdict(ApiTerminalError, problem, api.refusal(status).remedy, status, None, wait)
    payload, text = _parse(body)
    if text is None:
        refused = _refused_json(api, status, payload)
        fits = isinstance(payload, list | dict)
        shape = None if fits else f"the body is a bare {type(payload).__name__}, not an array or an object"
    else:
        refused = _refused_text(api, status, text)
        shape = f"not JSON: {excerpt(text, api)!r}" if text.strip() else "the body is empty"
    if refused:
        number, code, said = refused
        known = number >= 400  # else a 200 with an error of no known code
        entry = api.refusal(number if known else 500)
        carried = f" with code {number}" if number not in (status, 503) else ""
        meaning = entry.meaning if known else "an error"
        problem = f"HTTP {status}{carried}, {meaning}: {excerpt(said, api)!r}"
        return Verdict(entry.kind if known else ApiTransientError, problem, entry.remedy, status, code, wait)
    flaw = cut_short or shape
    return Verdict(problem=flaw and f"HTTP {status}, {flaw}", status=status, retry_after=wait)


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


def _refused_json(api: Api, status: int, payload: Any) -> Refused | None:
    code, said = api.error_in(payload) if isinstance(payload, dict) else (None, None)
    if isinstance(payload, str) and _THROTTLE_WORDS.search(payload):
        code, said = 429, payload
    if status < 400 and code is None and said is None:
        return None
    said = said or excerpt(json.dumps(payload, ensure_ascii=False), api)
    return _decisive(api, status, code, said), code, said


def _refused_text(api: Api, status: int, text: str) -> Refused | None:
    """A refusal in plain text or HTML: Cloudflare's codes, a bare ``Throttled``, or any body of an HTTP error."""
    words = _TAG.sub(" ", text[:_MARKUP_SCAN_LENGTH])
    if found := _CLOUDFLARE_CODE.search(words):
        code = int(found.group(1))
        return _decisive(api, status, code, words), code, excerpt(words, api)
    markup = text.lstrip()[:1] == "<"
    if text.strip().lower() == "throttled" or (markup and _THROTTLE_WORDS.search(words)):
        return 429, None, excerpt(words, api)
    if (markup or status >= 400) and _BLOCK_WORDS.search(words):
        return 1020, None, excerpt(words, api)
    if status < 400:
        return None
    # Cloudflare answers 403 with its challenge page for a moment; a 404 in HTML is a wrong address and stays one.
    return (503 if status == 403 and markup else status), None, excerpt(words, api)


def _decisive(api: Api, status: int, code: int | None, said: str) -> int:
    """The number by which an error is judged: a code we know, else the HTTP status, else what the text says."""
    if code is not None and api.knows(code):
        return code
    if status >= 400:
        return status
    return 429 if _THROTTLE_WORDS.search(said) else code or status


def excerpt(text: str, api: Api) -> str:
    """The beginning of a text on one line, with anything that looks like a key of the API masked."""
    line = " ".join((api.key_shape.sub("***", text) if api.key_shape else text).split())
    return line if len(line) <= _EXCERPT_LENGTH else f"{line[:_EXCERPT_LENGTH]}..."


def retry_after_seconds(value: str | None, now: datetime) -> float | None:
    """Seconds to wait by a ``Retry-After`` header: seconds, or an HTTP date (RFC 9110, section 10.2.3).

    0 for a date in the past; ``None`` when there is no header or it cannot be read. ``now`` is the server's, aware.
    """
    if value is None:
        return None
    if seconds := _SECONDS.fullmatch(value.strip()):
        return float(seconds[0])  # `strip` knows more blanks than `float`
    moment = _http_date(value)
    return None if moment is None else max(0.0, (moment - now).total_seconds())


def _http_date(text: str) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text)
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
