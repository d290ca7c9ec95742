"""Every variable of a runbook's shell is set before it is used: a person types the page from its top."""

import re
from pathlib import Path

import pytest

from coinbeam.settings import ROOT
from tests.docs.commands import _FENCE

RUNBOOKS = sorted((ROOT / "docs" / "runbooks").glob("*.md"))
PRECONDITION = RUNBOOKS[0].parent / "README.md"
OF_THE_SHELL = {"HOME", "PATH", "PWD", "USER"}
_USED = re.compile(r"\$\{?([A-Z][A-Z0-9_]*)\}?")
_SET = re.compile(r"(?:^|[\s;&(])(?:export )?([A-Z][A-Z0-9_]*)=|read -rs? ([A-Z][A-Z0-9_]*)|for ([A-Z]\w*) in")


def faults(text: str, known: set[str]) -> list[str]:
    """The variables that a page uses before it sets them.

    Args:
        text: of the page.
        known: what a page that has to be followed first has set.
    """
    found, known = [], known | OF_THE_SHELL
    for block in _FENCE.finditer(text):
        if block["language"] not in {"", "sh"}:
            continue
        for line in block["body"].splitlines():
            for name in _names_in_order(line):
                if name.startswith("="):
                    known.add(name[1:])
                elif name not in known:
                    found.append(name)
    return found


def _names_in_order(line: str) -> list[str]:
    """What a line uses, and with a leading ``=`` what it sets; an assignment holds from its own end on."""
    used = [(found.start(), found[1]) for found in _USED.finditer(line)]
    is_set = [(found.end(), f"={found[1] or found[2] or found[3]}") for found in _SET.finditer(line)]
    own = [name for name in is_set if not _is_option(line, name[0])]
    return [name for _, name in sorted([*used, *own])]


def _is_option(line: str, end: int) -> bool:
    """Whether an assignment is a word of another command, such as ``make deploy PROJECT=...``."""
    before = line[:end].strip()
    return bool(re.match(r"(?:\S*/)?(?:make|gcloud|coinbeam|terraform)\s", before))


def set_by(text: str) -> set[str]:
    """Every variable that a page sets."""
    lines = [line for block in _FENCE.finditer(text) for line in block["body"].splitlines()]
    return {name[1:] for line in lines for name in _names_in_order(line) if name.startswith("=")}


@pytest.mark.parametrize("page", RUNBOOKS, ids=lambda page: page.stem)
def test_a_runbook_sets_a_variable_before_it_uses_it(page: Path) -> None:
    text = page.read_text(encoding="utf-8")
    nothing_yet = page.stem == "first_deploy" or page == PRECONDITION
    known = set() if nothing_yet else set_by(PRECONDITION.read_text(encoding="utf-8"))
    assert faults(text, known) == []


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        pytest.param('```sh\ngcloud x "$PROJECT"\n```', ["PROJECT"], id="never set"),
        pytest.param("```sh\necho $A\nexport A=1\n```", ["A"], id="set too late"),
        pytest.param("```sh\nmake deploy A=1\necho $A\n```", ["A"], id="a word of another command"),
        pytest.param("```sh\nexport A=1 B=$A\necho $A $B\n```", [], id="set on the same line"),
        pytest.param('```sh\nread -rs KEY && printf %s "$KEY"\n```', [], id="typed by a person"),
    ],
)
def test_a_variable_that_is_used_too_early_would_be_found(text: str, fault: list[str]) -> None:
    assert faults(text, set()) == fault
