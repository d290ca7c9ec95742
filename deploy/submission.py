"""The build of a commit: handed to Cloud Build with what Terraform says of the deployment, and waited for.

A build goes on in the cloud when whoever submitted it is gone, so that the one of a commit is looked for before another
is submitted.
"""

import json
import re
import shlex
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from coinbeam.errors import TerminalError
from deploy.tools import Gcloud, git

_NAME = re.compile(r"_[A-Z0-9_]+")
_PROFILE = "_PROFILE"
_NEEDED = ("_REGION", "_DATA_BUCKET", _PROFILE)
_DELIMITERS = (";", "|", "~", "%", "::")
FILES = {"composer": "cloudbuild.yaml", "small": "cloudbuild.small.yaml"}
"""The release of each profile: its steps, its images and its substitutions are its own."""

_REMEDY = "Give what `terraform -chdir=infra output -json substitutions` prints."
_GOING = frozenset({"PENDING", "QUEUED", "WORKING"})
_SUCCESS = "SUCCESS"
_NEWEST = 50
"""Builds that are looked at; a release is never that far from its submission."""

_PATIENCE_SECONDS = 11_000.0
"""How long both files let a build wait and run, and some minutes."""


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
    return known(given)


def known(given: Mapping[str, Any]) -> dict[str, str]:
    """The substitutions among Terraform's outputs; one that is null is left out.

    Raises:
        TerminalError: one is no text, or they do not say where to build, where to keep the source, or for whom.
    """
    found = {str(name): value for name, value in given.items() if value is not None}
    wrong = sorted(name for name, value in found.items() if not (_NAME.fullmatch(name) and isinstance(value, str)))
    if wrong:
        raise TerminalError(f"No substitutions of text: {', '.join(wrong)}.", _REMEDY)
    missing = [name for name in _NEEDED if not found.get(name)]
    if missing:
        raise TerminalError(f"The substitutions lack {', '.join(missing)}.", _REMEDY)
    return found


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


def command(substitutions: Mapping[str, str]) -> list[str]:
    """The words of gcloud that upload the checkout in which they run, start its build and print the id.

    The source is staged in the bucket of the data: gcloud's own choice is a bucket that the account of the build
    cannot read.
    """
    config, given = chosen(substitutions)
    return [
        *("builds", "submit", "--config", config),
        *("--region", substitutions["_REGION"]),
        *("--gcs-source-staging-dir", f"gs://{substitutions['_DATA_BUCKET']}/builds/source"),
        *("--substitutions", joined(given)),
        *("--async", "--format", "value(id)"),
        ".",
    ]


def commit_of(checkout: Path) -> str:
    """The short commit of a checkout, which is the id of its release.

    Raises:
        TerminalError: something in it is in no commit, or it is no checkout of git.
    """
    changed = git(checkout, "status", "--porcelain").splitlines()
    if changed:
        named = ", ".join(line[3:] for line in changed[:5])
        raise TerminalError(
            f"{len(changed)} files of the checkout are in no commit: {named}.",
            "Commit them, or take them away: a release is a commit.",
        )
    return git(checkout, "rev-parse", "--short=7", "HEAD").strip()


@dataclass(frozen=True)
class Submission:
    """A commit that is to be built, with what Terraform says.

    Args:
        gcloud: of the project that builds.
        substitutions: what Terraform says of the deployment, without the release.
        checkout: what is built.
    """

    gcloud: Gcloud
    substitutions: Mapping[str, str]
    checkout: Path

    @property
    def wanted(self) -> dict[str, str]:
        """The substitutions with the release.

        Raises:
            TerminalError: the checkout is no commit.
        """
        return {**self.substitutions, "_RELEASE": commit_of(self.checkout)}

    @property
    def shown(self) -> str:
        """The command, as a shell takes it."""
        return shlex.join(self.gcloud.command(*command(self.wanted)))

    def known(self) -> Mapping[str, Any] | None:
        """The build of this very commit with these very substitutions that runs; or that was the last to succeed.

        Raises:
            ToolError: Cloud Build refused to tell.
        """
        wanted, found = self.wanted, builds(self.gcloud, self.substitutions["_REGION"])
        going = [one for one in found if one["status"] in _GOING]
        ended = [one for one in found if one["status"] == _SUCCESS]
        return next((one for one in [*going, *ended[:1]] if _is_for(one, wanted)), None)

    def build(
        self, say: Callable[[str], None], sleep: Callable[[float], None], poll: float, *, again: bool = False
    ) -> str:
        """Wait for the build of this commit, and submit it if there is none; return its id.

        Args:
            say: told each new state.
            sleep: waits between two looks.
            poll: seconds of it.
            again: one that succeeded does not count.

        Raises:
            ToolError: Cloud Build refused.
            TerminalError: the checkout is no commit, or the build failed.
        """
        found = self.known()
        if found and found["status"] == _SUCCESS and not again:
            say(f"build {found['id']} of {self.wanted['_RELEASE']} has succeeded before")
            return str(found["id"])
        if found and found["status"] in _GOING:
            build = str(found["id"])
        else:
            build = self.gcloud.say(*command(self.wanted), cwd=self.checkout).split()[-1]
        wait(self.gcloud, self.substitutions["_REGION"], build, say, sleep, poll)
        return build


def builds(gcloud: Gcloud, region: str) -> list[Mapping[str, Any]]:
    """The newest builds of ours, newest first.

    Raises:
        ToolError: Cloud Build refused to tell.
    """
    return list(
        gcloud.ask("builds", "list", f"--region={region}", "--filter=tags=coinbeam", f"--limit={_NEWEST}") or ()
    )


def _is_for(build: Mapping[str, Any], wanted: Mapping[str, str]) -> bool:
    given = build.get("substitutions", {})
    return all(given.get(name, "") == value for name, value in chosen(wanted)[1].items())


def wait(
    gcloud: Gcloud, region: str, build: str, say: Callable[[str], None], sleep: Callable[[float], None], poll: float
) -> None:
    """Wait until a build has ended, and say each new state.

    Raises:
        TerminalError: it failed, or does not end.
    """
    told, until = "", time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        found = gcloud.ask("builds", "describe", build, f"--region={region}")
        if found["status"] != told:
            told = found["status"]
            say(f"build {build}: {told.lower()}. {found.get('logUrl', '')}".strip())
        if told == _SUCCESS:
            return
        if told not in _GOING:
            failed = next((one for one in found.get("steps", ()) if one.get("status") == "FAILURE"), None)
            where = f" in its step {failed['id']}" if failed else ""
            detail = found.get("statusDetail") or found.get("failureInfo", {}).get("detail") or ""
            raise TerminalError(
                f"Build {build} ended with {told}{where}. {detail}".strip(),
                f"Its log: gcloud builds log {build} --region={region}. Mend the cause, then run the same command "
                "again.",
            )
        sleep(poll)
    raise TerminalError(f"Build {build} does not end.", "Look at it in the console, then run the same command again.")
