"""The tables of the core in third normal form, made from the contracts: what depends on the key, and on nothing else.

A snapshot in the warehouse repeats what others know: date and minute follow from its instant, symbol and name from its
asset. Here a row of ``snapshot`` says when and by whom an asset was observed, one of ``snapshot_metric`` what was
observed, and assets, batches and sources are rows of their own that keys refer to.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from coinbeam.batch.tables import ASSETS, DAILY_FACT, SNAPSHOT_FACT
from coinbeam.contracts import Column, Contract, load_contract

TYPES = {
    "STRING": "text",
    "INT64": "bigint",
    "FLOAT64": "double precision",
    "BOOL": "boolean",
    "TIMESTAMP": "timestamp with time zone",
    "DATE": "date",
}
"""PostgreSQL's type of each type of a contract, as PostgreSQL itself calls it."""

RECORD = "publication"
"""The table that says which publishes are in; it is written in the same transaction."""

_BATCHES, _SOURCES = "latest_ingestion_batch", "source_dim"
_PROVENANCE = ("observed_at", "ingested_at", "source_id", "batch_id")
_CALENDAR = ("date_dim.", "time_dim.")


@dataclass(frozen=True)
class Reference:
    """A foreign key: columns here, and the table whose key they are.

    Attributes:
        cascades: whether a row goes when the one that it belongs to goes.
    """

    columns: tuple[str, ...]
    table: str
    cascades: bool = False


@dataclass(frozen=True)
class CoreTable:
    """One table.

    Attributes:
        contract: where its columns are described; its rows come from there.
        keyed_alone: whether a row may have its key alone: others refer to it, and nobody described it yet. All other
            columns are null then, whatever the contract requires.
        when: the column by whose dates rows are exported, or None for a table that is exported whole.
    """

    name: str
    contract: Contract
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    references: tuple[Reference, ...] = ()
    keyed_alone: bool = False
    when: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns, in order."""
        return tuple(column.name for column in self.columns)

    def is_required(self, column: Column) -> bool:
        """Whether a column is never null."""
        return column.name in self.key or (column.required and not self.keyed_alone)


def core_tables() -> list[CoreTable]:
    """The tables, each after those that it refers to."""
    sources, batches, assets = (load_contract(name) for name in (_SOURCES, _BATCHES, ASSETS))
    snapshots, days, record = (load_contract(name) for name in (SNAPSHOT_FACT, DAILY_FACT, RECORD))
    to_source = Reference(("source_id",), "source")
    to_batch, to_asset = Reference(("batch_id",), "ingestion_batch"), Reference(("asset_id",), "asset")
    described = _without(assets.columns, ("valid_to", "is_current", "batch_id"))
    dependent = {column.name for column in assets.columns} - {"asset_id", *_PROVENANCE}
    plain = [column for column in snapshots.columns if not _is_derived(column, dependent)]
    observed = [column for column in plain if column.name in {*snapshots.primary_key, *_PROVENANCE}]
    measured = [column for column in plain if column.name not in _PROVENANCE]
    key = snapshots.primary_key
    return [
        CoreTable("source", sources, sources.columns, sources.primary_key, keyed_alone=True),
        CoreTable("ingestion_batch", batches, batches.columns, ("batch_id",), keyed_alone=True),
        CoreTable("asset", assets, described, ("asset_id",), (to_source,), keyed_alone=True),
        CoreTable("snapshot", snapshots, tuple(observed), key, (to_asset, to_batch, to_source), when="snapshot_at"),
        CoreTable(
            "snapshot_metric", snapshots, tuple(measured), key, (Reference(key, "snapshot", True),), when="snapshot_at"
        ),
        CoreTable("daily_price", days, days.columns, days.primary_key, (to_asset, to_batch, to_source), when="date"),
        CoreTable(RECORD, record, record.columns, record.primary_key),
    ]


def _without(columns: Iterable[Column], names: Iterable[str]) -> tuple[Column, ...]:
    return tuple(column for column in columns if column.name not in set(names))


def _is_derived(column: Column, dependent: Iterable[str]) -> bool:
    """Whether the calendar or the asset knows a column of a snapshot too."""
    return column.name in dependent or (column.references or "").startswith(_CALENDAR)
