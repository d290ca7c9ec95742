"""Fixtures shared by all tests. The local cloud starts when the first test asks for it, once per test process."""

import os
from collections.abc import Callable, Iterator
from itertools import chain
from pathlib import Path
from shutil import copytree, ignore_patterns
from tempfile import TemporaryDirectory
from threading import Thread

import hypothesis
import pytest
from filelock import FileLock

from coinbeam import redaction
from coinbeam.settings import Settings, load_settings
from local.airflow import airflow_environment, migrate_database
from runs.airflow import airflow_home
from tests.end_to_end.warm import WarmAirflow
from tests.marks import held_to_its_marks, mark
from tests.temporary import LocalCloud, free_ports, fresh_resources, memory, temporary_cloud, temporary_settings
from tests.webhook import Webhook

# No test depends on the settings of the shell that it is started in.
for _name in [name for name in os.environ if name.startswith("COINBEAM_") or name == "COINGECKO_API_KEY"]:
    del os.environ[_name]

# Where a machine forbids bytecode, each of some hundred child processes would compile all that it imports anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# A busy machine is no fault of an example; every test has a time limit of its own.
hypothesis.settings.register_profile("coinbeam", deadline=None)
hypothesis.settings.load_profile("coinbeam")


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name binary values by their argument: gzip holds the second at which it was written, so that two workers that
    collect around its end would not have the same tests.
    """
    return argname if isinstance(val, bytes) and not val.isascii() else None


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Iterator[object]:
    """Hold a test to its marks, whichever tests were selected."""
    with held_to_its_marks(item):
        return (yield)


@pytest.hookimpl(wrapper=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> Iterator[None]:
    """Mark each test by what its fixtures start; keep tests together that share a fixture of their module, or each
    worker would make it anew; and start the longest tests first.

    They are shuffled in between: a long one at the end would keep one worker busy alone.
    """
    for item in items:
        mark(item)
        if shares_fixture(item):
            item.add_marker(pytest.mark.xdist_group(module_of(item)))
    yield
    ranks: dict[str, tuple[bool, bool]] = {}
    for item in items:
        rank = (item.get_closest_marker("timeout") is None, item.get_closest_marker("airflow") is None)
        ranks[module_of(item)] = min(rank, ranks.get(module_of(item), rank))
    items.sort(key=lambda item: ranks[module_of(item)])


def module_of(item: pytest.Item) -> str:
    """The file of a test."""
    return item.nodeid.partition("::")[0]


def shares_fixture(item: pytest.Item) -> bool:
    """Whether a test uses a fixture that is made once for its module."""
    if not isinstance(item, pytest.Function) or item.get_closest_marker("xdist_group"):
        return False
    return any(made.scope == "module" for made in chain.from_iterable(item._fixtureinfo.name2fixturedefs.values()))


@pytest.fixture(scope="session")
def migrated_airflow(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Callable[[Settings], None]:
    """Gives settings a migrated Airflow that has never run anything: the first process that asks makes its database,
    all others copy it.
    """
    base = tmp_path_factory.getbasetemp()
    shared = base if worker_id == "master" else base.parent
    template = temporary_settings(shared / "migrated")
    with FileLock(shared / "migrated.lock", timeout=200):
        migrate_database(template)

    def copy(settings: Settings) -> None:
        home = airflow_home(settings)
        if not home.exists():
            # Its configuration names folders of its own; Airflow writes another one.
            copytree(airflow_home(template), home, ignore=ignore_patterns("*.cfg", "logs"))

    return copy


@pytest.fixture(autouse=True)
def forget_secrets() -> Iterator[None]:
    """What a test made a secret may be a plain word of the next one."""
    yield
    redaction._SECRETS.clear()


@pytest.fixture
def free_port() -> int:
    """A port on which nobody listens."""
    return free_ports(1)[0]


@pytest.fixture(scope="session")
def local_cloud() -> Iterator[LocalCloud]:
    """BigQuery, Cloud Storage and a simulated market of 600 coins, shared by the tests of this process: leave other
    tests' data alone.
    """
    with (
        TemporaryDirectory(prefix="coinbeam-tests-", dir=memory(), ignore_cleanup_errors=True) as folder,
        temporary_cloud(Path(folder) / "local_cloud") as running,
    ):
        yield running


@pytest.fixture
def fresh_cloud(local_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch) -> Iterator[LocalCloud]:
    """The shared cloud with a bucket and datasets of this test alone; the test's own environment already points at
    it.
    """
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


@pytest.fixture(scope="session")
def warm_airflow(
    local_cloud: LocalCloud, migrated_airflow: Callable[[Settings], None], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[WarmAirflow]:
    """An Airflow on the shared cloud that is loaded once and forks for each run."""
    migrated_airflow(local_cloud.settings)
    running = WarmAirflow(airflow_environment(local_cloud.settings), tmp_path_factory.mktemp("warm") / "warm.log")
    yield running
    running.close()
