"""The Iceberg schema of a contract: nothing that a contract says is written a second time."""

from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table import Table
from pyiceberg.transforms import MonthTransform
from pyiceberg.types import (
    BooleanType,
    DateType,
    DoubleType,
    LongType,
    NestedField,
    PrimitiveType,
    StringType,
    TimestamptzType,
)

from coinbeam.contracts import Column, Contract
from coinbeam.contracts.bigquery import described
from coinbeam.errors import ContractError

CONTRACT_VERSION = "coinbeam.contract-version"
"""The property of a table that says which version of its contract it has."""

_TYPES: dict[str, PrimitiveType] = {
    "STRING": StringType(),
    "INT64": LongType(),
    "FLOAT64": DoubleType(),
    "BOOL": BooleanType(),
    "TIMESTAMP": TimestamptzType(),
    "DATE": DateType(),
}
_FIRST_PARTITION_FIELD = 1_000  # where Iceberg begins to count them


def iceberg_schema(contract: Contract) -> Schema:
    """Names, types, descriptions and what is required, with the key as identifier."""
    numbers = {column.name: number for number, column in enumerate(contract.columns, start=1)}
    fields = [_field(column, numbers[column.name]) for column in contract.columns]
    return Schema(*fields, identifier_field_ids=[numbers[name] for name in contract.primary_key])


def partition_spec(contract: Contract) -> PartitionSpec:
    """By month of the contract's partition column; a table without one is not partitioned."""
    column = contract.partition_column
    if column is None:
        return PartitionSpec()
    source = iceberg_schema(contract).find_field(column).field_id
    return PartitionSpec(PartitionField(source, _FIRST_PARTITION_FIELD, MonthTransform(), f"{column}_month"))


def table_properties(contract: Contract) -> dict[str, str]:
    """What a table says of itself, and how it is written."""
    return {
        "comment": contract.description,
        CONTRACT_VERSION: contract.version,
        "schema.name-mapping.default": iceberg_schema(contract).name_mapping.model_dump_json(),
        "commit.retry.num-retries": "0",  # a second export at the same time fails instead of writing over the first
        "write.metadata.previous-versions-max": "20",
    }


def evolve(table: Table, contract: Contract) -> list[str]:
    """Bring the schema of a table up to its contract: new nullable columns, and other descriptions.

    A column that only the table has stays, and is null in what is written: a newer release added it, and was rolled
    back.

    Returns:
        One line for each column that was added.

    Raises:
        ContractError: the table differs in any other way.
    """
    present = {field.name: field for field in table.schema().fields}
    new = [column for column in contract.columns if column.name not in present]
    _refuse_other(contract, table, new)
    if not new and all(present[column.name].doc == described(column) for column in contract.columns):
        return []
    with table.transaction() as transaction:
        with transaction.update_schema() as update:
            for column in contract.columns:
                if column.name not in present:
                    update.add_column(column.name, _TYPES[column.type], doc=described(column))
                elif present[column.name].doc != described(column):
                    update.update_column(column.name, doc=described(column))
        transaction.set_properties({CONTRACT_VERSION: contract.version, "comment": contract.description})
    return [f"added column {contract.name}.{column.name}" for column in new]


def _refuse_other(contract: Contract, table: Table, new: list[Column]) -> None:
    faults = [f"{column.name} is new and required" for column in new if column.required]
    for field in table.schema().fields:
        column = contract.by_name.get(field.name)
        if column is None and field.required:
            faults.append(f"{field.name} is required in the table and not in the contract")
        elif column is not None and (field.field_type, field.required) != (_TYPES[column.type], column.required):
            kinds = f"{field.field_type} in the table, {_TYPES[column.type]} in the contract"
            faults.append(
                f"{field.name} is {kinds}" if field.field_type != _TYPES[column.type] else _other_mode(column)
            )
    if faults:
        raise ContractError(
            f"The open table {contract.name} cannot follow its contract: {'; '.join(faults)}.",
            "Only nullable columns are added. Put the contract back, or drop the open table and export it anew.",
        )


def _other_mode(column: Column) -> str:
    return f"{column.name} is {'nullable' if column.required else 'required'} in the table, and not in the contract"


def _field(column: Column, number: int) -> NestedField:
    return NestedField(number, column.name, _TYPES[column.type], required=column.required, doc=described(column))
