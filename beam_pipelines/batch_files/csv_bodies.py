"""Read a body as CSV (RFC 4180): quoted cells, any line end, commas, semicolons or tabs, decimal points or commas."""

import csv
import io
import re
from collections.abc import Mapping, Sequence

_BYTE_ORDER_MARK = b"\xef\xbb\xbf"
_NOT_CSV = (b"{", b"[", b"<")
"""How JSON and HTML begin."""

_LONGEST_BLANK = 256
_DELIMITERS = ",;\t"
_NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)
_DECIMAL_COMMA = re.compile(r"[+-]?(\d+|\d{1,3}(\.\d{3})+),\d+", re.ASCII)

Rows = list[list[str]]


def read_rows(body: bytes) -> Rows | None:
    """The rows of a body, header included, cells stripped, empty lines left out; None when it is no CSV, or of one
    column.
    """
    start = body[:_LONGEST_BLANK].removeprefix(_BYTE_ORDER_MARK).lstrip()  # no copy of a body that may be large
    if not start or start.startswith(_NOT_CSV):
        return None
    return parse_rows(body.removeprefix(_BYTE_ORDER_MARK).decode("utf-8", errors="replace"))


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


def positions(header: Sequence[str], names: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """Where a header has each column, by any of its names, in any case; a column that it has not is left out."""
    cells = [re.sub(r"[^a-z0-9]+", "_", cell.lower()).strip("_") for cell in header]
    found = {column: [cells.index(name) for name in known if name in cells] for column, known in names.items()}
    return {column: places[0] for column, places in found.items() if places}


def read_number(cell: str) -> float | str | None:
    """A double; a text that is no number stays a text, and is refused. An empty cell is null."""
    if _NUMBER.fullmatch(cell):
        return float(cell)
    if _DECIMAL_COMMA.fullmatch(cell):
        return float(cell.replace(".", "").replace(",", "."))
    return cell or None
