"""The part of Cloud Build's API that ``gcloud builds submit`` asks, on loopback: a build that has ended when it is asked
for. There is no emulator of it; what it is sent is read strictly into Google's own message type.
"""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from google.cloud.devtools.cloudbuild_v1.types import Build

from local.environment import HOST

ID = "11111111-2222-3333-4444-555555555555"


class CloudBuild(ThreadingHTTPServer):
    """Takes builds and ends them at once.

    Attributes:
        status: how a build ends.
        created: path and build of each call that made one.
    """

    def __init__(self, status: str) -> None:
        super().__init__((HOST, 0), _Handler)
        self.status = status
        self.created: list[tuple[str, Build]] = []

    @property
    def url(self) -> str:
        """Its address, as gcloud wants it."""
        return f"http://{HOST}:{self.server_address[1]}/"


class _Handler(BaseHTTPRequestHandler):
    server: CloudBuild

    def _answer(self, body: dict[str, Any]) -> None:
        content = json.dumps(body).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def _build(self) -> dict[str, Any]:
        _, sent = self.server.created[-1]
        made = {"id": ID, "name": f"{self._parent()}/{ID}", "projectId": "acme", "status": self.server.status}
        return {**json.loads(Build.to_json(sent, use_integers_for_enums=False)), **made}

    def _parent(self) -> str:
        return self.server.created[-1][0].removeprefix("/v1/")

    def do_GET(self) -> None:
        if self.path.partition("?")[0].endswith("/builds"):
            return self._answer({"builds": [self._build()] if self.server.created else []})
        return self._answer(self._build())

    def do_POST(self) -> None:
        sent = self.rfile.read(int(self.headers["Content-Length"]))
        build = Build.from_json(sent.decode(), ignore_unknown_fields=False)
        self.server.created.append((self.path.partition("?")[0], build))
        kind = "type.googleapis.com/google.devtools.cloudbuild.v1.BuildOperationMetadata"
        self._answer({"name": f"operations/build/acme/{ID}", "metadata": {"@type": kind, "build": self._build()}})

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def running(status: str = "SUCCESS") -> Iterator[CloudBuild]:
    """An API on a free port of loopback."""
    server = CloudBuild(status)
    thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield server
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
