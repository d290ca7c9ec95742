"""The parameters of the routes: what each may be, read with the tolerance of the real API, and described once."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

from coinbeam.clock import parse_instant
from coinbeam.errors import SettingsError
from serving.api.answers import invalid, missing

MOST_IDS = 1_000
"""Ids, names or symbols of one call."""

MOST_PER_PAGE = 250

_SECONDS = re.compile(r"-?[0-9]{1,16}(\.[0-9]+)?")
_DAYS = re.compile(r"max|0{0,5}[1-9][0-9]{0,5}(\.[0-9]{1,6})?|0{1,6}\.[0-9]{0,5}[1-9][0-9]{0,5}")
_PRECISION = re.compile(r"full|[0-9]|1[0-8]")
_LATEST = datetime(9999, 1, 1, tzinfo=UTC).timestamp()

STRING: Mapping[str, Any] = {"type": "string"}
BOOLEAN: Mapping[str, Any] = {"type": "boolean"}
SOMETHING: Mapping[str, Any] = {"type": "string", "pattern": r"\S"}
SOME: Mapping[str, Any] = {"type": "string", "pattern": r"[^,\s]"}
COUNT: Mapping[str, Any] = {"type": "integer", "minimum": 1, "maximum": 999_999_999}
DAYS: Mapping[str, Any] = {"type": "string", "pattern": f"^({_DAYS.pattern})$"}
INSTANT: Mapping[str, Any] = {
    "type": "string",
    "anyOf": [
        {"format": "date-time"},
        {"format": "date"},
        {"pattern": r"^(-[0-9]{1,10}|[0-9]{1,7}|[0-9]{9,11})(\.[0-9]{1,6})?$"},
    ],
}
_DAY_OF_MONTH = "([01]?[1-9]|10|2[0-8])-(0?[1-9]|1[0-2])|(29|30)-(0?[13-9]|1[0-2])|31-(0?[13578]|1[02])"
DAY: Mapping[str, Any] = {
    "type": "string",
    "anyOf": [{"format": "date"}, {"pattern": f"^({_DAY_OF_MONTH})-[1-9][0-9]{{3}}$"}],
}
"""Schemas of values, as far as JSON Schema can tell the right ones."""

Reader = Callable[[str, str], Any]
"""Reads a text, given the name of its parameter for the error."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a query.

    Attributes:
        read: makes the value of its text, or raises `Refusal`.
        schema: as OpenAPI describes it.
        default: the value when it is left out.
        example: a value that brings an answer.
    """

    name: str
    read: Reader
    description: str
    schema: Mapping[str, Any] = field(default_factory=lambda: STRING)
    default: Any = None
    required: bool = False
    example: str = ""

    def described(self) -> dict[str, Any]:
        """It as OpenAPI has it."""
        return {
            "name": self.name,
            "in": "query",
            "required": self.required,
            "description": self.description,
            "schema": dict(self.schema),
            **({"example": self.example} if self.example else {}),
        }


def read_all(parameters: Mapping[str, Parameter], query: Mapping[str, str]) -> dict[str, Any]:
    """The values of a query. An empty text counts as left out, as does a list of nothing but commas where one is
    required; what no parameter is called is ignored.

    Raises:
        Refusal: a parameter is missing or has a wrong value.
    """
    values: dict[str, Any] = {}
    for name, parameter in parameters.items():
        given = query.get(name, "")
        values[name] = parameter.read(given.strip(), name) if given else parameter.default
        if parameter.required and (not given or values[name] in ("", [])):
            raise missing(name)
    return values


def text(value: str, _: str) -> str:
    """Any text."""
    return value


def lower(value: str, _: str) -> str:
    """A text whose case does not matter: clients send ``USD``."""
    return value.lower()


def flag(value: str, name: str) -> bool:
    """A truth value."""
    known = {"true": True, "false": False, "1": True, "0": False}
    if value.lower() not in known:
        raise invalid(name, "true or false")
    return known[value.lower()]


def names(value: str, name: str) -> list[str]:
    """Texts between commas, each once; spaces around them are ignored."""
    found = list(dict.fromkeys(part.strip() for part in value.split(",") if part.strip()))
    if len(found) > MOST_IDS:
        raise invalid(name, f"{len(found)} values, and at most {MOST_IDS} are answered at once")
    return found


def lower_names(value: str, name: str) -> list[str]:
    """The same, where case does not matter."""
    return names(value.lower(), name)


def per_page(value: str, name: str) -> int:
    """Rows of a page; more than the most is the most, as the real API has it."""
    return min(positive(value, name), MOST_PER_PAGE)


def positive(value: str, name: str) -> int:
    """A number from 1 on."""
    if not value.isascii() or not value.isdigit() or len(value) > 9 or int(value) < 1:
        raise invalid(name, "a whole number from 1 on")
    return int(value)


def precision(value: str, name: str) -> int | None:
    """Decimal places; None for all that there are."""
    if not _PRECISION.fullmatch(value):
        raise invalid(name, "full, or 0 to 18")
    return None if value == "full" else int(value)


def days(value: str, name: str) -> float | None:
    """A number of days; None for all."""
    if not _DAYS.fullmatch(value):
        raise invalid(name, "a number of days above 0, or max")
    return None if value == "max" else float(value)


def seconds(value: str, name: str) -> int:
    """UNIX seconds, or an ISO 8601 date or instant, as milliseconds since the epoch."""
    if _SECONDS.fullmatch(value):
        moment = float(value)
        if not -_LATEST < moment < _LATEST:
            raise invalid(name, "UNIX seconds")
        return round(moment * 1_000)
    return round(instant(value, name).timestamp() * 1_000)


def instant(value: str, name: str) -> datetime:
    """ISO 8601, or UNIX seconds."""
    try:
        if _SECONDS.fullmatch(value) and abs(float(value)) < _LATEST and not re.fullmatch(r"[0-9]{8}", value):
            return datetime.fromtimestamp(float(value), UTC)
        return parse_instant(value.replace(" ", "+") if "T" in value else value)  # an unescaped + arrives as a space
    except (SettingsError, OverflowError, ValueError, OSError):
        raise invalid(name, "an ISO 8601 instant such as 2026-01-02T03:00:00Z, or UNIX seconds") from None


def day(value: str, name: str) -> date:
    """A day as the real API writes it, ``30-12-2025``, or ISO 8601."""
    for form in ("%d-%m-%Y", "%Y-%m-%d"):
        try:
            return datetime.strptime(value, form).replace(tzinfo=UTC).date()
        except ValueError:
            continue
    raise invalid(name, "a day such as 30-12-2025")


def one_of(*accepted: str) -> Reader:
    """One of some texts."""

    def read(value: str, name: str) -> str:
        if value.lower() not in accepted:
            raise invalid(name, ", ".join(accepted))
        return value.lower()

    return read


def exactly(*accepted: str) -> Reader:
    """One of some texts, whose case matters."""

    def read(value: str, name: str) -> str:
        if value not in accepted:
            raise invalid(name, ", ".join(accepted))
        return value

    return read


def or_else(default: str, *accepted: str) -> Reader:
    """One of some texts; any other is the default, as the real API takes the orders that clients invent."""

    def read(value: str, _: str) -> str:
        return value.lower() if value.lower() in accepted else default

    return read


def periods(*known: str) -> Reader:
    """Some of a few periods, between commas."""

    def read(value: str, name: str) -> list[str]:
        found = lower_names(value, name)
        if not set(known).issuperset(found):
            raise invalid(name, f"some of {', '.join(known)}")
        return found

    return read


def up_to(most: int) -> Reader:
    """A number from 1 to the most."""

    def read(value: str, name: str) -> int:
        if not value.isascii() or not value.isdigit() or len(value) > 9 or not 1 <= int(value) <= most:
            raise invalid(name, f"a whole number from 1 to {most}")
        return int(value)

    return read
