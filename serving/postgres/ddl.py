"""Statements that make the core: tables with keys and comments, and additive migrations of them."""

from collections.abc import Iterator

from psycopg import Connection, sql

from coinbeam.contracts import Column
from coinbeam.contracts.bigquery import described
from coinbeam.errors import ContractError
from serving.postgres.core import TYPES, CoreTable

_COLUMNS = "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = %s AND table_name = %s"


def ensure(connection: Connection, schema: str, tables: list[CoreTable]) -> None:
    """Make what is missing: the schema, tables, columns; and renew the comments.

    Raises:
        ContractError: a column has another type than its contract says.
    """
    connection.execute(sql.SQL("CREATE SCHEMA IF NOT EXISTS {}").format(sql.Identifier(schema)))
    for table in tables:
        present: dict[str, str] = dict(connection.execute(_COLUMNS, [schema, table.name]).fetchall())
        if not present:
            connection.execute(create_table(schema, table))
        else:
            _refuse_other_types(table, present)
        for statement in _additions(schema, table, set(present)):
            connection.execute(statement)
        for statement in _comments(schema, table):
            connection.execute(statement)


def qualified(schema: str, name: str) -> sql.Composed:
    """``"schema"."table"``."""
    return sql.SQL("{}.{}").format(sql.Identifier(schema), sql.Identifier(name))


def names(columns: tuple[str, ...]) -> sql.Composed:
    """Quoted names with commas between."""
    return sql.SQL(", ").join(map(sql.Identifier, columns))


def create_table(schema: str, table: CoreTable) -> sql.Composed:
    """``CREATE TABLE`` with its key and foreign keys."""
    lines = [_column(table, column) for column in table.columns]
    lines.append(sql.SQL("PRIMARY KEY ({})").format(names(table.key)))
    for reference in table.references:
        lines.append(
            sql.SQL("FOREIGN KEY ({}) REFERENCES {}{}").format(
                names(reference.columns),
                qualified(schema, reference.table),
                sql.SQL(" ON DELETE CASCADE" if reference.cascades else ""),
            )
        )
    return sql.SQL("CREATE TABLE {} (\n  {}\n)").format(qualified(schema, table.name), sql.SQL(",\n  ").join(lines))


def _column(table: CoreTable, column: Column) -> sql.Composed:
    required = sql.SQL(" NOT NULL" if table.is_required(column) else "")
    return sql.SQL("{} {}{}").format(sql.Identifier(column.name), sql.SQL(TYPES[column.type]), required)


def _additions(schema: str, table: CoreTable, present: set[str]) -> Iterator[sql.Composed]:
    """New columns of a table that is there, and the indexes of what refers, or is deleted by its date."""
    target = qualified(schema, table.name)
    for column in table.columns if present else ():
        if column.name not in present:
            yield sql.SQL("ALTER TABLE {} ADD COLUMN {}").format(target, _column(table, column))
    indexed = [reference.columns for reference in table.references if reference.columns != table.key]
    for columns in [*indexed, *([(table.when,)] if table.when else [])]:
        name = sql.Identifier(f"{table.name}_by_{'_'.join(columns)}")
        yield sql.SQL("CREATE INDEX IF NOT EXISTS {} ON {} ({})").format(name, target, names(columns))


def _comments(schema: str, table: CoreTable) -> Iterator[sql.Composed]:
    target = qualified(schema, table.name)
    yield sql.SQL("COMMENT ON TABLE {} IS {}").format(target, sql.Literal(table.contract.description))
    for column in table.columns:
        comment = sql.Literal(described(column))
        yield sql.SQL("COMMENT ON COLUMN {}.{} IS {}").format(target, sql.Identifier(column.name), comment)


def _refuse_other_types(table: CoreTable, present: dict[str, str]) -> None:
    faults = [
        f"{column.name} is {present[column.name]}, in the contract {TYPES[column.type]}"
        for column in table.columns
        if present.get(column.name, TYPES[column.type]) != TYPES[column.type]
    ]
    if faults:
        raise ContractError(
            f"The table {table.name} in PostgreSQL cannot follow its contract: {'; '.join(faults)}.",
            "Only columns are added. Rename the schema, or drop the table, and export anew.",
        )
