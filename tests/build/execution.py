"""The steps of a release, really executed on this machine: bash, gcloud and our own commands, on emulators."""

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from coinbeam.settings import ROOT
from tests.build.cloudbuild import read, script, substitute, text, values

ELSEWHERE = {
    "base-images": "reads the whole checkout; a test of its own runs it in one",
    "environment": "makes the environment that runs this test",
    "lint": "`make lint` runs on its own",
    "test": "runs this very suite",
    "images": "needs a Docker engine",
    "batch-image": "the same",
    "serving-image": "the same",
    "composer": "installs for a minute; a kept environment of the same packages stands in",
}
"""The steps that are left out everywhere, with the reason."""

SHIPPED = ("coinbeam", "beam_pipelines", "dags", "config", "sql")


@dataclass(frozen=True)
class Ended:
    """How a step ended.

    Attributes:
        code: exit code.
        output: all that it printed.
    """

    code: int
    output: str


@dataclass
class Workspace:
    """The folder of a build, as Cloud Build keeps it from step to step.

    Attributes:
        folder: where the steps run.
        variables: environment of every step.
        given: the substitutions of the submitter.
        config: the text of the file.
        images: the names of those that were pushed.
    """

    folder: Path
    variables: Mapping[str, str]
    given: Mapping[str, str]
    config: str = field(default_factory=text)
    images: tuple[str, ...] = ("pipelines",)

    def prepare(self, composer: Path | None = None) -> None:
        """Lay out a checkout, and what the steps that are left out would have made.

        Args:
            composer: interpreter of an environment with the packages of Composer, where the release has one.
        """
        for name in SHIPPED:
            shutil.copytree(
                ROOT / name, self.folder / name, ignore=shutil.ignore_patterns("__pycache__", "deployment.json")
            )
        (self.folder / "images").mkdir()
        for name in self.images:
            for kind in ("digest", "cdx.json"):
                (self.folder / "images" / f"{name}.{kind}").write_text("as deploy/push_image.sh notes it\n")
        link(self.folder / ".venv", Path(sys.executable))
        if composer:
            link(self.folder / ".composer", composer)

    def run(self, step_id: str) -> Ended:
        """Execute one step."""
        _, build = read(self.config)
        known = values(build, **self.given)
        [step] = [step for step in build.steps if step.id == step_id]
        own = dict(substitute(pair, known).split("=", 1) for pair in step.env)
        done = subprocess.run(
            ["bash", "-c", substitute(script(step) or "", known)],
            cwd=self.folder,
            env={**self.variables, **own},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=step.timeout.total_seconds(),
            check=False,
        )
        return Ended(done.returncode, done.stdout)

    def run_all(self) -> dict[str, Ended]:
        """Execute the steps in their order up to the first that fails, without those that are left out here."""
        ended: dict[str, Ended] = {}
        left_out = left_out_here()
        for step in read(self.config)[1].steps:
            if step.id in left_out:
                print(f"step {step.id} is not executed: {left_out[step.id]}")
                continue
            ended[step.id] = self.run(step.id)
            if ended[step.id].code:
                break
        return ended


def left_out_here() -> dict[str, str]:
    """The steps that this machine cannot execute, with the reason."""
    missing = {} if shutil.which("gcloud") else dict.fromkeys(("templates", "sbom"), "gcloud is not on this machine")
    return {**ELSEWHERE, **missing}


def link(folder: Path, python: Path) -> None:
    """An environment's ``bin/python`` that is another interpreter: not a link, or it would forget the environment it
    belongs to.
    """
    (folder / "bin").mkdir(parents=True)
    command = folder / "bin" / "python"
    command.write_text(f'#!/bin/sh\nexec "{python}" "$@"\n')
    command.chmod(0o755)


def variables(cloud: Mapping[str, str], folder: Path, project: str) -> dict[str, str]:
    """The environment of the steps: stock clients and gcloud, each told where the emulators are, and nothing of
    Coinbeam's.

    Args:
        cloud: variables that point at the emulators.
        folder: where gcloud keeps its configuration.
        project: the project of the build.
    """
    google = {name: value for name, value in cloud.items() if not name.startswith(("COINBEAM_", "AIRFLOW_"))}
    kept = {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(("COINBEAM_", "AIRFLOW_", "PYTHONPATH"))
    }
    gcloud = {
        "CLOUDSDK_CONFIG": str(folder),
        "CLOUDSDK_CORE_PROJECT": project,
        "CLOUDSDK_CORE_DISABLE_PROMPTS": "1",
        "CLOUDSDK_CORE_DISABLE_USAGE_REPORTING": "1",
        "CLOUDSDK_COMPONENT_MANAGER_DISABLE_UPDATE_CHECK": "1",
        "CLOUDSDK_AUTH_DISABLE_CREDENTIALS": "1",
        "CLOUDSDK_API_ENDPOINT_OVERRIDES_STORAGE": f"{cloud['STORAGE_EMULATOR_HOST']}/storage/v1/",
    }
    return {**kept, **google, **gcloud, "GOOGLE_CLOUD_PROJECT": project}
