"""Terraform's own judgement, by a provider that knows the schema of the real one."""

import subprocess

import pytest

from tests.infra.configuration import INFRA
from tests.infra.terraform import Workspace, executable

pytestmark = pytest.mark.xdist_group("terraform")


def test_every_file_is_formatted() -> None:
    if executable() is None:
        pytest.skip("terraform is not on this machine")
    done = subprocess.run(
        ["terraform", "fmt", "-check", "-recursive", "-diff", str(INFRA)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_is_valid(workspace: Workspace) -> None:
    done = workspace.run("validate", "-no-color")
    assert done.returncode == 0, done.stdout + done.stderr


MISTAKES = {
    "a misspelt argument": (
        "modules/bucket/main.tf",
        "public_access_prevention ",
        "public_access_preventions ",
        "Unsupported argument",
    ),
    "a block written as an argument": (
        "modules/bucket/main.tf",
        "  versioning {",
        "  versioning = {",
        "Unsupported argument",
    ),
    "a block that does not exist": (
        "modules/composer/main.tf",
        "maintenance_window {",
        "maintenance_hours {",
        "Unsupported block type",
    ),
    "an argument left out": (
        "modules/warehouse/main.tf",
        "  table_id                 = each.value.name\n",
        "",
        "Missing required argument",
    ),
    "an undeclared variable": (
        "main.tf",
        "range      = var.network_range",
        "range      = var.network_ranges",
        "undeclared input variable",
    ),
    "an attribute that nothing has": (
        "modules/logs/main.tf",
        "pipeline.id}",
        "pipeline.ident}",
        "Unsupported attribute",
    ),
    "a wrong type": ("modules/bucket/main.tf", "enabled = true", 'enabled = "sometimes"', "a bool is required"),
    "an output that is gone": (
        "outputs.tf",
        "module.secret.latest_version",
        "module.secret.newest",
        "Unsupported attribute",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_terraform_refuses(mistake: tuple[str, str, str, str], spoilt: Workspace) -> None:
    path, old, new, complaint = mistake
    spoilt.replace(path, old, new)
    assert complaint in spoilt.says("validate")


def test_the_tests_of_terraform_pass(workspace: Workspace) -> None:
    done = workspace.run(
        "test",
        "-no-color",
        "-filter=tests/refusals.tftest.hcl",
        "-filter=tests/freshness.tftest.hcl",
        "-filter=tests/serving.tftest.hcl",
        "-filter=tests/stream.tftest.hcl",
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "21 passed, 0 failed" in done.stdout


def test_a_refusal_that_was_taken_out_is_missed(spoilt: Workspace) -> None:
    spoilt.replace("variables.tf", 'contains(["daily", "hourly"], var.schedule_period)', 'var.schedule_period != ""')
    assert "Missing expected failure" in spoilt.says("test", "-filter=tests/refusals.tftest.hcl")


def test_a_requirement_without_a_version_is_refused(spoilt: Workspace) -> None:
    (spoilt.root / "config" / "composer-requirements.txt").write_text("orjson\n", encoding="utf-8")
    assert "must be pinned as name==version: orjson" in spoilt.says("test", "-filter=tests/deployment.tftest.hcl")
