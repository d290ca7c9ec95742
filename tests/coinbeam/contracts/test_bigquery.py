"""Schema, DDL and table objects that are derived from the contracts; the DDL is held to the API's table by parsing it
as BigQuery.
"""

import json
from dataclasses import replace

import pytest
import sqlglot
from google.cloud.bigquery import SchemaField
from hypothesis import given
from hypothesis import strategies as st
from sqlglot import exp

from coinbeam.contracts import Contract, load_all
from coinbeam.contracts.bigquery import (
    add_column_ddl,
    ddl,
    described,
    labels,
    literal,
    schema,
    staging_schema,
    standard_type,
    table,
)
from coinbeam.contracts.model import COLUMN_TYPES

CONTRACTS = list(load_all().values())
every_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
every_table = pytest.mark.parametrize(
    "contract", [c for c in CONTRACTS if not c.is_view], ids=lambda contract: contract.name
)
every_view = pytest.mark.parametrize(
    "contract", [c for c in CONTRACTS if c.is_view], ids=lambda contract: contract.name
)


def parsed(contract: Contract) -> exp.Create:
    """The DDL as sqlglot reads it; nothing may fall back to an opaque command."""
    statement = sqlglot.parse_one(
        ddl(contract, "project.crypto"), dialect="bigquery", error_level=sqlglot.ErrorLevel.RAISE
    )
    assert isinstance(statement, exp.Create)
    return statement


def option(statement: exp.Expr, name: str) -> exp.Expr | None:
    """The value of an entry of OPTIONS."""
    for entry in statement.find_all(exp.Property):
        if entry.name == name:
            value = entry.args["value"]
            assert isinstance(value, exp.Expression)
            return value
    return None


@every_table
def test_the_ddl_and_the_api_table_have_the_same_columns(contract: Contract) -> None:
    made = table(contract, "p.d.t")
    found = []
    for definition in parsed(contract).find_all(exp.ColumnDef):
        required = any(isinstance(c.args["kind"], exp.NotNullColumnConstraint) for c in definition.constraints)
        kind = definition.args["kind"].sql(dialect="bigquery")
        found.append((definition.name, kind, required))
    assert found == [(f.name, standard_type(f.field_type), f.mode == "REQUIRED") for f in made.schema]


@every_table
def test_the_ddl_and_the_api_table_have_the_same_layout(contract: Contract) -> None:
    made, statement = table(contract, "p.d.t"), parsed(contract)
    partition = statement.find(exp.PartitionedByProperty)
    layout = made.time_partitioning
    assert (partition.find(exp.Identifier).name if partition else None) == (layout.field if layout else None)
    monthly = partition is not None and isinstance(partition.this, exp.DateTrunc)
    assert monthly == (layout is not None and layout.type_ == "MONTH")
    cluster = statement.find(exp.ClusterProperty)
    assert [e.name for e in (cluster.expressions if cluster else [])] == (made.clustering_fields or [])
    required = option(statement, "require_partition_filter")
    assert (required is not None) == bool(made.require_partition_filter) == bool(contract.partition_column)


@every_contract
def test_the_ddl_and_the_api_table_have_the_same_words(contract: Contract) -> None:
    made, statement = table(contract, "p.d.t"), parsed(contract)
    told = option(statement, "description")
    assert told is not None
    text = ddl(contract, "project.crypto")
    assert f"description = {literal(contract.description)}" in text
    assert made.description == contract.description
    for key, value in made.labels.items():
        assert f'("{key}", "{value}")' in text
    for field in made.schema:
        assert literal(field.description) in text
        assert f"Unit: {contract.by_name[field.name].unit}" in field.description


@every_table
def test_the_key_is_declared_and_not_enforced(contract: Contract) -> None:
    key = parsed(contract).find(exp.PrimaryKey)
    assert key is not None
    assert [part.name for part in key.expressions] == list(contract.primary_key)
    assert "NOT ENFORCED" in ddl(contract, "d")
    assert table(contract, "p.d.t").table_constraints.primary_key.columns == list(contract.primary_key)


@every_contract
def test_the_key_is_left_out_for_a_warehouse_that_refuses_it(contract: Contract) -> None:
    assert "PRIMARY KEY" not in ddl(contract, "d", constraints=False)
    assert table(contract, "p.d.t", constraints=False).table_constraints is None


@every_contract
def test_labels_are_of_the_alphabet_that_bigquery_accepts(contract: Contract) -> None:
    for key, value in labels(contract).items():
        for text in (key, value):
            assert len(text) <= 63
            assert text == text.lower()
            assert text.replace("_", "").replace("-", "").isalnum(), text
    assert labels(contract)["contract_version"] == contract.version.replace(".", "-")


@every_contract
def test_descriptions_are_within_the_limit_of_bigquery(contract: Contract) -> None:
    assert all(len(described(column)) <= 1_024 for column in contract.columns)


@every_contract
def test_staging_takes_every_null_and_leaves_the_judgement_to_the_audit(contract: Contract) -> None:
    staged = staging_schema(contract.file_columns)
    assert {field.mode for field in staged} == {"NULLABLE"}
    assert [field.name for field in staged] == [column.name for column in contract.file_columns]


@every_contract
def test_the_schema_says_what_may_be_null(contract: Contract) -> None:
    assert {f.name for f in schema(contract.columns) if f.mode == "REQUIRED"} == {
        c.name for c in contract.columns if c.required
    }


@every_contract
def test_adding_a_column_is_one_statement_that_may_be_repeated(contract: Contract) -> None:
    column = replace(contract.columns[-1], name="added", required=False)
    sql = add_column_ddl(contract, "d", column)
    statement = sqlglot.parse_one(sql, dialect="bigquery", error_level=sqlglot.ErrorLevel.RAISE)
    assert isinstance(statement, exp.Alter)
    assert f"ADD COLUMN IF NOT EXISTS added {column.type}" in sql
    assert "NOT NULL" not in sql


@pytest.mark.parametrize("name", sorted(COLUMN_TYPES))
def test_a_type_is_recognised_after_the_api_named_it_in_its_own_way(name: str) -> None:
    assert standard_type(SchemaField("x", name).field_type) == name
    assert {standard_type(legacy) for legacy in ("INTEGER", "FLOAT", "BOOLEAN")} == {"INT64", "FLOAT64", "BOOL"}


@given(st.text(st.characters(exclude_categories=["Cs"])))
def test_a_literal_is_one_token_that_means_the_text(text: str) -> None:
    written = literal(text)
    assert json.loads(written) == text
    statement = sqlglot.parse_one(f"SELECT {written} AS x", dialect="bigquery")
    assert len(list(statement.find_all(exp.Literal))) == 1, "nothing breaks out of the quotes"


@every_view
def test_a_view_names_its_columns_in_the_order_of_its_contract(contract: Contract) -> None:
    statement = parsed(contract)
    assert statement.kind == "VIEW"
    assert [column.name for column in statement.this.expressions] == [column.name for column in contract.columns]
    shown = (
        statement.expression.selects
        if isinstance(statement.expression, exp.Select)
        else statement.expression.left.selects
    )
    assert [column.alias_or_name for column in shown] == [column.name for column in contract.columns]
    assert option(statement, "description") is not None
