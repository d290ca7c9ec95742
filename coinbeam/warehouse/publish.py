"""Publishing: the SQL of a batch, one transaction made of ``sql/<dataset>/<table>/publish.sql`` and the contracts."""

from collections.abc import Iterable
from types import MappingProxyType

from coinbeam.batch.kinds import Batch
from coinbeam.batch.tables import ASSETS, REJECTS
from coinbeam.contracts import Contract, load_contract
from coinbeam.contracts.bigquery import literal
from coinbeam.sources.registry import SOURCES
from coinbeam.sql_template import render
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.lease import PublishLease, Seals
from coinbeam.warehouse.staging import StagingTables

QUEUE = "publication"
"""The table through which a publish tells the marts what it touched; the last statement of every publish."""


IS_NEWER = (
    "(s.ingested_at > t.ingested_at OR (s.ingested_at = t.ingested_at AND (s.source_id < t.source_id "
    "OR (s.source_id = t.source_id AND s.batch_id >= t.batch_id))))"
)
"""Whether a staged row ``s`` is preferred to the published row ``t`` of its key: known later, then by source (the API
before a file), then by batch. The order is total: the same batches give the same rows in any order of publishes.
"""


def publish_script(warehouse: Warehouse, batch: Batch, seals: Seals, guards: Iterable[str] = ()) -> str:
    """One transaction that makes the batch visible as a whole, or not at all.

    Args:
        seals: of the rows that the run audited; the transaction fails where staging has others. Empty for a batch
            without an audit.
        guards: statements that fail where what was written must not be seen; they run before the commit.
    """
    queue = (QUEUE,) if batch.feed.feeds_marts else ()
    return _transaction(warehouse, batch, (*batch.feed.published, *queue), seals, guards)


def rejects_script(warehouse: Warehouse, batch: Batch) -> str:
    """One transaction that records the rejects of a batch, before the audit: a blocked batch can be understood."""
    return _transaction(warehouse, batch, (REJECTS,))


def _transaction(
    warehouse: Warehouse,
    batch: Batch,
    tables: tuple[str, ...],
    seals: Seals = MappingProxyType({}),
    guards: Iterable[str] = (),
) -> str:
    lease = PublishLease(warehouse, batch)
    sealed = [lease.guard(seals)] if seals else []
    statements = [statement(warehouse, load_contract(name), batch) for name in tables]
    return "\n\n".join(["BEGIN TRANSACTION;", lease.hold(), *sealed, *statements, *guards, "COMMIT TRANSACTION;"])


def statement(warehouse: Warehouse, contract: Contract, batch: Batch) -> str:
    """The publish statements of one table.

    The batch id and the instants are rendered as literals: they are made by us from checked parts, and only literals
    prune partitions.
    """
    staging = StagingTables(warehouse.settings, batch)
    columns = [column.name for column in contract.columns]
    return render(
        contract.folder / "publish.sql",
        **warehouse.names(),
        target=f"`{warehouse.table(contract)}`",
        staging=f"`{staging.name(contract)}`",
        fact=f"`{warehouse.table(load_contract(batch.feed.fact))}`",
        fact_name=literal(batch.feed.fact),
        fact_date=batch.feed.date_column,
        fact_staging=f"`{staging.name(load_contract(batch.feed.fact))}`",
        batch_id=literal(batch.batch_id),
        snapshot_at=literal(batch.instant),
        snapshot_date=literal(batch.instant.date()),
        first_date=literal(batch.first_date),
        last_date=literal(batch.last_date),
        same_key=" AND ".join(f"t.{name} = s.{name}" for name in contract.primary_key),
        columns=", ".join(columns),
        values=", ".join(f"s.{name}" for name in columns),
        is_newer=IS_NEWER,
        holds_all=batch.holds_all,
        assignments=", ".join(f"{name} = s.{name}" for name in columns if name not in contract.primary_key),
        differs=" OR ".join(
            f"t.{name} IS DISTINCT FROM s.{name}" for name in columns if name not in contract.primary_key
        ),
        types={column.name: column.type for column in contract.columns},
        sources=_sources() if contract.name == "source_dim" else [],
        **_versions(contract),
    )


def _sources() -> list[dict[str, str]]:
    """The cells of each row of ``source_dim``, as literals."""
    return [
        {"source_id": literal(source.id)}
        | {name: "NULL" if cell is None else literal(str(cell)) for name, cell in vars(source).items()}
        for source in SOURCES
    ]


def _versions(contract: Contract) -> dict[str, object]:
    """What only the template of the slowly changing dimension needs."""
    if contract.name != ASSETS:
        return {}
    file_columns = [column.name for column in contract.file_columns if column.name != "asset_id"]
    return {
        "tracked_columns": [column.name for column in contract.columns if column.versioned],
        "detail_columns": [column.name for column in contract.columns if column.versioned == "detail"],
        "amendments": ", ".join(f"{name} = s.{name}" for name in file_columns),
    }
