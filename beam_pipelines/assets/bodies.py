"""Tell the bodies of ``/coins/list`` and ``/coins/{id}`` apart by their shape."""

import json
from typing import Any

import orjson

_UNREADABLE = (ValueError, RecursionError)


def list_elements(body: bytes) -> list[Any] | None:
    """The elements of a coin list, bare or as ``data`` of an object; None for anything else."""
    content = _content(body)
    return content if isinstance(content, list) else None


def detail_object(body: bytes) -> dict[str, Any] | None:
    """The object of coin details, bare or as ``data`` of an object; None for anything else, errors included."""
    content = _content(body)
    return content if isinstance(content, dict) and "id" in content else None


def is_list(body: bytes) -> bool:
    """Whether a body is a coin list."""
    return list_elements(body) is not None


def is_detail(body: bytes) -> bool:
    """Whether a body is the details of a coin."""
    return detail_object(body) is not None


def _content(body: bytes) -> Any:
    for parse in (orjson.loads, json.loads):
        try:
            document = parse(body)
        except _UNREADABLE:
            continue
        return (
            document["data"]
            if isinstance(document, dict) and isinstance(document.get("data"), dict | list)
            else document
        )
    return None
