"""ISO 8601 instants of the API as microseconds since the epoch: singly (the rule), and by column (the same, fast)."""

import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
EARLIEST = datetime(2009, 1, 3, tzinfo=UTC)
"""The day of Bitcoin's first block: no market is older; an older stamp is a fault, such as seconds for milliseconds."""

FIRST_DATE = date(2013, 1, 1)
"""First date of the calendar, in the year in which CoinGecko's history begins: no fact has an earlier day."""

_MICROSECOND = timedelta(microseconds=1)
_PATTERN = r"[0-9]{4}-[0-9]{2}-[0-9]{2}[T ][0-9]{2}:[0-9]{2}:[0-9]{2}(?:\.[0-9]{1,6})?(?:Z|[+-][0-9]{2}:[0-9]{2})"
_INSTANT = re.compile(_PATTERN)
_USUAL_LENGTHS = {20, 24, 27}  # whole seconds, milliseconds, microseconds, each with a trailing Z
_INSTANT_TYPE = pa.timestamp("us", tz="UTC")


def to_micros(moment: datetime) -> int:
    """Microseconds since the epoch of an aware instant, exact."""
    return (moment - EPOCH) // _MICROSECOND


_FIRST_YEAR = to_micros(datetime.min.replace(tzinfo=UTC))
_LAST_YEAR = to_micros(datetime.max.replace(tzinfo=UTC))


def parse_micros(text: str) -> int | None:
    """Microseconds since the epoch; None when the text is no ISO 8601 instant with an offset in the years 1 to 9999."""
    if not _INSTANT.fullmatch(text):
        return None
    try:
        return to_micros(datetime.fromisoformat(text).astimezone(UTC))
    except (ValueError, OverflowError):
        return None


def format_micros(micros: int) -> str:
    """The instant in the form that ``parse_column`` reads fastest."""
    return (EPOCH + timedelta(microseconds=micros)).strftime("%Y-%m-%dT%H:%M:%S.%fZ").rjust(27, "0")


def parse_column(texts: Sequence[str | None]) -> tuple[pa.Array, list[int]]:
    """Parse a column.

    Returns:
        the instants (null for None and for what is no instant) and the positions of what is no instant.
    """
    try:
        column = pa.array(texts, pa.string())
    except UnicodeEncodeError:  # half of a surrogate pair, which JSON can spell
        return _parse_singly(texts)
    if not _has_usual_form(column, texts):
        matches = pc.match_substring_regex(column, f"^(?:{_PATTERN})$").fill_null(True)
        if not pc.all(matches, min_count=0).as_py():
            return _parse_singly(texts)
    try:
        instants = column.cast(_INSTANT_TYPE)
    except pa.ArrowInvalid:
        return _parse_singly(texts)
    micros = np.asarray(instants.cast(pa.int64()).drop_null())
    if micros.size and (micros.min() < _FIRST_YEAR or micros.max() > _LAST_YEAR):  # Python and BigQuery know no others
        return _parse_singly(texts)
    return instants, []


def _has_usual_form(column: pa.Array, texts: Sequence[str | None]) -> bool:
    """Whether every text has the length, final Z and colons of a usual instant; the cast checks the rest."""
    if not set(map(len, filter(None, texts))) <= _USUAL_LENGTHS:
        return False
    buffer = column.buffers()[2]
    data = b"" if buffer is None else buffer.to_pybytes()
    present = len(texts) - column.null_count
    return bool(data.count(b"Z") == present and data.count(b":") == 2 * present)


def _parse_singly(texts: Sequence[str | None]) -> tuple[pa.Array, list[int]]:
    """The slow path: one text at a time."""
    micros = [None if text is None else parse_micros(text) for text in texts]
    faults = [
        position
        for position, (text, value) in enumerate(zip(texts, micros, strict=True))
        if text is not None and value is None
    ]
    return pa.array(micros, pa.int64()).cast(_INSTANT_TYPE), faults
