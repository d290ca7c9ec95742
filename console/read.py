"""Commands that only read the warehouse."""

from collections.abc import Iterable, Iterator
from typing import Any

from coinbeam.ops.status import Status
from coinbeam.settings import load_settings
from coinbeam.warehouse.client import Warehouse
from console.output import Format, heading, say, show


def run_query(sql: str, form: Format) -> None:
    """Run any query and show its rows."""
    warehouse = Warehouse(load_settings())
    rows = warehouse.query(sql)
    show([field.name for field in rows.schema or []], _streamed(warehouse, rows), form)


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
        show(block.columns, block.rows) if block.rows else say(block.nothing)
