"""What a version of the bundle consists of: its manifest, the pointer to it, and the names of its files."""

import hashlib
import re
from collections.abc import Iterable
from datetime import UTC, date, datetime
from typing import NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field, ValidationError

from coinbeam.errors import TerminalError

ROOT = "serving"
"""The folder of the bundle in the bucket; the accounts of its readers see nothing else."""

POINTER = f"{ROOT}/current.json"

FORMAT = 1
"""Raised when a reader of before could not read what is written now; the next build then starts from nothing."""

_VERSION = "%Y%m%dT%H%M%S%fZ"
_INSTANT = "%Y%m%dT%H%M%SZ"
_MARKETS = re.compile(r"markets/(?P<currency>[a-z]+)/(?P<instant>\d{8}T\d{6}Z)\.parquet")
_GRID = re.compile(r"(?P<kind>charts|indicators|intraday)/(?P<currency>[a-z]+)/(?P<period>\d{4}-\d{2}(-\d{2})?)\.arrow")

ASSETS = "assets.arrow"
STATUS = "status.json"

RATES = b"coinbeam.rates"
"""Key of the metadata of a snapshot under which the exchange rates of its time are, a JSON object."""

REBUILD = "Build it anew: `coinbeam bundle --rebuild`."


class Named(NamedTuple):
    """What the name of a grid says: ``charts`` and ``indicators`` of a month, ``intraday`` of a day."""

    kind: str
    currency: str
    period: str


class _Value(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Entry(_Value):
    """One file: where it lies in the bucket, and what proves that it is the one that was written."""

    path: str = Field(pattern=rf"^{ROOT}/[0-9TZ]+/[a-z0-9_./TZ-]+$")
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    size: int = Field(ge=0)

    @classmethod
    def of(cls, path: str, data: bytes) -> "Entry":
        """The entry of a file."""
        return cls(path=path, sha256=hashlib.sha256(data).hexdigest(), size=len(data))


class Manifest(_Value):
    """One version.

    Attributes:
        version: the instant of its refresh; versions sort by it.
        refreshed_at: when the marts were refreshed.
        built_at: when the bundle was made.
        batch_id: the newest batch in it.
        files: by name.
    """

    format: int = FORMAT
    version: str
    refreshed_at: AwareDatetime
    built_at: AwareDatetime
    batch_id: str
    files: dict[str, Entry]

    @property
    def snapshots(self) -> dict[str, list[datetime]]:
        """The instants of the snapshots in it, ascending, by quote currency."""
        return snapshots_of(self.files)

    @property
    def grids(self) -> list[Named]:
        """The grids in it, by kind, currency and time."""
        return grids_of(self.files)


class Pointer(_Value):
    """Which version readers take.

    Attributes:
        manifest: its manifest.
        older: the manifests of the versions before it that are kept, the newest first.
    """

    version: str
    manifest: Entry
    older: tuple[Entry, ...] = ()


def snapshots_of(names: Iterable[str]) -> dict[str, list[datetime]]:
    """The instants of the snapshots among some files, ascending, by quote currency."""
    found: dict[str, list[datetime]] = {}
    for match in map(_MARKETS.fullmatch, sorted(names)):
        if match:
            instant = datetime.strptime(match["instant"], _INSTANT).replace(tzinfo=UTC)
            found.setdefault(match["currency"], []).append(instant)
    return found


def grids_of(names: Iterable[str]) -> list[Named]:
    """The grids among some files, by kind, currency and time."""
    return [Named(m["kind"], m["currency"], m["period"]) for m in map(_GRID.fullmatch, sorted(names)) if m]


def version_name(refreshed_at: datetime) -> str:
    """The name of the version of a refresh."""
    return refreshed_at.astimezone(UTC).strftime(_VERSION)


def folder(version: str) -> str:
    """The folder that a version writes into."""
    return f"{ROOT}/{version}"


def manifest_path(version: str, data: bytes) -> str:
    """Where the manifest of a version lies; two builds of one refresh never meet in one name."""
    return f"{folder(version)}/manifest.{hashlib.sha256(data).hexdigest()[:12]}.json"


def markets_name(currency: str, snapshot_at: datetime) -> str:
    """The name of the file of a snapshot."""
    return f"markets/{currency}/{snapshot_at.astimezone(UTC).strftime(_INSTANT)}.parquet"


def grid_name(kind: str, currency: str, period: str) -> str:
    """The name of a grid."""
    return f"{kind}/{currency}/{period}.arrow"


def month(day: date) -> str:
    """The period of a monthly grid."""
    return f"{day:%Y-%m}"


def sparklines_name(currency: str) -> str:
    """The name of the file of sparklines."""
    return f"sparklines/{currency}.arrow"


def table_name(table: str) -> str:
    """The name of the file of a whole table."""
    return f"tables/{table}.arrow"


def read_pointer(text: str) -> Pointer:
    """Read ``current.json``.

    Raises:
        TerminalError: it is damaged.
    """
    try:
        return Pointer.model_validate_json(text)
    except ValidationError as error:
        raise TerminalError(f"{POINTER} is damaged: {error.error_count()} faults.", REBUILD) from None


def read_manifest(entry: Entry, data: bytes) -> Manifest:
    """Read a manifest.

    Raises:
        TerminalError: it is not the one that was written, or of a format that this release does not know.
    """
    check(entry, data)
    try:
        manifest = Manifest.model_validate_json(data)
    except ValidationError as error:
        raise TerminalError(f"{entry.path} is damaged: {error.error_count()} faults.", REBUILD) from None
    if manifest.format != FORMAT:
        raise TerminalError(
            f"{entry.path} has format {manifest.format}; this release reads {FORMAT}.",
            "Run the same release that built it, or `coinbeam bundle --rebuild`.",
        )
    return manifest


def check(entry: Entry, data: bytes) -> None:
    """Hold the bytes of a file to its entry.

    Raises:
        TerminalError: they are not the ones that were written.
    """
    if len(data) != entry.size or hashlib.sha256(data).hexdigest() != entry.sha256:
        raise TerminalError(f"{entry.path} is not what its manifest says.", REBUILD)


def unreferenced(dropped: Iterable[Manifest], kept: Iterable[Manifest]) -> list[str]:
    """Paths of the files of dropped versions that no kept one needs, sorted."""
    needed = {entry.path for manifest in kept for entry in manifest.files.values()}
    return sorted({entry.path for manifest in dropped for entry in manifest.files.values()} - needed)
