"""A project as it is: what each step and each check asks of the cloud, asked once where it cannot change meanwhile."""

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Protocol

import google.auth
from google.auth.exceptions import GoogleAuthError
from google.auth.transport.requests import Request

from coinbeam.batch.tables import SNAPSHOT_FACT
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError
from coinbeam.ops.status import BEGINNING
from coinbeam.settings import Environment, Settings
from coinbeam.warehouse.client import Warehouse
from deploy.composer import Composer
from deploy.loader import POINTER
from deploy.project.files import state_bucket
from deploy.project.order import DAILY_JOB, SECRET, Order
from deploy.project.terraform import Terraform
from deploy.store import DAGS, Pointer
from deploy.tools import Gcloud

_SCOPE = "https://www.googleapis.com/auth/cloud-platform"


@dataclass(frozen=True)
class StateBucket:
    """The bucket of Terraform's state.

    Attributes:
        project: number of the project that it lies in.
        lacks: what protects it and is not on.
    """

    project: str
    lacks: tuple[str, ...]


class Person(Protocol):
    """Whoever deploys: told what goes on, and asked."""

    def say(self, text: str) -> None:
        """Tell a line."""

    def confirm(self, question: str) -> bool:
        """Ask for a yes."""

    def answer(self, question: str) -> str:
        """Ask for a text."""

    def secret(self, question: str) -> str:
        """Ask for a text that is not shown."""


@dataclass
class Deployment:
    """One project, as the order names it.

    Attributes:
        order: the options.
        person: whoever deploys.
        sleep: waits between two looks at what takes time.
        poll_seconds: how long it waits.
    """

    order: Order
    person: Person
    sleep: Callable[[float], None]
    poll_seconds: float = 15.0
    gcloud: Gcloud = field(init=False)
    terraform: Terraform = field(init=False)

    def __post_init__(self) -> None:
        self.gcloud = Gcloud(self.order.project)
        self.terraform = Terraform(self.order.infra, self.order.project, self.person.confirm)

    def sign_in_fault(self) -> str | None:
        """Why the credentials of Terraform and Coinbeam do not work, or None."""
        try:
            credentials, _ = google.auth.default(scopes=[_SCOPE])
            if not credentials.valid:
                credentials.refresh(Request())  # type: ignore[no-untyped-call]
        except GoogleAuthError as error:
            return f"{type(error).__name__}: {str(error)[:200]}"
        return None

    @cached_property
    def billing_account(self) -> str:
        """The billing account of the project; empty when it has none that is open."""
        found = self.gcloud.ask("billing", "projects", "describe", self.order.project)
        return str(found.get("billingAccountName", "")).rpartition("/")[2] if found.get("billingEnabled") else ""

    def enabled_apis(self) -> set[str]:
        """The APIs that are on in the project."""
        found = self.gcloud.ask("services", "list", "--enabled")
        return {one["config"]["name"] for one in found or ()}

    @cached_property
    def number(self) -> str:
        """The number of the project, by which a bucket names it."""
        return str(self.gcloud.ask("projects", "describe", self.order.project)["projectNumber"])

    def state_bucket(self) -> StateBucket | None:
        """The bucket of the state as it is; None: there is none."""
        found = self.gcloud.find("storage", "buckets", "describe", f"gs://{state_bucket(self.order)}", "--raw")
        if found is None:
            return None
        access = found.get("iamConfiguration", {})
        wanted = {
            "versioning": bool(found.get("versioning", {}).get("enabled")),
            "uniform access": bool(access.get("uniformBucketLevelAccess", {}).get("enabled")),
            "public access prevention": access.get("publicAccessPrevention") == "enforced",
        }
        return StateBucket(str(found["projectNumber"]), tuple(name for name, holds in wanted.items() if not holds))

    @property
    def state_gcloud(self) -> Gcloud:
        """gcloud for the project of the state."""
        return Gcloud(self.order.state_home)

    def has_key(self) -> bool:
        """Whether the secret has a version that is enabled."""
        found = self.gcloud.ask("secrets", "versions", "list", SECRET, "--filter=state=ENABLED", "--limit=1")
        return bool(found)

    @cached_property
    def outputs(self) -> Mapping[str, Any]:
        """Terraform's outputs."""
        return self.terraform.outputs()

    def forget_outputs(self) -> None:
        """After an apply."""
        self.__dict__.pop("outputs", None)
        self.__dict__.pop("settings", None)

    @property
    def composer_bucket(self) -> str:
        """The bucket of Composer."""
        return str(self.outputs["composer_bucket"])

    def current_release(self) -> str | None:
        """The release that Composer uses, or the job of the small profile; None: there is none yet."""
        if self.order.is_small:
            return self._release_of_the_job()
        found = self.gcloud.find("storage", "objects", "describe", f"gs://{self.composer_bucket}/{DAGS}/{POINTER}")
        if found is None:
            return None
        text = self.gcloud.say("storage", "cat", f"gs://{self.composer_bucket}/{DAGS}/{POINTER}")
        return Pointer(**json.loads(text)).current

    def job(self) -> Mapping[str, Any] | None:
        """The job of the small profile, as Cloud Run tells it; None: there is none."""
        found = self.gcloud.find("run", "jobs", "describe", DAILY_JOB, f"--region={self.order.region}")
        return dict(found) if found else None

    def _release_of_the_job(self) -> str | None:
        """The tag of its image; until the first release it has Google's sample."""
        job = self.job()
        if job is None:
            return None
        image = str(job["spec"]["template"]["spec"]["template"]["spec"]["containers"][0]["image"])
        name, _, tag = image.rpartition(":")
        return tag if name == f"{self.outputs['image_repository']}/batch" else None

    @cached_property
    def settings(self) -> Settings:
        """The settings of the deployment: those of production with what Terraform says of the project.

        Raises:
            SettingsError: there is no apply yet, or its outputs are of another version.
        """
        told = self.outputs.get("deployment")
        if not told:
            raise SettingsError("Terraform has no output `deployment`.", "Apply infra/ first.")
        sections = {
            name: {key: value for key, value in section.items() if value is not None}
            for name, section in told.items()
        }  # fmt: skip
        values: dict[str, Any] = {"environment": Environment.PRODUCTION, **sections}
        return Settings(**values)

    @cached_property
    def composer(self) -> Composer:
        """Airflow."""
        return Composer(self.settings, sleep=self.sleep, poll_seconds=self.poll_seconds)

    @cached_property
    def warehouse(self) -> Warehouse:
        """BigQuery."""
        return Warehouse(self.settings)

    def last_published(self) -> str | None:
        """The newest batch of the snapshot that was published, or None."""
        table = self.warehouse.table(load_contract("ingestion_batch"))
        if not self.warehouse.exists(table):
            return None
        sql = (
            f"SELECT batch_id FROM `{table}` WHERE snapshot_date >= '{BEGINNING}' AND status = 'published' "
            f"AND table_name = '{SNAPSHOT_FACT}' ORDER BY finished_at DESC LIMIT 1"
        )
        rows = self.warehouse.rows(sql)
        return str(rows[0]["batch_id"]) if rows else None
