"""Objects in Cloud Storage outside Beam: plans, reports, and the question whether something was landed."""

import json
from typing import Any

from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import storage

from coinbeam.errors import TerminalError
from coinbeam.settings import Settings

TIMEOUT_SECONDS = 60.0


class Bucket:
    """The bucket of one environment.

    Args:
        settings: bucket name and, locally, the port of the emulator.
        client: the Cloud Storage client; made from the settings when left out.
    """

    def __init__(self, settings: Settings, client: storage.Client | None = None) -> None:
        self.settings = settings
        self._bucket = (client or _connect(settings)).bucket(settings.storage.bucket)

    def uri(self, path: str) -> str:
        """``gs://bucket/path``."""
        return f"{self.settings.bucket_uri}/{path}"

    def write_text(self, path: str, text: str) -> str:
        """Write an object, replacing it, and return its URI."""
        self._bucket.blob(path).upload_from_string(text.encode(), content_type="text/plain; charset=utf-8", timeout=TIMEOUT_SECONDS)
        return self.uri(path)

    def read_text(self, path: str) -> str | None:
        """The text of an object, or None when there is none."""
        try:
            return str(self._bucket.blob(path).download_as_bytes(timeout=TIMEOUT_SECONDS), "utf-8")
        except NotFound:
            return None

    def read_json(self, path: str) -> dict[str, Any]:
        """A JSON object, empty when the object does not exist.

        Raises:
            TerminalError: the object holds something else.
        """
        text = self.read_text(path)
        try:
            value = json.loads(text) if text else {}
        except ValueError as error:
            raise TerminalError(f"{self.uri(path)} is not JSON: {error}.", "Run the batch again; it is written anew.") from error
        return dict(value)

    def names(self, prefix: str) -> list[str]:
        """Names of the objects below a prefix, sorted."""
        return sorted(blob.name for blob in self._bucket.list_blobs(prefix=prefix, timeout=TIMEOUT_SECONDS))


def _connect(settings: Settings) -> storage.Client:
    if not settings.is_local:
        return storage.Client(project=settings.google.project)
    return storage.Client(
        project=settings.google.project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": f"http://127.0.0.1:{settings.local.ports.storage}"},
    )
