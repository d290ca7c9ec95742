"""The bill of materials of an image: what the interpreter and the system really hold, in the form that its schema demands."""

import json
import shutil
import subprocess
import sys
from functools import cache
from importlib.metadata import version
from typing import Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from coinbeam.settings import ROOT

IMAGE = "us-central1-docker.pkg.dev/acme/coinbeam/serving:abc1234"


@cache
def printed() -> str:
    """The bill of this environment, made as in an image: the program comes by standard input."""
    with (ROOT / "deploy" / "sbom.py").open() as program:
        done = subprocess.run(
            [sys.executable, "-", IMAGE], stdin=program, capture_output=True, text=True, check=True, timeout=60
        )
    return done.stdout


def fault(text: str) -> Any:
    """What the schema of CycloneDX says against a text."""
    return JsonStrictValidator(SchemaVersion.V1_6).validate_str(text)


def test_it_is_what_the_schema_demands() -> None:
    assert fault(printed()) is None


@pytest.mark.parametrize(
    ("old", "new"),
    [('"library"', '"book"'), ('"specVersion": "1.6"', '"specVersion": 1.6'), ('"version":', '"verzion":')],
)
def test_another_form_would_be_found(old: str, new: str) -> None:
    assert old in printed()
    assert fault(printed().replace(old, new)) is not None


def test_it_names_the_packages_of_python_with_their_versions() -> None:
    components = {one["purl"] for one in json.loads(printed())["components"]}
    assert f"pkg:pypi/google-cloud-bigquery@{version('google-cloud-bigquery')}" in components
    assert len(components) == len(json.loads(printed())["components"]), "each once"


def test_it_names_the_packages_of_debian() -> None:
    if shutil.which("dpkg-query") is None:
        pytest.skip("this system is not Debian's")
    held = subprocess.run(["dpkg-query", "-W", "-f", "${Version}", "bash"], capture_output=True, text=True, check=True)
    [bash] = [one for one in json.loads(printed())["components"] if one["purl"].startswith("pkg:deb/debian/bash@")]
    assert bash["version"] == held.stdout


def test_the_same_image_gives_the_same_bytes() -> None:
    first = printed()
    printed.cache_clear()
    assert printed() == first
    assert json.loads(first)["metadata"]["component"]["name"] == IMAGE
