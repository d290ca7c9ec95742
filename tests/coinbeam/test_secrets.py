"""Where the key comes from, and that no log line shows it.

There is no Secret Manager emulator: a fake client class with the one method of the official client stands in, and the
official client is used only as far as it goes without an account.
"""

import subprocess
import sys
from types import SimpleNamespace

import pytest
from google.api_core import exceptions as api_exceptions
from google.auth import exceptions as auth_exceptions
from google.cloud import secretmanager
from pydantic import SecretStr

from coinbeam.errors import SettingsError, TransientError
from coinbeam.secrets import api_key, read_secret_version
from coinbeam.settings import CoinGeckoSettings

KEY = "CG-sentinelSENTINEL1234567890"
NAME = "projects/p/secrets/coingecko/versions/latest"


def never_read(name):
    raise AssertionError(f"Secret Manager was asked for {name}")


class FakeSecretManager:
    """Answers like ``SecretManagerServiceClient.access_secret_version``, or raises."""

    def __init__(self, payload=b"", error=None):
        self.payload = payload
        self.error = error
        self.asked = []

    def access_secret_version(self, *, name, timeout):
        assert timeout > 0
        self.asked.append(name)
        if self.error:
            raise self.error
        return SimpleNamespace(payload=SimpleNamespace(data=self.payload))


def test_the_environment_key_wins_over_secret_manager():
    settings = CoinGeckoSettings(plan="demo", api_key=SecretStr(KEY), api_key_secret=NAME)
    assert api_key(settings, never_read) == KEY


def test_white_space_around_a_key_is_dropped():
    assert api_key(CoinGeckoSettings(plan="demo", api_key=SecretStr(f" {KEY}\n"))) == KEY


@pytest.mark.parametrize("empty", [None, "", "  "], ids=["absent", "empty", "blank"])
def test_without_an_environment_key_the_secret_is_read(empty):
    manager = FakeSecretManager(f"{KEY}\n".encode())
    settings = CoinGeckoSettings(
        plan="analyst", api_key=None if empty is None else SecretStr(empty), api_key_secret=NAME
    )
    assert api_key(settings, lambda name: read_secret_version(name, manager)) == KEY
    assert manager.asked == [NAME]


@pytest.mark.parametrize("plan", ["demo", "basic", "analyst"])
def test_a_missing_key_names_the_settings_that_give_one(plan):
    with pytest.raises(
        SettingsError, match=rf"'{plan}', which needs an API key.*COINGECKO_API_KEY.*coingecko.api_key_secret"
    ):
        api_key(CoinGeckoSettings(plan=plan))


def test_the_keyless_plan_needs_nothing_and_asks_nobody():
    assert api_key(CoinGeckoSettings(plan="keyless", api_key_secret=NAME), never_read) is None


def test_a_key_that_the_plan_does_not_use_is_told_without_the_key(caplog):
    with pytest.raises(SettingsError, match=r"COINGECKO_API_KEY is set, but coingecko\.plan is 'keyless'") as refused:
        api_key(CoinGeckoSettings(plan="keyless", api_key=SecretStr(KEY)))
    assert KEY not in str(refused.value)
    assert "demo" in str(refused.value)
    assert KEY not in caplog.text


@pytest.mark.parametrize(
    "bad", [f"{KEY}\nx", f"{KEY} x", f"{KEY}é", f"{KEY}\x00x"], ids=["line break", "blank", "not ascii", "control"]
)
def test_a_key_that_no_header_can_hold_is_refused_without_being_shown(bad):
    with pytest.raises(SettingsError, match="COINGECKO_API_KEY") as caught:
        api_key(CoinGeckoSettings(plan="demo", api_key=SecretStr(bad)))
    assert KEY not in str(caught.value)


def test_a_secret_that_is_not_text_is_refused_without_being_shown():
    manager = FakeSecretManager(b"\xff\xfe" + KEY.encode())
    with pytest.raises(SettingsError, match="not text") as caught:
        api_key(CoinGeckoSettings(plan="demo", api_key_secret=NAME), lambda name: read_secret_version(name, manager))
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.parametrize(
    "error",
    [
        api_exceptions.PermissionDenied("no"),
        api_exceptions.NotFound("no"),
        api_exceptions.InvalidArgument("no"),
        auth_exceptions.DefaultCredentialsError("none"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_a_refused_secret_is_a_settings_error_with_the_role_to_give(error):
    with pytest.raises(SettingsError, match=rf"{NAME}: {type(error).__name__}.*secretAccessor"):
        read_secret_version(NAME, FakeSecretManager(error=error))


@pytest.mark.parametrize(
    "error",
    [api_exceptions.ServiceUnavailable("down"), api_exceptions.DeadlineExceeded("slow")],
    ids=lambda error: type(error).__name__,
)
def test_a_silent_secret_manager_is_transient(error):
    with pytest.raises(TransientError, match="did not give"):
        read_secret_version(NAME, FakeSecretManager(error=error))


def test_the_fake_has_the_method_of_the_official_client():
    assert callable(secretmanager.SecretManagerServiceClient.access_secret_version)
    request = secretmanager.AccessSecretVersionRequest(name=NAME)
    assert request.name == NAME


def test_secret_manager_is_not_imported_before_it_is_needed():
    code = (
        "import sys, coinbeam.secrets, coinbeam.sources.choose; sys.exit('google.cloud.secretmanager' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=60)
