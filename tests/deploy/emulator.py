"""The stock Cloud Storage emulator in this process, with what it lacks: it refuses a write whose ``ifGenerationMatch``
does not hold, and takes the uploads of ``gcloud``.

It serves one request after the other, so that a check and its write are one. Watchers are told of each object when it
has been written.
"""

import io
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from http.server import HTTPServer
from threading import Thread
from typing import Any
from urllib.parse import parse_qs, urlsplit

from gcp_storage_emulator.exceptions import NotFound
from gcp_storage_emulator.handlers import buckets
from gcp_storage_emulator.server import RequestHandler
from gcp_storage_emulator.storage import Storage

from local.environment import HOST

_NAME = re.compile(rb'"name": ?"([^"]+)"')
_BUCKET = re.compile(r"/b/([^/]+)/o")


class Emulator:
    """A running emulator.

    Attributes:
        watchers: called with the name of each object that was written.
    """

    def __init__(self) -> None:
        self.watchers: list[Callable[[str], None]] = []
        self.storage = _WatchedStorage(self)
        self.server = HTTPServer((HOST, 0), partial(_Handler, self))

    @property
    def port(self) -> int:
        """Where it listens."""
        return int(self.server.server_address[1])

    def create_bucket(self, name: str) -> None:
        """Make an empty bucket."""
        buckets.create_bucket(name, self.storage)

    def content(self, bucket: str, name: str) -> bytes:
        """What lies in an object."""
        return bytes(self.storage.get_file(bucket, name))

    def names(self, bucket: str) -> list[str]:
        """All objects of a bucket."""
        return sorted(self.storage.objects[bucket])

    def generation(self, bucket: str, name: str) -> int:
        """Generation of an object, 0 when there is none."""
        try:
            return int(self.storage.get_file_obj(bucket, name)["generation"])
        except NotFound:
            return 0


class _WatchedStorage(Storage):
    def __init__(self, emulator: Emulator) -> None:
        self.emulator = emulator
        super().__init__(use_memory_fs=True)

    def create_file(
        self, bucket_name: str, file_name: str, content: bytes, file_obj: dict[str, Any], *upload: str
    ) -> None:
        """Write, then tell the watchers, before the client has its answer."""
        super().create_file(bucket_name, file_name, content, file_obj, *upload)
        for watcher in list(self.emulator.watchers):
            watcher(file_name)


class _Handler(RequestHandler):
    def __init__(self, emulator: Emulator, *args: Any) -> None:
        self.emulator = emulator
        super().__init__(emulator.storage, *args)

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        self.rfile = io.BytesIO(body)
        # gcloud quotes the boundary of the parts in single quotes, which Google understands.
        if "Content-Type" in self.headers:
            self.headers.replace_header("Content-Type", self.headers["Content-Type"].replace("'", '"'))
        if self._holds(body):
            with suppress(BrokenPipeError):  # whoever asked was killed; the object is written
                super().do_POST()
        else:
            self.send_error(412)

    def _holds(self, body: bytes) -> bool:
        """Whether the generation that a write demands is the one that lies there."""
        query, bucket = parse_qs(urlsplit(self.path).query), _BUCKET.search(self.path)
        if "ifGenerationMatch" not in query or bucket is None:
            return True
        found = _NAME.search(body)
        name = query["name"][0] if "name" in query else found[1].decode() if found else ""
        return int(query["ifGenerationMatch"][0]) == self.emulator.generation(bucket[1], name)


@contextmanager
def running() -> Iterator[Emulator]:
    """An emulator on a free port of loopback, without buckets."""
    emulator = Emulator()
    thread = Thread(target=emulator.server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield emulator
    finally:
        emulator.server.shutdown()
        thread.join()
        emulator.server.server_close()
