"""The Iceberg schema follows the contract, and grows with it."""

from dataclasses import replace
from pathlib import Path

import pyarrow as pa
import pytest
from pyiceberg.catalog import load_catalog
from pyiceberg.io.pyarrow import schema_to_pyarrow
from pyiceberg.table import Table

from coinbeam.contracts import Column, Contract, load_contract
from coinbeam.contracts.arrow import arrow_schema
from coinbeam.contracts.bigquery import described
from coinbeam.errors import ContractError
from serving.lakehouse.plan import RECORD, exported_contracts
from serving.lakehouse.schema import CONTRACT_VERSION, evolve, iceberg_schema, partition_spec, table_properties

CONTRACTS = [*exported_contracts(), load_contract(RECORD)]


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_a_schema_is_that_of_the_contract(contract: Contract) -> None:
    schema = iceberg_schema(contract)
    plain = schema_to_pyarrow(schema, include_field_ids=False)
    wanted = [(field.name, field.type, field.nullable) for field in arrow_schema(contract.columns)]
    found = [(f.name, pa.string() if f.type == pa.large_string() else f.type, f.nullable) for f in plain]
    assert found == wanted
    assert [field.doc for field in schema.fields] == [described(column) for column in contract.columns]
    assert schema.identifier_field_names() == set(contract.primary_key)
    parts = [schema.find_column_name(part.source_id) for part in partition_spec(contract).fields]
    assert parts == ([contract.partition_column] if contract.partition_column else [])


@pytest.fixture
def table(tmp_path: Path) -> Table:
    """The table of the index, on disk."""
    contract = load_contract("fear_greed_fact")
    catalog = load_catalog("c", type="sql", uri=f"sqlite:///{tmp_path}/c.db", warehouse=f"file://{tmp_path}")
    catalog.create_namespace("n")
    return catalog.create_table(("n", contract.name), iceberg_schema(contract), properties=table_properties(contract))


def with_columns(*columns: Column) -> Contract:
    """The contract of the index with other columns."""
    return replace(load_contract("fear_greed_fact"), columns=columns, version="2.0.0")


COLUMNS = load_contract("fear_greed_fact").columns
NEW = Column("mood", "STRING", "How it feels", "text")


def test_a_nullable_column_and_another_description_are_added_once(table: Table) -> None:
    told = replace(COLUMNS[1], description="Another description")
    grown = with_columns(COLUMNS[0], told, *COLUMNS[2:], NEW)
    assert evolve(table, grown) == ["added column fear_greed_fact.mood"]
    assert table.schema().find_field("mood").doc == described(NEW)
    assert table.schema().find_field(told.name).doc == described(told)
    assert table.properties[CONTRACT_VERSION] == "2.0.0"
    assert "mood" in table.properties["schema.name-mapping.default"], "readers find the column in files by its name"
    before = table.metadata_location
    assert evolve(table, grown) == []
    assert table.metadata_location == before


def test_a_release_that_was_rolled_back_leaves_its_column(table: Table) -> None:
    evolve(table, with_columns(*COLUMNS, NEW))
    assert evolve(table, load_contract("fear_greed_fact")) == []
    assert table.schema().find_field("mood").required is False


REFUSED = {
    "a new required column": ((*COLUMNS, replace(NEW, required=True)), "mood is new and required"),
    "another type": ((*COLUMNS[:1], replace(COLUMNS[1], type="STRING"), *COLUMNS[2:]), "is long in the table, string"),
    "another mode": ((*COLUMNS[:1], replace(COLUMNS[1], required=False), *COLUMNS[2:]), "is required in the table"),
    "a required column that is gone": (
        (*COLUMNS[:1], *COLUMNS[2:]),
        "is required in the table and not in the contract",
    ),
}


@pytest.mark.parametrize(("columns", "said"), REFUSED.values(), ids=REFUSED)
def test_any_other_change_is_refused(columns: tuple[Column, ...], said: str, table: Table) -> None:
    with pytest.raises(ContractError, match=said):
        evolve(table, with_columns(*columns))
