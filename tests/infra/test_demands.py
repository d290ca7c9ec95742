"""What a deployment cannot work without is there, and each mistake that takes it away is seen."""

import inspect
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from coinbeam.contracts import load_all
from coinbeam.contracts.model import read_contract
from coinbeam.contracts.versions import locked, version_faults
from coinbeam.settings import ROOT
from console.release import prune
from tests.build.cloudbuild import FILE, SMALL
from tests.infra import release
from tests.infra.configuration import modules
from tests.infra.demands import DEMANDS, missing
from tests.infra.deployment import Deployment, Resource
from tests.infra.release import Images

pytestmark = pytest.mark.xdist_group("terraform")

KEPT = inspect.signature(prune).parameters["keep"].default + 2
"""Releases that can be gone back to: those that a release leaves, the current and the previous one."""


def of_terraform(deployment: Deployment) -> set[str]:
    """Names of the images of services, jobs and worker pools."""
    containers = (
        container
        for one in deployment.resources
        if one.type.startswith("google_cloud_run_v2_")
        for template in one.values.get("template") or ()
        for container in template.get("containers") or ()
    )
    return {one["image"].rpartition("/")[2].partition(":")[0] for one in containers}


@pytest.fixture(scope="session")
def images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """What a build pushes and uses."""
    return release.images(ROOT, tmp_path_factory.mktemp("build") / "large")


@pytest.fixture(scope="session")
def small_images(tmp_path_factory: pytest.TempPathFactory) -> Images:
    """What a build of the small profile pushes and uses."""
    return release.images(ROOT, tmp_path_factory.mktemp("build") / "small", SMALL.name)


def contract_faults(root: Path) -> list[str]:
    """Contracts of a copy of the tree that changed within their version."""
    contracts = [read_contract(path) for path in sorted((root / "sql").glob("*/*/contract.yaml"))]
    return list(version_faults(locked(), {one.name: one for one in contracts}))


def faults(root: Path, deployment: Deployment, images: Images) -> list[str]:
    """Everything that is missing or does not agree, in a tree and its deployment."""
    return [
        *missing(deployment, KEPT),
        *release.python_faults(root),
        *release.schedule_faults(root),
        *release.template_faults(root),
        *release.image_faults(images, of_terraform(deployment)),
    ]


def test_nothing_is_missing(deployment: Deployment, images: Images) -> None:
    assert faults(ROOT, deployment, images) == []


def test_a_build_pushes_the_image_of_each_job_and_those_of_workers_and_services(images: Images) -> None:
    jobs = {file.stem.replace("_", "-") for file in (ROOT / "beam_pipelines" / "templates").glob("*.json")}
    assert images.pushed == images.used == {*jobs, "pipelines", "serving"}


def test_a_build_of_the_small_profile_pushes_the_image_of_its_job_and_that_of_the_services(
    small_images: Images,
) -> None:
    assert small_images.pushed == small_images.used == {"batch", "serving"}


BOOTSTRAP = ("serviceusage.googleapis.com", "cloudresourcemanager.googleapis.com", "storage.googleapis.com")
"""The APIs without which Terraform cannot switch on any: a person does, before the first apply."""


def test_what_terraform_itself_calls_is_switched_on_by_hand_first_and_kept_on(deployment: Deployment) -> None:
    on = {one.values["service"] for one in deployment.of("google_project_service")}
    assert set(BOOTSTRAP) <= on
    page = (ROOT / "infra" / "README.md").read_text(encoding="utf-8")
    command = f"gcloud services enable {' '.join(BOOTSTRAP)} --project=PROJECT"
    assert page.index(command) < page.index("terraform init")
    for _, body in modules()["."].blocks("provider"):
        assert body["user_project_override"] is True, "each call asks serviceusage for the quota"


def test_no_demand_is_said_twice() -> None:
    said = [(one.account, one.role, one.on, one.folder) for one in DEMANDS]
    assert len(set(said)) == len(said)


def without(**wanted: Any) -> Callable[[Deployment], Deployment]:
    """Leave out the resources with these values."""

    def spoil(deployment: Deployment) -> Deployment:
        kept = [one for one in deployment.resources if not _has(one, wanted)]
        assert len(kept) < len(deployment.resources), wanted
        return replace(deployment, resources=tuple(kept))

    return spoil


def changed(name: str, **changes: Any) -> Callable[[Deployment], Deployment]:
    """Give one resource other values: the one whose address ends so, in whichever module."""

    def spoil(deployment: Deployment) -> Deployment:
        [right] = [one for one in deployment.resources if one.address.endswith(f".{name}")]
        wrong = replace(right, values={**right.values, **changes})
        return replace(deployment, resources=tuple(wrong if one is right else one for one in deployment.resources))

    return spoil


def told(**changes: str) -> Callable[[Deployment], Deployment]:
    """Give a release other substitutions."""

    def spoil(deployment: Deployment) -> Deployment:
        told = {**deployment.outputs["substitutions"], **changes}
        return replace(deployment, outputs={**deployment.outputs, "substitutions": told})

    return spoil


def of_this_project(one: Resource) -> Resource:
    """A bucket that Terraform looks at, in the project that is deployed."""
    moved = {"project_number": 123456789012} if one.type == "google_storage_bucket" else {}
    return replace(one, values={**one.values, **moved})


def _has(resource: Resource, wanted: dict[str, Any]) -> bool:
    return all((resource.type if name == "type" else resource.values.get(name)) == one for name, one in wanted.items())


SINK = "google_logging_project_sink.pipeline"
PROVIDER = "google_iam_workload_identity_pool_provider.github[0]"
BUILD_WRITES = "bucket.google_storage_bucket_iam_member.deployer"

OF_TERRAFORM = {
    "the API of Secret Manager removed": (
        without(type="google_project_service", service="secretmanager.googleapis.com"),
        "google_secret_manager_secret needs the API secretmanager, which is off",
    ),
    "the API of scans removed": (
        without(type="google_project_service", service="containerscanning.googleapis.com"),
        "google_artifact_registry_repository needs the API containerscanning, which is off",
    ),
    "the API that Terraform switches APIs on with removed": (
        without(type="google_project_service", service="serviceusage.googleapis.com"),
        "google_project_service needs the API serviceusage, which is off",
    ),
    "the API of Dataflow removed": (
        without(type="google_project_service", service="dataflow.googleapis.com"),
        "google_composer_environment needs the API dataflow, which is off",
    ),
    "a build that may not push": (
        without(type="google_artifact_registry_repository_iam_member", role="roles/artifactregistry.writer"),
        "build cannot push images: it lacks roles/artifactregistry.writer",
    ),
    "a build that may write in another folder": (
        changed(
            BUILD_WRITES, condition=[{"expression": 'resource.name.startsWith("projects/_/buckets/b/objects/x/")'}]
        ),
        "build cannot stage a source: it lacks roles/storage.objectUser on my-project-coinbeam/builds/",
    ),
    "a build that may not look at the bucket": (
        without(type="google_storage_bucket_iam_member", role="roles/storage.legacyBucketReader"),
        "build cannot look at the bucket before it stages a source",
    ),
    "workers without the bucket": (
        without(type="google_storage_bucket_iam_member", role="roles/storage.objectUser"),
        "dataflow cannot write landing/: it lacks roles/storage.objectUser",
    ),
    "workers that may not read the key": (
        without(type="google_secret_manager_secret_iam_member"),
        "dataflow cannot read the key: it lacks roles/secretmanager.secretAccessor",
    ),
    "Airflow that may not launch as the workers": (
        without(
            type="google_service_account_iam_member",
            role="roles/iam.serviceAccountUser",
            member="serviceAccount:coinbeam-composer@my-project.iam.gserviceaccount.com",
        ),
        "composer cannot launch jobs that run as the workers: it lacks roles/iam.serviceAccountUser",
    ),
    "a dataset that the release may not migrate": (
        changed('google_bigquery_dataset.internal["crypto_ops"]', access=[]),
        "build cannot migrate crypto_ops: it lacks WRITER",
    ),
    "Private Google Access off": (
        changed("google_compute_subnetwork.workers", private_ip_google_access=False),
        "a Dataflow job is in coinbeam-us-central1, which has no Private Google Access",
    ),
    "no NAT": (
        without(type="google_compute_router_nat"),
        "Composer is in coinbeam-us-central1, which has no NAT",
    ),
    "a NAT of another subnetwork": (
        changed("google_compute_router_nat.out", subnetwork=[]),
        "a Dataflow job is in coinbeam-us-central1, which has no NAT",
    ),
    "workers that cannot talk to each other": (
        without(type="google_compute_firewall"),
        "where workers of a job cannot talk to each other",
    ),
    "a release in the default network": (
        told(_SUBNETWORK=""),
        "a job of a release is in a subnetwork that nothing makes",
    ),
    "a bucket in another location than the datasets": (
        changed("google_storage_bucket.data", location="EU"),
        "module.bucket.google_storage_bucket.data is in EU, not in US",
    ),
    "a repository in another region": (
        changed("google_artifact_registry_repository.images", location="europe-west1"),
        "images is in europe-west1, not in us-central1",
    ),
    "a release that is told another location": (told(_LOCATION="EU"), "a release is told EU and us-central1"),
    "a log bucket that misses the jobs": (
        changed(SINK, filter='resource.type = "build"'),
        "the log bucket misses dataflow_step, the logs of google_composer_environment",
    ),
    "no record of who read the key": (
        without(type="google_project_iam_audit_config"),
        "nobody is told who read a secret",
    ),
    "images that are deleted before their releases": (
        changed("google_artifact_registry_repository.images", cleanup_policies=[]),
        f"keeps 0 images, and {KEPT} releases can be gone back to",
    ),
    "a dataset that goes with its tables": (
        changed("google_bigquery_dataset.marts", delete_contents_on_destroy=True),
        "its destruction takes the data with it",
    ),
    "a publisher with the account of everything": (
        changed("google_cloud_run_v2_worker_pool.publisher", template=[{"service_account": None}]),
        "it has no account of its own",
    ),
    "a repository that is told by its name": (
        changed(PROVIDER, attribute_condition='assertion.repository == "a/b" && assertion.ref == "refs/heads/main"'),
        "lets in runs of any repository_id",
    ),
    "a state that nobody looks at": (
        lambda deployment: replace(deployment, data=()),
        "coinbeam-composer@my-project.iam.gserviceaccount.com reaches the state, by roles/composer.worker",
    ),
    "a state beside the workers": (
        lambda deployment: replace(deployment, data=tuple(map(of_this_project, deployment.data))),
        "coinbeam-dataflow@my-project.iam.gserviceaccount.com reaches the state, by roles/dataflow.worker",
    ),
    "an account of which nobody said what it needs": (
        changed('accounts.google_service_account.account["reader"]', account_id="coinbeam-writer"),
        "writer is in no row of DEMANDS",
    ),
}
"""Each on a copy of the evaluated deployment: what is changed, and what is said of it."""


@pytest.mark.parametrize("mistake", OF_TERRAFORM.values(), ids=OF_TERRAFORM)
def test_a_mistake_of_terraform_is_seen(
    mistake: tuple[Callable[[Deployment], Deployment], str], deployment: Deployment
) -> None:
    spoil, words = mistake
    assert words in "\n".join(missing(spoil(deployment), KEPT))


@dataclass(frozen=True)
class Planted:
    """A mistake in a file.

    Attributes:
        file: below the root.
        old: text that is in it, or empty for a file that is not there.
        new: what comes in its place.
        words: what is said of it.
        says: the rule that says so, of a root.
    """

    file: str
    old: str
    new: str
    words: str
    says: Callable[[Path], Any]


FACT = "sql/crypto_data/crypto_market_snapshot_fact/contract.yaml"

OF_FILES = {
    "workers on another Python": Planted(
        "Dockerfile",
        "apache/beam_python3.11_sdk",
        "apache/beam_python3.12_sdk",
        "Python 3.12 for the workers, and Composer has 3.11",
        release.python_faults,
    ),
    "launchers on another Python": Planted(
        "Dockerfile",
        "python311-template-launcher-base",
        "python312-template-launcher-base",
        "Python 3.12 for the launchers",
        release.python_faults,
    ),
    "requirements for another Python": Planted(
        "Makefile",
        "--no-annotate --python-version 3.11",
        "--no-annotate --python-version 3.12",
        "Python 3.12 for the requirements",
        release.python_faults,
    ),
    **{
        f"another builder of {file.name}": Planted(
            file.name,
            "library/python:3.11",
            "library/python:3.13",
            "Python 3.13 for the builder",
            release.python_faults,
        )
        for file in (FILE, SMALL)
    },
    "another Python for the job": Planted(
        "batch.Dockerfile",
        "FROM python:3.11",
        "FROM python:3.12",
        "Python 3.12 for the job",
        release.python_faults,
    ),
    "another schedule of the index": Planted(
        "dags/fear_greed_dag.py",
        "20 0 * * *",
        "20 1 * * *",
        "fear_greed_dag runs at ['20 1 * * *'], and the table says ['20 0 * * *']",
        release.schedule_faults,
    ),
    "another schedule of the hourly snapshots": Planted(
        "dags/crypto_etl_dag.py",
        '"0 * * * *"',
        '"0 */2 * * *"',
        "crypto_etl_dag runs at ['0 */2 * * *', '0 0 * * *']",
        release.schedule_faults,
    ),
    "a template of no job": Planted(
        "beam_pipelines/templates/fetch_dreams.json",
        "",
        "{}",
        "the template fetch_dreams is of no job",
        release.template_faults,
    ),
    "a job without a template": Planted(
        "beam_pipelines/fetch_dreams.py",
        "",
        '"""Dreams."""',
        "the job fetch_dreams has no template",
        release.template_faults,
    ),
    "a type of a column without a version": Planted(
        FACT,
        "physicalType: FLOAT64",
        "physicalType: INT64",
        "crypto_data.crypto_market_snapshot_fact is not what its version",
        contract_faults,
    ),
}
"""Each in a copy of the files."""


@pytest.mark.parametrize("mistake", OF_FILES.values(), ids=OF_FILES)
def test_a_mistake_in_a_file_is_seen(mistake: Planted, tmp_path: Path) -> None:
    assert mistake.words in "\n".join(mistake.says(planted(mistake, tmp_path)))


def planted(mistake: Planted, folder: Path) -> Path:
    """A copy of the files with a mistake in one."""
    root = release.copy(folder / "tree")
    file = root / mistake.file
    right = file.read_text(encoding="utf-8") if mistake.old else ""
    assert mistake.old in right, mistake.file
    file.write_text(right.replace(mistake.old, mistake.new, 1) if mistake.old else mistake.new, encoding="utf-8")
    return root


OF_IMAGES = {
    "the image of the workers pushed under another name": (
        'deploy/push_image.sh "$$prefix/pipelines:',
        'deploy/push_image.sh "$$prefix/workers:',
        "the image pipelines is used, and no build pushes it",
    ),
    "templates that name another image": (
        '--image "${_REGION}-docker.pkg.dev/${PROJECT_ID}/${_REPOSITORY}/$${job//_/-}:',
        '--image "${_REGION}-docker.pkg.dev/${PROJECT_ID}/${_REPOSITORY}/$$job:',
        "the image fetch_fear_greed is used, and no build pushes it",
    ),
    "services that run another image": (
        '--image "${_REGION}-docker.pkg.dev/${PROJECT_ID}/${_REPOSITORY}/serving:',
        '--image "${_REGION}-docker.pkg.dev/${PROJECT_ID}/${_REPOSITORY}/server:',
        "the image server is used, and no build pushes it",
    ),
}


@pytest.mark.parametrize("mistake", OF_IMAGES.values(), ids=OF_IMAGES)
def test_a_mistake_in_the_name_of_an_image_is_seen(
    mistake: tuple[str, str, str], deployment: Deployment, tmp_path: Path
) -> None:
    old, new, words = mistake
    root = planted(Planted(FILE.name, old, new, words, contract_faults), tmp_path)
    made = release.images(root, tmp_path / "build")
    assert words in "\n".join(release.image_faults(made, of_terraform(deployment)))


OF_SMALL_IMAGES = {
    "the image of the job pushed under another name": (
        '/batch:${_RELEASE}"\n        docker build',
        '/airflow:${_RELEASE}"\n        docker build',
        "the image batch is used, and no build pushes it",
    ),
    "a job that runs another image": (
        '--image "${_REGION}-docker.pkg.dev/${PROJECT_ID}/${_REPOSITORY}/batch:',
        '--image "${_REGION}-docker.pkg.dev/${PROJECT_ID}/${_REPOSITORY}/job:',
        "the image job is used, and no build pushes it",
    ),
}


@pytest.mark.parametrize("mistake", OF_SMALL_IMAGES.values(), ids=OF_SMALL_IMAGES)
def test_a_mistake_in_the_name_of_an_image_of_the_small_profile_is_seen(
    mistake: tuple[str, str, str], tmp_path: Path
) -> None:
    old, new, words = mistake
    root = planted(Planted(SMALL.name, old, new, words, contract_faults), tmp_path)
    assert words in "\n".join(release.image_faults(release.images(root, tmp_path / "build", SMALL.name), set()))


def test_the_copy_has_no_mistake_of_its_own(tmp_path: Path) -> None:
    root = release.copy(tmp_path / "tree")
    rules = (release.python_faults, release.schedule_faults, release.template_faults, contract_faults)
    assert [line for rule in rules for line in rule(root)] == []
    assert {one.name for one in load_all().values()} == {
        path.parent.name for path in (root / "sql").glob("*/*/contract.yaml")
    }
