"""Read a body of the Fear & Greed index as its entries: the API's answer, in JSON or in CSV, or a CSV of others."""

import re
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from beam_pipelines.batch_files.csv_bodies import Rows, parse_rows, positions, read_moment, read_rows
from beam_pipelines.batch_files.json_bodies import BodyFault, read_json

COLUMNS = {
    "timestamp": ("timestamp", "date", "day", "time", "datetime"),
    "value": (
        *("value", "fng", "fng_value", "fear_greed", "fear_and_greed"),
        *("fear_greed_value", "fear_greed_index", "fear_and_greed_index", "index"),
    ),
    "value_classification": (
        "value_classification",
        "classification",
        "fng_classification",
        "fear_greed_classification",
    ),
}
"""The fields of an entry, and what a CSV calls them."""

_SHELL = re.compile(rb'"data"\s*:\s*\[(?P<rows>[^\[\]{}]*)\]')
"""What the API answers with ``format=csv``: lines of CSV as ``data`` of an object, which is neither CSV nor JSON."""

_DATE = re.compile(r"(?P<a>\d{1,4})[-/.](?P<b>\d{1,2})[-/.](?P<c>\d{1,4})", re.ASCII)
_SECONDS = re.compile(r"\d{9,11}", re.ASCII)


def read_entries(body: bytes) -> list[Any] | BodyFault:
    """The entries in a body, in its order; never raises."""
    rows = read_rows(body)
    if rows is not None:
        return _read_csv(rows)
    parsed = read_json(body)
    if isinstance(parsed, BodyFault):
        shell = _SHELL.search(body)
        rows = parse_rows(shell["rows"].decode("utf-8", errors="replace")) if shell else None
        return parsed if rows is None else _read_csv(rows)
    document = parsed.value
    if not isinstance(document, dict):
        return BodyFault("not_an_index")
    metadata = document.get("metadata")
    if isinstance(metadata, Mapping) and metadata.get("error"):
        return BodyFault("error_body")
    data = document.get("data")
    if not isinstance(data, list):
        return BodyFault("error_body" if "error" in document else "not_an_index")
    return _with_stamps(data)


def _with_stamps(entries: list[Any]) -> list[Any] | BodyFault:
    """Entries with seconds in place of dates, as the API writes them with ``date_format``."""
    dated = [entry for entry in entries if isinstance(entry, dict) and isinstance(entry.get("timestamp"), str)]
    if all(_SECONDS.fullmatch(entry["timestamp"]) for entry in dated):
        return entries
    read_day = _reader([entry["timestamp"] for entry in dated])
    if isinstance(read_day, BodyFault):
        return read_day
    for entry in dated:
        entry["timestamp"] = read_day(entry["timestamp"])
    return entries


def is_index(body: bytes) -> bool:
    """Whether a body holds entries; a landed body that does not is asked for again."""
    entries = read_entries(body)
    return isinstance(entries, list) and bool(entries)


def _read_csv(rows: Rows) -> list[Any] | BodyFault:
    """Rows in the form of the API; a row of another width stays a list of cells, and is refused.

    The API's own header names the columns in another order than they have, and some files have none: where the first
    cells of the rows are dates, these say more than a header.
    """
    places, lines = positions(rows[0], COLUMNS), rows[1:]
    if not {"timestamp", "value"} <= places.keys():
        if len(rows[0]) not in {2, 3} or not _DATE.fullmatch(rows[0][0]):
            return BodyFault("unknown_header")
        places, lines = {}, rows
    if lines and all(_DATE.fullmatch(cells[0]) for cells in lines) and len(places) in {0, len(lines[0])}:
        places = dict(zip(COLUMNS, range(len(lines[0])), strict=False))
    read_day = _reader([cells[places["timestamp"]] for cells in lines if len(cells) > places["timestamp"]])
    if isinstance(read_day, BodyFault):
        return read_day
    width = len(lines[0]) if lines else 0
    return [_entry(cells, places, read_day) if len(cells) == width else cells for cells in lines]


def _entry(cells: Sequence[str], places: Mapping[str, int], read_day: Callable[[str], str]) -> dict[str, str]:
    entry = {name: cells[place] for name, place in places.items()}
    return {**entry, "timestamp": read_day(entry["timestamp"])}


def _reader(days: Sequence[str]) -> Callable[[str], str] | BodyFault:
    """What reads the days of a file: year first, or day or month first, as the file as a whole shows."""
    found = [match for day in days if (match := _DATE.fullmatch(day))]
    if all(len(match["a"]) == 4 for match in found):
        return _midnight_by(lambda *day: day)
    firsts, seconds = [int(match["a"]) for match in found], [int(match["b"]) for match in found]
    if max(firsts) > 12 >= max(seconds):
        return _midnight_by(lambda a, b, c: (c, b, a))
    if max(seconds) > 12 >= max(firsts):
        return _midnight_by(lambda a, b, c: (c, a, b))
    return BodyFault("ambiguous_date")


def _midnight_by(order: Callable[[int, int, int], tuple[int, int, int]]) -> Callable[[str], str]:
    """Reads a date as epoch seconds of its midnight, as the API writes them, and an ISO 8601 instant with its zone as
    its own; another text stays as it is.
    """

    def midnight(day: str) -> str:
        match = _DATE.fullmatch(day)
        if match is None:
            return _instant(day)
        try:
            year, month, date = order(int(match["a"]), int(match["b"]), int(match["c"]))
            return str(int(datetime(year, month, date, tzinfo=UTC).timestamp()))
        except ValueError:  # 2018-02-31
            return day

    return midnight


def _instant(text: str) -> str:
    moment = read_moment(text)
    return text if moment is None or moment.tzinfo is None else str(int(moment.timestamp()))
