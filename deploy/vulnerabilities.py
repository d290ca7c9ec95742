"""What the registry's scan finds in the images of a release: a critical vulnerability that has a fix stops it.

The registry scans each image when it is pushed; here somebody waits for the end and reads what was found. A critical
one without a fix is told and stops nothing: nobody could do anything. One that has a fix may be accepted by name, in
``deploy/vulnerabilities.yaml``, with a reason and for a time.

Source: https://cloud.google.com/artifact-analysis/docs/reference/rest/v1/projects.occurrences
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path
from typing import Any

import requests
import yaml
from pydantic import BaseModel, ConfigDict, Field

from coinbeam.errors import TerminalError, TransientError

API = "https://containeranalysis.googleapis.com"
PATIENCE_SECONDS = 900.0
_POLL_SECONDS = 10.0
_DONE = {"FINISHED_SUCCESS", "COMPLETE"}
_FAILED = {"FINISHED_FAILED", "FINISHED_UNSUPPORTED"}


class Accepted(BaseModel):
    """A vulnerability with which a release is made all the same."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    id: str = Field(pattern=r"^[A-Z]+-[\w-]+$")
    package: str = Field(min_length=1)
    reason: str = Field(min_length=20, description="Why it does no harm here")
    until: date = Field(description="The day from which it counts again")


class Policy(BaseModel):
    """``deploy/vulnerabilities.yaml``."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    accepted: tuple[Accepted, ...] = ()


@dataclass(frozen=True)
class Vulnerability:
    """A critical vulnerability of a package of an image.

    Attributes:
        image: its name with its digest.
        id: the CVE.
        package: that it is in.
        fixed: the version that has it no more; empty: there is none.
    """

    image: str
    id: str
    package: str
    fixed: str

    def __str__(self) -> str:
        cure = f"fixed in {self.fixed}" if self.fixed else "without a fix"
        return f"{self.id} in {self.package} of {self.image.rpartition('/')[2]}: critical, {cure}"


def read_policy(path: Path) -> Policy:
    """What is accepted, strictly read."""
    return Policy.model_validate(yaml.safe_load(path.read_text(encoding="utf-8")))


def read_images(folder: Path) -> list[str]:
    """The images that were pushed, each with its digest.

    Raises:
        TerminalError: none was.
    """
    images = [line for path in sorted(folder.glob("*.digest")) for line in path.read_text(encoding="utf-8").split()]
    if not images:
        raise TerminalError(f"{folder} names no image.", "deploy/push_image.sh notes what it pushes.")
    return images


def stopping(found: list[Vulnerability], policy: Policy, today: date) -> list[Vulnerability]:
    """Those that stop a release: they have a fix, and nobody accepts them today."""
    accepted = {(one.id, one.package) for one in policy.accepted if today < one.until}
    return [one for one in found if one.fixed and (one.id, one.package) not in accepted]


@dataclass
class Scans:
    """The results of a registry's scans.

    Attributes:
        session: asks with credentials.
        sleep: waits some seconds.
        api: address of the service.
    """

    session: requests.Session
    sleep: Callable[[float], None]
    api: str = field(default_factory=lambda: API)

    def critical(self, image: str) -> list[Vulnerability]:
        """The critical vulnerabilities of an image, once its scan has ended.

        Raises:
            TerminalError: the image was not scanned, or could not be, or nobody may read that.
            TransientError: the service does not answer.
        """
        self._wait(image)
        return [
            Vulnerability(image, body["noteName"].rpartition("/")[2], issue["affectedPackage"], _fixed(issue))
            for body in self._occurrences(image, "VULNERABILITY")
            if body["vulnerability"].get("effectiveSeverity") == "CRITICAL"
            for issue in body["vulnerability"]["packageIssue"]
        ]

    def _wait(self, image: str) -> None:
        for _ in range(int(PATIENCE_SECONDS / _POLL_SECONDS)):
            states = {one["discovery"].get("analysisStatus") for one in self._occurrences(image, "DISCOVERY")}
            if states & _FAILED:
                raise TerminalError(f"The registry could not scan {image}.", "Its page in the registry says why.")
            if states and states <= _DONE:
                return
            self.sleep(_POLL_SECONDS)
        raise TerminalError(
            f"The registry has not scanned {image} within {PATIENCE_SECONDS:g} seconds.",
            "Is containerscanning.googleapis.com switched on in the project?",
        )

    def _occurrences(self, image: str, kind: str) -> Iterator[dict[str, Any]]:
        project, asked = image.split("/")[1], f'kind="{kind}" AND resourceUrl="https://{image}"'
        token = ""
        while True:
            body = self._page(f"{self.api}/v1/projects/{project}/occurrences", {"filter": asked, "pageToken": token})
            yield from body.get("occurrences", [])
            token = body.get("nextPageToken", "")
            if not token:
                return

    def _page(self, url: str, parameters: dict[str, str]) -> dict[str, Any]:
        try:
            answer = self.session.get(url, params={"pageSize": "1000", **parameters}, timeout=60)
        except requests.RequestException as error:
            raise TransientError(f"{self.api} does not answer: {type(error).__name__}.") from error
        if answer.status_code >= 500 or answer.status_code == 429:
            raise TransientError(f"{self.api} answers {answer.status_code}.")
        if answer.status_code != 200:
            raise TerminalError(
                f"{self.api} answers {answer.status_code}: {answer.text[:300]}",
                "The account of the build needs roles/containeranalysis.occurrences.viewer.",
            )
        return dict(answer.json())


def _fixed(issue: dict[str, Any]) -> str:
    version = issue.get("fixedVersion", {})
    return str(version.get("fullName", "")) if version.get("kind") != "MAXIMUM" else ""
