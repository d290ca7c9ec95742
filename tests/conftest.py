"""Fixtures shared by all tests. The local cloud starts when the first test asks for it, once per test process."""

from collections.abc import Iterator
from threading import Thread

import hypothesis
import pytest

from coinbeam.settings import load_settings
from local.temporary import LocalCloud, free_ports, fresh_resources, temporary_cloud
from tests.webhook import Webhook

# A busy machine is no fault of an example; every test has a time limit of its own.
hypothesis.settings.register_profile("coinbeam", deadline=None)
hypothesis.settings.load_profile("coinbeam")


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Start the longest tests first, in whatever order they were shuffled: a long one at the end would keep one worker busy alone."""
    items.sort(key=lambda item: (item.get_closest_marker("timeout") is None, item.get_closest_marker("airflow") is None))


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def local_cloud(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LocalCloud]:
    """BigQuery, Cloud Storage and a simulated market of 600 coins, shared by the tests of this process: leave other tests' data alone."""
    with temporary_cloud(tmp_path_factory.mktemp("local_cloud")) as running:
        yield running


@pytest.fixture
def fresh_cloud(local_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    """The shared cloud with a bucket and datasets of this test alone; the test's own environment already points at it."""
    fresh = fresh_resources(local_cloud)
    for name, value in fresh.env.items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    yield fresh
    load_settings.cache_clear()


@pytest.fixture
def webhook() -> Iterator[Webhook]:
    """A webhook for one test."""
    with Webhook() as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        yield server
        server.shutdown()
        thread.join()
