"""What a real local run says to BigQuery, held to what BigQuery itself would check and the emulator does not."""

from collections import Counter
from typing import Any

import pytest
from sqlglot import exp

from coinbeam.batch.kinds import SNAPSHOTS
from coinbeam.contracts import Contract, load_all, load_contract
from coinbeam.contracts.bigquery import described, labels, standard_type
from coinbeam.contracts.model import SQL_ROOT
from console.partitions import references, unbounded_tables
from tests.warehouse.conftest import Recorded
from tests.warehouse.discovery import bigquery
from tests.warehouse.wiretap import Request

pytestmark = [pytest.mark.airflow, pytest.mark.cloud]

CONTRACTS = list(load_all().values())
PARTITIONED = {c.name: c.partition_column for c in CONTRACTS if c.partition_column}
every_table = pytest.mark.parametrize(
    "contract", [c for c in CONTRACTS if not c.is_view], ids=lambda contract: contract.name
)
every_view = pytest.mark.parametrize(
    "contract", [c for c in CONTRACTS if c.is_view], ids=lambda contract: contract.name
)

OF_GOOGLES_CLIENT = {"bigquery.jobs.get: there is no parameter projection"}
"""What google-cloud-bigquery itself sends beyond the document; BigQuery takes it from everybody who uses the client."""

MACROS = SQL_ROOT / "macros.sql"


def called(requests: tuple[Request, ...], method: str) -> list[Request]:
    """The requests that call a method."""
    return [request for request in requests if bigquery().method_id(request) == method]


def load_jobs(requests: tuple[Request, ...]) -> list[dict[str, Any]]:
    """The configurations of the load jobs."""
    jobs = [request.json["configuration"] for request in called(requests, "bigquery.jobs.insert")]
    return [job["load"] for job in jobs if "load" in job]


def test_every_request_has_the_form_that_bigquery_takes(recorded: Recorded) -> None:
    faults = Counter(fault for request in recorded.requests for fault in bigquery().faults(request))
    assert set(faults) <= OF_GOOGLES_CLIENT
    assert len(recorded.requests) > 400


def test_the_run_used_every_method_that_the_project_needs(recorded: Recorded) -> None:
    methods = {bigquery().method_id(request) for request in recorded.requests}
    tables = {f"bigquery.tables.{verb}" for verb in ("get", "insert", "patch", "delete")}
    assert (
        methods
        >= {"bigquery.jobs.insert", "bigquery.jobs.get", "bigquery.jobs.getQueryResults", "bigquery.datasets.get"}
        | tables
    )


def test_every_template_of_the_warehouse_was_run(recorded: Recorded) -> None:
    assert set(SQL_ROOT.rglob("*.sql")) - recorded.templates == {MACROS}


def test_every_statement_is_understood_as_bigquerys(recorded: Recorded) -> None:
    parsed = recorded.statements
    assert [statement.sql("bigquery")[:100] for statement in parsed if isinstance(statement, exp.Command)] == []
    kinds = (exp.Select, exp.Merge, exp.Insert, exp.Update, exp.Delete, exp.Create, exp.Alter)
    assert {kind for kind in kinds if any(isinstance(statement, kind) for statement in parsed)} == set(kinds)


def test_every_reference_to_a_partitioned_table_is_bounded(recorded: Recorded) -> None:
    found = [
        (table.name, s.sql("bigquery")[:300]) for s in recorded.statements for table in unbounded_tables(s, PARTITIONED)
    ]
    assert found == []


def test_every_partitioned_table_was_read_and_most_were_changed(recorded: Recorded) -> None:
    parsed = recorded.statements
    seen = {table.name for statement in parsed for table in references(statement, PARTITIONED)}
    assert seen == set(PARTITIONED)
    changed = {s.this.name for s in parsed if isinstance(s, exp.Merge | exp.Update | exp.Delete)} & set(PARTITIONED)
    appended_only = {"quality_result", "trade_window_pane"}
    assert changed == {name for name in PARTITIONED if not load_contract(name).is_view} - appended_only


def test_no_script_of_the_dag_may_read_without_a_limit(recorded: Recorded) -> None:
    jobs = [request.json["configuration"] for request in called(recorded.dag, "bigquery.jobs.insert")]
    scripts = [job["query"] for job in jobs if "COMMIT TRANSACTION" in job.get("query", {}).get("query", "")]
    assert scripts
    assert {int(query.get("maximumBytesBilled", 0)) for query in scripts} == {
        recorded.settings.warehouse.maximum_bytes_billed
    }


def test_the_stock_operators_load_every_staging_table_by_the_contracts_columns(recorded: Recorded) -> None:
    loads = {
        job["destinationTable"]["tableId"].partition("__")[0]: job
        for job in load_jobs(recorded.dag)
        if "sourceUris" in job
    }
    assert set(loads) == set(SNAPSHOTS.staged)
    for name, job in loads.items():
        columns = load_contract(name).file_columns
        found = [
            (field["name"], standard_type(field["type"]), field["mode"], field["description"])
            for field in job["schema"]["fields"]
        ]
        assert found == [(column.name, column.type, "NULLABLE", described(column)) for column in columns]
        assert (job["writeDisposition"], job["autodetect"]) == ("WRITE_TRUNCATE", False)
        if job["sourceFormat"] == "CSV":
            assert (job["skipLeadingRows"], job["fieldDelimiter"], job["quote"], job["allowQuotedNewlines"]) == (
                1,
                ",",
                '"',
                True,
            )


def test_what_the_warehouse_itself_asks_is_bounded_in_bytes(recorded: Recorded) -> None:
    jobs = [
        request.json["configuration"]["query"]
        for request in called(recorded.rest, "bigquery.jobs.insert")
        if request.sql
    ]
    assert len(jobs) > 50
    assert {job.get("maximumBytesBilled") for job in jobs} == {str(recorded.settings.warehouse.maximum_bytes_billed)}


def made(recorded: Recorded, contract: Contract) -> dict[str, Any]:
    """The table as it was asked for."""
    [body] = [
        r.json
        for r in called(recorded.dag, "bigquery.tables.insert")
        if r.json["tableReference"]["tableId"] == contract.name
    ]
    return dict(body)


@every_table
def test_a_table_is_made_with_the_words_of_its_contract(recorded: Recorded, contract: Contract) -> None:
    body = made(recorded, contract)
    assert (body["description"], body["labels"]) == (contract.description, labels(contract))
    assert {"owner", "contract_version"} <= set(body["labels"])
    assert [(f["name"], f["description"]) for f in body["schema"]["fields"]] == [
        (c.name, described(c)) for c in contract.columns
    ]


@every_table
def test_a_table_is_made_with_the_layout_of_its_contract(recorded: Recorded, contract: Contract) -> None:
    body = made(recorded, contract)
    assert body.get("timePartitioning", {}).get("field") == contract.partition_column
    assert body.get("requirePartitionFilter", False) == bool(contract.partition_column)
    assert body.get("clustering", {}).get("fields", []) == list(contract.clustering)
    assert [f["name"] for f in body["schema"]["fields"] if f["mode"] == "REQUIRED"] == [
        c.name for c in contract.columns if c.required
    ]


def statement_of(recorded: Recorded, view: Contract) -> exp.Create:
    """The ``CREATE VIEW`` of a view."""
    created = [s for s in recorded.statements if isinstance(s, exp.Create) and s.kind == "VIEW"]
    [statement] = [s for s in created if s.this.this.name == view.name]
    return statement


@every_view
def test_a_view_is_made_with_the_words_of_its_contract(recorded: Recorded, contract: Contract) -> None:
    statement = statement_of(recorded, contract)
    texts = [literal.name for literal in statement.find_all(exp.Literal)]
    assert [column.name for column in statement.this.expressions] == [column.name for column in contract.columns]
    assert {contract.description, *map(described, contract.columns)} <= set(texts)
    patched = [r.json for r in called(recorded.dag, "bigquery.tables.patch") if r.path.endswith(f"/{contract.name}")]
    assert [labels(contract).items() <= body["labels"].items() for body in patched] == [True]


@every_view
def test_a_view_names_the_project_of_what_it_reads(recorded: Recorded, contract: Contract) -> None:
    """A view that leaves it out cannot be read from another project, as readers do."""
    tables = list(statement_of(recorded, contract).expression.find_all(exp.Table))
    assert tables
    assert {table.catalog for table in tables} == {recorded.settings.google.project}


def test_a_migrated_table_is_read_again_before_it_is_updated(recorded: Recorded) -> None:
    """Its ALTER gave it another etag, and the client sends the one that it read."""
    altered = next(number for number, request in enumerate(recorded.rest) if "ALTER TABLE" in (request.sql or ""))
    after = [bigquery().method_id(r) for r in recorded.rest[altered:] if r.path.endswith("/source_dim")]
    assert after[:2] == ["bigquery.tables.get", "bigquery.tables.patch"]
    [patched] = [r.json for r in called(recorded.rest[altered:], "bigquery.tables.patch")]
    assert [field["name"] for field in patched["schema"]["fields"]][-1] == "note"
    assert all(field["description"] for field in patched["schema"]["fields"])
