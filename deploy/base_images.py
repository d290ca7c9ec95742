"""The images that ours begin with and that build them, by digest: a tag may be another image tomorrow.

Each is named as ``name:tag@sha256:digest``: the tag for people, the digest for Docker, which then does not look at the
tag. ``python -m deploy.base_images`` names those without a digest and ends with 1; with ``--write`` it asks their
registries for the digests that the tags have now, and writes them. Needs no package: a build asks it first of all.
"""

import hashlib
import json
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import urlencode
from urllib.request import Request, urlopen

from coinbeam.errors import CoinbeamError, TerminalError, TransientError

ROOT = Path(__file__).resolve().parent.parent
"""Not that of the settings, which need packages."""

REGISTRIES = {"docker.io": "https://registry-1.docker.io"}
"""Where a registry answers that has another address than its name."""

_REFERENCE = re.compile(
    r"^(?P<before>FROM |  _\w+_BUILDER: )"
    r"(?P<name>[\w./-]+):(?P<tag>[\w.-]+)(?:@(?P<digest>sha256:[0-9a-f]{64}))?(?=\s)",
    re.MULTILINE,
)
_CHALLENGE = re.compile(r'(\w+)="([^"]*)"')
_MANIFESTS = ", ".join(
    (
        "application/vnd.oci.image.index.v1+json",
        "application/vnd.docker.distribution.manifest.list.v2+json",
        "application/vnd.oci.image.manifest.v1+json",
        "application/vnd.docker.distribution.manifest.v2+json",
    )
)
_SECONDS = 30.0


def files(root: Path = ROOT) -> list[Path]:
    """The files that name base images."""
    return [*sorted(root.glob("*Dockerfile")), *sorted(root.glob("cloudbuild*.yaml"))]


def unpinned(root: Path = ROOT) -> list[str]:
    """The base images that are named without a digest, with their files."""
    return [
        f"{path.name}: {found['name']}:{found['tag']}"
        for path in files(root)
        for found in _REFERENCE.finditer(path.read_text(encoding="utf-8"))
        if not found["digest"]
    ]


def digests(text: str) -> dict[str, str | None]:
    """The base images that a file names, with their digests."""
    return {f"{found['name']}:{found['tag']}": found["digest"] for found in _REFERENCE.finditer(text)}


def bare(text: str) -> str:
    """A file that names base images, without their digests."""
    return _REFERENCE.sub(lambda found: f"{found['before']}{found['name']}:{found['tag']}", text)


def write(root: Path = ROOT, registries: Mapping[str, str] = REGISTRIES) -> list[str]:
    """Give every base image the digest that its tag has now.

    Returns:
        what changed, for a person.

    Raises:
        CoinbeamError: a registry does not answer, or does not know an image; what was written until then stays right.
    """
    changed: list[str] = []

    def pinned(found: re.Match[str]) -> str:
        name = f"{found['name']}:{found['tag']}"
        now = digest(found["name"], found["tag"], registries)
        if now != found["digest"]:
            changed.append(f"{name}: {found['digest'] or 'none'} -> {now}")
        return f"{found['before']}{name}@{now}"

    for path in files(root):
        text = path.read_text(encoding="utf-8")
        path.write_text(_REFERENCE.sub(pinned, text), encoding="utf-8")
    return changed


def digest(name: str, tag: str, registries: Mapping[str, str] = REGISTRIES) -> str:
    """The digest of an image, all its platforms together, computed from what its registry answers.

    Source: https://distribution.github.io/distribution/spec/api/

    Args:
        name: with its registry; ``docker.io`` where it names none.
        tag: a version.
        registries: addresses of those that have another one than their name.
    """
    host, path = _place(name)
    url = f"{registries.get(host, f'https://{host}')}/v2/{path}/manifests/{tag}"
    content = _ask(url, {"Accept": _MANIFESTS}, f"{name}:{tag}")
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def _place(name: str) -> tuple[str, str]:
    """Registry and path, as Docker understands a name."""
    first, _, rest = name.partition("/")
    host, path = (first, rest) if rest and ("." in first or ":" in first) else ("docker.io", name)
    return host, path if host != "docker.io" or "/" in path else f"library/{path}"


def _ask(url: str, headers: Mapping[str, str], image: str) -> bytes:
    """The answer of a registry, with a token of nobody where it wants one."""
    try:
        try:
            return _get(url, headers)
        except HTTPError as error:
            challenge = error.headers.get("WWW-Authenticate", "")
            if error.code != 401 or not challenge.startswith("Bearer "):
                raise
            return _get(url, {**headers, "Authorization": f"Bearer {_token(challenge)}"})
    except HTTPError as error:
        raise TerminalError(f"The registry answers {error.code} for {image}.", "Is there such a tag?") from error
    except (URLError, TimeoutError, ValueError) as error:
        raise TransientError(f"The registry of {image} gives no answer that can be read: {error}.") from error


def _get(url: str, headers: Mapping[str, str]) -> bytes:
    with urlopen(Request(url, headers=dict(headers)), timeout=_SECONDS) as answer:
        return bytes(answer.read())


def _token(challenge: str) -> str:
    asked = dict(_CHALLENGE.findall(challenge))
    answer = json.loads(_get(f"{asked.pop('realm')}?{urlencode(asked)}", {}))
    return str(answer.get("token") or answer["access_token"])


def _said(arguments: list[str], root: Path) -> Iterator[str]:
    if arguments == ["--write"]:
        yield from write(root) or ["Every base image has the digest of its tag."]
    elif without := unpinned(root):
        raise TerminalError(f"Base images without a digest: {', '.join(without)}.", "Run `make digests` and commit it.")
    else:
        yield "Every base image is named by its digest."


def main(arguments: list[str], root: Path = ROOT) -> int:
    """Say what is without a digest, or write the digests."""
    try:
        print("\n".join(_said(arguments, root)))
    except CoinbeamError as error:
        print(f"ERROR: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
