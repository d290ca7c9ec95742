"""A build is submitted from a commit, with what Terraform says and its source where the account of the build can read it."""

import json
import os
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from coinbeam.errors import TerminalError
from coinbeam.settings import ROOT
from console.app import app
from deploy import submission
from deploy.project.order import PROFILES
from tests.build import cloudbuild
from tests.deploy import cloud_build_api
from tests.deploy.emulator import running
from tests.docs.test_commands import fault_of_gcloud

GIVEN = {
    "_PROFILE": "composer",
    "_REGION": "us-central1",
    "_DATA_BUCKET": "acme-coinbeam",
    "_SUBNETWORK": "regions/us-central1/subnetworks/coinbeam",
    "_AIRFLOW_URL": "https://airflow.example.com/?a=1,2;b=3",
    "_STREAM_SERVICE_ACCOUNT": "",
}
SMALL = {"_PROFILE": "small", "_REGION": "us-central1", "_DATA_BUCKET": "acme-coinbeam", "_SCAN": "off"}


def git(folder: Path, *arguments: str) -> str:
    """Run git as somebody, without what this machine's owner configured."""
    who = {f"GIT_{role}_{what}": "a@example.com" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")}
    variables = {"PATH": os.environ["PATH"], "HOME": str(folder), "GIT_CONFIG_NOSYSTEM": "1", **who}
    done = subprocess.run(["git", *arguments], cwd=folder, env=variables, capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A small checkout that can be built, all of it in one commit."""
    folder = tmp_path / "repository"
    folder.mkdir()
    for name in (*submission.FILES.values(), ".gitignore", ".gcloudignore"):
        shutil.copy2(ROOT / name, folder / name)
    git(folder, "init", "--quiet")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "one")
    return folder


def test_what_terraform_prints_is_read_and_null_is_left_out() -> None:
    assert submission.read(json.dumps({**GIVEN, "_AIRFLOW_URL": None})) == {
        name: value for name, value in GIVEN.items() if name != "_AIRFLOW_URL"
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("", "no JSON object", id="nothing, since Terraform failed"),
        pytest.param("{}", "no JSON object", id="an empty object"),
        pytest.param("[]", "no JSON object", id="a list"),
        pytest.param(
            json.dumps({"substitutions": {"value": GIVEN}}), "No substitutions of text: substitutions", id="all outputs"
        ),
        pytest.param(json.dumps({**GIVEN, "_SIZE": 1}), "No substitutions of text: _SIZE", id="a number"),
        pytest.param(
            json.dumps({"_REGION": "us-central1", "_PROFILE": "small"}),
            "lack _DATA_BUCKET",
            id="no bucket to stage the source in",
        ),
        pytest.param(json.dumps({**GIVEN, "_REGION": ""}), "lack _REGION", id="no region"),
        pytest.param(json.dumps({**GIVEN, "_PROFILE": None}), "lack _PROFILE", id="no profile"),
    ],
)
def test_anything_else_is_refused(text: str, said: str) -> None:
    with pytest.raises(TerminalError, match=said):
        submission.read(text)


def test_a_value_that_holds_every_delimiter_is_refused() -> None:
    with pytest.raises(TerminalError, match="every one of"):
        submission.joined({"_A": ";|~", "_B": "%::"})


def test_a_commit_is_the_release(repository: Path) -> None:
    assert submission.commit_of(repository) == git(repository, "rev-parse", "HEAD")[:7]


@pytest.mark.parametrize("name", ["cloudbuild.yaml", "new.txt"])
def test_a_checkout_with_something_in_no_commit_is_refused(name: str, repository: Path) -> None:
    (repository / name).write_text("changed\n")
    with pytest.raises(TerminalError, match=f"1 files of the checkout are in no commit: {name}"):
        submission.commit_of(repository)


def test_what_git_ignores_does_not_make_a_checkout_dirty(repository: Path) -> None:
    (repository / "terraform.tfvars").write_text("hush\n")
    assert len(submission.commit_of(repository)) == 7


def test_what_is_no_checkout_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TerminalError, match="git status failed"):
        submission.commit_of(tmp_path)


def test_there_is_a_release_of_each_profile() -> None:
    assert set(submission.FILES) == set(PROFILES)
    assert {path.name for path in ROOT.glob("cloudbuild*.yaml")} == set(submission.FILES.values())


def test_a_profile_that_there_is_not_is_refused() -> None:
    with pytest.raises(TerminalError, match="_PROFILE is 'large'; it is composer or small"):
        submission.command({**GIVEN, "_PROFILE": "large"})


@pytest.mark.parametrize("given", [GIVEN, SMALL], ids=["composer", "small"])
def test_gcloud_knows_the_command(given: dict[str, str]) -> None:
    wanted = submission.command(given)
    assert fault_of_gcloud(wanted) is None
    assert wanted[wanted.index("--config") + 1] == submission.FILES[given["_PROFILE"]]
    assert "_PROFILE" not in wanted[wanted.index("--substitutions") + 1], "no build uses it"
    assert wanted[wanted.index("--gcs-source-staging-dir") + 1] == "gs://acme-coinbeam/builds/source"


def test_it_can_only_be_shown_and_a_substitution_be_set(repository: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("coinbeam.settings.ROOT", repository)
    arguments = ["release", "submit", "--substitutions", "-", "--set", "_SERVING=image", "--dry-run"]
    done = CliRunner().invoke(app, arguments, input=json.dumps(GIVEN), catch_exceptions=False)
    assert done.exit_code == 0
    assert "_SERVING=image|_RELEASE=" in done.stdout


@pytest.fixture
def on_loopback(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """gcloud without credentials, a configuration or a question."""
    if shutil.which("gcloud") is None:
        pytest.skip("gcloud, which submits, is not on this machine")
    for name, value in {
        "CLOUDSDK_CONFIG": str(tmp_path / "gcloud"),
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "1",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
    }.items():
        monkeypatch.setenv(name, value)


@dataclass
class Builds:
    """gcloud with some builds, each of which ends at the second look."""

    known: list[dict[str, Any]] = field(default_factory=list)
    submitted: list[dict[str, str]] = field(default_factory=list)

    def ask(self, _builds: str, what: str, *words: str) -> Any:
        if what == "list":
            return self.known[::-1]
        [found] = [one for one in self.known if one["id"] == words[0]]
        return found | {"status": "SUCCESS"}

    def say(self, *words: str, **_: Any) -> str:
        joined = words[words.index("--substitutions") + 1]
        self.submitted.append(dict(pair.split("=", 1) for pair in joined[3:].split(joined[1])))
        self.add("WORKING", self.submitted[-1])
        return f"{self.known[-1]['id']}\n"

    def add(self, status: str, substitutions: dict[str, str]) -> None:
        self.known.append({"id": f"b{len(self.known)}", "status": status, "substitutions": substitutions})


def build(gcloud: Any, repository: Path, *, again: bool = False, **others: str) -> str:
    """Build a checkout without waiting."""
    wanted = submission.Submission(gcloud, {**GIVEN, **others}, repository)
    return wanted.build(lambda _: None, lambda _: None, 0.0, again=again)


@pytest.mark.parametrize("status", ["QUEUED", "WORKING", "SUCCESS"])
def test_a_build_of_the_commit_that_runs_or_has_succeeded_is_found_again(status: str, repository: Path) -> None:
    gcloud = Builds()
    gcloud.add(status, {**GIVEN, "_RELEASE": submission.commit_of(repository), "_ENVIRONMENT": "production"})
    assert build(gcloud, repository) == "b0"
    assert gcloud.submitted == []


@pytest.mark.parametrize(
    ("status", "change", "again"),
    [
        pytest.param("FAILURE", {}, False, id="failed"),
        pytest.param("SUCCESS", {"_RELEASE": "0000000"}, False, id="of another commit"),
        pytest.param("WORKING", {"_SUBNETWORK": "another"}, False, id="with other substitutions"),
        pytest.param("SUCCESS", {}, True, id="succeeded, and is wanted again"),
    ],
)
def test_a_build_that_does_not_do_is_followed_by_another(
    status: str, change: dict[str, str], again: bool, repository: Path
) -> None:
    gcloud, commit = Builds(), submission.commit_of(repository)
    gcloud.add(status, {**GIVEN, "_RELEASE": commit, **change})
    assert build(gcloud, repository, again=again) == "b1"
    assert [one["_RELEASE"] for one in gcloud.submitted] == [commit]


def test_a_commit_that_was_built_before_another_one_is_built_again(repository: Path) -> None:
    gcloud = Builds()
    gcloud.add("SUCCESS", {**GIVEN, "_RELEASE": submission.commit_of(repository)})
    gcloud.add("SUCCESS", {**GIVEN, "_RELEASE": "0000000"})
    assert build(gcloud, repository) == "b2"


@pytest.mark.cloud
@pytest.mark.usefixtures("on_loopback")
@pytest.mark.parametrize(("given", "status"), [(GIVEN, "SUCCESS"), (SMALL, "FAILURE")], ids=["composer", "small"])
def test_gcloud_hands_over_every_substitution_and_stages_the_source_in_the_bucket_of_the_data(
    given: dict[str, str], status: str, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("coinbeam.settings.ROOT", repository)
    arguments = ["release", "submit", "--substitutions", "-", "--project", "acme", "--poll-seconds", "0.1"]
    with running() as storage, cloud_build_api.running(status) as api:
        storage.create_bucket("acme-coinbeam")
        storage_url = f"http://127.0.0.1:{storage.port}/storage/v1/"
        monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE", storage_url)
        monkeypatch.setenv("CLOUDSDK_API_ENDPOINT_OVERRIDES_CLOUDBUILD", api.url)
        if status == "SUCCESS":
            for said in (f"build {cloud_build_api.ID}: success", f"build {cloud_build_api.ID} of"):
                done = CliRunner().invoke(app, arguments, input=json.dumps(given), catch_exceptions=False)
                assert said in done.stdout
        else:
            with pytest.raises(TerminalError, match=f"Build {cloud_build_api.ID} ended with FAILURE"):
                CliRunner().invoke(app, arguments, input=json.dumps(given), catch_exceptions=False)
        [(path, build)] = api.created
        [staged] = storage.names("acme-coinbeam")
    assert path == "/v1/projects/acme/locations/us-central1/builds"
    told = {name: value for name, value in given.items() if name != "_PROFILE"}
    declared, wanted = cloudbuild.read((ROOT / submission.FILES[given["_PROFILE"]]).read_text())
    assert {**told, "_RELEASE": submission.commit_of(repository)}.items() <= dict(build.substitutions).items()
    assert set(build.substitutions) == set(declared["substitutions"]), "a build refuses what it does not use"
    assert [step.id for step in build.steps] == [step.id for step in wanted.steps]
    assert list(build.images) == list(wanted.images)
    assert staged.startswith("builds/source/")
    assert (build.source.storage_source.bucket, build.source.storage_source.object_) == ("acme-coinbeam", staged)
