"""The newest version is asked for once for all who look, and an older one is kept while it cannot be read."""

from pathlib import Path
from typing import Any

import pytest
from google.auth.exceptions import DefaultCredentialsError

from coinbeam.bundle.manifest import POINTER
from coinbeam.errors import TransientError
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import Environment, Settings
from serving.dashboard.versions import CLOUD, LOCAL, Versions, environments
from tests.serving.dashboard.made import Market, build

_WAIT = 10.0


class Time:
    """A clock that a test turns."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


def test_the_bucket_is_asked_once_in_a_while(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    build(settings, Market())
    time, asked = Time(), []
    read = Bucket.read_text
    monkeypatch.setattr(Bucket, "read_text", lambda self, path: asked.append(path) or read(self, path))
    versions = Versions(LOCAL, settings, _WAIT, monotonic=time)
    first = versions.newest()
    assert first.shown is not None
    assert versions.newest() is first
    time.now += _WAIT
    assert versions.newest().shown is first.shown, "the same version is not opened again"
    assert asked == [POINTER, POINTER]


def test_what_is_shown_stays_while_the_bucket_does_not_answer(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    build(settings, Market())
    time = Time()
    versions = Versions(LOCAL, settings, _WAIT, monotonic=time)
    shown = versions.newest().shown

    def refuse(*_: Any) -> str:
        raise TransientError("The bucket does not answer.")

    with monkeypatch.context() as broken:
        broken.setattr(Bucket, "read_text", refuse)
        time.now += _WAIT
        look = versions.newest()
    assert look.shown is shown
    assert str(look.fault) == "The bucket does not answer."
    time.now += _WAIT
    assert versions.newest().fault is None


def test_without_credentials_the_way_to_some_is_told(settings: Settings) -> None:
    def refuse(_: Settings) -> Any:
        raise DefaultCredentialsError("no credentials")  # type: ignore[no-untyped-call]

    look = Versions(CLOUD, settings, _WAIT, refuse).newest()
    assert look.shown is None
    assert "gcloud auth application-default login" in str(look.fault)


def test_a_cloud_is_a_second_environment_with_a_bucket_and_copies_of_its_own(
    settings: Settings, tmp_path: Path
) -> None:
    assert list(environments(settings)) == [LOCAL]
    both = settings.model_copy(
        update={
            "serving": settings.serving.model_copy(update={"cloud_bucket": "acme", "cache_dir": tmp_path / "copies"})
        }
    )
    found = environments(both)
    assert list(found) == [LOCAL, CLOUD]
    assert (found[CLOUD].storage.bucket, found[CLOUD].is_local) == ("acme", False)
    assert found[CLOUD].serving.cache_dir == tmp_path / "copies-cloud"


def test_a_deployment_shows_itself_alone(settings: Settings) -> None:
    serving = settings.serving.model_copy(update={"cloud_bucket": "acme"})
    deployed = settings.model_copy(update={"environment": Environment.PRODUCTION, "serving": serving})
    assert environments(deployed) == {CLOUD: deployed}
