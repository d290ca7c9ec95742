"""Staging: the tables that hold rows until they are audited, and the MERGE of a few rows through such a table."""

import json
import re
import uuid
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from google.cloud import bigquery

from coinbeam.batch.digest import digest
from coinbeam.batch.kinds import Batch
from coinbeam.contracts import Column, Contract
from coinbeam.contracts.bigquery import staging_schema
from coinbeam.settings import Settings
from coinbeam.warehouse.client import Warehouse

STAGING_LIFETIME = timedelta(days=7)
"""How long a staging table outlives its run, for the person who wants to see why an audit failed."""

LONGEST_BATCH = 120
"""Characters of a batch id in the name of a staging table, which must stay below the limits of file names too."""


@dataclass(frozen=True)
class StagingTables:
    """The staging tables of one run of a batch: no other run writes into them."""

    settings: Settings
    batch: Batch

    @property
    def suffix(self) -> str:
        """The batch id in the alphabet of table names, as far as they are long, and the attempt."""
        plain = re.sub(r"[^0-9A-Za-z]", "_", self.batch.batch_id)
        return f"{plain[:LONGEST_BATCH]}_{self.batch.attempt}"

    def name(self, contract: Contract) -> str:
        """``dataset.table`` of the staging table of a contract."""
        return f"{self.settings.warehouse.staging_dataset}.{contract.name}__{self.suffix}"

    def create(self, warehouse: Warehouse, contracts: Iterable[Contract]) -> None:
        """Create the tables, empty; what an earlier try left in them is gone."""
        for contract in contracts:
            empty = _empty(warehouse, self.name(contract), contract.file_columns)
            with warehouse.answering():
                warehouse.client.delete_table(empty, not_found_ok=True, **warehouse.bounds)
                warehouse.client.create_table(empty, **warehouse.bounds)

    def drop(self, warehouse: Warehouse, contracts: Iterable[Contract]) -> None:
        """Drop the tables of a run that published."""
        for contract in contracts:
            with warehouse.answering():
                name = warehouse.full_name(self.name(contract))
                warehouse.client.delete_table(name, not_found_ok=True, **warehouse.bounds)


def merge_rows(warehouse: Warehouse, contract: Contract, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows of an ops table, or replace those with the same key; all of them or none.

    Rows are JSON-ready values by column; columns that a row leaves out become null.
    """
    if not rows:
        return
    columns = [column.name for column in contract.columns]
    body = "\n".join(json.dumps({name: row.get(name) for name in columns}, ensure_ascii=False) for row in rows).encode()
    name = f"{warehouse.dataset('crypto_staging')}.{contract.name}__{digest(uuid.uuid4().hex)}"
    staged = _empty(warehouse, name, contract.columns)
    match = [f"t.{key} = s.{key}" for key in contract.primary_key]
    if partition := contract.partition_column:  # prunes to the days of the rows
        days = [str(row[partition]) for row in rows]
        match.append(f"t.{partition} BETWEEN DATE '{min(days)}' AND DATE '{max(days)}'")
    assignments = ", ".join(f"{name} = s.{name}" for name in columns if name not in contract.primary_key)
    with warehouse.answering():
        warehouse.client.create_table(staged, **warehouse.bounds)
    try:
        warehouse.append(name, body)
        warehouse.query(
            f"MERGE `{warehouse.table(contract)}` AS t USING `{name}` AS s ON {' AND '.join(match)} "
            f"WHEN MATCHED THEN UPDATE SET {assignments} WHEN NOT MATCHED THEN "
            f"INSERT ({', '.join(columns)}) VALUES ({', '.join(f's.{column}' for column in columns)})"
        )
    finally:
        with warehouse.answering():
            warehouse.client.delete_table(staged, not_found_ok=True, **warehouse.bounds)


def _empty(warehouse: Warehouse, name: str, columns: Iterable[Column]) -> bigquery.Table:
    """A staging table as the API creates it; it expires by itself."""
    made = bigquery.Table(warehouse.full_name(name), schema=staging_schema(columns))
    made.expires = warehouse.clock() + STAGING_LIFETIME
    return made
