"""Maintenance of the open tables: old tags and snapshots expire, small files of closed months become one, and files
that no snapshot names are deleted.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from pyiceberg.table import Table

from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import Contract, load_contract
from coinbeam.errors import TerminalError
from coinbeam.landing.bucket import Bucket
from coinbeam.marts.plan import Range, hull
from coinbeam.settings import StorageSettings
from serving.lakehouse.catalog import Lakehouse
from serving.lakehouse.equality import first_inequality, sorted_by
from serving.lakehouse.files import Held, data_file, held_files, rows_of, scanned, write_file
from serving.lakehouse.plan import MOST_ROWS, RECORD, exported_contracts, month_of

SETTLED = timedelta(days=1)
"""Age from which a file that no snapshot names belongs to no export that is still under way."""


@dataclass(frozen=True)
class Maintained:
    """What maintenance did to one table."""

    name: str
    compacted: int
    tags_dropped: int
    snapshots_expired: int
    files_deleted: int


def maintain(lakehouse: Lakehouse, clock: Clock = utc_now) -> list[Maintained]:
    """Maintain every open table, by the settings ``lakehouse.keep_days``, ``keep_tags`` and ``compact_files``.

    Raises:
        WriteConflictError: an export came between; what was done so far stays, run it again.
    """
    done, old = [], _old_batches(lakehouse)
    for contract in [*exported_contracts(), load_contract(RECORD)]:
        table = lakehouse.find(contract)
        if table is not None and table.current_snapshot():
            with lakehouse.answering():
                done.append(_maintain(lakehouse, contract, table, old, clock()))
    return done


def _old_batches(lakehouse: Lakehouse) -> set[str]:
    """The batches whose tags are dropped: all but the newest, by the refresh of their marts; one answer for all tables,
    so that a tag is in each of them or in none.
    """
    keep, contract = lakehouse.settings.lakehouse.keep_tags, load_contract(RECORD)
    table = lakehouse.find(contract)
    present = table.current_snapshot() if table else None
    if keep is None or table is None or present is None:
        return set()
    with lakehouse.answering():
        rows = scanned(table, contract, present.snapshot_id)
    newest = rows.group_by("batch_id").aggregate([("refreshed_at", "max")])
    ordered = newest.sort_by([("refreshed_at_max", "ascending"), ("batch_id", "ascending")])["batch_id"].to_pylist()
    return set(ordered[:-keep])


def _maintain(lakehouse: Lakehouse, contract: Contract, table: Table, old: set[str], now: datetime) -> Maintained:
    settings = lakehouse.settings.lakehouse
    compacted = _compact(table, contract, settings.compact_files)
    dropped = _drop_tags(table, old)
    expired = _expire(table, now - timedelta(days=settings.keep_days))
    return Maintained(contract.name, compacted, dropped, expired, _clean(lakehouse, table, now - SETTLED))


def _compact(table: Table, contract: Contract, most: int) -> int:
    """Make the files of a closed month one; the newest month grows still, and its files are replaced often.

    Returns:
        How many files became fewer.
    """
    present = table.current_snapshot()
    held = held_files(table, contract, present.snapshot_id if present else None, None)
    by_month: dict[date, list[Held]] = {}
    for one in held:
        if one.dates:
            by_month.setdefault(month_of(one.dates[0]), []).append(one)
    closed = [files for month, files in by_month.items() if month < max(by_month)]
    small = [files for files in closed if len(files) >= most and _row_count(files) <= MOST_ROWS]
    if small:
        written = {_joined(table, contract, files): files for files in small}
        with (
            table.transaction() as transaction,
            transaction.update_snapshot().overwrite() as snapshot,
        ):
            for path, files in written.items():
                snapshot.append_data_file(data_file(table, transaction.table_metadata, path))
                for one in files:
                    snapshot.delete_data_file(one.file)
    return sum(len(files) for files in small)


def _row_count(files: Iterable[Held]) -> int:
    return sum(one.file.record_count for one in files)


def _joined(table: Table, contract: Contract, files: list[Held]) -> str:
    """Write the rows of files as one, and return its address.

    Raises:
        TerminalError: what was written is not what was read; no reader sees it.
    """
    rows = sorted_by(rows_of(table, contract, [one.file for one in files]), contract.primary_key)
    dates: Range = hull([one.dates for one in files if one.dates])
    path = write_file(table, rows, dates[0])
    again = rows_of(table, contract, [data_file(table, table.metadata, path)])
    if unequal := first_inequality(rows, again, contract.primary_key):
        raise TerminalError(
            f"Compaction of {contract.name} changed {unequal.column or 'a row'} of {unequal.key}.",
            "Readers see the files that were there before. Report it.",
        )
    return path


def _drop_tags(table: Table, old: set[str]) -> int:
    """Drop the tags of some batches."""
    dropped = [name for name, ref in table.refs().items() if ref.snapshot_ref_type == "tag" and name in old]
    if dropped:
        refs = table.manage_snapshots()
        for name in dropped:
            refs.remove_tag(name)
        refs.commit()
    return len(dropped)


def _expire(table: Table, before: datetime) -> int:
    """Expire the snapshots of before an instant that have no tag and are not the present one."""
    known = len(table.snapshots())
    table.maintenance.expire_snapshots().older_than(before).commit()
    return known - len(table.snapshots())


def _clean(lakehouse: Lakehouse, table: Table, before: datetime) -> int:
    """Delete the objects of a table that no snapshot names, and that were written before an instant."""
    name, folder = table.location().removeprefix("gs://").split("/", 1)
    settings = lakehouse.settings.model_copy(update={"storage": StorageSettings(bucket=name)})
    bucket = Bucket(settings)
    kept = {path.removeprefix(f"gs://{name}/") for path in _named(table)}
    old = [path for path in bucket.names_before(f"{folder}/", before) if path not in kept]
    for path in old:
        bucket.delete(path)
    return len(old)


def _named(table: Table) -> set[str]:
    """Every file that the metadata of a table names."""
    found = {table.metadata_location, *(entry.metadata_file for entry in table.metadata.metadata_log)}
    for snapshot in table.snapshots():
        found.add(snapshot.manifest_list)
        for manifest in snapshot.manifests(table.io):
            found.add(manifest.manifest_path)
            found |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(table.io)}
    return found
