"""What an additive migration would change: the same that it changes, and nothing is changed by asking."""

import pytest

from coinbeam.errors import ContractError
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.dry_run import pending_changes
from coinbeam.warehouse.schema import ensure_schema
from tests.temporary import LocalCloud

pytestmark = pytest.mark.cloud


def test_an_empty_warehouse_lacks_everything_and_still_does_after_the_question(fresh_cloud: LocalCloud) -> None:
    warehouse = Warehouse(fresh_cloud.settings)
    foretold = pending_changes(fresh_cloud.settings)
    assert foretold == pending_changes(fresh_cloud.settings)
    assert len(foretold) > 15
    assert ensure_schema(warehouse) == foretold
    assert pending_changes(fresh_cloud.settings) == []

    table = f"{fresh_cloud.settings.warehouse.data_dataset}.fear_greed_fact"
    warehouse.query(f"DROP TABLE {table}")
    assert pending_changes(fresh_cloud.settings) == [f"created table {table}"]
    assert not warehouse.exists(table)

    warehouse.query(f"CREATE TABLE {table} (index_date STRING)")
    with pytest.raises(ContractError, match="fear_greed_fact cannot be migrated"):
        pending_changes(fresh_cloud.settings)
