"""The steps of a first deployment. Each asks the cloud itself whether it is done: no file of this machine could lie."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol

from coinbeam.clock import format_instant, utc_now
from coinbeam.errors import TerminalError
from coinbeam.feeds.forms import SnapshotForm, form_defaults
from coinbeam.feeds.snapshot.request import present_instant
from coinbeam.settings import Universe
from deploy import submission, tools
from deploy.composer import OPTIONAL_DAGS
from deploy.faults import ToolError
from deploy.project import files
from deploy.project.deployment import Deployment
from deploy.project.order import BOOTSTRAP_APIS, DAILY_JOB, FIRST_ASSETS, KEYLESS, SECRET
from deploy.project.pins import Pins
from deploy.project.terraform import Plan
from deploy.tools import Gcloud
from runs.airflow import SNAPSHOT_DAG

_STORAGE = "storage.googleapis.com"
_NAMED = 3
"""Missing pins that the plan names."""

_MOST_APPLIES = 10
"""Each round takes in what the one before it met; what depends on it comes in the next."""

DAGS_APPEAR_SECONDS = 900.0
"""How long Composer may need to read a new release out of its bucket."""


class State(StrEnum):
    """Where a step stands."""

    DONE = "done"
    TO_DO = "to do"
    WAITS = "waits"


@dataclass(frozen=True)
class Found:
    """What a step found in the cloud: where it stands, and in words what is there or what it would do."""

    state: State
    text: str


class Step(Protocol):
    """One step."""

    name: str

    def look(self) -> Found:
        """Ask whether it is done; changes nothing in the cloud."""

    def do(self) -> None:
        """Do it."""


@dataclass
class Tools:
    """gcloud, Terraform and git, new enough."""

    deployment: Deployment
    name: str = "tools"

    def look(self) -> Found:
        """Ask each for its version; what is missing a person installs."""
        return Found(State.DONE, ", ".join(f"{name} {number}" for name, number in tools.versions().items()))

    def do(self) -> None:
        """Nothing: to look is to refuse."""


@dataclass
class SignIn:
    """Two sign-ins: that of gcloud, and the credentials that Terraform and Coinbeam use."""

    deployment: Deployment
    name: str = "sign-in"

    def look(self) -> Found:
        """Try both."""
        if self._gcloud_fault():
            return Found(State.TO_DO, "gcloud auth login")
        if self.deployment.sign_in_fault():
            return Found(State.TO_DO, "gcloud auth application-default login")
        return Found(State.DONE, "gcloud and application default credentials")

    def do(self) -> None:
        """Sign in by the browser."""
        project = self.deployment.order.project
        if self._gcloud_fault():
            tools.run(["gcloud", "auth", "login"], project, shown=True)
        if self.deployment.sign_in_fault():
            tools.run(["gcloud", "auth", "application-default", "login"], project, shown=True)
        fault = self._gcloud_fault() or self.deployment.sign_in_fault()
        if fault:
            remedy = "Sign in with `gcloud auth login` and `gcloud auth application-default login`."
            raise TerminalError(f"The sign-in does not work: {fault}", remedy)

    def _gcloud_fault(self) -> str | None:
        try:
            self.deployment.gcloud.say("auth", "print-access-token")
        except ToolError as error:
            return error.message
        return None


@dataclass
class Project:
    """The project, and who pays for it. A person makes both."""

    deployment: Deployment
    name: str = "project"

    def look(self) -> Found:
        """Refuse a project that is not there, or that nobody pays for."""
        order = self.deployment.order
        found = self.deployment.gcloud.ask("projects", "describe", order.project)
        if found.get("lifecycleState") != "ACTIVE":
            raise TerminalError(
                f"The project {order.project} is {found.get('lifecycleState')}.",
                f"Restore it (gcloud projects undelete {order.project}), or name another one.",
            )
        if not self.deployment.billing_account:
            raise TerminalError(
                f"The project {order.project} has no open billing account.",
                f"Link one: gcloud billing projects link {order.project} --billing-account=ACCOUNT "
                "(gcloud billing accounts list names them). Then run the same command again.",
            )
        return Found(State.DONE, f"{order.project}, billed to {self.deployment.billing_account}")

    def do(self) -> None:
        """Nothing: to look is to refuse."""


@dataclass
class Apis:
    """The APIs that Terraform needs before it can enable the others."""

    deployment: Deployment
    name: str = "bootstrap APIs"

    def look(self) -> Found:
        """Which are off. A project in which even the list is refused has the first of them off."""
        off = self._off()
        if off:
            return Found(State.TO_DO, f"enable {', '.join(off)}")
        return Found(State.DONE, ", ".join(name.partition(".")[0] for name in BOOTSTRAP_APIS))

    def do(self) -> None:
        """Enable them."""
        self.deployment.gcloud.say("services", "enable", *self._off())

    def _off(self) -> list[str]:
        try:
            on = self.deployment.enabled_apis()
        except ToolError as error:
            if "SERVICE_DISABLED" not in error.output:
                raise
            on = set()
        return [name for name in BOOTSTRAP_APIS if name not in on]


@dataclass
class StateProject:
    """The project of Terraform's state, out of reach of Composer and the workers: docs in infra/README.md."""

    deployment: Deployment
    name: str = "state project"

    def look(self) -> Found:
        """Whether it is there, and paid for. Where the bucket is there already, it lies where it lies."""
        deployment, home = self.deployment, self.deployment.order.state_home
        if home == deployment.order.project:
            return Found(State.DONE, f"{home}: no account of ours has a role on every bucket")
        bucket = deployment.state_bucket()
        if bucket is not None:
            if bucket.project == deployment.number:
                raise TerminalError(
                    f"The bucket of the state lies in {deployment.order.project} itself.",
                    "Composer and the workers could replace it. Move it, as infra/README.md says.",
                )
            return Found(State.DONE, f"number {bucket.project}")
        if self._lacks_project():
            return Found(State.TO_DO, f"make {home}, billed to {deployment.billing_account}, for the state alone")
        if lacks := self._lacks():
            return Found(State.TO_DO, f"{home}: {' and '.join(lacks)}")
        return Found(State.DONE, home)

    def do(self) -> None:
        """Make it beside the project, paid by the same account, with Cloud Storage."""
        deployment, home = self.deployment, self.deployment.order.state_home
        if self._lacks_project():
            parent = deployment.gcloud.ask("projects", "describe", deployment.order.project).get("parent") or {}
            place = [f"--{parent['type']}={parent['id']}"] if parent else []
            # Without a project in the command: it is the one that is made.
            Gcloud(None).say("projects", "create", home, "--no-enable-cloud-apis", *place)
        if not self._is_paid():
            account = f"--billing-account={deployment.billing_account}"
            Gcloud(None).say("billing", "projects", "link", home, account)
        deployment.state_gcloud.say("services", "enable", _STORAGE)

    def _lacks_project(self) -> bool:
        """Whether there is none that we may see: Google does not say more."""
        try:
            self.deployment.state_gcloud.ask("projects", "describe", self.deployment.order.state_home)
        except ToolError as error:
            if "permission to access projects instance" not in error.output:
                raise
            return True
        return False

    def _is_paid(self) -> bool:
        found = self.deployment.state_gcloud.ask("billing", "projects", "describe", self.deployment.order.state_home)
        return bool(found.get("billingEnabled"))

    def _lacks(self) -> list[str]:
        if not self._is_paid():
            return [f"bill it to {self.deployment.billing_account}", f"enable {_STORAGE}"]
        on = {one["config"]["name"] for one in self.deployment.state_gcloud.ask("services", "list", "--enabled") or ()}
        return [] if _STORAGE in on else [f"enable {_STORAGE}"]


@dataclass
class StateBucket:
    """The bucket of Terraform's state: versioned, without object access lists, never public."""

    deployment: Deployment
    name: str = "state bucket"

    def look(self) -> Found:
        """Whether it is there, protected."""
        uri, bucket = self._uri(), self.deployment.state_bucket()
        if bucket is None:
            return Found(State.TO_DO, f"make {uri}, protected, in {self.deployment.order.state_home}")
        if bucket.lacks:
            return Found(State.TO_DO, f"{uri}: switch on {', '.join(bucket.lacks)}")
        return Found(State.DONE, uri)

    def do(self) -> None:
        """Make it, or protect the one that is there."""
        gcloud, uri = self.deployment.state_gcloud, self._uri()
        protected = ("--uniform-bucket-level-access", "--public-access-prevention")
        if self.deployment.state_bucket() is None:
            gcloud.say("storage", "buckets", "create", uri, f"--location={self.deployment.order.location}", *protected)
        gcloud.say("storage", "buckets", "update", uri, "--versioning", *protected)

    def _uri(self) -> str:
        return f"gs://{files.state_bucket(self.deployment.order)}"


@dataclass
class Files:
    """The two files of this checkout that Terraform reads."""

    deployment: Deployment
    name: str = "files"

    def look(self) -> Found:
        """Which are missing."""
        absent = files.missing(self.deployment.order)
        if absent:
            return Found(State.TO_DO, f"write {' and '.join(f'infra/{name}' for name in absent)}")
        return Found(State.DONE, f"infra/{files.BACKEND} and infra/{files.VARIABLES}")

    def do(self) -> None:
        """Write them."""
        files.write(self.deployment.order, self.deployment.person.answer)


@dataclass
class Infrastructure:
    """Everything that Terraform makes."""

    deployment: Deployment
    name: str = "infrastructure"

    def __post_init__(self) -> None:
        self._plan: Plan | None = None

    def look(self) -> Found:
        """Plan."""
        self._plan = self.deployment.terraform.plan()
        if self._plan is None:
            return Found(State.DONE, "as infra/ says")
        return Found(State.TO_DO, self._plan.text)

    def do(self) -> None:
        """Apply the plan that was shown, and take in what a killed apply left behind."""
        for _ in range(_MOST_APPLIES):
            self._refuse_to_destroy()
            try:
                self.deployment.terraform.apply()
                break
            except ToolError as error:
                adopted = self.deployment.terraform.adopt(error)
                if not adopted:
                    raise
                self.deployment.person.say(f"An apply that was killed had made {', '.join(adopted)}: taken in.")
            if self.look().state is State.DONE:
                break
        self.deployment.terraform.forget_adopted()
        self.deployment.forget_outputs()

    def _refuse_to_destroy(self) -> None:
        """What would destroy something is for a person to do by hand."""
        if self._plan is not None and self._plan.destroyed:
            raise TerminalError(
                f"The plan destroys: {self._plan.text}.",
                "Read it (terraform -chdir=infra show plan.tfplan) and apply it by hand, if it is meant.",
            )


@dataclass
class Key:
    """The API key in Secret Manager: typed, given to gcloud by a pipe, kept nowhere else."""

    deployment: Deployment
    name: str = "API key"

    def look(self) -> Found:
        """Whether the secret has a version."""
        plan = self.deployment.order.plan
        if plan in KEYLESS:
            return Found(State.DONE, f"the plan {plan} has none")
        if self.deployment.has_key():
            return Found(State.DONE, f"{SECRET} has an enabled version")
        return Found(State.TO_DO, f"type the key of the plan {plan} into {SECRET}")

    def do(self) -> None:
        """Ask for it."""
        key = self.deployment.person.secret("CoinGecko API key (not shown)").strip()
        if not key or not key.isascii() or not key.isprintable() or " " in key:
            raise TerminalError(
                "That is no API key: it is empty, or holds a character that no key has (not shown).",
                "Run the same command again and paste it alone; or order PLAN=keyless.",
            )
        self.deployment.gcloud.say("secrets", "versions", "add", SECRET, "--data-file=-", text=key)


@dataclass
class Pinned:
    """The commit that is released names base images by digest and providers by hash."""

    deployment: Deployment
    name: str = "pins"

    def look(self) -> Found:
        """What is not pinned, or not committed."""
        missing = self._pins.missing()
        if missing:
            more = f"; and {len(missing) - _NAMED} more" if len(missing) > _NAMED else ""
            return Found(State.TO_DO, f"pin and commit {'; '.join(missing[:_NAMED])}{more}")
        return Found(State.DONE, "base images by digest, providers by hash")

    def do(self) -> None:
        """Pin, show what changed, and commit it on a yes."""
        person, changes = self.deployment.person, self._pins.write()
        for line in changes:
            person.say(line)
        if not person.confirm(f"Commit these {len(changes)} lines, and nothing else?"):
            raise TerminalError(
                "The pins are in no commit.", "Commit them by hand, or take them back with git restore."
            )
        person.say(f"committed as {self._pins.commit()}: push it with your next change")

    @property
    def _pins(self) -> Pins:
        return Pins(self.deployment.order.root)


@dataclass
class Release:
    """The first release: this commit, built in the cloud."""

    deployment: Deployment
    name: str = "release"

    def look(self) -> Found:
        """Whether a release is current."""
        current = self.deployment.current_release()
        if current:
            return Found(State.DONE, f"{current} is current")
        release, known = self._submission.wanted["_RELEASE"], self._submission.known()
        if known:
            return Found(State.TO_DO, f"wait for build {known['id']} of {release}, which is running")
        return Found(State.TO_DO, f"build {release} with Cloud Build, and switch to it")

    def do(self) -> None:
        """Submit the build, unless that of this commit is on its way, and wait."""
        deployment = self.deployment
        build = self._submission.build(deployment.person.say, deployment.sleep, deployment.poll_seconds)
        if deployment.current_release() is None:
            raise TerminalError(
                f"Build {build} has succeeded, and no release is current.",
                "Somebody took it away: `coinbeam release switch`, or build it once more: `coinbeam release submit "
                "--again`.",
            )

    @property
    def _submission(self) -> submission.Submission:
        told = submission.known(self.deployment.outputs["substitutions"])
        return submission.Submission(self.deployment.gcloud, told, self.deployment.order.root)


@dataclass
class Dags:
    """The DAGs, switched on: new ones are paused, and a run of a paused one stays queued."""

    deployment: Deployment
    name: str = "DAGs"

    def look(self) -> Found:
        """Which are paused, or not read yet."""
        paused = self._paused()
        if paused is None:
            return Found(State.TO_DO, "wait until Composer has read the release, and switch the DAGs on")
        if paused:
            return Found(State.TO_DO, f"switch on {', '.join(paused)}")
        return Found(State.DONE, f"on, but for {' and '.join(sorted(OPTIONAL_DAGS))}")

    def do(self) -> None:
        """Wait until Airflow knows them, and switch them on."""
        waited = 0.0
        while (paused := self._paused()) is None:
            if waited >= DAGS_APPEAR_SECONDS:
                raise TerminalError(
                    f"Airflow does not know {SNAPSHOT_DAG}, {waited:.0f} s after the release.",
                    "Look for import errors in the Airflow UI; then run the same command again.",
                )
            self.deployment.sleep(self.deployment.poll_seconds)
            waited += self.deployment.poll_seconds
        for name in paused:
            self.deployment.composer.unpause(name)

    def _paused(self) -> list[str] | None:
        known = self.deployment.composer.paused()
        if SNAPSHOT_DAG not in known:
            return None
        return sorted(name for name, paused in known.items() if paused and name not in OPTIONAL_DAGS)


@dataclass
class FirstRun:
    """A snapshot of few assets, to its end: it shows that all parts reach each other."""

    deployment: Deployment
    name: str = "first run"

    def look(self) -> Found:
        """Whether a batch was ever published."""
        batch = self.deployment.last_published()
        if batch:
            return Found(State.DONE, f"{batch} is published")
        return Found(State.TO_DO, f"a snapshot of {FIRST_ASSETS} assets")

    def do(self) -> None:
        """Run it, or wait for the run that was started before."""
        if self.deployment.order.is_small:
            self._on_cloud_run()
        else:
            self._in_composer()
        if self.deployment.last_published() is None:
            raise TerminalError(
                "The run ended, and no batch is published.", "See its log, and `coinbeam status`; then run it again."
            )

    def _in_composer(self) -> None:
        composer, settings = self.deployment.composer, self.deployment.settings
        form = {
            **form_defaults(SnapshotForm, settings),
            "universe": Universe.TOP.value,
            "top_n": FIRST_ASSETS,
            "snapshot_at": present_instant(utc_now(), settings),
            "replay_date": None,
            "source": "",
            "dry_run": False,
        }
        run = composer.unfinished() or composer.trigger(form)
        self.deployment.person.say(f"{SNAPSHOT_DAG}: {run}, seen at {format_instant(utc_now())}")
        if composer.wait(run, self.deployment.person.say) != "success":
            raise TerminalError(
                f"The first run, {run}, failed.",
                f"Its log is in the Airflow UI, {settings.composer.airflow_url}. Mend the cause, then run the same "
                "command again.",
            )

    def _on_cloud_run(self) -> None:
        deployment = self.deployment
        execution = self._unfinished() or self._execute()
        deployment.person.say(f"{DAILY_JOB}: {execution}, seen at {format_instant(utc_now())}")
        while (ended := _ended(self._executions("describe", execution))) is None:
            deployment.sleep(deployment.poll_seconds)
        if not ended:
            raise TerminalError(
                f"The first run, {execution}, failed.",
                f"gcloud run jobs executions describe {execution} --region={deployment.order.region} tells where its "
                "log is. Mend the cause, then run the same command again.",
            )

    def _execute(self) -> str:
        region = f"--region={self.deployment.order.region}"
        chosen = (
            f"--update-env-vars=COINBEAM_MARKET__UNIVERSE={Universe.TOP.value},COINBEAM_MARKET__TOP_N={FIRST_ASSETS}"
        )
        found = self.deployment.gcloud.ask("run", "jobs", "execute", DAILY_JOB, region, "--async", chosen)
        return str(found["metadata"]["name"])

    def _unfinished(self) -> str | None:
        """An execution that was started before, by us or by the schedule, and goes on."""
        found = self._executions("list", f"--job={DAILY_JOB}")
        return next((one["metadata"]["name"] for one in found or () if _ended(one) is None), None)

    def _executions(self, *words: str) -> Any:
        return self.deployment.gcloud.ask(
            "run", "jobs", "executions", *words, f"--region={self.deployment.order.region}"
        )


def _ended(execution: Mapping[str, Any]) -> bool | None:
    """Whether an execution went well; None: it goes on. Its condition ``Completed`` is Unknown until then."""
    conditions = execution.get("status", {}).get("conditions", ())
    states = {one["type"]: one["status"] for one in conditions}
    return {"True": True, "False": False}.get(states.get("Completed", ""))


def steps(deployment: Deployment) -> Iterator[Step]:
    """All steps, in their order: each needs those before it."""
    yield Tools(deployment)
    yield SignIn(deployment)
    yield Project(deployment)
    yield Apis(deployment)
    yield StateProject(deployment)
    yield StateBucket(deployment)
    yield Files(deployment)
    yield Infrastructure(deployment)
    yield Key(deployment)
    yield Pinned(deployment)
    yield Release(deployment)
    if not deployment.order.is_small:
        yield Dags(deployment)
    yield FirstRun(deployment)
