"""What the rest of the project takes from a deployment: settings, packages, the freshness check."""

import json
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import sqlglot
import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from sqlglot import exp

from coinbeam.contracts import load_contract
from coinbeam.settings import ROOT, Settings, config_file, deployment_file
from deploy.submission import FILES, chosen
from tests.build.cloudbuild import text
from tests.build.execution import Workspace
from tests.infra.deployment import Deployment

pytestmark = pytest.mark.xdist_group("terraform")


def test_the_output_is_what_the_settings_of_a_release_want(
    deployment: Deployment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "deployment.json").write_text(json.dumps(deployment.outputs["deployment"]), encoding="utf-8")
    monkeypatch.setattr("coinbeam.settings.deployment_file", lambda: tmp_path / deployment_file().name)
    monkeypatch.setenv("COINBEAM_ENV", "production")
    settings = Settings()
    assert config_file().name == "production.yaml"
    assert settings.storage.bucket == "my-project-coinbeam"
    assert settings.google.dataflow_service_account == "coinbeam-dataflow@my-project.iam.gserviceaccount.com"
    assert settings.google.stream_service_account == "coinbeam-stream@my-project.iam.gserviceaccount.com"
    assert settings.dataflow.subnetwork == "regions/us-central1/subnetworks/coinbeam-us-central1"
    assert str(settings.composer.airflow_url) == "https://airflow.example.com/"


def test_the_substitutions_configure_the_release_that_the_output_describes(
    deployment: Deployment, tmp_path: Path
) -> None:
    """The step of the build itself, with what a person or a workflow takes from Terraform."""
    written = configured(deployment, tmp_path)
    image = written["dataflow"].pop("image")
    assert image == f"{deployment.outputs['image_repository']}/pipelines:abc1234"
    assert written == {"environment": "production", "release": "abc1234", **deployment.outputs["deployment"]}


def test_the_substitutions_configure_the_release_of_the_small_profile(small: Deployment, tmp_path: Path) -> None:
    written = configured(small, tmp_path)
    said = {name: without_nulls(value) for name, value in small.outputs["deployment"].items() if name != "dataflow"}
    assert written == {
        "environment": "production",
        "release": "abc1234",
        "runner": "local",
        **{name: value for name, value in said.items() if value},
    }


def without_nulls(section: Mapping[str, Any]) -> dict[str, Any]:
    """What a section says; null is what it does not."""
    return {name: value for name, value in section.items() if value is not None}


def configured(deployment: Deployment, folder: Path) -> dict[str, Any]:
    """``config/deployment.json`` as the step of the build of a profile writes it."""
    file, told = chosen(deployment.outputs["substitutions"])
    substitutions = {"PROJECT_ID": "my-project", "SHORT_SHA": "abc1234", **told}
    workspace = Workspace(folder / "workspace", {"PATH": os.environ["PATH"]}, substitutions, text(ROOT / file))
    workspace.prepare()
    ended = workspace.run("configure")
    assert ended.code == 0, ended.output
    written: dict[str, Any] = json.loads((workspace.folder / "config" / "deployment.json").read_text(encoding="utf-8"))
    return written


@pytest.mark.parametrize("profile", ["deployment", "small"])
def test_a_build_is_given_substitutions_that_it_has_though_there_is_no_trigger(
    profile: str, request: pytest.FixtureRequest
) -> None:
    deployment: Deployment = request.getfixturevalue(profile)
    file, given = chosen(deployment.outputs["substitutions"])
    declared = yaml.safe_load((ROOT / file).read_text(encoding="utf-8"))["substitutions"]
    assert file == {"deployment": FILES["composer"], "small": FILES["small"]}[profile]
    assert deployment.of("google_cloudbuild_trigger") == []
    assert set(given) - set(declared) == set()
    assert {name for name, value in declared.items() if value == ""} - set(given) == set()


@pytest.mark.parametrize("name", ["api", "dashboard"])
def test_a_service_has_settings_that_production_takes(
    name: str, deployment: Deployment, monkeypatch: pytest.MonkeyPatch
) -> None:
    container = container_of(deployment, name)
    for variable in container["env"]:
        monkeypatch.setenv(variable["name"], variable["value"])
    settings = Settings()
    assert (settings.environment, settings.google.project) == ("production", "my-project")
    assert settings.storage.bucket == "my-project-coinbeam"
    if name == "api":
        assert settings.serving.keys_required
    else:
        assert settings.serving.sign_in == "iap"
        assert settings.serving.iap_audience == (
            "/projects/123456789012/locations/us-central1/services/coinbeam-dashboard"
        )


def container_of(deployment: Deployment, name: str) -> Mapping[str, Any]:
    """The container of a service."""
    service = deployment.one(f'module.serving[0].google_cloud_run_v2_service.service["{name}"]')
    (container,) = service["template"][0]["containers"]
    return dict(container)


def test_a_service_costs_nothing_idle_and_gets_no_request_before_it_is_ready(deployment: Deployment) -> None:
    for service in deployment.of("google_cloud_run_v2_service"):
        (template,) = service.values["template"]
        (container,) = template["containers"]
        assert template["scaling"][0] == {"min_instance_count": 0, "max_instance_count": 2}
        assert template["execution_environment"] == "EXECUTION_ENVIRONMENT_GEN2"
        assert container["resources"][0]["cpu_idle"]
        assert container["image"] == "us-central1-docker.pkg.dev/my-project/coinbeam/serving:abc1234"
        ports = {container[probe][0]["http_get"][0]["port"] for probe in ("startup_probe", "liveness_probe")}
        assert ports == {container["ports"][0]["container_port"]} == {int(container["args"][-1])}
    probes = {
        name: tuple(container_of(deployment, name)[f"{probe}_probe"][0]["http_get"][0]["path"] for probe in PROBES)
        for name in ("api", "dashboard")
    }
    assert probes == {
        "api": ("/ready", "/health"),
        "dashboard": ("/_stcore/health", "/_stcore/health"),
    }


PROBES = ("startup", "liveness")


def test_the_share_of_errors_is_divided_by_all_requests_of_the_same_services(deployment: Deployment) -> None:
    policy = deployment.one('module.alerts.google_monitoring_alert_policy.served["server_errors"]')
    (condition,) = policy["conditions"][0]["condition_threshold"]
    assert (
        condition["filter"].removesuffix(' AND metric.labels.response_code_class = "5xx"')
        == (condition["denominator_filter"])
    )
    assert 'one_of("coinbeam-api", "coinbeam-dashboard")' in condition["denominator_filter"]
    assert condition["aggregations"] == condition["denominator_aggregations"]
    assert 0 < condition["threshold_value"] < 1


def test_datasets_are_those_of_the_production_settings(deployment: Deployment) -> None:
    made = {one.values["dataset_id"]: one.values["location"] for one in deployment.of("google_bigquery_dataset")}
    assert made == dict.fromkeys(("crypto_data", "crypto_staging", "crypto_ops", "crypto_marts"), "US")


def test_composer_installs_exactly_the_packages_of_its_list(deployment: Deployment) -> None:
    lines = (ROOT / "config" / "composer-requirements.txt").read_text(encoding="utf-8").splitlines()
    asked = [Requirement(line.partition("#")[0]) for line in lines if line.partition("#")[0].strip()]
    wanted = {
        canonicalize_name(one.name): f"{'[' + ','.join(sorted(one.extras)) + ']' if one.extras else ''}{one.specifier}"
        for one in asked
    }
    software = deployment.one("module.composer[0].google_composer_environment.this")["config"][0]["software_config"][0]
    assert {canonicalize_name(name): version for name, version in software["pypi_packages"].items()} == wanted
    assert software["env_variables"] == {"COINBEAM_ENV": "production"}


def test_the_freshness_check_reads_what_readers_see(deployment: Deployment) -> None:
    (check,) = deployment.of("google_bigquery_data_transfer_config")
    query = sqlglot.parse_one(check.values["params"]["query"], dialect="bigquery")
    (table,) = query.find_all(exp.Table)
    view = load_contract(table.name)
    assert (table.db, view.is_view) == ("crypto_marts", True)
    assert {column.name for column in query.find_all(exp.Column)} <= set(view.by_name)
    assert check.values["service_account_name"] == "coinbeam-reader@my-project.iam.gserviceaccount.com"


def test_the_freshness_check_fails_when_the_contract_calls_the_table_stale(deployment: Deployment) -> None:
    (check,) = deployment.of("google_bigquery_data_transfer_config")
    hours = load_contract("crypto_market_snapshot_fact").freshness_hours
    assert re.findall(r"INTERVAL (\d+) HOUR", check.values["params"]["query"]) == [f"{hours:g}"]


def test_somebody_is_told_of_each_kind_of_failure(deployment: Deployment) -> None:
    policies = deployment.of("google_monitoring_alert_policy")
    assert {re.search(r'"(\w+)"\]$', policy.address)[1] for policy in policies} == {  # type: ignore[index]
        "dag_failed",
        "dags_do_not_import",
        "composer_is_ill",
        "composer_is_silent",
        "job_failed",
        "scanned_much",
        "stale",
        "gap",
        "quota_is_low",
        "page_outage_of_coingecko",
        "page_blocked_publish",
        "page_exceeded_quota",
        "page_schema_change",
        "page_rotate_the_key",
        "page_stream",
        "page_README",
        "api_is_down",
        "job_errors",
        "build_failed",
        "server_errors",
        "slow",
        "stream_lags",
        "watermark_stands",
        "step_is_stuck",
        "landing_lags",
        "refills_fail",
        "no_heartbeat",
        "no_trades",
        "trades_gone",
        "dead_letters",
    }
    assert all(policy.values["notification_channels"] for policy in policies)


def test_a_budget_is_in_the_currency_of_its_account(deployment: Deployment) -> None:
    [budget] = deployment.of("google_billing_budget")
    [amount] = budget.values["amount"][0]["specified_amount"]
    assert (amount["currency_code"], amount["units"]) == ("USD", "600")
    assert budget.values["billing_account"] == "012345-6789AB-CDEF01"


def test_landing_is_never_deleted_by_the_bucket(deployment: Deployment) -> None:
    rules = deployment.one("module.bucket.google_storage_bucket.data")["lifecycle_rule"]
    live = [
        rule
        for rule in rules
        if rule["action"][0]["type"] == "Delete" and rule["condition"][0]["with_state"] != "ARCHIVED"
    ]
    deleted = {prefix for rule in live for prefix in rule["condition"][0]["matches_prefix"]}
    assert deleted == {"batches/", "dataflow/temp/", "dataflow/staging/", "builds/"}
    assert all(rule["condition"][0]["matches_prefix"] for rule in live)
