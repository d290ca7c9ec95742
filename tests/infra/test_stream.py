"""The live trades in the cloud: the same topic and subscriptions as on one machine, little for each account, and an
alert for each way to fail that leads to the page that says what to do.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

import pytest
from google.pubsub_v1.types import Subscription

from coinbeam.contracts import load_contract
from coinbeam.feeds.trades.message import ALLOWED_LATENESS
from coinbeam.feeds.trades.topic import subscriptions, topic_path
from coinbeam.settings import ROOT, Settings
from console.app import app
from tests.infra.deployment import Deployment
from tests.infra.test_monitoring import policies
from tests.infra.test_policy import account, grants

pytestmark = pytest.mark.xdist_group("terraform")

STREAM = "module.stream[0]"
AGENT = "serviceAccount:service-123456789012@gcp-sa-pubsub.iam.gserviceaccount.com"
WRITTEN = ("trade_window_fact", "trade_window_pane", "rejected_record")


@pytest.fixture
def production(monkeypatch: pytest.MonkeyPatch) -> Settings:
    """The settings of the deployment that is evaluated."""
    monkeypatch.setenv("COINBEAM_ENV", "production")
    monkeypatch.setenv("COINBEAM_GOOGLE__PROJECT", "my-project")
    monkeypatch.setenv("COINBEAM_STORAGE__BUCKET", "my-project-coinbeam")
    return Settings()


def compared(one: Subscription) -> dict[str, Any]:
    """What a subscription is, as far as it does not differ between one machine and the cloud."""
    landing = one.cloud_storage_config
    return {
        "deadline": one.ack_deadline_seconds,
        "retains": one.retain_acked_messages,
        "retention": one.message_retention_duration,
        "filter": one.filter,
        "ordering": one.enable_message_ordering,
        "landing": {
            "bucket": landing.bucket,
            "filename_prefix": landing.filename_prefix,
            "filename_suffix": landing.filename_suffix,
            "filename_datetime_format": landing.filename_datetime_format,
        }
        if landing.bucket
        else None,
        "longest": landing.max_duration,
        "is_avro": "avro_config" in landing,
    }


def of_terraform(values: Mapping[str, Any]) -> Subscription:
    """A subscription of Terraform's as the API takes it."""
    made = {
        "name": f"projects/my-project/subscriptions/{values['name']}",
        "ack_deadline_seconds": values["ack_deadline_seconds"],
        "retain_acked_messages": values["retain_acked_messages"] or False,
        "message_retention_duration": seconds(values["message_retention_duration"]),
        "filter": values["filter"] or "",
    }
    for landing in values["cloud_storage_config"]:
        made["cloud_storage_config"] = {
            "bucket": landing["bucket"],
            "filename_prefix": landing["filename_prefix"],
            "filename_suffix": landing["filename_suffix"],
            "filename_datetime_format": landing["filename_datetime_format"],
            "max_duration": seconds(landing["max_duration"]),
            ("avro_config" if landing["avro_config"] else "text_config"): {},
        }
    return Subscription(made)


def seconds(text: str) -> timedelta:
    """A duration as Terraform writes it."""
    return timedelta(seconds=float(text.removesuffix("s")))


def test_the_topic_and_its_subscriptions_are_those_of_one_machine(deployment: Deployment, production: Settings) -> None:
    [topic] = deployment.of("google_pubsub_topic")
    assert f"projects/my-project/topics/{topic.values['name']}" == topic_path(production)
    made = [of_terraform(one.values) for one in deployment.of("google_pubsub_subscription")]
    wanted = subscriptions(production)
    assert {one.name: compared(one) for one in made} == {one.name: compared(one) for one in wanted}


def test_a_start_reads_back_further_than_a_window_takes_trades(deployment: Deployment) -> None:
    for one in deployment.of("google_pubsub_subscription"):
        assert seconds(one.values["message_retention_duration"]) > ALLOWED_LATENESS
        assert one.values["expiration_policy"] == [{"ttl": ""}]
        assert not one.values["dead_letter_policy"]


def test_the_streaming_job_reads_its_subscription_and_writes_three_tables(deployment: Deployment) -> None:
    assert grants(deployment, account("stream")) == [
        ("google_artifact_registry_repository_iam_member", "roles/artifactregistry.reader"),
        *[("google_bigquery_table_iam_member", "roles/bigquery.dataEditor")] * len(WRITTEN),
        ("google_project_iam_member", "projects/my-project/roles/coinbeamTracking"),
        ("google_project_iam_member", "roles/bigquery.jobUser"),
        ("google_project_iam_member", "roles/dataflow.worker"),
        ("google_pubsub_subscription_iam_member", "roles/pubsub.subscriber"),
        ("google_pubsub_subscription_iam_member", "roles/pubsub.viewer"),
        ("google_pubsub_topic_iam_member", "roles/pubsub.subscriber"),
        ("google_storage_bucket_iam_member", "roles/storage.legacyBucketReader"),
        ("google_storage_bucket_iam_member", "roles/storage.objectUser"),
    ]
    tables = deployment.of("google_bigquery_table_iam_member")
    assert {(one.values["dataset_id"], one.values["table_id"]) for one in tables} == {
        (load_contract(name).dataset, name) for name in WRITTEN
    }
    datasets = deployment.of("google_bigquery_dataset")
    named = [access.get("user_by_email") for one in datasets for access in one.values["access"]]
    assert "coinbeam-stream@my-project.iam.gserviceaccount.com" not in named


def test_the_job_makes_the_second_subscription_that_a_watermark_of_event_times_needs(deployment: Deployment) -> None:
    made = deployment.one(f"{STREAM}.google_project_iam_custom_role.tracking")
    assert made["permissions"] == [f"pubsub.subscriptions.{verb}" for verb in ("consume", "create", "delete", "get")]
    attached = deployment.one(f"{STREAM}.google_pubsub_topic_iam_member.stream")
    assert (attached["topic"], attached["member"]) == ("trades", account("stream"))


def test_the_publisher_publishes_and_keeps_its_positions_and_may_do_nothing_else(deployment: Deployment) -> None:
    assert grants(deployment, account("publisher")) == [
        ("google_pubsub_topic_iam_member", "roles/pubsub.publisher"),
        ("google_storage_bucket_iam_member", "roles/storage.objectUser"),
    ]


def folders(deployment: Deployment, address: str) -> list[str]:
    """The folders of the bucket that a grant is for; the bucket itself is none."""
    grant = deployment.one(f"{STREAM}.google_storage_bucket_iam_member.{address}")
    expression = grant["condition"][0]["expression"]
    assert expression.startswith('resource.type != "storage.googleapis.com/Object" || ')
    return re.findall(r'startsWith\("projects/_/buckets/my-project-coinbeam/objects/([^"]+)"\)', expression)


def test_each_writes_into_its_own_folders_and_pubsub_only_adds(deployment: Deployment) -> None:
    assert folders(deployment, 'writer["stream"]') == ["dataflow/", "stream/"]
    assert folders(deployment, 'writer["publisher"]') == ["stream/"]
    assert folders(deployment, "agent_lands") == ["landing/trades/"]
    assert grants(deployment, AGENT) == [
        ("google_storage_bucket_iam_member", "roles/storage.legacyBucketReader"),
        ("google_storage_bucket_iam_member", "roles/storage.objectCreator"),
    ]


def test_what_a_worker_starts_from_is_kept_as_long_as_its_image(deployment: Deployment) -> None:
    rules = deployment.one("module.bucket.google_storage_bucket.data")["lifecycle_rule"]
    ages = {
        prefix: rule["condition"][0]["age"]
        for rule in rules
        if rule["action"][0]["type"] == "Delete"
        for prefix in rule["condition"][0]["matches_prefix"] or ()
    }
    policies = deployment.one("module.registry.google_artifact_registry_repository.images")["cleanup_policies"]
    [old] = [policy["condition"][0] for policy in policies if policy["action"] == "DELETE"]
    kept = seconds(old["older_than"])
    launched = (ROOT / "dags" / "beam_jobs.py").read_text(encoding="utf-8")
    [staging] = re.findall(r'"stagingLocation": f"{settings\.bucket_uri}/([\w/]+)"', launched)
    assert {timedelta(days=age) for prefix, age in ages.items() if f"{staging}/".startswith(prefix)} == {kept}
    assert not [prefix for prefix in ages if prefix.startswith(("stream/", "landing/"))]
    page = (ROOT / "docs" / "runbooks" / "stream.md").read_text(encoding="utf-8")
    assert f"at the latest every {kept.days} days" in page


def test_airflow_launches_as_the_account_of_the_job_and_may_snapshot_and_seek(deployment: Deployment) -> None:
    launched = deployment.one(f"{STREAM}.google_service_account_iam_member.operator_launches")
    assert (launched["role"], launched["member"]) == ("roles/iam.serviceAccountUser", account("composer"))
    assert "coinbeam-stream@" in launched["service_account_id"]
    role = deployment.one(f"{STREAM}.google_project_iam_custom_role.snapshots")
    assert role["permissions"] == [f"pubsub.snapshots.{verb}" for verb in ("create", "delete", "get", "list", "seek")]
    given = [kind for kind, name in grants(deployment, account("composer")) if name == "roles/pubsub.subscriber"]
    assert given == ["google_pubsub_subscription_iam_member"]


def test_the_publisher_runs_a_command_of_ours_with_settings_that_production_takes(
    deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    pool = deployment.one(f"{STREAM}.google_cloud_run_v2_worker_pool.publisher")
    [container] = pool["template"][0]["containers"]
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    settings = Settings()
    assert (settings.environment, settings.stream.source.value) == ("production", "live")
    assert topic_path(settings) == "projects/my-project/topics/trades"
    group, name = container["args"]
    [commands] = [one.typer_instance for one in app.registered_groups if one.name == group]
    assert commands is not None
    assert name in {command.name for command in commands.registered_commands}
    assert pool["template"][0]["service_account"] == "coinbeam-publisher@my-project.iam.gserviceaccount.com"


def watched_by(policy: Mapping[str, Any]) -> str:
    """What an alert looks at, in whichever language it asks."""
    [condition] = policy["conditions"]
    [one] = [kind[0] for name, kind in condition.items() if name.startswith("condition_") and kind]
    return str(one.get("filter") or one["query"])


STREAMED = {
    "stream_lags": ("trade-windows", "The stream lags"),
    "watermark_stands": ("trade-windows", "The stream lags"),
    "step_is_stuck": ("trade-windows", "The stream lags"),
    "landing_lags": ("trades-landing", "No trades come"),
    "no_heartbeat": ('topic_id = "trades"', "No trades come"),
    "no_trades": ("trades-landing", "No trades come"),
    "refills_fail": ("coinbeam_failed_refills", "A gap stays open"),
    "trades_gone": ("coinbeam-publisher", "A gap stays open"),
    "dead_letters": ("dataflow_step", "Dead letters"),
}


@pytest.mark.parametrize("name", STREAMED)
def test_an_alert_of_the_stream_watches_what_is_there_and_leads_to_what_to_do(
    name: str, deployment: Deployment
) -> None:
    watched, section = STREAMED[name]
    policy = policies(deployment)[name]
    assert watched in watched_by(policy)
    assert policy["documentation"][0]["content"].endswith(f"docs/runbooks/stream.md, section '{section}'.")
    page = (ROOT / "docs" / "runbooks" / "stream.md").read_text(encoding="utf-8")
    assert re.search(rf"^#+ {section}$", page, re.MULTILINE)
