"""The state of the warehouse, on the emulator."""

from datetime import timedelta
from typing import Any

import pytest

from coinbeam.batch.tables import DAILY_FACT, SNAPSHOT_FACT
from coinbeam.contracts import load_all, load_contract
from coinbeam.marts.refresh import Marts
from coinbeam.ops.call_ledger import CallLedger
from coinbeam.ops.incidents import Failure, Incidents
from coinbeam.ops.status import Status, last_batches, open_rejects
from coinbeam.sources.registry import COINGECKO, COINGECKO_SIMULATOR
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.staging import merge_rows
from tests.coinbeam.conftest import DAY, Stage, fact_row, reject_row
from tests.temporary import LocalCloud

pytestmark = pytest.mark.cloud


def status(stage: Stage, hours: float = 1) -> Status:
    """The status, some hours after the snapshot."""
    return Status(stage.warehouse, lambda: DAY + timedelta(hours=hours))


def promising() -> set[str]:
    """The tables whose contract promises freshness."""
    return {contract.name for contract in load_all().values() if contract.freshness_hours is not None}


def record(stage: Stage, batch: str, table: str | None, hour: int) -> None:
    """A row of ``ingestion_batch``."""
    contract = load_contract("ingestion_batch")
    row: dict[str, Any] = {c.name: 0 if c.type == "INT64" else "x" for c in contract.columns if c.required}
    instants = {
        name: (DAY + timedelta(hours=hour)).isoformat() for name in ("snapshot_at", "started_at", "finished_at")
    }
    row |= instants | {"snapshot_date": f"{DAY:%Y-%m-%d}", "batch_id": batch, "table_name": table}
    merge_rows(stage.warehouse, contract, [row])


@pytest.mark.parametrize(("hours", "state"), [(25.0, "fresh"), (27.0, "stale"), (75.0, "too old")])
def test_freshness_is_judged_by_the_bounds_of_the_contract(stage: Stage, hours: float, state: str) -> None:
    stage.publish("batch", **{SNAPSHOT_FACT: [fact_row("bitcoin")]})
    rows = {row["table"]: row for row in status(stage, hours).freshness()}
    assert set(rows) == promising()
    fact = rows[SNAPSHOT_FACT]
    assert (fact["newest"], fact["age_hours"], fact["state"]) == (DAY, hours, state)
    assert rows["fear_greed_fact"]["state"] == "empty"


def test_the_age_of_a_table_of_days_counts_from_midnight(stage: Stage) -> None:
    table = stage.warehouse.table(load_contract("fear_greed_fact"))
    stage.warehouse.query(
        f"INSERT INTO `{table}` (date, value, classification, observed_at, ingested_at, source_id, batch_id) "
        f"VALUES (DATE '2026-01-02', 50, 'Neutral', TIMESTAMP '{DAY:%Y-%m-%d}', TIMESTAMP '{DAY:%Y-%m-%d}', 's', 'b')"
    )
    (row,) = (row for row in status(stage, 30).freshness() if row["table"] == "fear_greed_fact")
    assert (row["newest"], row["age_hours"], row["state"]) == (DAY.date(), 30.0, "fresh")


def test_every_kind_of_batch_shows_its_last_runs(stage: Stage) -> None:
    for hour in range(7):
        record(stage, f"snapshot-{hour}", None if hour < 2 else SNAPSHOT_FACT, hour)
    record(stage, "history", DAILY_FACT, 0)
    batches = [row["batch_id"] for row in last_batches(stage.warehouse, limit=3)]
    assert batches == ["history", "snapshot-6", "snapshot-5", "snapshot-4"], (
        "an older row of another kind is not crowded out"
    )


def test_publishes_that_the_marts_have_not_seen_are_waiting(stage: Stage) -> None:
    def waiting() -> list[tuple[Any, ...]]:
        (block,) = (block for block in status(stage).blocks() if block.title == "Waiting for the marts")
        return [(row["table_name"], row["publications"], row["first_date"]) for row in block.rows]

    stage.publish("batch", **{SNAPSHOT_FACT: [fact_row("bitcoin")]})
    assert waiting() == [(SNAPSHOT_FACT, 1, DAY.date())]
    Marts(stage.warehouse, stage.warehouse.settings, lambda: DAY).refresh()
    assert waiting() == []


def test_rejects_are_counted_by_batch_and_reason(stage: Stage) -> None:
    rows = [reject_row(1), reject_row(2), reject_row(3, reason="too_long")]
    stage.publish("batch", **{SNAPSHOT_FACT: [fact_row("bitcoin")], "rejected_record": rows})
    assert [(r["batch_id"], r["reason"], r["records"]) for r in open_rejects(stage.warehouse)] == [
        ("batch", "negative", 2),
        ("batch", "too_long", 1),
    ]
    assert [r["records"] for r in open_rejects(stage.warehouse, reason="too_long")] == [1]
    assert open_rejects(stage.warehouse, batch="another") == []


def test_the_quota_is_what_the_ledger_says(stage: Stage) -> None:
    book = CallLedger(stage.warehouse, stage.warehouse.settings, lambda: DAY)
    book.settle(book.reserve("fetch", "b", 10, COINGECKO.id), 7)
    book.reserve("fetch", "b", 5, COINGECKO.id)
    (row,) = status(stage).quota()
    assert (row["spent"], row["reserved"], row["used_this_month"], row["left"], row["today"]) == (7, 5, 12, 9_988, 12)
    book.reserve("fetch", "b", 3, COINGECKO_SIMULATOR.id)
    assert [row["source_id"] for row in status(stage).quota()] == [COINGECKO.id, COINGECKO_SIMULATOR.id]


def test_open_incidents_and_backfills_are_shown(stage: Stage) -> None:
    Incidents(stage.warehouse, lambda: DAY).report(
        Failure("etl", "audit", "PublishBlockedError", "audit failed", "5 rules", "r")
    )
    contract = load_contract("history_piece")
    for number, state in enumerate(["planned", "published", "published", "failed"]):
        row: dict[str, Any] = {c.name: 0 if c.type == "INT64" else "x" for c in contract.columns if c.required}
        row |= {
            "asset_id": f"a{number}",
            "first_date": "2025-01-01",
            "last_date": "2025-12-31",
            "status": state,
            "backfill_id": "b",
        }
        row |= {c.name: DAY.isoformat() for c in contract.columns if c.type == "TIMESTAMP"}
        merge_rows(stage.warehouse, contract, [row])
    blocks = {block.title: block.rows for block in status(stage).blocks()}
    assert [row["task_id"] for row in blocks["Open incidents"]] == ["audit"]
    (backfill,) = blocks["Backfills"]
    assert {state: backfill[state] for state in ("planned", "published", "empty", "failed")} == {
        "planned": 1,
        "published": 2,
        "empty": 0,
        "failed": 1,
    }


def test_a_warehouse_without_tables_has_a_state_too(fresh_cloud: LocalCloud) -> None:
    blocks = {block.title: block for block in Status(Warehouse(fresh_cloud.settings), lambda: DAY).blocks()}
    assert {row["state"] for row in blocks["Freshness"].rows} == {"missing"}
    assert blocks["Last batches"].rows == []
    assert "coinbeam run" in blocks["Last batches"].nothing
    assert blocks["API quota"].rows[0]["left"] == 10_000
