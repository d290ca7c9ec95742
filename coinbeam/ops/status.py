"""The state of the warehouse in a few tables: freshness, last runs, refused records, incidents, calls left."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any

from coinbeam.batch.tables import SNAPSHOT_FACT
from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import Contract, load_all, load_contract
from coinbeam.ops.call_ledger import CallLedger
from coinbeam.ops.incidents import Incidents
from coinbeam.sources.registry import COINGECKO, COINGECKO_SIMULATOR
from coinbeam.warehouse.client import Warehouse

BEGINNING = "1970-01-01"
"""Before every row: partitioned tables ask for a filter."""

Row = dict[str, Any]


@dataclass(frozen=True)
class Block:
    """One table of the status: its rows by name of the column, and what it means in words that there is none."""

    title: str
    columns: tuple[str, ...]
    rows: list[Row]
    nothing: str = "None."


class Status:
    """Reads the state; a table that does not exist yet is shown as missing and is no error."""

    def __init__(self, warehouse: Warehouse, clock: Clock = utc_now) -> None:
        self._warehouse, self._clock = warehouse, clock

    def blocks(self) -> list[Block]:
        """Everything, in the order in which a person wants to read it.

        Raises:
            TransientError: the warehouse does not answer.
        """
        never = "No batch has run yet: `coinbeam run` makes the tables and the first one."
        pieces = ("backfill_id", *_PIECE_STATES, "last_change")
        return [
            Block("Freshness", _FRESHNESS_COLUMNS, self.freshness(), "No table promises freshness."),
            Block("Last batches", _BATCH_COLUMNS, self._of("ingestion_batch", last_batches), never),
            Block("Unresolved batches", _UNRESOLVED_COLUMNS, self._of("latest_ingestion_batch", _unresolved)),
            Block("Waiting for the marts", _WAITING_COLUMNS, self._of("publication", _waiting), "Nothing."),
            Block("Open rejects", ("batch_id", "reason", "records"), self._of("rejected_record", open_rejects)),
            Block("Open incidents", _INCIDENT_COLUMNS, self.incidents()),
            Block("API quota", _QUOTA_COLUMNS, self.quota(), ""),
            Block("Backfills", pieces, self._of("history_piece", _last_backfills)),
        ]

    def freshness(self) -> list[Row]:
        """The age of each table that promises freshness, by the column that its contract names."""
        return [self._freshness(contract) for contract in load_all().values() if contract.freshness_hours is not None]

    def _freshness(self, contract: Contract) -> Row:
        hours = contract.freshness_hours
        row: Row = {"table": contract.name, "newest": None, "age_hours": None, "stale_after_hours": hours}
        name = self._warehouse.table(contract)
        if not self._warehouse.exists(name):
            return row | {"state": "missing"}
        where = f" WHERE {contract.partition_column} >= '{BEGINNING}'" if contract.partition_column else ""
        rows = self._warehouse.rows(f"SELECT MAX({contract.freshness_column}) AS newest FROM `{name}`{where}")
        newest = rows[0]["newest"]
        if newest is None:
            return row | {"state": "empty"}
        # A day counts from its midnight, UTC.
        instant = newest if isinstance(newest, datetime) else datetime.combine(newest, time(), UTC)
        age = (self._clock() - instant).total_seconds() / 3600
        return row | {"newest": newest, "age_hours": round(age, 1), "state": contract.freshness_at(age)}

    def incidents(self) -> list[Row]:
        """What fails and was not over yet, the oldest first."""
        return [vars(incident) for incident in Incidents(self._warehouse).open()]

    def quota(self) -> list[Row]:
        """Calls of the present month, of the plan and, where it was used, of the simulator."""
        ledger = CallLedger(self._warehouse, self._warehouse.settings, self._clock)
        rows, plans = [], {COINGECKO.id: self._warehouse.settings.coingecko.plan, COINGECKO_SIMULATOR.id: "simulator"}
        for source_id, plan in plans.items():
            usage = ledger.usage(source_id)
            if source_id == COINGECKO.id or usage.used:
                known = {**vars(usage), "used_this_month": usage.used, "left": usage.left}
                rows.append({"source_id": source_id, "plan": plan, **known})
        return rows

    def _of(self, table: str, read: Callable[[Warehouse], list[Row]]) -> list[Row]:
        """The rows of a table, none where it does not exist yet."""
        name = self._warehouse.table(load_contract(table))
        return read(self._warehouse) if self._warehouse.exists(name) else []


_BATCH_COLUMNS = (
    "table_name",
    "batch_id",
    "status",
    "mode",
    "rows_published",
    "rows_rejected",
    "api_calls",
    "finished_at",
    "error_message",
)
_FRESHNESS_COLUMNS = ("table", "newest", "age_hours", "stale_after_hours", "state")
_UNRESOLVED_COLUMNS = ("table_name", "batch_id", "mode", "finished_at", "error_message")
_INCIDENT_COLUMNS = ("batch_id", "task_id", "error_class", "opened_at", "occurrences", "recovered_at", "message")
_QUOTA_COLUMNS = ("source_id", "plan", "calls_per_month", "spent", "reserved", "used_this_month", "left", "today")
_WAITING_COLUMNS = ("table_name", "publications", "first_date", "last_date", "waiting_since")
_PIECE_STATES = ("planned", "published", "empty", "failed")


def _unresolved(warehouse: Warehouse) -> list[Row]:
    """Every batch whose latest run failed, however long ago: nobody else will bring it."""
    table = warehouse.table(load_contract("latest_ingestion_batch"))
    return warehouse.rows(
        f"SELECT {', '.join(_UNRESOLVED_COLUMNS)} FROM `{table}` WHERE snapshot_date >= '{BEGINNING}' "
        "AND status = 'failed' ORDER BY finished_at DESC"
    )


def _waiting(warehouse: Warehouse) -> list[Row]:
    """Publishes that the marts have not seen: their DAG is paused, or has not run since."""
    table = warehouse.table(load_contract("publication"))
    return warehouse.rows(
        "SELECT table_name, COUNT(*) AS publications, MIN(first_date) AS first_date, MAX(last_date) AS last_date, "
        f"MIN(published_at) AS waiting_since FROM `{table}` WHERE refreshed_at IS NULL GROUP BY table_name "
        "ORDER BY table_name"
    )


def _last_backfills(warehouse: Warehouse) -> list[Row]:
    table = warehouse.table(load_contract("history_piece"))
    counts = ", ".join(f"COUNTIF(status = '{state}') AS {state}" for state in _PIECE_STATES)
    return warehouse.rows(
        f"SELECT backfill_id, {counts}, MAX(updated_at) AS last_change FROM `{table}` "
        "GROUP BY backfill_id ORDER BY last_change DESC LIMIT 5"
    )


def last_batches(warehouse: Warehouse, limit: int = 5) -> list[Row]:
    """The runs of each kind of batch that ended last, the newest first."""
    table = warehouse.table(load_contract("ingestion_batch"))
    kind = f"COALESCE(table_name, '{SNAPSHOT_FACT}')"
    return warehouse.rows(
        f"SELECT * FROM `{table}` WHERE snapshot_date >= '{BEGINNING}' "
        f"QUALIFY ROW_NUMBER() OVER (PARTITION BY {kind} ORDER BY finished_at DESC) <= {limit} "
        f"ORDER BY {kind}, finished_at DESC"
    )


def open_rejects(
    warehouse: Warehouse, batch: str | None = None, reason: str | None = None, limit: int = 20
) -> list[Row]:
    """How many records each batch refused in its latest run, by reason; at most so many pairs of the two."""
    table = warehouse.table(load_contract("rejected_record"))
    return warehouse.rows(
        f"SELECT batch_id, reason, COUNT(*) AS records FROM `{table}` WHERE snapshot_date >= '{BEGINNING}' "
        "AND (@batch IS NULL OR batch_id = @batch) AND (@reason IS NULL OR reason = @reason) "
        f"GROUP BY batch_id, reason ORDER BY batch_id DESC, records DESC LIMIT {limit}",
        batch=batch,
        reason=reason,
    )
