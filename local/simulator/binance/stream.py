"""The websocket of the venue, ``/binance/stream``: combined streams of aggregate trades, read from the tape as the clock
passes.
"""

import asyncio
import json
from collections import deque
from collections.abc import AsyncIterator
from typing import Any

import orjson
from fastapi import FastAPI, WebSocket
from starlette.responses import Response
from starlette.websockets import WebSocketDisconnect
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from local.simulator.binance.faults import Ending, EndingOrder, Spoiler
from local.simulator.binance.venue import CONNECTIONS_SECONDS, Venue

PATH = "/binance/stream"

MOST_STREAMS = 1_024
"""Streams of one connection."""

MOST_MESSAGES = 5
"""Messages that a client may send within a second."""

PING_SECONDS, PONG_SECONDS = 20.0, 60.0
"""How often the server pings, and how long it waits for the pong. Source: Binance's page on its streams."""

TICK_SECONDS = 0.04
"""How often the tape is read."""

_CATCH_UP_MS = 1_000
"""A clock that jumps is followed in such steps, so that the symbols go side by side."""

_SUFFIX = "@aggTrade"
_GOING_AWAY, _POLICY = 1001, 1008


class AbortableProtocol(WebSocketsSansIOProtocol):
    """A websocket of uvicorn that an application can break off: ASGI knows only an orderly close."""

    async def run_asgi(self) -> None:
        """Run the application with ``abort`` among the extensions of its scope."""
        self.scope["extensions"]["abort"] = self.transport.abort  # type: ignore[index, assignment, typeddict-item]
        await super().run_asgi()


def serve_stream(app: FastAPI, venue: Venue) -> None:
    """Add the websocket."""

    @app.websocket(PATH)
    async def stream(websocket: WebSocket) -> None:
        if not venue.admits():
            wait = {"Retry-After": str(int(CONNECTIONS_SECONDS))}
            await websocket.send_denial_response(Response("Too many connections", 429, wait))
            return
        names = [name for name in websocket.query_params.get("streams", "").split("/") if name]
        await websocket.accept()
        if len(set(names)) > MOST_STREAMS:
            await websocket.close(_POLICY, "Too many streams")
            return
        await Connection(venue, websocket, names).run()


class Connection:
    """One client: its streams, how far the tape was read to it, and what it was told.

    Args:
        venue: what is read.
        websocket: accepted.
        names: of its streams, as ``btcusdt@aggTrade``; other ones are silent, as unknown ones at Binance.
    """

    def __init__(self, venue: Venue, websocket: WebSocket, names: list[str]) -> None:
        self._venue, self._websocket = venue, websocket
        self._names = dict.fromkeys(names)
        self._spoilers: dict[str, Spoiler] = {}
        self._read_to_ms = venue.now_ms()
        self._opened, self._closes_at = venue.monotonic(), float("inf")
        self._orders: deque[EndingOrder] = deque()
        self._messages: deque[float] = deque(maxlen=MOST_MESSAGES)

    def end(self, order: EndingOrder) -> None:
        """Come to an end with the next tick."""
        self._orders.append(order)

    async def run(self) -> None:
        """Talk and listen until either side ends it."""
        self._venue.connections.add(self)
        tasks = [asyncio.create_task(self._talk()), asyncio.create_task(self._listen())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._venue.connections.discard(self)
            for task in tasks:
                task.cancel()
            results = await asyncio.gather(*tasks, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, WebSocketDisconnect):
                raise result

    async def _talk(self) -> None:
        while not await self._ended():
            async for frame in self._frames():
                await self._websocket.send_text(frame)
            await asyncio.sleep(TICK_SECONDS)

    async def _frames(self) -> AsyncIterator[str]:
        """The frames of the trades since the last tick; none where the clock went back."""
        now = self._venue.now_ms()
        self._read_to_ms = min(self._read_to_ms, now)
        while self._read_to_ms < now and not self._orders:
            start, self._read_to_ms = self._read_to_ms, min(now, self._read_to_ms + _CATCH_UP_MS)
            for symbol in self._symbols():
                trades = self._venue.tape.between(symbol, start + 1, self._read_to_ms + 1)
                spoiler = self._spoilers.setdefault(symbol, Spoiler(symbol))
                for frame in spoiler.frames(trades, self._venue.faults) if len(trades) else ():
                    yield frame

    def _symbols(self) -> list[str]:
        asked = (name.removesuffix(_SUFFIX) for name in self._names if name.endswith(_SUFFIX))
        return [name.upper() for name in asked if name.islower() and name.upper() in self._venue.tape.listings]

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
        """Follow an order; True where nothing can be sent any more."""
        if order.ending is Ending.ABORT:
            self._websocket.scope["extensions"]["abort"]()
            return True
        if order.ending is Ending.CLOSE:
            self._closes_at = self._venue.monotonic()
            return False
        event: dict[str, Any] = {"e": "serverShutdown", "E": self._venue.now_ms()}
        bare = order.ending is Ending.SHUTDOWN_EVENT
        await self._websocket.send_text(json_text(event if bare else {"stream": "!serverShutdown", "data": event}))
        self._closes_at = self._venue.monotonic() + order.grace_seconds
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
            await self._websocket.send_text(json_text(self._reply(message.get("text") or "")))

    def _reply(self, text: str) -> dict[str, Any]:
        """The answer to a request such as ``{"method":"SUBSCRIBE","params":["btcusdt@aggTrade"],"id":1}``."""
        try:
            request = orjson.loads(text)
            method, identity, names = request["method"], request.get("id"), request.get("params", [])
            assert isinstance(names, list)
            assert all(isinstance(name, str) for name in names)
        except (ValueError, TypeError, KeyError, AttributeError, AssertionError):
            return _problem(3, "Invalid JSON: expected value at line 1 column 1", None)
        if method == "LIST_SUBSCRIPTIONS":
            return {"result": list(self._names), "id": identity}
        if method == "UNSUBSCRIBE":
            self._names = {name: None for name in self._names if name not in names}
            return {"result": None, "id": identity}
        if method != "SUBSCRIBE":
            return _problem(2, f"Invalid request: unknown variant `{method}`", identity)
        if len(self._names | dict.fromkeys(names)) > MOST_STREAMS:
            return _problem(2, f"Invalid request: more than {MOST_STREAMS} streams", identity)
        self._names |= dict.fromkeys(names)
        return {"result": None, "id": identity}


def _problem(code: int, message: str, identity: Any) -> dict[str, Any]:
    return {"error": {"code": code, "msg": message}, "id": identity}


def json_text(value: dict[str, Any]) -> str:
    """Compact JSON."""
    return json.dumps(value, separators=(",", ":"))
