"""Terraform's own judgement, by a provider that knows the schema of the real one."""

import re
import shutil
import subprocess

import pytest

from tests.infra import deployment
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
        "module.bucket.name",
        "module.bucket.address",
        "Unsupported attribute",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_terraform_refuses(mistake: tuple[str, str, str, str], spoilt: Workspace) -> None:
    path, old, new, complaint = mistake
    spoilt.replace(path, old, new)
    assert complaint in spoilt.says("validate")


def test_the_tests_of_terraform_pass(workspace: Workspace) -> None:
    """All but that of the deployment, which the other tests read."""
    files = [file for file in (workspace.infra / "tests").glob("*.tftest.hcl") if file.name not in deployment.TEST]
    runs = sum(len(re.findall(r"^run ", file.read_text(encoding="utf-8"), re.MULTILINE)) for file in files)
    done = workspace.run("test", "-no-color", *(f"-filter=tests/{file.name}" for file in files))
    assert done.returncode == 0, done.stdout + done.stderr
    assert f"{runs} passed, 0 failed" in done.stdout


REFUSALS = {
    "another period": (
        "variables.tf",
        'contains(["daily", "hourly"], var.schedule_period)',
        'var.schedule_period != ""',
        "refusals",
        "there_are_two_periods",
    ),
    "a state beside the workers": (
        "modules/state/main.tf",
        "tostring(self.project_number) != tostring(data.google_project.this.number)",
        "self.project_number > 0",
        "state",
        "a_state_beside_the_workers_is_refused",
    ),
}


@pytest.mark.parametrize("refusal", REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_that_was_taken_out_is_missed(refusal: tuple[str, str, str, str, str], spoilt: Workspace) -> None:
    path, old, new, file, run = refusal
    spoilt.replace(path, old, new)
    spoilt.keep_run(f"tests/{file}.tftest.hcl", run)
    assert "Missing expected failure" in spoilt.says("test", f"-filter=tests/{file}.tftest.hcl")


def test_a_provider_of_other_bytes_is_refused(spoilt: Workspace) -> None:
    """Packed as the registry packs it, the provider of the tests is not the one that the lock file names."""
    spoilt.pack_providers()
    shutil.copy(INFRA / ".terraform.lock.hcl", spoilt.infra)
    shutil.rmtree(spoilt.infra / ".terraform")
    said = spoilt.says("init", "-backend=false", "-input=false")
    assert "hashicorp/google" in said
    assert "doesn't match any of the checksums previously recorded in the dependency lock file" in said


def test_a_requirement_without_a_version_is_refused(spoilt: Workspace) -> None:
    (spoilt.root / "config" / "composer-requirements.txt").write_text("orjson\n", encoding="utf-8")
    assert "must be pinned as name==version: orjson" in spoilt.says("test", "-filter=tests/deployment.tftest.hcl")
