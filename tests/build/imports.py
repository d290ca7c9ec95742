"""What our code imports, and which distribution each import comes from."""

import ast
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
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


def imported_by(function: Callable[..., object], within: str) -> set[str]:
    """What a function imports in its body, and what the modules of a package import that it reaches by that.

    Args:
        function: imports what it needs when it is called.
        within: the package of ours whose modules are followed.

    Returns:
        Distributions, and top-level packages of ours.
    """
    waiting = list(_imports(ast.parse(textwrap.dedent(inspect.getsource(function)))))
    seen: set[Path] = set()
    found: set[str] = set()
    while waiting:
        candidates = waiting.pop()
        top = candidates[-1].partition(".")[0]
        if (ROOT / top).is_dir():
            found.add(top)
        elif top not in sys.stdlib_module_names:
            found.add(_distribution(candidates))
        path = _file(candidates)
        if top == within and path is not None and path not in seen:
            seen.add(path)
            waiting += _imports(ast.parse(path.read_text(encoding="utf-8")))
    return found


def _file(candidates: list[str]) -> Path | None:
    """The file of the first of the names that is a module of ours."""
    paths = (ROOT / f"{name.replace('.', '/')}{end}" for name in candidates for end in (".py", "/__init__.py"))
    return next((path for path in paths if path.is_file()), None)
