"""The repository as a whole: what no single module can promise."""

import ast
import re
import subprocess
import tomllib
from functools import cache
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from coinbeam.settings import ROOT

PACKAGES = ("coinbeam", "beam_pipelines", "runs", "local", "dags", "benchmarks")
APART = {"end_to_end", "build", "warehouse"}
"""Folders of tests that look at more than one folder of the code."""

LARGEST_FILE = 1_000_000


@cache
def tracked() -> tuple[Path, ...]:
    """The files that git tracks and that are still there."""
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=False)
    if listed.returncode:
        pytest.skip("this is not a git checkout")
    return tuple(path for name in listed.stdout.split("\0") if name and (path := ROOT / name).is_file())


@cache
def texts() -> dict[str, str]:
    """The tracked files that hold text, by their path in the repository."""
    found = {}
    for path in tracked():
        raw = path.read_bytes()
        if b"\0" not in raw:
            found[path.relative_to(ROOT).as_posix()] = raw.decode("utf-8")
    return found


@cache
def modules() -> dict[str, ast.Module]:
    """Our Python modules, parsed."""
    return {
        name: ast.parse(text)
        for name, text in texts().items()
        if name.endswith(".py") and name.split("/")[0] in PACKAGES
    }


MACHINE_PATHS = {
    "a home folder": re.compile(r"(?<![\w.])/(?:home|Users|root|work)/(?!airflow\b)[\w.-]+"),
    "a folder of Windows": re.compile(r"\b[A-Z]:\\\\?Users\b"),
    "a temporary file": re.compile(r"(?<![\w.])/tmp/(?!coinbeam\b)[\w.-]+/[\w./-]+"),
}


@pytest.mark.parametrize("pattern", MACHINE_PATHS.values(), ids=MACHINE_PATHS)
def test_no_file_names_a_path_of_one_machine(pattern: re.Pattern[str]) -> None:
    own = Path(__file__).relative_to(ROOT).as_posix()
    found = {name: hits for name, text in texts().items() if name != own and (hits := pattern.findall(text))}
    assert found == {}


@pytest.mark.parametrize(
    "line",
    ["see /home/someone/x", "open('/root/.cache')", "C:\\Users\\x", "/tmp/x/notes.txt"],
    ids=["home", "root", "windows", "temporary"],
)
def test_the_patterns_would_find_such_a_path(line: str) -> None:
    assert any(pattern.search(line) for pattern in MACHINE_PATHS.values())


INSTALLED = [
    "requirements.txt",
    "config/beam-requirements.txt",
    "config/serving-requirements.txt",
    "config/bench-requirements.txt",
]
"""What `make env`, the images and `make bench` install."""


@pytest.mark.parametrize("name", INSTALLED)
def test_every_pinned_package_is_held_to_its_hashes(name: str) -> None:
    blocks = re.split(r"^(?=[A-Za-z0-9])", texts()[name], flags=re.MULTILINE)[1:]
    assert len(blocks) >= len(requirements(name)) > 5
    assert [
        block for block in blocks if not re.search(r"^    --hash=sha256:[0-9a-f]{64}( \\)?$", block, re.MULTILINE)
    ] == []


def test_nothing_is_installed_without_its_hash() -> None:
    """A requirements file with hashes is only held to them whole if its installer is told so."""
    read = ("Makefile", "Dockerfile", "serving.Dockerfile")
    lines = [
        line for name in read for line in texts()[name].splitlines() if "pip install" in line and " -e ." not in line
    ]
    assert len(lines) >= 6
    assert [line for line in lines if "--require-hashes" not in line] == []


@pytest.mark.parametrize("name", INSTALLED)
def test_the_pinned_requirements_name_no_index_of_their_own(name: str) -> None:
    text = texts()[name]
    assert re.findall(r"https?://\S+", text) == []
    assert not re.search(r"^\s*(--index-url|--extra-index-url|--find-links|-i|-f)\b", text, re.MULTILINE)


def requirements(name: str = "requirements.txt") -> dict[str, str]:
    """The pins of a file by canonical name."""
    lines = [line for line in texts()[name].splitlines() if line and not line.startswith((" ", "#", "-"))]
    pinned = {}
    for line in lines:
        requirement = Requirement(line.removesuffix(" \\"))
        (pin,) = requirement.specifier
        assert pin.operator == "==", line
        pinned[canonicalize_name(requirement.name)] = pin.version
    return pinned


def direct() -> list[Requirement]:
    """Every direct dependency of pyproject.toml, extras included."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    groups = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(text) for group in groups for text in group]


@pytest.mark.parametrize(
    "requirement", [one for one in direct() if one.name != "coinbeam"], ids=lambda requirement: str(requirement.name)
)
def test_every_direct_dependency_is_pinned_within_its_bounds(requirement: Requirement) -> None:
    pins = requirements("config/bench-requirements.txt") | requirements()
    version = pins.get(canonicalize_name(requirement.name))
    assert version is not None, f"{requirement.name} is not in requirements.txt: run `make requirements`"
    assert requirement.specifier.contains(version, prereleases=True), version


def test_every_direct_dependency_says_why_it_is_there() -> None:
    text = (ROOT / "pyproject.toml").read_text(encoding="utf-8")
    block = text[text.index("dependencies = [") : text.index("[project.scripts]")]
    entries = [line for line in block.splitlines() if line.strip().startswith('"')]
    assert len(entries) == len(direct())
    assert [line for line in entries if "#" not in line] == []


def test_no_tracked_file_is_large() -> None:
    """Captures of real answers stay outside the repository."""
    assert {path.name: path.stat().st_size for path in tracked() if path.stat().st_size > LARGEST_FILE} == {}


def test_nothing_that_a_run_leaves_behind_is_tracked() -> None:
    left = [
        name
        for name in texts()
        if re.search(r"(^|/)(\.coinbeam|\.venv|__pycache__|\.hypothesis|airflow\.db)(/|$)", name)
    ]
    assert left == []


def test_every_target_of_the_makefile_is_documented_and_listed() -> None:
    text = texts()["Makefile"]
    targets = set(re.findall(r"^([a-z][a-z-]*):(?!=)", text, re.MULTILINE))
    documented = set(re.findall(r"^([a-z][a-z-]*):.*?## \S", text, re.MULTILINE))
    phony = re.search(r"^\.PHONY: (.+)$", text, re.MULTILINE)
    assert phony is not None
    assert targets == documented == set(phony[1].split())


def test_make_alone_lists_every_target() -> None:
    listed = subprocess.run(
        ["make", "-C", str(ROOT), "--no-print-directory"], capture_output=True, text=True, check=False
    )
    assert listed.returncode == 0, listed.stderr
    for target in re.findall(r"^([a-z][a-z-]*):(?!=)", texts()["Makefile"], re.MULTILINE):
        assert f"make {target} " in listed.stdout


def public(tree: ast.Module, prefix: str = "") -> list[tuple[str, ast.AST]]:
    """The public classes, functions and methods of a module."""
    found: list[tuple[str, ast.AST]] = []
    stack: list[tuple[str, ast.AST]] = [(prefix, tree)]
    while stack:
        name, node = stack.pop()
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not child.name.startswith(
                "_"
            ):
                found.append((f"{name}.{child.name}".lstrip("."), child))
                if isinstance(child, ast.ClassDef):
                    stack.append((f"{name}.{child.name}".lstrip("."), child))
    return found


def test_every_module_and_everything_public_has_a_docstring() -> None:
    missing = [name for name, tree in modules().items() if not ast.get_docstring(tree)]
    missing += [
        f"{name}: {thing}"
        for name, tree in modules().items()
        for thing, node in public(tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) and not ast.get_docstring(node)
    ]
    assert missing == []


def test_every_parameter_and_result_of_ours_is_typed() -> None:
    untyped = []
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
                bare = [a.arg for a in arguments if a.annotation is None and a.arg not in {"self", "cls"}]
                untyped += [f"{name}: {node.name}({', '.join(bare)})"] if bare or node.returns is None else []
    assert untyped == []


CALENDARS = {"datetime", "date", "dt.datetime", "dt.date", "datetime.datetime", "datetime.date"}


def test_now_is_never_naive() -> None:
    naive = []
    for name, tree in modules().items():
        for node in ast.walk(tree):
            if (
                isinstance(node, ast.Call)
                and isinstance(node.func, ast.Attribute)
                and ast.unparse(node.func.value) in CALENDARS
            ):
                called = node.func.attr
                if called in {"utcnow", "utcfromtimestamp", "today"} or (
                    called == "now" and not node.args and not node.keywords
                ):
                    naive.append(f"{name}:{node.lineno}")
    assert naive == []


def test_only_the_clock_reads_the_wall() -> None:
    """A module that reads the clock itself cannot be tested at another time."""
    readers = {
        name
        for name, tree in modules().items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call)
        and ast.unparse(node.func) in {"datetime.now", "datetime.datetime.now"}
        and name.startswith("coinbeam/")
    }
    assert readers <= {"coinbeam/clock.py"}


def test_nothing_is_left_to_do_in_the_code() -> None:
    words = re.compile(r"\b(" + "|".join(("TO" + "DO", "FIX" + "ME", "X" * 3, "HA" + "CK")) + r")\b")
    assert {
        name: words.findall(text)
        for name, text in texts().items()
        if name.endswith((".py", ".sql", ".yaml")) and words.search(text)
    } == {}


def test_no_module_is_a_drawer_for_everything() -> None:
    drawers = {"utils", "util", "helpers", "helper", "common", "misc"}
    assert [name for name in texts() if drawers & {part.removesuffix(".py") for part in name.split("/")}] == []


def test_tests_mirror_the_tree() -> None:
    """A folder of tests is a folder of the code; whole-repository and end-to-end tests stand apart."""
    folders = {
        str(Path(name).parent.relative_to("tests")) for name in texts() if re.match(r"tests/.+/test_\w+\.py$", name)
    }
    assert [
        folder
        for folder in sorted(folders)
        if folder not in {"end_to_end", "build", "docs", "faults", "warehouse", "serving/clients"}
        and not (ROOT / folder).is_dir()
    ] == []


def test_our_functions_are_short() -> None:
    """The norm of the project: a median of ten lines, nine in ten under forty."""
    lengths = sorted(
        (node.end_lineno or node.lineno) - node.body[0].lineno + 1
        for tree in modules().values()
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    )
    assert lengths[len(lengths) // 2] <= 10
    assert lengths[len(lengths) * 9 // 10] < 40


@pytest.mark.xdist_group("together")
def test_tests_of_a_group_stay_in_one_process(request: pytest.FixtureRequest) -> None:
    if not getattr(request.config.option, "loadgroup", False):
        pytest.skip("nobody asked for groups: `--dist loadgroup`")
    assert request.node.nodeid.endswith("@together"), (
        "xdist does not know this version of pytest, and ignores its groups in silence"
    )
