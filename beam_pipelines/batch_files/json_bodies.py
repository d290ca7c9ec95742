"""Read a landed body as JSON, by simdjson, orjson or the tolerant standard parser, and find its answer."""

import json
import threading
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import orjson
import simdjson

ARRAYS = (list, simdjson.Array)
OBJECTS = (dict, simdjson.Object)

UNREADABLE = (ValueError, RuntimeError, OverflowError, MemoryError)
"""What the parsers raise: a RecursionError is a RuntimeError, and so is simdjson's on a large integer."""

CURRENCY_FIELDS = ("vs_currency", "quote_currency", "currency")
"""How those who keep answers call the currency of their prices."""

ARCHIVES = {b"\x1f\x8b": "damaged_gzip", b"PK\x03\x04": "zip_archive"}
"""How bodies begin that are packed, and why they are not read: whole gzip is unpacked before."""

_LONGEST_INTEGER = 400  # digits; a double ends at 309, and Python refuses to read more than 4300


@dataclass(frozen=True)
class Document:
    """A body that is JSON.

    Attributes:
        value: what it says, with ``simdjson.Object`` and ``simdjson.Array`` where it was read lazily.
        may_hold_nan: the parser also reads ``NaN``, which is no JSON.
    """

    value: Any
    may_hold_nan: bool = False


@dataclass(frozen=True)
class BodyFault:
    """A body that does not hold what was asked for: why."""

    reason: str


class _Parsers(threading.local):
    """One simdjson parser for each thread: it reuses its memory, and threads must not share it."""

    def __init__(self) -> None:
        self.simdjson = simdjson.Parser()


_parsers = _Parsers()


def read_json(body: bytes, *, lazy: bool = False) -> Document | BodyFault:
    """The document in a body; never raises.

    Args:
        body: the bytes.
        lazy: the first parser may be simdjson. Its values live in the parser's memory and must be let go before the
            next call in the same thread; a caller that keeps them costs a new parser, not an error.
    """
    for parse in (parse_lazily, orjson.loads) if lazy else (orjson.loads,):
        try:
            return Document(parse(body))
        except UNREADABLE:
            continue
    try:
        return Document(json.loads(body, parse_int=_read_integer), may_hold_nan=True)
    except UNREADABLE:
        return BodyFault(_form_of(body))


def _form_of(body: bytes) -> str:
    """What a body is that is no JSON, as far as that is known."""
    for magic, reason in ARCHIVES.items():
        if body.startswith(magic):
            return reason
    first, _, rest = body.lstrip().partition(b"\n")
    if first.startswith(b"{") and rest.lstrip().startswith(b"{"):
        with suppress(*UNREADABLE):
            orjson.loads(first)
            return "json_lines"
    return "not_json"


def parse_lazily(body: bytes) -> Any:
    """The document in a body, by simdjson.

    Raises:
        ValueError: it is no JSON, or JSON that another parser must read; also as the rest of ``UNREADABLE``.
    """
    try:
        return _parsers.simdjson.parse(body)
    except RuntimeError:  # values of an earlier body are still held, or an integer is too big, which fails again
        _parsers.simdjson = simdjson.Parser()
        return _parsers.simdjson.parse(body)


def _read_integer(digits: str) -> int | float:
    """An integer, or infinity for one far beyond the doubles."""
    return int(digits) if len(digits) <= _LONGEST_INTEGER else float(digits)


def other_currency(document: Any, currency: str | None) -> BodyFault | None:
    """The fault of an envelope around an answer that says another currency than was asked for; None where it does not.

    The API's own bodies say none; those who keep them in an object of their own may.
    """
    if currency is None or not isinstance(document, OBJECTS):
        return None
    levels = [level for level in (document, document.get("data")) if isinstance(level, OBJECTS)]
    told = {value.lower() for level in levels for name in CURRENCY_FIELDS if isinstance(value := level.get(name), str)}
    return BodyFault("other_currency") if told - {currency} else None


def answer(document: Any, kinds: tuple[type[Any], ...], otherwise: str, field: str | None = None) -> Any:
    """The answer in a document: ``data`` of an object, or the document itself; a `BodyFault` when neither will do.

    Args:
        document: the value of a `Document`.
        kinds: ``ARRAYS`` or ``OBJECTS``.
        otherwise: reason of a document that is something else, and no error of the API either.
        field: a field that the answer must have.
    """
    inner = document.get("data") if isinstance(document, OBJECTS) else None
    found = inner if isinstance(inner, kinds) else document
    if isinstance(found, kinds) and (field is None or field in found):
        return found
    is_error = isinstance(document, OBJECTS) and ("error" in document or "status" in document)
    return BodyFault("error_body" if is_error else otherwise)


def plain(value: Any) -> Any:
    """A value with lazy objects and arrays turned into dictionaries and lists."""
    if isinstance(value, simdjson.Object):
        return value.as_dict()
    return value.as_list() if isinstance(value, simdjson.Array) else value
