"""What every call passes: its key and limit, the version that answers it, and the headers that tell which.

A plain ASGI layer, since each millisecond here is one of every call.
"""

import logging
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from datetime import timedelta
from functools import lru_cache
from typing import Any
from urllib.parse import parse_qsl, quote
from zlib import crc32

from limits import RateLimitItemPerMinute
from limits.storage import MemoryStorage
from limits.strategies import SlidingWindowCounterRateLimiter

from coinbeam.bundle.reader import Follower
from coinbeam.clock import Clock, format_instant
from coinbeam.contracts.instants import EPOCH
from coinbeam.settings import ServingSettings
from serving.api.answers import COINGECKO, Answer, Refusal, invalid, key_missing, key_wrong, rate_limited, unavailable
from serving.api.keys import KEY_HEADERS, KEY_PARAMETERS, PREFIX, Key, KeyRing
from serving.api.parameters import instant
from serving.api.view import View

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = list[tuple[bytes, bytes]]

access = logging.getLogger("coinbeam.api.access")

FREE = frozenset({"/", "/docs", "/redoc", "/docs/oauth2-redirect", "/openapi.json", "/health", "/ready"})
"""Paths that need neither a key nor a version."""

_AHEAD = timedelta(minutes=5)
"""Clocks differ: an instant so little after now is now."""

_KEY_NAMES = frozenset(KEY_PARAMETERS)
_HEADER_NAMES = frozenset(name.encode() for name in KEY_HEADERS)


class Gate:
    """Lets calls through to the application.

    Args:
        needs_key: whether a call without a key is refused.
    """

    def __init__(
        self,
        app: App,
        settings: ServingSettings,
        follower: Follower[View],
        ring: KeyRing,
        clock: Clock,
        *,
        needs_key: bool,
    ) -> None:
        self._app, self._settings, self._follower, self._ring, self._clock = app, settings, follower, ring, clock
        self._needs_key = needs_key
        self._calls: Counter[str] = Counter()
        self._limiter = SlidingWindowCounterRateLimiter(MemoryStorage())
        self._limit = lru_cache(maxsize=1_000)(RateLimitItemPerMinute)
        self._cache_control = f"private, max-age={max(1, round(settings.poll_seconds))}".encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one call."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        scope = dict(scope)  # what is changed for the routes is not changed for the server: it heeds HEAD itself
        call = _Call(scope, send)
        try:
            if call.path not in FREE:
                self._admit(scope, call)
            await self._app(scope, receive, call.send)
        except Refusal as refusal:
            await call.answer(refusal.answer(call.path))
        finally:
            call.log()

    def _admit(self, scope: Scope, call: "_Call") -> None:
        """Check what no route has to know, and give the route what every one needs.

        Raises:
            Refusal: the call may not pass, nothing is there to answer with, or the caller has the answer already.
        """
        query = dict(parse_qsl(scope["query_string"].decode("latin-1"), keep_blank_values=True))
        key = self._key(scope["headers"], query)
        call.key = key
        view = self._follower.view
        if view is None:
            raise unavailable("There is no serving bundle yet: it is made after the first run.")
        call.headers = list(view.headers)
        at = self._as_of(query)
        if at is None:
            self._refuse_stale(view)
        tag = f'"{view.version}-{_address(call, query):08x}"'.encode()
        if tag in _wanted(scope["headers"]):
            raise Refusal(304, "", ETag=tag.decode(), Cache_Control=self._cache_control.decode(), Vary="accept")
        self._count(key)
        call.on_success = [(b"etag", tag), (b"cache-control", self._cache_control), (b"vary", b"accept")]
        scope["state"] = {
            "view": view,
            "query": query,
            "as_of": at,
            "key": key,
            "calls": self._calls[key.key_id] if key else 0,
        }

    def _key(self, headers: Iterable[tuple[bytes, bytes]], query: dict[str, str]) -> Key | None:
        """The key of a call. Where none is needed, only what looks like one of ours is held to be one: the scripts of a
        laptop may send CoinGecko's.
        """
        given = next((value.decode("latin-1") for name, value in headers if name in _HEADER_NAMES), None)
        for name in _KEY_NAMES & query.keys():
            in_query = query.pop(name)
            given = given or in_query
        if not given:
            if self._needs_key:
                raise key_missing()
            return None
        found = self._ring.find(given)
        if found is None and (self._needs_key or given.startswith(PREFIX)):
            raise key_wrong()
        return found

    def _as_of(self, query: dict[str, str]) -> Any:
        text = query.get("as_of", "")
        if not text:
            return None
        at, now = instant(text.strip(), "as_of"), self._clock()
        if at > now + _AHEAD:
            raise invalid("as_of", f"it lies in the future; now is {format_instant(now.replace(microsecond=0))}")
        return max(at, EPOCH)  # nothing is older, and a week before the first instant of the calendar is none

    def _refuse_stale(self, view: View) -> None:
        limit = self._settings.stale_after_minutes
        if limit is None:
            return
        if view.newest is None or self._clock() - view.newest > timedelta(minutes=limit):
            since = format_instant(view.newest) if view.newest else "never"
            raise unavailable(f"The newest prices are too old: they were observed at {since}. as_of= still answers.")

    def _count(self, key: Key | None) -> None:
        """Count a call of a key against its limit; calls without a key have none, for they never left the machine."""
        if key is None:
            return
        self._calls[key.key_id] += 1
        limit = self._limit(key.calls_per_minute or self._settings.calls_per_minute)
        if not self._limiter.hit(limit, key.key_id):
            reset = self._limiter.get_window_stats(limit, key.key_id).reset_time
            raise rate_limited(max(1, round(reset - time.time())))


class _Call:
    """One call on its way out.

    Attributes:
        headers: of its answer, whatever that is; ``on_success`` only of a good one.
    """

    def __init__(self, scope: Scope, send: Send) -> None:
        # The real API does not mind a slash at the end. A redirection would name the host that the caller claims.
        if scope["path"].startswith(COINGECKO) and scope["path"].endswith("/"):
            scope["path"] = scope["path"][:-1]
        self.path: str = scope["path"]
        self.method: str = scope["method"]
        self.headers: Headers = []
        self.on_success: Headers = []
        self.key: Key | None = None
        self.accept: bytes = next((value for name, value in scope["headers"] if name == b"accept"), b"")
        self._send, self._started, self._status = send, time.perf_counter(), 0
        if self.method == "HEAD":
            scope["method"] = "GET"

    async def send(self, message: Message) -> None:
        """Pass a part of the answer on, with the headers of all answers; HEAD has no body."""
        if message["type"] == "http.response.start":
            self._status = message["status"]
            extra = self.headers + (self.on_success if self._status == 200 else [(b"cache-control", b"no-store")])
            message["headers"] = [*message["headers"], *extra]
        elif self.method == "HEAD":
            message = {**message, "body": b""}
        await self._send(message)

    async def answer(self, answer: Answer) -> None:
        """Send a whole answer."""
        headers = [(name.lower().encode(), value.encode()) for name, value in answer.headers.items()]
        if answer.status != 304:
            headers += [(b"content-type", answer.content_type.encode()), (b"content-length", b"%d" % len(answer.body))]
            headers += [(b"cache-control", b"no-store")]
        self._status = answer.status
        body = b"" if self.method == "HEAD" or answer.status == 304 else answer.body
        await self._send({"type": "http.response.start", "status": answer.status, "headers": [*headers, *self.headers]})
        await self._send({"type": "http.response.body", "body": body})

    def log(self) -> None:
        """One line, without the query: it may hold a key."""
        if access.isEnabledFor(logging.INFO):
            took = (time.perf_counter() - self._started) * 1_000
            key = self.key.key_id if self.key else "-"
            # Quoted, a path makes no line of its own; what follows a quoted question mark is a query as well.
            path = quote(self.path.partition("?")[0])
            access.info("%s %s %s %.1f ms key %s", self.method, path, self._status, took, key)


def _address(call: _Call, query: dict[str, str]) -> int:
    """What an answer depends on besides its version: path, query without its key, and the form that is accepted."""
    said = "&".join(f"{name}={value}" for name, value in sorted(query.items()))
    accept = b"" if call.path.startswith(COINGECKO) else call.accept
    return crc32(f"{call.path}?{said}#".encode("utf-8", "surrogateescape") + accept)


def _wanted(headers: Iterable[tuple[bytes, bytes]]) -> list[bytes]:
    """The tags that the caller has."""
    found = next((value for name, value in headers if name == b"if-none-match"), b"")
    return [tag.strip().removeprefix(b"W/") for tag in found.split(b",")] if found else []
