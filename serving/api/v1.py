"""The routes below ``/v1``: tables with typed rows, filters, pages by key, as JSON, CSV or Arrow."""

import base64
import re
from collections.abc import Callable, Coroutine, Mapping
from datetime import date, datetime
from typing import Any

import orjson
import pyarrow as pa
import pyarrow.compute as pc
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel, Field, create_model

from coinbeam.contracts import Column
from coinbeam.contracts.arrow import csv_block, csv_header
from serving.api import parameters as read
from serving.api.answers import JSON, Refusal, invalid
from serving.api.description import AS_OF, table_responses
from serving.api.parameters import Parameter
from serving.api.tables import TABLES, Table

ROOT = "/v1"
MOST_ROWS = 10_000
_ROWS = 100

CSV, ARROW = "text/csv", "application/vnd.apache.arrow.stream"
_FORM_OF = {"json": JSON, "csv": CSV, "arrow": ARROW}
NEXT = "x-coinbeam-next"

_EXAMPLES = {"asset_id": "bitcoin", "quote_currency": "usd"}

_WEIGHT = re.compile(r"(?:^|;)\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:$|;)")

_TYPES: dict[str, Any] = {
    "STRING": str, "INT64": int, "FLOAT64": float, "BOOL": bool, "TIMESTAMP": datetime, "DATE": date,
}  # fmt: skip


def serve(app: FastAPI) -> None:
    """Add the routes of all tables."""
    for table in TABLES:
        known = _parameters(table)
        app.add_api_route(
            f"{ROOT}/{table.name}",
            _endpoint(table, known),
            methods=["GET"],
            name=f"v1_{table.name}",
            summary=table.summary,
            tags=[table.tag],
            response_class=Response,
            responses=table_responses(table.summary, page_model(table), _FORMS, _NEXT),
            openapi_extra={"parameters": [*(p.described() for p in known.values()), AS_OF]},
        )


def _parameters(table: Table) -> dict[str, Parameter]:
    columns = {column.name: column for column in table.columns}
    found = [
        Parameter(
            name,
            read.exactly(*columns[name].accepted) if columns[name].accepted else read.text,
            f"Only rows with this {name}. {columns[name].description}",
            {"type": "string", "enum": list(columns[name].accepted)} if columns[name].accepted else read.SOMETHING,
            required=name in table.required,
            example=_EXAMPLES.get(name, ""),
        )
        for name in table.equal
    ]
    if table.day:
        found += [
            Parameter("from", read.day, f"First {table.day}", read.DAY),
            Parameter("to", read.day, f"Last {table.day}", read.DAY),
        ]
    found += [
        Parameter(
            "limit",
            read.up_to(MOST_ROWS),
            "Most rows of the page",
            {"type": "integer", "minimum": 1, "maximum": MOST_ROWS},
            default=_ROWS,
        ),
        Parameter(
            "after",
            read.text,
            f"Where the page begins: `next` of the page before, or its header {NEXT}",
            read.SOMETHING,
        ),
        Parameter(
            "format",
            lambda value, name: _FORM_OF[read.exactly(*_FORM_OF)(value, name)],
            "The form of the answer, for those who cannot send an Accept header, such as spreadsheets",
            {"type": "string", "enum": list(_FORM_OF)},
        ),
    ]
    return {parameter.name: parameter for parameter in found}


_FORMS = {CSV: {"schema": {"type": "string"}}, ARROW: {"schema": {"type": "string", "format": "binary"}}}
_NEXT = {NEXT: {"description": "Where the next page begins", "schema": {"type": "string"}}}


def page_model(table: Table) -> type[BaseModel]:
    """A page of rows, typed as the contract has them."""
    title = "".join(part.title() for part in table.name.split("_"))
    fields: dict[str, Any] = {column.name: _field(column) for column in table.columns}
    row = create_model(title, **fields)
    return create_model(
        f"{title}Page",
        data=(list[row], ...),
        next=(str | None, Field(description="Where the next page begins")),
    )


def _field(column: Column) -> tuple[Any, Any]:
    kind = _TYPES[column.type]
    return (kind if column.required else kind | None), Field(description=f"{column.description}. Unit: {column.unit}")


def _endpoint(table: Table, known: Mapping[str, Parameter]) -> Callable[[Request], Coroutine[Any, Any, Response]]:
    async def endpoint(request: Request) -> Response:
        state = request.scope["state"]
        _refuse_odd(state["query"], known)
        filters = read.read_all(known, state["query"])
        form = filters["format"] or _form(request.headers.get("accept", ""))
        page, following = _page(table, table.rows(state["view"], filters, state["as_of"] or None), filters)
        headers = {NEXT: following} if following else {}
        return Response(_written(page, table, form, following), headers=headers, media_type=form)

    return endpoint


def _refuse_odd(query: Mapping[str, str], known: Mapping[str, Parameter]) -> None:
    """A filter that is misspelt or has no value must not answer as if it were not there."""
    unknown = sorted(query.keys() - known.keys() - {"as_of"})
    if unknown:
        raise Refusal(422, f"Unknown parameter {unknown[0][:64]}; known are {', '.join([*known, 'as_of'])}")
    for name in known.keys() & query.keys():
        if not query[name].strip():
            raise invalid(name, "it is empty; leave it out")


def _form(accept: str) -> str:
    """The form of the answer that the caller takes, JSON when any.

    Raises:
        Refusal: it takes none of ours.
    """
    for form in _preferred(accept) or (["*/*"] if not accept.strip() else []):
        if form in {"*/*", "application/*", "application/json"}:
            return JSON
        if form in {CSV, ARROW}:
            return form
        if form == "text/*":
            return CSV
    raise Refusal(406, f"The answer can be application/json, {CSV} or {ARROW}")


def _preferred(accept: str) -> list[str]:
    """The forms of an Accept header without those of weight 0, the heaviest first."""
    weights = {}
    for part in accept.split(","):
        form, _, parameters = part.partition(";")
        found = _WEIGHT.search(parameters)
        weights[form.strip().lower()] = float(found[1]) if found else 1.0
    return sorted((form for form, weight in weights.items() if form and weight), key=lambda form: -weights[form])


def _page(table: Table, rows: pa.Table, filters: Mapping[str, Any]) -> tuple[pa.Table, str | None]:
    """The rows of a page, and where the next one begins; None at the end."""
    for name in table.equal:
        if filters[name] is not None:
            rows = rows.filter(pc.equal(rows[name], filters[name]))
    if table.day:
        for name, compare in (("from", pc.greater_equal), ("to", pc.less_equal)):
            if filters[name] is not None:
                rows = rows.filter(compare(rows[table.day], pa.scalar(filters[name], pa.date32())))
    if filters["after"] is not None:
        rows = rows.filter(_beyond(table, rows, _cursor(table, filters["after"])))
    page = rows.slice(0, filters["limit"])
    return page, _position(table, page) if rows.num_rows > page.num_rows else None


def _beyond(table: Table, rows: pa.Table, position: list[pa.Scalar]) -> pa.ChunkedArray:
    """Which rows come after a position, in the order of the key."""
    mask = None
    for name, value in reversed(list(zip(table.key, position, strict=True))):
        later = pc.greater(rows[name], value)
        mask = later if mask is None else pc.or_(later, pc.and_(pc.equal(rows[name], value), mask))
    return mask


def _position(table: Table, page: pa.Table) -> str:
    last = page.slice(page.num_rows - 1).select(list(table.key))
    values = [column.cast(_wire(column.type))[0].as_py() for column in last.columns]
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")


def _cursor(table: Table, text: str) -> list[pa.Scalar]:
    try:
        values = orjson.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if not isinstance(values, list) or len(values) != len(table.key) or None in values:
            raise ValueError("it has another form")
        types = [table.schema.field(name).type for name in table.key]
        return [pa.scalar(value, _wire(kind)).cast(kind) for value, kind in zip(values, types, strict=True)]
    except (ValueError, TypeError, OverflowError, pa.ArrowInvalid, pa.ArrowTypeError):
        raise invalid("after", "take it from `next` of the page before") from None


def _wire(kind: pa.DataType) -> pa.DataType:
    """The type in which a key is written into a position."""
    if pa.types.is_timestamp(kind):
        return pa.int64()
    return pa.int32() if pa.types.is_date(kind) else kind


def _written(page: pa.Table, table: Table, form: str, following: str | None) -> bytes:
    if form == CSV:
        return csv_header(table.columns) + csv_block(page)
    if form == ARROW:
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, page.schema) as writer:
            writer.write_table(page)
        return bytes(sink.getvalue())
    return orjson.dumps({"data": page.to_pylist(), "next": following}, option=orjson.OPT_UTC_Z)
