"""The objects of Composer's bucket, with their generations: a write may demand that nobody else wrote in between."""

from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

from google.api_core.exceptions import NotFound, PreconditionFailed
from google.cloud.storage import Client

from coinbeam.errors import TerminalError
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import Settings, StorageSettings

PARALLEL = 8
"""Objects that are read or written at a time; below the ten connections that the client keeps open."""


Item = TypeVar("Item")
Result = TypeVar("Result")


class DeploymentConflictError(TerminalError):
    """Another deployment wrote first; nothing was changed."""


@dataclass(frozen=True)
class StoredObject:
    """An object as the bucket lists it: full name, size in bytes, digest in base64, moment of its present content."""

    name: str
    size: int
    md5: str
    created: datetime


class VersionedBucket(Bucket):
    """A bucket whose objects are read and written by generation.

    Args:
        settings: which environment.
        name: of the bucket, with or without ``gs://``.
        client: the Cloud Storage client; made from the settings when left out.
    """

    def __init__(self, settings: Settings, name: str, client: Client | None = None) -> None:
        bare = name.removeprefix("gs://").rstrip("/")
        super().__init__(settings.model_copy(update={"storage": StorageSettings(bucket=bare)}), client)

    def objects(self, prefix: str) -> list[StoredObject]:
        """Everything below a prefix."""
        with self._answering():
            blobs = self._bucket.list_blobs(prefix=prefix, **self._bounds)
            return [StoredObject(blob.name, blob.size, blob.md5_hash, blob.time_created) for blob in blobs]

    def read(self, path: str) -> tuple[bytes | None, int]:
        """The content of an object and its generation; None and 0 when there is none.

        Raises:
            DeploymentConflictError: it was replaced while it was read.
        """
        with self._answering():
            blob = self._bucket.get_blob(path, **self._bounds)
            if blob is None:
                return None, 0
            generation = int(blob.generation)
            try:
                return blob.download_as_bytes(if_generation_match=generation, **self._bounds), generation
            except (NotFound, PreconditionFailed) as error:
                raise DeploymentConflictError(f"{self.uri(path)} changed while it was read.", "Try again.") from error

    def write(self, path: str, content: bytes, generation: int | None = None) -> None:
        """Write an object.

        Args:
            path: name of the object.
            content: its bytes.
            generation: the one that must lie there, 0 for none; unset: any object there is replaced.

        Raises:
            DeploymentConflictError: another generation lies there; nothing was written.
        """
        with self._answering():
            try:
                self._bucket.blob(path).upload_from_string(
                    content, content_type="text/plain; charset=utf-8", if_generation_match=generation, **self._bounds
                )
            except PreconditionFailed as error:
                raise DeploymentConflictError(
                    f"{self.uri(path)} was written by somebody else meanwhile.", "Look, and try again."
                ) from error


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item]) -> list[Result]:
    """Do the same to many objects, a few at a time; the first failure stops what has not begun."""
    with ThreadPoolExecutor(PARALLEL, thread_name_prefix="release") as pool:
        futures = [pool.submit(work, item) for item in items]
        try:
            return [future.result() for future in futures]
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
