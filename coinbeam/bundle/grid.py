"""A grid: assets x instants of a few columns, one matrix each, read from a memory-mapped file.

The number of an asset is its row, so that a row is found without a search, and a file holds no id. An asset that came
later than the file has no row in it. What is missing is NaN, 0 for a time, -1 for a text.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from coinbeam.contracts import Column
from coinbeam.errors import TerminalError

Matrix = npt.NDArray[Any]

NO_TIME = 0
"""A time in milliseconds since the epoch that stands for none; no coin is as old."""

_LABELS = b"coinbeam.instants"

_DTYPES: dict[str, npt.DTypeLike] = {
    "FLOAT64": np.float64,
    "INT64": np.float64,
    "TIMESTAMP": np.int64,
    "STRING": np.int8,
}
_MISSING: dict[str, float] = {"FLOAT64": np.nan, "INT64": np.nan, "TIMESTAMP": NO_TIME, "STRING": -1}


@dataclass(frozen=True)
class Grid:
    """Matrices of one shape, assets x instants.

    Attributes:
        instants: what the columns of the matrices stand for, milliseconds since the epoch, ascending.
        columns: the matrices by name.
    """

    instants: tuple[int, ...]
    columns: Mapping[str, Matrix]

    @cached_property
    def labels(self) -> Matrix:
        """The instants as an array."""
        return np.array(self.instants, np.int64)

    @property
    def height(self) -> int:
        """Number of assets that it has a row for."""
        return int(next(iter(self.columns.values())).shape[0])

    def to_ipc(self) -> pa.Buffer:
        """The grid as an Arrow file, uncompressed, so that it can be mapped into memory."""
        width = len(self.instants)
        arrays = {
            name: pa.FixedSizeListArray.from_arrays(pa.array(np.ascontiguousarray(matrix).reshape(-1)), width)
            for name, matrix in self.columns.items()
        }
        labels = np.array(self.instants, np.int64).tobytes()
        return table_to_ipc(pa.table(arrays).replace_schema_metadata({_LABELS: labels}))


def open_grid(source: Path | bytes) -> Grid:
    """A grid as `Grid.to_ipc` wrote it, in place: a file is mapped into memory.

    Raises:
        TerminalError: it is no such file.
    """
    try:
        file = pa.memory_map(str(source)) if isinstance(source, Path) else pa.BufferReader(source)
        table = pa.ipc.open_file(file).read_all()
        instants = np.frombuffer((table.schema.metadata or {})[_LABELS], np.int64)
        columns = {
            name: column.chunk(0).values.to_numpy(zero_copy_only=True).reshape(len(column), len(instants))
            for name, column in zip(table.column_names, table.columns, strict=True)
        }
    except (pa.ArrowInvalid, KeyError, ValueError, IndexError) as error:
        raise TerminalError(
            f"A file of the bundle is no grid: {error}.", "Build it anew: `coinbeam bundle --rebuild`."
        ) from error
    return Grid(tuple(instants.tolist()), columns)


def table_to_ipc(table: pa.Table) -> pa.Buffer:
    """A table as an Arrow file of one batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=max(table.num_rows, 1))
    return sink.getvalue()


def empty(columns: Sequence[Column], instants: Sequence[int], height: int) -> Grid:
    """A grid without a value."""
    shape = height, len(instants)
    return Grid(tuple(instants), {c.name: np.full(shape, _MISSING[c.type], _DTYPES[c.type]) for c in columns})


def extended(grid: Grid | None, columns: Sequence[Column], instants: Sequence[int], height: int) -> Grid:
    """A grid of the given columns, instants and assets, filled from an older one where that has a value."""
    made = empty(columns, instants, height)
    if grid is not None:
        kept = [place for place, instant in enumerate(made.instants) if instant in grid.instants]
        taken = [grid.instants.index(made.instants[place]) for place in kept]
        for name, matrix in made.columns.items():
            if kept and name in grid.columns:
                matrix[: grid.height, kept] = grid.columns[name][:height, taken]
    return made


def blank(grid: Grid, columns: Sequence[Column], first: int, last: int) -> None:
    """Drop all values of a grid in memory from the first to the last instant, both included."""
    touched = [place for place, instant in enumerate(grid.instants) if first <= instant <= last]
    for column in columns:
        grid.columns[column.name][:, touched] = _MISSING[column.type]


def fill(grid: Grid, columns: Sequence[Column], numbers: Matrix, instants: Matrix, rows: pa.Table) -> None:
    """Write rows into a grid whose matrices are in memory.

    Args:
        numbers: the asset of each row.
        instants: its instant, one of those of the grid.
        rows: the values, one column for each of the grid.
    """
    places = np.searchsorted(grid.labels, instants)
    for column in columns:
        grid.columns[column.name][numbers, places] = encode(column, rows[column.name])


def encode(column: Column, values: pa.ChunkedArray) -> Matrix:
    """Values as the numbers that a grid holds: a text becomes its place among the accepted values of its column."""
    if column.type == "STRING":
        known = pa.array(column.accepted, pa.string())
        return np.asarray(pc.index_in(values, known).fill_null(-1)).astype(np.int8)
    if column.type == "TIMESTAMP":
        micros = np.asarray(values.cast(pa.int64()).fill_null(NO_TIME))
        return micros // 1_000
    return np.asarray(values.cast(pa.float64()).fill_null(np.nan))


def decode(column: Column, codes: Matrix) -> list[str | None]:
    """The texts of a row of a grid."""
    return [column.accepted[code] if code >= 0 else None for code in codes.tolist()]
