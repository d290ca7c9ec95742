"""A grid: assets x instants x columns as one block of doubles, read from a memory-mapped file.

The number of an asset is its row, so that a row is found without a search, and a file holds no id. An asset that came
later than the file has no row in it. All that a month knows of an asset lies together, which is what a chart reads. A
time is milliseconds since the epoch, a text its place among the accepted values of its column, and NaN what is missing.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from coinbeam.bundle.manifest import REBUILD
from coinbeam.contracts import Column
from coinbeam.errors import TerminalError

Matrix = npt.NDArray[Any]
Doubles = npt.NDArray[np.float64]

_INSTANTS, _COLUMNS = b"coinbeam.instants", b"coinbeam.columns"
_VALUES = "values"


@dataclass(frozen=True)
class Grid:
    """One block.

    Attributes:
        instants: what its columns stand for, milliseconds since the epoch, ascending.
        columns: names of the values of an instant.
        values: assets x instants x columns.
    """

    instants: tuple[int, ...]
    columns: tuple[str, ...]
    values: Doubles

    @cached_property
    def labels(self) -> Matrix:
        """The instants as an array."""
        return np.array(self.instants, np.int64)

    @property
    def height(self) -> int:
        """Number of assets that it has a row for."""
        return int(self.values.shape[0])

    def column(self, name: str) -> Doubles:
        """The values of one column, assets x instants."""
        return self.values[:, :, self.columns.index(name)]

    def to_ipc(self) -> pa.Buffer:
        """The grid as an Arrow file, uncompressed, so that it can be mapped into memory."""
        flat = pa.array(np.ascontiguousarray(self.values).reshape(-1))
        instants = pa.FixedSizeListArray.from_arrays(flat, len(self.columns))
        table = pa.table({_VALUES: pa.FixedSizeListArray.from_arrays(instants, len(self.instants))})
        described = {_INSTANTS: self.labels.tobytes(), _COLUMNS: ",".join(self.columns).encode()}
        return table_to_ipc(table.replace_schema_metadata(described))


def open_grid(source: Path | bytes) -> Grid:
    """A grid as `Grid.to_ipc` wrote it, in place: a file is mapped into memory.

    Raises:
        TerminalError: it is no such file.
    """
    try:
        file = pa.memory_map(str(source)) if isinstance(source, Path) else pa.BufferReader(source)
        table = pa.ipc.open_file(file).read_all()
        described = table.schema.metadata or {}
        instants = np.frombuffer(described[_INSTANTS], np.int64)
        columns = tuple(described[_COLUMNS].decode().split(","))
        flat = table[_VALUES].chunk(0).values.values.to_numpy(zero_copy_only=True)
        values = flat.reshape(table.num_rows, len(instants), len(columns))
    except (pa.ArrowInvalid, KeyError, ValueError, IndexError, AttributeError) as error:
        raise TerminalError(f"A file of the bundle is no grid: {error}.", REBUILD) from error
    return Grid(tuple(instants.tolist()), columns, values)


def table_to_ipc(table: pa.Table) -> pa.Buffer:
    """A table as an Arrow file of one batch."""
    sink = pa.BufferOutputStream()
    with pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table.combine_chunks(), max_chunksize=max(table.num_rows, 1))
    return sink.getvalue()


def extended(grid: Grid | None, columns: Sequence[Column], instants: Sequence[int], height: int) -> Grid:
    """A grid in memory of the given columns, instants and assets, filled from an older one where that has a value."""
    names = tuple(column.name for column in columns)
    made = Grid(tuple(instants), names, np.full((height, len(instants), len(names)), np.nan))
    if grid is not None:
        kept = [place for place, instant in enumerate(made.instants) if instant in grid.instants]
        taken = [grid.instants.index(made.instants[place]) for place in kept]
        for place, name in enumerate(names):
            if kept and name in grid.columns:
                made.values[: grid.height, kept, place] = grid.column(name)[:height, taken]
    return made


def blank(grid: Grid, first: int, last: int) -> None:
    """Drop all values of a grid in memory from the first to the last instant, both included."""
    touched = (grid.labels >= first) & (grid.labels <= last)
    grid.values[:, touched, :] = np.nan


def fill(grid: Grid, columns: Sequence[Column], numbers: Matrix, instants: Matrix, rows: pa.Table) -> None:
    """Write rows into a grid in memory.

    Args:
        columns: of the grid, in its order.
        numbers: the asset of each row.
        instants: its instant, one of those of the grid.
        rows: the values, one column for each of the grid.
    """
    places = np.searchsorted(grid.labels, instants)
    for place, column in enumerate(columns):
        grid.values[numbers, places, place] = encode(column, rows[column.name])


def encode(column: Column, values: pa.ChunkedArray) -> Doubles:
    """Values as the numbers that a grid holds."""
    if column.type == "STRING":
        values = pc.index_in(values, pa.array(column.accepted, pa.string()))
    elif column.type == "TIMESTAMP":
        values = pc.divide(values.cast(pa.int64()), 1_000)
    return np.asarray(values.cast(pa.float64()).fill_null(np.nan))


def decode(column: Column, codes: Doubles) -> list[str | None]:
    """The texts of numbers that a grid holds."""
    return [None if code != code else column.accepted[int(code)] for code in codes.tolist()]
