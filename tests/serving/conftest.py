"""One made bundle for all tests of serving, and two servers over it: leave both as they are."""

from collections.abc import Iterator

import pytest

from serving.api.app import create_app
from serving.api.keys import Keys
from tests.serving.served import NOW, Made, listening, made_in


@pytest.fixture(scope="session")
def made_bundle(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Made]:
    """Settings, bucket and source of a bundle of 260 coins and 100 days, made once; nobody changes it."""
    with made_in(tmp_path_factory.mktemp("bundle")) as (_, made):
        yield made


@pytest.fixture(scope="session")
def api_url(made_bundle: Made) -> Iterator[str]:
    """The address of a running API that needs no key, such as ``http://127.0.0.1:40123``."""
    settings, bucket, _ = made_bundle
    with listening(create_app(settings, needs_key=False, bucket=bucket, clock=lambda: NOW)) as url:
        yield url


@pytest.fixture(scope="session")
def api_key(made_bundle: Made) -> str:
    """A key of the API, with room for the calls of all tests."""
    text, _ = Keys(made_bundle[1], lambda: NOW).create("tests", calls_per_minute=1_000_000)
    return text


@pytest.fixture(scope="session")
def keyed_api_url(made_bundle: Made, api_key: str) -> Iterator[str]:
    """The address of a running API that needs a key; ``api_key`` is one."""
    settings, bucket, _ = made_bundle
    assert api_key
    with listening(create_app(settings, needs_key=True, bucket=bucket, clock=lambda: NOW)) as url:
        yield url
