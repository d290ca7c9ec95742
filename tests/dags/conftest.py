"""A DAG bag of our folder alone, with a database of its own."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from coinbeam.settings import Settings, load_settings
from local.airflow import airflow_environment
from tests.dags.description import read
from tests.temporary import temporary_settings

DESCRIBE = "from tests.dags.description import main; main()"
PRODUCTION = {
    "COINBEAM_ENV": "production",
    "COINBEAM_GOOGLE__PROJECT": "acme-crypto",
    "COINBEAM_STORAGE__BUCKET": "acme-market",
    "COINBEAM_GOOGLE__DATAFLOW_SERVICE_ACCOUNT": "flow@acme-crypto.iam.gserviceaccount.com",
    "COINBEAM_MARKET__SOURCE": "live",
    "COINBEAM_MARKET__PERIOD": "hourly",
    "COINBEAM_RETRY__RETRIES": "5",
    "AIRFLOW__SCHEDULER__CREATE_CRON_DATA_INTERVALS": "True",
    "AIRFLOW__SCHEDULER__CREATE_DELTA_DATA_INTERVALS": "True",
}
"""Airflow's own options are those that a deployment may have from an older one, and not the defaults."""


@pytest.fixture(scope="session")
def airflow_variables(
    tmp_path_factory: pytest.TempPathFactory, migrated_airflow: Callable[[Settings], None]
) -> dict[str, str]:
    """The environment of a migrated Airflow that has never run anything."""
    settings = temporary_settings(tmp_path_factory.mktemp("airflow_home"))
    migrated_airflow(settings)
    return airflow_environment(settings)


@pytest.fixture(scope="session")
def run_python(airflow_variables: dict[str, str]) -> Any:
    """Run a snippet in a fresh interpreter of that Airflow: importing Airflow here would fix its settings for every
    other test.
    """

    def run(snippet: str, **variables: str) -> str:
        environment = os.environ | airflow_variables | variables
        done = subprocess.run(
            [sys.executable, "-c", snippet], env=environment, capture_output=True, text=True, timeout=120, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout

    return run


@pytest.fixture(scope="session")
def described(run_python: Any) -> dict[str, Any]:
    """Our DAGs as Airflow reads them: see ``tests/dags/description.py``. One interpreter for all tests of a process."""
    return read(run_python(DESCRIBE))


@pytest.fixture(scope="session")
def described_production(run_python: Any) -> dict[str, Any]:
    """The same DAGs in a production environment that takes hourly snapshots and retries five times."""
    return read(run_python(DESCRIBE, **PRODUCTION))


@pytest.fixture(autouse=True)
def _forget_settings() -> Iterator[None]:
    load_settings.cache_clear()
    yield
    load_settings.cache_clear()
