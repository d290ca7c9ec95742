"""Our Terraform against the provider's schema and its own declarations, with nothing but Python."""

import re
import shutil
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

import pytest
from lark.exceptions import UnexpectedInput
from packaging.version import Version

from tests.infra import block_check, provider_schema, references
from tests.infra.configuration import INFRA, modules, parse

FILES = sorted(
    path.relative_to(INFRA)
    for pattern in ("*.tf", "*.hcl")
    for path in INFRA.rglob(pattern)
    if ".terraform" not in path.parts
)


@pytest.fixture
def spoilt(tmp_path: Path) -> Path:
    """A copy of our files, for deliberate mistakes."""
    return Path(shutil.copytree(INFRA, tmp_path / "infra", ignore=shutil.ignore_patterns(".terraform*")))


def replace(root: Path, path: str, old: str, new: str) -> None:
    text = (root / path).read_text(encoding="utf-8")
    assert old in text, f"{path} does not hold {old!r}"
    (root / path).write_text(text.replace(old, new), encoding="utf-8")


@pytest.mark.parametrize("path", FILES, ids=str)
def test_a_file_is_hcl(path: Path) -> None:
    assert parse(INFRA / path)


def test_half_a_file_is_not_hcl(spoilt: Path) -> None:
    replace(spoilt, "outputs.tf", 'output "deployment" {', 'output "deployment"')
    with pytest.raises(UnexpectedInput):
        parse(spoilt / "outputs.tf")


def test_the_provider_takes_every_block() -> None:
    assert block_check.faults(INFRA, provider_schema.load()) == []


BLOCKS = {
    "a misspelt argument": (
        "modules/bucket/main.tf",
        "force_destroy ",
        "force_destruction ",
        "force_destruction is unknown",
    ),
    "an argument for a block": (
        "modules/bucket/main.tf",
        "  versioning {",
        "  versioning = {",
        "versioning is a block, not an argument",
    ),
    "a block for an argument": (
        "modules/alerts/main.tf",
        "  labels = {",
        "  labels {",
        "labels is an argument, not a block",
    ),
    "a block that is missing": ("modules/budget/main.tf", "amount {", "amounts {", "amount is required"),
    "an argument that is missing": (
        "modules/network/main.tf",
        '  name                    = "coinbeam"\n',
        "",
        "name is required",
    ),
    "an argument in the wrong block": (
        "modules/bucket/main.tf",
        "    enabled = true",
        "    age = 1",
        "versioning: age is unknown",
    ),
    "an argument in a dynamic block": (
        "modules/bucket/main.tf",
        "storage_class = lifecycle_rule",
        "class = lifecycle_rule",
        "class is unknown",
    ),
    "what can only be read": (
        "modules/registry/main.tf",
        "  format ",
        '  create_time = "x"\n  format ',
        "create_time can only be read",
    ),
    "two blocks where one may be": (
        "modules/secret/main.tf",
        "  replication {\n    auto {}\n  }\n",
        "  replication {\n    auto {}\n  }\n  replication {\n    auto {}\n  }\n",
        "replication may occur 1 times, not 2",
    ),
    "a resource that does not exist": (
        "modules/network/main.tf",
        'resource "google_compute_firewall"',
        'resource "google_compute_wall"',
        "the provider has no such resource",
    ),
}


@pytest.mark.parametrize("mistake", BLOCKS.values(), ids=BLOCKS)
def test_the_provider_refuses(mistake: tuple[str, str, str, str], spoilt: Path) -> None:
    path, old, new, fault = mistake
    replace(spoilt, path, old, new)
    assert fault in "\n".join(block_check.faults(spoilt, provider_schema.load()))


def test_every_name_is_declared_and_every_variable_used() -> None:
    assert references.faults(INFRA, provider_schema.load()) == []


NAMES = {
    "an undeclared variable": (
        "main.tf",
        "var.network_range",
        "var.network_ranges",
        "var.network_ranges is not declared",
    ),
    "a variable that nobody uses": ("main.tf", "${var.contracts}", "../sql", "var.contracts is declared and not used"),
    "an undeclared local": (
        "modules/logs/main.tf",
        "local.resources",
        "local.resource",
        "local.resource is not declared",
    ),
    "an output that is gone": (
        "outputs.tf",
        "module.bucket.name",
        "module.bucket.title",
        "module.bucket.title is not declared",
    ),
    "a resource that is gone": (
        "modules/logs/main.tf",
        "bucket_config.pipeline.id}",
        "bucket_config.pipe.id}",
        "pipe is not declared",
    ),
    "an attribute that is not": (
        "modules/accounts/outputs.tf",
        "account.email }",
        "google_service_account.account.mail }",
        "has no mail",
    ),
    "a test of no output": (
        "tests/deployment.tftest.hcl",
        "output.composer_bucket",
        "output.bucket",
        "output.bucket is not declared",
    ),
    "a test of no variable": (
        "tests/refusals.tftest.hcl",
        "schedule_period =",
        "schedule =",
        "var.schedule is not declared",
    ),
    "a test of a module's variable": (
        "tests/freshness.tftest.hcl",
        "period = ",
        "times = ",
        "var.times is not declared",
    ),
}


@pytest.mark.parametrize("mistake", NAMES.values(), ids=NAMES)
def test_a_wrong_name_is_seen(mistake: tuple[str, str, str, str], spoilt: Path) -> None:
    path, old, new, fault = mistake
    replace(spoilt, path, old, new)
    assert fault in "\n".join(references.faults(spoilt, provider_schema.load()))


def test_every_variable_and_output_is_described_and_every_variable_typed() -> None:
    bare = [
        f"{name}: {kind} {labels[0]} has no {what}"
        for name, module in modules().items()
        for kind, needed in (("variable", ("type", "description")), ("output", ("description",)))
        for labels, body in module.blocks(kind)
        for what in needed
        if not body.get(what)
    ]
    assert bare == []


def test_the_example_sets_declared_variables_and_all_that_have_no_default() -> None:
    declared = {labels[0]: body for labels, body in modules()["."].blocks("variable")}
    example = set(parse(INFRA / "terraform.tfvars.example")) - {"__comments__"}
    needed = {name for name, body in declared.items() if "default" not in body}
    assert (example - set(declared), needed - example) == (set(), set())


def test_no_role_administers_or_is_basic() -> None:
    """On the text, for machines without Terraform; ``test_policy`` looks at what is evaluated."""
    text = "\n".join(path.read_text(encoding="utf-8") for path in INFRA.rglob("*.tf"))
    forbidden = (
        "roles/owner",
        "roles/editor",
        "roles/viewer",
        'Admin"',
        'admin"',
        'allUsers"',
        'allAuthenticatedUsers"',
    )
    assert [role for role in forbidden if role in text] == []


LOCK = INFRA / ".terraform.lock.hcl"

WRITTEN_BY_THE_FIRST_INIT = {"hashicorp/google-beta"}
"""Providers whose hashes no second public lock file confirms: `terraform init` writes them, and README.md says to commit them."""


def locked() -> dict[str, dict[str, Any]]:
    """The providers of the lock file by their sources; `init` may have added those that are not kept."""
    providers = {name: body for one in parse(LOCK)["provider"] for name, body in one.items()}
    return {name.strip('"').removeprefix("registry.terraform.io/"): body for name, body in providers.items()}


def declared_providers() -> dict[str, str]:
    """The version constraints of versions.tf by source."""
    (terraform,) = (body for _, body in modules()["."].blocks("terraform"))
    (required,) = terraform["required_providers"]
    bodies = (body for name, body in required.items() if not name.startswith("__"))
    return {body["source"].strip('"'): body["version"].strip('"') for body in bodies}


def test_the_lock_names_the_declared_providers_in_the_version_that_the_tests_know() -> None:
    declared = declared_providers()
    assert set(locked()) | WRITTEN_BY_THE_FIRST_INIT == set(declared)
    for source, body in locked().items():
        version = body["version"].strip('"')
        assert version == provider_schema.VERSION
        assert body["constraints"].strip('"') == declared[source]
        operator, least = declared[source].split()
        assert operator == "~>"
        assert Version(least) <= Version(version) < Version(f"{Version(least).major + 1}")


def test_the_lock_has_the_hash_of_each_platform_of_a_release() -> None:
    for body in locked().values():
        hashes = [one.strip('"') for one in body["hashes"] if one.strip('"').startswith("zh:")]
        assert [one for one in hashes if not re.fullmatch("zh:[0-9a-f]{64}", one)] == []
        assert len(set(hashes)) == len(hashes) == PLATFORMS + 1, "and that of the manifest"


PLATFORMS = 11
"""darwin, freebsd, linux and windows, each on the processors that HashiCorp builds for."""


def test_the_lock_is_not_ignored() -> None:
    ignored = (INFRA.parent / ".gitignore").read_text(encoding="utf-8").splitlines()
    assert [line for line in ignored if fnmatch(LOCK.name, line.rstrip("/").rpartition("/")[2])] == []


@pytest.mark.slow
def test_the_schema_is_that_of_the_package() -> None:
    """What is kept in the tree is what the package says, for exactly the resources in use."""
    try:
        made = provider_schema.in_use()
    except (subprocess.SubprocessError, OSError) as error:
        pytest.skip(f"{' and '.join(provider_schema.PACKAGES.values())} cannot be had here: {type(error).__name__}")
    kept = provider_schema.FILE.read_text(encoding="utf-8")
    assert kept == provider_schema.text(made), "run python -m tests.infra.provider_schema"


def test_a_resource_that_the_package_does_not_know_is_an_error() -> None:
    with pytest.raises(KeyError):
        provider_schema.Assembly("google", {}, {}).resource("google_compute_wall")
