"""What Composer holds is what our DAGs need: covered, resolvable, without Beam; and Airflow parses no file that is no
DAG.
"""

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pathspec
import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from coinbeam.errors import TerminalError
from coinbeam.settings import ROOT
from deploy.check import check_release
from deploy.store import IGNORED
from tests.build.composer import IMAGE, IMAGE_INPUT, REQUIREMENTS, UV
from tests.build.imports import imported
from tests.deploy.conftest import Release, make_release

__all__ = ["make_release"]  # a fixture
pytestmark = pytest.mark.xdist_group("build")
OWN = {"coinbeam", "dags"}
INFRA = ROOT / "infra"


def pins(file: Path) -> dict[str, str]:
    """Versions by canonical name."""
    lines = (line for line in file.read_text().splitlines() if line and not line.startswith("#"))
    parsed = [Requirement(line) for line in lines]
    return {canonicalize_name(one.name): str(one.specifier).removeprefix("==") for one in parsed}


def uncovered(image: set[str], requirements: set[str]) -> dict[str, set[str]]:
    """The distributions that our code imports and Composer would not have, with the modules that import them."""
    needed: dict[str, set[str]] = {}
    for folder in sorted(OWN):
        for name, modules in imported(ROOT / folder, OWN).items():
            needed.setdefault(name, set()).update(modules)
    assert {
        "google-cloud-bigquery",
        "google-cloud-storage",
        "apache-airflow-providers-google",
        "orjson",
        "pyyaml",
    } <= set(needed)
    return {name: modules for name, modules in needed.items() if name not in image | requirements}


def test_every_import_of_ours_is_in_the_image_or_in_the_requirements() -> None:
    assert uncovered(set(pins(IMAGE)), set(pins(REQUIREMENTS))) == {}


def test_a_package_that_is_missing_in_the_requirements_is_found() -> None:
    found = uncovered(set(pins(IMAGE)), set(pins(REQUIREMENTS)) - {"orjson"})
    assert set(found) == {"orjson"}
    assert "coinbeam/sources/http/responses.py" in found["orjson"]


def test_nothing_is_required_that_the_image_holds_for_certain_nor_airflow_nor_beam() -> None:
    required = set(pins(REQUIREMENTS))
    assert required & set(pins(IMAGE)) == set()
    assert required & {"apache-airflow", "apache-beam"} == set()
    assert "apache-beam" not in pins(IMAGE), "the DAGs must not need it"
    assert all(re.fullmatch(r"[\w.]+", version) for version in pins(REQUIREMENTS).values()), "each is pinned"


@pytest.mark.parametrize(
    "file", [IMAGE_INPUT, INFRA / "variables.tf", INFRA / "terraform.tfvars.example"], ids=lambda file: file.name
)
def test_the_image_is_that_of_composer(file: Path) -> None:
    airflow = pins(IMAGE_INPUT)["apache-airflow"]
    named = re.findall(r"composer-3-airflow-([\d.]+)-build\.\d+", file.read_text())
    assert named == [airflow], "the image of Terraform and the one that the checks stand on are the same"


def resolve(folder: Path, *requirements: Path) -> "subprocess.CompletedProcess[str]":
    """Let uv resolve the requirements together with the image."""
    without = folder / "without.txt"
    without.write_text("apache-beam\n")
    command = [
        *UV,
        "pip",
        "compile",
        "--quiet",
        "--no-header",
        "--no-annotate",
        "--python-version",
        "3.11",
        "--excludes",
        str(without),
    ]
    constraints = ["--python-platform", "x86_64-manylinux_2_28", "-c", str(IMAGE)]
    files = [str(IMAGE_INPUT), *map(str, requirements)]
    return subprocess.run(
        [*command, *constraints, *files], capture_output=True, text=True, timeout=200, check=False, env=os.environ
    )


def test_image_and_requirements_resolve_together_to_what_is_pinned(tmp_path: Path) -> None:
    done = resolve(tmp_path, REQUIREMENTS)
    assert done.returncode == 0, done.stderr
    resolved = {line.partition("==")[0]: line.partition("==")[2] for line in done.stdout.split()}
    assert resolved == pins(IMAGE) | pins(REQUIREMENTS)


def test_a_requirement_that_contradicts_the_image_is_found(tmp_path: Path) -> None:
    (tmp_path / "wrong.txt").write_text("pydantic<2\n")
    done = resolve(tmp_path, REQUIREMENTS, tmp_path / "wrong.txt")
    assert done.returncode != 0
    assert "pydantic" in done.stderr


def test_the_environment_of_the_checks_is_composers_and_has_no_beam(composer_python: Path) -> None:
    [packages] = composer_python.parent.parent.glob("lib/python*/site-packages")
    installed = {path.name.removesuffix(".dist-info").lower() for path in packages.glob("*.dist-info")}
    wanted = {name: version for name, version in pins(IMAGE_INPUT).items() if version}
    assert {"apache-airflow", "apache-airflow-providers-apache-beam"} <= set(wanted)
    assert {f"{name.replace('-', '_')}-{version}" for name, version in wanted.items()} <= installed
    assert len(installed) == len(pins(IMAGE)) + len(pins(REQUIREMENTS))
    assert not (packages / "apache_beam").exists()


@pytest.mark.airflow
def test_a_package_that_composer_lacks_fails_the_smoke_check(
    composer_python: Path, tmp_path: Path, make_release: Callable[..., Release]
) -> None:
    lacking = without_package(composer_python, tmp_path / "lacking", "open_data_contract_standard")
    release = make_release("new", **{"dags/one_dag.py": "import open_data_contract_standard\n"})
    with pytest.raises(TerminalError, match="No module named 'open_data_contract_standard'"):
        check_release(*release, lacking)


def without_package(python: Path, folder: Path, name: str) -> Path:
    """An environment of links to the packages of another one, without one of them."""
    base = python.parent.parent
    [packages] = base.glob("lib/python*/site-packages")
    copied = folder / packages.relative_to(base)
    copied.mkdir(parents=True)
    for path in packages.iterdir():
        if not path.name.startswith(name):
            (copied / path.name).symlink_to(path)
    (folder / "pyvenv.cfg").write_text((base / "pyvenv.cfg").read_text())
    (folder / "bin").mkdir()
    (folder / "bin" / "python").symlink_to(python.resolve())
    return folder / "bin" / "python"


def test_airflow_parses_the_dags_of_our_folder_and_no_shared_module() -> None:
    ignored = pathspec.PathSpec.from_lines("gitignore", (ROOT / "dags" / ".airflowignore").read_text().splitlines())
    parsed = sorted(path.name for path in (ROOT / "dags").glob("*.py") if not ignored.match_file(path.name))
    assert parsed == sorted(path.name for path in (ROOT / "dags").glob("*_dag.py"))


@pytest.mark.parametrize(
    "path", ["coinbeam_releases/abc/dags/crypto_etl_dag.py", "coinbeam_releases/abc/coinbeam/settings.py"]
)
def test_airflow_never_parses_a_release_in_either_syntax_of_its_ignore_file(path: str) -> None:
    as_glob = pathspec.PathSpec.from_lines("gitignore", [IGNORED])
    assert as_glob.match_file(path)
    assert re.search(IGNORED, path)
    assert not as_glob.match_file("coinbeam_dags.py")
    assert not re.search(IGNORED, "coinbeam_dags.py")
