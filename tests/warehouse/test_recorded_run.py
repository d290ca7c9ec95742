"""What a real local run says to BigQuery, held to what BigQuery itself would check and the emulator does not."""

import re
from collections import Counter
from typing import Any

import pytest
from sqlglot import exp

from coinbeam.batch.kinds import SNAPSHOTS
from coinbeam.contracts import Contract, load_all, load_contract
from coinbeam.contracts.bigquery import described, labels, standard_type
from coinbeam.contracts.model import SQL_ROOT
from coinbeam.warehouse.client import Warehouse
from console.partitions import references, statements, unbounded_tables
from tests.warehouse.conftest import Recorded
from tests.warehouse.discovery import bigquery
from tests.warehouse.googlesql import GoogleSql, Refused, parameter_type, type_name
from tests.warehouse.wiretap import Request

pytestmark = [pytest.mark.airflow, pytest.mark.cloud, pytest.mark.timeout(500)]

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

ROW = """WITH t AS (
  SELECT 'bitcoin' AS asset_id, DATE '2026-01-02' AS date, TIMESTAMP '2026-01-02 00:00:00+00' AS seen_at, 1.5 AS price, 3 AS place
)
"""


MISTAKES = {
    "a function of another database": ("SELECT MEDIAN(price) AS x FROM t", "Function not found: MEDIAN"),
    "a function on the wrong type": ("SELECT LENGTH(place) AS x FROM t", "No matching signature for function LENGTH"),
    "a clause of another database": ("SELECT SUM(price) FILTER (WHERE price > 0) AS x FROM t", "Syntax error"),
    "an operator of another database": ("SELECT asset_id FROM t WHERE asset_id ILIKE 'B%'", "Syntax error"),
    "a number compared with a text": (
        "SELECT asset_id FROM t WHERE place = '3'",
        "No matching signature for operator =",
    ),
    "a date compared with an instant": ("SELECT date = seen_at AS x FROM t", "No matching signature for operator ="),
    "an instant joined to a date": (
        "SELECT a.asset_id FROM t AS a INNER JOIN t AS b ON a.seen_at = b.date",
        "No matching signature for operator =",
    ),
    "a number as a condition": ("SELECT IF(place, 2, 3) AS x FROM t", "No matching signature for function IF"),
    "values of two types": (
        "SELECT COALESCE(price, 'none') AS x FROM t",
        "No matching signature for function COALESCE",
    ),
    "a partition of doubles": (
        "SELECT SUM(price) OVER (PARTITION BY price) AS x FROM t",
        "type FLOAT64 is not allowed",
    ),
    "texts made of numbers in silence": ("SELECT STRING_AGG(price) AS x FROM t", "No matching signature"),
    "rows by half": ("SELECT asset_id FROM t LIMIT 1.5", "expects INT64, got FLOAT64"),
}
"""What sqlglot reads and the emulator runs, and what BigQuery says of it."""

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


def understood(analyser: GoogleSql, request: Request) -> list[Any]:
    """The statements of a request, with the types of its parameters."""
    job = request.json.get("configuration", {}).get("query") or request.json
    types = {p["name"]: parameter_type(p["parameterType"]) for p in job.get("queryParameters", [])}
    # BigQuery takes options of the columns of a view, which the open library does not.
    return analyser.analyse(COLUMN_OPTIONS.sub(r"\1", str(request.sql)), types)


COLUMN_OPTIONS = re.compile(r'^(  \w+) OPTIONS \(description = "(?:[^"\\]|\\.)*"\)', re.MULTILINE)


def test_googles_own_analyser_takes_every_statement(recorded: Recorded, analyser: GoogleSql) -> None:
    refused, kinds = [], set()
    for request in recorded.requests:
        if request.sql:
            try:
                kinds |= {statement.kind for statement in understood(analyser, request)}
            except Refused as error:
                refused.append(f"{error}\n{request.sql[:200]}")
    assert refused == []
    changes = {"merge_stmt", "insert_stmt", "update_stmt", "delete_stmt", "create_view_stmt", "alter_table_stmt"}
    assert kinds >= changes | {"query_stmt", "create_table_stmt", "begin_stmt", "commit_stmt"}


@every_view
def test_a_view_has_the_types_of_its_contract(recorded: Recorded, analyser: GoogleSql, contract: Contract) -> None:
    [request] = [
        r for r in recorded.requests if re.match(rf"CREATE OR REPLACE VIEW `\w+\.{contract.name}`", r.sql or "")
    ]
    [statement] = understood(analyser, request)
    found = {column.name: type_name(column.column.type) for column in statement.node.parent.output_column_list}
    assert found == {column.name: column.type for column in contract.columns}


def test_every_insert_names_the_columns_that_are_never_null(recorded: Recorded) -> None:
    """The analyser knows no nullability."""
    required = {c.name: {column.name for column in c.columns if column.required} for c in CONTRACTS}
    missing = [
        (table.name, required[table.name] - {name.name for name in columns})
        for statement in recorded.statements
        for insert in statement.find_all(exp.Insert)
        for table, columns in [inserted(statement, insert)]
        if table.name in required and not required[table.name] <= {name.name for name in columns}
    ]
    assert missing == []


def inserted(statement: exp.Expr, insert: exp.Insert) -> tuple[exp.Table, list[exp.Expr]]:
    """The table that an INSERT, or that of a MERGE, fills, and the columns that it names."""
    if isinstance(statement, exp.Merge):
        return statement.this, list(insert.this.expressions)
    return insert.this.this, list(insert.this.expressions)


@pytest.mark.parametrize(("mistake", "said"), MISTAKES.values(), ids=MISTAKES)
def test_a_mistake_that_the_emulator_takes_is_refused(
    recorded: Recorded, analyser: GoogleSql, mistake: str, said: str
) -> None:
    assert not any(isinstance(statement, exp.Command) for statement in statements(ROW + mistake))
    Warehouse(recorded.settings).rows(ROW + mistake)
    with pytest.raises(Refused, match=said):
        analyser.analyse(ROW + mistake)


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


def test_no_transaction_holds_ddl(recorded: Recorded) -> None:
    """BigQuery takes none of lasting things there, and of temporary ones only some forms."""
    scripts = [statements(r.sql) for r in recorded.requests if r.sql and "BEGIN TRANSACTION" in r.sql]
    assert len(scripts) > 5
    assert [one.sql("bigquery")[:100] for script in scripts for one in ddl_within(script)] == []


def ddl_within(script: list[exp.Expr]) -> list[exp.Expr]:
    """The statements of a script that make, change or drop a thing within its transaction."""
    kinds = [type(statement) for statement in script]
    inside = script[kinds.index(exp.Transaction) : kinds.index(exp.Commit)]
    return [statement for statement in inside if isinstance(statement, exp.Create | exp.Alter | exp.Drop)]


@pytest.mark.parametrize(
    "planted", ["CREATE OR REPLACE TEMP TABLE x AS SELECT 1 AS a", "DROP TABLE x", "ALTER TABLE x ADD COLUMN b INT64"]
)
def test_ddl_that_is_planted_in_a_transaction_is_found(planted: str) -> None:
    script = "CREATE TEMP TABLE x (a INT64); BEGIN TRANSACTION; {}; COMMIT TRANSACTION; DROP TABLE x;"
    assert len(ddl_within(statements(script.format(planted)))) == 1
    assert ddl_within(statements(script.format("DELETE FROM x WHERE TRUE"))) == []


def test_the_rules_of_a_stage_are_recorded_by_one_load_job(recorded: Recorded) -> None:
    """A table takes 1,500 load jobs a day: hourly batches and a large backfill stay far below."""
    loads = [job for job in load_jobs(recorded.requests) if job["destinationTable"]["tableId"] == "quality_result"]
    table = f"{recorded.settings.warehouse.ops_dataset}.quality_result"
    audits = (
        f"SELECT COUNT(DISTINCT CONCAT(run_id, batch_id, stage)) AS n FROM `{table}` WHERE checked_date >= '2010-01-01'"
    )
    [found] = Warehouse(recorded.settings).rows(audits)
    assert 2 <= len(loads) <= found["n"]


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
