"""The pages themselves: no link leads nowhere, and every runbook says what a runbook must say."""

import re
from pathlib import Path

import pytest

from coinbeam.settings import ROOT

DOCS = ROOT / "docs"
PAGES = sorted([*DOCS.rglob("*.md"), *ROOT.glob("*.md")])
RUNBOOKS = sorted(path for path in (DOCS / "runbooks").glob("*.md") if path.name != "README.md")
PARTS = ("When", "How to see it", "Steps", "How to know that it is over", "Never")

_LINK = re.compile(r"(?<!`)!?\[[^\]]*\]\((?P<target>[^)\s]+)\)")


def named(path: Path) -> str:
    """A path as the repository knows it."""
    return path.relative_to(ROOT).as_posix()


def anchors(page: Path) -> set[str]:
    """The anchors of the headings of a page, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


def dead_links(page: Path, text: str) -> list[str]:
    """The relative links that lead nowhere.

    Args:
        page: where the text stands.
        text: Markdown.
    """
    dead = []
    for target in _LINK.findall(text):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        if not file.exists() or (anchor and anchor not in anchors(file)):
            dead.append(target)
    return dead


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_every_relative_link_resolves(page: Path) -> None:
    assert dead_links(page, page.read_text(encoding="utf-8")) == []


def test_a_dead_link_would_be_found() -> None:
    alive = "[a](quality.md) [b](https://example.com/x) [c](quality.md#quality)"
    assert dead_links(DOCS / "cloud.md", alive) == []
    dead = "[a](no_such_page.md) [b](quality.md#no-such-heading) ![c](no.png)"
    assert dead_links(DOCS / "cloud.md", dead) == ["no_such_page.md", "quality.md#no-such-heading", "no.png"]


@pytest.mark.parametrize("runbook", RUNBOOKS, ids=named)
def test_a_runbook_says_when_how_and_what_never(runbook: Path) -> None:
    text = runbook.read_text(encoding="utf-8")
    assert tuple(re.findall(r"^## (.+)$", text, re.MULTILINE)) == PARTS
    for part in text.split("\n## ")[1:]:
        assert len(part.partition("\n")[2].strip()) > 40, part[:40]
    assert text.count("- Never") >= 2


def test_the_index_names_every_runbook_and_no_other() -> None:
    text = (DOCS / "runbooks" / "README.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| \[(\w+)\]\((\w+)\.md\) \|", text, re.MULTILINE)
    assert {name for name, _ in rows} == {target for _, target in rows} == {path.stem for path in RUNBOOKS}


def test_the_page_of_the_cloud_names_folders_of_tests_that_exist() -> None:
    text = (DOCS / "cloud.md").read_text(encoding="utf-8")
    folders = set(re.findall(r"`(tests/[\w/.]+)`", text))
    assert len(folders) > 8
    assert [folder for folder in sorted(folders) if not (ROOT / folder).exists()] == []
