"""What the refreshes of the marts cost that a backfill causes, at most: each published batch may wake one.

A refresh reads whole partitions from the look-back before the first touched day to the newest day: the touched assets
come from a temporary table, by which nothing is pruned. So a batch of few assets reads the days of all of them.
"""

from datetime import date, timedelta

from coinbeam.contracts import Contract, load_contract
from coinbeam.settings import Settings
from coinbeam.warehouse.client import Warehouse

DAYS_READ_BEFORE = 31
"""How far a refresh looks back before the first touched day; tests hold it to the marts."""

SCANS = 32
"""Times that a refresh reads the asset days in question, in a mart or a fact; tests count the references in its SQL."""

QUERIES = 100
"""Queries of a batch and its refresh that BigQuery bills, as in docs/costs.md."""

LEAST_BYTES = 10 * 2**20
"""What a query is billed for at least. Source: https://cloud.google.com/bigquery/pricing#on_demand_pricing"""

TEXT_BYTES = 14
"""Mean size of a text in ``market_daily``: ids, names and symbols, with the two bytes that BigQuery adds."""

_MART = "market_daily"
_SIZES = {"BOOL": 1, "STRING": TEXT_BYTES}


def row_bytes(contract: Contract) -> int:
    """Bytes of a row as BigQuery counts them, every column filled.

    Source: https://cloud.google.com/bigquery/pricing#data
    """
    return sum(_SIZES.get(column.type, 8) for column in contract.columns)


def dollars(settings: Settings, batches: int, known_rows: int, new_rows: int) -> float:
    """List price of the queries of some batches and their refreshes; 0 on one machine.

    Args:
        known_rows: asset days of the marts that each refresh reads before the first batch.
        new_rows: asset days that all batches add, evenly.
    """
    if settings.is_local:
        return 0.0
    read = SCANS * row_bytes(load_contract(_MART)) * (batches * known_rows + new_rows * (batches + 1) / 2)
    return (read + batches * QUERIES * LEAST_BYTES) / 2**40 * settings.prices.bigquery_tib_scanned


def rows_read(warehouse: Warehouse, first: date) -> int:
    """Asset days that a refresh reads whose first touched day is this one; none while there are no marts."""
    table = warehouse.table(load_contract(_MART))
    if not warehouse.exists(table):
        return 0
    since = first - timedelta(days=DAYS_READ_BEFORE)
    return int(warehouse.rows(f"SELECT COUNT(*) AS n FROM `{table}` WHERE date >= @since", since=since)[0]["n"])
