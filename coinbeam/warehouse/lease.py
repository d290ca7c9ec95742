"""The lease of a publish: one run at a time may publish a batch, and only the rows that it audited.

Runs of one batch stage their rows apart. The run that passed its audit last holds the lease of the batch, with a seal
of each staged table: number and digest of its rows. The publish checks both within its transaction. A run that was
killed blocks nobody, since an audit takes the lease from whoever held it.
"""

import json
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from coinbeam.batch.kinds import Batch
from coinbeam.clock import format_instant
from coinbeam.contracts import Contract, load_contract
from coinbeam.contracts.bigquery import literal
from coinbeam.errors import PublishBlockedError
from coinbeam.sql_template import render
from coinbeam.warehouse.client import REFUSES, Warehouse
from coinbeam.warehouse.conflicts import until_no_conflict
from coinbeam.warehouse.staging import StagingTables

LEASE = "publish_lease"
Seals = Mapping[str, str]
"""Number and digest of staged rows, as one text, by contract name."""


class PublishLease:
    """The lease of one batch, in ``crypto_ops.publish_lease``."""

    def __init__(self, warehouse: Warehouse, batch: Batch) -> None:
        self._warehouse, self._batch = warehouse, batch
        self._contract = load_contract(LEASE)
        self._target = f"`{warehouse.table(self._contract)}`"
        self._retrying = until_no_conflict()

    def lay_out(self) -> None:
        """Make the row of the batch where there is none; its holder does not change."""
        self._run("lay_out", batch_id=self._batch.batch_id, now=self._warehouse.clock())

    def seal(self, contracts: Iterable[Contract]) -> Seals:
        """Number and digest of the rows that are staged now."""
        rows = self._warehouse.rows(self._sql("seal", staged=self._staged(contract.name for contract in contracts)))
        return {row["name"]: row["seal"] for row in rows}

    def take(self, seals: Seals) -> None:
        """Make the present run the holder, for the rows of these seals.

        Raises:
            WriteConflictError: other runs were first, again and again.
        """
        self._run(
            "take",
            batch_id=self._batch.batch_id,
            attempt=self._batch.attempt,
            run_id=self._batch.run_id,
            seals=json.dumps(seals, sort_keys=True),
            now=self._warehouse.clock(),
        )

    def seals(self) -> Seals:
        """The seals of the rows that the present run may publish.

        Raises:
            PublishBlockedError: it has not passed the audit, or another run audited the batch after it.
        """
        sql = f"SELECT attempt, run_id, audited_at, seals FROM {self._target} WHERE batch_id = @batch_id"
        held = [row for row in self._warehouse.rows(sql, batch_id=self._batch.batch_id) if row["attempt"]]
        if any(row["attempt"] != self._batch.attempt for row in held):
            raise PublishBlockedError(self._lost(held[0]), "Look at that run; clear this one if it did not publish.")
        if not held:
            problem = f"Nothing of {self._batch.batch_id} passed an audit, so nothing may be published."
            raise PublishBlockedError(problem, "Clear the task `audit` or the whole run.")
        found: Seals = json.loads(held[0]["seals"])
        return found

    def _lost(self, row: Mapping[str, Any]) -> str:
        at = format_instant(row["audited_at"])
        return f"Run {row['run_id']} audited {self._batch.batch_id} after this one, at {at}, and publishes it."

    def hold(self) -> str:
        """The first statement of every transaction on the batch: it makes them take turns."""
        return self._sql("hold", batch_id=literal(self._batch.batch_id))

    def guard(self, seals: Seals) -> str:
        """The statement that ends a transaction whose lease or staged rows are no longer those of the audit."""
        batch = self._batch
        return self._sql(
            "guard",
            batch_id=literal(batch.batch_id),
            attempt=literal(batch.attempt),
            refuses=REFUSES,
            seals=seals,
            staged=self._staged(seals),
        )

    def _staged(self, names: Iterable[str]) -> dict[str, str]:
        staging = StagingTables(self._warehouse.settings, self._batch)
        return {name: f"`{staging.name(load_contract(name))}`" for name in names}

    def _sql(self, statement: str, **values: Any) -> str:
        return render(self._contract.folder / f"{statement}.sql", target=self._target, **values)

    def _run(self, statement: str, **parameters: Any) -> None:
        query: Callable[..., Any] = self._warehouse.query
        self._retrying(query, self._sql(statement), **parameters)
