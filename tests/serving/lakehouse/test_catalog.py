"""Which catalog is used, and what its errors become."""

from pathlib import Path

import pytest
from google.api_core import exceptions as api
from pyiceberg import exceptions as iceberg
from sqlalchemy.exc import OperationalError

from coinbeam.errors import (
    CoinbeamError,
    DiskFullError,
    SettingsError,
    TerminalError,
    TransientError,
    WriteConflictError,
)
from coinbeam.settings import Environment, LakehouseSettings, MarketSource, Settings
from serving.lakehouse.catalog import BIGLAKE, Lakehouse, catalog_properties
from tests.temporary import temporary_settings


@pytest.fixture
def local(tmp_path: Path) -> Settings:
    """Settings of one machine."""
    return temporary_settings(tmp_path)


@pytest.fixture
def cloud(local: Settings) -> Settings:
    """Settings of the cloud."""
    return local.model_copy(
        update={
            "environment": Environment.PRODUCTION,
            "market": local.market.model_copy(update={"source": MarketSource.LIVE}),
            "google": local.google.model_copy(update={"project": "acme-data"}),
        }
    )


def test_one_machine_has_its_catalog_in_the_state_folder_and_files_in_the_emulator(local: Settings) -> None:
    found = catalog_properties(local, "gs://coinbeam/lakehouse")
    assert found["uri"] == f"sqlite:///{local.local.state_dir / 'lakehouse' / 'catalog.db'}"
    assert found["gcs.service.host"] == f"http://127.0.0.1:{local.local.ports.storage}"
    assert Lakehouse(local).location == "gs://coinbeam/lakehouse"


def test_the_cloud_has_biglake_by_googles_credentials(cloud: Settings) -> None:
    chosen = cloud.model_copy(update={"lakehouse": LakehouseSettings(catalog="rest", warehouse="gs://open/tables/")})
    location = Lakehouse(chosen).location
    found = catalog_properties(chosen, location)
    assert location == "gs://open/tables"
    assert (found["type"], found["uri"], found["warehouse"]) == ("rest", BIGLAKE, "gs://open")
    assert (found["auth"], found["header.x-goog-user-project"]) == ({"type": "google"}, "acme-data")
    assert "gcs.service.host" not in found


def test_a_file_on_one_machine_is_no_catalog_of_the_cloud(cloud: Settings) -> None:
    with pytest.raises(SettingsError, match="COINBEAM_LAKEHOUSE__CATALOG=rest"):
        catalog_properties(cloud, "gs://coinbeam/lakehouse")


SECRET = OperationalError("INSERT", {}, Exception("postgresql://u:hunter2@h/d is down"))
ERRORS: dict[str, tuple[Exception, type[CoinbeamError]]] = {
    "another writer": (iceberg.CommitFailedException("main has changed"), WriteConflictError),
    "a file that is gone": (FileNotFoundError("gs://b/x"), TerminalError),
    "a full disk": (OperationalError("INSERT", {}, Exception("database or disk is full")), DiskFullError),
    "a database that is down": (SECRET, TerminalError),
    "a catalog that refuses": (iceberg.ForbiddenError("no"), TerminalError),
    "a bucket that refuses": (api.Forbidden("no"), TerminalError),
    "a bucket that is down": (api.ServiceUnavailable("down"), TransientError),
    "no connection": (ConnectionError("refused"), TransientError),
}


@pytest.mark.parametrize(("raised", "kind"), ERRORS.values(), ids=ERRORS)
def test_errors_have_a_kind_and_a_remedy(raised: Exception, kind: type[CoinbeamError], local: Settings) -> None:
    with pytest.raises(CoinbeamError) as caught, Lakehouse(local).answering():
        raise raised
    assert type(caught.value) is kind
    assert caught.value.remedy
    assert "hunter2" not in str(caught.value)
