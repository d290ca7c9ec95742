"""The line of log that tells how a batch ended, in numbers: what Cloud Monitoring counts, draws and alerts on.

It is plain text, so that it is the same in Airflow's log, on a terminal and in a Cloud Run job. The metrics of
``infra/modules/dashboard`` take its numbers by their names; ``tests/infra`` holds their expressions to this line.
"""

import logging
from collections.abc import Mapping
from typing import Any

from coinbeam.contracts import load_contract
from coinbeam.ops.call_ledger import CallLedger, Usage
from coinbeam.sources.registry import COINGECKO, COINGECKO_SIMULATOR

RECORDED = "Batch recorded:"
"""How the line begins; no other line of ours has these words."""

COUNTED = ("table_name", "status", "mode", "rows_published", "rows_rejected", "api_calls", "batch_id")
"""Columns of ``ingestion_batch`` in the line, in this order. Only the last may hold what a person typed."""

_METERED = frozenset({COINGECKO.id, COINGECKO_SIMULATOR.id})
"""Sources with a plan of so many calls a month."""

logger = logging.getLogger("coinbeam.ops.batch_line")


def tell(row: Mapping[str, Any], ledger: CallLedger, age_seconds: float) -> None:
    """Log the line of a recorded batch, with what its month has left.

    Args:
        row: of ``ingestion_batch``.
        age_seconds: from the instant that the batch stands for to its record.
    """
    usage = ledger.usage(row["source_id"]) if row["source_id"] in _METERED else None
    logger.info("%s", words(row, usage, age_seconds))


def words(row: Mapping[str, Any], usage: Usage | None, age_seconds: float) -> str:
    """The line; a number that the batch does not have is left out.

    Only what was fetched and published just now, into a table that promises to be fresh, has an age: history and
    replays are old on purpose.
    """
    is_news = row["status"] == "published" and row["mode"] == "fetch"
    numbers: dict[str, Any] = {}
    if is_news and load_contract(row["table_name"]).freshness_hours is not None:
        numbers["age_seconds"] = round(age_seconds)
    if usage:
        share = 100 * usage.left / usage.calls_per_month
        numbers |= {"calls_left": usage.left, "quota_left_percent": int(share)}
    *first, last = COUNTED
    told = {name: row.get(name) for name in first} | numbers | {last: row[last]}
    return " ".join((RECORDED, *(f"{name}={value}" for name, value in told.items() if value is not None)))
