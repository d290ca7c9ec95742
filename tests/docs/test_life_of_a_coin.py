"""The way of a coin is as the page says: each door exists, each file is opened by the one before it, and they are few."""

import ast
import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "life_of_a_coin.md").read_text(encoding="utf-8")
DOOR = re.compile(r"^\| (?P<number>\d+) \| .+ \| `(?P<path>[^`]+)`(?: `(?P<name>[^`]+)`)? \|$", re.MULTILINE)
DOORS = [(int(door["number"]), door["path"], door["name"]) for door in DOOR.finditer(PAGE)]
MOST = 40


def defined(path: Path) -> set[str]:
    """Functions, classes and methods of a module by their dotted names."""
    names: set[str] = set()

    def visit(body: list[ast.stmt], prefix: str) -> None:
        for node in body:
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                names.add(f"{prefix}{node.name}")
                if isinstance(node, ast.ClassDef):
                    visit(node.body, f"{prefix}{node.name}.")

    visit(ast.parse(path.read_text(encoding="utf-8")).body, "")
    return names


@pytest.mark.parametrize(("number", "path", "name"), DOORS)
def test_every_door_exists(number: int, path: str, name: str | None) -> None:
    assert (ROOT / path).is_file(), f"door {number}"
    assert name is None or name in defined(ROOT / path), f"door {number}"
    assert (name is None) == (not path.endswith(".py")), "a module is entered by a name"


def test_the_doors_are_counted_and_few() -> None:
    assert [number for number, _, _ in DOORS] == list(range(1, len(DOORS) + 1))
    assert len(DOORS) <= MOST
    assert len({(path, name) for _, path, name in DOORS}) == len(DOORS)


def test_a_row_that_is_no_door_is_not_overlooked() -> None:
    rows = [line for line in PAGE.splitlines() if re.match(r"\| *\d", line)]
    assert len(rows) == len(DOORS)


def test_a_door_that_moved_is_found() -> None:
    assert "read_page" in defined(ROOT / "beam_pipelines/snapshot/page.py")
    assert "read_pages" not in defined(ROOT / "beam_pipelines/snapshot/page.py")
