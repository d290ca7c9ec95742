"""A venue on loopback that sends what a test tells it to: streams and REST on one port, as the simulator has them."""

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any
from urllib.parse import parse_qs, urlsplit

from websockets.asyncio.server import Server, ServerConnection, serve
from websockets.exceptions import ConnectionClosed
from websockets.http11 import Request, Response

from coinbeam.clock import utc_now
from coinbeam.sources.binance import Venue, milliseconds


def fields(id: int, at: int) -> dict[str, Any]:
    """A row of REST."""
    return {"a": id, "p": "0.10000000", "q": "2.00000000", "f": id, "l": id, "T": at, "m": False, "M": True}


def frame(symbol: str, id: int, at: int, **changes: Any) -> bytes:
    """A frame of the combined stream, as Binance writes it."""
    data = {"e": "aggTrade", "E": at, "s": symbol, **fields(id, at), **changes}
    return json.dumps({"stream": f"{symbol.lower()}@aggTrade", "data": data}, separators=(",", ":")).encode()


@dataclass
class ScriptedVenue:
    """What happened on the venue, who listens, and what was asked.

    Attributes:
        rows: of REST by symbol; what was forgotten is not among them.
        refusals: status and headers of the next answers of REST.
        asked: parameters of each question about trades.
        opened: connections that were opened; ``listening`` those that are.
        begun: handshakes, with those that were refused.
    """

    rows: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    refusals: list[tuple[int, Mapping[str, str]]] = field(default_factory=list)
    asked: list[dict[str, str]] = field(default_factory=list)
    opened: list[ServerConnection] = field(default_factory=list)
    listening: list[ServerConnection] = field(default_factory=list)
    most_listening: int = 0
    refused_handshakes: int = 0
    server: Server | None = None

    @property
    def port(self) -> int:
        assert self.server is not None
        return int(next(iter(self.server.sockets)).getsockname()[1])

    @property
    def address(self) -> Venue:
        beside = f"127.0.0.1:{self.port}/binance"
        return Venue("simulator", f"http://{beside}/api/v3", f"ws://{beside}/stream")

    def made(self, symbol: str = "BTCUSDT", at: int | None = None) -> bytes:
        """A trade happens; its frame, which nobody has got yet."""
        rows = self.rows[symbol]
        id, at = (rows[-1]["a"] + 1 if rows else 100), milliseconds(utc_now()) if at is None else at
        rows.append(fields(id, at))
        return frame(symbol, id, at)

    async def send(self, *frames: bytes) -> None:
        """Send frames on every connection; one that the publisher is closing at this moment takes none any more."""
        for one in frames:
            for connection in list(self.listening):
                with suppress(ConnectionClosed):
                    await connection.send(one, text=True)

    async def trades(self, count: int, symbol: str = "BTCUSDT") -> None:
        """Trades happen and are sent."""
        await self.send(*(self.made(symbol) for _ in range(count)))

    async def listen(self, connection: ServerConnection) -> None:
        self.opened.append(connection)
        self.listening.append(connection)
        self.most_listening = max(self.most_listening, len(self.listening))
        try:
            await connection.wait_closed()
        finally:
            self.listening.remove(connection)

    def answer(self, connection: ServerConnection, request: Request) -> Response | None:
        path, query = urlsplit(request.path).path, parse_qs(urlsplit(request.path).query)
        if path == "/binance/stream":
            if self.refused_handshakes:
                self.refused_handshakes -= 1
                return connection.respond(HTTPStatus.SERVICE_UNAVAILABLE, "down")
            return None
        if path == "/binance/api/v3/exchangeInfo":
            return respond(connection, {"symbols": [{"symbol": name, "status": "TRADING"} for name in self.rows]})
        params = {name: values[0] for name, values in query.items()}
        self.asked.append(params)
        if self.refusals:
            status, headers = self.refusals.pop(0)
            return respond(connection, {"code": -1003, "msg": "Too many requests."}, status, headers)
        rows = self.rows.get(params["symbol"], [])
        limit = int(params["limit"])
        if "fromId" in params:
            return respond(connection, [row for row in rows if row["a"] >= int(params["fromId"])][:limit])
        if "startTime" in params:
            return respond(connection, [row for row in rows if row["T"] >= int(params["startTime"])][:limit])
        return respond(connection, rows[-limit:])


def respond(
    connection: ServerConnection, body: object, status: int = 200, headers: Mapping[str, str] | None = None
) -> Response:
    """An answer of REST."""
    response = connection.respond(HTTPStatus(status), json.dumps(body, separators=(",", ":")))
    for name, value in (headers or {}).items():
        response.headers[name] = value
    return response


@asynccontextmanager
async def scripted_venue(*symbols: str, ping_interval: float | None = 20.0) -> AsyncIterator[ScriptedVenue]:
    """A venue that has the symbols, none of which was traded yet."""
    venue = ScriptedVenue({symbol: [] for symbol in symbols or ("BTCUSDT",)})
    async with serve(
        venue.listen,
        "127.0.0.1",
        0,
        process_request=venue.answer,
        compression=None,
        ping_interval=ping_interval,
        close_timeout=0.2,
        write_limit=4_096,
    ) as server:
        venue.server = server
        yield venue


async def until(condition: Any, seconds: float = 8.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(seconds):
        while not condition():
            await asyncio.sleep(0.005)
