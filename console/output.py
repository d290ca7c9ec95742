"""How results are shown: rich on a terminal, plain lines elsewhere, JSON and CSV for other programs."""

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from coinbeam.clock import format_instant

_BORDER = 3
"""Characters that a table adds to each column."""

_NUMBER = re.compile(r"(-?[\d,.]+(e[+-]?\d+)?( [TBM])?|nan|-?inf)?")

_PROSE = 30
"""Narrowest column of running text that still reads well."""


class Format(StrEnum):
    """Output formats of every command that shows rows."""

    TABLE = "table"
    CSV = "csv"
    JSON = "json"


_HIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u202a-\u202e\u2066-\u2069]")
"""Characters that a terminal obeys instead of showing: escapes, and marks that turn the direction of a line."""


def visible(text: str) -> str:
    """A text whose control characters are written out: what a coin is called commands no terminal."""
    return _HIDDEN.sub(lambda found: ascii(found[0])[1:-1], text)


def adapt_streams() -> None:
    """Let a terminal of any character set show what it can, and the rest as escapes, rather than end in an error."""
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


console = Console(soft_wrap=True, highlight=False)
_errors = Console(stderr=True, soft_wrap=True, highlight=False)


def complain(text: str) -> None:
    """One error on the error stream."""
    shown = escape(visible(text))
    _errors.print(f"[bold red]error[/] {shown}" if _errors.is_terminal else f"error: {shown}")


def warn(text: str) -> None:
    """One line on the error stream that is no error: what a person should know of an answer."""
    shown = escape(visible(text))
    _errors.print(f"[bold yellow]warning[/] {shown}" if _errors.is_terminal else f"warning: {shown}")


def say(text: str) -> None:
    """A line for a person."""
    console.print(escape(visible(text)))


TOLD = set[str]()
"""The banners that this command has shown: the plan, the run and its jobs know them too."""


def say_banner(banner: str) -> None:
    """Show a banner, if there is one, and remember that it was shown."""
    if banner:
        TOLD.add(banner)
        say(banner)


def heading(text: str) -> None:
    """A title above a block."""
    shown = escape(visible(text))
    console.print(f"\n[bold]{shown}[/]" if console.is_terminal else f"\n{shown}")


def show(columns: Sequence[str], rows: Iterable[Mapping[str, Any]], form: Format = Format.TABLE) -> None:
    """Show rows.

    Args:
        columns: names, in order.
        rows: values by name; doubles are never rounded.
        form: table for people; CSV and JSON stream, so that any number of rows fits in memory.
    """
    {Format.JSON: _write_json, Format.CSV: _write_csv, Format.TABLE: _write_table}[form](columns, rows)


def show_summary_table(
    columns: Sequence[str], rows: Iterable[Mapping[str, Any]], below: str = "", narrow: Sequence[str] = ()
) -> None:
    """Show a few rows to a person, numbers as a person reads them: 1.94 T, 97,261.03. For a look, never for a program.

    Args:
        below: a column of long texts, which stand below the table, each after the batch or the first column of its row.
        narrow: the columns that matter most, for a terminal that is too narrow for all.
    """
    found = list(rows)
    kept = [name for name in columns if name != below]
    shown = [{name: for_people(row[name]) for name in kept} for row in found]
    if found and narrow and not _fits(kept, shown):
        kept, left_out = list(narrow), [name for name in kept if name not in narrow]
        _write_table(kept, shown)
        say(f"Too narrow for {', '.join(left_out)}: see --format json.")
    else:
        _write_table(kept, shown)
    for row in found:
        if below and row[below]:
            say(f"{row.get('batch_id') or row[kept[0]]}: {row[below]}")


_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"))


def for_people(value: Any) -> Any:
    """A value as a person reads it: counts grouped, doubles of a million and more in words, small ones with four digits
    that count, instants to the second.
    """
    match value:
        case bool():
            return value
        case datetime():
            return value.replace(microsecond=0)
        case int():
            return f"{value:,}"
        case float() if abs(value) < float("inf"):
            for size, word in _SCALES:
                if abs(value) >= size:
                    return f"{value / size:,.2f} {word}"
            return f"{value:,.2f}" if abs(value) >= 1 else f"{value:.4g}"
    return value


def _write_json(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    is_unicode = (sys.stdout.encoding or "").lower().startswith("utf")  # else JSON's own escapes keep each character
    sys.stdout.write("[")
    for index, row in enumerate(rows):
        text = json.dumps({name: plain(row[name]) for name in columns}, ensure_ascii=not is_unicode, default=str)
        sys.stdout.write((",\n " if index else "") + text)
    sys.stdout.write("]\n")


def _write_csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(encoding="utf-8")  # CSV has no escapes: in another character set names would be lost
    writer = csv.writer(sys.stdout, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows([_cell(row[name]) for name in columns] for row in rows)


def _write_table(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> None:
    cells = [[_line(row[name]) for name in columns] for row in rows]
    if not cells:
        say(f"No rows of {', '.join(columns)}.")
        return
    if not console.is_terminal:
        widths = [max(map(len, column)) for column in zip(columns, *cells, strict=True)]
        for line in [list(columns), *cells]:
            padded = "  ".join(cell.ljust(width) for cell, width in zip(line, widths, strict=True))
            sys.stdout.write(padded.rstrip() + "\n")
        return
    laid_out = _laid_out(columns, cells)
    if laid_out is None:
        _write_records(columns, cells)
        return
    headers, prose = laid_out
    table = Table(header_style="bold")
    for index, name in enumerate(headers):
        is_number = all(_NUMBER.fullmatch(line[index]) for line in cells)
        justify: Literal["right", "left"] = "right" if is_number else "left"
        table.add_column(escape(name), no_wrap=index not in prose, overflow="fold", justify=justify)
    for line in cells:
        table.add_row(*(escape(cell) for cell in line))
    console.print(table, soft_wrap=False)


def _fits(columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> bool:
    """Whether rows fit the terminal as a table; any fits where there is no terminal."""
    cells = [[_line(row[name]) for name in columns] for row in rows]
    return not console.is_terminal or _laid_out(columns, cells) is not None


def _laid_out(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> tuple[Sequence[str], frozenset[int]] | None:
    """The headers, as they are or else folded, with which a table fits the terminal, and its columns whose cells are
    broken into lines; None when no table does.
    """
    folded = [_folded(name, column) for name, column in zip(columns, zip(*cells, strict=True), strict=True)]
    for headers in (columns, folded):
        prose = _prose_columns(headers, cells, console.width)
        if prose is not None:
            return headers, prose
    return None


def _line(value: Any) -> str:
    """A value as one line: a line break within a name would look like another row."""
    return visible(_cell(value)).replace("\n", "\\n")


def _prose_columns(columns: Sequence[str], cells: Sequence[Sequence[str]], width: int) -> frozenset[int] | None:
    """The columns whose cells are broken into lines so that a table fits a terminal; None when no table does.

    Only texts of several words are broken. A number or an id that is cut would say something else.
    """
    found = list(zip(columns, *cells, strict=True))
    widths = [max(max(map(cell_len, name.split("\n"))), *map(cell_len, column)) for name, *column in found]
    room = width - _BORDER * len(columns) - 1
    if sum(widths) <= room:
        return frozenset()
    prose = frozenset(
        index for index, column in enumerate(found) if widths[index] > _PROSE and any(map(_is_prose, column[1:]))
    )
    left = room - sum(size for index, size in enumerate(widths) if index not in prose)
    return prose if prose and left >= _PROSE * len(prose) else None


def _folded(header: str, column: Sequence[str]) -> str:
    """A header on several lines, broken behind underscores, no wider than its column where that can be."""
    room, lines = max(map(cell_len, column)), [""]
    for part in re.findall(r"[^_]*_|[^_]+$", header):
        if lines[-1] and len(lines[-1] + part) > room:
            lines.append("")
        lines[-1] += part
    return "\n".join(lines)


def _is_prose(cell: str) -> bool:
    """Whether a cell is a text that may be broken between its words."""
    return cell.count(" ") > 2 and not cell.startswith(("{", "["))


def _write_records(columns: Sequence[str], cells: Sequence[Sequence[str]]) -> None:
    """Each row as a block of one field a line, for rows that are wider than the terminal."""
    width = max(map(cell_len, columns))
    for number, line in enumerate(cells, start=1):
        console.print(f"[dim]row {number} of {len(cells)}[/]")
        for name, cell in zip(columns, line, strict=True):
            console.print(f"  [bold]{escape(name):<{width}}[/]  {escape(cell)}")


def plain(value: Any) -> Any:
    """A value as JSON carries it: instants and dates as ISO 8601, bytes as hexadecimal, non-finite doubles as text."""
    match value:
        case datetime():
            return format_instant(value) if value.tzinfo else value.isoformat()
        case date():
            return value.isoformat()
        case bytes():
            return value.hex()
        case float() if value != value or value in {float("inf"), float("-inf")}:
            return str(value)
        case list() | tuple():
            return [plain(item) for item in value]
        case Mapping():
            return {key: plain(item) for key, item in value.items()}
    return value


def _cell(value: Any) -> str:
    shown = plain(value)
    if shown is None:
        return ""
    return json.dumps(shown, ensure_ascii=False) if isinstance(shown, list | dict | bool) else str(shown)
