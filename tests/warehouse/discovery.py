"""Requests to BigQuery's REST API, held to Google's own description of it: the discovery document that its Python
client ships.

An emulator takes what it understands and ignores the rest. BigQuery refuses a misspelt field, so this refuses it too,
and any other parameter, type or enumerated value that the document does not know.
"""

import json
import re
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from importlib.resources import files
from typing import Any

from jsonschema import Draft202012Validator

from tests.warehouse.wiretap import Request

INTEGER = {"anyOf": [{"type": "integer"}, {"type": "string", "pattern": r"^-?\d+$"}]}
"""JSON of protocol buffers: an integer is read as a number or as a string, whatever its width."""

_CAPITALS, _QUOTED = r"\b[A-Z][A-Z0-9_]{2,}\b", r'"([A-Z_]+)"'
TOLD_IN_WORDS = {
    "JobConfigurationLoad": {"writeDisposition": _CAPITALS, "createDisposition": _CAPITALS, "sourceFormat": _QUOTED},
    "JobConfigurationQuery": {
        "writeDisposition": _CAPITALS,
        "createDisposition": _CAPITALS,
        "priority": _CAPITALS,
        "parameterMode": _CAPITALS,
    },
    "QueryRequest": {"parameterMode": _CAPITALS},
    "TableFieldSchema": {"type": _CAPITALS, "mode": _CAPITALS},
    "TimePartitioning": {"type": _CAPITALS},
}
"""Fields whose values the document enumerates in its description only, and how they are written there."""

_PARAMETER_FORMS = {"boolean": r"true|false", "integer": r"-?\d+"}


class Discovery:
    """The API as its discovery document describes it.

    Args:
        document: the document.
    """

    def __init__(self, document: Mapping[str, Any]) -> None:
        self._document = document

    def faults(self, request: Request) -> list[str]:
        """What BigQuery would refuse of a request, in words; nothing when it is well formed."""
        if request.is_media:
            return []  # the second half of an upload: data, not JSON
        method = self._method(request)
        if method is None:
            return [f"{request.method} {request.path}: the API has no such method"]
        return [*self._parameter_faults(method, request), *self._body_faults(method, request)]

    def method_id(self, request: Request) -> str | None:
        """The name of the method that a request calls, e.g. ``bigquery.jobs.insert``."""
        method = self._method(request)
        return method and str(method["id"])

    @property
    def told_in_words(self) -> dict[tuple[str, str], list[str]]:
        """The values of the fields that the document enumerates in words, by schema and field."""
        return {
            (name, f): _words(self._document["schemas"][name], f, p)
            for name, fields in TOLD_IN_WORDS.items()
            for f, p in fields.items()
        }

    def _method(self, request: Request) -> Mapping[str, Any] | None:
        return next(
            (m for pattern, m in self._routes if m["httpMethod"] == request.method and pattern.fullmatch(request.path)),
            None,
        )

    @cached_property
    def _routes(self) -> list[tuple[re.Pattern[str], Mapping[str, Any]]]:
        service = f"/{self._document['servicePath']}"
        methods = [m for resource in self._document["resources"].values() for m in resource["methods"].values()]
        plain = [(_route(service + m["path"], m), m) for m in methods]
        uploads = [
            (_route(way["path"], m), m)
            for m in methods
            if "mediaUpload" in m
            for way in m["mediaUpload"]["protocols"].values()
        ]
        return plain + uploads

    def _parameter_faults(self, method: Mapping[str, Any], request: Request) -> Iterator[str]:
        known = {
            **self._document["parameters"],
            **{n: p for n, p in method.get("parameters", {}).items() if p["location"] == "query"},
        }
        for name, value in request.parameters:
            if name not in known:
                yield f"{method['id']}: there is no parameter {name}"
            elif not _fits(known[name], value):
                yield f"{method['id']}: parameter {name} is {value!r}"
        given = {name for name, _ in request.parameters}
        yield from (
            f"{method['id']}: parameter {n} is missing"
            for n, p in known.items()
            if p.get("required") and n not in given
        )

    def _body_faults(self, method: Mapping[str, Any], request: Request) -> Iterator[str]:
        wanted, body = method.get("request"), _without_nulls(request.json)
        if body is not None and wanted is not None:
            errors = self._validators[wanted["$ref"]].iter_errors(body)
            yield from (f"{method['id']}: {error.json_path}: {error.message[:300]}" for error in errors)
        elif (body is None) != (wanted is None):
            yield f"{method['id']}: {'a body is missing' if wanted else 'there is no body to take'}"

    @cached_property
    def _validators(self) -> dict[str, Draft202012Validator]:
        """What checks a body of each schema."""
        schemas = {name: _schema(body, TOLD_IN_WORDS.get(name)) for name, body in self._document["schemas"].items()}
        return {name: Draft202012Validator({"$ref": f"#/$defs/{name}", "$defs": schemas}) for name in schemas}


def _without_nulls(body: Any) -> Any:
    """The body without fields that are null: to protocol buffers that is the same."""
    if isinstance(body, dict):
        return {name: _without_nulls(value) for name, value in body.items() if value is not None}
    return [_without_nulls(value) for value in body] if isinstance(body, list) else body


def _route(template: str, method: Mapping[str, Any]) -> re.Pattern[str]:
    """The pattern of a path; every variable has the form that the document gives it."""
    parts = re.split(r"\{\+?(\w+)\}", template)
    forms = {name: p.get("pattern", "^[^/]+$").strip("^$") for name, p in method.get("parameters", {}).items()}
    return re.compile(
        "".join(forms.get(part, re.escape(part)) if odd % 2 else re.escape(part) for odd, part in enumerate(parts))
    )


def _fits(parameter: Mapping[str, Any], value: str) -> bool:
    if "enum" in parameter:
        return value in parameter["enum"]
    return re.fullmatch(_PARAMETER_FORMS.get(parameter["type"], ".*"), value, re.IGNORECASE | re.DOTALL) is not None


def _schema(described: Mapping[str, Any], told_in_words: Mapping[str, str] | None = None) -> dict[str, Any]:
    """JSON Schema of a part of the document; an object has the fields that are described, and no other."""
    if "$ref" in described:
        return {"$ref": f"#/$defs/{described['$ref']}"}
    if described["type"] == "object":
        return _object(described, told_in_words or {})
    if described["type"] == "array":
        return {"type": "array", "items": _schema(described["items"])}
    if described["type"] == "integer" or described.get("format") in {"int64", "uint64"}:
        return INTEGER
    if described["type"] == "any":
        return {}
    return {"type": described["type"], **({"enum": described["enum"]} if "enum" in described else {})}


def _object(described: Mapping[str, Any], told_in_words: Mapping[str, str]) -> dict[str, Any]:
    properties = {name: _schema(field) for name, field in described.get("properties", {}).items()}
    for name, pattern in told_in_words.items():
        properties[name]["enum"] = _words(described, name, pattern)
    others = described.get("additionalProperties")
    return {
        "type": "object",
        "properties": properties,
        "additionalProperties": _schema(others) if isinstance(others, dict) else False,
    }


def _words(described: Mapping[str, Any], field: str, pattern: str) -> list[str]:
    """The values of a field that its description names."""
    return sorted(set(re.findall(pattern, described["properties"][field]["description"])))


@cache
def bigquery() -> Discovery:
    """BigQuery's API, version 2."""
    document = files("googleapiclient").joinpath("discovery_cache/documents/bigquery.v2.json")
    return Discovery(json.loads(document.read_text(encoding="utf-8")))
