"""Publishing: the SQL of a batch, rendered from ``sql/<dataset>/<table>/publish.sql`` and the contracts, run as one transaction."""

from datetime import datetime
from functools import lru_cache

import jinja2

from coinbeam.clock import format_instant
from coinbeam.contracts import Contract, load_contract
from coinbeam.contracts.bigquery import literal
from coinbeam.warehouse import StagingTables, Warehouse

FACT = "crypto_market_snapshot_fact"
ASSETS = "crypto_asset_dim"
DATES = "date_dim"
REJECTS = "rejected_record"

STAGED = (FACT, ASSETS, DATES, REJECTS)
"""The tables that a batch stages, by contract name."""

PUBLISH_ORDER = ("source_dim", "time_dim", DATES, ASSETS, FACT)
"""Dimensions first: inside the transaction the fact must already find its keys."""

_TRACKED_EXCLUDES = frozenset({"asset_id", "valid_from", "valid_to", "is_current", "details_at", "source_id", "batch_id"})
_LISTED = frozenset({"symbol", "name", "status", "platforms"})


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    return jinja2.Environment(undefined=jinja2.StrictUndefined, autoescape=False, trim_blocks=True)


def publish_script(warehouse: Warehouse, batch: str, snapshot_at: datetime) -> str:
    """One transaction that makes the batch visible as a whole, or not at all."""
    staging = StagingTables(warehouse.settings, batch)
    statements = [render(warehouse, load_contract(name), staging, snapshot_at) for name in PUBLISH_ORDER]
    return "\n\n".join(["BEGIN TRANSACTION;", *statements, "COMMIT TRANSACTION;"])


def rejects_script(warehouse: Warehouse, batch: str, snapshot_at: datetime) -> str:
    """One transaction that records the rejects of a batch; it runs before the audit, so that a blocked batch can be understood."""
    staging = StagingTables(warehouse.settings, batch)
    return "\n\n".join(["BEGIN TRANSACTION;", render(warehouse, load_contract(REJECTS), staging, snapshot_at), "COMMIT TRANSACTION;"])


def render(warehouse: Warehouse, contract: Contract, staging: StagingTables, snapshot_at: datetime) -> str:
    """The publish statements of one table.

    The batch id and the instants are rendered as literals: they are made by us from checked parts, and scripts on the emulator take
    no parameters.
    """
    template = (contract.folder / "publish.sql").read_text(encoding="utf-8")
    columns = [column.name for column in contract.columns]
    return (
        _environment()
        .from_string(template)
        .render(
            target=f"`{warehouse.table(contract)}`",
            staging=f"`{staging.name(contract)}`",
            fact_staging=f"`{staging.name(load_contract(FACT))}`",
            batch_id=literal(staging.batch_id),
            snapshot_at=f"TIMESTAMP {literal(format_instant(snapshot_at))}",
            snapshot_date=f"DATE {literal(f'{snapshot_at:%Y-%m-%d}')}",
            same_key=" AND ".join(f"t.{name} = s.{name}" for name in contract.primary_key),
            columns=", ".join(columns),
            values=", ".join(f"s.{name}" for name in columns),
            assignments=", ".join(f"{name} = s.{name}" for name in columns if name not in contract.primary_key),
            types={column.name: column.type for column in contract.columns},
            **_history(contract),
        )
        .strip()
    )


def _history(contract: Contract) -> dict[str, object]:
    """What only the template of the slowly changing dimension needs."""
    if contract.name != ASSETS:
        return {}
    tracked = [column.name for column in contract.columns if column.name not in _TRACKED_EXCLUDES]
    file_columns = [column.name for column in contract.file_columns if column.name != "asset_id"]
    return {
        "tracked_columns": tracked,
        "detail_columns": [name for name in tracked if name not in _LISTED],
        "amendments": ", ".join(f"{name} = s.{name}" for name in file_columns),
        "file_values": ", ".join(f"s.{name}" for name in file_columns),
    }
