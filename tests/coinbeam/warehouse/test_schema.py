"""The schema on the emulator: created from nothing, migrated additively, and refused in any other case."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from google.cloud import bigquery

from coinbeam.contracts import Column, Contract, load_all, load_contract
from coinbeam.contracts.bigquery import described, standard_type, table, view_ddl
from coinbeam.errors import ContractError
from coinbeam.settings import WarehouseSettings
from coinbeam.warehouse import schema as module
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import _ensure_table, additive_columns, columns_for, ensure_schema, refuse_other_layout
from tests.coinbeam.conftest import Stage
from tests.temporary import LocalCloud

CONTRACTS = list(load_all().values())
FACT = load_contract("crypto_market_snapshot_fact")
NEW = Column("new_column", "FLOAT64", "Something new", "coins")


def present(contract: Contract) -> dict[str, tuple[str, bool]]:
    """The columns of a table that agrees with its contract."""
    return {column.name: (column.type, column.required) for column in contract.columns}


def changed(monkeypatch: pytest.MonkeyPatch, contract: Contract) -> Contract:
    """Make a changed contract the only one."""
    monkeypatch.setattr(module, "load_all", lambda: {contract.name: contract})
    return contract


@pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
def test_a_table_that_agrees_needs_nothing(contract: Contract) -> None:
    assert additive_columns(contract, present(contract)) == []


def test_new_nullable_columns_are_found_in_the_order_of_the_contract() -> None:
    other = replace(NEW, name="another")
    assert additive_columns(replace(FACT, columns=(*FACT.columns, NEW, other)), present(FACT)) == [NEW, other]


@pytest.mark.parametrize(
    ("contract", "named"),
    [
        pytest.param(
            replace(FACT, columns=tuple(replace(c, type="INT64") if c.name == "ath" else c for c in FACT.columns)),
            "ath is FLOAT64 in the warehouse, INT64 in the contract",
            id="another type",
        ),
        pytest.param(
            replace(FACT, columns=FACT.columns[:-1]),
            f"{FACT.columns[-1].name} is in the warehouse and not in the contract",
            id="a column gone",
        ),
        pytest.param(
            replace(FACT, columns=(*FACT.columns, replace(NEW, required=True))),
            "new_column is new and required",
            id="a new column that may not be null",
        ),
    ],
)
def test_any_other_change_is_refused_and_named(contract: Contract, named: str) -> None:
    with pytest.raises(
        ContractError, match=r"crypto_market_snapshot_fact cannot be migrated.*Only nullable columns"
    ) as caught:
        additive_columns(contract, present(FACT))
    assert named in str(caught.value)


def test_all_differences_are_named_at_once() -> None:
    with pytest.raises(ContractError) as caught:
        additive_columns(replace(FACT, columns=(*FACT.columns[1:], replace(NEW, required=True))), present(FACT))
    assert "asset_id is in the warehouse" in str(caught.value)
    assert "new_column is new" in str(caught.value)


@pytest.mark.cloud
def test_everything_is_created_from_nothing_and_then_left_alone(fresh_cloud: LocalCloud) -> None:
    warehouse = Warehouse(fresh_cloud.settings)
    changes = ensure_schema(warehouse)
    tables, views = ([c for c in CONTRACTS if c.is_view is kind] for kind in (False, True))
    assert [line for line in changes if line.startswith("created table")] == [
        f"created table {warehouse.table(c)}" for c in tables
    ]
    assert changes[-len(views) :] == [f"created view {warehouse.table(c)}" for c in views], (
        "after the tables that they read"
    )
    assert ensure_schema(warehouse) == []


@pytest.mark.cloud
def test_a_view_whose_query_changed_is_replaced(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    view = next(contract for contract in CONTRACTS if contract.is_view)
    monkeypatch.setattr(
        "coinbeam.warehouse.schema.view_ddl", lambda *given: view_ddl(*given).replace("\nAS\n", "\nAS\n-- newer\n")
    )
    assert f"replaced view {stage.warehouse.table(view)}" in ensure_schema(stage.warehouse)
    assert ensure_schema(stage.warehouse) == []


@pytest.mark.cloud
def test_missing_datasets_are_created(fresh_cloud: LocalCloud) -> None:
    names = WarehouseSettings(
        data_dataset="made_data", staging_dataset="made_staging", ops_dataset="made_ops", marts_dataset="made_marts"
    )
    warehouse = Warehouse(fresh_cloud.settings.model_copy(update={"warehouse": names}))
    try:
        assert ensure_schema(warehouse)[:4] == [
            f"created dataset made_{kind}" for kind in ("data", "marts", "ops", "staging")
        ]
        assert warehouse.exists("made_data.date_dim")
    finally:
        for kind in ("data", "marts", "ops", "staging"):
            warehouse.client.delete_dataset(f"local.made_{kind}", delete_contents=True, not_found_ok=True, retry=None)


@pytest.mark.cloud
@pytest.mark.parametrize("contract", [c for c in CONTRACTS if not c.is_view], ids=lambda contract: contract.name)
def test_no_table_drifts_from_its_contract_in_either_direction(contract: Contract, stage: Stage) -> None:
    table = stage.warehouse.client.get_table(f"local.{stage.warehouse.table(contract)}", retry=None)
    found = {f.name: (standard_type(f.field_type), f.mode, f.description) for f in table.schema}
    meant = {c.name: (c.type, "REQUIRED" if c.required else "NULLABLE", described(c)) for c in contract.columns}
    assert list(found) == list(meant), "the order too"
    assert found == meant
    assert (table.time_partitioning.field if table.time_partitioning else None) == contract.partition_column
    assert table.clustering_fields == list(contract.clustering)
    assert table.description == contract.description
    assert table.labels["contract_version"] == contract.version.replace(".", "-")


@pytest.mark.cloud
@pytest.mark.parametrize("contract", [c for c in CONTRACTS if c.is_view], ids=lambda contract: contract.name)
def test_no_view_drifts_from_its_contract(contract: Contract, stage: Stage) -> None:
    view = stage.warehouse.client.get_table(f"local.{stage.warehouse.table(contract)}", retry=None)
    assert view.table_type == "VIEW"
    assert [(f.name, standard_type(f.field_type)) for f in view.schema] == [(c.name, c.type) for c in contract.columns]
    assert view.labels["contract_version"] == contract.version.replace(".", "-")


@pytest.mark.cloud
def test_no_table_exists_that_no_contract_describes(stage: Stage) -> None:
    for logical in ("crypto_data", "crypto_marts", "crypto_ops"):
        found = {
            table.table_id for table in stage.warehouse.client.list_tables(stage.warehouse.dataset(logical), retry=None)
        }
        assert found == {contract.name for contract in CONTRACTS if contract.dataset == logical}


@pytest.mark.cloud
def test_a_new_nullable_column_is_added_and_can_be_used(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    source = load_contract("source_dim")
    name = stage.warehouse.table(source)
    stage.warehouse.query(
        f"INSERT INTO `{name}` (source_id, name, kind, description) VALUES ('a', 'A', 'file', 'old row')"
    )
    wider = changed(
        monkeypatch, replace(source, columns=(*source.columns, NEW, replace(NEW, name="noted_at", type="TIMESTAMP")))
    )
    assert ensure_schema(stage.warehouse) == [f"added column {name}.new_column", f"added column {name}.noted_at"]
    assert ensure_schema(stage.warehouse) == []
    columns = "source_id, name, kind, description, new_column"
    stage.warehouse.query(
        f"INSERT INTO `{name}` ({columns}) VALUES ('b', 'B', 'file', 'new row', CAST('0.1' AS FLOAT64))"
    )
    rows = stage.warehouse.rows(f"SELECT source_id, new_column, noted_at FROM `{name}` ORDER BY source_id")
    assert rows == [
        {"source_id": "a", "new_column": None, "noted_at": None},
        {"source_id": "b", "new_column": 0.1, "noted_at": None},
    ]
    shown = stage.warehouse.client.get_table(f"local.{name}", retry=None).schema
    assert [field.name for field in shown] == [column.name for column in wider.columns]


@pytest.mark.cloud
def test_the_release_before_an_added_column_works_on_the_table_that_has_it(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = load_contract("source_dim")
    name = stage.warehouse.table(source)
    changed(monkeypatch, replace(source, version="9.0.0", columns=(*source.columns, NEW)))
    assert ensure_schema(stage.warehouse) == [f"added column {name}.new_column"]
    changed(monkeypatch, source)
    assert ensure_schema(stage.warehouse) == [], "rolled back: the table is left as the newer release made it"
    assert columns_for(stage.warehouse, source) == present(source)
    assert "new_column" in {
        field.name for field in stage.warehouse.client.get_table(f"local.{name}", retry=None).schema
    }
    assert stage.warehouse.client.get_table(f"local.{name}", retry=None).labels["contract_version"] == "9-0-0"


@pytest.mark.cloud
def test_a_column_that_no_release_added_stops_the_migration(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    source = load_contract("source_dim")
    stage.warehouse.query(f"ALTER TABLE `{stage.warehouse.table(source)}` ADD COLUMN by_hand STRING")
    made = stage.warehouse.client.get_table(f"local.{stage.warehouse.table(source)}", retry=None)
    made.schema = [*made.schema, bigquery.SchemaField("by_hand", "STRING")]
    stage.warehouse.client.update_table(made, ["schema"], retry=None)
    changed(monkeypatch, source)
    with pytest.raises(ContractError, match="by_hand is in the warehouse and not in the contract"):
        ensure_schema(stage.warehouse)


@pytest.mark.cloud
def test_words_that_a_contract_changed_reach_the_table_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    source = load_contract("source_dim")
    name = stage.warehouse.table(source)
    reworded = replace(source.columns[0], description="Whom we asked")
    told = changed(monkeypatch, replace(source, version="9.0.0", columns=(reworded, *source.columns[1:])))
    assert ensure_schema(stage.warehouse) == [f"described table {name}"]
    assert ensure_schema(stage.warehouse) == []
    table = stage.warehouse.client.get_table(f"local.{name}", retry=None)
    assert table.labels["contract_version"] == "9-0-0"
    assert [field.description for field in table.schema] == [described(column) for column in told.columns]


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("change", "named"),
    [
        pytest.param(
            lambda c: replace(c, columns=c.columns[:-1]), "description is in the warehouse", id="a removed column"
        ),
        pytest.param(
            lambda c: replace(c, columns=(replace(c.columns[0], type="INT64"), *c.columns[1:])),
            "source_id is STRING in the warehouse, INT64 in the contract",
            id="another type",
        ),
        pytest.param(
            lambda c: replace(c, columns=(*c.columns, replace(NEW, required=True))),
            "new_column is new",
            id="a required column",
        ),
        pytest.param(
            lambda c: replace(c, columns=tuple(replace(x, required=False) for x in c.columns)),
            "source_id is REQUIRED in the warehouse, NULLABLE in the contract",
            id="a column that may now be null",
        ),
        pytest.param(
            lambda c: replace(c, columns=tuple(replace(x, required=True) for x in c.columns)),
            "url is NULLABLE in the warehouse, REQUIRED in the contract",
            id="a column that may no longer be null",
        ),
    ],
)
def test_a_drifted_table_stops_the_migration_and_stays_as_it_is(
    change, named, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    source = load_contract("source_dim")
    before = stage.warehouse.client.get_table(f"local.{stage.warehouse.table(source)}", retry=None).schema
    changed(monkeypatch, change(source))
    with pytest.raises(ContractError) as caught:
        ensure_schema(stage.warehouse)
    assert named in str(caught.value)
    assert stage.warehouse.client.get_table(f"local.{stage.warehouse.table(source)}", retry=None).schema == before


def remade(contract: Contract, **changed: object) -> bigquery.Table:
    """A table of a contract as BigQuery reports it, changed by hand."""
    found = table(contract, f"project.d.{contract.name}")
    for name, value in changed.items():
        setattr(found, name, value)
    return found


def keyed(*columns: str) -> bigquery.table.TableConstraints:
    """A primary key."""
    return bigquery.table.TableConstraints(bigquery.table.PrimaryKey(list(columns)), None)


MONTHLY = load_contract("crypto_market_daily_fact")
BY_DAY = bigquery.TimePartitioning(type_="DAY", field="date")


@pytest.mark.parametrize("contract", [c for c in CONTRACTS if not c.is_view], ids=lambda contract: contract.name)
@pytest.mark.parametrize("tells_all", [True, False], ids=["BigQuery", "emulator"])
def test_a_table_laid_out_by_its_contract_is_accepted(contract: Contract, tells_all: bool) -> None:
    refuse_other_layout(contract, "d.t", remade(contract), tells_all=tells_all)


@pytest.mark.parametrize(
    ("contract", "changes", "named"),
    [
        pytest.param(
            FACT,
            {"time_partitioning": bigquery.TimePartitioning(field="observed_date")},
            r"its partition is DAY of observed_date, in the contract DAY of snapshot_date.*make a new table",
            id="partition by another column",
        ),
        pytest.param(
            MONTHLY,
            {"time_partitioning": BY_DAY},
            r"its partition is DAY of date, in the contract MONTH of date.*schema_change\.md",
            id="days for months",
        ),
        pytest.param(
            FACT, {"time_partitioning": None}, "its partition is none, in the contract DAY", id="no partition"
        ),
        pytest.param(
            FACT,
            {"clustering_fields": ["quote_currency"]},
            r"its clustering is quote_currency, in the contract .*bq update --clustering_fields='\w+.*' d\.t",
            id="other clustering",
        ),
        pytest.param(FACT, {"clustering_fields": None}, "its clustering is none", id="no clustering"),
        pytest.param(
            FACT,
            {"require_partition_filter": False},
            r"its required partition filter is none, in the contract TRUE.*SET OPTIONS \(require_partition_filter = TRUE",
            id="no filter",
        ),
        pytest.param(
            load_contract("source_dim"),
            {"table_constraints": keyed("name")},
            r"its primary key is name, in the contract source_id.*ADD PRIMARY KEY \(source_id\) NOT ENFORCED",
            id="another key",
        ),
        pytest.param(FACT, {"table_constraints": None}, "its primary key is none, in the contract", id="no key"),
        pytest.param(
            load_contract("source_dim"),
            {"time_partitioning": BY_DAY, "require_partition_filter": True},
            r"its partition is DAY of date, in the contract none; its required partition filter is TRUE, .*none.*= FALSE",
            id="more than the contract says",
        ),
    ],
)
def test_another_layout_is_refused_and_named_with_its_remedy(contract: Contract, changes, named: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(ContractError, match=f"d.t has another layout than its contract: {named}"):
        refuse_other_layout(contract, "d.t", remade(contract, **changes))


RECORD = load_contract("ingestion_batch")


class Described:
    """A warehouse that holds one table as BigQuery describes it, and keeps what it is asked: keys are no business of the
    emulator.
    """

    def __init__(self, present: bigquery.Table) -> None:
        self.settings = SimpleNamespace(is_local=False)
        self.present, self.client, self.bounds = present, self, dict[str, object]()
        self.statements: list[str] = []

    def table(self, contract: Contract) -> str:
        return f"d.{contract.name}"

    def dataset(self, _: str) -> str:
        return "d"

    def full_name(self, name: str) -> str:
        return f"project.{name}"

    def get_table(self, _: str) -> bigquery.Table:
        return self.present

    def update_table(self, *_: object) -> None:
        """Taken."""

    def query(self, sql: str) -> None:
        self.statements.append(sql)


def test_a_key_that_gets_wider_is_widened_and_nothing_else_of_it() -> None:
    warehouse = Described(remade(RECORD, table_constraints=keyed("batch_id", "run_id")))
    assert _ensure_table(warehouse, RECORD) == ["widened key of d.ingestion_batch"]  # type: ignore[arg-type]
    assert warehouse.statements == [
        "ALTER TABLE `d.ingestion_batch` DROP PRIMARY KEY",
        "ALTER TABLE `d.ingestion_batch` ADD PRIMARY KEY (batch_id, run_id, started_at) NOT ENFORCED",
    ]
    settled = Described(remade(RECORD))
    assert _ensure_table(settled, RECORD) == []  # type: ignore[arg-type]
    with pytest.raises(ContractError, match="its primary key is batch_id, universe, in the contract"):
        refuse_other_layout(RECORD, "d.t", remade(RECORD, table_constraints=keyed("batch_id", "universe")))


def test_a_key_that_a_newer_release_widened_stands_in_the_way_of_no_roll_back() -> None:
    wider = keyed(*RECORD.primary_key, "mode")
    with pytest.raises(ContractError, match="primary key"):
        refuse_other_layout(RECORD, "d.t", remade(RECORD, table_constraints=wider))
    newer = remade(RECORD, table_constraints=wider, labels={"contract_version": "9-0-0"})
    assert _ensure_table(Described(newer), RECORD) == []  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "changes",
    [
        {"clustering_fields": None},
        {"require_partition_filter": None},
        {"table_constraints": None},
        {"time_partitioning": BY_DAY},
    ],
    ids=["no clustering", "no filter", "no key", "a month made by DDL"],
)
def test_what_the_emulator_does_not_report_is_no_fault(changes) -> None:  # type: ignore[no-untyped-def]
    refuse_other_layout(MONTHLY, "d.t", remade(MONTHLY, **changes), tells_all=False)


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("layout", "named"),
    [
        pytest.param({"time_partitioning": None}, "its partition is none, in the contract DAY", id="no partition"),
        pytest.param(
            {"time_partitioning": bigquery.TimePartitioning(field="checked_date_2")},
            "its partition is DAY of checked_date_2",
            id="another column",
        ),
        pytest.param({"clustering_fields": ["message"]}, "its clustering is message, in the contract", id="clustering"),
    ],
)
def test_a_layout_changed_by_hand_stops_the_migration(
    layout, named: str, stage: Stage, monkeypatch: pytest.MonkeyPatch
) -> None:  # type: ignore[no-untyped-def]
    source = changed(monkeypatch, load_contract("quality_result"))
    made = table(source, f"local.{stage.warehouse.table(source)}", constraints=False)
    made.schema = [*made.schema, bigquery.SchemaField("checked_date_2", "DATE")]
    made.require_partition_filter = None
    for name, value in layout.items():
        setattr(made, name, value)
    stage.warehouse.client.delete_table(made, retry=None)
    stage.warehouse.client.create_table(made, retry=None)
    with pytest.raises(ContractError, match=f"quality_result has another layout than its contract: {named}"):
        ensure_schema(stage.warehouse)
