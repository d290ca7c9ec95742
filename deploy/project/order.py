"""What a person ordered: which project, where, in which shape."""

import re
from dataclasses import dataclass
from pathlib import Path

from coinbeam.settings import DEFAULT_PLANS, ROOT

PROFILES = ("composer", "small")
KEYLESS = frozenset(name for name, limits in DEFAULT_PLANS.items() if limits.key_header is None)
"""The plans of CoinGecko that have no key."""

BOOTSTRAP_APIS = ("serviceusage.googleapis.com", "cloudresourcemanager.googleapis.com", "storage.googleapis.com")
"""What Terraform itself needs before it can switch on anything: services, the project, the bucket of its state."""

SECRET = "coingecko-api-key"
ENVIRONMENT = "coinbeam"
"""The Composer environment, as infra/ names it."""

DAILY_JOB = "coinbeam-daily"
"""The job of Cloud Run that a project of the small profile has instead."""

FIRST_ASSETS = 50
"""Size of the first run: it shows that all works, and costs few calls."""

_PROJECT = re.compile(r"[a-z][a-z0-9-]{4,28}[a-z0-9]")
_REPOSITORY = re.compile(r"[A-Za-z0-9-]+/[A-Za-z0-9._-]+")


@dataclass(frozen=True)
class Order:
    """The options of a deployment.

    Attributes:
        project: id of the Google Cloud project.
        region: of everything that runs.
        location: of the datasets and the data bucket.
        profile: composer, or small (Cloud Run instead of Composer).
        plan: of CoinGecko.
        alert_email: address of the alerts; asked for when it is not given.
        github: owner/name of the repository that deploys; None: a person submits releases.
        state_project: id of the project that holds Terraform's state; None: see :attr:`state_home`.
        root: the checkout; its ``infra/`` is applied, and its commit released.
    """

    project: str
    region: str = "us-central1"
    location: str = "US"
    profile: str = "composer"
    plan: str = "analyst"
    alert_email: str | None = None
    github: str | None = None
    state_project: str | None = None
    root: Path = ROOT

    def fault(self) -> str | None:
        """What is wrong with the options, or None."""
        if not _PROJECT.fullmatch(self.project):
            return f"{self.project!r} is no project id: 6 to 30 lower-case letters, digits and hyphens."
        if self.profile not in PROFILES:
            return f"There is no profile {self.profile!r}: {' or '.join(PROFILES)}."
        if self.plan not in DEFAULT_PLANS:
            return f"CoinGecko has no plan {self.plan!r}: {', '.join(DEFAULT_PLANS)}."
        if self.github and not _REPOSITORY.fullmatch(self.github):
            return f"{self.github!r} is no repository: it looks like owner/name."
        if not _PROJECT.fullmatch(self.state_home):
            return f"{self.state_home!r} is no project id for the state: name one by STATE_PROJECT=."
        if self.state_home == self.project and not self.is_small:
            return f"Composer's and Dataflow's roles reach every bucket of {self.project}: STATE_PROJECT= is another."
        return None

    @property
    def infra(self) -> Path:
        """Terraform's root module."""
        return self.root / "infra"

    @property
    def is_small(self) -> bool:
        """Whether there is no Composer."""
        return self.profile == "small"

    @property
    def state_home(self) -> str:
        """Project of the state: one of its own, or where no account has a role on every bucket the same."""
        return self.state_project or (self.project if self.is_small else f"{self.project}-state")

    @property
    def state_bucket(self) -> str:
        """Bucket of Terraform's state, unless ``backend.hcl`` names another one."""
        return f"{self.project}-terraform-state"

    @property
    def data_bucket(self) -> str:
        """Bucket of landing and batches, as infra/ names it."""
        return f"{self.project}-coinbeam"
