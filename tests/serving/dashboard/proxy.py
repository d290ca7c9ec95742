"""Identity-Aware Proxy as far as a service behind it sees it: published keys, and assertions signed by one of them."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric import ec
from jwt.algorithms import ECAlgorithm

from serving.dashboard.iap import ISSUER

AUDIENCE = "/projects/1/locations/us-central1/services/coinbeam-dashboard"
EMAIL = "someone@example.com"
_KEY = "key-1"


class Proxy:
    """A proxy with a key of its own.

    Attributes:
        keys_url: where it publishes the key.
        asked: how often somebody fetched it.
    """

    def __init__(self) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self.asked = 0
        proxy = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                proxy.asked += 1
                self.send_response(200)
                self.end_headers()
                self.wfile.write(json.dumps({"keys": [proxy.published()]}).encode())

            def log_message(self, *_: Any) -> None:
                """Say nothing."""

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.keys_url = f"http://127.0.0.1:{self.server.server_address[1]}/keys"

    def published(self) -> dict[str, Any]:
        """The key as a JSON Web Key."""
        described = ECAlgorithm.to_jwk(self._key.public_key(), as_dict=True)
        return {**described, "kid": _KEY, "use": "sig", "alg": "ES256"}

    def assertion(self, now: float | None = None, kid: str = _KEY, **changed: Any) -> str:
        """What it signs for somebody; a claim that is changed to None is left out."""
        at = round(time.time() if now is None else now)
        claims = {
            "iss": ISSUER,
            "aud": AUDIENCE,
            "sub": "accounts.google.com:1",
            "email": EMAIL,
            "iat": at,
            "exp": at + 600,
        }
        told = {name: value for name, value in (claims | changed).items() if value is not None}
        return jwt.encode(told, self._key, "ES256", headers={"kid": kid})


@contextmanager
def running() -> Iterator[Proxy]:
    """A proxy whose keys can be fetched."""
    proxy = Proxy()
    thread = Thread(target=proxy.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield proxy
    finally:
        proxy.server.shutdown()
        thread.join()
        proxy.server.server_close()
