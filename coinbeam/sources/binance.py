"""Binance's spot market: where it answers, what its frames and rows hold, and a client of its REST API.

The rule for frames: an aggregate trade of a symbol that is followed, with an id and a time that can be true and all
that the pipeline reads of it, is passed on as the exact bytes of its ``data`` object. Everything else is unreadable and
is passed on as it came, so that the pipeline makes a dead letter of it. Nothing is made up: the id of an unreadable
trade stays unseen, and REST is asked for it.
"""

import re
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any, Literal, NamedTuple, TypeGuard, Unpack
from urllib.parse import urlsplit

import orjson

from coinbeam.errors import SettingsError
from coinbeam.settings import MarketSource, PatienceSettings, Settings
from coinbeam.sources.aggregate_trade import AHEAD, LARGEST_ID, TRADE, wrong_field
from coinbeam.sources.choose import banner, reason_within
from coinbeam.sources.http.client import HttpClient, Parameter, Wiring
from coinbeam.sources.http.errors import Api, ApiError, ApiTransientError, ThrottledError
from coinbeam.sources.rate import RateLimiter
from coinbeam.sources.registry import BINANCE

LARGEST_ANSWER = 1_000
"""Most rows of an answer of ``/aggTrades``. Source: Binance's reference of the spot REST API."""

STREAMS_PER_CONNECTION = 1_024
"""Most streams of one connection. Source: Binance's reference of the spot streams."""

LONGEST_LINE = 64 * 1_024
"""A frame that is longer is no trade, and only so much of it is passed on; a trade has 170 bytes."""

_TRADE_WEIGHT, _INFO_WEIGHT = 4, 20
_LATEST = AHEAD - timedelta(seconds=10)
"""A little less than the pipeline takes, whose clock may be behind ours."""

_OLDEST = timedelta(days=1)
_ENVELOPE = re.compile(rb'\{"stream":"[^"\\]*","data":')
_SHUTDOWN = "serverShutdown"
_PATIENCE = PatienceSettings(connect_timeout_seconds=5, read_timeout_seconds=10, max_attempts=1)


class Trade(NamedTuple):
    """An aggregate trade, as far as it is read here: the rest is in its line.

    Attributes:
        id: aggregate trade id, consecutive within a symbol.
        at: milliseconds since 1970 when it was traded.
        line: the JSON object, without a newline.
    """

    symbol: str
    id: int
    at: int
    line: bytes


class Unreadable(NamedTuple):
    """What came and is no trade of a symbol that is followed, on one line, at most ``LONGEST_LINE`` bytes of it.

    Attributes:
        symbol: and ``id`` of a trade of which something else is wrong: that trade is missing.
    """

    data: bytes
    reason: str
    symbol: str | None = None
    id: int | None = None


class Shutdown(NamedTuple):
    """The server goes down within minutes: another connection is needed."""


class Times(NamedTuple):
    """Milliseconds between which the time of a trade that arrives now can be true."""

    oldest: int
    latest: int

    @classmethod
    def around(cls, now: datetime) -> "Times":
        """From a day before an instant to as far behind it as clocks may differ."""
        return cls(milliseconds(now - _OLDEST), milliseconds(now + _LATEST))


def milliseconds(at: datetime) -> int:
    """An instant as Binance writes it."""
    return int(at.timestamp() * 1_000)


def read_frame(raw: bytes, symbols: Collection[str], times: Times) -> Trade | Shutdown | Unreadable:
    """What a frame of a combined stream is; it never raises.

    Args:
        raw: ``{"stream": name, "data": object}``, or an event without that envelope.
        symbols: those that are followed.
        times: between which a trade can have been made.
    """
    if len(raw) > LONGEST_LINE:
        return _unreadable(raw, f"a frame of {len(raw):,} bytes")
    envelope = _ENVELOPE.match(raw)
    line = raw[envelope.end() : -1] if envelope else b""
    try:
        # A slice that is JSON by itself is the data as they were sent.
        data = orjson.loads(line)
    except orjson.JSONDecodeError:
        data = None
    if data is None or raw[-1:] != b"}":
        data, line = _unwrapped(raw)
    if type(data) is not dict:
        return _unreadable(raw, "not a JSON object")
    kind = data.get("e")
    if kind == _SHUTDOWN:
        return Shutdown()
    if kind != TRADE:
        return _unreadable(raw, f"an event {str(kind)[:40]!r}")
    symbol = data.get("s")
    if type(symbol) is not str or symbol not in symbols:
        return _unreadable(raw, f"a symbol {str(symbol)[:40]!r} that is not followed")
    id, at = data.get("a"), data.get("T")
    if not _is_id(id):
        return _unreadable(raw, f"an id {str(id)[:40]!r}")
    if type(at) is not int or not times.oldest <= at <= times.latest:
        return _unreadable(raw, f"a time {str(at)[:40]!r}", symbol, id)
    if wrong := wrong_field(data):
        return _unreadable(line, f"a field {wrong} {str(data.get(wrong))[:40]!r}", symbol, id)
    return Trade(symbol, id, at, _on_one_line(line))


def read_rows(symbol: str, body: bytes, latest: int) -> list[Trade | Unreadable]:
    """The rows of an answer of ``/aggTrades``, each as the line that the stream would have sent.

    Args:
        body: a JSON array.
        latest: milliseconds; a later trade is unreadable. Any age is fine: what was missed may be old.

    Raises:
        ValueError: it is no JSON array.
    """
    rows = orjson.loads(body)
    if type(rows) is not list:
        raise ValueError(f"a {type(rows).__name__} instead of rows")
    return [_read_row(symbol, row, latest) for row in rows]


def _read_row(symbol: str, row: Any, latest: int) -> Trade | Unreadable:
    if type(row) is not dict:
        return _unreadable(orjson.dumps(row), "not a JSON object")
    id, at = row.get("a"), row.get("T")
    line = orjson.dumps({"e": TRADE, "s": symbol, **row})
    if len(line) > LONGEST_LINE:
        return _unreadable(line, f"a row of {len(line):,} bytes")
    if not _is_id(id):
        return _unreadable(line, f"an id {str(id)[:40]!r}")
    if type(at) is not int or not 0 <= at <= latest:
        return _unreadable(line, f"a time {str(at)[:40]!r}", symbol, id)
    if wrong := wrong_field(row):
        return _unreadable(line, f"a field {wrong} {str(row.get(wrong))[:40]!r}", symbol, id)
    return Trade(symbol, id, at, line)


def _unwrapped(raw: bytes) -> tuple[Any, bytes]:
    """The event of a frame that has another form than the usual one, and its line."""
    try:
        event = orjson.loads(raw)
    except orjson.JSONDecodeError:
        return None, b""
    if type(event) is dict and "data" in event and "e" not in event:
        return event["data"], orjson.dumps(event["data"])
    return event, raw


def _is_id(value: Any) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= LARGEST_ID


def _unreadable(raw: bytes, reason: str, symbol: str | None = None, id: int | None = None) -> Unreadable:
    return Unreadable(_on_one_line(raw[:LONGEST_LINE]), reason, symbol, id)


def _on_one_line(raw: bytes) -> bytes:
    """Bytes without line breaks; within JSON one is a blank between two values, never a part of a string."""
    return raw.replace(b"\n", b" ").replace(b"\r", b" ") if b"\n" in raw or b"\r" in raw else raw


@dataclass(frozen=True)
class Venue:
    """Where trades come from, after ``auto`` was decided.

    Attributes:
        rest_url: of the REST API, up to and including ``/api/v3``.
        stream_url: of the combined streams, up to and including ``/stream``.
        banner: lines that a person must not overlook, when ``auto`` fell back to the simulator; ``reason`` says why.
    """

    kind: Literal["live", "simulator"]
    rest_url: str
    stream_url: str
    banner: str | None = None
    reason: str | None = None

    @property
    def source_id(self) -> str:
        """Key of ``source_dim``."""
        return BINANCE.answering(self.kind)

    def addresses(self, symbols: Sequence[str]) -> list[str]:
        """The addresses whose combined streams carry the aggregate trades of the symbols."""
        names = [f"{symbol.lower()}@aggTrade" for symbol in symbols]
        starts = range(0, len(names), STREAMS_PER_CONNECTION)
        chunks = (names[start : start + STREAMS_PER_CONNECTION] for start in starts)
        return [f"{self.stream_url}?streams={'/'.join(chunk)}" for chunk in chunks]


Probe = Callable[[Settings, Venue], str | None]
"""Says why a venue is not usable, or ``None`` when it is."""


def choose_venue(settings: Settings, wanted: MarketSource | None = None, probe: Probe | None = None) -> Venue:
    """Decide where trades come from: as wanted, by a flag, else as ``stream.source`` says; live outside the local
    environment, whose ``auto`` means the simulator where Binance does not answer.

    Raises:
        SettingsError: the simulator is wanted outside the local environment.
    """
    wanted = wanted or settings.stream.source
    stream, rest = BINANCE.hosts
    live = Venue("live", f"https://{rest}/api/v3", f"wss://{stream}/stream")
    if not settings.is_local:
        if wanted is MarketSource.SIMULATOR:
            raise SettingsError(
                f"stream.source is {wanted}, but environment {settings.environment} reads live trades only.",
                "Set stream.source to live: a simulated row must never reach a shared warehouse.",
            )
        return live
    if wanted is MarketSource.LIVE:
        return live
    reason = None if wanted is MarketSource.SIMULATOR else (probe or probe_venue)(settings, live)
    if wanted is MarketSource.AUTO and reason is None:
        return live
    beside = f"127.0.0.1:{settings.local.ports.simulator}/binance"
    fallen_back = _fallen_back(reason) if reason else None
    return Venue("simulator", f"http://{beside}/api/v3", f"ws://{beside}/stream", fallen_back, reason)


def probe_venue(settings: Settings, live: Venue) -> str | None:
    """Ask for the time once, for at most ``coingecko.probe_timeout_seconds`` altogether."""
    seconds = settings.coingecko.probe_timeout_seconds
    client = BinanceClient(live.rest_url, settings.stream.weight_per_minute)

    def ask() -> str | None:
        try:
            client.server_time()
        except ThrottledError:
            return None
        except ApiError as error:
            return str(error)
        finally:
            client.close()
        return None

    return reason_within(seconds, ask, live.rest_url)


def _fallen_back(reason: str) -> str:
    return banner(
        "SIMULATED TRADES: nothing in this stream is a real market.",
        "stream.source is auto, and Binance is not usable:",
        f"  {reason}",
        "To insist on real trades: COINBEAM_STREAM__SOURCE=live. To silence this: COINBEAM_STREAM__SOURCE=simulator.",
    )


class BinanceClient(HttpClient):
    """Asks the REST API, each question once: who asks decides when to ask again. For one thread.

    Args:
        base_url: up to and including ``/api/v3``.
        weight_per_minute: request weight that it may use; every call counts as one for trades.
    """

    def __init__(self, base_url: str, weight_per_minute: float, **wiring: Unpack[Wiring]) -> None:
        host = urlsplit(base_url).netloc
        api = Api(
            f"Check that this network may reach {host}, or set stream.source to simulator.",
            {400: "Name pairs as Binance writes them, such as BTCUSDT.", 418: "Lower stream.weight_per_minute."},
            {418: (ThrottledError, "address banned for a while, after calls beyond the limit")},
            error_in=_error_in,
        )
        monotonic, sleep = wiring.get("monotonic", time.monotonic), wiring.get("sleep", time.sleep)
        limiter = RateLimiter(weight_per_minute / _TRADE_WEIGHT, monotonic=monotonic, sleep=sleep)
        super().__init__(api, _PATIENCE, base_url, limiter, **wiring)

    def trades(
        self, symbol: str, from_id: int | None = None, since: int | None = None, limit: int = LARGEST_ANSWER
    ) -> list[Trade | Unreadable]:
        """``/aggTrades``: rows by ascending id; the newest ones when neither id nor time is given.

        The first row may have a later id than the one asked for: the ids before it are gone.

        Args:
            from_id: of the first row; not together with ``since``.
            since: milliseconds of the earliest row.

        Raises:
            ApiTerminalError: refused for a reason that stays, such as a symbol that does not exist.
            ApiTransientError: refused for now, or unreachable, or the answer holds no rows.
        """
        asked: dict[str, Parameter] = {"symbol": symbol, "fromId": from_id, "startTime": since, "limit": limit}
        body, received_at = self._ask("/aggTrades", asked)
        try:
            return read_rows(symbol, body, milliseconds(received_at + _LATEST))
        except ValueError as error:
            raise ApiTransientError(f"GET /aggTrades of {symbol}: {error}.") from error

    def server_time(self) -> int:
        """``/time``: milliseconds of the server's clock.

        Raises:
            ApiTerminalError: refused for a reason that stays.
            ApiTransientError: refused for now, or unreachable, or the answer holds no time.
        """
        body, _ = self._ask("/time", {})
        try:
            return int(orjson.loads(body)["serverTime"])
        except (KeyError, TypeError, ValueError) as error:
            raise ApiTransientError(f"GET /time: no serverTime in {body[:80]!r}.") from error

    def trading(self, symbols: Sequence[str]) -> dict[str, bool]:
        """``/exchangeInfo``: whether each symbol is traded at present.

        Raises:
            ApiTerminalError: one of them does not exist.
            ApiTransientError: refused for now, or unreachable, or the answer holds no symbols.
        """
        for _ in range(_INFO_WEIGHT // _TRADE_WEIGHT - 1):
            self._limiter.acquire()
        names = ",".join(f'"{symbol}"' for symbol in symbols)
        body, _ = self._ask("/exchangeInfo", {"symbols": f"[{names}]"})
        try:
            return {one["symbol"]: one["status"] == "TRADING" for one in orjson.loads(body)["symbols"]}
        except (KeyError, TypeError, ValueError) as error:
            raise ApiTransientError(f"GET /exchangeInfo: no symbols in {body[:80]!r}.") from error

    def _ask(self, path: str, params: Mapping[str, Parameter]) -> tuple[bytes, datetime]:
        answer = self.get(path, params)
        if answer.problem:
            raise ApiTransientError(f"GET {answer.url}: {answer.problem}.")
        return answer.body, answer.received_at


def _error_in(payload: dict[str, Any]) -> tuple[int | None, str | None]:
    """Code and text of ``{"code": -1121, "msg": "Invalid symbol."}``. Source: Binance's list of errors."""
    code, said = payload.get("code"), payload.get("msg")
    return (code if type(code) is int else None), (said if isinstance(said, str) else None)
