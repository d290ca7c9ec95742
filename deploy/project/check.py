"""What a project should be, compared with what it is; it only reads."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from coinbeam.errors import CoinbeamError, ContractError
from coinbeam.ops.status import Status
from coinbeam.warehouse.dry_run import pending_changes
from deploy.composer import OPTIONAL_DAGS
from deploy.project.deployment import Deployment
from deploy.project.order import BOOTSTRAP_APIS, DAILY_JOB, KEYLESS, SECRET
from deploy.project.pins import Pins

OK, WRONG, UNKNOWN = "ok", "wrong", "unknown"


@dataclass(frozen=True)
class Row:
    """One check: what was found, and the remedy where it is not as it should be."""

    check: str
    state: str
    what: str
    remedy: str = ""


@dataclass(frozen=True)
class Fine:
    """A check that found everything as it should be."""

    what: str


@dataclass(frozen=True)
class Wrong:
    """A check that found a difference."""

    what: str
    remedy: str


Outcome = Fine | Wrong
Question = Callable[[Deployment], Outcome]


def apis(deployment: Deployment) -> Outcome:
    """Terraform's own APIs are on."""
    off = [name for name in BOOTSTRAP_APIS if name not in deployment.enabled_apis()]
    if off:
        return Wrong(f"off: {', '.join(off)}", f"gcloud services enable {' '.join(off)}")
    return Fine("on")


def state_bucket(deployment: Deployment) -> Outcome:
    """The state is protected, and out of reach of Composer and the workers."""
    bucket, order = deployment.state_bucket(), deployment.order
    if bucket is None:
        return Wrong("there is none", "make deploy")
    if bucket.project == deployment.number and not order.is_small:
        return Wrong(f"in {order.project}, where Composer can replace it", "Move it, as infra/README.md says")
    if bucket.lacks:
        return Wrong(f"without {', '.join(bucket.lacks)}", "make deploy")
    return Fine(f"versioned, never public, in project number {bucket.project}")


def infrastructure(deployment: Deployment) -> Outcome:
    """Terraform would change nothing."""
    differs = deployment.terraform.differs()
    return Wrong(differs, "terraform -chdir=infra plan, then apply") if differs else Fine("as infra/ says")


def pins(deployment: Deployment) -> Outcome:
    """This checkout can be released: base images have digests, providers hashes, all in a commit."""
    missing = Pins(deployment.order.root).missing()
    if missing:
        return Wrong("; ".join(missing), "make deploy pins and commits them")
    return Fine("base images by digest, providers by hash")


def key(deployment: Deployment) -> Outcome:
    """There is a key where the plan has one."""
    if deployment.order.plan in KEYLESS:
        return Fine(f"the plan {deployment.order.plan} has none")
    if deployment.has_key():
        return Fine("enabled")
    return Wrong(f"{SECRET} has no enabled version", "docs/runbooks/rotate_the_key.md")


def release(deployment: Deployment) -> Outcome:
    """A release is current."""
    found = deployment.current_release()
    return Fine(f"{found} is current") if found else Wrong("none is current", "make deploy")


def images(deployment: Deployment) -> Outcome:
    """The images of that release are in the registry."""
    found, prefix = deployment.current_release(), deployment.outputs["image_repository"]
    if not found:
        return Wrong("there is no release", "make deploy")
    listed = deployment.gcloud.ask("artifacts", "docker", "images", "list", prefix, "--include-tags")
    tagged = sorted(
        one["package"].rpartition("/")[2] for one in listed or () if found in (one.get("tags") or ())
    )  # fmt: skip
    if not tagged:
        return Wrong(f"no image of {found} in {prefix}", "coinbeam release submit --again")
    return Fine(f"{len(tagged)} of {found}: {', '.join(tagged)}")


def dags(deployment: Deployment) -> Outcome:
    """No DAG waits for its switch."""
    known = deployment.composer.paused()
    paused = sorted(name for name, is_paused in known.items() if is_paused and name not in OPTIONAL_DAGS)
    if not known:
        return Wrong("Airflow knows none", "Look for import errors in the Airflow UI")
    return Wrong(f"paused: {', '.join(paused)}", "coinbeam dags unpause") if paused else Fine(f"{len(known)} known")


def job(deployment: Deployment) -> Outcome:
    """The job of the small profile is there."""
    return Fine(DAILY_JOB) if deployment.job() else Wrong(f"there is no {DAILY_JOB}", "make deploy")


def tables(deployment: Deployment) -> Outcome:
    """The tables are as the contracts say."""
    try:
        changes = pending_changes(deployment.settings)
    except ContractError as drift:
        return Wrong(drift.message, drift.remedy)
    if changes:
        return Wrong(f"{len(changes)} changes pending: {'; '.join(changes[:3])}", "coinbeam contracts apply")
    return Fine("as the contracts say")


def freshness(deployment: Deployment) -> Outcome:
    """A batch was published, and the newest snapshot is as young as its contract promises."""
    batch = deployment.last_published()
    if batch is None:
        return Wrong("no batch was ever published", "make deploy")
    late = [row for row in Status(deployment.warehouse).freshness() if row["state"] == "stale"]
    if late:
        return Wrong(
            ", ".join(f"{row['table']} is {row['age_hours']} h old" for row in late), "coinbeam status says why"
        )
    return Fine(f"{batch} is published")


def alerts(deployment: Deployment) -> Outcome:
    """Somebody is told: Terraform's channel exists and is on."""
    found = deployment.gcloud.ask("beta", "monitoring", "channels", "list")
    on = [one for one in found or () if one.get("enabled", True)]
    if not on:
        return Wrong("no notification channel is on", "terraform -chdir=infra apply")
    return Fine(", ".join(str(one.get("labels", {}).get("email_address") or one["displayName"]) for one in on))


def questions(deployment: Deployment) -> Iterator[tuple[str, Question]]:
    """All checks of a project, in the order in which one causes the next."""
    yield "bootstrap APIs", apis
    yield "state bucket", state_bucket
    yield "infrastructure", infrastructure
    yield "API key", key
    yield "pins", pins
    yield "release", release
    yield "images", images
    yield ("job", job) if deployment.order.is_small else ("DAGs", dags)
    yield "tables", tables
    yield "freshness", freshness
    yield "alerts", alerts


def check(deployment: Deployment) -> list[Row]:
    """Ask every question; one that cannot be answered says why, and stops no other."""
    rows = []
    for name, question in questions(deployment):
        try:
            found = question(deployment)
        except CoinbeamError as error:
            rows.append(Row(name, UNKNOWN, error.message.strip().replace("\n", " "), error.remedy))
            continue
        if isinstance(found, Fine):
            rows.append(Row(name, OK, found.what))
        else:
            rows.append(Row(name, WRONG, found.what, found.remedy))
    return rows
