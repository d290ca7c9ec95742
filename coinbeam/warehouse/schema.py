"""The schema of the warehouse: datasets, tables and views as the contracts say, and additive migrations of them.

Everything else is refused by name: without a person nothing is changed but a new nullable column, and a key that gets
wider, which rows that were unique by the narrower one satisfy.
"""

from collections.abc import Mapping

from google.api_core.exceptions import NotFound
from google.cloud import bigquery

from coinbeam.batch.digest import digest
from coinbeam.contracts import Column, Contract, load_all
from coinbeam.contracts.bigquery import add_column_ddl, described, labels, schema, standard_type, table, view_ddl
from coinbeam.errors import ContractError
from coinbeam.sql_template import render
from coinbeam.warehouse.client import DATASETS, Warehouse

Shape = dict[str, tuple[str, bool]]
"""The type of each column of a table, and whether it is required."""


def ensure_schema(warehouse: Warehouse) -> list[str]:
    """Create what is missing, add new nullable columns, and renew descriptions and labels.

    Returns:
        One line for each change made.

    Raises:
        ContractError: a table differs from its contract in any other way.
    """
    contracts = sorted(load_all().values(), key=lambda contract: contract.is_view)  # views after what they read
    changes: list[str] = []
    with warehouse.answering():
        for logical in DATASETS:
            changes += _ensure_dataset(warehouse, warehouse.dataset(logical))
        for contract in contracts:
            changes += (_ensure_view if contract.is_view else _ensure_table)(warehouse, contract)
    return changes


def _ensure_dataset(warehouse: Warehouse, name: str) -> list[str]:
    dataset = bigquery.Dataset(warehouse.full_name(name))
    dataset.location = warehouse.settings.google.location
    try:
        warehouse.client.get_dataset(dataset.reference, **warehouse.bounds)
    except NotFound:
        warehouse.client.create_dataset(dataset, exists_ok=True, **warehouse.bounds)
        return [f"created dataset {name}"]
    return []


def _ensure_table(warehouse: Warehouse, contract: Contract) -> list[str]:
    client, name = warehouse.client, warehouse.table(contract)
    present, is_local = warehouse.get_table(name), warehouse.settings.is_local
    if present is None:
        made = table(contract, warehouse.full_name(name), constraints=not is_local)
        client.create_table(made, exists_ok=True, **warehouse.bounds)
        return [f"created table {name}"]
    refuse_other_layout(contract, name, present, tells_all=not is_local)
    added = additive_columns(contract, _columns_for(contract, present))
    if _is_newer(present, contract):
        return []
    for column in added:
        warehouse.query(add_column_ddl(contract, warehouse.dataset(contract.dataset), column))
    widened = _widen_key(warehouse, contract, name, present)
    if not added and not widened and _is_described(present, contract):
        return []
    # The table is read again, since an ALTER gives it another etag, and an update of its former state would be
    # refused. Its own order of columns stays; those that the emulator's ALTER left out of the API's schema come last.
    present = client.get_table(warehouse.full_name(name), **warehouse.bounds)
    known = _columns(present)
    ordered = [contract.by_name[column] for column in known] + [c for c in contract.columns if c.name not in known]
    present.description, present.labels = contract.description, {**present.labels, **labels(contract)}
    present.schema = schema(ordered)
    client.update_table(present, ["description", "labels", "schema"], **warehouse.bounds)
    return [*(f"added column {name}.{column.name}" for column in added), *widened] or [f"described table {name}"]


def _widen_key(warehouse: Warehouse, contract: Contract, name: str, present: bigquery.Table) -> list[str]:
    """Give a table the wider key of its contract; keys are not enforced, so that no row is looked at."""
    if not set(_key(present)) < set(contract.primary_key) or not _key(present):
        return []
    warehouse.query(f"ALTER TABLE `{name}` DROP PRIMARY KEY")
    warehouse.query(f"ALTER TABLE `{name}` ADD PRIMARY KEY ({', '.join(contract.primary_key)}) NOT ENFORCED")
    return [f"widened key of {name}"]


def _ensure_view(warehouse: Warehouse, contract: Contract) -> list[str]:
    """Create the view, or replace one that shows something else.

    It names its tables with their project: without it BigQuery refuses a reader who asks from another one.
    """
    name = warehouse.table(contract)
    names = warehouse.names(f"{warehouse.settings.google.project}.")
    query = render(contract.folder / "view.sql", **names, signals=warehouse.settings.signals)
    statement = view_ddl(contract, warehouse.dataset(contract.dataset), query)
    wanted = {"statement": digest(statement)}  # a warehouse may store the query in a form of its own
    present = warehouse.get_table(name)
    if present is not None and wanted.items() <= dict(present.labels or {}).items():
        return []
    warehouse.query(statement)
    made = warehouse.client.get_table(warehouse.full_name(name), **warehouse.bounds)
    made.labels = {**labels(contract), **wanted}
    warehouse.client.update_table(made, ["labels"], **warehouse.bounds)
    return [f"{'created' if present is None else 'replaced'} view {name}"]


def columns_for(warehouse: Warehouse, contract: Contract) -> Shape | None:
    """The columns of the table of a contract, without what a newer release added; None when there is no table."""
    with warehouse.answering():
        present = warehouse.get_table(warehouse.table(contract))
    return None if present is None else _columns_for(contract, present)


def _columns(present: bigquery.Table) -> Shape:
    return {field.name: (standard_type(field.field_type), field.mode == "REQUIRED") for field in present.schema}


def _columns_for(contract: Contract, present: bigquery.Table) -> Shape:
    """The columns of a table that concern a contract.

    After a roll back a table is newer than the code. The nullable columns that the newer release added are left null by
    the older one; were they a fault, no release that added a column could ever be rolled back.
    """
    newer = _is_newer(present, contract)
    return {
        name: (kind, required)
        for name, (kind, required) in _columns(present).items()
        if not newer or required or name in contract.by_name
    }


def _is_newer(present: bigquery.Table, contract: Contract) -> bool:
    """Whether a newer version of the contract has been applied to a table, by its label."""
    applied, own = (
        version.split("-")
        for version in (present.labels.get("contract_version", ""), labels(contract)["contract_version"])
    )
    return all(map(str.isdigit, applied + own)) and [int(part) for part in applied] > [int(part) for part in own]


def _is_described(present: bigquery.Table, contract: Contract) -> bool:
    """Whether a table has the descriptions and labels of its contract; others may have given it labels of their own."""
    return (
        present.description == contract.description
        and labels(contract).items() <= dict(present.labels).items()
        and {field.name: field.description for field in present.schema}
        == {column.name: described(column) for column in contract.columns}
    )


def additive_columns(contract: Contract, present: Mapping[str, tuple[str, bool]]) -> list[Column]:
    """The nullable columns that the table still lacks.

    Raises:
        ContractError: a column has another type or mode, is no longer in the contract, or is new and required.
    """
    new = [column for column in contract.columns if column.name not in present]
    known = [(column, *present[column.name]) for column in contract.columns if column.name in present]
    differing = [(c.name, kind, c.type) for c, kind, _ in known if kind != c.type]
    differing += [(c.name, _mode(mode), _mode(c.required)) for c, _, mode in known if mode != c.required]
    faults = [f"{name} is {found} in the warehouse, {wanted} in the contract" for name, found, wanted in differing]
    gone = [name for name in present if name not in contract.by_name]
    faults += [f"{name} is in the warehouse and not in the contract" for name in gone]
    faults += [f"{c.name} is new and required, but old rows have no value for it" for c in new if c.required]
    if faults:
        added = "Only nullable columns are added automatically."
        remedy = f"{added} Make the new column nullable, or migrate the table by hand."
        raise ContractError(f"{contract.name} cannot be migrated: {'; '.join(faults)}.", remedy)
    return new


def _mode(required: bool) -> str:
    return "REQUIRED" if required else "NULLABLE"


_PARTITION, _CLUSTERING, _FILTER, _KEY = "partition", "clustering", "required partition filter", "primary key"


def refuse_other_layout(contract: Contract, name: str, present: bigquery.Table, *, tells_all: bool = True) -> None:
    """Refuse a table whose partition, clustering, partition filter or primary key is not that of its contract.

    A key may be narrower, and is widened then; one that a newer release widened may be wider.

    Args:
        name: ``dataset.table``; ``present`` is what it is.
        tells_all: False for the emulator: what it does not report is not compared.

    Raises:
        ContractError: each property with what it is, what the contract says, and how to change it.
    """
    found, wanted = _layout(present), _layout(table(contract, f"project.{name}"))
    if not tells_all:
        found |= {part: wanted[part] for part in (_CLUSTERING, _FILTER, _KEY) if not found[part]}
        if found[_PARTITION] == wanted[_PARTITION].replace("MONTH", "DAY"):  # so it reports a month made by DDL
            found[_PARTITION] = wanted[_PARTITION]
    known, own = set(_key(present)), set(contract.primary_key)
    if known and (known < own or (known > own and _is_newer(present, contract))):
        found[_KEY] = wanted[_KEY]
    differing = [part for part in wanted if found[part] != wanted[part]]
    if not differing:
        return
    key, clustering = ", ".join(contract.primary_key), ",".join(contract.clustering)
    remedies = {
        _PARTITION: "A partition cannot be changed: make a new table and fill it (docs/runbooks/schema_change.md).",
        _CLUSTERING: f"Run `bq update --clustering_fields='{clustering}' {name}`.",
        _FILTER: f"Run `ALTER TABLE {name} SET OPTIONS (require_partition_filter = {wanted[_FILTER] or 'FALSE'})`.",
        _KEY: f"Run `ALTER TABLE {name} DROP PRIMARY KEY IF EXISTS`, then `ADD PRIMARY KEY ({key}) NOT ENFORCED`.",
    }
    faults = [f"its {part} is {found[part] or 'none'}, in the contract {wanted[part] or 'none'}" for part in differing]
    raise ContractError(
        f"{name} has another layout than its contract: {'; '.join(faults)}.",
        " ".join(["Put the contract back, or change the table.", *(remedies[part] for part in differing)]),
    )


def _key(described: bigquery.Table) -> list[str]:
    """The columns of the primary key, none where there is no key."""
    key = described.table_constraints.primary_key if described.table_constraints else None
    return list(key.columns) if key else []


def _layout(described: bigquery.Table) -> dict[str, str]:
    """The properties of a table that no migration changes, in words; empty where there is none."""
    by_time, by_range = described.time_partitioning, described.range_partitioning
    partition = f"{by_time.type_} of {by_time.field or 'the load time'}" if by_time else ""
    return {
        _PARTITION: partition or (f"ranges of {by_range.field}" if by_range else ""),
        _CLUSTERING: ", ".join(described.clustering_fields or ()),
        _FILTER: "TRUE" if described.require_partition_filter else "",
        _KEY: ", ".join(_key(described)),
    }
