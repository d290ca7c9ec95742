"""The rules of a market row, one row and one column at a time: the readable specification, and the judge of every
unusual row.

The columnar path in ``page`` must accept the same rows with the same values and refuse the others for the same reason;
a property test holds the two together.
"""

import math
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

from beam_pipelines.snapshot.rules import (
    ID_COLUMN,
    INT64_RANGE,
    OBSERVED_COLUMN,
    PRICE_COLUMN,
    MarketRules,
    smallest_number,
)
from coinbeam.contracts import Column
from coinbeam.contracts.instants import parse_micros

Value = str | float | int | None


@dataclass(frozen=True)
class Accepted:
    """A row that is published.

    Attributes:
        values: value of every source field; instants as microseconds since the epoch, absent fields as None.
    """

    values: dict[str, Value]


@dataclass(frozen=True)
class Unpriced:
    """A row without a price: no fault, no row."""


@dataclass(frozen=True)
class Refused:
    """A row that breaks a rule.

    Attributes:
        reason: class of the fault.
        column_name: column that broke its rule; None when the row is no object.
        value: the offending value.
    """

    reason: str
    column_name: str | None
    value: Any


Verdict = Accepted | Unpriced | Refused


class _Fault(ValueError):
    """A value breaks a rule of its column; the argument is the reason."""


def validate_row(row: Any, rules: MarketRules, expected: Collection[str], landed_micros: int) -> Verdict:
    """Judge one row.

    A row without a readable id is refused; then one without a price is unpriced, whatever else is wrong with it; then
    the first fault counts, absent fields first, both in the order of the contract.

    Args:
        row: an element of a page.
        rules: rules of the contract.
        expected: fields that the row must have: those that at least half of the rows have, and those that no row may
            lack.
        landed_micros: moment of landing in microseconds since the epoch.
    """
    if not isinstance(row, Mapping):
        return Refused("wrong_type", None, row)
    columns = rules.column_of_field
    id_field, price_field = str(rules.by_name[ID_COLUMN].source), str(rules.by_name[PRICE_COLUMN].source)
    if id_field not in row:
        return Refused("missing_field", ID_COLUMN, None)
    if fault := fault_of(row[id_field], columns[id_field]):
        return Refused(fault, ID_COLUMN, row[id_field])
    if price_field in row and is_unpriced(row[price_field]):
        return Unpriced()
    absent = [column.name for field, column in columns.items() if field in expected and field not in row]
    if absent:
        return Refused("missing_field", absent[0], None)
    return _judge_values(row, rules, landed_micros)


def is_unpriced(price: Any) -> bool:
    """Whether the source says that it has no price: null, or the number 0."""
    return price is None or (type(price) in {int, float} and price == 0)


def fault_of(value: Any, column: Column) -> str | None:
    """The reason to refuse a value, or None."""
    try:
        convert(value, column)
    except _Fault as fault:
        return str(fault)
    return None


def convert(value: Any, column: Column) -> Value:
    """A value of the body as a value of its column.

    Raises:
        ValueError: it breaks a rule of the column; the text is the reason.
    """
    if value == "" and column.type in {"STRING", "TIMESTAMP"}:
        value = None
    if value is None:
        if column.required:
            raise _Fault("null_value")
        return None
    return _CONVERTERS[column.type](value, column)


def _judge_values(row: Mapping[str, Any], rules: MarketRules, landed_micros: int) -> Verdict:
    values: dict[str, Value] = {}
    for field, column in rules.column_of_field.items():
        given = row.get(field)
        try:
            values[field] = convert(given, column)
        except _Fault as fault:
            return Refused(str(fault), column.name, given)
        if column.name == OBSERVED_COLUMN and values[field] > latest_observation(rules, landed_micros):  # type: ignore[operator]
            return Refused("future_observation", column.name, given)
    return Accepted(values)


def latest_observation(rules: MarketRules, landed_micros: int) -> int:
    """The latest acceptable ``last_updated`` of a body, in microseconds since the epoch."""
    return landed_micros + round(rules.clock_skew_seconds * 1_000_000)


def _text(value: Any, column: Column) -> str:
    if not isinstance(value, str):
        raise _Fault("wrong_type")
    if "\0" in value or not _is_unicode(value):  # BigQuery loads neither
        raise _Fault("invalid_text")
    if column.max_length is not None and len(value) > column.max_length:
        raise _Fault("too_long")
    return value


def _is_unicode(text: str) -> bool:
    """Whether the text can be written as UTF-8: JSON can spell half of a surrogate pair."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _number(value: Any, column: Column) -> float:
    if type(value) not in {int, float}:  # a bool is an int to isinstance
        raise _Fault("wrong_type")
    try:
        number = float(value)
    except OverflowError:
        raise _Fault("not_finite") from None
    if not math.isfinite(number):
        raise _Fault("not_finite")
    _check_bounds(number, column)
    return number


def _integer(value: Any, column: Column) -> int:
    if type(value) not in {int, float}:
        raise _Fault("wrong_type")
    if isinstance(value, float) and not math.isfinite(value):
        raise _Fault("not_finite")
    if value != int(value):
        raise _Fault("wrong_type")
    number = int(value)
    _check_bounds(number, column)
    if number > INT64_RANGE[1]:
        raise _Fault("above_maximum")
    if number < INT64_RANGE[0]:
        raise _Fault("below_minimum")
    return number


def _instant(value: Any, column: Column) -> int:  # noqa: ARG001 - the signature of a converter
    micros = parse_micros(value) if isinstance(value, str) else None
    if micros is None:
        raise _Fault("wrong_type")
    return micros


def _check_bounds(number: float, column: Column) -> None:
    if number < smallest_number(column):
        raise _Fault("below_minimum")
    if column.maximum is not None and number > column.maximum:
        raise _Fault("above_maximum")


_CONVERTERS: dict[str, Callable[[Any, Column], Value]] = {
    "STRING": _text,
    "FLOAT64": _number,
    "INT64": _integer,
    "TIMESTAMP": _instant,
}
