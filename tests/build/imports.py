"""What our code imports, and which distribution each import comes from."""

import ast
import sys
from collections.abc import Iterator
from functools import cache
from importlib.metadata import distributions
from pathlib import Path

from packaging.utils import canonicalize_name

from coinbeam.settings import ROOT


def imported(folder: Path, own: set[str]) -> dict[str, set[str]]:
    """Every import of the modules below a folder, wherever it stands in them.

    Args:
        folder: a package.
        own: top-level packages that are not looked for.

    Returns:
        The distributions, each with the modules that import it. An import that nothing installed provides is told by
        its own name.
    """
    found: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        for candidates in _imports(ast.parse(path.read_text(encoding="utf-8"))):
            if candidates[-1].partition(".")[0] not in own | set(sys.stdlib_module_names):
                found.setdefault(_distribution(candidates), set()).add(path.relative_to(ROOT).as_posix())
    return found


def _imports(tree: ast.Module) -> Iterator[list[str]]:
    """The names that each import may mean, the longest first: ``from a import b`` takes a module or a name of one."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from ([alias.name] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            yield from ([f"{node.module}.{alias.name}", str(node.module)] for alias in node.names)


def _distribution(candidates: list[str]) -> str:
    for name in candidates:
        if name in _modules():
            return _modules()[name]
    return candidates[-1]


@cache
def _modules() -> dict[str, str]:
    """The distribution of every module that is installed here, by dotted name."""
    owners: dict[str, str] = {}
    for distribution in distributions():
        name = canonicalize_name(distribution.metadata["Name"])
        for file in distribution.files or ():
            if file.suffix in {".py", ".so"} and ".." not in file.parts:
                parts = [*file.parts[:-1], file.name.partition(".")[0]]
                owners.setdefault(".".join(parts[:-1] if parts[-1] == "__init__" else parts), name)
    return owners
