"""Read an API body as the rows of a page, by the fastest parser that can: simdjson, then orjson, then the tolerant
standard one.
"""

import json
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import orjson
import simdjson

Row = Any
"""One element of a page: a mapping, lazy or not, when the row is well formed."""

_LONGEST_INTEGER = 400  # digits; a double ends at 309, and Python refuses to read more than 4300
_UNREADABLE = (ValueError, RuntimeError, OverflowError, MemoryError)
"""What the parsers raise: UnicodeDecodeError is a ValueError; RecursionError, and simdjson on a large integer, are
RuntimeErrors.
"""


@dataclass(frozen=True)
class Page:
    """A body that is a page.

    Attributes:
        rows: its elements, in order; ``simdjson.Object`` or plain Python values.
        body: the bytes that they were read from.
        may_hold_nan: the parser also reads ``NaN``, which is no JSON.
    """

    rows: Sequence[Row]
    body: bytes
    may_hold_nan: bool


@dataclass(frozen=True)
class PageFault:
    """A body that is no page: why."""

    reason: str


class _Parsers(threading.local):
    """One simdjson parser for each thread: it reuses its memory, and threads must not share it."""

    def __init__(self) -> None:
        self.simdjson = simdjson.Parser()


_parsers = _Parsers()


def read_body(body: bytes) -> Page | PageFault:
    """The page in a body; never raises.

    A page is an array of rows, bare or as ``data`` of an object. The returned rows must be let go before the next call
    in the same thread, since they live in the parser's memory; a caller that keeps them costs a new parser, not an
    error.
    """
    for parse, may_hold_nan in _LADDER:
        try:
            document = parse(body)
        except _UNREADABLE:
            continue
        rows = _rows(document)
        return rows if isinstance(rows, PageFault) else Page(rows, body, may_hold_nan)
    return PageFault("not_json")


def plain(value: Any) -> Any:
    """A value with lazy objects and arrays turned into dictionaries and lists."""
    if isinstance(value, simdjson.Object):
        return value.as_dict()
    return value.as_list() if isinstance(value, simdjson.Array) else value


def _rows(document: Any) -> list[Row] | PageFault:
    """The elements of a parsed page."""
    if isinstance(document, (list, simdjson.Array)):
        return list(document)
    if not isinstance(document, (dict, simdjson.Object)):
        return PageFault("not_a_page")
    data = document.get("data")
    if isinstance(data, (list, simdjson.Array)):
        return list(data)
    return PageFault("error_body" if "error" in document or "status" in document else "not_a_page")


def _parse_simdjson(body: bytes) -> Any:
    try:
        return _parsers.simdjson.parse(body)
    except RuntimeError:  # rows of an earlier page are still held, or an integer is too big, which fails again
        _parsers.simdjson = simdjson.Parser()
        return _parsers.simdjson.parse(body)


def _parse_tolerant(body: bytes) -> Any:
    return json.loads(body, parse_int=_read_integer)


def _read_integer(digits: str) -> int | float:
    """An integer, or infinity for one far beyond the doubles."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


_LADDER: tuple[tuple[Callable[[bytes], Any], bool], ...] = (
    (_parse_simdjson, False),
    (orjson.loads, False),
    (_parse_tolerant, True),
)
