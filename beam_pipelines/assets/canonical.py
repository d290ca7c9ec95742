"""Nested values of the API as one canonical text each: the same content never looks like a change."""

import json
from collections.abc import Mapping
from typing import Any

from coinbeam.contracts.values import is_storable


class WrongTypeError(ValueError):
    """A nested value has another shape than the API documents."""


def text_or_none(value: Any) -> str | None:
    """A text; None for null and for empty text.

    Raises:
        WrongTypeError: it is something else, or holds what BigQuery cannot: a NUL, half of a surrogate pair.
    """
    if value is None or value == "":
        return None
    if not isinstance(value, str) or not is_storable(value):
        raise WrongTypeError(f"{type(value).__name__} where text belongs")
    return value


def mapping_json(value: Any) -> str | None:
    """A mapping of texts as JSON with sorted keys; entries with a null or empty key or value are left out, None when
    nothing is left.

    Raises:
        WrongTypeError: it is no mapping of texts.
    """
    if value is None:
        return None
    if not isinstance(value, Mapping):
        raise WrongTypeError(f"{type(value).__name__} where an object belongs")
    entries = {text_or_none(key): text_or_none(item) for key, item in value.items()}
    return _json({key: entries[key] for key in sorted(key for key in entries if key) if entries[key]})


def list_json(value: Any) -> str | None:
    """A list of texts as a sorted JSON array; nulls, empty texts and repetitions are left out, None when nothing is
    left.

    Raises:
        WrongTypeError: it is no list of texts.
    """
    if value is None:
        return None
    if not isinstance(value, list):
        raise WrongTypeError(f"{type(value).__name__} where an array belongs")
    return _json(sorted({text for item in value if (text := text_or_none(item))}))


def _json(content: dict[str | None, str | None] | list[str]) -> str | None:
    return json.dumps(content, ensure_ascii=False, separators=(",", ":")) if content else None
