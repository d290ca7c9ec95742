"""What Composer receives is what its DAGs import: no package that nobody imports, no import of what is not shipped."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

from coinbeam.settings import ROOT
from deploy.loader import DAG_FILE, PACKAGES
from deploy.tree import SHIPPED, shipped


def modules(root: Path) -> dict[str, Path]:
    """The shipped modules of a tree by name; a package has the name of its folder."""
    found = {}
    for path in shipped(root):
        if path.endswith(".py"):
            found[path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")] = root / path
    return found


def imports(name: str, path: Path) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Each module that a file imports, anywhere in it, and the names that it takes from there."""
    package = name if path.name == "__init__.py" else name.rpartition(".")[0]
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((alias.name, ()) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
            yield ".".join([*above, *filter(None, [node.module])]), tuple(alias.name for alias in node.names)


def faults(root: Path) -> list[str]:
    """Imports of ours that are not shipped, and shipped packages that no DAG reaches."""
    known, own = modules(root), {path.parent.name for path in root.glob("*/*.py")}
    waiting = [name for name, path in known.items() if name.startswith("dags.") and path.name.endswith(DAG_FILE)]
    reached: set[str] = set()
    missing: set[str] = set()
    while waiting:
        name = waiting.pop()
        reached.add(name)
        for module, names in imports(name, known[name]):
            if module.partition(".")[0] not in own:
                continue
            if module not in known:
                missing.add(f"{name} imports {module}, which is not shipped")
            parts = module.split(".")
            parents = {".".join(parts[:count]) for count in range(1, len(parts) + 1)}
            wanted = parents | {f"{module}.{taken}" for taken in names}
            waiting += [found for found in wanted & known.keys() if found not in reached]
    packages = {name for name, path in known.items() if path.name == "__init__.py"}
    packages |= {name.partition(".")[0] for name in known}
    idle = {package for package in packages if not any(f"{name}.".startswith(f"{package}.") for name in reached)}
    return sorted(missing) + [f"{package} is shipped, and no DAG imports it" for package in sorted(idle)]


def test_a_release_ships_the_packages_that_its_dags_import_and_no_other() -> None:
    assert faults(ROOT) == []


def test_every_shipped_package_is_one_that_the_loader_knows() -> None:
    assert {folder for folder, patterns in SHIPPED.items() if "**/*.py" in patterns} == set(PACKAGES)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A checkout with one DAG that imports one package."""
    files = {
        "dags/market_dag.py": "from coinbeam.marts import plan\n",
        "coinbeam/__init__.py": "",
        "coinbeam/marts/__init__.py": "",
        "coinbeam/marts/plan.py": "import json\n",
        "local/cloud.py": "",
    }
    for path, text in files.items():
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text, encoding="utf-8")
    return tmp_path


def test_a_tree_without_drift_has_no_fault(tree: Path) -> None:
    assert faults(tree) == []


def test_a_package_that_nobody_imports_is_found(tree: Path) -> None:
    (tree / "coinbeam" / "desk").mkdir()
    (tree / "coinbeam" / "desk" / "__init__.py").touch()
    assert faults(tree) == ["coinbeam.desk is shipped, and no DAG imports it"]


@pytest.mark.parametrize(
    ("text", "missing"),
    [
        pytest.param("from local.cloud import up\n", "local.cloud", id="a module of a package that stays at home"),
        pytest.param("def up() -> None:\n    import local.cloud\n", "local.cloud", id="an import within a function"),
        pytest.param("from ..gone import it\n", "coinbeam.gone", id="a module that is not there"),
    ],
)
def test_an_import_of_something_that_is_not_shipped_is_found(tree: Path, text: str, missing: str) -> None:
    (tree / "coinbeam" / "marts" / "plan.py").write_text(text, encoding="utf-8")
    assert faults(tree) == [f"coinbeam.marts.plan imports {missing}, which is not shipped"]
