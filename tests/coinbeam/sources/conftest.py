"""A loopback HTTP server that plays a script, and clocks that do not wait."""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest


@dataclass
class Answer:
    """One scripted answer.

    Attributes:
        status: HTTP status.
        body: bytes to send.
        headers: added to the answer.
        announced: value of Content-Length, when it shall differ from the length of the body.
        chunked: send the body in chunks of a few bytes; ``unfinished`` leaves out the last one.
        stall: event to wait for after the first byte of the body.
        trickle: called before each chunk.
        hang_up: close the connection without any answer.
    """

    status: int = 200
    body: bytes = b"[]"
    headers: dict[str, str] = field(default_factory=dict)
    announced: int | None = None
    chunked: bool = False
    unfinished: bool = False
    stall: threading.Event | None = None
    trickle: Callable[[], None] | None = None
    hang_up: bool = False


class ScriptedApi(ThreadingHTTPServer):
    """Gives the answers of a script in order, the last one for ever, and keeps what was asked."""

    daemon_threads = True
    Answer = Answer

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.script: list[Answer] = [Answer()]
        self.paths: list[str] = []
        self.request_headers: list[dict[str, str]] = []

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/api/v3"

    def play(self, *answers: Answer) -> None:
        self.script = list(answers)

    def next_answer(self) -> Answer:
        return self.script.pop(0) if len(self.script) > 1 else self.script[0]


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: ScriptedApi

    def do_GET(self) -> None:
        self.server.paths.append(self.path)
        self.server.request_headers.append({name.lower(): value for name, value in self.headers.items()})
        answer = self.server.next_answer()
        self.close_connection = True
        if not answer.hang_up:
            self._send(answer)

    def _send(self, answer: Answer) -> None:
        self.send_response(answer.status)
        self.send_header("Connection", "close")
        for name, value in answer.headers.items():
            self.send_header(name, value)
        if answer.chunked:
            self.send_header("Transfer-Encoding", "chunked")
        else:
            self.send_header("Content-Length", str(len(answer.body) if answer.announced is None else answer.announced))
        self.end_headers()
        try:
            self._send_body(answer)
        except OSError:
            return  # the client left

    def _send_body(self, answer: Answer) -> None:
        if answer.stall:
            self.wfile.write(answer.body[:1])
            answer.stall.wait(20)
            return
        if not answer.chunked:
            self.wfile.write(answer.body)
            return
        for start in range(0, len(answer.body), 8):
            if answer.trickle:
                answer.trickle()
            part = answer.body[start : start + 8]
            self.wfile.write(f"{len(part):x}\r\n".encode() + part + b"\r\n")
        if not answer.unfinished:
            self.wfile.write(b"0\r\n\r\n")

    def log_message(self, format: str, *args: object) -> None:
        """Say nothing: pytest shows what failed."""


@pytest.fixture
def api() -> Iterator[ScriptedApi]:
    """The scripted server, listening."""
    server = ScriptedApi()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join(5)


class FakeTime:
    """A clock that only moves when somebody sleeps."""

    def __init__(self) -> None:
        self.start = datetime(2026, 1, 2, tzinfo=UTC)
        self.seconds = 0.0
        self.sleeps: list[float] = []

    def now(self) -> datetime:
        return self.start + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.sleeps.append(seconds)
        self.seconds += seconds


@pytest.fixture
def fake_time() -> FakeTime:
    """A clock at 2026-01-02T00:00:00Z."""
    return FakeTime()
