"""Data files: rows as Parquet whose name follows from its bytes, so that what is written twice is one file."""

import hashlib
import io
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, timedelta

import pyarrow as pa
import pyarrow.parquet
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.io.pyarrow import parquet_file_to_data_file
from pyiceberg.manifest import DataFile
from pyiceberg.table import Table
from pyiceberg.table.metadata import TableMetadata

from coinbeam.contracts import Contract
from coinbeam.contracts.arrow import arrow_schema
from coinbeam.marts.plan import Range

_EPOCH = date(1970, 1, 1)
WHOLE = "whole"
"""Stands for the month in the names of a table without a partition."""


@dataclass(frozen=True)
class Held:
    """A data file of a snapshot, and the first and last date of its rows; None in a table without a partition."""

    file: DataFile
    dates: Range | None


def parquet(rows: pa.Table) -> bytes:
    """Rows as Parquet; the same rows in the same order are the same bytes."""
    sink = io.BytesIO()
    pyarrow.parquet.write_table(rows, sink, compression="zstd")
    return sink.getvalue()


def file_path(folder: str, data: bytes, first_date: date | None) -> str:
    """Where a data file of a table lies: below its month, named after its content."""
    month = f"{first_date:%Y-%m}" if first_date else WHOLE
    return f"{folder}/data/{month}/{hashlib.sha256(data).hexdigest()[:32]}.parquet"


def write_file(table: Table, rows: pa.Table, first_date: date | None) -> str:
    """Upload rows as a data file, which no reader sees yet, and return its address.

    An object that an earlier export left is written again: the cleaning takes it for a new one.
    """
    data = parquet(rows)
    path = file_path(table.location(), data, first_date)
    with table.io.new_output(path).create(overwrite=True) as stream:
        stream.write(data)
    return path


def data_file(table: Table, metadata: TableMetadata, path: str) -> DataFile:
    """What a manifest says of a data file, read from the file as it lies in the bucket."""
    return parquet_file_to_data_file(table.io, metadata, path)


def within(contract: Contract, dates: Range | None) -> str | BooleanExpression:
    """The filter of the rows of some dates; of all rows for None."""
    column = contract.partition_column
    if column is None or dates is None:
        return AlwaysTrue()
    first, last = dates
    bounds = [f"{column} >= '{first.isoformat()}'"] if first > date.min else []
    bounds += [f"{column} <= '{last.isoformat()}'"] if last < date.max else []  # pyiceberg counts a day beyond a bound
    return " and ".join(bounds) or AlwaysTrue()


def held_files(table: Table, contract: Contract, snapshot_id: int | None, dates: Range | None) -> list[Held]:
    """The data files of a snapshot that may hold rows of some dates; only manifests of their months are read."""
    if snapshot_id is None:
        return []
    tasks = table.scan(row_filter=within(contract, dates), snapshot_id=snapshot_id).plan_files()
    return [Held(task.file, _dates(table, contract, task.file)) for task in tasks]


def _dates(table: Table, contract: Contract, file: DataFile) -> Range | None:
    if contract.partition_column is None:
        return None
    number = table.schema().find_field(contract.partition_column).field_id
    first, last = (
        _EPOCH + timedelta(days=int.from_bytes(bounds[number], "little", signed=True))
        for bounds in (file.lower_bounds, file.upper_bounds)
    )
    return first, last


def scanned(table: Table, contract: Contract, snapshot_id: int, dates: Range | None = None) -> pa.Table:
    """The rows of a snapshot as a reader sees them, in the contract's schema, in no order.

    Columns that the snapshot is too old for are null.
    """
    scan = table.scan(row_filter=within(contract, dates), snapshot_id=snapshot_id)
    return in_schema(scan.to_arrow(), contract)


def rows_of(table: Table, contract: Contract, files: Iterable[DataFile]) -> pa.Table:
    """The rows of some data files, in the contract's schema; columns that a file is too old for are null."""
    tables = []
    for file in files:
        with table.io.new_input(file.file_path).open() as stream:
            tables.append(in_schema(pyarrow.parquet.read_table(stream), contract))
    schema = arrow_schema(contract.columns)
    return pa.concat_tables([schema.empty_table(), *tables])


def in_schema(rows: pa.Table, contract: Contract) -> pa.Table:
    """Rows with the columns of a contract, in its order and types; a column that they lack is null."""
    schema = arrow_schema(contract.columns)
    columns = [
        rows[field.name].cast(field.type) if field.name in rows.column_names else pa.nulls(len(rows), field.type)
        for field in schema
    ]
    return pa.Table.from_arrays(columns, schema=schema)
