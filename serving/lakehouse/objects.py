"""Files of the open tables in Cloud Storage, by the same client as everything else here.

Arrow's own client of Cloud Storage never ends a read of the emulator that begins within a file, and ends the process on
an object without a content type. pyiceberg takes any ``FileIO``; with Google's client one way is used and tested in
both environments.
"""

import io
from collections.abc import Mapping
from types import TracebackType
from typing import Any

from google.api_core.exceptions import NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud.storage import Blob, Client
from google.cloud.storage.retry import DEFAULT_RETRY
from pyiceberg.io import FileIO, InputFile, OutputFile

from coinbeam.landing.bucket import TIMEOUT_SECONDS
from coinbeam.settings import Settings

PROJECT, HOST = "gcs.project-id", "gcs.service.host"
"""Iceberg's names of the properties that say whose bucket it is, and where the emulator is."""

_CONTENT_TYPE = "application/octet-stream"


def file_properties(settings: Settings) -> dict[str, str]:
    """The properties by which a catalog reads and writes files in the bucket."""
    implementation = f"{ObjectIO.__module__}.{ObjectIO.__qualname__}"
    found = {"py-io-impl": implementation, PROJECT: settings.google.project}
    if settings.is_local:
        found[HOST] = f"http://127.0.0.1:{settings.local.ports.storage}"
    return found


class ObjectIO(FileIO):
    """Reads and writes whole objects, named ``gs://bucket/path``."""

    def __init__(self, properties: Mapping[str, str]) -> None:
        super().__init__(properties=dict(properties))
        self._client = _connect(properties)
        self._bounds: dict[str, Any] = {
            "retry": None if HOST in properties else DEFAULT_RETRY,
            "timeout": TIMEOUT_SECONDS,
        }

    def new_input(self, location: str) -> "_Object":
        """An object to read."""
        return _Object(location, self._blob(location), self._bounds)

    def new_output(self, location: str) -> "_Object":
        """An object to write; it appears whole when its stream is closed."""
        return _Object(location, self._blob(location), self._bounds)

    def delete(self, location: str | InputFile | OutputFile) -> None:
        """Delete an object.

        Raises:
            FileNotFoundError: there is none.
        """
        path = location if isinstance(location, str) else location.location
        try:
            self._blob(path).delete(**self._bounds)
        except NotFound as error:
            raise FileNotFoundError(f"There is no {path}.") from error

    def _blob(self, location: str) -> Blob:
        return Blob.from_uri(location, client=self._client)


class _Object(InputFile, OutputFile):
    """One object."""

    def __init__(self, location: str, blob: Blob, bounds: Mapping[str, Any]) -> None:
        super().__init__(location)
        self._blob, self._bounds = blob, bounds

    def __len__(self) -> int:
        if not self.exists():
            raise FileNotFoundError(f"There is no {self.location}.")
        return int(self._blob.size or 0)

    def exists(self) -> bool:
        """Whether there is such an object."""
        try:
            self._blob.reload(**self._bounds)
        except NotFound:
            return False
        return True

    def open(self, seekable: bool = True) -> io.BytesIO:  # noqa: ARG002 - the signature is pyiceberg's
        """The bytes of the object."""
        try:
            return io.BytesIO(self._blob.download_as_bytes(**self._bounds))
        except NotFound as error:
            raise FileNotFoundError(f"There is no {self.location}.") from error

    def create(self, overwrite: bool = False) -> "_Upload":
        """A stream whose bytes become the object when it is closed.

        Raises:
            FileExistsError: there is such an object, and it is not to be replaced.
        """
        if not overwrite and self.exists():
            raise FileExistsError(f"There is a {self.location} already.")
        return _Upload(self._blob, self._bounds)

    def to_input_file(self) -> "_Object":
        """The same object, to read."""
        return self


class _Upload(io.BytesIO):
    """Bytes that are uploaded at their end; after an error nothing is."""

    def __init__(self, blob: Blob, bounds: Mapping[str, Any]) -> None:
        super().__init__()
        self._blob, self._bounds = blob, bounds

    def close(self) -> None:
        """Upload, once."""
        if not self.closed:
            data = self.getvalue()
            super().close()
            self._blob.upload_from_string(data, content_type=_CONTENT_TYPE, **self._bounds)

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.close()
        else:
            super().close()


def _connect(properties: Mapping[str, str]) -> Client:
    if HOST not in properties:
        return Client(project=properties[PROJECT])
    return Client(
        project=properties[PROJECT],
        credentials=AnonymousCredentials(),  # type: ignore[no-untyped-call]
        client_options={"api_endpoint": properties[HOST]},
    )
