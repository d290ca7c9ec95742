"""BigQuery schema and DDL of a contract."""

import json
from collections.abc import Iterable
from datetime import date, datetime

from google.cloud import bigquery

from coinbeam.clock import format_instant
from coinbeam.contracts.model import Column, Contract, Granularity, load_all
from coinbeam.settings import SignalSettings
from coinbeam.sql_template import render


def schema(columns: Iterable[Column]) -> list[bigquery.SchemaField]:
    """Schema of a load job or a table, with modes and descriptions."""
    return [
        bigquery.SchemaField(c.name, c.type, mode="REQUIRED" if c.required else "NULLABLE", description=described(c))
        for c in columns
    ]


def staging_schema(columns: Iterable[Column]) -> list[bigquery.SchemaField]:
    """Schema of a staging table: everything nullable, so that the audit, not the load, says what is missing."""
    return [bigquery.SchemaField(c.name, c.type, mode="NULLABLE", description=described(c)) for c in columns]


_LEGACY_TYPES = {"INTEGER": "INT64", "FLOAT": "FLOAT64", "BOOLEAN": "BOOL"}


def standard_type(name: str) -> str:
    """The standard SQL name of a type; the API answers with the legacy one."""
    return _LEGACY_TYPES.get(name, name)


def table(contract: Contract, full_name: str, *, constraints: bool = True) -> bigquery.Table:
    """The table as the API creates it; the same content as :func:`ddl`.

    Args:
        full_name: ``project.dataset.table``.
        constraints: leave out the key (NOT ENFORCED) where the warehouse rejects it, as the emulator does.
    """
    made = bigquery.Table(full_name, schema=schema(contract.columns))
    made.description, made.labels = contract.description, labels(contract)
    made.clustering_fields = list(contract.clustering) or None
    if contract.partition_column:
        made.time_partitioning = bigquery.TimePartitioning(
            type_=contract.partition_granularity.upper(), field=contract.partition_column
        )
        made.require_partition_filter = True
    if constraints:
        key = bigquery.table.PrimaryKey(columns=list(contract.primary_key))
        made.table_constraints = bigquery.table.TableConstraints(primary_key=key, foreign_keys=None)
    return made


def described(column: Column) -> str:
    """The description as BigQuery shows it: meaning, then unit."""
    return f"{column.description}. Unit: {column.unit}"


def ddl(contract: Contract, dataset: str, *, constraints: bool = True) -> str:
    """``CREATE TABLE IF NOT EXISTS`` with partition, clustering, keys, descriptions and labels; a view over the logical
    datasets, with the signals by default.

    Args:
        dataset: real name of the dataset, with the project where wanted.
        constraints: leave out the key (NOT ENFORCED) where the warehouse rejects the clause, as the emulator does.
    """
    if contract.is_view:
        names = {c.name: f"`{c.dataset}.{c.name}`" for c in load_all().values()}
        return view_ddl(contract, dataset, render(contract.folder / "view.sql", **names, signals=SignalSettings()))
    lines = [_column_ddl(column) for column in contract.columns]
    if constraints:
        lines.append(f"PRIMARY KEY ({', '.join(contract.primary_key)}) NOT ENFORCED")
    body = ",\n  ".join(lines)
    return (
        f"CREATE TABLE IF NOT EXISTS `{dataset}.{contract.name}` (\n  {body}\n){_layout(contract)}\nOPTIONS "
        f"({_options(contract)});"
    )


def view_ddl(contract: Contract, dataset: str, query: str) -> str:
    """``CREATE OR REPLACE VIEW`` with descriptions and labels; the columns of the query are taken by name.

    Args:
        dataset: real name of the dataset, with the project where wanted.
    """
    names = ", ".join(column.name for column in contract.columns)
    columns = ",\n  ".join(f"{c.name} OPTIONS (description = {literal(described(c))})" for c in contract.columns)
    options = f"description = {literal(contract.description)}, labels = {_labels_ddl(contract)}"
    return (
        f"CREATE OR REPLACE VIEW `{dataset}.{contract.name}` (\n  {columns}\n)\nOPTIONS ({options})\nAS\n"
        f"SELECT {names}\nFROM (\n{query.strip()}\n);"
    )


def _column_ddl(column: Column) -> str:
    required = " NOT NULL" if column.required else ""
    return f"{column.name} {column.type}{required} OPTIONS (description = {literal(described(column))})"


def _layout(contract: Contract) -> str:
    column = contract.partition_column
    monthly = contract.partition_granularity is Granularity.MONTH
    partition = f"\nPARTITION BY {f'DATE_TRUNC({column}, MONTH)' if monthly else column}" if column else ""
    return partition + (f"\nCLUSTER BY {', '.join(contract.clustering)}" if contract.clustering else "")


def _options(contract: Contract) -> str:
    options = [f"description = {literal(contract.description)}", f"labels = {_labels_ddl(contract)}"]
    if contract.partition_column:
        options.append("require_partition_filter = TRUE")
    return ", ".join(options)


def _labels_ddl(contract: Contract) -> str:
    return f"[{', '.join(f'({literal(k)}, {literal(v)})' for k, v in labels(contract).items())}]"


def labels(contract: Contract) -> dict[str, str]:
    """Labels of the table, in the alphabet that BigQuery accepts."""
    return {"owner": contract.owner, "contract_version": contract.version.replace(".", "-")}


def add_column_ddl(contract: Contract, dataset: str, column: Column) -> str:
    """The additive migration: one nullable column."""
    return f"ALTER TABLE `{dataset}.{contract.name}` ADD COLUMN IF NOT EXISTS {_column_ddl(column)}"


def literal(value: str | date) -> str:
    """A BigQuery literal of a text, a date or an aware instant; JSON's escapes are a subset of those it reads."""
    if isinstance(value, datetime):
        return f"TIMESTAMP {literal(format_instant(value))}"
    return f"DATE {literal(value.isoformat())}" if isinstance(value, date) else json.dumps(value, ensure_ascii=False)
