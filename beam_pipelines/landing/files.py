"""Objects on any Beam file system (a folder, ``gs://``): whole or not there, byte for byte as they were given.

Beam guesses a compression from a file name and would unpack ``.json.gz`` behind our back; landing is exact bytes, so
everything here is ``UNCOMPRESSED``.
"""

import contextlib
import uuid
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import BinaryIO

from apache_beam.io.filesystem import BeamIOError, CompressionTypes
from apache_beam.io.filesystems import FileSystems

from coinbeam.errors import TerminalError
from coinbeam.landing.layout import LandedBody, landed_instant, unpack

_OPAQUE = "application/octet-stream"


def list_files(pattern: str) -> list[str]:
    """URIs that match a glob, sorted; an empty list when there are none, or no such folder.

    On this machine the glob may be relative or begin with ``~``, and a folder that is called ``[2024]`` is that folder.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # of an escaped bracket, which Python's sets may mean one day
        [matched] = FileSystems.match([pattern if "://" in pattern else _local_glob(pattern)])
    return sorted(str(metadata.path) for metadata in matched.metadata_list)


def _local_glob(pattern: str) -> str:
    """An absolute glob in which the brackets of folders and files that exist stand for themselves."""
    real, escaped = Path("/"), Path("/")
    for part in (Path.cwd() / Path(pattern).expanduser()).parts[1:]:
        real = real / part
        escaped = escaped / (part.replace("[", "[[]") if "[" in part and real.exists() else part)
    return str(escaped)


def read_bytes(uri: str) -> bytes:
    """The exact bytes of an object.

    Raises:
        FileNotFoundError: there is no such object. A storage error comes as the file system raised it.
    """
    with FileSystems.open(uri, _OPAQUE, CompressionTypes.UNCOMPRESSED) as source:
        content: bytes = source.read()
    return content


def exists(uri: str) -> bool:
    """Whether the object is there."""
    return bool(FileSystems.exists(uri))


def read_landed(uri: str, *, tolerant: bool = False) -> LandedBody:
    """A landed body, or a foreign file whose moment of landing is its modification time, in whole seconds.

    Args:
        uri: the object.
        tolerant: damaged gzip comes as its raw bytes, so that the page is refused with its reason and the rest is read.

    Raises:
        TerminalError: the object is gone, or is cut gzip.
    """
    try:
        raw = read_bytes(uri)
        # One request less for each page that carries its own moment of landing.
        landed_at = landed_instant(raw) or datetime.fromtimestamp(
            int(FileSystems.get_filesystem(uri).last_updated(uri)), UTC
        )
    except (FileNotFoundError, BeamIOError) as error:
        raise TerminalError(
            f"{uri} cannot be read: {error}.", "Was it deleted after the run began? Bring it again, or fetch again."
        ) from error
    try:
        return unpack(raw, uri, landed_at)
    except TerminalError:
        if tolerant:
            return LandedBody(uri, raw, landed_at)
        raise


@contextlib.contextmanager
def atomic_writer(uri: str) -> Iterator[BinaryIO]:
    """Open an object for writing; it appears under its name, whole, when the block ends without an exception, and not
    at all otherwise.

    The temporary name begins with a dot, so that no reader takes it for a page, and is unique, so that two attempts
    never share it.
    """
    folder, _, name = uri.rpartition("/")
    make_folder(folder)
    temporary = f"{folder}/.{name}.{uuid.uuid4().hex[:12]}"
    try:
        with FileSystems.create(temporary, _OPAQUE, CompressionTypes.UNCOMPRESSED) as sink:
            yield sink
        FileSystems.rename([temporary], [uri])
    except BaseException:
        with contextlib.suppress(Exception):
            FileSystems.delete([temporary])
        raise


def write_atomically(uri: str, content: bytes) -> None:
    """Write a whole object, replacing an older one of that name.

    A bucket shows an upload when it has ended and never before, so there a temporary name would only cost a copy and a
    deletion.
    """
    if FileSystems.get_filesystem(uri).has_dirs():
        with atomic_writer(uri) as sink:
            sink.write(content)
    else:
        with FileSystems.create(uri, _OPAQUE, CompressionTypes.UNCOMPRESSED) as sink:
            sink.write(content)


def make_folder(uri: str) -> None:
    """Create a folder and its parents, unless it exists or folders are only names, as on ``gs://``."""
    if FileSystems.get_filesystem(uri).has_dirs() and not FileSystems.exists(uri):
        with contextlib.suppress(OSError):  # another attempt made it in between
            FileSystems.mkdirs(uri)
