"""The pins that only the day of a deployment can give: digests of base images, hashes of Terraform's providers.

Both change files of the checkout, and a release is a commit. So they are committed by themselves, before the release;
never anything else of the tree.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from coinbeam.errors import TerminalError
from deploy import base_images
from deploy.tools import git

LOCK = "infra/.terraform.lock.hcl"
_PROVIDER = re.compile(
    r'^provider "(?P<name>[^"]+)" \{\n\s+version\s+= "(?P<version>[^"]+)"(?P<rest>.*?)^\}', re.MULTILINE | re.DOTALL
)
_HASH = re.compile(r'^    "(?:h1|zh):', re.MULTILINE)
MESSAGE = """Base images and providers are pinned to what they are today

A tag may be another image tomorrow, and a provider another archive: a build refuses the one, Terraform the other.
The digests are those of the registries, the hashes those that `terraform init` found.
"""


@dataclass(frozen=True)
class Pins:
    """The pins of a checkout in which ``terraform init`` has run.

    Args:
        checkout: its folder.
    """

    checkout: Path

    def missing(self) -> list[str]:
        """What is not pinned yet, or pinned and not committed."""
        waiting = [line.partition(" -> ")[0] for line in self.changes()]
        return [*base_images.unpinned(self.checkout), *waiting]

    def changes(self) -> list[str]:
        """The pins that are in no commit, a line each.

        Raises:
            TerminalError: something else is in no commit.
        """
        others, found = [], []
        for line in git(self.checkout, "status", "--porcelain").splitlines():
            name = line[3:]
            told = list(self._pinned(name)) if set(line[:2]) <= {"M", " "} and self._is_pinning(name) else []
            found += told
            others += [] if told else [name]
        if others:
            raise TerminalError(
                f"{len(others)} files of the checkout are in no commit: {', '.join(others[:5])}.",
                "Commit them, or take them away: the pins are a commit by themselves, and a release is a commit.",
            )
        return found

    def write(self) -> list[str]:
        """Pin every base image; returns what is in no commit then.

        Raises:
            CoinbeamError: a registry does not answer, or something else is in no commit.
        """
        self.changes()
        if base_images.unpinned(self.checkout):
            base_images.write(self.checkout)
        return self.changes()

    def commit(self) -> str:
        """Commit the pins, and nothing else; returns the short commit.

        Raises:
            TerminalError: git refused.
        """
        names = [*(str(path.relative_to(self.checkout)) for path in base_images.files(self.checkout)), LOCK]
        git(self.checkout, "commit", "--quiet", "--message", MESSAGE, "--", *names)
        return git(self.checkout, "rev-parse", "--short=7", "HEAD").strip()

    def _texts(self, name: str) -> tuple[str, str]:
        return git(self.checkout, "show", f"HEAD:{name}"), (self.checkout / name).read_text(encoding="utf-8")

    def _is_pinning(self, name: str) -> bool:
        """Whether a file that changed says the same but for its pins."""
        before, after = self._texts(name)
        if name == LOCK:
            versions = _versions(before)
            return versions.items() <= _versions(after).items()
        return base_images.bare(before) == base_images.bare(after)

    def _pinned(self, name: str) -> Iterator[str]:
        """What changed, in short."""
        before, after = self._texts(name)
        if name == LOCK:
            for found in _PROVIDER.finditer(after):
                old = next((one for one in _PROVIDER.finditer(before) if one["name"] == found["name"]), None)
                more = len(_HASH.findall(found["rest"])) - (len(_HASH.findall(old["rest"])) if old else 0)
                if old is None or old["rest"] != found["rest"]:
                    yield f"{name}: {found['name'].rpartition('/')[2]} {found['version']} -> {more:+} hashes"
            return
        had = base_images.digests(before)
        for image, digest in base_images.digests(after).items():
            if had.get(image) != digest:
                yield f"{name}: {image} -> {digest}"


def _versions(lock: str) -> dict[str, str]:
    return {found["name"]: found["version"] for found in _PROVIDER.finditer(lock)}
