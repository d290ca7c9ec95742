"""Read a body of the Fear & Greed index as its entries: the API's answer, or a CSV of dates and values."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

CSV_HEADER = "date,fng"

_UNREADABLE = (ValueError, RecursionError)
_LINE_END = re.compile(r"\r\n|\n|\r")
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


@dataclass(frozen=True)
class IndexFault:
    """A body that holds no entries: why."""

    reason: str


def read_entries(body: bytes) -> list[Any] | IndexFault:
    """The entries in a body, in its order; never raises."""
    text = body.removeprefix(b"\xef\xbb\xbf")
    if text.split(b"\n", 1)[0].strip().lower() == CSV_HEADER.encode():
        lines = _LINE_END.split(text.decode("utf-8", errors="replace"))
        return [_csv_entry(line) for line in lines[1:] if line.strip()]
    for parse in (orjson.loads, json.loads):
        try:
            return _entries(parse(body))
        except _UNREADABLE:
            continue
    return IndexFault("not_json")


def is_index(body: bytes) -> bool:
    """Whether a body holds entries; a landed body that does not is asked for again."""
    entries = read_entries(body)
    return isinstance(entries, list) and bool(entries)


def _entries(document: Any) -> list[Any] | IndexFault:
    if not isinstance(document, dict):
        return IndexFault("not_an_index")
    metadata = document.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("error"):
        return IndexFault("error_body")
    data = document.get("data")
    return data if isinstance(data, list) else IndexFault("error_body" if "error" in document else "not_an_index")


def _csv_entry(line: str) -> Any:
    """A line in the form of the API, without a class; a line of another form stays a list of its cells, and is
    refused.
    """
    cells = [cell.strip() for cell in line.split(",")]
    if len(cells) != 2:
        return cells
    return {"value": cells[1], "timestamp": _midnight(cells[0])}


def _midnight(day: str) -> str:
    """Epoch seconds of a date's midnight, as the API writes them; a text that is no date stays as it is."""
    try:
        if _ISO_DATE.fullmatch(day):
            return str(int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp()))
    except ValueError:
        pass  # 2018-02-31
    return day
