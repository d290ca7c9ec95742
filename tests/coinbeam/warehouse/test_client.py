"""The client on the emulator: queries, load jobs, and clear errors when the warehouse fails."""

import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from typing import Any

import pytest
from google.api_core import exceptions as api
from google.auth.exceptions import RefreshError

from coinbeam.contracts import load_contract
from coinbeam.contracts.bigquery import standard_type
from coinbeam.errors import CoinbeamError, ContractError, TerminalError, TransientError, WriteConflictError
from coinbeam.settings import LocalSettings, PortSettings, WarehouseSettings
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from coinbeam.warehouse.staging import StagingTables
from tests.coinbeam.conftest import Stage, snapshot_batch
from tests.temporary import LocalCloud, free_ports, temporary_settings

FACT = load_contract("crypto_market_snapshot_fact")


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
def test_a_table_that_is_not_there_yet_has_a_remedy_of_its_own(stage: Stage) -> None:
    name = f"{stage.warehouse.dataset('crypto_data')}.not_yet"
    with pytest.raises(TerminalError, match=rf"^There is no table {name}\. `coinbeam run` makes the tables"):
        stage.warehouse.rows(f"SELECT * FROM `{name}`")


PARAMETERS = {
    "a text": ("STRING", 'it\'s "1" -- ;'),
    "nothing": ("STRING", None),
    "a number": ("INT64", 2**60),
    "a day": ("DATE", date(2026, 1, 2)),
    "an instant": ("TIMESTAMP", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
    "texts": ("ARRAY<STRING>", ["a", "b"]),
}


@pytest.mark.cloud
@pytest.mark.parametrize(("kind", "value"), PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_reach_the_query_in_their_type(stage: Stage, kind: str, value: Any) -> None:
    rows = stage.warehouse.query("SELECT @given AS given", given=value)
    [row] = rows
    assert row["given"] == value
    [field] = rows.schema
    assert standard_type(field.field_type) == kind.removeprefix("ARRAY<").removesuffix(">")


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
    "the schema": lambda w: ensure_schema(w),
    "the question for a table": lambda w: w.exists("a.b"),
    "an append": lambda w: w.append("a.b", b'{"x": 1}'),
    "the layout of staging": lambda w: StagingTables(w.settings, snapshot_batch("b")).create(w, [FACT]),
    "the end of staging": lambda w: StagingTables(w.settings, snapshot_batch("b")).drop(w, [FACT]),
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


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        pytest.param(api.TooManyRequests("slower"), TransientError, id="too many requests"),
        pytest.param(api.InternalServerError("a fault"), TransientError, id="a fault of its own"),
        pytest.param(api.ServiceUnavailable("down"), TransientError, id="not available"),
        pytest.param(api.RetryError("tried for long", None), TransientError, id="retries of its client without end"),
        pytest.param(ConnectionResetError("reset"), TransientError, id="a broken connection"),
        pytest.param(TimeoutError("slow"), TransientError, id="an answer that is late"),
        pytest.param(
            api.BadRequest("Transaction is aborted due to concurrent update against table t."),
            WriteConflictError,
            id="another transaction",
        ),
        pytest.param(
            api.BadRequest("Could not serialize access to table t due to concurrent update"),
            WriteConflictError,
            id="another statement",
        ),
        pytest.param(api.BadRequest("Syntax error"), TerminalError, id="a query that is wrong"),
        pytest.param(api.Forbidden("Access Denied"), TerminalError, id="no access"),
        pytest.param(api.NotFound("no table"), TerminalError, id="no such table"),
        pytest.param(RefreshError("expired"), TerminalError, id="credentials that ended"),
    ],
)
def test_only_what_may_pass_is_transient(said: Exception, kind: type[CoinbeamError], idle: LocalCloud) -> None:
    with pytest.raises(CoinbeamError) as caught, Warehouse(idle.settings).answering():
        raise said
    assert type(caught.value) is kind
    assert caught.value.remedy
