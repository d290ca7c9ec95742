"""The image of the API and the dashboard holds what they need and no more, and a release puts it into the services that
Terraform makes.
"""

import os
import subprocess
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from subprocess import Popen

import pytest
import requests
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from coinbeam.settings import ROOT
from local.environment import HOST
from tests.build import serving
from tests.build.cloudbuild import FILE, read, script, substitute, text, values
from tests.build.imports import imported
from tests.build.serving import REQUIREMENTS, Image, pins
from tests.deploy.emulator import running
from tests.docs.test_commands import fault_of_gcloud
from tests.infra.configuration import INFRA, modules
from tests.temporary import free_ports

pytestmark = pytest.mark.xdist_group("build")
OWN = {"coinbeam", "serving", "console"}
RELEASE = "abc1234"
IMAGE = f"us-central1-docker.pkg.dev/acme/coinbeam/serving:{RELEASE}"


def uncovered(requirements: set[str]) -> dict[str, set[str]]:
    """The distributions that the core and serving import and the image would not have, with the modules that import
    them.
    """
    needed: dict[str, set[str]] = {}
    for folder in ("coinbeam", "serving"):
        for name, found in imported(ROOT / folder, OWN).items():
            needed.setdefault(name, set()).update(found)
    return {name: found for name, found in needed.items() if name not in requirements}


def test_every_import_of_ours_is_in_the_requirements_of_the_image() -> None:
    assert uncovered(set(pins(REQUIREMENTS))) == {}


def test_a_package_that_is_missing_is_found() -> None:
    found = uncovered(set(pins(REQUIREMENTS)) - {"orjson"})
    assert set(found) == {"orjson"}


def test_the_image_has_the_core_and_serving_as_the_environment_pins_them() -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    asked = [*project["dependencies"], *project["optional-dependencies"]["serving"]]
    held, everywhere = pins(REQUIREMENTS), pins(ROOT / "requirements.txt")
    assert {canonicalize_name(Requirement(one).name) for one in asked} <= set(held)
    assert {name: version for name, version in held.items() if everywhere.get(name) != version} == {}
    assert {"apache-airflow", "apache-beam", "bqemulator", "duckdb"} & set(held) == set()


def test_nothing_of_this_environment_is_seen_from_the_image(image: Image) -> None:
    looked = subprocess.run([image.python, "-c", "import airflow"], capture_output=True, text=True, check=False)
    assert "No module named 'airflow'" in looked.stderr


def settled(service: str) -> dict[str, str]:
    """What Terraform says of a service and nothing else: its command, and the paths of its probes."""
    [main] = [body for _, body in modules()["modules/serving"].blocks("locals")]
    return {name: str(value).strip('"') for name, value in main["services"][service].items()}


def arguments(service: str) -> list[str]:
    """What Terraform starts a service with."""
    assert 'args  = [each.value.command, "--host", "0.0.0.0", "--port", "8080"]' in module_text()
    return [settled(service)["command"], "--host", "0.0.0.0", "--port", "8080"]


def module_text() -> str:
    return (INFRA / "modules" / "serving" / "main.tf").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    """The image, with the packages that it installs and no other."""
    return serving.build(tmp_path_factory.mktemp("image"), set(pins(REQUIREMENTS)))


@pytest.fixture
def cloud() -> Iterator[dict[str, str]]:
    """The environment of a service on Cloud Run, with an emulator in the place of its bucket, which is empty."""
    with running() as server:
        server.create_bucket("acme-coinbeam")
        yield {
            "PATH": os.environ["PATH"],
            "STORAGE_EMULATOR_HOST": f"http://{HOST}:{server.port}",
            "COINBEAM_GOOGLE__PROJECT": "acme",
            "COINBEAM_STORAGE__BUCKET": "acme-coinbeam",
        }


@contextmanager
def started(image: Image, cloud: Mapping[str, str], arguments: list[str], folder: Path) -> Iterator["Popen[bytes]"]:
    """A container of the image, without the container; it says what it says into ``said``."""
    variables = serving.variables() | {"PYTHONPATH": str(image.tree), "COINBEAM_SERVING__CACHE_DIR": str(folder)}
    with (folder / "said").open("wb") as said:
        process = Popen(
            [image.python, "-m", "console", *arguments],
            cwd=image.tree,
            env={**cloud, **variables},
            stdout=said,
            stderr=said,
        )
        try:
            yield process
        finally:
            process.kill()
            process.wait(timeout=20)


@pytest.mark.cloud
@pytest.mark.parametrize("service", ["api", "dashboard"])
def test_a_service_starts_with_its_arguments_and_the_packages_of_the_image_alone(
    service: str, image: Image, cloud: dict[str, str], tmp_path: Path
) -> None:
    [port] = free_ports(1)
    here = [{"0.0.0.0": HOST, "8080": str(port)}.get(word, word) for word in arguments(service)]
    with started(image, cloud, here, tmp_path) as process:
        ends = time.monotonic() + 60
        while time.monotonic() < ends and process.poll() is None:
            with suppress(requests.ConnectionError):
                answer = requests.get(f"http://{HOST}:{port}{settled(service)['alive']}", timeout=5)
                assert answer.status_code == 200
                break
            time.sleep(0.05)
        else:
            pytest.fail(f"it did not start: {(tmp_path / 'said').read_text()}")
        if service == "api":
            refused = requests.get(f"http://{HOST}:{port}/api/v3/ping?x_cg_demo_api_key=cbk_secret", timeout=5)
            assert refused.status_code == 401
            process.terminate()
            process.wait(timeout=20)
            said = (tmp_path / "said").read_text()
            assert "GET /api/v3/ping 401" in said
            assert "cbk_secret" not in said


def test_the_context_of_the_images_holds_what_they_copy_and_nothing_else() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    copied = set().union(*(serving.copied(file) for file in ROOT.glob("*Dockerfile")))
    assert "*" in ignored
    assert {line[1:] for line in ignored if line.startswith("!")} == {name.split("/")[0] for name in copied}


def test_the_process_is_not_root_and_owns_its_cache_alone() -> None:
    lines = [line for line in serving.DOCKERFILE.read_text().splitlines() if line and not line.startswith("#")]
    assert lines[-2:] == ["USER 10001", 'ENTRYPOINT ["python", "-m", "console"]']
    cache = serving.variables()["COINBEAM_SERVING__CACHE_DIR"]
    assert [line for line in lines if line.startswith("RUN useradd") and line.endswith(f"--owner coinbeam {cache}")]
    assert not any("chown" in line for line in lines)
    assert lines[0].startswith(f"FROM python:{serving.PYTHON}-slim-bookworm@sha256:")


DIGEST = f"us-central1-docker.pkg.dev/acme/coinbeam/serving@sha256:{'1' * 64}"
ANSWERS = f"""for last; do :; done
case "$1" in
  inspect) echo other/name@sha256:{"2" * 64}; echo "${{last%:*}}@sha256:{"1" * 64}" ;;
  run) echo bill of; head -c 3 ;;
esac
"""
"""What docker says of an image that was pushed, and what a program in it says: the beginning of what it was given."""


def executed(step_id: str, tmp_path: Path, file: Path = FILE, **given: str) -> tuple[int, list[list[str]]]:
    """Run a step with programs in the place of docker and gcloud that write down how they were called.

    Neither has an emulator; what was written is held to gcloud's own list of commands.
    """
    build = read(text(file))[1]
    [step] = [step for step in build.steps if step.id == step_id]
    known = values(build, PROJECT_ID="acme", SHORT_SHA=RELEASE, **given)
    calls = tmp_path / "calls"
    calls.touch()
    for name in ("docker", "gcloud"):
        (tmp_path / name).write_text(f'#!/bin/sh\necho {name} "$@" >> "{calls}"\n{ANSWERS}')
        (tmp_path / name).chmod(0o755)
    if not (tmp_path / "deploy").exists():
        (tmp_path / "deploy").symlink_to(ROOT / "deploy")
    done = subprocess.run(
        ["bash", "-c", substitute(script(step) or "", known)],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:{os.environ['PATH']}"},
        capture_output=True,
        timeout=30,
        check=False,
    )
    return done.returncode, [line.split() for line in calls.read_text().splitlines()]


@pytest.mark.parametrize("step", ["serving-revisions", "serving-traffic"])
def test_nothing_is_deployed_by_default(step: str, tmp_path: Path) -> None:
    assert executed(step, tmp_path) == (0, [])


@pytest.mark.parametrize("word", ["off", "image", "deploy"])
def test_the_image_is_there_before_there_is_a_service(word: str, tmp_path: Path) -> None:
    code, calls = executed("serving-image", tmp_path, _SERVING=word)
    assert code == 0
    assert calls[:2] == [
        ["docker", "build", "--file", serving.DOCKERFILE.name, "--tag", IMAGE, "."],
        ["docker", "push", IMAGE],
    ]
    assert [call[1] for call in calls[2:]] == ["inspect", "run"]
    if word != "deploy":
        for step in ("serving-revisions", "serving-traffic"):
            assert executed(step, tmp_path, _SERVING=word) == (0, calls), "and none is deployed"


def test_a_pushed_image_leaves_its_digest_and_what_it_holds(tmp_path: Path) -> None:
    """The bill is made by the image's own interpreter, which is given the program."""
    code, calls = executed("serving-image", tmp_path)
    assert code == 0
    assert (tmp_path / "images" / "serving.digest").read_text() == f"{DIGEST}\n"
    assert (tmp_path / "images" / "serving.cdx.json").read_text() == 'bill of\n"""'
    assert calls[-1] == ["docker", "run", "--rm", "--interactive", "--entrypoint", "python", IMAGE, "-", IMAGE]


def test_a_release_starts_the_revisions_first_and_gives_them_requests_later(tmp_path: Path) -> None:
    code, calls = executed("serving-revisions", tmp_path, _SERVING="deploy")
    assert code == 0
    assert [call[:5] for call in calls] == [["gcloud", "run", "services", "update", name] for name in services()]
    assert all(call[call.index("--image") + 1] == IMAGE and "--no-traffic" in call for call in calls)
    code, calls = executed("serving-traffic", tmp_path, _SERVING="deploy")
    assert code == 0
    assert [call[3:5] for call in calls[2:]] == [["update-traffic", name] for name in services()]
    assert [fault_of_gcloud(call[1:]) for call in calls] == [None] * 4


def services() -> list[str]:
    """The names of the services that Terraform makes."""
    assert 'name                = "coinbeam-${each.key}"' in module_text()
    [main] = [body for _, body in modules()["modules/serving"].blocks("locals")]
    return [f"coinbeam-{key}" for key in main["services"] if not key.startswith("__")]


def test_a_word_that_says_neither_is_refused(tmp_path: Path) -> None:
    assert executed("serving-image", tmp_path, _SERVING="on") == (1, [])


def test_terraform_makes_the_services_with_the_image_that_a_release_pushes() -> None:
    main = (INFRA / "main.tf").read_text(encoding="utf-8")
    assert 'image         = "${module.registry.prefix}/serving:${var.serving.release}"' in main
    assert "template[0].containers[0].image" in module_text().partition("ignore_changes")[2]
