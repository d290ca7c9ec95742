"""The small profile on the evaluated deployment: what it has, who may do what, and that a change of the profile keeps
everything that holds data.
"""

import re
from typing import Any

import pytest
import yaml

from console.app import app
from tests.infra.deployment import Deployment
from tests.infra.policy import violations
from tests.infra.test_policy import account, grants

pytestmark = pytest.mark.xdist_group("terraform")

KEPT = {
    "google_bigquery_dataset": ("dataset_id", "location"),
    "google_bigquery_table": ("dataset_id", "table_id"),
    "google_storage_bucket": ("name", "location"),
    "google_secret_manager_secret": ("secret_id",),
    "google_artifact_registry_repository": ("repository_id", "location"),
    "google_logging_project_bucket_config": ("bucket_id", "location"),
}
"""What holds something that nobody makes again, with the arguments that would replace it when they changed."""

MODULE = "module.small[0]"


def kept(deployment: Deployment) -> dict[str, list[Any]]:
    """The addresses of what holds data, with what would replace it."""
    held = (one for one in deployment.resources if one.type in KEPT)
    return {one.address: [one.values[name] for name in KEPT[one.type]] for one in held}


def test_a_change_of_the_profile_keeps_every_table_bucket_and_secret(deployment: Deployment, small: Deployment) -> None:
    assert kept(small) == kept(deployment)
    assert {one.type for one in small.resources} >= set(KEPT)


def test_nothing_of_the_large_profile_is_left(small: Deployment) -> None:
    types = {one.type for one in small.resources}
    assert [one for one in sorted(types) if re.search("composer|compute|dataflow", one)] == []
    assert [
        one.address for one in small.resources if re.search("composer|dataflow", str(one.values.get("member")))
    ] == []


def test_no_rule_is_broken(small: Deployment) -> None:
    assert violations(small) == []


def test_the_job_may_do_this_and_nothing_else(small: Deployment) -> None:
    assert grants(small, account("batch")) == [
        ("google_project_iam_member", "roles/bigquery.jobUser"),
        ("google_project_iam_member", "roles/bigquery.readSessionUser"),
        ("google_secret_manager_secret_iam_member", "roles/secretmanager.secretAccessor"),
        ("google_storage_bucket_iam_member", "roles/storage.legacyBucketReader"),
        ("google_storage_bucket_iam_member", "roles/storage.objectUser"),
    ]
    email = account("batch").removeprefix("serviceAccount:")
    written = {
        one.values["dataset_id"]
        for one in small.of("google_bigquery_dataset")
        for access in one.values["access"]
        if (access.get("user_by_email"), access.get("role")) == (email, "WRITER")
    }
    assert written == {"crypto_data", "crypto_staging", "crypto_ops", "crypto_marts"}


def test_the_schedule_may_start_the_job_as_it_is_and_nothing_else(small: Deployment) -> None:
    assert grants(small, account("scheduler")) == [("google_cloud_run_v2_job_iam_member", "roles/run.invoker")]
    assert grants(small, account("inbox")) == [
        ("google_cloud_run_v2_job_iam_member", "roles/run.jobsExecutorWithOverrides"),
        ("google_project_iam_member", "roles/eventarc.eventReceiver"),
        ("google_project_iam_member", "roles/workflows.invoker"),
    ]


def test_a_release_replaces_the_image_of_the_job_which_runs_as_its_own_account(small: Deployment) -> None:
    [grant] = [
        one.values for one in small.of("google_cloud_run_v2_job_iam_member") if one.values["member"] == account("build")
    ]
    assert (grant["name"], grant["role"]) == ("coinbeam-daily", "roles/run.developer")
    [acting] = [
        one.values
        for one in small.of("google_service_account_iam_member")
        if one.address.startswith(MODULE) and one.values["member"] == account("build")
    ]
    assert acting["role"] == "roles/iam.serviceAccountUser"
    assert acting["service_account_id"].endswith("coinbeam-batch@my-project.iam.gserviceaccount.com")


def test_the_job_runs_a_command_that_there_is_with_retries_for_a_container_that_died(small: Deployment) -> None:
    [job] = small.of("google_cloud_run_v2_job")
    [outer] = job.values["template"]
    [template] = outer["template"]
    [container] = template["containers"]
    assert container["args"] == ["job", "due"]
    [group] = [one for one in app.registered_groups if one.name == "job"]
    assert group.typer_instance is not None
    names = {one.name or one.callback.__name__ for one in group.typer_instance.registered_commands if one.callback}
    assert {"due", "replay", "run"} <= names
    assert (template["max_retries"], outer["task_count"], outer["parallelism"]) == (1, 1, 1)
    assert template["service_account"] == account("batch").removeprefix("serviceAccount:")
    assert container["resources"][0]["limits"] == {"cpu": "1", "memory": "2Gi"}
    assert container["env"] == [], "all that a release knows is in its image"


def test_the_schedule_starts_that_job_at_the_instants_of_the_snapshots(small: Deployment) -> None:
    [schedule] = small.of("google_cloud_scheduler_job")
    [target] = schedule.values["http_target"]
    assert (schedule.values["schedule"], schedule.values["time_zone"]) == ("0,45 0 * * *", "Etc/UTC")
    assert target["uri"].endswith("/projects/my-project/locations/us-central1/jobs/coinbeam-daily:run")
    assert target["oauth_token"][0]["service_account_email"] == account("scheduler").removeprefix("serviceAccount:")


def test_only_a_file_that_a_person_puts_into_the_inbox_starts_a_run(small: Deployment) -> None:
    [notification] = small.of("google_storage_notification")
    assert notification.values["object_name_prefix"] == "inbox/"
    assert notification.values["event_types"] == ["OBJECT_FINALIZE"]
    [workflow] = small.of("google_workflows_workflow")
    steps = yaml.safe_load(workflow.values["source_contents"])["main"]["steps"]
    call = next(step["start"] for step in steps if "start" in step)
    assert call["args"]["name"].endswith(small.one(f"{MODULE}.google_cloud_run_v2_job.batch")["id"])
    [override] = call["args"]["body"]["overrides"]["containerOverrides"]
    assert override["args"] == ["job", "replay", "${uri}"]
    assigned = next(step["name"]["assign"] for step in steps if "name" in step)
    assert assigned[1]["uri"] == '${"gs://" + event.data.message.attributes.bucketId + "/" + object}'


def test_the_large_profile_has_nothing_of_the_small_one(deployment: Deployment) -> None:
    assert [one.address for one in deployment.resources if one.address.startswith("module.small")] == []
