"""The release of each profile is what Cloud Build takes, and each rule that it is held to would find its mistake."""

import re
from pathlib import Path

import pytest
from google.cloud.devtools.cloudbuild_v1.types import Build
from google.protobuf.json_format import ParseError
from yaml import YAMLError

from coinbeam.settings import ROOT
from tests.build.cloudbuild import FILE, SMALL, faults, read, script, substitute, text, values

of_each_profile = pytest.mark.parametrize("file", [FILE, SMALL], ids=["composer", "small"])

SWITCH = {FILE: "switch", SMALL: "batch-job"}
"""The step from which on a release is in use."""


@of_each_profile
def test_it_is_taken_and_has_no_fault(file: Path) -> None:
    assert faults(text(file)) == []


def changed(old: str, new: str) -> str:
    """The file with a mistake in it."""
    assert text().count(old) >= 1
    return text().replace(old, new, 1)


[DIGEST] = re.findall(r"python:[\w.-]+@(sha256:\w+)", text())

UNREADABLE = {
    "an unknown field of a step": ("    waitFor: [environment]", "    waitsFor: [environment]"),
    "an unknown field of the build": ("queueTtl:", "queueTTL:"),
    "an unknown machine": ("E2_HIGHCPU_8", "E2_HIGHCPU_7"),
    "a duration without its unit": ("timeout: 1200s", "timeout: 1200"),
    "a script in place of a list": ("waitFor: [lint, test]", "waitFor: {lint: test}"),
    "the same key twice": ("  - id: lint\n", "  - id: lint\n    id: lint2\n"),
}


@pytest.mark.parametrize(("old", "new"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_the_api_does_not_take_is_found(old: str, new: str) -> None:
    with pytest.raises((ParseError, YAMLError)):
        read(changed(old, new))


WRONG = {
    "a step that waits for a later one": (
        "waitFor: [lint, test]",
        "waitFor: [lint, switch]",
        "'switch', which is no earlier step",
    ),
    "a step that waits for none": ("    waitFor: [images]\n", "", "says nothing of what it waits for"),
    "an undeclared substitution": ("${_COMPOSER_BUCKET}", "${_AIRFLOW_BUCKET}", "${_AIRFLOW_BUCKET} is not declared"),
    "an unused substitution": (
        "  _REPOSITORY: coinbeam",
        "  _REPOSITORY: coinbeam\n  _SPARE: x",
        "_SPARE is declared and not used",
    ),
    "a shell variable with one dollar": (
        "$$metadata",
        "$metadata",
        "$metadata is not declared; a variable of the shell",
    ),
    "a shell command with one dollar": ("$$(basename", "$(basename", "$ is not declared; a variable of the shell"),
    "a builder without a version": (f":3.11.13-bookworm@{DIGEST}", "", "not pinned"),
    "the latest builder": ("cloud-builders/docker:24.0.9", "cloud-builders/docker:latest", "not pinned"),
    "a step without a timeout": ("    timeout: 2400s\n", "", "images has no timeout"),
    "a step that outlasts the build": (
        "timeout: 3600s",
        "timeout: 9000s",
        "test has no timeout within that of the build",
    ),
    "a script that goes on after a failure": (
        "set -euo pipefail\n        make lint",
        "make lint",
        "lint does not begin with",
    ),
    "a script that is no bash": (
        "        done\n        gcloud storage",
        "        gcloud storage",
        "templates is no bash",
    ),
    "gsutil": ("gcloud storage ls", "gsutil ls", "templates uses gsutil"),
}


@pytest.mark.parametrize(("old", "new", "said"), WRONG.values(), ids=WRONG)
def test_what_the_api_takes_and_is_wrong_is_found(old: str, new: str, said: str) -> None:
    found = faults(changed(old, new))
    assert any(said in fault for fault in found), found


def test_a_build_without_an_account_of_its_own_is_found() -> None:
    without = "".join(line for line in text().splitlines(keepends=True) if not line.startswith("serviceAccount:"))
    assert faults(without) == ["the build does not run as its own service account"]


def test_a_digest_pins_a_builder() -> None:
    assert faults(changed("docker:24.0.9", f"docker@sha256:{'0' * 64}")) == []


@of_each_profile
def test_nothing_is_switched_before_all_else_went_well(file: Path) -> None:
    steps = {step.id: set(step.wait_for) - {"-"} for step in read(text(file))[1].steps}
    switch = SWITCH[file]
    before: set[str] = set()
    rest = {switch}
    while rest:
        rest = {name for step in rest for name in steps[step]} - before
        before |= rest
    after = {name for name, waits in steps.items() if switch in waits}
    assert before == set(steps) - {switch} - after
    assert after == {"serving-traffic"}, "requests of readers follow the switch, once their revisions are ready"
    assert list(steps)[-2:] == [switch, "serving-traffic"]


ONLY_ONE_HAS = {"images", "batch-image", "templates", "upload", "composer", "check", "batch-job", "switch"}
OF_COMPOSER = re.compile(r"COMPOSER|DATAFLOW|SUBNETWORK|AIRFLOW|STREAM|pipelines:|dataflow\.")
"""What a line of `configure` names that the small profile does not have."""


def test_steps_of_both_profiles_are_the_same_text() -> None:
    """But for what they wait for, and for what a release is told of Composer and Dataflow."""
    large, small = ({step.id: step for step in read(text(file))[1].steps} for file in (FILE, SMALL))
    assert set(large) ^ set(small) == ONLY_ONE_HAS
    shared = [name for name in small if name in large]
    assert shared == [name for name in large if name in small], "they come in the same order"
    for name in shared:
        said = [(step.name, step.env, step.timeout, step.entrypoint) for step in (large[name], small[name])]
        assert said[0] == said[1], name
        waits = [set(step.wait_for) - ONLY_ONE_HAS for step in (large[name], small[name])]
        assert waits[0] == waits[1], name
        if name != "configure":
            assert script(large[name]) == script(small[name]), name
    told, kept = ((script(step["configure"]) or "").split("\n") for step in (large, small))
    assert [line for line in told if not OF_COMPOSER.search(line)] == [
        line for line in kept if line.strip() not in {"--set runner=local", ""}
    ] + [""]


def test_the_builds_of_both_profiles_are_alike() -> None:
    large, small = (read(text(file))[0] for file in (FILE, SMALL))
    assert set(large) == set(small)
    for name in set(large) - {"steps", "images", "substitutions"}:
        assert large[name] == small[name], name
    only = set(large["substitutions"]) - set(small["substitutions"])
    assert [name for name in only if not OF_COMPOSER.search(name)] == []
    assert {name: large["substitutions"].get(name) for name in small["substitutions"]} == small["substitutions"]


def test_a_substitution_that_a_build_does_not_use_is_refused() -> None:
    with pytest.raises(KeyError, match="_COMPOSER_BUCKET"):
        values(read(text(SMALL))[1], _COMPOSER_BUCKET="airflow")


def test_substitutions_are_resolved_as_cloud_build_does() -> None:
    known = values(read(text())[1], PROJECT_ID="acme", SHORT_SHA="abc1234", _REGION="europe-west1")
    assert known["_RELEASE"] == "abc1234"
    assert known["_DATA_BUCKET"] == "acme-coinbeam"
    assert substitute("$$job ${_REGION} $PROJECT_ID", known) == "$job europe-west1 acme"


def test_names_agree_with_the_rest_of_the_project() -> None:
    known = values(read(text())[1], PROJECT_ID="acme")
    assert known["_DATAFLOW_SERVICE_ACCOUNT"] == "coinbeam-dataflow@acme.iam.gserviceaccount.com"
    assert known["_API_KEY_SECRET"] == "projects/acme/secrets/coingecko-api-key/versions/latest"
    assert known["_REPOSITORY"] == "coinbeam"


PUSHED = re.compile(r"/([\w-]+):\$\{_RELEASE\}\"$")


def pushed(build: Build) -> set[str]:
    """The names of the images that the steps push; a loop pushes a launcher for each template."""
    scripts = [text for step in build.steps if "deploy/push_image.sh" in (text := script(step) or "")]
    lines = [line for text in scripts for line in text.splitlines() if re.search(r"push_image\.sh|image=", line)]
    launchers = (ROOT / "beam_pipelines" / "templates").glob("*.json")
    return {found[1] for line in lines if (found := PUSHED.search(line))} | {
        path.stem.replace("_", "-") for path in launchers if any("templates/*.json" in text for text in scripts)
    }


@of_each_profile
def test_the_provenance_of_every_image_that_is_pushed_is_signed(file: Path) -> None:
    build = read(text(file))[1]
    assert build.options.requested_verify_option.name == "VERIFIED"
    known = values(build, PROJECT_ID="acme", SHORT_SHA="abc1234")
    named = [substitute(image, known) for image in build.images]
    assert {image.rpartition("/")[2] for image in named} == {f"{name}:abc1234" for name in pushed(build)}
    assert all(image.startswith("us-central1-docker.pkg.dev/acme/coinbeam/") for image in named)
    wanted = {FILE: {"pipelines", "serving", "fetch-crypto-data"}, SMALL: {"batch", "serving"}}[file]
    assert wanted <= pushed(build)
    assert file == FILE or wanted == pushed(build), "what was never built cannot be pushed at the end"


@of_each_profile
def test_every_image_is_pushed_with_its_digest_and_its_bill_of_materials(file: Path) -> None:
    scripts = [script(step) or "" for step in read(text(file))[1].steps]
    assert [text for text in scripts if "docker push" in text] == []
    built = sum(text.count("docker build") for text in scripts)
    assert built == sum(text.count("deploy/push_image.sh") for text in scripts) > 1


@of_each_profile
def test_a_vulnerability_stops_a_release_before_it_changes_anything_in_use(file: Path) -> None:
    steps = read(text(file))[1].steps
    waits = {step.id: set(step.wait_for) for step in steps}
    pushing = {step.id for step in steps if "deploy/push_image.sh" in (script(step) or "")}
    assert len(pushing) == 2
    assert {"vulnerabilities", "sbom"} <= waits["contracts"]
    assert waits["vulnerabilities"] == waits["sbom"] == pushing


DOCKERFILES = sorted(ROOT.glob("*Dockerfile"))


@pytest.mark.parametrize("dockerfile", DOCKERFILES, ids=lambda path: path.name)
def test_an_image_has_what_debian_mended_and_packages_by_their_hashes(dockerfile: Path) -> None:
    lines = dockerfile.read_text().splitlines()
    assert [line for line in lines if line.startswith("RUN apt-get update && apt-get upgrade --yes && rm -rf ")]
    installs = [line for line in lines if "pip install" in line]
    assert [line for line in installs if "--no-deps --require-hashes -r config/" in line] == installs != []
