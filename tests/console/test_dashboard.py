"""The command that becomes the dashboard."""

import os
from typing import Any

import pytest

from coinbeam.errors import SettingsError
from coinbeam.settings import ROOT, load_settings
from console import serving


@pytest.fixture(autouse=True)
def started(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """What would be run, and where."""
    calls: list[Any] = []
    monkeypatch.setattr(serving, "prepare_here", lambda _: calls.append("prepared"))
    monkeypatch.setattr(os, "chdir", calls.append)
    monkeypatch.setattr(os, "execv", lambda _, words: calls.append(words))
    load_settings.cache_clear()
    return calls


def test_it_is_served_to_this_machine_from_where_its_secrets_are(
    started: list[Any], capsys: pytest.CaptureFixture[str]
) -> None:
    serving.open_dashboard(None, None)
    prepared, folder, words = started
    assert (prepared, folder) == ("prepared", ROOT)
    assert {"--server.address=127.0.0.1", "--server.port=8501"} <= set(words)
    assert "http://127.0.0.1:8501" in capsys.readouterr().out


def test_others_are_not_served_without_a_sign_in(started: list[Any]) -> None:
    with pytest.raises(SettingsError, match=r"0\.0\.0\.0 is reached by other machines"):
        serving.open_dashboard("0.0.0.0", None)
    assert started == []


def test_others_are_served_who_are_asked_who_they_are(started: list[Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBEAM_SERVING__SIGN_IN", "oidc")
    load_settings.cache_clear()
    serving.open_dashboard("0.0.0.0", 8080)
    load_settings.cache_clear()
    words = started[-1]
    assert {"--server.address=0.0.0.0", "--server.port=8080"} <= set(words)
    assert not any("allowedHosts" in word for word in words)
