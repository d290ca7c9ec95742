"""``config/deployment.json``: written only when the settings that it makes are right."""

import json
import re
from pathlib import Path

import pytest
import yaml

from coinbeam.errors import SettingsError
from coinbeam.settings import DEFAULT_PLANS, ROOT
from deploy.configuration import nested, write_deployment

SECRET = "projects/acme/secrets/coingecko-api-key/versions/latest"
VALUES = {
    "release": "abc1234",
    "google.project": "acme",
    "google.region": "us-central1",
    "google.location": "US",
    "google.dataflow_service_account": "coinbeam-dataflow@acme.iam.gserviceaccount.com",
    "storage.bucket": "acme-coinbeam",
    "market.period": "daily",
    "dataflow.subnetwork": "regions/us-central1/subnetworks/coinbeam",
    "coingecko.plan": "analyst",
    "coingecko.api_key_secret": SECRET,
}


def test_dotted_names_become_sections_and_what_is_not_given_is_left_out() -> None:
    assert nested({"a": 1, "b.c": 2, "b.d.e": 3, "f": None}) == {"a": 1, "b": {"c": 2, "d": {"e": 3}}}


def test_settings_that_are_right_are_written(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBEAM_GOOGLE__REGION", "nowhere-of-this-process")
    path = write_deployment(
        {**VALUES, "market.period": "hourly", "dataflow.labels.environment": "production"}, "production", checkout
    )
    written = json.loads(path.read_text())
    assert {name: value for name, value in written.items() if name not in {"google", "coingecko"}} == {
        "environment": "production",
        "release": "abc1234",
        "storage": {"bucket": "acme-coinbeam"},
        "market": {"period": "hourly"},
        "dataflow": {
            "subnetwork": "regions/us-central1/subnetworks/coinbeam",
            "labels": {"environment": "production"},
        },
    }
    assert written["google"]["region"] == "us-central1"
    assert written["coingecko"] == {"plan": "analyst", "api_key_secret": SECRET}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param({"release": "Not Lower"}, "release", id="a release id in capitals"),
        pytest.param(
            {"google.project": None}, "google.project", id="no project, though a variable of this process names one"
        ),
        pytest.param({"google.projekt": "x"}, "google.projekt", id="a setting that does not exist"),
        pytest.param({"dataflow.max_workers": "many"}, "dataflow.max_workers", id="a number that is none"),
        pytest.param(
            {"dataflow.subnetwork": None}, "private workers reach nothing", id="private workers in no subnetwork"
        ),
        pytest.param(
            {"google.dataflow_service_account": None}, "the project's editor", id="workers without an account"
        ),
        pytest.param({"google.location": None, "market.period": None}, "google.location, market.period", id="defaults"),
        pytest.param({"coingecko.plan": None}, "has to say coingecko.plan", id="no plan of CoinGecko"),
        pytest.param({"coingecko.plan": "enterprise"}, "known plans", id="a plan that nobody sells"),
        pytest.param({"coingecko.plan": "keyless"}, "sends no key", id="a key that would not be sent"),
        pytest.param({"coingecko.api_key_secret": None}, "Secret Manager", id="no key, though a variable holds one"),
    ],
)
def test_a_wrong_setting_is_named_and_the_file_stays_as_it_was(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], said: str
) -> None:
    monkeypatch.setenv("COINBEAM_GOOGLE__PROJECT", "masked")
    monkeypatch.setenv("COINGECKO_API_KEY", "masked")
    before = write_deployment(VALUES, "production", checkout).read_text()
    with pytest.raises(SettingsError, match=said):
        write_deployment({**VALUES, **wrong}, "production", checkout)
    assert (checkout / "config" / "deployment.json").read_text() == before


@pytest.mark.parametrize(
    "changed",
    [
        pytest.param(
            {"dataflow.subnetwork": None, "dataflow.use_public_ips": True}, id="workers with public addresses"
        ),
        pytest.param(
            {"dataflow.subnetwork": None, "google.dataflow_service_account": None, "runner": "local"}, id="no Dataflow"
        ),
        pytest.param({"coingecko.plan": "keyless", "coingecko.api_key_secret": None}, id="a plan without a key"),
    ],
)
def test_what_a_deployment_does_not_use_it_need_not_say(checkout: Path, changed: dict[str, str]) -> None:
    assert write_deployment({**VALUES, **changed}, "production", checkout).is_file()


def test_terraform_knows_the_plans_that_the_settings_know() -> None:
    """Its default is the plan that production had before it could be said."""
    variable = (ROOT / "infra" / "variables.tf").read_text().partition('variable "coingecko_plan"')[2]
    [listed] = re.findall(r"contains\((\[.+?\]), var.coingecko_plan\)", variable)
    assert set(json.loads(listed)) == set(DEFAULT_PLANS)
    plan = yaml.safe_load((ROOT / "config" / "production.yaml").read_text())["coingecko"]["plan"]
    assert re.findall(r'default     = "(\w+)"', variable)[0] == plan


def test_a_first_file_that_is_wrong_is_not_left_behind(checkout: Path) -> None:
    with pytest.raises(SettingsError):
        write_deployment({"release": "x"}, "production", checkout)
    assert not (checkout / "config" / "deployment.json").exists()


@pytest.mark.parametrize("name", ["alerts.webhook_url", "coingecko.api_key", "lineage.transport"])
def test_a_secret_is_refused(checkout: Path, name: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is a secret") as caught:
        write_deployment({**VALUES, name: "hush"}, "production", checkout)
    assert "hush" not in str(caught.value)
    assert not (checkout / "config" / "deployment.json").exists()
