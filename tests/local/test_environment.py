"""The environment of child processes on the local cloud."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from coinbeam.errors import SettingsError
from coinbeam.settings import Environment, GoogleSettings, LocalSettings, PortSettings, Settings, StorageSettings
from local import environment as emulators

PORTS = PortSettings(bigquery=20_001, bigquery_grpc=20_002, storage=20_003, simulator=20_004, airflow=20_005)


def _settings(tmp_path: Path, **changes: object) -> Settings:
    values: dict[str, object] = {
        "environment": Environment.LOCAL,
        "google": GoogleSettings(project="some-project"),
        "storage": StorageSettings(bucket="some-bucket"),
        "local": LocalSettings(state_dir=tmp_path / "state", ports=PORTS),
    }
    return Settings(**(values | changes))


def test_google_clients_are_pointed_at_the_configured_ports(tmp_path: Path) -> None:
    env = emulators.environment(_settings(tmp_path))
    assert env["BIGQUERY_EMULATOR_HOST"] == "http://127.0.0.1:20001"
    assert env["STORAGE_EMULATOR_HOST"] == "http://127.0.0.1:20003"
    assert env["GOOGLE_CLOUD_PROJECT"] == "some-project"


def test_airflow_gets_an_anonymous_google_connection(tmp_path: Path) -> None:
    connection = json.loads(emulators.environment(_settings(tmp_path))["AIRFLOW_CONN_GOOGLE_CLOUD_DEFAULT"])
    assert connection == {
        "conn_type": "google_cloud_platform",
        "extra": {"is_anonymous": True, "project": "some-project"},
    }


def test_credentials_are_found_at_once_and_never_ask_for_a_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    google_auth = pytest.importorskip("google.auth")
    monkeypatch.setenv(
        "GOOGLE_APPLICATION_CREDENTIALS", emulators.environment(_settings(tmp_path))["GOOGLE_APPLICATION_CREDENTIALS"]
    )
    credentials, _ = google_auth.default()
    headers: dict[str, str] = {}
    credentials.before_request(_no_network, "GET", "http://127.0.0.1/", headers)
    assert credentials.valid
    assert headers["authorization"] == "Bearer local"


def _no_network(*_: object, **__: object) -> None:
    raise AssertionError("the credentials made a request")


def test_the_credentials_file_lies_in_the_state_folder_and_survives_a_second_call(tmp_path: Path) -> None:
    first, second = (
        Path(emulators.environment(_settings(tmp_path))["GOOGLE_APPLICATION_CREDENTIALS"]) for _ in range(2)
    )
    assert first == second
    assert first.is_relative_to(tmp_path / "state")
    assert [path.name for path in first.parent.iterdir()] == [first.name]


SHARED = {"google", "storage", "warehouse", "local"}


def test_a_child_process_reads_the_same_settings(tmp_path: Path) -> None:
    settings = _settings(tmp_path)
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("COINBEAM_")}
    code = f"from coinbeam.settings import load_settings; print(load_settings().model_dump_json(include={SHARED}))"
    child = subprocess.run(
        [sys.executable, "-c", code],
        env=inherited | emulators.environment(settings),
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert json.loads(child.stdout) == json.loads(settings.model_dump_json(include=SHARED))


def test_no_secret_is_passed_on(tmp_path: Path) -> None:
    settings = _settings(
        tmp_path, coingecko={"api_key": "CG-hidden"}, alerts={"webhook_url": "https://example.org/hidden"}
    )
    assert "hidden" not in " ".join(emulators.environment(settings).values())


def test_a_relative_state_folder_means_the_same_folder_in_a_child(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    settings = _settings(tmp_path, local=LocalSettings(state_dir=Path("here"), ports=PORTS))
    assert emulators.environment(settings)["COINBEAM_LOCAL__STATE_DIR"] == str(tmp_path / "here")


def test_production_has_no_emulators(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="COINBEAM_ENV=local"):
        emulators.environment(_settings(tmp_path, environment=Environment.PRODUCTION, market={"source": "live"}))


@pytest.mark.parametrize("name", ["100%41", "que?stion", "quo'te", "dol$lar`x", "a[1]", "a#b", 'a"b', "a;b"])
def test_a_folder_whose_name_means_something_else_is_refused_by_name(name: str, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="COINBEAM_LOCAL__STATE_DIR") as refused:
        emulators.environment(_settings(tmp_path / name))
    assert name in str(refused.value)


@pytest.mark.parametrize("name", ["with space", "ünïcode 漢字", "a-b_c.d+e=f,g@h~i(1)"])
def test_an_ordinary_odd_name_works(name: str, tmp_path: Path) -> None:
    assert str(tmp_path / name) in emulators.environment(_settings(tmp_path / name))["GOOGLE_APPLICATION_CREDENTIALS"]
