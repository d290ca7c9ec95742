"""Tell the bodies of ``/coins/list`` and ``/coins/{id}`` apart by their shape."""

from typing import Any

from beam_pipelines.batch_files.json_bodies import BodyFault, answer, read_json


def list_elements(body: bytes) -> list[Any] | None:
    """The elements of a coin list, bare or as ``data`` of an object; None for anything else."""
    return _answer(body, list)


def detail_object(body: bytes) -> dict[str, Any] | None:
    """The object of coin details, bare or as ``data`` of an object; None for anything else, errors included."""
    return _answer(body, dict, "id")


def is_list(body: bytes) -> bool:
    """Whether a body is a coin list."""
    return list_elements(body) is not None


def is_detail(body: bytes) -> bool:
    """Whether a body is the details of a coin."""
    return detail_object(body) is not None


def _answer(body: bytes, kind: type, field: str | None = None) -> Any:
    document = read_json(body)
    found = document if isinstance(document, BodyFault) else answer(document.value, (kind,), "", field)
    return None if isinstance(found, BodyFault) else found
