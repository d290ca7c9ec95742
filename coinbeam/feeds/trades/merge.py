"""Panes into the fact: appended as they come, and merged where they know more than the row that is there."""

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any

from coinbeam.batch.digest import digest
from coinbeam.batch.tables import REJECTS, TRADE_WINDOW_FACT, TRADE_WINDOW_PANE
from coinbeam.clock import parse_instant
from coinbeam.contracts import load_contract
from coinbeam.contracts.bigquery import literal
from coinbeam.errors import TerminalError
from coinbeam.feeds.trades.message import ALLOWED_LATENESS
from coinbeam.sql_template import render
from coinbeam.warehouse.client import Warehouse

MOST_ROWS = 500
"""Rows of one streaming insert. Source: BigQuery's quotas, "Maximum rows per request", recommended."""

Row = Mapping[str, Any]


def append_panes(warehouse: Warehouse, panes: Sequence[Row]) -> None:
    """Append panes by streaming inserts, which readers and statements see at once.

    A bundle that is tried again inserts its rows again; BigQuery drops most of those, by their ids, and the merge
    minds none.

    Raises:
        TerminalError: BigQuery refuses a row.
        TransientError: BigQuery does not answer.
    """
    names = ("symbol", "window_start", "run_id", "pane_index")
    _insert(warehouse, TRADE_WINDOW_PANE, panes, [digest(*(str(row[name]) for name in names)) for row in panes])


def append_rejects(warehouse: Warehouse, rejects: Sequence[Row]) -> None:
    """Append refused lines by streaming inserts, but those that are there: a pipeline that starts again reads, and
    refuses, the same lines of the same messages.

    Raises:
        TerminalError: BigQuery refuses a row.
        TransientError: BigQuery does not answer.
    """
    new = {(str(row["rejected_id"]), str(row["batch_id"])): row for row in rejects}
    days = ", ".join(sorted({literal(date.fromisoformat(str(row["snapshot_date"]))) for row in rejects}))
    known = warehouse.rows(
        f"SELECT rejected_id, batch_id FROM `{warehouse.table(load_contract(REJECTS))}` "
        f"WHERE snapshot_date IN ({days}) AND rejected_id IN UNNEST(@ids)",
        ids=sorted({rejected_id for rejected_id, _ in new}),
    )
    for row in known:
        new.pop((row["rejected_id"], row["batch_id"]), None)
    _insert(warehouse, REJECTS, [*new.values()], [" ".join(key) for key in new])


def _insert(warehouse: Warehouse, table: str, rows: Sequence[Row], ids: Sequence[str]) -> None:
    contract = load_contract(table)
    name = warehouse.full_name(warehouse.table(contract))
    for first in range(0, len(rows), MOST_ROWS):
        part = slice(first, first + MOST_ROWS)
        with warehouse.answering():
            faults = warehouse.client.insert_rows_json(
                name, [dict(row) for row in rows[part]], row_ids=list(ids[part]), **warehouse.bounds
            )
        if faults:
            said = faults[0].get("errors") or faults
            raise TerminalError(
                f"BigQuery refuses rows of {contract.name}: {str(said)[:500]}.", "Bring table and contract in step."
            )


def merge_panes(warehouse: Warehouse, first: datetime, last: datetime, run_id: str | None = None) -> None:
    """Merge the panes of the windows that begin from ``first`` to ``last``, both included, into the fact.

    Args:
        run_id: of panes of one run only.

    Raises:
        WriteConflictError: another merge was faster; try again.
        TransientError: BigQuery does not answer.
    """
    fact = load_contract(TRADE_WINDOW_FACT)
    names = [column.name for column in fact.columns]
    warehouse.query(
        render(
            fact.folder / "merge.sql",
            **warehouse.names(),
            columns=", ".join(names),
            assignments=", ".join(f"{name} = s.{name}" for name in names),
            values=", ".join(f"s.{name}" for name in names),
            first_date=literal(first.date()),
            last_date=literal(last.date()),
            first_start=literal(first),
            last_start=literal(last),
            run_id=literal(run_id) if run_id else "",
        )
    )


def starts_of(panes: Sequence[Row]) -> tuple[datetime, datetime]:
    """The begin of the earliest and of the latest window of panes; there is at least one."""
    starts = [parse_instant(row["window_start"]) for row in panes]
    return min(starts), max(starts)


def seek_point(warehouse: Warehouse, symbols: Sequence[str], now: datetime) -> datetime:
    """Where a pipeline that starts again has to read from: before the oldest window that it may still complete.

    A row that calls itself complete may miss its end, when the pipeline was killed between the window's first pane and
    the trades that came after it. So the newest window of a symbol is never believed, and an older one only where the
    next one begins with the id after its last. Windows that say themselves that they miss trades are read again for
    ``stream.seek_minutes`` before the newest one, as are all of a symbol that has no row; with nothing there at all, a
    day ago. No message about a window was published before it began, and what is read again changes nothing.

    Raises:
        TransientError: BigQuery does not answer.
    """
    begin = now - ALLOWED_LATENESS
    again = timedelta(minutes=warehouse.settings.stream.seek_minutes)
    rows = warehouse.rows(
        "WITH known AS (SELECT symbol, window_start, is_complete, last_agg_trade_id, "
        "MAX(window_start) OVER () AS newest, "
        "LEAD(first_agg_trade_id) OVER (PARTITION BY symbol ORDER BY window_start) AS next_id "
        f"FROM {warehouse.names()[TRADE_WINDOW_FACT]} "
        f"WHERE window_date BETWEEN {literal(begin.date())} AND {literal(now.date())} "
        f"AND window_start >= {literal(begin)} AND symbol IN UNNEST(@symbols)) "
        "SELECT symbol, MAX(newest) AS newest, MAX(window_start) AS last_start, "
        "MIN(IF(is_complete, NULL, IF(window_start < TIMESTAMP_SUB(newest, INTERVAL @minutes MINUTE), NULL, "
        "window_start))) AS open_start, "
        "MIN(IF(is_complete AND next_id != last_agg_trade_id + 1, window_start, NULL)) AS torn_start "
        "FROM known GROUP BY symbol",
        symbols=list(symbols),
        minutes=warehouse.settings.stream.seek_minutes,
    )
    if not rows:
        return begin
    earliest = rows[0]["newest"] - again
    points: list[datetime | None] = [earliest] if {row["symbol"] for row in rows} < set(symbols) else []
    for row in rows:
        points += [max(row["last_start"], earliest), row["open_start"], row["torn_start"]]
    return min(point for point in points if point is not None)
