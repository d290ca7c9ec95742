"""Commands that only read the warehouse."""

from collections.abc import Iterable, Iterator
from typing import Any

from google.cloud import bigquery
from sqlglot import exp
from sqlglot.errors import SqlglotError

from coinbeam.contracts import load_all
from coinbeam.errors import SettingsError
from coinbeam.ops.status import Status
from coinbeam.settings import load_settings
from coinbeam.warehouse.client import Warehouse
from console.output import Format, heading, say, show, show_summary_table, warn
from console.partitions import statements, unbounded_tables

_NARROW = {
    "Last batches": ("batch_id", "status", "rows_published", "finished_at"),
    "API quota": ("source_id", "plan", "left", "calls_per_month", "today"),
}
"""What matters most of a block, for a terminal that is too narrow for all of it."""

_LONG_TEXTS = ("error_message", "message")
"""Columns whose texts stand below their table."""


def run_query(sql: str, form: Format, *, may_write: bool = False) -> None:
    """Run a query and show its rows.

    Raises:
        SettingsError: it would change the warehouse, and nobody said that it may.
    """
    warehouse = Warehouse(load_settings())
    try:
        parsed = statements(sql)
    except SqlglotError:  # BigQuery knows what its own SQL is, and says what is wrong with it
        parsed = []
    if not may_write:
        _refuse_changes(warehouse, sql, parsed)
    if warehouse.settings.is_local:  # BigQuery itself says so, with an error
        _tell_unbounded(parsed)
    rows = warehouse.query(sql)
    columns = [field.name for field in rows.schema or []]
    if not columns and form is Format.TABLE:
        say("Done.")
        return
    show(columns, _streamed(warehouse, rows), form)


def _refuse_changes(warehouse: Warehouse, sql: str, parsed: list[exp.Expr]) -> None:
    changing = [one for one in parsed if not isinstance(one, exp.Query) and not one.find(exp.TemporaryProperty)]
    kinds = [one.sql("bigquery").split()[0].upper() for one in changing]
    if not parsed:
        with warehouse.answering():
            asked = bigquery.QueryJobConfig(dry_run=True)
            kind = warehouse.client.query(sql, job_config=asked, **warehouse.bounds).statement_type
        kinds = [] if kind in {None, "SELECT"} else [str(kind)]
    if kinds:
        raise SettingsError(f"{kinds[0]} changes the warehouse, and nothing was done.", "Add --write if you mean it.")


def _tell_unbounded(parsed: list[exp.Expr]) -> None:
    """Say where BigQuery asks for a filter that the emulator does not ask for."""
    columns = {one.name: one.partition_column for one in load_all().values() if one.partition_column}
    found = {table.name for statement in parsed for table in unbounded_tables(statement, columns)}
    for name in sorted(found):
        warn(
            f"BigQuery may refuse this query: {name} is partitioned and wants a filter on {columns[name]} with a "
            f"constant, for example {columns[name]} >= CURRENT_DATE() - 30."
        )


def _streamed(warehouse: Warehouse, rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Rows one by one; a page that cannot be read is an error of the warehouse like any other."""
    with warehouse.answering():
        for row in rows:
            yield dict(row.items())


def show_status(form: Format) -> None:
    """Show freshness, batches, rejects, incidents, quota and backfills."""
    blocks = Status(Warehouse(load_settings())).blocks()
    if form is not Format.TABLE:
        names = sorted({column for block in blocks for column in block.columns})
        rows = [
            {"block": block.title} | {name: row.get(name) for name in names} for block in blocks for row in block.rows
        ]
        show(["block", *names], rows, form)
        return
    for block in blocks:
        heading(block.title)
        long = next((name for name in block.columns if name in _LONG_TEXTS), "")
        if block.rows:
            show_summary_table(block.columns, block.rows, long, _NARROW.get(block.title, ()))
        else:
            say(block.nothing)
