"""What changed in the open tables between two tags: rows that were added, removed and changed, column by column."""

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table import Table

from coinbeam.contracts import Contract
from coinbeam.errors import SettingsError
from serving.lakehouse.catalog import Lakehouse
from serving.lakehouse.equality import differing
from serving.lakehouse.files import held_files, rows_of
from serving.lakehouse.plan import exported_contracts

NEAREST = 3
"""How many tags an error names."""


@dataclass(frozen=True)
class Change:
    """One value that changed: its row's key, and what it was and is."""

    key: dict[str, Any]
    column: str
    before: Any
    after: Any


@dataclass(frozen=True)
class TableDifference:
    """What changed in one table.

    Attributes:
        changed: rows of both states that differ in any column.
        columns: of each column that differs, in how many rows; most first.
        sample: some of the changed values.
    """

    name: str
    added: int
    removed: int
    changed: int
    columns: dict[str, int]
    sample: list[Change]


def differences(
    lakehouse: Lakehouse, before: str, after: str, only: str | None = None, sample: int = 5
) -> list[TableDifference]:
    """What changed in each table between the tags of two batches.

    Only files that one of the two snapshots has alone are read.

    Args:
        only: a table; left out: all.
        sample: most changed values of each table that are shown.

    Raises:
        SettingsError: a batch has no tag, or there is no such table; the message names the nearest.
    """
    found = []
    for contract in _chosen(only):
        table = lakehouse.find(contract)
        if table is None:
            raise SettingsError(f"{contract.name} was never exported.", "Run `coinbeam lakehouse export`.")
        ids = [tagged(table, batch) for batch in (before, after)]
        with lakehouse.answering():
            old, new = _rows_apart(table, contract, *ids)
        found.append(compared(contract, old, new, sample))
    return found


def tagged(table: Table, batch: str) -> int:
    """The snapshot with the tag of a batch.

    Raises:
        SettingsError: no snapshot has it; the message names the nearest tags.
    """
    tags = {name: ref.snapshot_id for name, ref in table.refs().items() if ref.snapshot_ref_type == "tag"}
    if batch in tags:
        return int(tags[batch])
    near = difflib.get_close_matches(batch, tags, n=NEAREST, cutoff=0.0)
    remedy = f"The nearest: {', '.join(near)}. `coinbeam lakehouse list` has all." if near else "Export it first."
    raise SettingsError(f"No open table has a tag {batch!r}.", remedy)


def compared(contract: Contract, old: pa.Table, new: pa.Table, sample: int = 5) -> TableDifference:
    """Two states of a table by key; values are the same when every bit is."""
    key = list(contract.primary_key)
    pairs = _numbered(old, key, "old").join(_numbered(new, key, "new"), key, join_type="full outer")
    both = pairs.filter(pc.and_(pc.is_valid(pairs["old"]), pc.is_valid(pairs["new"])))
    was, now = old.take(both["old"]), new.take(both["new"])
    masks = {name: differing(was[name], now[name]) for name in old.column_names if name not in key}
    counts = {name: pc.sum(mask).as_py() or 0 for name, mask in masks.items()}
    columns = {name: count for name, count in sorted(counts.items(), key=lambda one: -one[1]) if count}
    return TableDifference(
        contract.name,
        added=pc.sum(pc.is_null(pairs["old"])).as_py() or 0,
        removed=pc.sum(pc.is_null(pairs["new"])).as_py() or 0,
        changed=_any(list(masks.values())),
        columns=columns,
        sample=_sample(was, now, masks, key, columns, sample),
    )


def _chosen(only: str | None) -> list[Contract]:
    known = {contract.name: contract for contract in exported_contracts()}
    if only is None:
        return list(known.values())
    if only not in known:
        raise SettingsError(f"There is no open table {only!r}.", f"Open tables: {', '.join(known)}.")
    return [known[only]]


def _rows_apart(table: Table, contract: Contract, before: int, after: int) -> tuple[pa.Table, pa.Table]:
    """The rows of the files that only one of two snapshots has; rows of common files are the same."""
    files = [
        {held.file.file_path: held.file for held in held_files(table, contract, one, None)} for one in (before, after)
    ]
    old, new = ([each[path] for path in sorted(each.keys() - other.keys())] for each, other in (files, files[::-1]))
    return rows_of(table, contract, old), rows_of(table, contract, new)


def _numbered(rows: pa.Table, key: Sequence[str], name: str) -> pa.Table:
    return rows.select(key).append_column(name, pa.array(range(rows.num_rows), pa.int64()))


def _any(masks: Sequence[pa.ChunkedArray]) -> int:
    """In how many rows any of the masks is true."""
    if not masks:
        return 0
    found = masks[0]
    for mask in masks[1:]:
        found = pc.or_(found, mask)
    return pc.sum(found).as_py() or 0


def _sample(
    was: pa.Table,
    now: pa.Table,
    masks: dict[str, pa.ChunkedArray],
    key: Sequence[str],
    columns: Iterable[str],
    most: int,
) -> list[Change]:
    """The first changed value of each column, columns with most changes first."""
    found = []
    for name in list(columns)[:most]:
        row = pc.index(masks[name], True).as_py()
        values = {part: was[part][row].as_py() for part in key}
        found.append(Change(values, name, was[name][row].as_py(), now[name][row].as_py()))
    return found
