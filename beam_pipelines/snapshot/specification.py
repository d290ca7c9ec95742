"""The rules of a market row, one row and one column at a time: the readable specification, and the judge of every
unusual row.

The columnar path in ``page`` must accept the same rows with the same values and refuse the others for the same reason;
a property test holds the two together.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from beam_pipelines.batch_files.rejects import Refused
from beam_pipelines.snapshot.members import values_of
from beam_pipelines.snapshot.rules import OBSERVED_COLUMN, PRICE_COLUMN, MarketRules
from coinbeam.contracts.values import ID_COLUMN, Fault, Value, convert, fault_of, is_unpriced


@dataclass(frozen=True)
class Accepted:
    """A row that is published.

    Attributes:
        values: by column; instants as microseconds since the epoch, absent and unusable fields as None.
        unusable: decorations and objects that are malformed.
    """

    values: dict[str, Value]
    unusable: frozenset[str]


@dataclass(frozen=True)
class Unpriced:
    """A row without a price: no fault, no row."""


Verdict = Accepted | Unpriced | Refused


def validate_row(row: Any, rules: MarketRules, expected: Collection[str], landed_micros: int) -> Verdict:
    """Judge one row.

    A row without a readable id is refused; then one without a price is unpriced, also if more is wrong with it; then
    the first fault counts, absent fields first, both in the order of the contract. A fault of a decoration or an object
    makes its columns null and costs no row.

    Args:
        row: an element of a page.
        rules: rules of the contract.
        expected: fields that the row must have: those that at least half of the rows have, and those that no row may
            lack.
        landed_micros: moment of landing in microseconds since the epoch.
    """
    if not isinstance(row, Mapping):
        return Refused("wrong_type", None, row)
    columns, by_name = rules.column_of_field, rules.contract.by_name
    id_field, price_field = str(by_name[ID_COLUMN].source), str(by_name[PRICE_COLUMN].source)
    if id_field not in row:
        return Refused("missing_field", ID_COLUMN, None)
    if fault := fault_of(row[id_field], columns[id_field]):
        return Refused(fault, ID_COLUMN, row[id_field])
    if price_field in row and is_unpriced(row[price_field]):
        return Unpriced()
    absent = [column.name for field, column in columns.items() if field in expected and field not in row]
    if absent:
        return Refused("missing_field", absent[0], None)
    values, unusable = dict[str, Value](), set[str]()
    for field, column in columns.items():
        given = row.get(field)
        try:
            values[column.name] = convert(given, column)
        except Fault as fault:
            if field not in rules.decorations:
                return Refused(str(fault), column.name, given)
            values[column.name] = None
            unusable.add(field)
        if column.name == OBSERVED_COLUMN and values[column.name] > latest_observation(rules, landed_micros):  # type: ignore[operator]
            return Refused("future_observation", column.name, given)
    for field, members in rules.members.items():
        found = values_of(row.get(field), members)
        values |= values_of(None, members) or {} if found is None else found
        unusable |= {field} if found is None else set()
    return Accepted(values, frozenset(unusable))


def latest_observation(rules: MarketRules, landed_micros: int) -> int:
    """The latest acceptable ``last_updated`` of a body, in microseconds since the epoch."""
    return landed_micros + round(rules.clock_skew_seconds * 1_000_000)
