"""Numbers and instants as people read them."""

import math
import re
from datetime import UTC, date, datetime, timedelta
from typing import Any

from coinbeam.clock import parse_instant

MISSING = "–"

_SYMBOLS = {"usd": "$", "eur": "€", "gbp": "£", "jpy": "¥", "btc": "₿"}
_SCALES = ((1e12, "T"), (1e9, "B"), (1e6, "M"), (1e3, "K"))
_SIGNIFICANT = 4
_TINY = 1e-12
_INSTANT = re.compile(r"\d{4}-\d{2}-\d{2}T\d{2}:\d{2}:\d{2}(\.\d+)?(Z|[+-]\d{2}:\d{2})")


def is_missing(value: Any) -> bool:
    """Whether there is no number: None, NaN or infinite."""
    return value is None or not math.isfinite(value)


def _in(currency: str, text: str) -> str:
    symbol = _SYMBOLS.get(currency)
    if symbol is None:
        return f"{text} {currency.upper()}".strip()
    return f"-{symbol}{text[1:]}" if text.startswith("-") else symbol + text


def price(value: Any, currency: str = "") -> str:
    """A price: from 1 on with two decimals, below with four significant digits, however small it is."""
    if is_missing(value):
        return MISSING
    size = abs(value)
    if size >= 1 or size == 0:
        text = f"{value:,.2f}"
    elif size < _TINY:
        text = f"{value:.{_SIGNIFICANT - 1}e}"
    else:
        text = f"{value:.{_SIGNIFICANT - 1 - math.floor(math.log10(size))}f}"
    return _in(currency, text)


def amount(value: Any, currency: str = "") -> str:
    """A large number with three significant digits and K, M, B or T."""
    if is_missing(value):
        return MISSING
    for scale, letter in _SCALES:
        if abs(value / scale) >= 0.9995:
            scaled = float(f"{value / scale:.3g}")
            digits = max(0, 2 - math.floor(math.log10(abs(scaled))))
            return _in(currency, f"{scaled:,.{digits}f}{letter}")
    return _in(currency, f"{value:,.2f}".removesuffix(".00"))


def count(value: Any) -> str:
    """A whole number with separators."""
    return MISSING if is_missing(value) else f"{value:,.0f}"


def percent(value: Any) -> str:
    """A change: its direction by an arrow and by its sign, so that nobody needs its colour."""
    if is_missing(value):
        return MISSING
    text = f"{value:+,.2f}%"
    if text in {"+0.00%", "-0.00%"}:
        return "0.00%"
    return f"{'▲' if value > 0 else '▼'} {text}"


def share(value: Any) -> str:
    """A percentage that is no change."""
    return MISSING if is_missing(value) else f"{value:,.2f}%"


def instant(moment: datetime | None) -> str:
    """An instant to the minute, in UTC."""
    return MISSING if moment is None else f"{moment.astimezone(UTC):%Y-%m-%d %H:%M} UTC"


def day(moment: date | None) -> str:
    """A UTC day."""
    return MISSING if moment is None else f"{moment:%Y-%m-%d}"


def age(span: timedelta) -> str:
    """How long ago something was, in the largest unit that it fills twice."""
    seconds = span.total_seconds()
    for unit, length in (("days", 86_400), ("hours", 3_600), ("min", 60)):
        if seconds >= 2 * length:
            return f"{seconds / length:,.0f} {unit}"
    return f"{max(seconds, 0):.0f} s"


def title(name: str) -> str:
    """The name of a column as the head of a table."""
    return name.replace("_", " ").capitalize()


def readable(value: Any) -> str:
    """A cell of a table whose columns are not known beforehand."""
    if value is None:
        return MISSING
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, int | float):
        return count(value) if float(value).is_integer() else f"{value:,.1f}"
    if isinstance(value, datetime):
        return instant(value)
    if isinstance(value, str) and _INSTANT.fullmatch(value):
        return instant(parse_instant(value))
    return str(value)
