"""What OpenAPI says of the API besides its routes: keys, headers of every answer, errors, and the answers of those who
have an answer already.
"""

from typing import Any

from fastapi import FastAPI
from pydantic import BaseModel

from serving.api.answers import PROBLEM
from serving.api.keys import KEY_HEADERS, KEY_PARAMETERS
from serving.api.parameters import INSTANT
from serving.api.shapes import Error, NumberedError

AS_OF: dict[str, Any] = {
    "name": "as_of",
    "in": "query",
    "required": False,
    "description": "The state at an instant of the past: ISO 8601, or UNIX seconds. Left out: now",
    "schema": INSTANT,
    "allowEmptyValue": True,
}

_TEXT = {"type": "string"}
HEADERS: dict[str, Any] = {
    "ETag": {"required": True, "description": "Of this answer; If-None-Match gets 304", "schema": _TEXT},
    "Cache-Control": {"required": True, "description": "How long the answer may be used again", "schema": _TEXT},
    "X-Coinbeam-Version": {"required": True, "description": "Version of the bundle that answered", "schema": _TEXT},
    "X-Coinbeam-Batch": {"required": True, "description": "Newest batch in that version", "schema": _TEXT},
    "X-Coinbeam-Observed-At": {
        "description": "When the newest price was observed",
        "schema": {"type": "string", "format": "date-time"},
    },
    "X-Coinbeam-Source": {"description": "Where the prices came from", "schema": _TEXT},
    "X-Attribution": {"description": "What the sources ask to be shown beside the data", "schema": _TEXT},
}
"""Of every good answer."""

_STATUSES = {
    400: "A currency that is not held",
    401: "No valid key",
    404: "An unknown coin, or what is not in this warehouse",
    406: "No such form",
    422: "A parameter is missing or wrong",
    429: "The limit of the key is spent",
    503: "No bundle yet, a part of it that cannot be read, or prices that are too old",
}

_WAIT = {
    "Retry-After": {"required": True, "description": "Seconds until a call passes again", "schema": {"type": "integer"}}
}


class Fault(BaseModel):
    """An error (RFC 9457)."""

    type: str
    title: str
    status: int
    detail: str


Responses = dict[int | str, dict[str, Any]]

_HELD: Responses = {304: {"description": "The caller has this answer already: its ETag was in If-None-Match"}}


def coingecko_responses(shape: Any) -> Responses:
    """The answers of a route below ``/api/v3``.

    Args:
        shape: of its good answer, or None where it has none.
    """
    good: Responses = {200: {"description": "As CoinGecko answers", "model": shape, "headers": HEADERS}, **_HELD}
    faults: Responses = {status: _fault(status, model=Error | NumberedError) for status in _STATUSES if status != 406}
    return (good if shape is not None else {}) | faults


def table_responses(
    description: str, model: type[BaseModel], forms: dict[str, Any], headers: dict[str, Any]
) -> Responses:
    """The answers of a route below ``/v1``.

    Args:
        forms: of its answer besides JSON, by type of the content.
        headers: of its answer besides those of every one.
    """
    good = {"description": description, "model": model, "content": forms, "headers": {**HEADERS, **headers}}
    content = {PROBLEM: {"schema": Fault.model_json_schema()}}
    faults: Responses = {status: _fault(status, content=content) for status in _STATUSES if status != 400}
    return {200: good, **_HELD, **faults}


def _fault(status: int, **body: Any) -> dict[str, Any]:
    waiting = {"headers": _WAIT} if status in {429, 503} else {}
    return {"description": _STATUSES[status], **waiting, **body}


class Described(FastAPI):
    """An application whose description says where a key goes.

    Attributes:
        needs_key: whether a call without a key is refused.
    """

    needs_key = False

    def openapi(self) -> dict[str, Any]:
        """The description of the application."""
        document = super().openapi()
        schemes = {
            f"{plan}_{place}": {"type": "apiKey", "in": place, "name": name}
            for place, names in (("header", KEY_HEADERS), ("query", KEY_PARAMETERS))
            for plan, name in zip(("demo", "pro"), names, strict=True)
        }
        document["components"]["securitySchemes"] = schemes
        ways: list[dict[str, list[str]]] = [{name: []} for name in schemes]
        for path, operations in document["paths"].items():
            if path.startswith(("/api/", "/v1/")):
                for operation in operations.values():
                    operation["security"] = ways if self.needs_key else [*ways, {}]
        return document
