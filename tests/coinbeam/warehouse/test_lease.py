"""The lease: what is published is what the same run audited, whatever other runs of the batch do."""

from dataclasses import replace
from typing import Any

import pytest

from coinbeam.batch.kinds import Batch
from coinbeam.batch.tables import ASSETS
from coinbeam.batch.tables import SNAPSHOT_FACT as FACT
from coinbeam.contracts import load_contract
from coinbeam.errors import PublishBlockedError
from coinbeam.warehouse.lease import PublishLease, Seals
from coinbeam.warehouse.publish import publish_script, rejects_script
from coinbeam.warehouse.staging import StagingTables
from tests.coinbeam.conftest import Stage, asset_row, fact_row, snapshot_batch

pytestmark = pytest.mark.cloud

FIRST = snapshot_batch("batch")
SECOND = replace(FIRST, started_at="2026-01-02T00:10:00Z", run_id="second")


def staged(stage: Stage, batch: Batch, *assets: str) -> PublishLease:
    """A run of the batch with these assets in its staging."""
    stage.fill(batch, **{FACT: [fact_row(name) for name in assets], ASSETS: [asset_row(name) for name in assets]})
    return PublishLease(stage.warehouse, batch)


def audited(stage: Stage, batch: Batch, *assets: str) -> Seals:
    """A run that passed its audit."""
    lease = staged(stage, batch, *assets)
    lease.take(lease.seal([load_contract(FACT), load_contract(ASSETS)]))
    return lease.seals()


def visible(stage: Stage) -> list[str]:
    """The assets that readers see."""
    return [row["asset_id"] for row in stage.contents(FACT)]


def test_a_run_publishes_what_it_audited(stage: Stage) -> None:
    seals = audited(stage, FIRST, "bitcoin", "ethereum")
    stage.warehouse.query(publish_script(stage.warehouse, FIRST, seals))
    assert visible(stage) == ["bitcoin", "ethereum"]


def test_a_run_that_lays_out_its_staging_hides_nothing_of_another(stage: Stage) -> None:
    seals = audited(stage, FIRST, "bitcoin", "ethereum")
    staged(stage, SECOND)
    stage.warehouse.query(rejects_script(stage.warehouse, SECOND))
    stage.warehouse.query(publish_script(stage.warehouse, FIRST, seals))
    assert visible(stage) == ["bitcoin", "ethereum"]


def test_nothing_is_published_without_an_audit(stage: Stage) -> None:
    lease = staged(stage, FIRST, "bitcoin")
    with pytest.raises(PublishBlockedError, match="passed an audit"):
        lease.seals()


def test_the_run_that_audited_last_publishes_and_the_other_hears_of_it(stage: Stage) -> None:
    seals = audited(stage, FIRST, "bitcoin")
    others = audited(stage, SECOND, "bitcoin", "ethereum")
    with pytest.raises(PublishBlockedError, match=r"Run second audited batch after this one"):
        PublishLease(stage.warehouse, FIRST).seals()
    with pytest.raises(PublishBlockedError, match="another run audited the batch meanwhile"):
        stage.warehouse.query(publish_script(stage.warehouse, FIRST, seals))
    assert visible(stage) == []
    stage.warehouse.query(publish_script(stage.warehouse, SECOND, others))
    assert visible(stage) == ["bitcoin", "ethereum"]


def test_a_run_that_was_killed_after_its_audit_blocks_nobody(stage: Stage) -> None:
    audited(stage, FIRST, "bitcoin")
    seals = audited(stage, SECOND, "ethereum")
    stage.warehouse.query(publish_script(stage.warehouse, SECOND, seals))
    again = audited(stage, FIRST, "bitcoin")
    stage.warehouse.query(publish_script(stage.warehouse, FIRST, again))
    assert visible(stage) == ["bitcoin"]


@pytest.mark.parametrize(
    "change",
    [
        pytest.param("DELETE FROM {} WHERE asset_id = 'ethereum'", id="a row less"),
        pytest.param("DELETE FROM {} WHERE TRUE", id="no row left"),
        pytest.param("INSERT INTO {} (asset_id) VALUES ('dogecoin')", id="a row more"),
        pytest.param("UPDATE {} SET current_price = 0.3 WHERE asset_id = 'ethereum'", id="another last bit of a price"),
        pytest.param("UPDATE {} SET name = NULL WHERE asset_id = 'bitcoin'", id="a value less"),
    ],
)
def test_rows_that_changed_after_the_audit_are_not_published(change: str, stage: Stage) -> None:
    stage.publish("before", **{FACT: [fact_row("solana", batch="before")]})
    seals = audited(stage, FIRST, "bitcoin", "ethereum")
    name = StagingTables(stage.warehouse.settings, FIRST).name(load_contract(FACT))
    stage.warehouse.query(change.format(f"`{name}`"))
    with pytest.raises(PublishBlockedError, match=f"staged rows of {FACT} are no longer those that passed the audit"):
        stage.warehouse.query(publish_script(stage.warehouse, FIRST, seals))
    assert visible(stage) == ["solana"]


def test_a_seal_does_not_depend_on_the_order_of_rows(stage: Stage) -> None:
    tables: list[Any] = [load_contract(FACT)]
    one = staged(stage, FIRST, "bitcoin", "ethereum", "solana").seal(tables)
    assert staged(stage, SECOND, "solana", "bitcoin", "ethereum").seal(tables) == one
    assert one[FACT].startswith("3:")


def test_two_rows_of_a_lease_written_at_the_same_moment_do_no_harm(stage: Stage) -> None:
    table = stage.warehouse.table(load_contract("publish_lease"))
    stage.warehouse.query(f"INSERT INTO `{table}` (batch_id, touched_at) VALUES ('batch', CURRENT_TIMESTAMP())")
    first = audited(stage, FIRST, "bitcoin")
    stage.warehouse.query(f"INSERT INTO `{table}` (batch_id, touched_at) VALUES ('batch', CURRENT_TIMESTAMP())")
    others = audited(stage, SECOND, "ethereum")
    with pytest.raises(PublishBlockedError, match="another run"):
        stage.warehouse.query(publish_script(stage.warehouse, FIRST, first))
    stage.warehouse.query(publish_script(stage.warehouse, SECOND, others))
    assert visible(stage) == ["ethereum"]
