"""The check of requests finds what BigQuery would refuse: one deliberate mistake at a time, in a request of Google's
own client.
"""

import json
from collections.abc import Callable
from copy import deepcopy
from typing import Any

import pytest
from google.cloud import bigquery as client

from coinbeam.contracts import load_contract
from coinbeam.contracts.bigquery import schema, table
from tests.warehouse.discovery import TOLD_IN_WORDS, bigquery
from tests.warehouse.wiretap import Request

FACT = load_contract("crypto_market_snapshot_fact")
JOBS, TABLES = "/bigquery/v2/projects/p/jobs", "/bigquery/v2/projects/p/datasets/d/tables"


def request(method: str, target: str, body: Any = None) -> Request:
    """A request with a JSON body."""
    return Request(method, target, "application/json", b"" if body is None else json.dumps(body).encode())


def load_job() -> dict[str, Any]:
    """A load job as the client writes it."""
    config = client.LoadJobConfig(
        schema=schema(FACT.columns),
        source_format=client.SourceFormat.CSV,
        skip_leading_rows=1,
        write_disposition=client.WriteDisposition.WRITE_TRUNCATE,
        time_partitioning=client.TimePartitioning(field="snapshot_date"),
    )
    return {"jobReference": {"projectId": "p", "jobId": "j"}, "configuration": config.to_api_repr()}


def query_job() -> dict[str, Any]:
    """A query as the client writes it, with a parameter that is null."""
    parameters = [client.ScalarQueryParameter("batch", "STRING", None), client.ScalarQueryParameter("n", "INT64", 1)]
    config = client.QueryJobConfig(query_parameters=parameters, maximum_bytes_billed=10).to_api_repr()
    config["query"]["query"] = "SELECT @n"
    return {"configuration": config}


def new_table() -> dict[str, Any]:
    """A table as the client writes it."""
    return dict(table(FACT, "p.d.t").to_api_repr())


WELL_FORMED = {
    "a load job": request("POST", f"{JOBS}?prettyPrint=false", load_job()),
    "an upload": request("POST", "/upload/bigquery/v2/projects/p/jobs?uploadType=resumable", load_job()),
    "the data of an upload": Request(
        "PUT", "/upload/bigquery/v2/projects/p/jobs?uploadType=resumable&upload_id=1", "*/*", b"a,b"
    ),
    "a query": request("POST", JOBS, query_job()),
    "a table": request("POST", TABLES, new_table()),
    "rows": request(
        "GET", "/bigquery/v2/projects/p/queries/j?maxResults=0&formatOptions.useInt64Timestamp=True&location=US"
    ),
}


@pytest.mark.parametrize("asked", WELL_FORMED.values(), ids=WELL_FORMED)
def test_a_well_formed_request_has_no_fault(asked: Request) -> None:
    assert bigquery().faults(asked) == []


def mistaken(body: dict[str, Any], *path: str, value: Any, name: str | None = None) -> dict[str, Any]:
    """The body with another value, or another name, at the end of a path."""
    made = deepcopy(body)
    at = made
    for step in path[:-1]:
        at = at[step]
    at.pop(path[-1], None)
    at[name or path[-1]] = value
    return made


LOAD, QUERY = ("configuration", "load"), ("configuration", "query")
MISTAKES: dict[str, tuple[Callable[[], Request], str]] = {
    "a misspelt field of a load": (
        lambda: request("POST", JOBS, mistaken(load_job(), *LOAD, "skipLeadingRows", value="1", name="skipLeadingRow")),
        "'skipLeadingRow' was unexpected",
    ),
    "a misspelt field of a column": (
        lambda: request(
            "POST", TABLES, mistaken(new_table(), "schema", value={"fields": [{"name": "a", "kind": "DATE"}]})
        ),
        "'kind' was unexpected",
    ),
    "a disposition that is none": (
        lambda: request("POST", JOBS, mistaken(load_job(), *LOAD, "writeDisposition", value="TRUNCATE")),
        "'TRUNCATE' is not one of",
    ),
    "a format that is none": (
        lambda: request("POST", JOBS, mistaken(load_job(), *LOAD, "sourceFormat", value="JSON")),
        "'JSON' is not",
    ),
    "a partition by week": (
        lambda: request("POST", JOBS, mistaken(load_job(), *LOAD, "timePartitioning", value={"type": "WEEK"})),
        "'WEEK' is not one of",
    ),
    "a type that is none": (
        lambda: request(
            "POST", TABLES, mistaken(new_table(), "schema", value={"fields": [{"name": "a", "type": "DOUBLE"}]})
        ),
        "'DOUBLE' is not one of",
    ),
    "a value that the document enumerates": (
        lambda: request("POST", JOBS, mistaken(load_job(), *LOAD, "jsonExtension", value="NDJSON")),
        "'NDJSON' is not one of",
    ),
    "a text where a boolean belongs": (
        lambda: request("POST", JOBS, mistaken(query_job(), *QUERY, "useLegacySql", value="false")),
        "'false' is not of type 'boolean'",
    ),
    "a list where a text belongs": (
        lambda: request("POST", JOBS, mistaken(query_job(), *QUERY, "query", value=["SELECT 1"])),
        "not of type",
    ),
    "a number of bytes with a unit": (
        lambda: request("POST", JOBS, mistaken(query_job(), *QUERY, "maximumBytesBilled", value="10GB")),
        "'10GB' is not valid",
    ),
    "a label that is no text": (
        lambda: request("POST", TABLES, mistaken(new_table(), "labels", value={"owner": 1})),
        "1 is not of type",
    ),
    "an unknown parameter": (
        lambda: request("POST", f"{JOBS}?pretty=false", query_job()),
        "there is no parameter pretty",
    ),
    "a parameter of another type": (
        lambda: request("GET", "/bigquery/v2/projects/p/queries/j?maxResults=all"),
        "maxResults is 'all'",
    ),
    "a method of another resource": (lambda: request("PATCH", JOBS, query_job()), "the API has no such method"),
    "a path of another version": (
        lambda: request("POST", JOBS.replace("v2", "v3"), query_job()),
        "the API has no such method",
    ),
    "a body left out": (lambda: request("POST", JOBS), "a body is missing"),
    "a body too many": (lambda: request("DELETE", f"{TABLES}/t", {"force": True}), "no body to take"),
}


@pytest.mark.parametrize(("asked", "told"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_is_found_and_named(asked: Callable[[], Request], told: str) -> None:
    (fault,) = bigquery().faults(asked())
    assert told in fault


def test_values_that_the_document_tells_in_words_are_all_understood() -> None:
    """A description that is worded anew must not empty the list that it gives."""
    known = {
        "sourceFormat": "NEWLINE_DELIMITED_JSON",
        "type": "DAY",
        "mode": "REPEATED",
        "priority": "BATCH",
        "parameterMode": "NAMED",
    }
    document = bigquery().told_in_words
    assert set(document) == {(name, field) for name, fields in TOLD_IN_WORDS.items() for field in fields}
    assert all(len(values) >= 2 for values in document.values())
    for (name, field), values in document.items():
        expected = "TIMESTAMP" if (name, field) == ("TableFieldSchema", "type") else known.get(field, "")
        assert expected in {*values, ""}, (name, field)
