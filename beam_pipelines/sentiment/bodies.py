"""Read a body of the Fear & Greed index as its entries: the API's answer, or a CSV of dates and values."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from beam_pipelines.batch_files.json_bodies import BodyFault, read_json

CSV_HEADER = "date,fng"

_LINE_END = re.compile(r"\r\n|\n|\r")
_ISO_DATE = re.compile(r"\d{4}-\d\d-\d\d", re.ASCII)


def read_entries(body: bytes) -> list[Any] | BodyFault:
    """The entries in a body, in its order; never raises."""
    text = body.removeprefix(b"\xef\xbb\xbf")
    if text.split(b"\n", 1)[0].strip().lower() == CSV_HEADER.encode():
        lines = _LINE_END.split(text.decode("utf-8", errors="replace"))
        return [_csv_entry(line) for line in lines[1:] if line.strip()]
    parsed = read_json(body)
    if isinstance(parsed, BodyFault):
        return parsed
    document = parsed.value
    if not isinstance(document, dict):
        return BodyFault("not_an_index")
    metadata = document.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("error"):
        return BodyFault("error_body")
    data = document.get("data")
    return data if isinstance(data, list) else BodyFault("error_body" if "error" in document else "not_an_index")


def is_index(body: bytes) -> bool:
    """Whether a body holds entries; a landed body that does not is asked for again."""
    entries = read_entries(body)
    return isinstance(entries, list) and bool(entries)


def _csv_entry(line: str) -> Any:
    """A line in the form of the API, without a class; another line stays a list of cells, and is refused."""
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
