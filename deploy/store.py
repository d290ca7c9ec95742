"""The releases in Composer's bucket: uploaded beside the current one, and made current by the overwrite of one object.

At every moment of an upload the current release lies there whole, since nothing of it is touched. See ``deploy.loader``
for how Airflow reads what is written here.
"""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from importlib import resources

from coinbeam.errors import TerminalError
from deploy.bucket import DeploymentConflictError, StoredObject, VersionedBucket, in_parallel
from deploy.loader import MANIFEST, POINTER, RELEASES
from deploy.tree import Manifest, ReleaseFile, describe

DAGS = "dags"
"""Folder of Composer's bucket that Airflow parses."""

LOADER = f"{DAGS}/coinbeam_dags.py"
IGNORE = f"{DAGS}/.airflowignore"
IGNORED = f"{RELEASES}/"
"""The line that keeps Airflow from parsing the releases; it reads the same as a glob and as a regular expression."""


@dataclass(frozen=True)
class Pointer:
    """Which release is in use, and which was before it; None before the first deployment."""

    current: str | None = None
    previous: str | None = None


@dataclass(frozen=True)
class Listed:
    """A release in the bucket: its state (or what is wrong with it), when its newest file was written, its files."""

    release: str
    state: str
    uploaded: datetime
    files: int


class ReleaseStore:
    """The releases of one Composer environment, in its bucket."""

    def __init__(self, bucket: VersionedBucket) -> None:
        self.bucket = bucket

    def pointer(self) -> tuple[Pointer, int]:
        """Which release is current, and the generation of the object that says so (0: there is none).

        Raises:
            TerminalError: the object is not what we write.
        """
        content, generation = self.bucket.read(f"{DAGS}/{POINTER}")
        if content is None:
            return Pointer(), 0
        try:
            return Pointer(**json.loads(content)), generation
        except (ValueError, TypeError) as error:
            raise TerminalError(
                f"{self.bucket.uri(f'{DAGS}/{POINTER}')} is not readable: {error}.", "Delete it, and switch again."
            ) from error

    def upload(self, manifest: Manifest, content: Mapping[str, bytes]) -> int:
        """Upload what is missing of a release; its manifest comes last.

        A release never changes: the same id with other files is refused. An upload that was broken off is taken up
        again. The result is how many files were written.

        Raises:
            TerminalError: another tree of this id is complete in the bucket.
        """
        folder = _folder(manifest.release)
        known, _ = self.bucket.read(f"{folder}/{MANIFEST}")
        if known is not None and known.decode() != manifest.text:
            raise TerminalError(
                f"Release {manifest.release} is in {self.bucket.uri(folder)} with other files.", "Use a new release id."
            )
        self._ignore_releases()
        missing = self._missing(manifest)
        in_parallel(lambda file: self.bucket.write(f"{folder}/{file.path}", content[file.path]), missing)
        if known is None:
            self.bucket.write(f"{folder}/{MANIFEST}", manifest.text.encode())
        return len(missing)

    def manifest(self, release: str) -> Manifest:
        """The manifest of a release whose files all lie in the bucket with the bytes that it names.

        Raises:
            TerminalError: the release is not complete; the message names what is missing or differs.
        """
        folder = _folder(release)
        text, _ = self.bucket.read(f"{folder}/{MANIFEST}")
        if text is None:
            raise TerminalError(
                f"Release {release} is not complete in {self.bucket.uri(folder)}: no {MANIFEST}.", _UPLOAD
            )
        manifest = Manifest.read(text.decode(), self.bucket.uri(f"{folder}/{MANIFEST}"))
        wrong = [file.path for file in self._missing(manifest)]
        if wrong:
            raise TerminalError(
                f"Release {release} is not complete in {self.bucket.uri(folder)}: {', '.join(wrong[:5])}.", _UPLOAD
            )
        return manifest

    def _missing(self, manifest: Manifest) -> list[ReleaseFile]:
        """The files that do not lie in the bucket with the bytes that the manifest names."""
        folder = f"{_folder(manifest.release)}/"
        stored = {found.name.removeprefix(folder): found.md5 for found in self.bucket.objects(folder)}
        return [file for file in manifest.files if stored.get(file.path) != file.md5]

    def download(self, manifest: Manifest) -> dict[str, bytes]:
        """The bytes of a release as they lie in the bucket, by path.

        Raises:
            TerminalError: a file is not the one of the manifest.
        """
        folder = _folder(manifest.release)
        bodies = in_parallel(lambda file: self.bucket.read(f"{folder}/{file.path}")[0], manifest.files)
        content = {file.path: body for file, body in zip(manifest.files, bodies, strict=True) if body is not None}
        found = {describe(path, body) for path, body in content.items()}
        wrong = [file.path for file in manifest.files if file not in found]
        if wrong:
            raise TerminalError(
                f"Release {manifest.release} changed while it was read: {', '.join(wrong[:5])}.", _UPLOAD
            )
        return content

    def switch(self, release: str, seen: int | None = None) -> Pointer:
        """Make a complete release current, and remember the one before it.

        Args:
            release: its id.
            seen: generation of the pointer when this deployment began; unset: the present one.

        Returns:
            What is said now.

        Raises:
            TerminalError: the release is not complete.
            DeploymentConflictError: another deployment switched meanwhile; it stays as that one left it.
        """
        self.manifest(release)
        before, generation = self.pointer()
        after = before if before.current == release else Pointer(release, before.current)
        if seen is not None and seen != generation and before.current != release:
            raise DeploymentConflictError(
                f"Another deployment made {before.current} current since this one began.", _AGAIN
            )
        if after != before:
            self._write_pointer(after, generation)
        self._install_loader()
        return after

    def _write_pointer(self, after: Pointer, generation: int) -> None:
        try:
            self.bucket.write(f"{DAGS}/{POINTER}", (json.dumps(asdict(after)) + "\n").encode(), generation)
        except DeploymentConflictError as error:
            found, _ = self.pointer()
            if found != after:  # else it is our own write, whose answer was lost and which the client repeated
                raise DeploymentConflictError(
                    f"Another deployment made {found.current} current at the same moment.", _AGAIN
                ) from error

    def _install_loader(self) -> None:
        """Write the loader if it changed; after the first switch, since without a pointer Airflow reports an error."""
        wanted = resources.files("deploy").joinpath("loader.py").read_bytes()
        present, _ = self.bucket.read(LOADER)
        if present != wanted:
            self.bucket.write(LOADER, wanted)

    def _ignore_releases(self) -> None:
        """Before the first file of a release; what others wrote into the file stays."""
        present, generation = self.bucket.read(IGNORE)
        lines = (present or b"").decode().splitlines()
        if IGNORED not in lines:
            self.bucket.write(IGNORE, ("\n".join([*lines, IGNORED]) + "\n").encode(), generation)

    def releases(self) -> list[Listed]:
        """Every release in the bucket, newest first."""
        pointer, _ = self.pointer()
        found: dict[str, list[StoredObject]] = {}
        prefix = f"{DAGS}/{RELEASES}/"
        for stored in self.bucket.objects(prefix):
            found.setdefault(stored.name.removeprefix(prefix).partition("/")[0], []).append(stored)
        listed = [
            Listed(name, self._state(name, pointer), max(one.created for one in files), len(files))
            for name, files in found.items()
        ]
        return sorted(listed, key=lambda one: (one.uploaded, one.release), reverse=True)

    def _state(self, release: str, pointer: Pointer) -> str:
        try:
            self.manifest(release)
        except TerminalError:
            return "incomplete"
        return {pointer.current: "current", pointer.previous: "previous"}.get(release, "complete")

    def prune(self, keep: int) -> list[str]:
        """Delete the oldest releases, never the current or the previous one.

        The manifest goes first, so that no reader takes what is left for a release.

        Args:
            keep: how many of the newest stay, the current and the previous one not counted.

        Returns:
            The ids of those that were deleted.
        """
        pointer, _ = self.pointer()
        others = [one.release for one in self.releases() if one.release not in {pointer.current, pointer.previous}]
        for release in others[keep:]:
            self.bucket.delete(f"{_folder(release)}/{MANIFEST}")
            in_parallel(self.bucket.delete, [found.name for found in self.bucket.objects(f"{_folder(release)}/")])
        return others[keep:]


_UPLOAD = "Run `coinbeam release upload` again."
_AGAIN = "Nothing was changed. Deploy again if yours is the newer one."


def _folder(release: str) -> str:
    return f"{DAGS}/{RELEASES}/{release}"
