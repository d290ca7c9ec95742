"""The websocket of the venue, read from the tape as the clock passes.

``/binance/stream?streams=a/b`` wraps each trade with the name of its stream, ``/binance/ws/a`` sends it bare.
"""

import asyncio
from bisect import bisect_right
from collections import deque
from typing import Any

import orjson
from fastapi import FastAPI, WebSocket
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect

from local.simulator.binance.faults import Ending, EndingOrder, FrameFaults, Spoiler, Wrap, combined, raw
from local.simulator.binance.tape import Tape, Trades
from local.simulator.binance.venue import CONNECTIONS_SECONDS, Venue

MOST_STREAMS = 1_024
"""Streams of one connection."""

MOST_MESSAGES = 5
"""Messages that a client may send within a second."""

PING_SECONDS, PONG_SECONDS = 20.0, 60.0
"""How often the server pings, and how long it waits for the pong; the server of the process does it."""

TICK_SECONDS = 0.04
"""How often the tape is read."""

_STEP_MS = 1_000
"""A clock that jumps is followed in such steps, so that the symbols go side by side."""

_LONGEST_JUMP_MS = 3_600_000
"""A clock that jumps farther is not followed: the stream goes on from where it stands."""

_SUFFIX = "@aggTrade"
_GOING_AWAY, _POLICY = 1001, 1008


def serve_stream(app: FastAPI, venue: Venue) -> None:
    """Add the websockets."""

    @app.websocket("/binance/stream")
    async def stream(websocket: WebSocket) -> None:
        await _serve(venue, websocket, websocket.query_params.get("streams", ""), combined)

    @app.websocket("/binance/ws")
    @app.websocket("/binance/ws/{streams:path}")
    async def single(websocket: WebSocket, streams: str = "") -> None:
        await _serve(venue, websocket, streams, raw)


async def _serve(venue: Venue, websocket: WebSocket, streams: str, wrap: Wrap) -> None:
    if not venue.admits():
        wait = {"Retry-After": str(int(CONNECTIONS_SECONDS))}
        await websocket.send_denial_response(Response("Too many connections", 429, wait))
        return
    names = dict.fromkeys(name for name in streams.split("/") if name)
    if len(names) > MOST_STREAMS:
        await websocket.accept()
        await websocket.close(_POLICY, "Too many streams")
        return
    await Connection(venue, websocket, list(names), wrap).run()


class Reader:
    """One symbol on one connection, read from the tape; it makes pages of trades ahead of their time.

    Args:
        tape: what is read.
        symbol: as ``BTCUSDT``.
        at_ms: what was traded until then is not read, in ms since 1970.
        wrap: makes a frame of a symbol and the line of a trade.
    """

    def __init__(self, tape: Tape, symbol: str, at_ms: int, wrap: Wrap) -> None:
        self._tape, self._symbol, self._wrap = tape, symbol, wrap
        self._spoiler = Spoiler(symbol, wrap)
        self._size = max(64, tape.per_day // 43_200)  # two seconds
        self._next, self._place, self._version = tape.next_id(symbol, at_ms + 1), 0, -1
        self._times: list[int] = []
        self._lines: list[str] = []

    def frames(self, until_ms: int, faults: FrameFaults) -> list[str]:
        """The frames of the trades until an instant, included, that were not read before."""
        frames: list[str] = []
        if self._version != self._tape.version:
            self._turn()
        while True:
            start, stop = self._place, bisect_right(self._times, until_ms, lo=self._place)
            if stop > start:
                frames += self._some(start, stop, faults)
            self._place, self._next = stop, self._next + stop - start
            if stop < len(self._times):
                return frames
            self._turn()

    def _some(self, start: int, stop: int, faults: FrameFaults) -> list[str]:
        lines = self._lines[start:stop]
        if faults.order.spoils or self._spoiler.waits:
            return self._spoiler.frames(self._page[start:stop], lines, faults)
        return [self._wrap(self._symbol, line) for line in lines]

    def _turn(self) -> None:
        """Make the page that begins with the next trade."""
        self._version = self._tape.version
        self._page: Trades = self._tape.trades(self._symbol, self._next, self._next + self._size - 1)
        self._times, self._lines, self._place = self._page.times.tolist(), self._page.lines(), 0


class Connection:
    """One client: its streams, how far the tape was read to it, and what it was told.

    Args:
        venue: what is read.
        websocket: not accepted yet: a client that is connected misses nothing.
        names: of its streams, as ``btcusdt@aggTrade``; unknown ones are silent, as at Binance.
        wrap: makes a frame of a symbol and the line of a trade.
    """

    def __init__(self, venue: Venue, websocket: WebSocket, names: list[str], wrap: Wrap) -> None:
        self._venue, self._websocket, self._wrap = venue, websocket, wrap
        self._names = dict.fromkeys(names)
        self._read_to_ms = venue.now_ms()
        self._readers: dict[str, Reader] = {}
        self._follow_names()
        self._opened, self._closes_at = venue.monotonic(), float("inf")
        self._orders: deque[EndingOrder] = deque()
        self._messages: deque[float] = deque(maxlen=MOST_MESSAGES)

    def end(self, order: EndingOrder) -> None:
        """Come to an end with the next tick."""
        self._orders.append(order)

    async def run(self) -> None:
        """Talk and listen until either side ends it. A server drops a connection that is left without a close."""
        self._venue.connections.add(self)
        try:
            await self._websocket.accept()
            await self._talk_and_listen()
        finally:
            self._venue.connections.discard(self)

    async def _talk_and_listen(self) -> None:
        tasks = [asyncio.create_task(self._talk()), asyncio.create_task(self._listen())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                raise result

    async def _talk(self) -> None:
        while not await self._ended():
            await self._tell()
            await asyncio.sleep(TICK_SECONDS)

    async def _tell(self) -> None:
        """Send the trades since the last tick, none twice, unless the clock was set elsewhere."""
        now = self._venue.now_ms()
        if not 0 <= now - self._read_to_ms <= _LONGEST_JUMP_MS:
            self._read_to_ms = now
            self._readers.clear()
            self._follow_names()
        while self._read_to_ms < now and not self._orders:
            self._read_to_ms = min(now, self._read_to_ms + _STEP_MS)
            for reader in list(self._readers.values()):
                for frame in reader.frames(self._read_to_ms, self._venue.faults):
                    await self._websocket.send_text(frame)

    def _follow_names(self) -> None:
        """Read the symbols that are subscribed to, a new one from now on."""
        asked = (name.removesuffix(_SUFFIX) for name in self._names if name.endswith(_SUFFIX))
        symbols = [name.upper() for name in asked if name == name.lower() and name.upper() in self._venue.tape.listings]
        self._readers = {
            symbol: self._readers.get(symbol) or Reader(self._venue.tape, symbol, self._read_to_ms, self._wrap)
            for symbol in symbols
        }

    async def _ended(self) -> bool:
        """Follow the next order, if there is one, and close a connection whose time has come."""
        if self._orders and await self._follow(self._orders.popleft()):
            return True
        now = self._venue.monotonic()
        lived = now - self._opened >= self._venue.faults.order.lifetime_seconds
        if not lived and now < self._closes_at:
            return False
        await self._websocket.close(_GOING_AWAY)
        return True

    async def _follow(self, order: EndingOrder) -> bool:
        """Follow an order; True where the connection is left without a close frame."""
        if order.ending is Ending.ABORT:
            return True
        self._closes_at = self._venue.monotonic()
        if order.ending is not Ending.CLOSE:
            event: dict[str, Any] = {"e": "serverShutdown", "E": self._venue.now_ms()}
            bare = order.ending is Ending.SHUTDOWN_EVENT
            await self._send(event if bare else {"stream": "!serverShutdown", "data": event})
            self._closes_at += order.grace_seconds
        return False

    async def _listen(self) -> None:
        while True:
            message = await self._websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            now = self._venue.monotonic()
            if len(self._messages) == MOST_MESSAGES and now - self._messages[0] < 1:
                await self._websocket.close(_POLICY, "Too many requests")
                return
            self._messages.append(now)
            await self._send(self._reply(message.get("text") or ""))

    async def _send(self, message: dict[str, Any]) -> None:
        await self._websocket.send_text(orjson.dumps(message).decode())

    def _reply(self, text: str) -> dict[str, Any]:
        """The answer to a request such as ``{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":1}``."""
        try:
            request = orjson.loads(text)
        except orjson.JSONDecodeError:
            return _problem(3, "Invalid JSON: expected value at line 1 column 1", None)
        if not isinstance(request, dict) or not isinstance(request.get("method"), str):
            return _problem(2, "Invalid request: missing field `method`", None)
        method, names, identity = request["method"], request.get("params", []), request.get("id")
        if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
            return _problem(2, "Invalid request: params must be a list of strings", identity)
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(self._names), "id": identity}
        return self._subscribe(method, names, identity)

    def _subscribe(self, method: str, names: list[str], identity: Any) -> dict[str, Any]:
        if method == "SUBSCRIBE":
            wanted = self._names | dict.fromkeys(names)
        elif method == "UNSUBSCRIBE":
            wanted = {name: None for name in self._names if name not in names}
        else:
            return _problem(2, f"Invalid request: unknown variant `{method}`", identity)
        if len(wanted) > MOST_STREAMS:
            return _problem(2, f"Invalid request: more than {MOST_STREAMS} streams", identity)
        self._names = wanted
        self._follow_names()
        return {"result": None, "id": identity}


def _problem(code: int, message: str, identity: Any) -> dict[str, Any]:
    return {"error": {"code": code, "msg": message}, "id": identity}
