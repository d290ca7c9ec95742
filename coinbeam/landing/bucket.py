"""Objects in Cloud Storage outside Beam: plans, reports, and the question whether something was landed."""

import json
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from typing import Any

from google.api_core.exceptions import (
    GoogleAPICallError,
    NotFound,
    PreconditionFailed,
    RetryError,
    ServerError,
    TooManyRequests,
)
from google.auth.credentials import AnonymousCredentials
from google.auth.exceptions import GoogleAuthError
from google.cloud.storage import Client
from google.cloud.storage.retry import DEFAULT_RETRY

from coinbeam.clock import format_instant
from coinbeam.errors import TerminalError, TransientError, WriteConflictError
from coinbeam.settings import Settings

TIMEOUT_SECONDS = 60.0

ARCHIVE = "archive"
"""Where what is no longer current is put aside; nothing is ever read from there or deleted."""

_REWRITE = "Run the batch again; it is written anew."


class Bucket:
    """The bucket of one environment; the client is made from the settings when left out."""

    def __init__(self, settings: Settings, client: Client | None = None) -> None:
        self.settings = settings
        self._bucket = (client or _connect(settings)).bucket(settings.storage.bucket)
        # The emulator answers at once or not at all; the client would repeat a refused connection for two minutes.
        retry = None if settings.is_local else DEFAULT_RETRY
        self._bounds: dict[str, Any] = {"retry": retry, "timeout": TIMEOUT_SECONDS}

    @contextmanager
    def _answering(self) -> Iterator[None]:
        """Turn the errors of Google's client into ours."""
        start, check = "Start the local cloud with `coinbeam local up`.", "Check the network and the credentials."
        remedy = start if self.settings.is_local else check
        try:
            yield
        except (ServerError, TooManyRequests, RetryError, OSError) as error:
            problem = f"The bucket {self.settings.bucket_uri} does not answer: {type(error).__name__}."
            raise TransientError(problem, remedy) from error
        except (GoogleAPICallError, GoogleAuthError) as error:
            raise TerminalError(f"The bucket {self.settings.bucket_uri} refuses: {error}.", remedy) from error

    def uri(self, path: str) -> str:
        """``gs://bucket/path``."""
        return f"{self.settings.bucket_uri}/{path}"

    def write_text(self, path: str, text: str) -> str:
        """Write an object, replacing it, and return its URI."""
        with self._answering():
            self._bucket.blob(path).upload_from_string(
                text.encode(), content_type="text/plain; charset=utf-8", **self._bounds
            )
        return self.uri(path)

    def write_bytes(self, path: str, data: bytes) -> str:
        """Write an object that must not exist yet, and return its URI."""
        with self._answering():
            self._bucket.blob(path).upload_from_string(
                data, content_type="application/gzip", if_generation_match=0, **self._bounds
            )
        return self.uri(path)

    def write_new(self, path: str, data: bytes, content_type: str = "application/octet-stream") -> bool:
        """Write an object unless there is one of this name, which then stays as it is; whether it was written."""
        with self._answering(), suppress(PreconditionFailed):
            self._bucket.blob(path).upload_from_string(
                data, content_type=content_type, if_generation_match=0, **self._bounds
            )
            return True
        return False

    def replace_text(self, path: str, text: str, generation: int) -> None:
        """Write an object that nobody wrote since it was read, see `read_versioned`.

        Raises:
            WriteConflictError: somebody did; nothing was written.
        """
        with self._answering():
            try:
                self._bucket.blob(path).upload_from_string(
                    text.encode(), content_type="application/json", if_generation_match=generation, **self._bounds
                )
            except PreconditionFailed as error:
                raise WriteConflictError(f"{self.uri(path)} was changed meanwhile.", "Try again.") from error

    def read_versioned(self, path: str) -> tuple[str | None, int]:
        """The text of an object and its generation; None and 0 when there is none.

        Raises:
            WriteConflictError: it was replaced while it was read.
        """
        with self._answering():
            blob = self._bucket.get_blob(path, **self._bounds)
            if blob is None:
                return None, 0
            generation = int(blob.generation)
            try:
                return str(blob.download_as_bytes(if_generation_match=generation, **self._bounds), "utf-8"), generation
            except (NotFound, PreconditionFailed) as error:
                raise WriteConflictError(f"{self.uri(path)} changed while it was read.", "Try again.") from error

    def read_text(self, path: str) -> str | None:
        """The text of an object, or None when there is none."""
        data = self.read_bytes(path)
        return None if data is None else str(data, "utf-8")

    def read_bytes(self, path: str) -> bytes | None:
        """The bytes of an object, or None when there is none."""
        with self._answering():
            try:
                return bytes(self._bucket.blob(path).download_as_bytes(**self._bounds))
            except NotFound:
                return None

    def read_json(self, path: str) -> dict[str, Any]:
        """A JSON object, empty when the object does not exist.

        Raises:
            TerminalError: the object holds something else.
        """
        text = self.read_text(path)
        try:
            value = json.loads(text) if text is not None else {}
        except ValueError as error:
            raise TerminalError(f"{self.uri(path)} is not JSON: {error}.", _REWRITE) from error
        if not isinstance(value, dict):
            raise TerminalError(f"{self.uri(path)} is not a JSON object but a {type(value).__name__}.", _REWRITE)
        return value

    def names(self, prefix: str) -> list[str]:
        """Names of the objects below a prefix, sorted."""
        with self._answering():
            return sorted(blob.name for blob in self._bucket.list_blobs(prefix=prefix, **self._bounds))

    def names_before(self, prefix: str, before: datetime) -> list[str]:
        """Names of the objects below a prefix that were last written before an instant, sorted."""
        with self._answering():
            blobs = self._bucket.list_blobs(prefix=prefix, **self._bounds)
            return sorted(blob.name for blob in blobs if blob.time_created is None or blob.time_created < before)

    def archive(self, prefix: str, before: datetime) -> int:
        """Move the objects below a prefix that are older than an instant below ``archive/<that instant>/``.

        Returns:
            How many were moved.
        """
        moved = 0
        with self._answering():
            for blob in list(self._bucket.list_blobs(prefix=prefix, **self._bounds)):
                if blob.time_created is None or blob.time_created < before:
                    aside = f"{ARCHIVE}/{format_instant(before).replace(':', '')}/{blob.name}"
                    self._bucket.copy_blob(blob, self._bucket, aside, **self._bounds)
                    with suppress(NotFound):
                        blob.delete(**self._bounds)
                    moved += 1
        return moved

    def delete(self, path: str, generation: int | None = None) -> None:
        """Delete an object; one that is gone already, or is no longer of the generation that is named, is no error."""
        with self._answering(), suppress(NotFound, PreconditionFailed):
            self._bucket.blob(path).delete(if_generation_match=generation, **self._bounds)


def _connect(settings: Settings) -> Client:
    if not settings.is_local:
        return Client(project=settings.google.project)
    return Client(
        project=settings.google.project,
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": f"http://127.0.0.1:{settings.local.ports.storage}"},
    )
