"""A registry of images on loopback, as far as the digest of an image is asked for."""

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from local.environment import HOST

INDEX = json.dumps({"schemaVersion": 2, "mediaType": "application/vnd.oci.image.index.v1+json", "manifests": []})
DIGEST = f"sha256:{hashlib.sha256(INDEX.encode()).hexdigest()}"


class Registry(ThreadingHTTPServer):
    """A registry that gives its manifests to those who fetched a token of nobody for it.

    Attributes:
        manifests: the images that it has.
        status: how it answers.
    """

    def __init__(self) -> None:
        super().__init__((HOST, 0), _Handler)
        self.manifests: dict[str, str] = {}
        self.status = 200

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.server_address[1]}"


class _Handler(BaseHTTPRequestHandler):
    server: Registry

    def do_GET(self) -> None:
        if self.path.startswith("/token?"):
            asked = self.path.partition("?")[2].replace("%3A", ":").replace("%2F", "/")
            return self._answer(200, json.dumps({"token": f"for {asked}"}))
        name = self.path.removeprefix("/v2/").replace("/manifests/", ":")
        scope = f"repository:{name.rpartition(':')[0]}:pull"
        if self.headers.get("Authorization") != f"Bearer for service=registry&scope={scope}":
            challenge = f'Bearer realm="{self.server.url}/token",service="registry",scope="{scope}"'
            return self._answer(401, "", {"WWW-Authenticate": challenge})
        if "application/vnd.oci.image.index.v1+json" not in self.headers["Accept"]:
            return self._answer(406, "")
        if name not in self.server.manifests:
            return self._answer(404, "")
        return self._answer(self.server.status, self.server.manifests[name])

    def _answer(self, status: int, body: str, headers: dict[str, str] | None = None) -> None:
        self.send_response(status)
        for name, value in {**(headers or {}), "Content-Length": str(len(body))}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, *_: Any) -> None:
        """Keep quiet."""


@contextmanager
def running(*images: str) -> Iterator[Registry]:
    """Serve a registry that has these images, as Docker names them."""
    with Registry() as server:
        server.manifests |= dict.fromkeys(images, INDEX)
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
