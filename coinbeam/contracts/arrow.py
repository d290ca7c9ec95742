"""Arrow schema and CSV form of a contract: the one place that knows how a value is written into a batch file."""

import io
from collections.abc import Iterable

import pyarrow as pa
import pyarrow.csv

from coinbeam.contracts.model import Column

_TYPES: dict[str, pa.DataType] = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "BOOL": pa.bool_(),
    "TIMESTAMP": pa.timestamp("us", tz="UTC"),
    "DATE": pa.date32(),
}


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """Arrow schema of the columns, in order; FLOAT64 stays a double, TIMESTAMP is microseconds in UTC."""
    return pa.schema([pa.field(c.name, _TYPES[c.type], nullable=not c.required) for c in columns])


def csv_header(columns: Iterable[Column]) -> bytes:
    """The header line of a batch file: the contract's column names."""
    return (",".join(f'"{c.name}"' for c in columns) + "\n").encode()


def csv_block(table: pa.Table) -> bytes:
    """Rows as CSV, without a header.

    Doubles are written in the shortest form that reads back to the same bits; a null is an unquoted empty field; texts are quoted.
    """
    sink = io.BytesIO()
    pyarrow.csv.write_csv(table, sink, pyarrow.csv.WriteOptions(include_header=False))
    return sink.getvalue()
