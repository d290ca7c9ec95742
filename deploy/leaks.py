"""Secrets where nobody may find one: in the history of git, in what a build uploads, in what an image copies.

``python -m deploy.leaks`` reads every version of every file that the present commit's history holds, its messages, and
the files of the checkout that git does not ignore, and ends with 1 when one holds what looks like a credential. A value
is never shown. What a test makes up says so: it holds the word ``sentinel``.
"""

import re
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

from coinbeam.errors import TerminalError
from coinbeam.settings import ROOT

KINDS = {
    "key of CoinGecko": ("CG-", rb"\bCG-[A-Za-z0-9]{20,40}\b"),
    "API key of Google": ("AIza", rb"\bAIza[\w-]{35}(?![\w-])"),
    "client secret of Google": ("GOCSPX-", rb"\bGOCSPX-[\w-]{20,}"),
    "access token of Google": ("ya29.", rb"\bya29\.[\w-]{30,}"),
    "refresh token of Google": ("1//0", rb"\b1//0[\w-]{30,}"),
    "key of a service account": ("private_key_id", rb'"private_key_id"\s*:\s*"[0-9a-f]{40}"'),
    "private key": ("PRIVATE KEY", rb"PRIVATE KEY-----(?:\s|\\[nr])*[A-Za-z0-9+/=]{32,}"),
    "token of GitHub": ("_", rb"\b(?:gh[pousr]_[A-Za-z0-9]{36,}|github_pat_\w{50,})"),
    "token of PyPI": ("pypi-", rb"\bpypi-AgEIcHlwaS[\w-]{50,}"),
    "token of npm": ("npm_", rb"\bnpm_[A-Za-z0-9]{36}\b"),
    "token of Slack": ("xox", rb"\bxox[abeoprs]-[\w-]{20,}"),
    "webhook of Slack": ("hooks.slack.com", rb"hooks\.slack\.com/services/T\w{6,}/B\w{6,}/\w{16,}"),
    "key of Amazon": ("IA", rb"\bA[KS]IA[0-9A-Z]{16}\b"),
    "signed token": ("eyJ", rb"\beyJ[\w-]{20,}\.eyJ[\w-]{20,}\.[\w-]{20,}"),
    "password in an address": ("://", rb"://[^\s/:@'\"<>{}$`]+:[^\s/:@'\"<>{}$`*]{8,}@[\w.-]+"),
}
"""What credentials look like, by kind: a part that is found quickly, and the whole form, as its maker has it."""

_FORMS = {kind: (marker.encode(), re.compile(form)) for kind, (marker, form) in KINDS.items()}
_MADE_UP = re.compile(rb"sentinel", re.IGNORECASE)
_HEADER = re.compile(rb"([0-9a-f]{40,64}) (\w+) (\d+)\n")


class Leak(NamedTuple):
    """Something that looks like a credential; its value is in no message.

    Attributes:
        place: a file, or an object of git with the path under which it was found.
        line: its number, from 1.
        kind: one of ``KINDS``.
    """

    place: str
    line: int
    kind: str

    def __str__(self) -> str:
        return f"{self.place}:{self.line}: {self.kind}"


def leaks(place: str, content: bytes) -> Iterator[Leak]:
    """What in a text looks like a credential and does not say that it is made up."""
    for kind, (marker, form) in _FORMS.items():
        for found in form.finditer(content) if marker in content else ():
            if not _MADE_UP.search(found.group()):
                yield Leak(place, content.count(b"\n", 0, found.start()) + 1, kind)


def in_files(folder: Path, names: Iterable[str]) -> list[Leak]:
    """What leaks in files below a folder."""
    return [leak for name in sorted(names) for leak in leaks(name, (folder / name).read_bytes())]


def in_history(checkout: Path) -> list[Leak]:
    """What leaks in any version of any file, or in a message, from which the present commit was made."""
    listed = _git(checkout, "rev-list", "--objects", "HEAD").decode(errors="replace")
    names = dict(line.partition(" ")[::2] for line in listed.splitlines())
    content = _git(checkout, "cat-file", "--batch", given="\n".join(names).encode())
    found: list[Leak] = []
    at = 0
    while header := _HEADER.match(content, at):
        name, kind, size = header[1].decode(), header[2], int(header[3])
        at = header.end() + size + 1
        if kind != b"tree":
            found += leaks(f"{name[:12]} {names[name] or 'message'}".strip(), content[header.end() : at - 1])
    return found


def in_checkout(checkout: Path) -> list[Leak]:
    """What leaks in the files that git tracks or would take."""
    listed = _git(checkout, "ls-files", "-z", "--cached", "--others", "--exclude-standard").decode()
    return in_files(checkout, (name for name in listed.split("\0") if name and (checkout / name).is_file()))


def _git(checkout: Path, *arguments: str, given: bytes = b"") -> bytes:
    done = subprocess.run(["git", *arguments], cwd=checkout, input=given, capture_output=True, check=False)
    if done.returncode:
        raise TerminalError(f"git failed: {done.stderr.decode(errors='replace').strip()}.")
    return done.stdout


def main(checkout: Path = ROOT) -> int:
    """Read history and checkout; without git, as in a build, there is nothing that the commit's own check left out."""
    if not (checkout / ".git").exists():
        print("There is no history of git here.")
        return 0
    found = [*in_history(checkout), *in_checkout(checkout)]
    for leak in found:
        print(leak, file=sys.stderr)
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
