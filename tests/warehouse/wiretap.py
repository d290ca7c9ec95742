"""A proxy on loopback in front of the BigQuery emulator that remembers every request."""

import http.client
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

HOST = "127.0.0.1"
_OF_ONE_HOP = {"connection", "keep-alive", "transfer-encoding", "content-length"}


@dataclass(frozen=True)
class Request:
    """A request as it went over the wire.

    Attributes:
        method: HTTP method.
        target: path and query, as sent.
        content_type: of the body.
        body: its bytes.
    """

    method: str
    target: str
    content_type: str = ""
    body: bytes = b""

    @property
    def path(self) -> str:
        """The path, decoded."""
        return unquote(urlsplit(self.target).path)

    @property
    def parameters(self) -> list[tuple[str, str]]:
        """The parameters of the query."""
        return parse_qsl(urlsplit(self.target).query, keep_blank_values=True)

    @property
    def is_media(self) -> bool:
        """Whether it carries the data of a resumable upload, whose first request described them."""
        return any(name == "upload_id" for name, _ in self.parameters)

    @cached_property
    def json(self) -> Any:
        """The JSON of the body, of its first part where it has several; None without a body."""
        if not self.body:
            return None
        if self.content_type.startswith("multipart/"):
            return json.loads(self.body.split(b"\r\n\r\n", 1)[1].split(b"\r\n--", 1)[0])
        return json.loads(self.body)

    @property
    def sql(self) -> str | None:
        """The SQL of a query, whichever of the two methods asks it."""
        if self.method != "POST" or self.is_media or not isinstance(self.json, dict):
            return None
        job = self.json.get("configuration", {}).get("query", {}) or self.json
        found = job.get("query")
        return found if isinstance(found, str) else None


class Wiretap(ThreadingHTTPServer):
    """The proxy.

    Args:
        port: of the emulator.

    Attributes:
        requests: in the order of their arrival.
    """

    daemon_threads = True

    def __init__(self, port: int) -> None:
        super().__init__((HOST, 0), _Handler)
        self.upstream = port
        self.requests: list[Request] = []

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server_address[1])


class _Handler(BaseHTTPRequestHandler):
    server: Wiretap
    protocol_version = "HTTP/1.1"

    def _forward(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        self.server.requests.append(Request(self.command, self.path, self.headers.get("Content-Type", ""), body))
        upstream = http.client.HTTPConnection(HOST, self.server.upstream, timeout=120)
        try:
            headers = {name: value for name, value in self.headers.items() if name.lower() not in _OF_ONE_HOP}
            upstream.request(self.command, self.path, body, headers)
            self._answer(upstream.getresponse())
        finally:
            upstream.close()

    def _answer(self, answer: http.client.HTTPResponse) -> None:
        content = answer.read()
        self.send_response(answer.status)
        for name, value in answer.getheaders():
            if name.lower() not in _OF_ONE_HOP | {"date", "server"}:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _forward

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def wiretap(port: int) -> Iterator[Wiretap]:
    """A proxy that lives as long as the ``with`` block."""
    with Wiretap(port) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
