"""Whether two tables hold the same rows, to the last bit: a null is no NaN, and -0.0 is no 0.0."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc


@dataclass(frozen=True)
class Inequality:
    """The first row in which two tables differ.

    Attributes:
        column: the column, or None when a row is missing in one of them.
        key: values of the key.
        expected: the value, or None when there is no such row.
        found: the same of the other table.
    """

    column: str | None
    key: tuple[Any, ...]
    expected: Any
    found: Any


def differing(expected: pa.ChunkedArray, found: pa.ChunkedArray) -> pa.ChunkedArray:
    """Of two columns of one length and type: where they differ in a bit, or in being null."""
    one_null = pc.xor(pc.is_null(expected), pc.is_null(found))
    return pc.or_(one_null, pc.fill_null(pc.not_equal(_bits(expected), _bits(found)), False))


def _bits(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Doubles as the integers of their bits; every other column as it is."""
    if column.type != pa.float64():
        return column
    return pa.chunked_array([chunk.view(pa.int64()) for chunk in column.chunks], pa.int64())


def sorted_by(rows: pa.Table, key: Sequence[str]) -> pa.Table:
    """Rows in the order of their key."""
    return rows.sort_by([(name, "ascending") for name in key])


def first_inequality(expected: pa.Table, found: pa.Table, key: Sequence[str]) -> Inequality | None:
    """The first difference of two tables of one schema, by key, then by column; None when they are equal.

    Rows come in any order; keys are unique.
    """
    expected, found = sorted_by(expected, key), sorted_by(found, key)
    shorter = min(expected.num_rows, found.num_rows)
    one, other = expected.slice(0, shorter), found.slice(0, shorter)
    if (row := _first([differing(one[name], other[name]) for name in key])) is not None:
        return _missing(one, other, key, row)
    if expected.num_rows != found.num_rows:
        longer = expected if expected.num_rows > shorter else found
        values = _key(longer, key, shorter)
        return Inequality(None, values, *(("a row", None) if longer is expected else (None, "a row")))
    for name in expected.column_names:
        if (row := _first([differing(one[name], other[name])])) is not None:
            return Inequality(name, _key(one, key, row), one[name][row].as_py(), other[name][row].as_py())
    return None


def _missing(expected: pa.Table, found: pa.Table, key: Sequence[str], row: int) -> Inequality:
    """Of two sorted tables whose keys differ from a row on: the lower key is the one that the other table lacks."""
    wanted, got = _key(expected, key, row), _key(found, key, row)
    return Inequality(None, wanted, "a row", None) if wanted < got else Inequality(None, got, None, "a row")


def _key(rows: pa.Table, key: Sequence[str], row: int) -> tuple[Any, ...]:
    return tuple(rows[name][row].as_py() for name in key)


def _first(masks: Sequence[pa.ChunkedArray]) -> int | None:
    """The first row in which any of the masks is true."""
    found = [index for mask in masks if (index := pc.index(mask, True).as_py()) >= 0]
    return min(found) if found else None
