"""Least privilege, and nothing public, on the evaluated deployment."""

import re
from collections.abc import Mapping
from typing import Any

import pytest

from coinbeam.contracts import load_all
from tests.infra.configuration import INFRA
from tests.infra.deployment import Deployment, Resource
from tests.infra.policy import violations

pytestmark = pytest.mark.xdist_group("terraform")

PROJECT_ROLES = {
    "composer": {
        "roles/composer.worker",
        "roles/dataflow.developer",
        "roles/bigquery.jobUser",
        "roles/bigquery.readSessionUser",
        "projects/my-project/roles/coinbeamSnapshots",
    },
    "dataflow": {"roles/dataflow.worker", "roles/bigquery.jobUser"},
    "build": {
        "roles/logging.logWriter",
        "roles/cloudbuild.builds.editor",
        "roles/serviceusage.serviceUsageConsumer",
        "roles/bigquery.jobUser",
        "roles/containeranalysis.occurrences.viewer",
    },
    "reader": {"roles/bigquery.jobUser"},
    "api": set(),
    "dashboard": set(),
    "stream": {"roles/dataflow.worker", "roles/bigquery.jobUser", "projects/my-project/roles/coinbeamTracking"},
    "publisher": set(),
}
"""Said a second time on purpose: a new role on the whole project is seen by whoever reads this file."""


SERVING = "module.serving[0]"
"""The module of the services, which is there once, or not at all."""


def account(name: str) -> str:
    return f"serviceAccount:coinbeam-{name}@my-project.iam.gserviceaccount.com"


def spoil(deployment: Deployment, kind: str, changes: Mapping[str, Any]) -> Deployment:
    """The deployment with the first resource of a type changed."""
    first, *_ = deployment.of(kind)
    spoilt = Resource(first.address, first.type, {**first.values, **changes})
    return Deployment(
        tuple(spoilt if resource is first else resource for resource in deployment.resources), deployment.outputs
    )


def test_no_rule_is_broken(deployment: Deployment) -> None:
    assert violations(deployment) == []


MISTAKES = {
    "an editor": ("google_project_iam_member", {"role": "roles/editor"}, "is a basic role"),
    "an administrator of the project's storage": (
        "google_project_iam_member",
        {"role": "roles/storage.admin"},
        "administers the whole",
    ),
    "an administrator by another spelling": (
        "google_project_iam_member",
        {"role": "roles/iam.serviceAccountAdmin"},
        "administers the whole",
    ),
    "everybody": ("google_storage_bucket_iam_member", {"member": "allUsers"}, "is everybody"),
    "a bucket that can be public": (
        "google_storage_bucket",
        {"public_access_prevention": "inherited"},
        "can be made public",
    ),
    "a bucket with access lists": ("google_storage_bucket", {"uniform_bucket_level_access": False}, "access lists"),
    "a bucket without versions": ("google_storage_bucket", {"versioning": [{"enabled": False}]}, "is lost"),
    "a bucket destroyed with its data": ("google_storage_bucket", {"force_destroy": True}, "takes the data"),
    "a table that an apply may delete": ("google_bigquery_table", {"deletion_protection": False}, "can be deleted"),
    "a dataset for every reader": (
        "google_bigquery_dataset",
        {"access": [{"special_group": "projectReaders"}]},
        "open to everybody",
    ),
    "a caller who is everybody": ("google_cloud_run_v2_service_iam_member", {"member": "allUsers"}, "is everybody"),
    "a service without a check of its callers": (
        "google_cloud_run_v2_service",
        {"invoker_iam_disabled": True},
        "nobody asks who calls it",
    ),
}


@pytest.mark.parametrize("mistake", MISTAKES.values(), ids=MISTAKES)
def test_a_broken_rule_is_seen(mistake: tuple[str, dict[str, Any], str], deployment: Deployment) -> None:
    kind, changes, words = mistake
    (line,) = violations(spoil(deployment, kind, changes))
    assert words in line


def test_a_service_that_runs_as_the_default_account_or_shows_itself_to_everybody_is_seen(
    deployment: Deployment,
) -> None:
    dashboard = deployment.one(f'{SERVING}.google_cloud_run_v2_service.service["dashboard"]')
    template = {**dashboard["template"][0], "service_account": "123456789012-compute@developer.gserviceaccount.com"}
    changed = {**dashboard, "iap_enabled": False, "template": [template]}
    spoilt = Resource("dashboard", "google_cloud_run_v2_service", changed)
    assert violations(Deployment((spoilt,), {})) == [
        "dashboard: it has no account of its own",
        "dashboard: the dashboard asks nobody who looks",
    ]


def test_the_key_of_an_account_is_seen(deployment: Deployment) -> None:
    key = Resource("google_service_account_key.leak", "google_service_account_key", {})
    assert violations(Deployment((*deployment.resources, key), {})) == [
        "google_service_account_key.leak: its secret would be in the state"
    ]


def grants(deployment: Deployment, member: str) -> list[tuple[str, str]]:
    """Everything that is given to a member, wherever it is bound: types of grants with their roles."""
    given = (one for one in deployment.resources if one.type.endswith("_iam_member") and one.values["member"] == member)
    return sorted((one.type, one.values["role"]) for one in given)


@pytest.mark.parametrize("name", ["api", "dashboard"])
def test_a_service_reads_the_bundle_and_may_do_nothing_else(name: str, deployment: Deployment) -> None:
    assert grants(deployment, account(name)) == [("google_storage_bucket_iam_member", "roles/storage.objectViewer")]
    grant = deployment.one(f'{SERVING}.google_storage_bucket_iam_member.bundle["{name}"]')
    assert grant["condition"][0]["expression"] == (
        'resource.type != "storage.googleapis.com/Object" || '
        'resource.name.startsWith("projects/_/buckets/my-project-coinbeam/objects/serving/")'
    )
    service = deployment.one(f'{SERVING}.google_cloud_run_v2_service.service["{name}"]')
    assert f"serviceAccount:{service['template'][0]['service_account']}" == account(name)


def test_nobody_calls_a_service_but_the_proxy_of_the_dashboard_and_the_check_of_the_api(deployment: Deployment) -> None:
    callers = [
        (one.values["name"], one.values["member"])
        for one in deployment.of("google_cloud_run_v2_service_iam_member")
        if one.values["role"] == "roles/run.invoker"
    ]
    agent = "serviceAccount:service-123456789012@gcp-sa-{}.iam.gserviceaccount.com"
    assert sorted(callers) == [
        ("coinbeam-api", agent.format("monitoring-notification")),
        ("coinbeam-dashboard", agent.format("iap")),
    ]


def test_the_proxy_is_in_front_of_the_dashboard_and_lets_its_viewers_in(deployment: Deployment) -> None:
    behind = {one.values["name"]: one.values["iap_enabled"] for one in deployment.of("google_cloud_run_v2_service")}
    assert behind == {"coinbeam-api": False, "coinbeam-dashboard": True}
    let_in = [
        (one.values["cloud_run_service_name"], one.values["role"], one.values["member"])
        for one in deployment.of("google_iap_web_cloud_run_service_iam_member")
    ]
    assert let_in == [("coinbeam-dashboard", "roles/iap.httpsResourceAccessor", "group:market-readers@example.com")]


def test_a_release_replaces_the_image_of_a_service_and_not_its_callers(deployment: Deployment) -> None:
    given = [
        (one.values["name"], one.values["role"])
        for one in deployment.of("google_cloud_run_v2_service_iam_member")
        if one.values["member"] == account("build")
    ]
    assert sorted(given) == [("coinbeam-api", "roles/run.developer"), ("coinbeam-dashboard", "roles/run.developer")]


@pytest.mark.parametrize("name", PROJECT_ROLES)
def test_an_account_has_these_roles_on_the_project_and_no_other(name: str, deployment: Deployment) -> None:
    given = {
        grant.values["role"]
        for grant in deployment.of("google_project_iam_member")
        if grant.values["member"] == account(name)
    }
    assert given == PROJECT_ROLES[name]


def test_every_role_on_the_project_says_why() -> None:
    files = (INFRA / "modules" / module / "main.tf" for module in ("accounts", "stream"))
    lines = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    bare = [line for line in lines if re.search(r'^\s+"roles/', line) and not re.search(r"# \S", line)]
    assert bare == []


def test_only_the_workers_read_the_key(deployment: Deployment) -> None:
    grants = deployment.of("google_secret_manager_secret_iam_member")
    assert [(grant.values["role"], grant.values["member"]) for grant in grants] == [
        ("roles/secretmanager.secretAccessor", account("dataflow"))
    ]


def test_readers_reach_the_marts_alone(deployment: Deployment) -> None:
    seen = {dataset.values["dataset_id"] for dataset in deployment.of("google_bigquery_dataset") if reads(dataset)}
    assert seen == {"crypto_marts"}


def reads(dataset: Resource) -> bool:
    """Whether analysts or their account are named in the access of a dataset."""
    named = {access.get(field) for access in dataset.values["access"] for field in ("user_by_email", "group_by_email")}
    return bool(named & {account("reader").removeprefix("serviceAccount:"), "market-readers@example.com"})


def test_every_dataset_that_a_view_reads_lets_the_views_in(deployment: Deployment) -> None:
    views = [contract for contract in load_all().values() if contract.is_view]
    read = {
        (view.dataset, load_all()[name].dataset)
        for view in views
        for name in re.findall(r"{{ (\w+) }}", (view.folder / "view.sql").read_text(encoding="utf-8"))
        if name in load_all()
    }
    needed = {dataset for own, dataset in read if dataset != own}
    open_to_views = {
        dataset.values["dataset_id"] for dataset in deployment.of("google_bigquery_dataset") if lets_views_in(dataset)
    }
    assert needed == open_to_views


def lets_views_in(dataset: Resource) -> bool:
    """Whether the views of the marts are authorised."""
    authorised = [one for access in dataset.values["access"] for one in access.get("dataset") or []]
    return any(
        one["target_types"] == ["VIEWS"] and one["dataset"][0]["dataset_id"] == "crypto_marts" for one in authorised
    )


def test_a_deployment_writes_releases_and_builds_alone(deployment: Deployment) -> None:
    (grant,) = (
        one
        for one in deployment.of("google_storage_bucket_iam_member")
        if one.address == "module.bucket.google_storage_bucket_iam_member.deployer"
    )
    folders = re.findall(r"objects/(\w+)/", grant.values["condition"][0]["expression"])
    assert (grant.values["member"], folders) == (account("build"), ["releases", "builds"])


def test_a_submission_may_look_at_the_bucket_that_it_stages_its_source_in(deployment: Deployment) -> None:
    """``gcloud builds submit`` asks for ``storage.buckets.get``, which a role on objects alone lacks."""
    grant = deployment.one("module.bucket.google_storage_bucket_iam_member.deployer_sees_bucket")
    assert (grant["bucket"], grant["role"], grant["member"]) == (
        "my-project-coinbeam",
        "roles/storage.legacyBucketReader",
        account("build"),
    )


def test_only_the_main_branch_of_our_repository_signs_in(deployment: Deployment) -> None:
    (provider,) = deployment.of("google_iam_workload_identity_pool_provider")
    assert provider.values["attribute_condition"] == (
        'assertion.repository_id == "1002003004" && assertion.repository_owner_id == "5006007" '
        '&& assertion.ref == "refs/heads/main"'
    )
    assert provider.values["attribute_mapping"]["attribute.repository_id"] == "assertion.repository_id"
    actions = deployment.one("module.build.google_service_account_iam_member.actions[0]")
    assert actions["member"].endswith("/attribute.repository_id/1002003004")
