"""The export: what BigQuery holds becomes a snapshot of each open table, tagged with the batches that it holds.

Written, checked, released. First every table gets its files and a snapshot on a branch that no reader follows; then
each is read back and compared with BigQuery; then, one small commit for each table, the snapshot becomes the present
one and gets its tags. The record of the publishes is released last. An export that was cut short leaves readers where
they were, and the next one finds the files that are there already.
"""

import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.table import Table
from pyiceberg.table.update.snapshot import ManageSnapshots

from coinbeam.contracts import Contract, load_contract
from coinbeam.errors import TerminalError, WriteConflictError
from coinbeam.marts.plan import Range, hull
from coinbeam.warehouse.arrow import contract_rows, rows_by_date
from coinbeam.warehouse.client import Warehouse
from serving.lakehouse.catalog import Lakehouse
from serving.lakehouse.equality import Inequality, first_inequality
from serving.lakehouse.files import Held, data_file, held_files, scanned, write_file
from serving.lakehouse.plan import (
    RECORD,
    Refreshed,
    batches,
    exported_contracts,
    first_renamed,
    last_of_month,
    month_of,
    pieces,
    touched,
    waiting,
)

AUDIT = "audit"
"""The branch on which a snapshot waits for its check; readers follow ``main`` and tags."""

ATTEMPTS = 3
"""How often an export begins anew when a publish or a refresh came between."""


@dataclass(frozen=True)
class TableExport:
    """What an export did to one table: the dates that it wrote anew, rows and files of them, files that they replaced.

    The dates are None for a table that is written whole. Nothing is written where the content is the same already.
    """

    name: str
    dates: Range | None
    rows: int
    files: int
    replaced: int


@dataclass(frozen=True)
class Export:
    """What an export did.

    Attributes:
        batches: batches that are tagged now, oldest refresh first; they share one state.
        moved: those of them that had been exported before, whose tag moved.
    """

    batches: list[str]
    moved: list[str]
    tables: list[TableExport]
    seconds: float


@dataclass(frozen=True)
class _Staged:
    """A table whose new snapshot waits for its check and its release."""

    contract: Contract
    table: Table
    snapshot_id: int
    pieces: list[Range | None]
    done: TableExport


class Exporter:
    """Brings the open tables in step with BigQuery."""

    def __init__(self, warehouse: Warehouse, lakehouse: Lakehouse | None = None) -> None:
        self._warehouse = warehouse
        self._lakehouse = lakehouse or Lakehouse(warehouse.settings)
        self._record = load_contract(RECORD)

    def export(self) -> Export | None:
        """Export everything that waits; None when nothing does.

        Raises:
            TerminalError: what was written is not what BigQuery holds, or bucket, catalog or BigQuery refuse.
            WriteConflictError: publishes or another export came between, again and again; readers see what they saw.
            TransientError: bucket, catalog or BigQuery do not answer.
        """
        started = time.monotonic()
        for _ in range(ATTEMPTS):
            queue = self._queue()
            publications = waiting(_publications(queue), self._seen())
            if not publications:
                return None
            renamed = self._renamed_from()
            staged = [self._stage(one, touched(one, publications, renamed)) for one in exported_contracts()]
            staged.append(self._stage_record(queue))
            unequal = self._first_unequal(staged)
            if self._queue() != queue:  # a publish or a refresh came between: tables may be of different states
                continue
            if unequal:
                raise TerminalError(unequal, "Readers see what they saw before. Run it again; report it if it stays.")
            known = staged[-1].table.refs()  # the record gets its tags last: what it has was exported to the end
            moved = [batch for batch in batches(publications) if batch in known]
            for one in staged:
                self._release(one, batches(publications))
            done = [one.done for one in staged[:-1]]
            return Export(batches(publications), moved, done, time.monotonic() - started)
        raise WriteConflictError(
            f"A publish or a refresh of the marts came between in each of {ATTEMPTS} exports.",
            "Readers see what they saw before. Run it again when no run is under way.",
        )

    def check(self) -> list[str]:
        """Compare all rows of all open tables with BigQuery, month by month; a sentence for each table that differs."""
        found = []
        for contract in exported_contracts():
            table = self._lakehouse.find(contract)
            head = _head(table)
            if table is None or head is None:
                found.append(f"{contract.name} was never exported.")
                continue
            whole = [(date.min, date.max)] if contract.partition_column else None
            parts = self._pieces(table, contract, head, whole)
            if unequal := self._unequal(contract, table, head, parts):
                found.append(unequal)
        return found

    def _queue(self) -> pa.Table:
        """All publishes as the warehouse has them, sorted; those whose marts wait have no instant of their refresh."""
        return contract_rows(self._warehouse, self._record)

    def _seen(self) -> list[Refreshed]:
        table = self._lakehouse.find(self._record)
        head = _head(table)
        if table is None or head is None:
            return []
        with self._lakehouse.answering():
            return _publications(scanned(table, self._record, head))

    def _stage(self, contract: Contract, dates: list[Range] | None) -> _Staged:
        """Write what may have changed of a table, and put a snapshot with it on the branch."""
        table = self._lakehouse.ensure(contract)
        head = _head(table)
        parts = self._pieces(table, contract, head, dates)
        whole = [part for part in parts if part is not None]
        with self._lakehouse.answering():
            held = held_files(table, contract, head, hull(whole) if whole else None) if parts else []
        replaced = [one for one in held if one.dates is None or any(_overlap(one.dates, part) for part in whole)]
        written = {}
        for part in parts:
            rows = contract_rows(self._warehouse, contract, *(part or (None, None)))
            if rows.num_rows:
                with self._lakehouse.answering():
                    written[write_file(table, rows, part[0] if part else None)] = rows.num_rows
        return self._staged(contract, table, parts, written, replaced)

    def _stage_record(self, queue: pa.Table) -> _Staged:
        """The record with every publish whose marts are refreshed: what is exported now, and all before."""
        table = self._lakehouse.ensure(self._record)
        rows = queue.filter(pc.is_valid(queue["refreshed_at"]))
        with self._lakehouse.answering():
            written = {write_file(table, rows, None): rows.num_rows}
            held = held_files(table, self._record, _head(table), None)
        return self._staged(self._record, table, [None], written, held)

    def _staged(
        self,
        contract: Contract,
        table: Table,
        parts: list[Range | None],
        written: dict[str, int],
        replaced: Sequence[Held],
    ) -> _Staged:
        """Commit files to the branch: all of them, or none."""
        present = {one.file.file_path for one in replaced}
        old = [one.file for one in replaced if one.file.file_path not in written]
        new = [path for path in written if path not in present]
        head = _head(table)
        if head is None:  # the first one is made with the table
            raise TerminalError(f"The open table {contract.name} has no snapshot.", "Drop it, and export anew.")
        with self._lakehouse.answering():
            if old or new:
                with table.transaction() as transaction:
                    with ManageSnapshots(transaction) as refs:
                        refs.create_branch(head, AUDIT)
                    with transaction.update_snapshot(branch=AUDIT).overwrite() as snapshot:
                        for file in old:
                            snapshot.delete_data_file(file)
                        for path in new:
                            snapshot.append_data_file(data_file(table, transaction.table_metadata, path))
                head = table.refs()[AUDIT].snapshot_id
        done = TableExport(
            contract.name,
            hull([part for part in parts if part]) if any(parts) else None,
            sum(written[path] for path in new),
            len(new),
            len(old),
        )
        return _Staged(contract, table, head, parts, done)

    def _release(self, staged: _Staged, names: Iterable[str]) -> None:
        """Make the checked snapshot the present one, with its tags: one commit."""
        table, snapshot_id = staged.table, staged.snapshot_id
        with self._lakehouse.answering(), table.transaction() as transaction, ManageSnapshots(transaction) as refs:
            for name in names:
                refs.create_tag(snapshot_id, name)
            if _head(table) != snapshot_id:
                refs.set_current_snapshot(snapshot_id)
            if AUDIT in table.refs():
                refs.remove_branch(AUDIT)

    def _pieces(
        self, table: Table, contract: Contract, head: int | None, dates: list[Range] | None
    ) -> list[Range | None]:
        """The dates to write anew; one None for a table that is written whole."""
        if dates is None:
            return [None]
        if not dates:
            return []
        # The months of the ends are read whole: a file that is replaced may reach beyond the dates that changed.
        first, last = hull(dates)
        months = month_of(first), last_of_month(last)
        with self._lakehouse.answering():
            held = [one.dates for one in held_files(table, contract, head, months) if one.dates]
        return list(pieces(dates, rows_by_date(self._warehouse, contract, *months), held))

    def _renamed_from(self) -> date | None:
        """The first date of an asset that the marts call otherwise than the open tables do: a refresh writes its name
        into all of its rows, whatever dates were published.

        ``asset_stats`` is released after ``market_daily``: a crash in between finds the same once more.
        """
        contract = load_contract("asset_stats")
        table = self._lakehouse.find(contract)
        head = _head(table)
        if table is None or head is None:
            return None
        with self._lakehouse.answering():
            before = scanned(table, contract, head)
        return first_renamed(before, contract_rows(self._warehouse, contract))

    def _first_unequal(self, staged: Iterable[_Staged]) -> str | None:
        for one in staged:
            if one.contract.name != RECORD and (
                found := self._unequal(one.contract, one.table, one.snapshot_id, one.pieces)
            ):
                return found
        return None

    def _unequal(self, contract: Contract, table: Table, snapshot_id: int, parts: Iterable[Range | None]) -> str | None:
        """What differs first between a snapshot, as a reader sees it, and BigQuery, in a sentence."""
        for part in parts:
            expected = contract_rows(self._warehouse, contract, *(part or (None, None)))
            with self._lakehouse.answering():
                found = scanned(table, contract, snapshot_id, part)
            if unequal := first_inequality(expected, found, contract.primary_key):
                return _told(contract, unequal)
        return None


def _told(contract: Contract, unequal: Inequality) -> str:
    key = ", ".join(f"{name}={value}" for name, value in zip(contract.primary_key, unequal.key, strict=True))
    if unequal.column is None:
        where = "BigQuery" if unequal.expected else "the open table"
        return f"{contract.name} differs from BigQuery: the row {key} is only in {where}."
    values = f"{unequal.expected!r} in BigQuery and {unequal.found!r} in the open table"
    return f"{contract.name} differs from BigQuery: {unequal.column} of {key} is {values}."


def _publications(rows: pa.Table) -> list[Refreshed]:
    """The publishes among rows of the queue whose marts are refreshed."""
    names = list(Refreshed.model_fields)
    found = rows.filter(pc.is_valid(rows["refreshed_at"])).select(names)
    return [Refreshed(**row) for row in found.to_pylist()]


def _head(table: Table | None) -> int | None:
    """The snapshot that readers see, or None before the first."""
    present = table.current_snapshot() if table is not None else None
    return present.snapshot_id if present else None


def _overlap(one: Range, other: Range) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]
