"""Records of a page as typed columns, vectorised: it converts what is usual and names the rows that are not."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import pyarrow as pa

from beam_pipelines.batch_files.builder import assemble
from beam_pipelines.snapshot.layout import Layout, Record
from beam_pipelines.snapshot.members import Member, values_of
from beam_pipelines.snapshot.rules import (
    INGESTED_COLUMN,
    OBSERVED_COLUMN,
    REALIZED_VOLATILITY_COLUMN,
    VOLATILITY_COLUMN,
    MarketRules,
)
from beam_pipelines.snapshot.sparklines import Prices, sparkline_statistics
from beam_pipelines.snapshot.specification import latest_observation
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import Column
from coinbeam.contracts.arrow import arrow_schema
from coinbeam.contracts.instants import parse_column
from coinbeam.contracts.values import ID_COLUMN, Doubles, fault_of, is_id

_NONE = type(None)


@dataclass(frozen=True)
class MarketColumns:
    """Accepted rows, column by column.

    Attributes:
        numbers: one row for each FLOAT64 column of the contract, NaN for null.
        arrays: the other source columns that the page has, by name.
        landed_micros: moment of landing of the rows' page in microseconds since the epoch.
    """

    numbers: Doubles
    arrays: dict[str, pa.Array]
    landed_micros: int

    @property
    def height(self) -> int:
        """Number of rows."""
        return int(self.numbers.shape[1])


class ColumnBuilder:
    """Builds the columns of one page, whose parser may also read NaN."""

    def __init__(self, layout: Layout, rules: MarketRules, landed_micros: int, *, may_hold_nan: bool) -> None:
        self._layout = layout
        self._rules = rules
        self._landed_micros = landed_micros
        self._may_hold_nan = may_hold_nan
        self._columns: dict[str, Sequence[Any]] = {}
        self._height = 0
        self._suspects: set[int] = set()

    def build(self, records: Sequence[Record]) -> tuple[MarketColumns, set[int]]:
        """The columns of the records, and the positions of records that need a closer look.

        The columns are complete only when no position is returned. Statistics of sparklines and members of objects are
        not filled in.
        """
        self._height, self._suspects = len(records), set()
        self._columns = dict(zip(self._layout.fields, zip(*records, strict=True), strict=False)) if records else {}
        for field, values in self._columns.items():
            if self._rules.column_of_field[field].required and None in values:
                self._suspect(values, lambda value: value is None)
        numbers = self._numbers()
        arrays = self._integers() | self._texts() | self._instants()
        return MarketColumns(numbers, arrays, self._landed_micros), self._suspects

    def _of_type(self, type_name: str) -> list[tuple[Column, Sequence[Any]]]:
        found = ((self._rules.column_of_field[field], values) for field, values in self._columns.items())
        return [(column, values) for column, values in found if column.type == type_name]

    def _suspect(self, flat: Iterable[Any], is_unusual: Callable[[Any], bool]) -> None:
        """Mark the rows of unusual values; ``flat`` holds one column after the other."""
        self._suspects.update(position % self._height for position, value in enumerate(flat) if is_unusual(value))

    def _suspect_faults(self, found: Iterable[tuple[Column, Sequence[Any]]]) -> None:
        """Mark the rows whose value breaks a rule of its column."""
        for column, values in found:
            self._suspects.update(position for position, value in enumerate(values) if fault_of(value, column))

    def _numbers(self) -> Doubles:
        """The block of doubles, in bounds; NumPy reads None as NaN, but also texts and bools, hence the types."""
        rules, found = self._rules, self._of_type("FLOAT64")
        block = np.full((len(rules.number_columns), self._height), np.nan)
        flat = list(chain.from_iterable(values for _, values in found))
        if not set(map(type, flat)) <= {float, int, _NONE}:
            self._suspect(flat, lambda value: type(value) not in {float, int, _NONE})
            return block
        try:
            given = np.array(flat, np.float64)
        except OverflowError:
            self._suspect_faults(found)
            return block
        if self._may_hold_nan:
            self._suspect(flat, lambda value: value != value)
        block[[rules.number_row[column.name] for column, _ in found]] = given.reshape(len(found), self._height)
        smallest, largest = rules.number_bounds
        outside = (block < smallest) | (block > largest)
        if outside.any():
            self._suspects.update(np.flatnonzero(outside.any(axis=0)).tolist())
        return block

    def _integers(self) -> dict[str, pa.Array]:
        arrays = {}
        for column, values in self._of_type("INT64"):
            if set(map(type, values)) <= {int, _NONE}:
                try:
                    array = arrays[column.name] = pa.array(values, pa.int64())
                    present = np.asarray(array.drop_null())
                    ends = (int(present.min()), int(present.max())) if present.size else ()
                    if not any(fault_of(end, column) for end in ends):
                        continue
                except (OverflowError, pa.ArrowInvalid):
                    pass
            self._suspect(values, lambda value: type(value) not in {int, _NONE})
            self._suspect_faults([(column, values)])
        return arrays

    def _texts(self) -> dict[str, pa.Array]:
        """Text columns, converted together and sliced; empty texts become null."""
        found = self._of_type("STRING")
        flat = self._checked_texts(found)
        if flat is None:
            return {}
        try:
            texts = pa.array(flat, pa.string())
        except UnicodeEncodeError:  # half of a surrogate pair
            self._suspect_faults(found)
            return {}
        _, offsets, data = texts.buffers()
        sizes = np.diff(np.frombuffer(offsets, np.int32, len(flat) + 1))  # bytes: never fewer than characters
        longest = sizes.reshape(len(found), -1).max(axis=1)
        has_nul = data is not None and b"\0" in data.to_pybytes()
        for (column, values), size in zip(found, longest, strict=True):
            is_hostile = column.name == ID_COLUMN and not is_id(" ".join(value or "" for value in values))
            if has_nul or is_hostile or (column.max_length is not None and size > column.max_length):
                self._suspect_faults([(column, values)])
        return self._sliced(found, texts)

    def _instants(self) -> dict[str, pa.Array]:
        found = self._of_type("TIMESTAMP")
        flat = self._checked_texts(found)
        if flat is None:
            return {}
        instants, faults = parse_column(flat)
        self._suspects.update(position % self._height for position in faults)
        arrays = self._sliced(found, instants)
        observed = np.asarray(arrays[OBSERVED_COLUMN].cast(pa.int64()).fill_null(0))
        late = observed > latest_observation(self._rules, self._landed_micros)
        if late.any():
            self._suspects.update(np.flatnonzero(late).tolist())
        return arrays

    def _checked_texts(self, found: list[tuple[Column, Sequence[Any]]]) -> list[str | None] | None:
        """All columns one after the other, empty texts as None; None when some value is no text."""
        flat = list(chain.from_iterable(values for _, values in found))
        if not flat:
            return None
        if not set(map(type, flat)) <= {str, _NONE}:
            self._suspect(flat, lambda value: type(value) not in {str, _NONE})
            return None
        if "" in flat:
            for column, values in found:
                if column.required:
                    self._suspect(values, lambda value: value == "")
            flat = [value or None for value in flat]
        return flat

    def _sliced(self, found: list[tuple[Column, Sequence[Any]]], flat: pa.Array) -> dict[str, pa.Array]:
        return {column.name: flat.slice(index * self._height, self._height) for index, (column, _) in enumerate(found)}


def fill_statistics(columns: MarketColumns, prices: Sequence[Prices], rules: MarketRules, *, flat: bool) -> int:
    """Write the statistics of the sparklines into the number block; returns how many sparklines are unusable."""
    statistics, unusable = sparkline_statistics(prices, flat=flat)
    columns.numbers[[rules.number_row[VOLATILITY_COLUMN], rules.number_row[REALIZED_VOLATILITY_COLUMN]]] = statistics
    return unusable


def fill_members(
    columns: MarketColumns, given: Sequence[Member], members: Mapping[str, Column], rules: MarketRules
) -> int:
    """Write the members of an object into their columns; returns how many objects are malformed."""
    found = {position: values_of(one, members) for position, one in enumerate(given) if one is not None}
    usable = {position: values for position, values in found.items() if values is not None}
    if not usable:
        return len(found)
    for column in members.values():
        if column.name in rules.number_row:
            row = columns.numbers[rules.number_row[column.name]]
            row[list(usable)] = [
                np.nan if values[column.name] is None else values[column.name] for values in usable.values()
            ]
        else:
            values = [usable[position][column.name] if position in usable else None for position in range(len(given))]
            columns.arrays[column.name] = pa.array(values, arrow_schema([column]).types[0])
    return len(found) - len(usable)


def to_table(pages: Sequence[MarketColumns], batch: BatchManifest, rules: MarketRules) -> pa.Table:
    """The rows of all pages as a table in the contract's columns and types."""
    numbers = (
        np.concatenate([page.numbers for page in pages], axis=1) if pages else np.empty((len(rules.number_columns), 0))
    )
    landed = np.repeat(np.array([page.landed_micros for page in pages], np.int64), [page.height for page in pages])
    filled = {INGESTED_COLUMN: pa.array(landed, pa.timestamp("us", tz="UTC"))}
    for column, row in zip(rules.number_columns, numbers, strict=True):
        filled[column.name] = pa.array(row, from_pandas=True)
    for field in arrow_schema(column for column in rules.contract.source_columns if column.name not in filled):
        parts = [page.arrays.get(field.name, pa.nulls(page.height, field.type)) for page in pages]
        filled[field.name] = pa.concat_arrays(parts or [pa.nulls(0, field.type)])
    return assemble(rules.contract, filled, batch)
