"""Staging tables: their names, and their life."""

import re
from dataclasses import replace
from datetime import timedelta

import pytest

from coinbeam.batch.kinds import Batch
from coinbeam.contracts import load_contract
from coinbeam.warehouse.staging import STAGING_LIFETIME, StagingTables
from tests.coinbeam.conftest import DAY, Stage, snapshot_batch
from tests.temporary import LocalCloud, temporary_settings

FACT = load_contract("crypto_market_snapshot_fact")


@pytest.fixture
def idle(tmp_path_factory: pytest.TempPathFactory) -> LocalCloud:
    """Settings of a local cloud that does not run."""
    return LocalCloud(temporary_settings(tmp_path_factory.mktemp("state")), {})


def test_staging_names_are_of_the_alphabet_of_tables(idle: LocalCloud) -> None:
    name = StagingTables(idle.settings, snapshot_batch("20260102T0000Z-usd-category-layer-1")).name(FACT)
    assert re.fullmatch(
        r"\w+\.crypto_market_snapshot_fact__20260102T0000Z_usd_category_layer_1_[0-9a-f]{12}", name, re.ASCII
    )


def test_the_name_of_a_long_category_stays_below_the_limit_of_file_names(idle: LocalCloud) -> None:
    name = StagingTables(idle.settings, snapshot_batch(f"20260102T0000Z-usd-category-{'a' * 500}")).name(FACT)
    assert len(name.partition(".")[2]) < 200


BATCH = snapshot_batch("20260102T0000Z-usd-category-layer-1")


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(replace(BATCH, batch_id="20260102T0000Z-usd-category-layer_1"), id="two batches"),
        pytest.param(replace(BATCH, batch_id=BATCH.batch_id + "a" * 200), id="two long names"),
        pytest.param(replace(BATCH, run_id="another"), id="two runs of one batch"),
        pytest.param(replace(BATCH, started_at="2026-01-02T00:00:01Z"), id="a run of the same name elsewhere"),
    ],
)
def test_a_staging_table_belongs_to_one_run(other: Batch, idle: LocalCloud) -> None:
    assert StagingTables(idle.settings, other).name(FACT) != StagingTables(idle.settings, BATCH).name(FACT)


@pytest.mark.cloud
def test_staging_is_emptied_for_every_try_and_expires_by_itself(stage: Stage) -> None:
    assets = load_contract("source_dim")
    staging = StagingTables(stage.warehouse.settings, snapshot_batch("b"))
    staging.create(stage.warehouse, [assets])
    stage.warehouse.query(f"INSERT INTO `{staging.name(assets)}` (source_id) VALUES ('left over')")
    staging.create(stage.warehouse, [assets])
    assert stage.warehouse.rows(f"SELECT * FROM `{staging.name(assets)}`") == []
    expires = stage.warehouse.client.get_table(f"local.{staging.name(assets)}", retry=None).expires
    assert expires is None or abs(expires - (DAY + STAGING_LIFETIME)) < timedelta(seconds=1)
    staging.drop(stage.warehouse, [assets])
    staging.drop(stage.warehouse, [assets])
    assert not stage.warehouse.exists(staging.name(assets))
