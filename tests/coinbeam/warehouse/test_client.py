"""The warehouse on the emulator: created from nothing, migrated additively, refused in any other case, and clear when
it fails.
"""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from google.cloud import bigquery

from coinbeam.contracts import Column, Contract, load_all, load_contract
from coinbeam.contracts.bigquery import described, standard_type, view_ddl
from coinbeam.errors import CoinbeamError, ContractError, TerminalError, TransientError
from coinbeam.settings import LocalSettings, PortSettings, WarehouseSettings
from coinbeam.warehouse import client as module
from coinbeam.warehouse.client import STAGING_LIFETIME, StagingTables, Warehouse, additive_columns
from local.temporary import LocalCloud, free_ports, temporary_settings
from tests.coinbeam.conftest import DAY, Stage

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
            "batch_id is in the warehouse and not in the contract",
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
    changes = warehouse.ensure_schema()
    tables, views = ([c for c in CONTRACTS if c.is_view is kind] for kind in (False, True))
    assert [line for line in changes if line.startswith("created table")] == [
        f"created table {warehouse.table(c)}" for c in tables
    ]
    assert changes[-len(views) :] == [f"created view {warehouse.table(c)}" for c in views], (
        "after the tables that they read"
    )
    assert warehouse.ensure_schema() == []


@pytest.mark.cloud
def test_a_view_whose_query_changed_is_replaced(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    view = next(contract for contract in CONTRACTS if contract.is_view)
    monkeypatch.setattr(
        "coinbeam.warehouse.client.view_ddl", lambda *given: view_ddl(*given).replace("\nAS\n", "\nAS\n-- newer\n")
    )
    assert f"replaced view {stage.warehouse.table(view)}" in stage.warehouse.ensure_schema()
    assert stage.warehouse.ensure_schema() == []


@pytest.mark.cloud
def test_missing_datasets_are_created(fresh_cloud: LocalCloud) -> None:
    names = WarehouseSettings(
        data_dataset="made_data", staging_dataset="made_staging", ops_dataset="made_ops", marts_dataset="made_marts"
    )
    warehouse = Warehouse(fresh_cloud.settings.model_copy(update={"warehouse": names}))
    try:
        assert warehouse.ensure_schema()[:4] == [
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
    assert stage.warehouse.ensure_schema() == [f"added column {name}.new_column", f"added column {name}.noted_at"]
    assert stage.warehouse.ensure_schema() == []
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
    assert stage.warehouse.ensure_schema() == [f"added column {name}.new_column"]
    changed(monkeypatch, source)
    assert stage.warehouse.ensure_schema() == [], "rolled back: the table is left as the newer release made it"
    assert stage.warehouse.columns_for(source) == present(source)
    assert "new_column" in (stage.warehouse.columns(name) or {})
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
        stage.warehouse.ensure_schema()


@pytest.mark.cloud
def test_words_that_a_contract_changed_reach_the_table_once(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    source = load_contract("source_dim")
    name = stage.warehouse.table(source)
    reworded = replace(source.columns[0], description="Whom we asked")
    told = changed(monkeypatch, replace(source, version="9.0.0", columns=(reworded, *source.columns[1:])))
    assert stage.warehouse.ensure_schema() == [f"described table {name}"]
    assert stage.warehouse.ensure_schema() == []
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
        stage.warehouse.ensure_schema()
    assert named in str(caught.value)
    assert stage.warehouse.client.get_table(f"local.{stage.warehouse.table(source)}", retry=None).schema == before


def test_staging_names_are_of_the_alphabet_of_tables(idle: LocalCloud) -> None:
    staging = StagingTables(idle.settings, "20260102T0000Z-usd-category-layer-1")
    assert staging.name(FACT).endswith(".crypto_market_snapshot_fact__20260102T0000Z_usd_category_layer_1")


def test_two_batches_never_share_a_staging_table(idle: LocalCloud) -> None:
    names = {
        StagingTables(idle.settings, f"20260102T0000Z-usd-category-{c}").name(FACT) for c in ("layer-1", "layer_1")
    }
    assert len(names) == 2


@pytest.mark.cloud
def test_staging_is_emptied_for_every_try_and_expires_by_itself(stage: Stage) -> None:
    assets = load_contract("source_dim")
    staging = StagingTables(stage.warehouse.settings, "b")
    stage.warehouse.create_staging(staging, [assets])
    stage.warehouse.query(f"INSERT INTO `{staging.name(assets)}` (source_id) VALUES ('left over')")
    stage.warehouse.create_staging(staging, [assets])
    assert stage.warehouse.rows(f"SELECT * FROM `{staging.name(assets)}`") == []
    expires = stage.warehouse.client.get_table(f"local.{staging.name(assets)}", retry=None).expires
    assert expires is None or abs(expires - (DAY + STAGING_LIFETIME)) < timedelta(seconds=1)
    stage.warehouse.drop_staging(staging, [assets])
    stage.warehouse.drop_staging(staging, [assets])
    assert not stage.warehouse.exists(staging.name(assets))


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("sql", "named"),
    [
        pytest.param("SELEC 1", "SELEC", id="a misspelt word"),
        pytest.param("SELECT nothing FROM (SELECT 1 AS x)", "nothing", id="an unknown column"),
        pytest.param("SELECT * FROM nowhere.nothing", "nowhere", id="an unknown table"),
        pytest.param("SELECT ERROR('too many coins')", "too many coins", id="an error of the query's own"),
    ],
)
def test_a_query_that_fails_says_why(sql: str, named: str, stage: Stage) -> None:
    with pytest.raises(TerminalError, match="The query failed") as caught:
        stage.warehouse.rows(sql)
    assert named in str(caught.value)


@pytest.mark.cloud
def test_parameters_reach_the_query(stage: Stage) -> None:
    rows = stage.warehouse.rows(
        "SELECT @text AS text", [bigquery.ScalarQueryParameter("text", "STRING", 'it\'s "1" -- ;')]
    )
    assert rows == [{"text": 'it\'s "1" -- ;'}]


@pytest.mark.cloud
def test_appended_rows_are_readable_at_once_and_a_bad_row_appends_none(stage: Stage) -> None:
    stage.warehouse.query(f"CREATE TABLE `{stage.warehouse.dataset('crypto_data')}.t` (a INT64, b STRING)")
    name = f"{stage.warehouse.dataset('crypto_data')}.t"
    stage.warehouse.append(name, '{"a": 1, "b": "é"}\n{"a": 2, "b": null}'.encode())
    with pytest.raises(CoinbeamError):
        stage.warehouse.append(name, b'{"a": 3, "b": "x"}\n{"a": "many", "b": "y"}')
    assert stage.warehouse.rows(f"SELECT a, b FROM `{name}` ORDER BY a") == [{"a": 1, "b": "é"}, {"a": 2, "b": None}]


def test_an_unknown_dataset_is_refused(idle: LocalCloud) -> None:
    with pytest.raises(ContractError, match=r"no dataset 'crypto_mart'.*crypto_data"):
        Warehouse(idle.settings).dataset("crypto_mart")


@pytest.fixture
def idle(tmp_path_factory: pytest.TempPathFactory) -> LocalCloud:
    """Settings of a local cloud that does not run."""
    return LocalCloud(temporary_settings(tmp_path_factory.mktemp("state")), {})


@contextmanager
def silent_server() -> Iterator[int]:
    """A server that takes connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield server.getsockname()[1]


def beside(settings: LocalCloud, port: int, seconds: float) -> Warehouse:
    """A warehouse at another port, of little patience."""
    ports = PortSettings(bigquery=port, bigquery_grpc=1, storage=2, simulator=3, airflow=4)
    limits = WarehouseSettings(query_timeout_seconds=seconds)
    return Warehouse(settings.settings.model_copy(update={"local": LocalSettings(ports=ports), "warehouse": limits}))


CALLS = {
    "a query": lambda w: w.rows("SELECT 1 AS one"),
    "the schema": lambda w: w.ensure_schema(),
    "the question for a table": lambda w: w.exists("a.b"),
    "an append": lambda w: w.append("a.b", b'{"x": 1}'),
    "the layout of staging": lambda w: w.create_staging(StagingTables(w.settings, "b"), [FACT]),
    "the end of staging": lambda w: w.drop_staging(StagingTables(w.settings, "b"), [FACT]),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_warehouse_that_is_down_is_told_at_once_with_the_command_that_starts_it(call, idle: LocalCloud) -> None:  # type: ignore[no-untyped-def]
    started = time.monotonic()
    with pytest.raises(TransientError, match=r"does not answer.*coinbeam local up"):
        call(beside(idle, free_ports(1)[0], 5))
    assert time.monotonic() - started < 5


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_warehouse_that_hangs_is_given_up_in_time(call, idle: LocalCloud) -> None:  # type: ignore[no-untyped-def]
    started = time.monotonic()
    with silent_server() as port, pytest.raises(TransientError):
        call(beside(idle, port, 0.3))
    assert time.monotonic() - started < 5
