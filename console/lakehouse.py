"""Commands of the open tables."""

from collections.abc import Iterable
from typing import Any

from coinbeam.clock import format_instant
from coinbeam.settings import load_settings
from coinbeam.warehouse.client import Warehouse
from console.output import Format, say, show, show_summary_table
from serving.lakehouse.catalog import Lakehouse
from serving.lakehouse.difference import TableDifference, differences
from serving.lakehouse.export import Exporter
from serving.lakehouse.listing import listed
from serving.lakehouse.maintenance import maintain

_SHOWN_BATCHES = 5


def export() -> None:
    """Export what waits, and say what was tagged and written."""
    done = Exporter(Warehouse(load_settings())).export()
    if done is None:
        say("Nothing waits: the open tables hold every publish whose marts are refreshed.")
        return
    rows = [
        {
            "table": one.name,
            "dates": f"{one.dates[0]} to {one.dates[1]}" if one.dates else "all",
            "rows": one.rows,
            "files": one.files,
            "replaced": one.replaced,
        }
        for one in done.tables
        if one.files or one.replaced
    ]
    if rows:
        show_summary_table(["table", "dates", "rows", "files", "replaced"], rows)
    say(f"Equal to BigQuery, released in {done.seconds:.1f} s, tagged {_some(done.batches)}.")
    if len(done.batches) > 1:
        say("These batches share one state, that of now: export after each refresh to have each one apart.")
    if done.moved:
        say(f"Published again, so that the tag moved: {_some(done.moved)}.")


def check() -> int:
    """Compare everything with BigQuery; 1 when a table differs."""
    found = Exporter(Warehouse(load_settings())).check()
    for line in found:
        say(line)
    if not found:
        say("All open tables are equal to BigQuery, in every bit of every row.")
    return int(bool(found))


def list_tables(table: str | None, form: Format) -> None:
    """Show tables, their snapshots and tags."""
    rows = [
        {
            "table": one.name,
            "made_at": one.made_at if form is Format.TABLE else format_instant(one.made_at),
            "is_present": one.is_present,
            "rows": one.rows,
            "files": one.files,
            "tags": _some(one.tags) if form is Format.TABLE else list(one.tags),
            "snapshot_id": str(one.snapshot_id),
            "metadata": one.metadata,
        }
        for one in listed(Lakehouse(load_settings()), table)
    ]
    columns = ["table", "made_at", "is_present", "rows", "files", "tags", "snapshot_id"]
    if form is Format.TABLE:
        narrow = ("table", "made_at", "rows", "tags")
        show_summary_table(columns, rows, narrow=narrow)
    else:
        show([*columns, "metadata"], rows, form)


def show_differences(before: str, after: str, table: str | None, form: Format) -> None:
    """Show what changed between two batches."""
    found = differences(Lakehouse(load_settings()), before, after, table)
    if form is not Format.TABLE:
        names = ["table", "added", "removed", "changed", "columns", "sample"]
        show(names, [_plain(one) for one in found], form)
        return
    rows = [
        {"table": one.name, "added": one.added, "removed": one.removed, "changed": one.changed, "columns": _most(one)}
        for one in found
    ]
    show_summary_table(["table", "added", "removed", "changed", "columns"], rows, below="columns")
    for one in found:
        for change in one.sample:
            key = ", ".join(f"{name}={value}" for name, value in change.key.items())
            say(f"{one.name} {key}: {change.column} {change.before!r} -> {change.after!r}")


def maintain_tables() -> None:
    """Expire, compact and clean, and say what was done."""
    rows = [
        {
            "table": one.name,
            "compacted": one.compacted,
            "tags_dropped": one.tags_dropped,
            "snapshots_expired": one.snapshots_expired,
            "files_deleted": one.files_deleted,
        }
        for one in maintain(Lakehouse(load_settings()))
    ]
    show_summary_table(["table", "compacted", "tags_dropped", "snapshots_expired", "files_deleted"], rows)


def _plain(one: TableDifference) -> dict[str, Any]:
    sample = [
        {"key": change.key, "column": change.column, "before": change.before, "after": change.after}
        for change in one.sample
    ]
    counts = {"added": one.added, "removed": one.removed, "changed": one.changed}
    return {"table": one.name, **counts, "columns": one.columns, "sample": sample}


def _most(one: TableDifference) -> str:
    return ", ".join(f"{name} {count:,}" for name, count in one.columns.items())


def _some(names: Iterable[str]) -> str:
    """A few names, and how many there are besides."""
    known = list(names)
    more = len(known) - _SHOWN_BATCHES
    return ", ".join(known[:_SHOWN_BATCHES]) + (f" and {more} more" if more > 0 else "")
