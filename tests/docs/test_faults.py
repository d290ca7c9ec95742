"""Every test and every case that docs/faults.md names exists, and every case is named."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from coinbeam.settings import ROOT

PAGE = (ROOT / "docs" / "faults.md").read_text(encoding="utf-8")
ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and not line.startswith("| What happens")]
TESTS = sorted(set(re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", PAGE)))
CASES = ROOT / "tests" / "faults" / "cases"


@cache
def functions(path: str) -> frozenset[str]:
    """Names of the functions of a file of tests."""
    tree = ast.parse((ROOT / path).read_text(encoding="utf-8"))
    return frozenset(node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef))


@pytest.mark.parametrize(("path", "name"), TESTS, ids=[name for _, name in TESTS])
def test_every_named_test_exists(path: str, name: str) -> None:
    assert name in functions(path)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].strip())
def test_every_row_says_what_is_done_and_names_a_test(row: str) -> None:
    _, _, done, tests, _ = row.split("|")
    assert done.strip()
    assert "`tests/" in tests


def test_every_case_is_named_and_every_named_case_exists() -> None:
    named = {Path(path).name for path in re.findall(r"`tests/faults/cases/(\w+)`", PAGE)}
    assert named == {case.name for case in CASES.iterdir() if (case / "case.yaml").exists()}
