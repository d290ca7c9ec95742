"""Read a body as CSV (RFC 4180): quoted cells, any line end, commas, semicolons or tabs, decimal points or commas."""

import codecs
import csv
import io
import re
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime
from functools import partial

from beam_pipelines.batch_files.json_bodies import ARCHIVES

_UTF_16 = (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)
_NOT_CSV = (b"{", b"[", b"<", *ARCHIVES)
"""How JSON, HTML and archives begin."""

_LONGEST_BLANK = 256
_DELIMITERS = ",;\t"
_PLAIN = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_GROUPED = {mark: re.compile(rf"[+-]?[1-9]\d{{0,2}}(\{mark}\d{{3}})+", re.ASCII) for mark in ",."}
"""Digits in groups of three; with one mark alone they may be a fraction as well."""

_FRACTION = {
    mark: re.compile(rf"[+-]?(\d+|[1-9]\d{{0,2}}(\{other}\d{{3}})+)\{mark}\d+", re.ASCII)
    for mark, other in (",.", ".,")
}

NAIVE_STAMP = re.compile(r"\d{4}-\d\d-\d\d[T ]\d\d:\d\d(:\d\d(\.\d+)?)?", re.ASCII)
"""A moment that says no zone, and so is none."""

Rows = list[list[str]]


def read_rows(body: bytes) -> Rows | None:
    """The rows of a body, header included, cells stripped, empty lines left out; None when it is no CSV, or of one
    column.
    """
    if body.startswith(_UTF_16):  # as spreadsheets save "Unicode text"
        return parse_rows(body.decode("utf-16", errors="replace"))
    start = body[:_LONGEST_BLANK].removeprefix(codecs.BOM_UTF8).lstrip()  # no copy of a body that may be large
    if not start or start.startswith(_NOT_CSV):
        return None
    return parse_rows(body.removeprefix(codecs.BOM_UTF8).decode("utf-8", errors="replace"))


def parse_rows(text: str) -> Rows | None:
    """The rows of a text, as `read_rows`."""
    first = re.split(r"[\r\n]", text.lstrip(), maxsplit=1)[0]
    delimiter = max(_DELIMITERS, key=first.count)
    if delimiter not in first:
        return None
    try:
        found = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except csv.Error:
        return None
    return [[cell.strip() for cell in row] for row in found if any(cell.strip() for cell in row)]


def read_moment(text: str) -> datetime | None:
    """The ISO 8601 moment of a cell, ``2024-03-01 00:00:00 UTC`` as well; naive without a zone, None of no moment."""
    try:
        return datetime.fromisoformat(text.removesuffix(" UTC") + "+00:00" if text.endswith(" UTC") else text)
    except ValueError:
        return None


def is_table(body: bytes) -> bool:
    """Whether a body is CSV by its look: a header and lines of its width."""
    rows = read_rows(body) or []
    return len(rows) > 1 and {len(row) for row in rows} == {len(rows[0])}


def positions(header: Sequence[str], names: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Where a header has each column, by any of its names, in any case; a column that it has not, or twice by one name,
    is left out.
    """
    cells = [re.sub(r"[^a-z0-9]+", "_", cell.lower()).strip("_") for cell in header]
    found = {column: next((name for name in known if name in cells), "") for column, known in names.items()}
    return {column: cells.index(name) for column, name in found.items() if cells.count(name) == 1}


def number_reader(cells: Collection[str]) -> Callable[[str], float | str | None]:
    """What reads the numbers of a file: a double, or the text itself of what is no number, which is refused; None of an
    empty cell.

    ``61,168`` is a thousand times as much in one country as in another. The other cells of the file say which sign is
    its decimal one; where they do not, such a cell is no number. A single point means a fraction unless they object.
    """
    if not any("," in cell for cell in cells):
        return _read_plain
    marks = {mark for mark in ",." if any(_is_fraction(cell, mark) for cell in cells)}
    if len(marks) != 1:
        return lambda cell: cell if "," in cell else _read_plain(cell)
    [mark] = marks
    return partial(_read_local, mark=mark)


def _is_fraction(cell: str, mark: str) -> bool:
    """Whether a cell can only be read with this decimal sign."""
    return bool(_FRACTION[mark].fullmatch(cell)) and not _GROUPED[mark].fullmatch(cell)


def _read_plain(cell: str) -> float | str | None:
    return float(cell) if _PLAIN.fullmatch(cell) else cell or None


def _read_local(cell: str, mark: str) -> float | str | None:
    other = "." if mark == "," else ","
    if _FRACTION[mark].fullmatch(cell) or _GROUPED[other].fullmatch(cell):
        return float(cell.replace(other, "").replace(mark, "."))
    return cell if other in cell else _read_plain(cell)
