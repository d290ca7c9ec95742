"""Staging tables: their names, and their life."""

from datetime import timedelta

import pytest

from coinbeam.contracts import load_contract
from coinbeam.warehouse.staging import STAGING_LIFETIME, StagingTables
from tests.coinbeam.conftest import DAY, Stage
from tests.temporary import LocalCloud, temporary_settings

FACT = load_contract("crypto_market_snapshot_fact")


@pytest.fixture
def idle(tmp_path_factory: pytest.TempPathFactory) -> LocalCloud:
    """Settings of a local cloud that does not run."""
    return LocalCloud(temporary_settings(tmp_path_factory.mktemp("state")), {})


def test_staging_names_are_of_the_alphabet_of_tables(idle: LocalCloud) -> None:
    staging = StagingTables(idle.settings, "20260102T0000Z-usd-category-layer-1")
    assert staging.name(FACT).endswith(".crypto_market_snapshot_fact__20260102T0000Z_usd_category_layer_1")


def test_two_batches_never_share_a_staging_table(idle: LocalCloud) -> None:
    names = {
        StagingTables(idle.settings, f"20260102T0000Z-usd-category-{c}").name(FACT) for c in ("layer-1", "layer_1")
    }
    assert len(names) == 2


@pytest.mark.cloud
def test_staging_is_emptied_for_every_try_and_expires_by_itself(stage: Stage) -> None:
    assets = load_contract("source_dim")
    staging = StagingTables(stage.warehouse.settings, "b")
    staging.create(stage.warehouse, [assets])
    stage.warehouse.query(f"INSERT INTO `{staging.name(assets)}` (source_id) VALUES ('left over')")
    staging.create(stage.warehouse, [assets])
    assert stage.warehouse.rows(f"SELECT * FROM `{staging.name(assets)}`") == []
    expires = stage.warehouse.client.get_table(f"local.{staging.name(assets)}", retry=None).expires
    assert expires is None or abs(expires - (DAY + STAGING_LIFETIME)) < timedelta(seconds=1)
    staging.drop(stage.warehouse, [assets])
    staging.drop(stage.warehouse, [assets])
    assert not stage.warehouse.exists(staging.name(assets))
