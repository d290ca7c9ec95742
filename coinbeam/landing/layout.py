"""Landing: the exact bytes of every API answer, compressed, immutable, under a name that tells what they are.

``landing/<endpoint>/<batch_id>/_manifest.json`` says once what the folder holds; the folder of simulated answers ends
in the id of their source, so that they are never taken for real ones. ``page-00001.json.gz`` is the first
page; a page that was malformed and asked for again by a later run is a new revision, ``page-00001.r2.json.gz``, and the
newest revision counts. The moment of landing is the MTIME field of the gzip header (RFC 1952), so that one object
carries it atomically with the bytes.
"""

import gzip
import json
import re
import struct
import zlib
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime

from coinbeam.batch.manifest import BatchManifest
from coinbeam.clock import parse_instant
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.sources.registry import SIMULATED

MANIFEST_NAME = "_manifest.json"

COMPLETE_NAME = "_complete.json"
"""Written when the last page was landed: a folder without it holds a part of its batch, never the whole."""

_GZIP_MAGIC = b"\x1f\x8b"
_GZIP_MTIME = slice(4, 8)
_PAGE_NAME = re.compile(r"(?P<stem>.+?)(?:\.r(?P<revision>\d+))?\.json\.gz$")
_COMPRESSION_LEVEL = 1  # 2.5 times smaller already; higher levels cost more CPU than the whole transform


@dataclass(frozen=True)
class LandedBody:
    """An API body as it came back from landing.

    Attributes:
        landed_at: when it was landed, aware; whole seconds.
    """

    uri: str
    body: bytes
    landed_at: datetime


def folder(root: str, endpoint: str, batch_id: str, source_id: str = "") -> str:
    """The landing folder of one endpoint of one batch, without a trailing slash; the one of a simulator is its own."""
    name = f"{batch_id}-{source_id}" if source_id in SIMULATED else batch_id
    return f"{root.rstrip('/')}/landing/{endpoint}/{name}" if root else f"landing/{endpoint}/{name}"


def endpoint_of(uri: str) -> str:
    """The endpoint of a landed body, by its folder; of a file elsewhere the name of the folder above its own."""
    return uri.split("/")[-3] if uri.count("/") > 1 else ""


def beside(uri: str, endpoint: str) -> str:
    """The landing folder of another endpoint of the batch of a landed body; empty for a file that lies elsewhere."""
    *above, _, name, _ = uri.split("/") if uri.count("/") > 2 else ("", "", "", "")
    return "/".join([*above, endpoint, name]) if above[-1:] == ["landing"] else ""


def without_simulator(name: str) -> str:
    """The name of a landing folder without the simulator that filled it; the same name when none did."""
    batch_id, _, source_id = name.rpartition("-")
    return batch_id if source_id in SIMULATED else name


def object_name(stem: str, revision: int = 1) -> str:
    """File name of a landed body: ``page-00001.json.gz``, ``page-00001.r2.json.gz``."""
    return f"{stem}.json.gz" if revision == 1 else f"{stem}.r{revision}.json.gz"


def page_stem(number: int) -> str:
    """Stem of the name of a page, numbered from 1."""
    return f"page-{number:05d}"


def stem_and_revision(uri: str) -> tuple[str, int]:
    """Stem and revision of a landed object; a foreign file is its own stem in revision 1."""
    name = uri.rpartition("/")[2]
    match = _PAGE_NAME.match(name)
    if not match:
        return name, 1
    return match["stem"], int(match["revision"] or 1)


def newest_revisions(uris: Iterable[str]) -> list[str]:
    """The URI of the newest revision of each page, sorted by folder and page; no manifest, no hidden file."""
    newest: dict[tuple[str, str], tuple[int, str]] = {}
    for uri in uris:
        directory, _, name = uri.rpartition("/")
        if name.startswith(("_", ".")):
            continue
        stem, revision = stem_and_revision(uri)
        newest[directory, stem] = max(newest.get((directory, stem), (0, "")), (revision, uri))
    return [uri for _, (_, uri) in sorted(newest.items())]


def pack(body: bytes, landed_at: datetime) -> bytes:
    """Compress a body as gzip; the same body and instant give the same bytes."""
    packer = zlib.compressobj(_COMPRESSION_LEVEL, zlib.DEFLATED, 31)
    packed = bytearray(packer.compress(body) + packer.flush())
    packed[_GZIP_MTIME] = struct.pack("<I", int(landed_at.timestamp()))
    return bytes(packed)


def landed_instant(raw: bytes) -> datetime | None:
    """The moment of landing that a gzip header carries, or None for anything else."""
    if not raw.startswith(_GZIP_MAGIC) or len(raw) < _GZIP_MTIME.stop:
        return None
    seconds = struct.unpack("<I", raw[_GZIP_MTIME])[0]
    return datetime.fromtimestamp(seconds, UTC) if seconds else None


def unpack(raw: bytes, uri: str, modified_at: datetime) -> LandedBody:
    """Read a landed object, or a foreign file, compressed or not.

    Args:
        modified_at: last modification of the object: the moment of landing of a foreign file.

    Raises:
        TerminalError: the object is cut or is not gzip all through.
    """
    if not raw.startswith(_GZIP_MAGIC):
        return LandedBody(uri, raw, modified_at)
    try:
        body = gzip.decompress(raw)  # reads every member: a foreign file may have several
    except (EOFError, OSError, struct.error, zlib.error) as error:
        raise TerminalError(f"{uri} is not a readable gzip file: {error}.", "Bring the file again.") from error
    return LandedBody(uri, body, landed_instant(raw) or modified_at)


def read_manifest(text: str | bytes) -> BatchManifest:
    """Parse a manifest.

    Raises:
        TerminalError: it is not one.
    """
    try:
        fields = json.loads(text)
        return BatchManifest(**{**fields, "snapshot_at": parse_instant(fields["snapshot_at"])})
    except (ValueError, TypeError, KeyError, AttributeError, SettingsError) as error:
        raise TerminalError(
            f"The landing manifest is damaged: {error}.", "Delete the landing folder and fetch again."
        ) from error
