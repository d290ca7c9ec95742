"""The build of a commit: handed to Cloud Build with what Terraform says of the deployment."""

import json
import re
import shlex
import subprocess
from collections.abc import Mapping
from pathlib import Path

from coinbeam.errors import TerminalError

_NAME = re.compile(r"_[A-Z0-9_]+")
_PROFILE = "_PROFILE"
_NEEDED = ("_REGION", "_DATA_BUCKET", _PROFILE)
_DELIMITERS = (";", "|", "~", "%", "::")
FILES = {"composer": "cloudbuild.yaml", "small": "cloudbuild.small.yaml"}
"""The release of each profile: its steps, its images and its substitutions are its own."""

_REMEDY = "Give what `terraform -chdir=infra output -json substitutions` prints."


def read(text: str) -> dict[str, str]:
    """The substitutions in what ``terraform output -json substitutions`` prints; one that is null is left out.

    Raises:
        TerminalError: it is something else, or does not say where to build, where to keep the source, or for whom.
    """
    try:
        given = json.loads(text)
    except ValueError:
        given = None
    if not isinstance(given, dict) or not given:
        raise TerminalError("The substitutions are no JSON object.", _REMEDY)
    known = {str(name): value for name, value in given.items() if value is not None}
    wrong = sorted(name for name, value in known.items() if not (_NAME.fullmatch(name) and isinstance(value, str)))
    if wrong:
        raise TerminalError(f"No substitutions of text: {', '.join(wrong)}.", _REMEDY)
    missing = [name for name in _NEEDED if not known.get(name)]
    if missing:
        raise TerminalError(f"The substitutions lack {', '.join(missing)}.", _REMEDY)
    return known


def joined(substitutions: Mapping[str, str]) -> str:
    """The argument of gcloud: values may hold commas, so that another delimiter is named first.

    Source: ``gcloud topic escaping``.
    """
    pairs = [f"{name}={value}" for name, value in substitutions.items()]
    free = [one for one in _DELIMITERS if not any(one in pair for pair in pairs)]
    if not free:
        raise TerminalError(f"The substitutions hold every one of {' '.join(_DELIMITERS)}.", "Leave one of them out.")
    return f"^{free[0]}^{free[0].join(pairs)}"


def chosen(substitutions: Mapping[str, str]) -> tuple[str, dict[str, str]]:
    """The file that releases the profile of a deployment, and the substitutions of that file.

    The profile only says which file: Cloud Build refuses a substitution that a file does not use (``MUST_MATCH``).

    Raises:
        TerminalError: there is no such profile.
    """
    profile = substitutions[_PROFILE]
    if profile not in FILES:
        raise TerminalError(f"{_PROFILE} is {profile!r}; it is {' or '.join(FILES)}.", _REMEDY)
    return FILES[profile], {name: value for name, value in substitutions.items() if name != _PROFILE}


def command(substitutions: Mapping[str, str], commit: str, project: str | None = None) -> list[str]:
    """The command that uploads the checkout in which it runs, builds it and waits for the end.

    The source is staged in the bucket of the data: gcloud's own choice is a bucket that the account of the build
    cannot read.
    """
    config, given = chosen(substitutions)
    return [
        *("gcloud", "builds", "submit", "--config", config),
        *(("--project", project) if project else ()),
        *("--region", substitutions["_REGION"]),
        *("--gcs-source-staging-dir", f"gs://{substitutions['_DATA_BUCKET']}/builds/source"),
        *("--substitutions", joined({**given, "_RELEASE": commit})),
        ".",
    ]


def commit_of(checkout: Path) -> str:
    """The short commit of a checkout, which is the id of its release.

    Raises:
        TerminalError: something in it is in no commit, or it is no checkout of git.
    """
    changed = _git(checkout, "status", "--porcelain").splitlines()
    if changed:
        named = ", ".join(line[3:] for line in changed[:5])
        raise TerminalError(
            f"{len(changed)} files of the checkout are in no commit: {named}.",
            "Commit them, or take them away: a release is a commit.",
        )
    return _git(checkout, "rev-parse", "--short=7", "HEAD").strip()


def _git(checkout: Path, *arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=checkout, capture_output=True, text=True, check=False)
    if done.returncode:
        raise TerminalError(f"git failed: {done.stderr.strip()}.", "A release is submitted from a checkout of git.")
    return done.stdout


def submit(given: Mapping[str, str], project: str | None, dry_run: bool, checkout: Path) -> str:
    """Build the commit of a checkout and wait for the end; gcloud shows what goes on.

    Args:
        given: what Terraform says of the deployment, without the release.
        project: None: that of gcloud's configuration.
        dry_run: only say which command it would be.
        checkout: what is built.

    Returns:
        the command, as a shell takes it.

    Raises:
        TerminalError: the checkout is no commit, or the build failed.
    """
    wanted = command(given, commit_of(checkout), project)
    if not dry_run and (code := subprocess.run(wanted, cwd=checkout, check=False).returncode):
        raise TerminalError(
            f"gcloud builds submit ended with {code}.", "The console of Google Cloud has its log: Cloud Build, History."
        )
    return shlex.join(wanted)
