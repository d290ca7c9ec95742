"""The door of the simulated API: counts calls, keeps the rate limit, and applies the ordered faults."""

import asyncio
import re
from urllib.parse import parse_qsl

from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local.simulator.answers import Answer
from local.simulator.faults import Delay, Truncation
from local.simulator.service import SimulatedApi

BASE_PATH = "/api/v3"
_FREE = ("/_control/", "/healthz", "/binance/")
_COIN = re.compile(r"^/coins/(?!list$|markets$)[^/]+")


def respond(answer: Answer) -> Response:
    """An answer as an HTTP response."""
    return Response(answer.body, answer.status, answer.headers, answer.content_type)


class Gate:
    """ASGI middleware around the API with its traffic and faults. Control paths and health pass freely, and the venue,
    which has limits and faults of its own.
    """

    def __init__(self, app: ASGIApp, api: SimulatedApi) -> None:
        self._app, self._api = app, api

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        path = _api_path(scope)
        if path is None:
            await self._app(scope, receive, send)
            return
        send = self._counting(send)
        refusal = self._api.traffic.admit(_COIN.sub("/coins/{id}", path))
        query = parse_qsl(scope["query_string"].decode(), keep_blank_values=True)
        fault = refusal or self._api.faults.fault_for(path, query)
        if isinstance(fault, Answer):
            await respond(fault)(scope, receive, send)
            return
        await self._app(scope, receive, send if fault is None else _Spoiler(send, fault))

    def _counting(self, send: Send) -> Send:
        async def counting(message: Message) -> None:
            if message["type"] == "http.response.start":
                self._api.traffic.statuses[message["status"]] += 1
            await send(message)

        return counting


def _api_path(scope: Scope) -> str | None:
    """The path of a call to any API, that of CoinGecko below its base; None for what passes freely."""
    if scope["type"] != "http" or scope["path"].startswith(_FREE):
        return None
    path: str = scope["path"]
    return path.removeprefix(BASE_PATH) if path.startswith(f"{BASE_PATH}/") else path.rstrip("/")


class _Spoiler:
    """Passes an answer on, but truncated or in two parts with a pause. Answers here come in one body message."""

    def __init__(self, send: Send, fault: Truncation | Delay) -> None:
        self._send, self._fault = send, fault
        self._start: Message = {}

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
        elif isinstance(self._fault, Delay):
            await self._late(message["body"], self._fault.seconds)
        else:
            await self._cut(message["body"], self._fault)

    async def _late(self, body: bytes, seconds: float) -> None:
        half = len(body) // 2
        await self._send(self._start)
        await self._send({"type": "http.response.body", "body": body[:half], "more_body": True})
        await asyncio.sleep(seconds)
        await self._send({"type": "http.response.body", "body": body[half:]})

    async def _cut(self, body: bytes, fault: Truncation) -> None:
        kept = body[: max(1, int(len(body) * fault.share))]
        headers = [(name, value) for name, value in self._start["headers"] if name != b"content-length"]
        if not fault.chunked:
            headers.append((b"content-length", str(len(kept)).encode()))
        await self._send({**self._start, "headers": headers})
        await self._send({"type": "http.response.body", "body": kept})
