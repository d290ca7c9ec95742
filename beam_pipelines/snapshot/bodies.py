"""Read an API body as the rows of a page."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from beam_pipelines.batch_files.csv_bodies import is_table
from beam_pipelines.batch_files.json_bodies import ARRAYS, BodyFault, answer, other_currency, read_json

Row = Any
"""One element of a page: a mapping, lazy or not, when the row is well formed."""


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


def read_body(body: bytes, currency: str | None = None) -> Page | BodyFault:
    """The page in a body: an array of rows, bare or as ``data`` of an object; never raises.

    The rows may be lazy: let them go before the next call in the same thread.

    Args:
        body: the bytes.
        currency: what an object around the rows may not contradict.
    """
    document = read_json(body, lazy=True)
    if isinstance(document, BodyFault):
        return BodyFault("csv_table") if is_table(body) else document
    rows = other_currency(document.value, currency) or answer(document.value, ARRAYS, "not_a_page")
    return rows if isinstance(rows, BodyFault) else Page(list(rows), body, document.may_hold_nan)
