"""A checkout from which a project on loopback is deployed, by the very command that a person types."""

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from google.cloud.devtools.cloudbuild_v1.types import Build

from coinbeam.settings import ROOT
from deploy import base_images, submission
from tests.build import execution
from tests.deploy import registry
from tests.deploy.project import provider
from tests.deploy.project.google import Google, Project
from tests.infra.provider_schema import PACKAGES, VERSION
from tests.infra.terraform import _platform
from tests.temporary import LocalCloud

PARTS = (
    "beam_pipelines",
    "coinbeam",
    "config",
    "console",
    "dags",
    "deploy",
    "infra",
    "local",
    "runs",
    "serving",
    "sql",
)
FILES = (".gcloudignore", ".gitignore", "pyproject.toml", *(path.name for path in base_images.files()))
LOCK = Path("infra/.terraform.lock.hcl")
EXECUTED = {
    "composer": ("base-images", "configure", "upload", "contracts", "switch"),
    "small": ("base-images", "configure", "contracts", "batch-job"),
}
"""The steps of a build that are executed here; ``tests/build`` executes the others, too."""

KEY = "CG-sentinelkeyofthewalk"
OPTIONS = ("--alert-email", "team@example.com", "--poll-seconds", "0.3")
COMMAND = """
import runpy
import sys

from deploy import base_images

base_images.REGISTRIES |= dict.fromkeys(("docker.io", "gcr.io"), sys.argv.pop(1))
runpy.run_module("console", run_name="__main__")
"""
"""The command, with the registries of images on loopback."""


def image_registry() -> AbstractContextManager[registry.Registry]:
    """A registry that has all base images."""
    names = {name for path in base_images.files() for name in base_images.digests(path.read_text())}
    return registry.running(*(base_images._place(name)[1] for name in names))


def make_checkout(folder: Path) -> None:
    """A commit of this tree, without its history. The file of hashes is empty: those of the real providers are not here."""
    ignored = shutil.ignore_patterns(
        "__pycache__", "deployment.json", ".terraform*", "*.tfplan", "*.tfstate*", "terraform.tfvars", "backend.hcl"
    )
    for name in PARTS:
        shutil.copytree(ROOT / name, folder / name, ignore=ignored)
    for name in FILES:
        shutil.copy(ROOT / name, folder / name)
    (folder / LOCK).write_text("".join((ROOT / LOCK).read_text().splitlines(keepends=True)[:2]))
    for command in (
        ["init", "--quiet"],
        ["config", "user.name", "a"],
        ["config", "user.email", "a@example.com"],
        ["add", "--all"],
        ["commit", "--quiet", "--message", "A commit."],
    ):
        subprocess.run(["git", *command], cwd=folder, check=True, timeout=60)


def mirror_providers(folder: Path) -> Path:
    """Terraform's configuration of a machine whose registry is a folder, with the providers of these tests."""
    for name in PACKAGES:
        place = folder / "mirror" / "registry.terraform.io" / "hashicorp" / name / VERSION / _platform()
        place.mkdir(parents=True)
        launcher = place / f"terraform-provider-{name}_v{VERSION}_x5"
        module = provider.__name__
        launcher.write_text(f'#!/bin/sh\ncd "{ROOT}" && exec "{sys.executable}" -m {module} "{name}"\n')
        launcher.chmod(0o755)
    settings = folder / "terraform.rc"
    settings.write_text(
        f'provider_installation {{\n  filesystem_mirror {{\n    path = "{folder / "mirror"}"\n  }}\n}}\n'
    )
    return settings


@dataclass
class Attempt:
    """One start of the command.

    Attributes:
        code: exit code; negative when it was killed.
        output: all that it said.
    """

    code: int
    output: str


@dataclass
class Site:
    """Checkout, project and machine.

    Attributes:
        folder: of all of it.
        project: on loopback.
        google: what serves it.
        cloud: the emulators.
        registry: of the base images.
    """

    folder: Path
    project: Project
    google: Google
    cloud: LocalCloud
    registry: str
    rc: Path = field(init=False)

    def __post_init__(self) -> None:
        make_checkout(self.checkout)
        self.rc = mirror_providers(self.folder)
        (self.folder / "token").write_text("a-token-of-loopback")

    @property
    def checkout(self) -> Path:
        """The tree of the command."""
        return self.folder / "checkout"

    def variables(self) -> dict[str, str]:
        """The environment of a person's shell, in which every address is one of loopback."""
        cloud = {**self.cloud.env, "STORAGE_EMULATOR_HOST": self.google.url.rstrip("/")}
        shell = execution.variables(cloud, self.folder / "gcloud", self.project.id)
        shell.pop("CLOUDSDK_AUTH_DISABLE_CREDENTIALS")
        return {
            **shell,
            **self.google.variables(),
            "CLOUDSDK_AUTH_ACCESS_TOKEN_FILE": str(self.folder / "token"),
            "GOOGLE_OAUTH_ACCESS_TOKEN": "a-token-of-loopback",
            "GOOGLE_BACKEND_STORAGE_CUSTOM_ENDPOINT": f"{self.google.url}storage/v1/",
            "TF_CLI_CONFIG_FILE": str(self.rc),
            "TF_DISABLE_PLUGIN_TLS": "1",
            "CHECKPOINT_DISABLE": "1",
            provider.FOLDER: str(self.project.folder),
            provider.STORAGE: self.google.url.rstrip("/"),
            "CLOUD_AIRFLOW": f"{self.google.url}airflow",
            "CLOUD_COMPOSER_BUCKET": self.project.composer_bucket,
            "PYTHONPATH": str(self.checkout),
            "PYTHONUNBUFFERED": "1",
        }

    def run(
        self, command: str, *options: str, kill: Callable[[str], float | None] | None = None, text: str = f"{KEY}\n"
    ) -> Attempt:
        """Run ``coinbeam COMMAND``.

        Args:
            command: deploy or deploy-check.
            options: of it.
            kill: told each line; after so many seconds from then the whole process group is killed, None: never.
            text: what the person types.
        """
        argv = [sys.executable, "-c", COMMAND, self.registry, command, "--project", self.project.id, *options]
        process = subprocess.Popen(
            argv, cwd=self.checkout, env=self.variables(), start_new_session=True, text=True,
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip
        assert process.stdin is not None
        assert process.stdout is not None
        with suppress(BrokenPipeError):
            process.stdin.write(text)
            process.stdin.close()
        lines: list[str] = []
        for line in process.stdout:
            lines.append(line)
            delay = kill(line) if kill else None
            if delay is not None:
                time.sleep(delay)
                with suppress(ProcessLookupError):
                    os.killpg(process.pid, signal.SIGKILL)
        return Attempt(process.wait(120), "".join(lines))

    def execute(self, build: Build) -> str:
        """A submitted build: its uploaded source, and the steps that this machine can execute."""
        place = self.folder / f"build-{len(self.project.builds)}"
        source = build.source.storage_source
        address = f"{self.project.storage}/storage/v1/b/{source.bucket}/o/{quote(source.object_, safe='')}?alt=media"
        with urllib.request.urlopen(address, timeout=60) as answer:
            content = io.BytesIO(answer.read())
        with tarfile.open(fileobj=content) as archive:
            archive.extractall(place, filter="data")
        execution.link(place / ".venv", Path(sys.executable))
        given = {"PROJECT_ID": self.project.id, **dict(build.substitutions)}
        cloud = {**self.cloud.env, "STORAGE_EMULATOR_HOST": self.google.url.rstrip("/")}
        variables = execution.variables(cloud, self.folder / "gcloud-of-builds", self.project.id)
        profile = "composer" if given.get("_COMPOSER_BUCKET") else "small"
        config = (place / submission.FILES[profile]).read_text()
        steps = execution.Workspace(place, {**variables, **self.google.variables()}, given, config)
        for name in EXECUTED[profile]:
            ended = steps.run(name)
            if ended.code:
                print(f"step {name}: {ended.output}")
                return "FAILURE"
        return "SUCCESS"


def repeated(project: Project) -> list[str]:
    """What was made or changed more than once of all that has a name of its own.

    A grant or an API that is given twice is the same; an alert policy that a killed apply could not write down is made
    a second time, on Google as here.
    """
    named = tuple(f"google_{kind}/" for kind in provider._OWN_NAME)
    return [name for name, writes in changes(project).items() if writes != 1 and name.startswith(named)]


def changes(project: Project) -> Mapping[str, int]:
    """How often each resource was written, by its file."""
    return {
        f"{file.parent.name}/{json.loads(file.read_text())['key']}": json.loads(file.read_text())["writes"]
        for file in project.folder.glob("*/*.json")
    }
