"""What a build and an image are given is what git tracks, and never what may hold a secret, wherever it lies."""

import re
from pathlib import Path

import pytest

from coinbeam.settings import ROOT
from deploy.leaks import in_files
from tests.build import serving, uploads

pytestmark = pytest.mark.xdist_group("build")

SECRETS = (
    ".env",
    ".env.production",
    "application_default_credentials.json",
    "backend.hcl",
    "crash.20260101.log",
    "crash.log",
    "gha-creds-0123456789abcdef.json",
    "key.p12",
    "key.pem",
    "plan.tfplan",
    "production.auto.tfvars",
    "production.tfvars.json",
    "secrets.toml",
    "terraform.tfstate",
    "terraform.tfstate.backup",
    "terraform.tfstate.1764400000.backup",
    "terraform.tfvars",
    ".terraform/environment",
    ".terraform/terraform.tfstate",
    ".terraform/providers/registry.terraform.io/hashicorp/google/6.50.0/linux_amd64/terraform-provider-google",
)
"""What Terraform, sign-ins and people leave in a checkout and nobody may read."""

LEFT_BY_RUNS = (
    ".git/config",
    ".venv/bin/python",
    ".coinbeam/landing/one.json",
    ".composer/pyvenv.cfg",
    "seen-release",
    "build/lib/one.py",
    "config/deployment.json",
    "coinbeam/__pycache__/one.pyc",
)

FOLDERS = ("", "infra", "infra/modules/build", "config", "console", "serving/.streamlit", "sql")


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkout in which somebody applied Terraform, signed in, tested and built."""
    folder = tmp_path_factory.mktemp("planted")
    uploads.copy(folder)
    secrets = [f"{place}/{name}".lstrip("/") for place in FOLDERS for name in SECRETS]
    for name in (*secrets, *LEFT_BY_RUNS):
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("hush\n")
    return folder


def test_a_build_gets_what_git_tracks_and_nothing_else(planted: Path, tmp_path: Path) -> None:
    uploaded = uploads.of_gcloud(planted, tmp_path)
    assert uploaded - set(uploads.tracked()) == set()
    assert in_files(planted, uploaded) == [], "and none of it looks like a credential"
    assert set(uploads.tracked()) - uploaded == {".gcloudignore"}, "the build needs all the rest: it lints and tests"


def test_there_is_one_list_of_what_git_ignores() -> None:
    """A ``.gcloudignore`` includes no file of another folder, so a second list would be one of what is uploaded."""
    assert [name for name in uploads.tracked() if name.endswith(".gitignore")] == [".gitignore"]


@pytest.mark.parametrize("dockerfile", uploads.DOCKERFILES)
def test_an_image_is_given_the_code_and_the_settings_of_its_release(
    dockerfile: str, planted: Path, tmp_path: Path
) -> None:
    folders = {name.split("/")[0] for file in uploads.DOCKERFILES for name in copied(file)}
    code = {name for name in uploads.tracked() if name.split("/")[0] in folders}
    sent = uploads.of_docker(planted, dockerfile, tmp_path)
    assert sent == code | {"config/deployment.json"}
    assert in_files(planted, sent) == [], "and none of it looks like a credential"


def copied(dockerfile: str) -> set[str]:
    """What a Dockerfile takes from the checkout."""
    return serving.copied(ROOT / dockerfile)


SUBMITS = re.compile(r"gcloud builds submit(?= +(?:-|\.))[^\n]*")


def unstaged(text: str) -> list[str]:
    """The commands of a text that submit a build and let gcloud choose where to stage its source."""
    return [line for line in SUBMITS.findall(text.replace("\\\n", " ")) if "--gcs-source-staging-dir" not in line]


def test_every_build_is_submitted_with_its_source_where_its_account_can_read_it() -> None:
    """gcloud's own choice is a bucket that the account of the build cannot read. `coinbeam release submit` names ours."""
    read = {name: (ROOT / name).read_bytes().decode(errors="replace") for name in uploads.tracked()}
    assert {name: found for name, text in read.items() if (found := unstaged(text)) and "tests/" not in name} == {}
    written = re.compile(r"""["']builds["'],\s*["']submit["']""")
    submitting = [name for name, text in read.items() if written.search(text) and "tests/" not in name]
    assert submitting == ["deploy/project/submission.py", "deploy/submission.py"]
    assert [name for name in submitting if "--gcs-source-staging-dir" not in read[name]] == []


def test_a_build_whose_source_gcloud_stages_would_be_found() -> None:
    assert unstaged("run `gcloud builds submit --config cloudbuild.yaml .` or `gcloud builds submit`") != []
    assert unstaged("gcloud builds submit --config x \\\n  --gcs-source-staging-dir gs://b/builds/source .") == []
