"""What is in the open tables: their snapshots, and the batches that are tagged."""

from dataclasses import dataclass
from datetime import UTC, datetime

from coinbeam.contracts import load_contract
from serving.lakehouse.catalog import Lakehouse
from serving.lakehouse.plan import RECORD, exported_contracts


@dataclass(frozen=True)
class Tagged:
    """One snapshot of one table.

    Attributes:
        is_present: whether readers without a tag see it.
        tags: batches whose state it is, in the order of their names.
        metadata: address of the table's metadata file, which readers without a catalog open.
    """

    name: str
    snapshot_id: int
    made_at: datetime
    rows: int
    files: int
    is_present: bool
    tags: tuple[str, ...]
    metadata: str


def listed(lakehouse: Lakehouse, only: str | None = None) -> list[Tagged]:
    """The snapshots of each table that a reader can ask for: the present one, and those with a tag; newest first."""
    found = []
    for contract in [*exported_contracts(), load_contract(RECORD)]:
        table = lakehouse.find(contract) if only in {None, contract.name} else None
        if table is None:
            continue
        present, tags = table.current_snapshot(), dict[int, list[str]]()
        for name, ref in table.refs().items():
            if ref.snapshot_ref_type == "tag":
                tags.setdefault(ref.snapshot_id, []).append(name)
        for snapshot in sorted(table.snapshots(), key=lambda one: one.sequence_number or 0, reverse=True):
            is_present = present is not None and snapshot.snapshot_id == present.snapshot_id
            if is_present or snapshot.snapshot_id in tags:
                summary = snapshot.summary.additional_properties if snapshot.summary else {}
                found.append(
                    Tagged(
                        contract.name,
                        snapshot.snapshot_id,
                        datetime.fromtimestamp(snapshot.timestamp_ms / 1_000, UTC),
                        int(summary.get("total-records", 0)),
                        int(summary.get("total-data-files", 0)),
                        is_present,
                        tuple(sorted(tags.get(snapshot.snapshot_id, ()))),
                        table.metadata_location,
                    )
                )
    return found
