"""What readers find after three exports: equal to BigQuery, by tag, by any reader."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb_extensions
import polars as pl
import pyarrow as pa
import pytest
from typer.testing import CliRunner

from coinbeam.batch.tables import DAILY_FACT, FEAR_GREED_FACT, SNAPSHOT_FACT
from coinbeam.contracts import Contract, load_contract
from coinbeam.errors import SettingsError
from coinbeam.settings import ROOT, Settings
from coinbeam.warehouse.arrow import contract_rows
from console.app import app
from serving.lakehouse.difference import differences, tagged
from serving.lakehouse.equality import first_inequality
from serving.lakehouse.files import in_schema
from serving.lakehouse.plan import RECORD, exported_contracts
from tests.serving.lakehouse.conftest import ASSETS, DAYS, HISTORY, INDEX, SNAPSHOT, Lake, history

pytestmark = pytest.mark.cloud

TABLES = [contract.name for contract in exported_contracts()]


@pytest.mark.parametrize("name", [*TABLES, RECORD])
def test_every_column_is_bit_equal_to_bigquery(name: str, exported: Lake) -> None:
    contract = load_contract(name)
    expected = contract_rows(exported.bench.warehouse, contract)
    assert first_inequality(expected, exported.rows(name), contract.primary_key) is None
    if name == SNAPSHOT_FACT:
        changes = exported.rows(name)["price_change_24h"].to_pylist()
        assert [str(number) for number in changes] == ["-0.0", "-0.0"], "the edges arrived in BigQuery at all"


def test_a_whole_check_finds_nothing_and_names_what_changed_behind_its_back(exported: Lake) -> None:
    assert exported.exporter.check() == []
    table = exported.bench.warehouse.table(load_contract(FEAR_GREED_FACT))
    exported.bench.warehouse.query(f"UPDATE `{table}` SET value = 51 WHERE date = '2024-01-03'")
    try:
        said = exported.exporter.check()
    finally:
        exported.bench.warehouse.query(f"UPDATE `{table}` SET value = 50 WHERE date = '2024-01-03'")
    assert said == [
        "fear_greed_fact differs from BigQuery: value of date=2024-01-03 is 51 in BigQuery and 50 in the open table."
    ]


def test_a_tag_gives_what_was_known_when_its_batch_was_exported(exported: Lake) -> None:
    before, after = ([row["price"] for row in history(raised_by)] for raised_by in (0, 1))
    assert exported.prices(INDEX) == exported.prices(SNAPSHOT) == sorted(before)
    assert exported.prices() == exported.prices(HISTORY) == sorted(after)
    assert exported.rows(SNAPSHOT_FACT, INDEX).num_rows == 0
    assert exported.rows(SNAPSHOT_FACT, SNAPSHOT).num_rows == len(ASSETS)


def test_an_export_says_what_it_tagged_and_which_tags_moved(exported: Lake) -> None:
    assert [(set(one.batches), one.moved) for one in exported.exports] == [
        ({HISTORY, INDEX}, []),
        ({SNAPSHOT}, []),
        ({HISTORY}, [HISTORY]),
    ]


def test_only_what_changed_is_written(exported: Lake) -> None:
    files = {one.name: (one.files, one.replaced) for one in exported.exports[1].tables}
    assert files[DAILY_FACT] == files[FEAR_GREED_FACT] == (0, 0)
    assert files[SNAPSHOT_FACT] == (1, 0)
    assert files["market_daily"] == (2, 2), "a new name is in every month"
    assert exported.exporter.export() is None


def test_a_renamed_asset_has_its_name_in_all_rows_though_one_day_was_published(exported: Lake) -> None:
    names = {
        batch: {row["name"] for row in exported.rows("market_daily", batch).to_pylist() if row["asset_id"] == "bitcoin"}
        for batch in (INDEX, SNAPSHOT)
    }
    assert names == {INDEX: {None}, SNAPSHOT: {"Bitcoin"}}


def test_a_difference_counts_rows_and_columns_and_shows_values(exported: Lake) -> None:
    found = {one.name: one for one in differences(exported.lakehouse, SNAPSHOT, HISTORY)}
    daily = found[DAILY_FACT]
    rows = len(ASSETS) * DAYS
    assert (daily.added, daily.removed, daily.changed) == (0, 0, rows)
    assert daily.columns == {"price": rows, "market_cap": rows, "total_volume": rows}
    [price] = [change for change in daily.sample if change.column == "price"]
    assert price.after == price.before + 1
    assert found[SNAPSHOT_FACT].columns == {}
    [added] = differences(exported.lakehouse, INDEX, SNAPSHOT, SNAPSHOT_FACT)
    assert (added.added, added.removed, added.changed) == (len(ASSETS), 0, 0)


def test_an_unknown_batch_names_the_nearest(exported: Lake) -> None:
    with pytest.raises(SettingsError, match=rf"no tag|has a tag.*The nearest: {SNAPSHOT}"):
        differences(exported.lakehouse, SNAPSHOT.replace("all", "al"), HISTORY)
    with pytest.raises(SettingsError, match=r"no open table 'nothing'.*market_daily"):
        differences(exported.lakehouse, SNAPSHOT, HISTORY, "nothing")


MART = load_contract("market_daily")


def on_disk(exported: Lake, contract: Contract) -> Path:
    """The folder of a table below that of the emulator."""
    root = exported.lakehouse.settings.local.state_dir / "cloud" / "storage" / ".cloudstorage"
    return root / exported.lakehouse.table_location(contract).removeprefix("gs://")


def by_duckdb(exported: Lake, contract: Contract, snapshot_id: int, _: pytest.MonkeyPatch) -> pa.Table:
    import duckdb

    table = exported.lakehouse.find(contract)
    assert table is not None
    version = Path(table.metadata_location).name.removesuffix(".metadata.json")
    with duckdb.connect() as connection:
        connection.execute("LOAD avro; LOAD iceberg")
        return connection.execute(
            f"FROM iceberg_scan('{on_disk(exported, contract)}', version => '{version}', "
            f"snapshot_from_id => {snapshot_id}, allow_moved_paths => true)"
        ).to_arrow_table()


def by_polars(exported: Lake, contract: Contract, snapshot_id: int, _: pytest.MonkeyPatch) -> pa.Table:
    table = exported.lakehouse.find(contract)
    assert table is not None
    return pl.scan_iceberg(table, snapshot_id=snapshot_id, reader_override="pyiceberg").collect().to_arrow()


def by_chdb(exported: Lake, contract: Contract, snapshot_id: int, monkeypatch: pytest.MonkeyPatch) -> pa.Table:
    import chdb

    folder = on_disk(exported, contract)
    monkeypatch.chdir(folder.parents[2])  # it reads files below its own folder only
    sql = f"SELECT * FROM icebergLocal('{folder.relative_to(Path.cwd())}') SETTINGS iceberg_snapshot_id={snapshot_id}"
    with chdb.connect(":memory:") as connection:
        return connection.query(sql, "ArrowTable")


READERS: dict[str, Callable[[Lake, Contract, int, pytest.MonkeyPatch], pa.Table]] = {
    "DuckDB": by_duckdb,
    "Polars": by_polars,
    "chDB": by_chdb,
}


@pytest.fixture(scope="module")
def extensions() -> None:
    """DuckDB's extensions, from their wheels instead of the internet; once per machine."""
    for name in ("avro", "iceberg"):
        duckdb_extensions.import_extension(name)


@pytest.mark.usefixtures("extensions")
@pytest.mark.parametrize("batch", [SNAPSHOT, HISTORY])
@pytest.mark.parametrize("read", READERS.values(), ids=READERS)
def test_readers_agree_on_every_column(
    read: Callable[..., pa.Table], batch: str, exported: Lake, monkeypatch: pytest.MonkeyPatch
) -> None:
    for contract in (MART, load_contract(SNAPSHOT_FACT)):
        table = exported.lakehouse.find(contract)
        assert table is not None
        found = in_schema(read(exported, contract, tagged(table, batch), monkeypatch), contract)
        assert first_inequality(exported.rows(contract.name, batch), found, contract.primary_key) is None


PAGE = (ROOT / "docs" / "lakehouse.md").read_text(encoding="utf-8")
BLOCKS = dict(re.findall(r"<!-- run: (\w+) -->\n```python\n(.+?)```", PAGE, re.DOTALL))


@pytest.mark.usefixtures("extensions", "environment")
@pytest.mark.parametrize("name", ["duckdb", "polars"])
def test_the_code_of_the_page_runs(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    code = BLOCKS[name].replace("20260102T0000Z-usd-all", SNAPSHOT)
    exec(compile(code, f"{name} block of lakehouse.md", "exec"), {})
    assert "bitcoin" in capsys.readouterr().out


def run(*arguments: str) -> str:
    """A command that ends well."""
    done = CliRunner().invoke(app, ["lakehouse", *arguments])
    assert done.exit_code == 0, (done.output, done.exception)
    return done.output


def rows_of(output: str) -> list[dict[str, Any]]:
    """The rows of a command with ``--format json``."""
    found: list[dict[str, Any]] = json.loads(output)
    return found


def test_the_commands(environment: Settings) -> None:
    assert environment.is_local
    assert "Nothing waits" in run("export")
    [present] = [row for row in rows_of(run("list", "--table", DAILY_FACT, "--format", "json")) if row["is_present"]]
    assert (present["table"], present["tags"], present["rows"]) == (DAILY_FACT, [HISTORY], len(ASSETS) * DAYS)
    [daily] = rows_of(run("diff", SNAPSHOT, HISTORY, "--table", DAILY_FACT, "--format", "json"))
    assert (daily["changed"], daily["columns"]["price"]) == (len(ASSETS) * DAYS, len(ASSETS) * DAYS)
    assert DAILY_FACT in run("diff", SNAPSHOT, HISTORY)
    assert "equal" in run("check")
