"""The command lines that pages tell a person to type, taken out of their Markdown."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from coinbeam.settings import ROOT

PROGRAMS = ("coinbeam", "gcloud", "terraform", "make", "python")
"""Programs whose command lines are checked."""

_FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<body>.*?)^(?P=indent)```", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`((?:" + "|".join(PROGRAMS) + r") [^`\n]+)`")
_NESTED = re.compile(r"\$\(([^()]*)\)")
_SEPARATORS = {"&&", "||", "|", ";"}


@dataclass(frozen=True)
class Command:
    """A command line on a page.

    Attributes:
        page: path of the page in the repository.
        words: program and arguments, as a shell splits them.
    """

    page: str
    words: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.page}: {shlex.join(self.words)}"

    @property
    def program(self) -> str:
        """The first word."""
        return self.words[0]

    @property
    def arguments(self) -> list[str]:
        """Everything after the program."""
        return list(self.words[1:])


def commands(page: Path) -> list[Command]:
    """The command lines of a page: in its blocks of shell code, and in its running text where a command has arguments.

    Args:
        page: a Markdown file below the repository.
    """
    text, name = page.read_text(encoding="utf-8"), page.relative_to(ROOT).as_posix()
    blocks = [block["body"] for block in _FENCE.finditer(text) if block["language"] in {"", "sh"}]
    lines = [line for body in blocks for line in body.replace("\\\n", " ").splitlines()]
    inline = _INLINE.findall(_FENCE.sub("", text))
    return [Command(name, words) for line in (*lines, *inline) for words in simple_commands(line)]


def simple_commands(line: str) -> Iterator[tuple[str, ...]]:
    """The commands of a shell line, those of its substitutions first; only of programs that are checked."""
    for nested in _NESTED.findall(line):
        yield from simple_commands(nested)
    lexer = shlex.shlex(_NESTED.sub("SUBSTITUTED", line), posix=True, punctuation_chars=";&|")
    lexer.whitespace_split = True
    words: list[str] = []
    for token in [*lexer, ";"]:
        if token in _SEPARATORS:
            yield from _checked(words)
            words = []
        else:
            words.append(token)


def _checked(words: list[str]) -> Iterator[tuple[str, ...]]:
    """The words without the variables set before them, where they begin with a program that is checked."""
    while words and re.match(r"[A-Z_]+=", words[0]):
        words = words[1:]
    if words and words[0].rpartition("/")[2] in PROGRAMS:
        yield (words[0].rpartition("/")[2], *words[1:])
