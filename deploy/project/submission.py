"""The build of a commit: handed to Cloud Build with what Terraform says of the project, and waited for.

A build goes on in the cloud when whoever submitted it is gone, so that the one of a commit is looked for before another
is submitted.
"""

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from coinbeam.errors import TerminalError
from deploy.project.tools import Gcloud
from deploy.submission import chosen, joined

_WAITING = frozenset({"PENDING", "QUEUED", "WORKING"})
_PATIENCE_SECONDS = 7_800.0
"""The timeout of a build, ``cloudbuild.yaml`` and ``cloudbuild.small.yaml``, and some minutes."""


def submit(gcloud: Gcloud, substitutions: Mapping[str, str], release: str, checkout: Path) -> str:
    """Start the build of a checkout and return its id.

    Its source is staged in the bucket of the data: the account of the build cannot read what gcloud would choose.

    Raises:
        ToolError: it was refused.
    """
    config, given = chosen(substitutions)
    made = gcloud.say(
        *("builds", "submit", ".", f"--config={config}", "--async", "--format=value(id)"),
        f"--region={substitutions['_REGION']}",
        f"--gcs-source-staging-dir=gs://{substitutions['_DATA_BUCKET']}/builds/source",
        f"--substitutions={joined({**given, '_RELEASE': release})}",
        cwd=checkout,
    )
    return made.split()[-1]


def running(gcloud: Gcloud, region: str, release: str) -> str | None:
    """The id of a build of this release that has not ended, or None.

    Raises:
        ToolError: Cloud Build refused to tell.
    """
    found = gcloud.ask("builds", "list", f"--region={region}", "--ongoing", "--limit=50")
    return next((one["id"] for one in found or () if _releases(one, release)), None)


def succeeded(gcloud: Gcloud, region: str) -> str | None:
    """The release of the newest build that succeeded, or None.

    Raises:
        ToolError: Cloud Build refused to tell.
    """
    found = gcloud.ask("builds", "list", f"--region={region}", "--filter=tags=coinbeam AND status=SUCCESS", "--limit=1")
    return str(found[0].get("substitutions", {}).get("_RELEASE")) if found else None


def _releases(build: Mapping[str, Any], release: str) -> bool:
    return bool(build.get("substitutions", {}).get("_RELEASE") == release)


def wait(
    gcloud: Gcloud, region: str, build: str, say: Callable[[str], None], sleep: Callable[[float], None], poll: float
) -> None:
    """Wait until a build has ended, and say each new state.

    Raises:
        TerminalError: it failed, or does not end.
    """
    known, until = "", time.monotonic() + _PATIENCE_SECONDS
    while time.monotonic() < until:
        found = gcloud.ask("builds", "describe", build, f"--region={region}")
        if found["status"] != known:
            known = found["status"]
            say(f"build {build}: {known.lower()}. {found.get('logUrl', '')}".strip())
        if known == "SUCCESS":
            return
        if known not in _WAITING:
            failed = next((one for one in found.get("steps", ()) if one.get("status") == "FAILURE"), None)
            where = f" in its step {failed['id']}" if failed else ""
            detail = found.get("statusDetail") or found.get("failureInfo", {}).get("detail") or ""
            raise TerminalError(
                f"Build {build} ended with {known}{where}. {detail}".strip(),
                f"Its log: gcloud builds log {build} --region={region}. Mend the cause, then run the same command "
                "again.",
            )
        sleep(poll)
    raise TerminalError(f"Build {build} does not end.", "Look at it in the console, then run the same command again.")
