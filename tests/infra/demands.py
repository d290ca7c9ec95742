"""What a deployment of ours must have: rules that find what is missing, beside :mod:`tests.infra.policy`, which finds
what is too much.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from tests.infra.deployment import Deployment, Resource

APIS: Mapping[str, tuple[str, ...]] = {
    "google_artifact_registry_": ("artifactregistry", "containerscanning", "containeranalysis"),
    "google_bigquery_": ("bigquery",),
    "google_bigquery_data_transfer_": ("bigquerydatatransfer",),
    "google_billing_budget": ("billingbudgets",),
    "google_cloud_run_v2_": ("run",),
    "google_cloud_scheduler_": ("cloudscheduler",),
    "google_cloudbuild_": ("cloudbuild",),
    "google_composer_": ("composer", "dataflow", "bigquerystorage"),
    "google_compute_": ("compute",),
    "google_eventarc_": ("eventarc",),
    "google_iam_workload_identity_pool": ("iam", "sts", "iamcredentials", "cloudbuild"),
    "google_iap_": ("iap",),
    "google_logging_": ("logging",),
    "google_monitoring_": ("monitoring",),
    "google_project_iam_": ("cloudresourcemanager", "iam"),
    "google_project_service": ("serviceusage",),
    "google_project_service_identity": ("serviceusage",),
    "google_pubsub_": ("pubsub",),
    "google_secret_manager_": ("secretmanager",),
    "google_service_account": ("iam",),
    "google_storage_": ("storage",),
    "google_workflows_": ("workflows",),
}
"""By the beginning of a type, the longest that fits, the APIs of what it makes and of what works with it: Airflow
launches jobs and reads whole tables, and who signs in from GitHub submits builds.
"""

LOGS: Mapping[str, tuple[str, ...]] = {
    "google_artifact_registry_repository": ("build",),
    "google_bigquery_data_transfer_config": ("bigquery_dts_config",),
    "google_cloud_run_v2_job": ("cloud_run_job",),
    "google_cloud_run_v2_service": ("cloud_run_revision",),
    "google_cloud_run_v2_worker_pool": ("cloud_run_worker_pool",),
    "google_cloud_scheduler_job": ("cloud_scheduler_job",),
    "google_composer_environment": ("cloud_composer_environment", "cloud_composer_workflow", "dataflow_step"),
}
"""By type the resources that logs are told under; whatever is pushed into the repository was made by a build.
Source: https://cloud.google.com/logging/docs/api/v2/resource-list
"""

DATASETS = ("crypto_data", "crypto_staging", "crypto_ops", "crypto_marts")
BUCKET = "my-project-coinbeam"


@dataclass(frozen=True)
class Demand:
    """A role that an account cannot work without.

    Attributes:
        account: who, without ``coinbeam-``.
        does: what it could not do otherwise.
        role: what it has to have.
        on: the resource that the role is bound to; the project by default.
        folder: of a bucket; a condition of the grant has to let it in.
        part: the account without which there is no demand, that of the demand by default.
    """

    account: str
    does: str
    role: str
    on: str = "my-project"
    folder: str = ""
    part: str = ""


def email(account: str) -> str:
    """Address of an account of ours."""
    return f"coinbeam-{account}@my-project.iam.gserviceaccount.com"


ACT_AS = "roles/iam.serviceAccountUser"
JOBS = "roles/bigquery.jobUser"
OBJECTS = "roles/storage.objectUser"
SEE_BUCKET = "roles/storage.legacyBucketReader"

DEMANDS = (
    Demand("composer", "run Airflow", "roles/composer.worker"),
    Demand("composer", "launch and watch jobs", "roles/dataflow.developer"),
    Demand("composer", "launch jobs that run as the workers", ACT_AS, email("dataflow")),
    Demand("composer", "launch the job of the stream", ACT_AS, email("stream"), part="stream"),
    Demand("composer", "seek in a subscription", "roles/pubsub.subscriber", "trade-windows", part="stream"),
    Demand("composer", "look at what waits", "roles/pubsub.viewer", "trade-windows", part="stream"),
    Demand("composer", "query and load", JOBS),
    Demand("composer", "read whole tables", "roles/bigquery.readSessionUser"),
    *(Demand("composer", f"write {name}", "WRITER", name) for name in DATASETS),
    *(Demand("composer", f"write {name}", OBJECTS, BUCKET, name) for name in ("landing/", "batches/", "serving/")),
    Demand("composer", "look at the bucket", SEE_BUCKET, BUCKET),
    Demand("dataflow", "work", "roles/dataflow.worker"),
    Demand("dataflow", "pull its image", "roles/artifactregistry.reader", "coinbeam"),
    Demand("dataflow", "read the key", "roles/secretmanager.secretAccessor", "coingecko-api-key"),
    Demand("dataflow", "settle the ledger", JOBS),
    Demand("dataflow", "write the ledger", "WRITER", "crypto_ops"),
    *(Demand("dataflow", f"write {name}", OBJECTS, BUCKET, name) for name in ("landing/", "batches/", "dataflow/")),
    Demand("dataflow", "look at the bucket before it stages", SEE_BUCKET, BUCKET),
    Demand("build", "push images", "roles/artifactregistry.writer", "coinbeam"),
    Demand("build", "write its own log", "roles/logging.logWriter"),
    Demand("build", "submit builds", "roles/cloudbuild.builds.editor"),
    Demand("build", "submit builds that run as itself", ACT_AS, email("build")),
    Demand("build", "use the quota of the project", "roles/serviceusage.serviceUsageConsumer"),
    Demand("build", "look at the bucket before it stages a source", SEE_BUCKET, BUCKET),
    Demand("build", "stage a source", OBJECTS, BUCKET, "builds/"),
    Demand("build", "write templates", OBJECTS, BUCKET, "releases/"),
    Demand("build", "upload a release", OBJECTS, "us-central1-coinbeam-bucket"),
    Demand("build", "migrate tables", JOBS),
    *(Demand("build", f"migrate {name}", "WRITER", name) for name in DATASETS),
    *(
        Demand("build", f"{does} {name}", role, on, part=name)
        for name in ("api", "dashboard")
        for does, role, on in (
            ("deploy", "roles/run.developer", f"coinbeam-{name}"),
            ("deploy what runs as", ACT_AS, email(name)),
        )
    ),
    Demand("reader", "query", JOBS),
    Demand("reader", "read the marts", "READER", "crypto_marts"),
    *(
        Demand(name, "read the bundle", "roles/storage.objectViewer", BUCKET, "serving/")
        for name in ("api", "dashboard")
    ),
    Demand("stream", "work", "roles/dataflow.worker"),
    Demand("stream", "pull its image", "roles/artifactregistry.reader", "coinbeam"),
    Demand("stream", "merge", JOBS),
    Demand("stream", "read trades", "roles/pubsub.subscriber", "trade-windows"),
    Demand("stream", "ask for the watermark", "roles/pubsub.viewer", "trade-windows"),
    *(
        Demand("stream", f"write {name}", "roles/bigquery.dataEditor", name)
        for name in ("trade_window_fact", "trade_window_pane", "rejected_record")
    ),
    *(Demand("stream", f"write {name}", OBJECTS, BUCKET, name) for name in ("dataflow/", "stream/")),
    Demand("publisher", "publish", "roles/pubsub.publisher", "trades"),
    Demand("publisher", "keep its positions", OBJECTS, BUCKET, "stream/"),
)
"""Said a second time on purpose, from what each account does and not from what Terraform gives."""


@dataclass(frozen=True)
class Grant:
    """A role of a member on a resource, with the folders that a condition leaves, or None without one."""

    member: str
    role: str
    on: str
    folders: tuple[str, ...] | None = None


def missing(deployment: Deployment, releases: int) -> list[str]:
    """One line for each thing that is missing.

    Args:
        deployment: what an apply would make.
        releases: how many a deployment can go back to.
    """
    return [
        *api_faults(deployment),
        *role_faults(deployment),
        *network_faults(deployment),
        *place_faults(deployment),
        *log_faults(deployment),
        *keeping_faults(deployment, releases),
        *identity_faults(deployment),
        *state_faults(deployment),
    ]


def api_faults(deployment: Deployment) -> Iterator[str]:
    """The API of each resource is switched on; a type that is in no row says so."""
    on = {one.values["service"].removesuffix(".googleapis.com") for one in deployment.of("google_project_service")}
    for kind in sorted({resource.type for resource in deployment.resources}):
        fitting = [beginning for beginning in APIS if kind.startswith(beginning)]
        if not fitting:
            yield f"{kind} is in no row of APIS"
            continue
        needed = APIS[max(fitting, key=len)]
        yield from (f"{kind} needs the API {api}, which is off" for api in needed if api not in on)


def grants(deployment: Deployment) -> list[Grant]:
    """Every role that is given, on whatever it is bound to."""
    bound = (
        Grant(one.values["member"], one.values["role"], _bound_to(one.values), _folders(one.values))
        for one in deployment.resources
        if one.type.endswith("_iam_member")
    )
    named = (
        Grant(f"serviceAccount:{access['user_by_email']}", access["role"], one.values["dataset_id"])
        for one in deployment.of("google_bigquery_dataset")
        for access in one.values["access"]
        if access.get("user_by_email")
    )
    return [*bound, *named]


_TARGETS = (
    "bucket", "repository", "secret_id", "topic", "subscription", "table_id", "service_account_id",
    "cloud_run_service_name", "name", "project",
)  # fmt: skip
"""Where a grant says what it is bound to: the first of these that it has."""


def _bound_to(values: Mapping[str, Any]) -> str:
    named = next((values[name] for name in _TARGETS if values.get(name)), "")
    return str(named).rpartition("/")[2]


def _folders(values: Mapping[str, Any]) -> tuple[str, ...] | None:
    conditions = values.get("condition") or ()
    found = [re.findall(r'/objects/([^"]+)"', one["expression"]) for one in conditions]
    return tuple(found[0]) if found else None


def role_faults(deployment: Deployment) -> Iterator[str]:
    """Each account has what it works with; an account that is in no row says so."""
    accounts = {one.values["account_id"].removeprefix("coinbeam-") for one in deployment.of("google_service_account")}
    given = grants(deployment)
    for demand in DEMANDS:
        if {demand.account, demand.part or demand.account} <= accounts and not any(
            _satisfies(grant, demand) for grant in given
        ):
            yield f"{demand.account} cannot {demand.does}: it lacks {demand.role} on {demand.on}/{demand.folder}"
    yield from (f"{name} is in no row of DEMANDS" for name in sorted(accounts - {one.account for one in DEMANDS}))


def _satisfies(grant: Grant, demand: Demand) -> bool:
    return (
        (grant.member, grant.role, grant.on) == (f"serviceAccount:{email(demand.account)}", demand.role, demand.on)
    ) and (grant.folders is None or demand.folder in grant.folders)


def network_faults(deployment: Deployment) -> Iterator[str]:
    """Every subnetwork in use reaches Google's APIs and the internet without addresses, and lets workers of a job talk."""
    for use, subnetwork in subnetworks_in_use(deployment).items():
        if subnetwork is None:
            yield f"{use} is in a subnetwork that nothing makes"
            continue
        if not subnetwork["private_ip_google_access"]:
            yield f"{use} is in {subnetwork['name']}, which has no Private Google Access"
        if not any(_translates(nat.values, subnetwork) for nat in deployment.of("google_compute_router_nat")):
            yield f"{use} is in {subnetwork['name']}, which has no NAT"
        if not any(_lets_shuffle(one.values, subnetwork) for one in deployment.of("google_compute_firewall")):
            yield f"{use} is in {subnetwork['name']}, where workers of a job cannot talk to each other"


def subnetworks_in_use(deployment: Deployment) -> dict[str, Mapping[str, Any] | None]:
    """By what runs in it, the subnetwork, or None where there is no such one."""
    made = [one.values for one in deployment.of("google_compute_subnetwork")]
    by_path = {f"regions/{one['region']}/subnetworks/{one['name']}": one for one in made}
    by_id = {one["id"]: one for one in made}
    used: dict[str, Mapping[str, Any] | None] = {}
    for one in deployment.of("google_composer_environment"):  # where Airflow launches jobs, they need one, too
        used["Composer"] = by_id.get(one.values["config"][0]["node_config"][0]["subnetwork"])
        used["a Dataflow job"] = by_path.get(deployment.outputs["deployment"]["dataflow"]["subnetwork"])
        used["a job of a release"] = by_path.get(deployment.outputs["substitutions"]["_SUBNETWORK"])
    return used


def _translates(nat: Mapping[str, Any], subnetwork: Mapping[str, Any]) -> bool:
    if nat["region"] != subnetwork["region"]:
        return False
    listed = {one["name"] for one in nat["subnetwork"] or () if one["source_ip_ranges_to_nat"] == ["ALL_IP_RANGES"]}
    everything = nat["source_subnetwork_ip_ranges_to_nat"] != "LIST_OF_SUBNETWORKS"
    return everything or bool(listed & {subnetwork["id"], subnetwork["self_link"]})


def _lets_shuffle(rule: Mapping[str, Any], subnetwork: Mapping[str, Any]) -> bool:
    ports = {port for allow in rule["allow"] if allow["protocol"] == "tcp" for port in allow["ports"] or ()}
    return (
        rule["network"] == subnetwork["network"]
        and rule["direction"] == "INGRESS"
        and "dataflow" in (rule["source_tags"] or ())
        and "dataflow" in (rule["target_tags"] or ())
        and "12345-12346" in ports
    )


_REGIONAL = {
    "google_artifact_registry_repository": "location",
    "google_cloud_run_v2_job": "location",
    "google_cloud_run_v2_service": "location",
    "google_cloud_run_v2_worker_pool": "location",
    "google_composer_environment": "region",
    "google_compute_subnetwork": "region",
    "google_compute_router": "region",
    "google_compute_router_nat": "region",
    "google_compute_address": "region",
}
_LOCATED = ("google_storage_bucket", "google_bigquery_dataset", "google_bigquery_data_transfer_config")


def place_faults(deployment: Deployment) -> Iterator[str]:
    """Files and tables are in one location, since loads need both in one, and what runs is in one region."""
    location, region = (deployment.outputs["deployment"]["google"][name] for name in ("location", "region"))
    for kind in _LOCATED:
        yield from _elsewhere(deployment.of(kind), "location", location)
    for kind, attribute in _REGIONAL.items():
        yield from _elsewhere(deployment.of(kind), attribute, region)
    told = deployment.outputs["substitutions"]
    if (told["_LOCATION"], told["_REGION"]) != (location, region):
        yield f"a release is told {told['_LOCATION']} and {told['_REGION']}, not {location} and {region}"


def _elsewhere(resources: list[Resource], attribute: str, place: str) -> Iterator[str]:
    for one in resources:
        if one.values[attribute] != place:
            yield f"{one.address} is in {one.values[attribute]}, not in {place}"


def log_faults(deployment: Deployment) -> Iterator[str]:
    """The log bucket takes the logs of everything that writes some, and who read the key is kept."""
    filters = " ".join(one.values["filter"] for one in deployment.of("google_logging_project_sink"))
    for kind, types in LOGS.items():
        for name in types:
            if deployment.of(kind) and f'resource.type = "{name}"' not in filters:
                yield f"the log bucket misses {name}, the logs of {kind}"
    audited = {
        (one.values["service"], log["log_type"])
        for one in deployment.of("google_project_iam_audit_config")
        for log in one.values["audit_log_config"]
    }
    if deployment.of("google_secret_manager_secret") and ("secretmanager.googleapis.com", "DATA_READ") not in audited:
        yield "nobody is told who read a secret"


def keeping_faults(deployment: Deployment, releases: int) -> Iterator[str]:
    """Images outlive the releases that run them, an apply takes no data with it, and each account that runs is made."""
    for one in deployment.of("google_artifact_registry_repository"):
        kept = [
            newest["keep_count"]
            for policy in one.values["cleanup_policies"]
            if policy["action"] == "KEEP"
            for newest in policy["most_recent_versions"]
        ]
        if max(kept, default=0) < releases:
            yield f"{one.address} keeps {max(kept, default=0)} images, and {releases} releases can be gone back to"
    for one in deployment.of("google_bigquery_dataset"):
        if one.values["delete_contents_on_destroy"]:
            yield f"{one.address}: its destruction takes the data with it"
    for one in deployment.of("google_cloud_run_v2_worker_pool"):
        if not str(one.values["template"][0].get("service_account") or "").startswith("coinbeam-"):
            yield f"{one.address}: it has no account of its own"


def identity_faults(deployment: Deployment) -> Iterator[str]:
    """Who signs in from outside is told by numbers that nobody can take over, and by the branch."""
    for one in deployment.of("google_iam_workload_identity_pool_provider"):
        said = set(re.findall(r'assertion\.(\w+) == "[^"]+"', one.values["attribute_condition"] or ""))
        yield from (
            f"{one.address} lets in runs of any {claim}"
            for claim in ("repository_id", "repository_owner_id", "ref")
            if claim not in said
        )


REACHES_BUCKETS = re.compile(r"^roles/(composer\.worker|dataflow\.(worker|admin)|storage\..*)$")
"""Roles with permissions on objects, which on the project hold for each bucket of it."""


def state_faults(deployment: Deployment) -> Iterator[str]:
    """Where an account reaches each bucket of the project, Terraform sees to it that the state is in none of them."""
    buckets = [one.values for one in deployment.data if ".google_storage_bucket.state" in one.address]
    numbers = {str(one.values["number"]) for one in deployment.data if one.type == "google_project"}
    if buckets and all(str(one["project_number"]) not in numbers for one in buckets):
        return
    for one in deployment.of("google_project_iam_member"):
        if REACHES_BUCKETS.match(one.values["role"]):
            member = one.values["member"].rpartition(":")[2]
            yield f"{member} reaches the state, by {one.values['role']}"
