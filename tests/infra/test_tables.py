"""The tables that Terraform makes against those that the warehouse client would make: both read the contracts, each in
its own way.
"""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from coinbeam.contracts import load_all
from coinbeam.contracts.bigquery import table
from coinbeam.contracts.model import Contract
from tests.infra.deployment import Deployment, evaluate
from tests.infra.terraform import Workspace

pytestmark = pytest.mark.xdist_group("terraform")

TABLES = {f"{contract.dataset}.{contract.name}": contract for contract in load_all().values() if not contract.is_view}

FACT = "crypto_data.crypto_market_snapshot_fact"


def wanted(contract: Contract) -> dict[str, Any]:
    """The table as the API takes it, from the client's own representation."""
    made = table(contract, f"my-project.{contract.dataset}.{contract.name}").to_api_repr()
    return {
        "schema": [{"mode": "NULLABLE", **column} for column in made["schema"]["fields"]],
        "description": made["description"],
        "labels": made["labels"],
        "clustering": made.get("clustering", {}).get("fields", []),
        "partition": made.get("timePartitioning"),
        "require_partition_filter": made.get("requirePartitionFilter"),
        "primary_key": made["tableConstraints"]["primaryKey"]["columns"],
    }


def made(values: Mapping[str, Any]) -> dict[str, Any]:
    """The same of a table of Terraform's."""
    partition = [{"type": one["type"], "field": one["field"]} for one in values["time_partitioning"]]
    return {
        "schema": json.loads(values["schema"]),
        "description": values["description"],
        "labels": values["labels"],
        "clustering": values["clustering"],
        "partition": partition[0] if partition else None,
        "require_partition_filter": values["require_partition_filter"],
        "primary_key": values["table_constraints"][0]["primary_key"][0]["columns"],
    }


def by_name(deployment: Deployment) -> dict[str, Mapping[str, Any]]:
    return {
        f"{one.values['dataset_id']}.{one.values['table_id']}": one.values
        for one in deployment.of("google_bigquery_table")
    }


def test_there_is_a_table_for_each_contract_and_no_view(deployment: Deployment) -> None:
    assert set(by_name(deployment)) == set(TABLES)


@pytest.mark.parametrize("name", TABLES)
def test_a_table_is_what_its_contract_says(name: str, deployment: Deployment) -> None:
    assert made(by_name(deployment)[name]) == wanted(TABLES[name])


def test_monthly_partitions_are_among_them(deployment: Deployment) -> None:
    kinds = {one["type"] for values in by_name(deployment).values() for one in values["time_partitioning"]}
    assert kinds == {"DAY", "MONTH"}


def test_columns_belong_to_the_migration_once_the_table_exists(workspace: Workspace) -> None:
    text = (workspace.infra / "modules" / "warehouse" / "main.tf").read_text(encoding="utf-8")
    assert "ignore_changes = [schema, description, labels]" in text


MISTAKES = {
    "another type": ("physicalType: FLOAT64", "physicalType: INT64", "schema"),
    "a column that may be null": (
        "        required: true\n        logicalTypeOptions: {minimum: 1.0e-100, maximum: 1.0e+100}",
        "        logicalTypeOptions: {}",
        "schema",
    ),
    "another meaning": ("description: Last price", "description: First price", "schema"),
    "another unit": ("value: quote currency per coin", "value: dollars", "schema"),
    "another version": (f"\nversion: {TABLES[FACT].version}\n", "\nversion: 99.0.0\n", "labels"),
    "other clusters": ("value: [asset_id]", "value: [symbol]", "clustering"),
    "no partition": ("partitioned: true", "partitioned: false", "partition"),
    "another key": ("primaryKeyPosition: 3", "primaryKeyPosition: 0", "primary_key"),
}


def test_each_difference_from_a_contract_is_seen(spoilt: Workspace) -> None:
    contract = spoilt.root / "sql" / FACT.replace(".", "/") / "contract.yaml"
    right, unseen = contract.read_text(encoding="utf-8"), []
    for mistake, (old, new, part) in MISTAKES.items():
        assert old in right, old
        contract.write_text(right.replace(old, new), encoding="utf-8")
        if part not in differing(spoilt, FACT):
            unseen.append(mistake)
    assert unseen == []


def differing(workspace: Workspace, name: str) -> set[str]:
    """The parts of a table in which Terraform's reading of a changed contract differs from the right one."""
    read, right = workspace.contracts()[name], wanted(TABLES[name])
    column = read["partition_column"]
    found = {
        "schema": read["columns"],
        "description": read["description"],
        "labels": read["labels"],
        "clustering": read["clustering"],
        "partition": {"type": read["partition_granularity"], "field": column} if column else None,
        "primary_key": read["primary_key"],
    }
    return {part for part, value in found.items() if value != right[part]}


def test_a_table_made_otherwise_is_seen(spoilt: Workspace) -> None:
    spoilt.replace("modules/warehouse/main.tf", "type  = each.value.partition_granularity", 'type  = "DAY"')
    spoilt.replace("modules/warehouse/main.tf", "each.value.partition_column == null ? null : true", "null")
    tables = by_name(evaluate(spoilt))
    name = "crypto_data.crypto_market_daily_fact"
    differences = {part for part, value in made(tables[name]).items() if value != wanted(TABLES[name])[part]}
    assert differences == {"partition", "require_partition_filter"}
