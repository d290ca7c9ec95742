"""``config/deployment.json``: written only when the settings that it makes are right."""

import json
from pathlib import Path

import pytest

from coinbeam.errors import SettingsError
from deploy.configuration import nested, write_deployment

VALUES = {"release": "abc1234", "google.project": "acme", "storage.bucket": "acme-coinbeam"}


def test_dotted_names_become_sections_and_what_is_not_given_is_left_out() -> None:
    assert nested({"a": 1, "b.c": 2, "b.d.e": 3, "f": None}) == {"a": 1, "b": {"c": 2, "d": {"e": 3}}}


def test_settings_that_are_right_are_written(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBEAM_GOOGLE__REGION", "nowhere-of-this-process")
    path = write_deployment(
        {**VALUES, "market.period": "hourly", "dataflow.labels.environment": "production"}, "production", checkout
    )
    assert json.loads(path.read_text()) == {
        "environment": "production",
        "release": "abc1234",
        "google": {"project": "acme"},
        "storage": {"bucket": "acme-coinbeam"},
        "market": {"period": "hourly"},
        "dataflow": {"labels": {"environment": "production"}},
    }


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        pytest.param({"release": "Not Lower"}, "release", id="a release id in capitals"),
        pytest.param(
            {"google.project": None}, "google.project", id="no project, though a variable of this process names one"
        ),
        pytest.param({"google.projekt": "x"}, "google.projekt", id="a setting that does not exist"),
        pytest.param({"dataflow.max_workers": "many"}, "dataflow.max_workers", id="a number that is none"),
    ],
)
def test_a_wrong_setting_is_named_and_the_file_stays_as_it_was(
    checkout: Path, monkeypatch: pytest.MonkeyPatch, wrong: dict[str, str], said: str
) -> None:
    monkeypatch.setenv("COINBEAM_GOOGLE__PROJECT", "masked")
    before = write_deployment(VALUES, "production", checkout).read_text()
    with pytest.raises(SettingsError, match=said):
        write_deployment({**VALUES, **wrong}, "production", checkout)
    assert (checkout / "config" / "deployment.json").read_text() == before


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
