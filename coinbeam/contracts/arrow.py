"""Arrow schema and CSV form of a contract: the one place that knows how a value is written into a batch file."""

import io
from collections.abc import Iterable
from functools import lru_cache

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.csv

from coinbeam.contracts.model import Column

_INSTANT = pa.timestamp("us", tz="UTC")
_TYPES: dict[str, pa.DataType] = {
    "STRING": pa.string(),
    "INT64": pa.int64(),
    "FLOAT64": pa.float64(),
    "BOOL": pa.bool_(),
    "TIMESTAMP": _INSTANT,
    "DATE": pa.date32(),
}

_DAY_SECONDS = 86_400
_DAY_BLOCK = 8_192  # days; dates are written from tables of whole blocks, so that few tables serve all
_WIDEST_RANGE = 50_000  # days; wider ranges of dates are not worth a table
_FOUR_DIGIT_YEARS = (-719_162, 2_932_896)  # days of 0001-01-01 and 9999-12-31 since the epoch
_INSTANT_TEXT = np.dtype(
    [
        ("day", "S10"),
        ("space", "S1"),
        ("time", "S8"),
        ("point", "S1"),
        ("thousandths", "S3"),
        ("millionths", "S3"),
        ("zone", "S1"),
    ]
)


def arrow_schema(columns: Iterable[Column]) -> pa.Schema:
    """Arrow schema of the columns, in order; FLOAT64 stays a double, TIMESTAMP is microseconds in UTC."""
    return pa.schema([pa.field(c.name, _TYPES[c.type], nullable=not c.required) for c in columns])


def csv_header(columns: Iterable[Column]) -> bytes:
    """The header line of a batch file: the contract's column names."""
    return (",".join(f'"{c.name}"' for c in columns) + "\n").encode()


def csv_block(table: pa.Table) -> bytes:
    """Rows as CSV, without a header.

    Doubles are written in the shortest form that reads back to the same bits; a null is an unquoted empty field; texts
    and instants are quoted.
    """
    if table.num_rows == 0:
        return b""
    table = table.combine_chunks()  # of a chunk without rows Arrow writes what happens to lie in memory
    columns = [instant_texts(column) if column.type == _INSTANT else column for column in table.columns]
    sink = io.BytesIO()
    pyarrow.csv.write_csv(
        pa.table(columns, names=table.column_names), sink, pyarrow.csv.WriteOptions(include_header=False)
    )
    return sink.getvalue()


def instant_texts(column: pa.ChunkedArray) -> pa.Array:
    """Instants as ``2026-01-02 03:04:05.678901Z``, as Arrow's own cast writes them, at a twentieth of its time.

    All texts are of one length, so that they are put together from tables of days, seconds and thousandths without a
    look at any of them.
    """
    instants = column.chunk(0) if column.num_chunks == 1 else column.combine_chunks()  # also of no chunk at all
    if instants.null_count == len(instants):
        return pa.nulls(len(instants), pa.string())
    micros = np.asarray(instants.cast(pa.int64()).fill_null(instants.drop_null()[0].value))
    seconds, fraction = np.divmod(micros, 1_000_000)
    days, seconds = np.divmod(seconds, _DAY_SECONDS)
    first, last = int(days.min()), int(days.max())
    if last - first > _WIDEST_RANGE or first < _FOUR_DIGIT_YEARS[0] or last > _FOUR_DIGIT_YEARS[1]:
        return instants.cast(pa.string())
    texts = np.empty(len(micros), _INSTANT_TEXT)
    texts["day"] = _days(first // _DAY_BLOCK, last // _DAY_BLOCK)[days - first // _DAY_BLOCK * _DAY_BLOCK]
    texts["space"], texts["point"], texts["zone"] = b" ", b".", b"Z"
    texts["time"] = _seconds_of_day()[seconds]
    texts["thousandths"], texts["millionths"] = _thousandths()[fraction // 1_000], _thousandths()[fraction % 1_000]
    offsets = np.arange(len(texts) + 1, dtype=np.int32) * texts.itemsize
    validity = None if instants.null_count == 0 else pa.array(np.asarray(instants.is_valid())).buffers()[1]
    buffers = [validity, pa.py_buffer(offsets), pa.py_buffer(texts)]
    return pa.Array.from_buffers(pa.string(), len(texts), buffers, instants.null_count)


@lru_cache(maxsize=8)
def _days(first_block: int, last_block: int) -> npt.NDArray[np.bytes_]:
    """The dates of whole blocks of days since the epoch."""
    days = np.arange(first_block * _DAY_BLOCK, (last_block + 1) * _DAY_BLOCK).clip(*_FOUR_DIGIT_YEARS)
    return days.astype("datetime64[D]").astype("S10")


@lru_cache(maxsize=1)
def _seconds_of_day() -> npt.NDArray[np.bytes_]:
    """``00:00:00`` to ``23:59:59``."""
    instants = np.arange(_DAY_SECONDS).astype("datetime64[s]").astype("S19")
    return np.ascontiguousarray(instants.view("S1").reshape(-1, 19)[:, -8:]).view("S8").ravel()


@lru_cache(maxsize=1)
def _thousandths() -> npt.NDArray[np.bytes_]:
    """``000`` to ``999``."""
    return np.array([f"{number:03d}" for number in range(1_000)], "S3")
