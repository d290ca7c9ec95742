"""The tree of a release: the files of a checkout that are shipped, and the manifest that shows it is complete."""

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from coinbeam.errors import TerminalError
from coinbeam.settings import ROOT, Settings, deployment_file
from deploy.loader import PACKAGES, md5_digest

SHIPPED: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(PACKAGES, ("**/*.py",)),
    "config": ("*.yaml", "deployment.json"),
    "sql": ("**/*.yaml", "**/*.sql"),
}
"""What is shipped of each folder. It is a list of what may go, so that a stray file, a cache or a key never does."""

UNRELEASED = "development"
"""The release of a checkout for which nothing was configured."""


@dataclass(frozen=True)
class ReleaseFile:
    """One file of a release: path in the tree, size in bytes, digest in base64 as Cloud Storage tells it."""

    path: str
    size: int
    md5: str


@dataclass(frozen=True)
class Manifest:
    """What a release consists of, sorted by path. It is uploaded last: a release is complete when all of it is there.

    The loader sets ``COINBEAM_ENV`` by its environment where Composer does not.
    """

    release: str
    environment: str
    files: tuple[ReleaseFile, ...]

    @property
    def text(self) -> str:
        """The file, the same for the same tree."""
        return json.dumps(asdict(self), indent=1) + "\n"

    @classmethod
    def read(cls, text: str, origin: str) -> "Manifest":
        """Read the file; ``origin`` says in the message where it lies.

        Raises:
            TerminalError: it is not a manifest.
        """
        try:
            body: dict[str, Any] = json.loads(text)
            return cls(body["release"], body["environment"], tuple(ReleaseFile(**file) for file in body["files"]))
        except (ValueError, LookupError, TypeError) as error:
            raise TerminalError(
                f"{origin} is not the manifest of a release: {error}.", "Upload the release under a new id."
            ) from error


def describe(path: str, content: bytes) -> ReleaseFile:
    """A file by its content."""
    return ReleaseFile(path, len(content), md5_digest(content))


def shipped(root: Path = ROOT) -> Iterator[str]:
    """The paths of a checkout that belong to a release, sorted; links and hidden files do not."""
    found = {path for folder, patterns in SHIPPED.items() for name in patterns for path in (root / folder).glob(name)}
    for file in sorted(found):
        path = file.relative_to(root)
        is_hidden = any(part.startswith((".", "__pycache__")) for part in path.parts)
        if file.is_file() and not file.is_symlink() and not is_hidden:
            yield path.as_posix()


def collect(settings: Settings, root: Path = ROOT) -> tuple[Manifest, dict[str, bytes]]:
    """The manifest of a configured checkout, whose settings name the release, and the bytes of its files.

    Raises:
        TerminalError: the checkout was not configured for a release.
    """
    if settings.release == UNRELEASED or not (root / "config" / deployment_file().name).is_file():
        raise TerminalError("This tree is not configured for a release.", "Run `coinbeam release configure` first.")
    content = {path: (root / path).read_bytes() for path in shipped(root)}
    files = tuple(describe(path, body) for path, body in content.items())
    return Manifest(settings.release, settings.environment.value, files), content
