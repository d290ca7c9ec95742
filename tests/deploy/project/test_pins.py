"""The pins of a checkout: what is missing is made, shown, and committed by itself."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from coinbeam.errors import TerminalError
from deploy import base_images
from deploy.project.pins import LOCK, Pins
from deploy.project.steps import Pinned, State
from deploy.tools import git
from tests.deploy import registry
from tests.deploy.project.test_steps import Somebody, deployment
from tests.deploy.registry import DIGEST

GOOGLE = """# Maintained by "terraform init".

provider "registry.terraform.io/hashicorp/google" {
  version     = "6.50.0"
  constraints = "~> 6.50"
  hashes = [
    "zh:1f35",
  ]
}
"""
AFTER_INIT = GOOGLE.replace('    "zh', '    "h1:ofthisplatform=",\n    "zh') + GOOGLE.partition("\n\n")[2].replace(
    "hashicorp/google", "hashicorp/google-beta"
)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A commit in which one image has no digest."""
    (tmp_path / "infra").mkdir()
    (tmp_path / LOCK).write_text(GOOGLE)
    (tmp_path / "Dockerfile").write_text("FROM python:3.11 AS one\nRUN true\n")
    (tmp_path / "README.md").write_text("read me\n")
    git(tmp_path, "init", "--quiet")
    for name, value in (("user.name", "a"), ("user.email", "a@example.com"), ("commit.gpgsign", "false")):
        git(tmp_path, "config", name, value)
    git(tmp_path, "add", "--all")
    git(tmp_path, "commit", "--quiet", "--message", "one")
    return tmp_path


@pytest.fixture(autouse=True)
def images(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A registry that has the image, which no proxy is asked for."""
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    with registry.running("library/python:3.11") as server:
        monkeypatch.setitem(base_images.REGISTRIES, "docker.io", server.url)
        yield


def step(checkout: Path, person: Any = None) -> Pinned:
    """The step of a deployment of this checkout."""
    return Pinned(deployment(person=person, root=checkout))


def test_digests_and_hashes_are_shown_and_committed_by_themselves(checkout: Path) -> None:
    (checkout / LOCK).write_text(AFTER_INIT)
    person = Somebody()
    pins = step(checkout, person)
    found = pins.look()
    assert found.state is State.TO_DO
    assert "Dockerfile: python:3.11" in found.text
    assert "google-beta 6.50.0" in found.text, "three are named"
    pins.do()
    assert person.said[:3] == [
        f"Dockerfile: python:3.11 -> {DIGEST}",
        f"{LOCK}: google 6.50.0 -> +1 hashes",
        f"{LOCK}: google-beta 6.50.0 -> +1 hashes",
    ]
    assert person.asked == ["Commit these 3 lines, and nothing else?"]
    assert set(git(checkout, "show", "--name-only", "--format=", "HEAD").split()) == {"Dockerfile", LOCK}
    subject, _, reason = git(checkout, "log", "-1", "--format=%s%n%b").partition("\n")
    assert subject == "Base images and providers are pinned to what they are today"
    assert "A tag may be another image tomorrow" in reason
    assert git(checkout, "status", "--porcelain") == ""
    assert pins.look().state is State.DONE, "the second time there is nothing to do"


def test_pins_that_are_written_and_not_committed_are_committed_the_next_time(checkout: Path) -> None:
    with pytest.raises(TerminalError, match="in no commit"):
        step(checkout, Somebody(agrees=False)).do()
    assert DIGEST in (checkout / "Dockerfile").read_text()
    assert "Dockerfile: python:3.11" in step(checkout).look().text
    step(checkout).do()
    assert step(checkout).look().state is State.DONE


@pytest.mark.parametrize(
    ("name", "text"),
    [
        pytest.param("README.md", "another\n", id="another file"),
        pytest.param("new.txt", "new\n", id="a file that git does not know"),
        pytest.param("Dockerfile", f"FROM python:3.11@{DIGEST} AS one\nRUN false\n", id="a digest and a command"),
        pytest.param("Dockerfile", f"FROM python:3.12@{DIGEST} AS one\nRUN true\n", id="another tag"),
        pytest.param(LOCK, AFTER_INIT.replace("6.50.0", "6.51.0"), id="another version of a provider"),
    ],
)
def test_a_tree_with_another_change_is_refused_and_left_as_it_is(name: str, text: str, checkout: Path) -> None:
    (checkout / name).write_text(text)
    before = (checkout / "Dockerfile").read_text()
    for refused in (step(checkout).look, step(checkout).do):
        with pytest.raises(TerminalError, match=f"in no commit: {re.escape(name)}.*Commit them, or take them away"):
            refused()
    assert (checkout / "Dockerfile").read_text() == before
    assert len(git(checkout, "log", "--format=%h").split()) == 1


def test_what_somebody_staged_does_not_get_into_the_commit(checkout: Path) -> None:
    (checkout / "README.md").write_text("another\n")
    git(checkout, "add", "README.md")
    with pytest.raises(TerminalError, match=r"README\.md"):
        step(checkout).do()


def test_the_check_says_what_is_not_pinned(checkout: Path) -> None:
    assert Pins(checkout).missing() == ["Dockerfile: python:3.11"]
