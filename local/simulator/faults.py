"""Faults on order: which call fails, how, and which rows are corrupt; set by seed and request, never by time."""

from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from local.simulator import answers
from local.simulator.answers import Answer
from local.simulator.noise import text_hash
from local.simulator.rendering import Row, to_json


class Profile(StrEnum):
    """What goes wrong. Unless said otherwise a fault is transient: the same request succeeds when it is made again."""

    NONE = "none"
    THROTTLE = "throttle"
    """429 with Retry-After, sometimes as plain text."""
    SERVER_ERROR = "server_error"
    """500."""
    UNAVAILABLE = "unavailable"
    """503."""
    HTML = "html"
    """200 with an HTML page."""
    TRUNCATED = "truncated"
    """200 with JSON that ends in the middle, by Content-Length or by chunks."""
    SLOW = "slow"
    """The second half of the body comes late."""
    SHIFTING_PAGES = "shifting_pages"
    """Persistent: coins change place while pages are walked."""
    ERROR_IN_200 = "error_in_200"
    """200 with the body of a 429."""
    HTML_PERSISTENT = "html_persistent"
    """Persistent: one page of /coins/markets is always HTML."""
    SHORT_PAGE = "short_page"
    """Persistent: one page of /coins/markets has two thirds of its rows; the next one goes on as if it were full."""
    PAGE_CAP = "page_cap"
    """Persistent: at most ``cap`` rows a page, whatever is asked for; the pages step by that."""
    EMPTY_PAGE = "empty_page"
    """One page of /coins/markets is empty, once."""
    CORRUPT_ROWS = "corrupt_rows"
    """Persistent: a handful of rows, one for every kind of corruption."""
    MANY_CORRUPT_ROWS = "many_corrupt_rows"
    """Persistent: about 8 % of all rows."""
    DOWN = "down"
    """Persistent: every call is 503, /ping too."""


class FaultOrder(BaseModel):
    """What ``POST /_control/faults`` takes.

    Attributes:
        profile: what goes wrong.
        seed: which requests and rows are hit.
        limit: at most so many faults (corrupt rows, for the profiles of rows); None for no limit.
        retry_after: seconds in the Retry-After of ``throttle``.
        delay_seconds: how long ``slow`` waits in the middle of a body.
        page: the page that ``html_persistent``, ``short_page`` and ``empty_page`` spoil.
        cap: most rows of a page with ``page_cap``.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    profile: Profile = Profile.NONE
    seed: int = 1
    limit: Annotated[int, Field(ge=0)] | None = None
    retry_after: Annotated[int, Field(ge=0, le=3600)] = 1
    delay_seconds: Annotated[float, Field(ge=0, le=60)] = 2.0
    page: Annotated[int, Field(ge=1)] = 2
    cap: Annotated[int, Field(ge=1, le=250)] = 100


@dataclass(frozen=True)
class Truncation:
    """Send only a part of the body.

    Attributes:
        share: part of the bytes that is sent.
        chunked: end it by an empty chunk instead of by Content-Length; both look complete to HTTP.
    """

    share: float
    chunked: bool


@dataclass(frozen=True)
class Delay:
    """Send the second half of the body after ``seconds``."""

    seconds: float


Fault = Answer | Truncation | Delay

_SHARE = 8
"""One request in so many is hit, and always the first page of /coins/markets: a short run meets its profile too."""

MANY_SHARE = 0.08

INFINITY_TOKEN = "__Infinity__"
HUGE_INTEGER_TOKEN = "__2**70__"
_TOKENS = {INFINITY_TOKEN: b"Infinity", HUGE_INTEGER_TOKEN: str(2**70).encode()}

FUTURE = "2099-01-01T00:00:00.000Z"

Corruption = Callable[[Row], None]


def _set(**cells: Any) -> Corruption:
    return lambda row: row.update(cells)


CORRUPTIONS: dict[str, Corruption] = {
    "string_in_number": lambda row: row.update(current_price=str(row["current_price"])),
    "negative_price": lambda row: row.update(current_price=-abs(row["current_price"])),
    "null_id": _set(id=None),
    "future_last_updated": _set(last_updated=FUTURE),
    "bool_as_number": _set(current_price=True),
    "missing_field": lambda row: row.pop("last_updated"),
    "infinity": _set(current_price=INFINITY_TOKEN),
    "integer_above_64_bits": _set(market_cap_rank=HUGE_INTEGER_TOKEN),
    "huge_supply": _set(total_supply=HUGE_INTEGER_TOKEN),
    "unknown_field": _set(moon_phase="waxing"),
}
"""Kinds of corruption by name. The last two are odd but legal, so that a loader must keep them: a number beyond 64 bits
where a double belongs, a field nobody knows.
"""

_COMMON_KINDS = ("string_in_number", "negative_price", "null_id", "future_last_updated", "bool_as_number")
"""Kinds that ``many_corrupt_rows`` spreads: each spoils its row and leaves the page readable."""


class FaultInjector:
    """Decides for each request whether and how it goes wrong; counts what it did."""

    def __init__(self, order: FaultOrder) -> None:
        self.order = order
        self.sent: Counter[str] = Counter()
        self._failed: set[str] = set()

    def fault_for(self, path: str, query: Sequence[tuple[str, str]]) -> Fault | None:
        """The fault of one call, if it is to have one; its path is below the API's base, as ``/coins/markets``."""
        is_spent = self.order.limit is not None and self.sent[self.order.profile] >= self.order.limit
        if is_spent or not self._is_hit(path, query):
            return None
        self.sent[self.order.profile] += 1
        return self._fault(text_hash(self.order.seed, "form", _request_key(path, query)))

    def page_shift(self, by_id: bool, page: int) -> int:
        """By how many places the window of a page has moved when it is asked for.

        Sorted by market cap, coins go up and down: rows repeat and get lost. Sorted by id, coins are only inserted:
        rows repeat, and the last ones move on to a later page.
        """
        if self.order.profile is not Profile.SHIFTING_PAGES or page == 1:
            return 0
        self.sent[self.order.profile] += 1
        if by_id:
            return -min(3, sum(text_hash(self.order.seed, "insert", str(n)) % 4 == 0 for n in range(2, page)) + 1)
        return text_hash(self.order.seed, "shift", str(page)) % 7 - 3

    def page_size(self, asked: int) -> int:
        """How many rows a page has when so many are asked for."""
        if self.order.profile is not Profile.PAGE_CAP or asked <= self.order.cap:
            return asked
        self.sent[self.order.profile] += 1
        return self.order.cap

    def rows_kept(self, page: int, rows: int) -> int:
        """How many rows of a page are sent."""
        profile, is_spent = self.order.profile, self.sent[self.order.profile] >= (self.order.limit or 1)
        if page != self.order.page or rows == 0 or (profile is Profile.EMPTY_PAGE and is_spent):
            return rows
        kept = {Profile.SHORT_PAGE: rows * 2 // 3, Profile.EMPTY_PAGE: 0}.get(profile, rows)
        self.sent[profile] += int(kept < rows)
        return kept

    def corrupt_kinds(self, ids: Sequence[str]) -> dict[str, str]:
        """Kind of corruption by id, given all coins that have a price: one without cannot show most corruptions."""
        if self.order.profile is Profile.CORRUPT_ROWS:
            chosen = sorted(ids, key=self._luck)[: len(CORRUPTIONS)]
            kinds = dict(zip(chosen, CORRUPTIONS, strict=False))
        elif self.order.profile is Profile.MANY_CORRUPT_ROWS:
            chosen = [coin for coin in ids if self._luck(coin) < MANY_SHARE * 2**64]
            kinds = {coin: _COMMON_KINDS[n % len(_COMMON_KINDS)] for n, coin in enumerate(chosen)}
        else:
            kinds = {}
        return dict(list(kinds.items())[: self.order.limit])

    def corrupt(self, page: list[Row], kinds: dict[str, str]) -> None:
        """Spoil the rows of a page in place."""
        for row in page:
            if (kind := kinds.get(row["id"])) is not None:
                CORRUPTIONS[kind](row)
                self.sent[self.order.profile] += 1

    def _luck(self, coin: str) -> int:
        return text_hash(self.order.seed, "corrupt", coin)

    def _is_hit(self, path: str, query: Sequence[tuple[str, str]]) -> bool:
        match self.order.profile:
            case Profile.NONE | Profile.SHIFTING_PAGES | Profile.CORRUPT_ROWS | Profile.MANY_CORRUPT_ROWS:
                return False
            case Profile.SHORT_PAGE | Profile.PAGE_CAP | Profile.EMPTY_PAGE:
                return False
            case Profile.DOWN:
                return True
            case Profile.HTML_PERSISTENT:
                return path == "/coins/markets" and ("page", str(self.order.page)) in query
        return path != "/ping" and self._is_first_failure(path, query)

    def _is_first_failure(self, path: str, query: Sequence[tuple[str, str]]) -> bool:
        """True once for a request that the seed chose."""
        key = _request_key(path, query)
        first_page = path == "/coins/markets" and dict(query).get("page", "1") == "1"
        if key in self._failed or not (first_page or text_hash(self.order.seed, "hit", key) % _SHARE == 0):
            return False
        self._failed.add(key)
        return True

    def _fault(self, bits: int) -> Fault:
        match self.order.profile:
            case Profile.THROTTLE:
                throttled = answers.throttled_text if bits % 3 == 0 else answers.rate_limited
                return throttled(self.order.retry_after)
            case Profile.SERVER_ERROR:
                return answers.SERVER_ERROR
            case Profile.HTML | Profile.HTML_PERSISTENT:
                return answers.CLOUDFLARE_PAGE
            case Profile.ERROR_IN_200:
                return answers.ERROR_IN_200
            case Profile.TRUNCATED:
                return Truncation(share=0.1 + bits % 80 / 100, chunked=bits // 128 % 2 == 0)
            case Profile.SLOW:
                return Delay(self.order.delay_seconds)
        return answers.UNAVAILABLE


def page_bytes(page: list[Row]) -> bytes:
    """A page as JSON, with the tokens that no JSON library writes put in by hand."""
    body = to_json(page)
    for token, raw in _TOKENS.items():
        body = body.replace(f'"{token}"'.encode(), raw)
    return body


def _request_key(path: str, query: Sequence[tuple[str, str]]) -> str:
    return f"{path}?{'&'.join('='.join(pair) for pair in sorted(query))}"
