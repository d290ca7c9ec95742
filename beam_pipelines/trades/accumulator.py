"""What a window knows so far: its trades, each id once, and its marks.

Accumulators are merged in any order, and parts come twice: the same trades give the same accumulator, bit for bit.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import apache_beam as beam
import numpy as np
import pyarrow as pa

from beam_pipelines.trades.lines import COLUMNS, Mark

Packed = tuple[bytes, tuple[Mark, ...]]
"""Trades as :func:`pack_trades` makes them, and marks: what is kept of a message, and travels between the workers."""

Known = tuple[Any, tuple[Mark, ...]]
"""The trades of a window by id, of shape (trades, ``COLUMNS``), and its marks in order."""

_AMOUNTS = slice(1, 3)
"""Price and quantity among the columns."""

_WORD = np.dtype(np.int64).itemsize

_MANY_PIECES = 1_000
"""Pieces after which they are made one: more of them than the messages of a busy minute may hold trades twice."""


@dataclass
class Accumulator:
    """Pieces that were not made one yet, and marks."""

    pieces: list[bytes]
    marks: set[Mark]

    def compact(self) -> "Accumulator":
        """The same in one piece."""
        if len(self.pieces) > 1:
            self.pieces = [pack_trades(unique(self.pieces))]
        return self


def pack_trades(table: Any) -> bytes:
    """Trades in a fifth of their bytes, for a small part of the time that reading them takes; none are no bytes.

    Prices and quantities lose the factor that they share, the smallest step of the venue. The columns lie apart,
    and of each column the lowest byte of all trades, then the next, as most of the higher ones are the same. A stream
    keeps all trades of a day, and the runner of a batch has them in hand five times at its worst.
    """
    if not len(table):
        return b""
    columns = table.T.copy()
    factors = np.maximum(np.gcd.reduce(columns[_AMOUNTS], axis=1), 1)
    columns[_AMOUNTS] //= factors[:, None]
    planes = columns.view(np.uint8).reshape(len(COLUMNS), len(table), _WORD)
    packed: bytes = pa.compress(planes.transpose(0, 2, 1).tobytes(), "lz4", asbytes=True)
    return np.array([len(table), *factors], np.int64).tobytes() + packed


def unpack_trades(packed: bytes) -> Any:
    """The trades of :func:`pack_trades`, which were some."""
    head = np.frombuffer(packed, np.int64, 3)
    trades, factors = int(head[0]), head[1:]
    planes = pa.decompress(packed[head.nbytes :], trades * len(COLUMNS) * _WORD, "lz4", asbytes=True)
    columns = np.frombuffer(planes, np.uint8).reshape(len(COLUMNS), _WORD, trades)
    table = columns.transpose(2, 0, 1).copy().view(np.int64)[:, :, 0]
    table[:, _AMOUNTS] *= factors
    return table


def unique(pieces: Sequence[bytes]) -> Any:
    """The trades of all pieces, each row once, by id; of shape (trades, ``COLUMNS``).

    Two different trades of one id both stay; :func:`split_conflicts` parts them.
    """
    if not pieces:
        return np.empty((0, len(COLUMNS)), np.int64)
    tables = sorted((unpack_trades(piece) for piece in pieces), key=lambda table: int(table[0, 0]))
    table = np.concatenate(tables)
    ids = table[:, 0]
    if (ids[1:] > ids[:-1]).all():  # in order, as they mostly come
        return table
    table = table[np.lexsort(table.T[::-1])]
    again = (table[1:] == table[:-1]).all(axis=1)
    return table[np.concatenate([[True], ~again])] if again.any() else table


def split_conflicts(table: Any) -> tuple[Any, Any]:
    """Trades with one row for each id, and the other rows of ids that two trades claim.

    The row that stays is the smallest, whichever came first: a rule that no order of messages changes.
    """
    claimed = np.concatenate([[False], table[1:, 0] == table[:-1, 0]]) if len(table) else np.empty(0, bool)
    return (table[~claimed], table[claimed]) if claimed.any() else (table, table[:0])


class CombineTrades(beam.CombineFn):
    """Packed parts of a window to all that they know."""

    def create_accumulator(self) -> Accumulator:
        """Nothing known."""
        return Accumulator([], set())

    def add_input(self, accumulator: Accumulator, part: Packed) -> Accumulator:
        """One part more."""
        trades, marks = part
        if trades:
            accumulator.pieces.append(trades)
        accumulator.marks.update(marks)
        return accumulator.compact() if len(accumulator.pieces) > _MANY_PIECES else accumulator

    def merge_accumulators(self, accumulators: Iterable[Accumulator]) -> Accumulator:
        """All that any of them knows."""
        merged = self.create_accumulator()
        for one in accumulators:
            merged.pieces += one.pieces
            merged.marks |= one.marks
        return merged

    def compact(self, accumulator: Accumulator) -> Accumulator:
        """Before it is stored or sent."""
        return accumulator.compact()

    def extract_output(self, accumulator: Accumulator) -> Known:
        """The trades by id, and the marks in order."""
        return unique(accumulator.pieces), tuple(sorted(accumulator.marks))
