"""How one value of a source is judged by its column: the readable rules, and the bounds of whole blocks of doubles."""

import math
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from coinbeam.contracts.instants import parse_micros
from coinbeam.contracts.model import Column

Value = str | float | int | None
Doubles = npt.NDArray[np.float64]

INT64_RANGE = (-(2**63), 2**63 - 1)

_LARGEST = float(np.finfo(np.float64).max)


ID_COLUMN = "asset_id"
"""The column of every table that holds the source's id of an asset."""

_INVISIBLE = (
    r"\x00-\x1f\x7f-\x9f\xad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f"
)
"""Unicode's control and format characters: two ids that differ by one of them look the same."""

_NOT_IN_IDS = re.compile(rf"[{_INVISIBLE},\"/\\]|(?<!\S)\.+(?!\S)|^\s|\s\s|\s\Z")
"""No id holds an invisible character, a part of a path, what separates ids in a list, or blanks around it."""


class Fault(ValueError):
    """A value breaks a rule of its column; the argument is the reason."""


def convert(value: Any, column: Column) -> Value:
    """A value of a body as a value of its column; an instant as microseconds since the epoch, empty text as None.

    Raises:
        Fault: it breaks a rule of the column; the text is the reason.
    """
    if value == "" and column.type in {"STRING", "TIMESTAMP"}:
        value = None
    if value is None:
        if column.required:
            raise Fault("null_value")
        return None
    return _CONVERTERS[column.type](value, column)


def fault_of(value: Any, column: Column) -> str | None:
    """The reason to refuse a value, or None."""
    try:
        convert(value, column)
    except Fault as fault:
        return str(fault)
    return None


def is_unpriced(price: Any) -> bool:
    """Whether the source says that it has no price: null, or the number 0."""
    return price is None or (type(price) in {int, float} and price == 0)


def is_unicode(text: str) -> bool:
    """Whether a text can be written as UTF-8: JSON can spell half of a surrogate pair, which no text may hold."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def is_id(text: str) -> bool:
    """Whether the source can send a text as an id; of several, joined by blanks, whether it can send each."""
    return not _NOT_IN_IDS.search(text)


def is_storable(text: str) -> bool:
    """Whether BigQuery loads a text: it is Unicode and holds no NUL."""
    return "\0" not in text and is_unicode(text)


def number_bounds(columns: Sequence[Column]) -> tuple[Doubles, Doubles]:
    """Smallest and largest accepted double of each column, as two column vectors; infinity is outside of any bound."""
    return (
        np.array([[smallest_number(column)] for column in columns]),
        np.array([[_LARGEST if column.maximum is None else column.maximum] for column in columns]),
    )


def smallest_number(column: Column) -> float:
    """The smallest double that the column accepts: above an exclusive minimum, the next double."""
    if column.exclusive_minimum is not None:
        return float(np.nextafter(column.exclusive_minimum, np.inf))
    return -_LARGEST if column.minimum is None else float(column.minimum)


def _text(value: Any, column: Column) -> str:
    if not isinstance(value, str):
        raise Fault("wrong_type")
    if not is_storable(value):
        raise Fault("invalid_text")
    if column.max_length is not None and len(value) > column.max_length:
        raise Fault("too_long")
    if column.name == ID_COLUMN and not is_id(value):
        raise Fault("invalid_id")
    return value


def _number(value: Any, column: Column) -> float:
    if type(value) not in {int, float}:  # a bool is an int to isinstance
        raise Fault("wrong_type")
    try:
        number = float(value)
    except OverflowError:
        raise Fault("not_finite") from None
    if not math.isfinite(number):
        raise Fault("not_finite")
    _check_bounds(number, column)
    return number


def _integer(value: Any, column: Column) -> int:
    if type(value) not in {int, float}:
        raise Fault("wrong_type")
    if isinstance(value, float) and not math.isfinite(value):
        raise Fault("not_finite")
    if value != int(value):
        raise Fault("wrong_type")
    number = int(value)
    _check_bounds(number, column)
    if number > INT64_RANGE[1]:
        raise Fault("above_maximum")
    if number < INT64_RANGE[0]:
        raise Fault("below_minimum")
    return number


def _instant(value: Any, column: Column) -> int:  # noqa: ARG001 - the signature of a converter
    micros = parse_micros(value) if isinstance(value, str) else None
    if micros is None:
        raise Fault("wrong_type")
    return micros


def _check_bounds(number: float, column: Column) -> None:
    if number < smallest_number(column):
        raise Fault("below_minimum")
    if column.maximum is not None and number > column.maximum:
        raise Fault("above_maximum")


_CONVERTERS: dict[str, Callable[[Any, Column], Value]] = {
    "STRING": _text,
    "FLOAT64": _number,
    "INT64": _integer,
    "TIMESTAMP": _instant,
}
