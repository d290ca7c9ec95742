"""Base images are named by their digests, which a registry gives; a build with another one is refused."""

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from coinbeam.errors import TerminalError, TransientError
from coinbeam.settings import ROOT
from deploy import base_images
from local.environment import HOST
from tests.build.cloudbuild import read, script, text
from tests.deploy.registry import DIGEST, INDEX, Registry, running
from tests.temporary import free_ports

OTHER = f"sha256:{'0' * 64}"


@pytest.fixture
def registry(monkeypatch: pytest.MonkeyPatch) -> Iterator[Registry]:
    """A registry on loopback, which no proxy is asked for."""
    monkeypatch.setenv("no_proxy", HOST)
    with running() as server:
        yield server


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """The files that name base images, in a folder of their own."""
    for path in base_images.files():
        (tmp_path / path.name).write_text(re.sub(r"@sha256:[0-9a-f]{64}", "", path.read_text()))
    return tmp_path


def test_every_image_that_ours_begin_with_is_seen() -> None:
    """A line of another form would be pinned by nobody and missed by nobody."""
    for path in base_images.files():
        source = path.read_text()
        named = re.findall(r"^(?:FROM|  _\w+_BUILDER:) (\S+)", source, re.MULTILINE)
        stages = set(re.findall(r"^FROM .+ AS (\w+)", source, re.MULTILINE))
        seen = [found["name"] for found in base_images._REFERENCE.finditer(source)]
        assert [re.split(r"[:@]", name)[0] for name in named if name not in stages] == seen
        assert seen, path.name


def test_the_files_that_name_images_are_those_of_both_profiles() -> None:
    assert {path.name for path in base_images.files()} == {
        *("Dockerfile", "batch.Dockerfile", "serving.Dockerfile"),
        *("cloudbuild.yaml", "cloudbuild.small.yaml"),
    }


def test_an_image_has_one_digest_everywhere() -> None:
    found = [match for path in base_images.files() for match in base_images._REFERENCE.finditer(path.read_text())]
    pairs = {(match["name"], match["tag"]): match["digest"] for match in found}
    assert [match.group() for match in found if pairs[match["name"], match["tag"]] != match["digest"]] == []


def test_digests_are_written_and_the_next_time_nothing_changes(registry: Registry, checkout: Path) -> None:
    hosts = ("docker.io", "gcr.io")
    registries = dict.fromkeys(hosts, registry.url)
    without = base_images.unpinned(checkout)
    assert "serving.Dockerfile: python:3.11.13-slim-bookworm" in without
    for line in without:
        name, _, tag = line.partition(": ")[2].rpartition(":")
        registry.manifests[f"{base_images._place(name)[1]}:{tag}"] = INDEX
    assert {line.rpartition(" ")[2] for line in base_images.write(checkout, registries)} == {DIGEST}
    assert base_images.unpinned(checkout) == []
    assert f"FROM python:3.11.13-slim-bookworm@{DIGEST}\n" in (checkout / "serving.Dockerfile").read_text()
    for name in ("cloudbuild.yaml", "cloudbuild.small.yaml"):
        assert read((checkout / name).read_text())[1].substitutions["_DOCKER_BUILDER"].endswith(DIGEST)
    assert base_images.write(checkout, registries) == []


def test_a_tag_that_moved_is_told(registry: Registry, checkout: Path) -> None:
    (checkout / "Dockerfile").write_text(f"FROM python:3.11@{OTHER} AS one\nFROM one AS two\n")
    for path in base_images.files(checkout):
        if path.name != "Dockerfile":
            path.write_text("")
    registry.manifests["library/python:3.11"] = INDEX
    assert base_images.write(checkout, {"docker.io": registry.url}) == [f"python:3.11: {OTHER} -> {DIGEST}"]
    assert (checkout / "Dockerfile").read_text() == f"FROM python:3.11@{DIGEST} AS one\nFROM one AS two\n"


@pytest.mark.parametrize(
    ("name", "place"),
    [
        ("python", ("docker.io", "library/python")),
        ("apache/beam", ("docker.io", "apache/beam")),
        ("docker.io/library/python", ("docker.io", "library/python")),
        ("gcr.io/cloud-builders/docker", ("gcr.io", "cloud-builders/docker")),
        ("localhost:5000/one", ("localhost:5000", "one")),
    ],
)
def test_a_name_says_where_an_image_lies(name: str, place: tuple[str, str]) -> None:
    assert base_images._place(name) == place


def test_an_image_that_is_not_there_is_named(registry: Registry) -> None:
    with pytest.raises(TerminalError, match=r"answers 404 for python:9\.9"):
        base_images.digest("python", "9.9", {"docker.io": registry.url})


def test_a_registry_that_does_not_answer_is_worth_another_try() -> None:
    [port] = free_ports(1)
    with pytest.raises(TransientError, match="gives no answer"):
        base_images.digest("python", "3.11", {"docker.io": f"http://{HOST}:{port}"})


def step(checkout: Path) -> "subprocess.CompletedProcess[str]":
    """The first step of the build, in a checkout: it has no package and no variable."""
    [first] = [one for one in read(text())[1].steps if one.id == "base-images"]
    for package in ("deploy", "coinbeam"):
        (checkout / package).mkdir(exist_ok=True)
    needed = ("coinbeam/__init__.py", "coinbeam/errors.py", "coinbeam/redaction.py")
    for name in ("deploy/__init__.py", "deploy/base_images.py", *needed):
        (checkout / name).write_text((ROOT / name).read_text())
    (checkout / "python3").unlink(missing_ok=True)
    (checkout / "python3").symlink_to(Path(sys.executable).resolve())
    return subprocess.run(
        ["bash", "-c", script(first) or ""],
        cwd=checkout,
        env={"PATH": f"{checkout}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_a_build_with_an_image_without_a_digest_is_refused(checkout: Path) -> None:
    refused = step(checkout)
    assert refused.returncode == 1
    assert "serving.Dockerfile: python:3.11.13-slim-bookworm" in refused.stderr
    assert "Run `make digests`" in refused.stderr
    for path in base_images.files(checkout):
        path.write_text(base_images._REFERENCE.sub(lambda found: f"{found.group()}@{OTHER}", path.read_text()))
    taken = step(checkout)
    assert (taken.returncode, taken.stdout) == (0, "Every base image is named by its digest.\n")


def test_the_images_whose_digests_could_be_confirmed_have_them_and_no_other_may_be_without() -> None:
    """The others were out of reach of those who wrote them down: the first `make digests` pins them."""
    assert set(base_images.unpinned()) <= {
        "Dockerfile: gcr.io/dataflow-templates-base/python311-template-launcher-base:flex_templates_base_image_release_20240628_RC00",
        "Dockerfile: apache/beam_python3.11_sdk:2.77.0",
        *(
            f"{file}: gcr.io/{builder}"
            for file in ("cloudbuild.yaml", "cloudbuild.small.yaml")
            for builder in ("cloud-builders/docker:24.0.9", "google.com/cloudsdktool/google-cloud-cli:528.0.0-slim")
        ),
    }
