"""A bundle in an emulator of this process, and the dashboard run on it without a browser."""

from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path

import pytest
import streamlit as st
from streamlit.testing.v1 import AppTest
from streamlit.util import calc_hash

from coinbeam.settings import Settings
from tests.deploy.emulator import Emulator, running
from tests.serving.dashboard.made import BUCKET, NOW, Market, build, settings_of

Opened = Callable[..., AppTest]


def script(settings, clock):  # type: ignore[no-untyped-def]  # runs as a file of its own, without these imports
    """What the application runs, with settings and a clock of the test."""
    from serving.dashboard.page import show

    show(settings, clock)


def opened(settings: Settings, path: str = "", now: datetime = NOW, **query: str) -> AppTest:
    """A page of the dashboard as an address names it."""
    app = AppTest.from_function(script, default_timeout=30, kwargs={"settings": settings, "clock": lambda: now})
    app._page_hash = calc_hash(path)  # AppTest only goes to pages that are files
    for name, value in query.items():
        app.query_params[name] = value
    app.run()
    assert not app.exception, app.exception
    return app


@pytest.fixture(autouse=True)
def _nothing_cached() -> None:
    st.cache_resource.clear()


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """Cloud Storage with an empty bucket."""
    with running() as server:
        server.create_bucket(BUCKET)
        yield server


@pytest.fixture
def settings(emulator: Emulator, tmp_path: Path) -> Settings:
    """The environment of that bucket."""
    return settings_of(emulator, tmp_path)


@pytest.fixture(scope="module")
def market(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The environment of a bucket that holds a market, shared by the tests of a module, which only read it."""
    with running() as server:
        server.create_bucket(BUCKET)
        settings = settings_of(server, tmp_path_factory.mktemp("market"))
        build(settings, Market())
        yield settings
