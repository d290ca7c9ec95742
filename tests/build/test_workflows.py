"""The workflows of GitHub: the same commands as a person's, pinned actions, few rights, and a deployment that is off
until it is set up.
"""

import re
import subprocess
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from coinbeam.settings import ROOT
from tests.docs.commands import simple_commands
from tests.docs.test_commands import fault_of_coinbeam

FILE = ROOT / ".github" / "workflows" / "build.yml"
_PINNED = re.compile(r"uses: [\w.-]+/[\w./-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$")


def faults(source: str) -> Iterator[str]:
    """What is wrong with a workflow."""
    body: dict[Any, Any] = yaml.safe_load(source)
    for line in source.splitlines():
        if "uses:" in line and not _PINNED.search(line):
            yield f"not pinned by commit with its version: {line.strip()}"
    if body.get("permissions") != {}:
        yield "rights are not taken from every job"
    if "pull_request_target" in body[True]:  # YAML reads `on` as true
        yield "code of a stranger would run with our rights"
    for name, job in body["jobs"].items():
        yield from (f"{name}: {fault}" for fault in _of_job(job))


def _of_job(job: dict[str, Any]) -> Iterator[str]:
    if "timeout-minutes" not in job:
        yield "no timeout"
    if set(job["permissions"]) - {"contents", "id-token"} or job["permissions"]["contents"] != "read":
        yield "more rights than it needs"
    if job["permissions"].get("id-token") and not all(
        word in job["if"] for word in ("refs/heads/main", "'push'", "vars.DEPLOY")
    ):
        yield "may sign in to Google on another occasion than a push to main"
    for step in job["steps"]:
        script = step.get("run", "")
        if "${{" in script:
            yield "an expression in a script could be a command"
        if subprocess.run(["bash", "-n"], input=script, text=True, capture_output=True, check=False).returncode:
            yield "a script is no bash"
        if "checkout@" in step.get("uses", "") and step["with"].get("persist-credentials") is not False:
            yield "the token stays in the checkout"


def test_it_has_no_fault() -> None:
    assert list(faults(FILE.read_text())) == []


WRONG = {
    "an action by tag": ("11bd71901bbe5b1630ceea73d27597364c9af683 # v4.2.2", "v4", "not pinned"),
    "rights of the token": ("contents: read", "contents: write", "more rights"),
    "rights for every job": ("permissions: {}", "permissions: write-all", "rights are not taken"),
    "a stranger's code": ("  pull_request:", "  pull_request_target:", "code of a stranger"),
    "a deployment from any branch": ("github.ref == 'refs/heads/main'", "true", "another occasion"),
    "a deployment that is on": (" && vars.DEPLOY == 'actions'", "", "another occasion"),
    "an injection": ('printf %s "$SUBSTITUTIONS"', "echo ${{ github.head_ref }}", "could be a command"),
    "a job without an end": ("    timeout-minutes: 60\n", "", "no timeout"),
    "a kept token": ("persist-credentials: false", "persist-credentials: true", "stays in the checkout"),
}


@pytest.mark.parametrize(("old", "new", "said"), WRONG.values(), ids=WRONG)
def test_a_mistake_is_found(old: str, new: str, said: str) -> None:
    source = FILE.read_text()
    assert old in source
    assert any(said in fault for fault in faults(source.replace(old, new, 1)))


def test_the_checks_are_the_targets_of_the_makefile() -> None:
    steps = yaml.safe_load(FILE.read_text())["jobs"]["check"]["steps"]
    assert [step["run"].split()[:2] for step in steps if "run" in step] == [
        ["make", "env"],
        ["make", "lint"],
        ["make", "test"],
    ]
    [checkout] = [step for step in steps if "checkout@" in step.get("uses", "")]
    assert checkout["with"]["fetch-depth"] == 0, "a shallow checkout has no history to look for secrets in"
    targets = set(re.findall(r"^([a-z][a-z-]*):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    assert {"env", "lint", "test"} <= targets


def test_the_deployment_waits_for_the_checks_and_never_overlaps() -> None:
    deploy = yaml.safe_load(FILE.read_text())["jobs"]["deploy"]
    assert deploy["needs"] == "check"
    assert deploy["concurrency"] == {"group": "deploy", "cancel-in-progress": False}


def test_the_deployment_gives_all_substitutions_of_terraform_and_names_none() -> None:
    """A list of names would have to be kept in step with Terraform's."""
    steps = yaml.safe_load(FILE.read_text())["jobs"]["deploy"]["steps"]
    [submit] = [step for step in steps if step.get("name") == "submit"]
    assert submit["env"] == {"PROJECT": "${{ vars.PROJECT }}", "SUBSTITUTIONS": "${{ vars.SUBSTITUTIONS }}"}
    line = submit["run"].splitlines()[-1]
    assert line.startswith('printf %s "$SUBSTITUTIONS" | .venv/bin/coinbeam release submit ')
    [words] = simple_commands(line)
    assert fault_of_coinbeam(list(words[1:])) is None
    assert re.findall(r"\b_[A-Z]+\b", submit["run"]) == []


def test_packages_are_installed_before_there_is_a_credential() -> None:
    steps = yaml.safe_load(FILE.read_text())["jobs"]["deploy"]["steps"]
    names = [step.get("run", step.get("uses", "")).split("@")[0] for step in steps]
    assert names.index("make env PYTHON=python") < names.index("google-github-actions/auth")
