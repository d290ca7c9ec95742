"""The local BigQuery: what the corrections of bqemulator change, and what the warehouse relies on."""

import io
import os
import struct
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import duckdb
import grpc
import pytest
import requests
from bqemulator.domain.result import Err
from bqemulator.row_access.identity import CallerIdentity
from bqemulator.sql.translator import SQLTranslator
from google.api_core.exceptions import BadRequest, GoogleAPICallError, NotFound
from google.auth.credentials import AnonymousCredentials
from google.cloud import bigquery, storage
from google.cloud.bigquery_storage_v1 import BigQueryReadClient, types
from google.cloud.bigquery_storage_v1.services.big_query_read.transports import BigQueryReadGrpcTransport
from sqlglot import exp

from coinbeam.errors import TerminalError
from local.emulators import bigquery as launcher
from tests.temporary import LocalCloud, free_ports

Row = dict[str, Any]


class Warehouse:
    """Bounded queries in one dataset; ``{d}`` in a query stands for it."""

    def __init__(self, url: str, dataset: str) -> None:
        self.client = bigquery.Client(
            project="local", credentials=AnonymousCredentials(), client_options={"api_endpoint": url}
        )
        self.dataset = dataset

    def query(self, sql: str, parameters: Sequence[Any] = ()) -> list[Row]:
        """The rows of the last statement."""
        config = bigquery.QueryJobConfig(query_parameters=list(parameters))
        job = self.client.query(
            sql.replace("{d}", self.dataset), job_config=config, retry=None, job_retry=None, timeout=60
        )
        return [dict(row) for row in job.result(timeout=60, retry=None)]


@pytest.fixture
def warehouse(fresh_cloud: LocalCloud) -> Warehouse:
    """The shared emulator, with a dataset of this test alone."""
    return Warehouse(fresh_cloud.env["BIGQUERY_EMULATOR_HOST"], fresh_cloud.settings.warehouse.data_dataset)


@contextmanager
def _emulator(command: Sequence[str], port: int, env: dict[str, str] | None = None) -> Iterator[Warehouse]:
    process = _start(command, env)
    try:
        _wait_for(f"http://127.0.0.1:{port}/healthz", process)
        warehouse = Warehouse(f"http://127.0.0.1:{port}", "d")
        warehouse.client.create_dataset("d", timeout=10, retry=None)
        yield warehouse
    finally:
        process.terminate()
        process.wait(timeout=30)


def _start(command: Sequence[str], env: dict[str, str] | None = None) -> subprocess.Popen[bytes]:
    quiet = subprocess.DEVNULL
    return subprocess.Popen([sys.executable, "-m", *command], env=os.environ | (env or {}), stdout=quiet, stderr=quiet)


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if requests.get(url, timeout=2).ok:
                return
        except requests.RequestException:
            time.sleep(0.05)
    raise AssertionError(f"{url} does not answer")


def _launcher_command(data: Path, port: int, grpc: int) -> list[str]:
    return [
        "local.emulators.bigquery",
        "--port",
        str(port),
        "--grpc-port",
        str(grpc),
        "--data-dir",
        str(data),
        "--gcs-root",
        str(data),
    ]


def _plain_command(data: Path, port: int, grpc: int) -> list[str]:
    return [
        "bqemulator",
        "start",
        "--persistent",
        "--data-dir",
        str(data),
        "--rest-port",
        str(port),
        "--grpc-port",
        str(grpc),
    ]


def _copies_after_two_updates(data: Path) -> int:
    with duckdb.connect(str(data / "bqemulator.duckdb"), read_only=True) as connection:
        return len(
            connection.sql("SELECT 1 FROM duckdb_tables() WHERE schema_name = '_bqemulator_snapshots'").fetchall()
        )


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("command", "copies"),
    [
        pytest.param(_launcher_command, 0, id="our launcher keeps no copy of a table updated twice"),
        pytest.param(
            _plain_command, 3, id="plain bqemulator copies it on every write, which is why there is a launcher"
        ),
    ],
)
def test_copies_of_a_table(command: Any, copies: int, tmp_path: Path) -> None:
    port, grpc = free_ports(2)
    with _emulator(command(tmp_path, port, grpc), port, {"BQEMU_ENABLE_FORMAT_EXTENSIONS": "false"}) as warehouse:
        warehouse.query("CREATE TABLE {d}.t AS SELECT x FROM UNNEST([1, 2]) x")
        for _ in range(2):
            warehouse.query("UPDATE {d}.t SET x = x + 1 WHERE TRUE")
        warehouse.query("INSERT INTO {d}.t (x) VALUES (9)")
    assert _copies_after_two_updates(tmp_path) == copies


@pytest.mark.cloud
def test_disk_grows_with_the_change_and_not_with_the_table(tmp_path: Path) -> None:
    port, grpc = free_ports(2)
    with _emulator(_launcher_command(tmp_path, port, grpc), port) as warehouse:
        warehouse.query(
            "CREATE TABLE {d}.t AS SELECT x, TO_HEX(SHA256(CAST(x AS STRING))) AS s FROM UNNEST(GENERATE_ARRAY(1, "
            "100000)) x"
        )
        before = _size(tmp_path)
        for row in range(10):
            warehouse.query(f"UPDATE {{d}}.t SET s = 'changed' WHERE x = {row}")
        grown = _size(tmp_path) - before
    assert before > 1_000_000
    assert grown < before / 4


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.iterdir() if path.is_file())


@pytest.mark.cloud
def test_data_survive_a_restart_and_jobs_do_not(tmp_path: Path) -> None:
    port, grpc = free_ports(2)
    command = _launcher_command(tmp_path, port, grpc)
    with _emulator(command, port) as warehouse:
        warehouse.query("CREATE TABLE {d}.t (x INT64)")
        warehouse.query("INSERT INTO {d}.t (x) VALUES (41)")
        assert [job.state for job in warehouse.client.list_jobs(timeout=10, retry=None)] == ["DONE"] * 2
    process = _start(command)
    try:
        _wait_for(f"http://127.0.0.1:{port}/healthz", process)
        again = Warehouse(f"http://127.0.0.1:{port}", "d")
        assert list(again.client.list_jobs(timeout=10, retry=None)) == [], "the file grows with the data alone"
        assert again.query("SELECT x FROM {d}.t") == [{"x": 41}]
    finally:
        process.terminate()
        process.wait(timeout=30)


def test_another_version_of_bqemulator_is_refused_with_the_remedy() -> None:
    with pytest.raises(TerminalError, match=r"bqemulator 1\.5\.0 is installed.*Install bqemulator==1\.4\.0"):
        launcher.check_version("1.5.0")


def test_a_text_is_parsed_once_and_again_when_somebody_changed_its_tree() -> None:
    text = "SELECT a FROM t WHERE a > 1"
    tree = launcher._parse_once(text, read="bigquery")
    assert launcher._parse_once(text, read="bigquery", into=None) is tree
    assert launcher._parse_once(text, read="duckdb") is not tree
    for change in (
        lambda tree: tree.find(exp.Table).replace(exp.to_table("u")),
        lambda tree: tree.set("where", None),
        lambda tree: tree.find(exp.Literal).pop(),
        lambda tree: tree.append("expressions", exp.column("b")),
    ):
        change(launcher._parse_once(text, read="bigquery"))
        assert launcher._parse_once(text, read="bigquery").sql("bigquery") == text
    for number in range(launcher._MOST_TREES + 1):
        launcher._parse_once(f"SELECT {number}", read="bigquery")
    assert len(launcher._TREES) == launcher._MOST_TREES


def test_a_translation_is_made_once_for_the_same_tables_and_caller(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(launcher, "_TRANSLATIONS", {})
    made: list[str] = []

    def translate(_: SQLTranslator, bq_sql: str, **known: Any) -> Any:
        made.append(bq_sql)
        return launcher.Ok(f"{bq_sql} for {known}") if bq_sql != "wrong" else Err(BadRequest("wrong"))

    monkeypatch.setattr(launcher, "_original_translate", translate)
    ours, theirs = {"t": {"a": "DATE"}}, {"t": {"a": "STRING"}}
    asked = [("one", ours, None), ("one", theirs, None), ("one", ours, CallerIdentity("user:x")), ("two", ours, None)]
    first, second = (
        [launcher._translate(SQLTranslator(), sql, schema=schema, caller=caller) for sql, schema, caller in asked]
        for _ in range(2)
    )
    assert first == second
    assert len({result.value for result in first}) == 4
    assert made == ["one", "one", "one", "two"]

    for _ in range(2):
        assert isinstance(launcher._translate(SQLTranslator(), "wrong"), Err), "a failure is no translation"
    assert made[4:] == ["wrong"] * 2
    for number in range(2 * launcher._MOST_TRANSLATIONS):
        launcher._translate(SQLTranslator(), str(number))
    assert len(launcher._TRANSLATIONS) == launcher._MOST_TRANSLATIONS


def test_the_spatial_extension_installs_from_the_wheel_and_a_second_time() -> None:
    launcher.install_spatial()
    launcher.install_spatial()
    with duckdb.connect() as connection:
        connection.execute("LOAD spatial")


def test_no_layer_around_a_request_only_watches_it(fresh_cloud: LocalCloud) -> None:
    answer = requests.get(f"{fresh_cloud.env['BIGQUERY_EMULATOR_HOST']}/healthz", timeout=10)
    assert answer.ok
    assert "x-correlation-id" not in answer.headers, "what the layers of bqemulator add to every answer"


@pytest.mark.cloud
def test_time_travel_is_refused_instead_of_answered_with_the_present(warehouse: Warehouse) -> None:
    warehouse.query("CREATE TABLE {d}.t (x INT64)")
    with pytest.raises(GoogleAPICallError, match="no time travel"):
        warehouse.query(
            "SELECT * FROM {d}.t FOR SYSTEM_TIME AS OF TIMESTAMP_SUB(CURRENT_TIMESTAMP(), INTERVAL 1 MINUTE)"
        )


PARAMETERS = [
    bigquery.ScalarQueryParameter("s", "STRING", 'it\'s a "q"\r\n🚀 \\ @d'),
    bigquery.ScalarQueryParameter("d", "DATE", date(2026, 1, 2)),
    bigquery.ScalarQueryParameter("t", "TIMESTAMP", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
    bigquery.ScalarQueryParameter("i", "INT64", 2**60),
    bigquery.ScalarQueryParameter("f", "FLOAT64", 5e-324),
    bigquery.ScalarQueryParameter("n", "STRING", None),
    bigquery.ArrayQueryParameter("a", "STRING", ["x", "y'z"]),
]
VALUES = {
    parameter.name: getattr(parameter, "value", None) or getattr(parameter, "values", None) for parameter in PARAMETERS
}


@pytest.mark.cloud
@pytest.mark.parametrize(
    "prefix", [pytest.param("", id="in a single statement"), pytest.param("DECLARE x INT64; ", id="in a script")]
)
def test_query_parameters_arrive_exactly(warehouse: Warehouse, prefix: str) -> None:
    [row] = warehouse.query(f"{prefix}SELECT @s AS s, @d AS d, @t AS t, @i AS i, @f AS f, @n AS n, @a AS a", PARAMETERS)
    assert row == VALUES


@pytest.mark.cloud
def test_parameters_work_in_a_transaction_that_merges(warehouse: Warehouse) -> None:
    warehouse.query(
        "CREATE TABLE {d}.t (s STRING, d DATE, f FLOAT64); INSERT INTO {d}.t VALUES ('old', DATE '2026-01-02', 1.0)"
    )
    warehouse.query(
        """BEGIN TRANSACTION;
        MERGE {d}.t AS t USING (SELECT @s AS s, @f AS f) AS n ON t.s = n.s AND t.d = @d
        WHEN NOT MATCHED THEN INSERT (s, d, f) VALUES (n.s, @d, n.f)
        WHEN NOT MATCHED BY SOURCE AND t.d = @d THEN DELETE;
        COMMIT TRANSACTION;""",
        PARAMETERS,
    )
    assert warehouse.query("SELECT * FROM {d}.t") == [{"s": VALUES["s"], "d": date(2026, 1, 2), "f": 5e-324}]


@pytest.mark.cloud
@pytest.mark.parametrize(
    "failing",
    [
        pytest.param("SELECT ERROR('broken on purpose')", id="ERROR"),
        pytest.param("RAISE USING MESSAGE = 'broken on purpose'", id="RAISE"),
        pytest.param("IF TRUE THEN RAISE USING MESSAGE = 'broken on purpose'; END IF", id="RAISE inside IF"),
        pytest.param("SELECT broken_on_purpose FROM {d}.t", id="an unknown column"),
    ],
)
def test_a_failing_statement_rolls_its_transaction_back(warehouse: Warehouse, failing: str) -> None:
    warehouse.query("CREATE TABLE {d}.t AS SELECT x FROM UNNEST([1, 2, 3]) x")
    with pytest.raises(BadRequest, match=r"broken.on.purpose"):
        warehouse.query(f"BEGIN TRANSACTION; DELETE FROM {{d}}.t WHERE TRUE; {failing}; COMMIT TRANSACTION;")
    assert warehouse.query("SELECT COUNT(*) AS n FROM {d}.t") == [{"n": 3}]


DOUBLES = [5e-324, 1.7976931348623157e308, 3.57e38, 2.4e-10, -0.0, 0.1 + 0.2, 9.9e-14]
NAMES = ['quo"te', "com,ma", "cr\r\nlf", "lf\nonly", "🚀 moon\u200b", "nbsp\u00a0\u3000", " lead"]


@pytest.mark.cloud
def test_a_load_from_the_bucket_keeps_every_bit_of_doubles_and_names(
    warehouse: Warehouse, fresh_cloud: LocalCloud
) -> None:
    rows = [f'"{name.replace(chr(34), chr(34) * 2)}",{value!r}' for name, value in zip(NAMES, DOUBLES, strict=True)]
    body = "\n".join(["name,value", *rows, ""])
    bucket = fresh_cloud.settings.storage.bucket
    storage.Client(project="local").bucket(bucket).blob("batch/t.csv").upload_from_string(
        body.encode(), timeout=10, retry=None
    )
    schema = [bigquery.SchemaField("name", "STRING"), bigquery.SchemaField("value", "FLOAT64")]
    config = bigquery.LoadJobConfig(schema=schema, source_format="CSV", skip_leading_rows=1, allow_quoted_newlines=True)
    table = f"{warehouse.dataset}.t"
    job = warehouse.client.load_table_from_uri(
        f"gs://{bucket}/batch/*.csv", table, job_config=config, retry=None, timeout=30
    )
    job.result(timeout=30, retry=None)
    loaded = {row["name"]: struct.pack("<d", row["value"]) for row in warehouse.query("SELECT * FROM {d}.t")}
    assert loaded == {name: struct.pack("<d", value) for name, value in zip(NAMES, DOUBLES, strict=True)}


@pytest.mark.cloud
def test_a_file_can_be_loaded_from_the_client(warehouse: Warehouse) -> None:
    config = bigquery.LoadJobConfig(schema=[bigquery.SchemaField("x", "INT64")], source_format="NEWLINE_DELIMITED_JSON")
    table, body = f"{warehouse.dataset}.t", io.BytesIO(b'{"x": 7}\n')
    job = warehouse.client.load_table_from_file(body, table, job_config=config, num_retries=0, timeout=30)
    job.result(timeout=30, retry=None)
    assert warehouse.query("SELECT x FROM {d}.t") == [{"x": 7}]


def test_duckdb_keeps_within_its_memory(warehouse: Warehouse) -> None:
    [row] = warehouse.query("SELECT CURRENT_SETTING('memory_limit') AS held")
    number, unit = row["held"].split()
    assert float(number) * {"MiB": 2**20, "GiB": 2**30}[unit] <= 512e6


def test_a_transaction_copies_no_table(warehouse: Warehouse) -> None:
    """Its cost is that of the change: 2 M rows are there, one is changed."""
    warehouse.query("CREATE TABLE {d}.large AS SELECT x, RAND() AS y FROM UNNEST(GENERATE_ARRAY(1, 2000000)) AS x")
    alone, within = [], []
    for number in range(5):
        started = time.monotonic()
        warehouse.query(f"DELETE FROM {{d}}.large WHERE x = {number}")
        alone.append(time.monotonic() - started)
        started = time.monotonic()
        warehouse.query(f"BEGIN TRANSACTION; DELETE FROM {{d}}.large WHERE x = {number + 10}; COMMIT TRANSACTION;")
        within.append(time.monotonic() - started)
    assert min(within) < min(alone) + 0.1
    with pytest.raises(BadRequest):
        warehouse.query("BEGIN TRANSACTION; DELETE FROM {d}.large WHERE x > 0; SELECT ERROR('no'); COMMIT TRANSACTION;")
    assert warehouse.query("SELECT COUNT(*) AS n FROM {d}.large") == [{"n": 1_999_991}]
    warehouse.query("BEGIN TRANSACTION; DELETE FROM {d}.large WHERE x > 0; ROLLBACK TRANSACTION;")
    assert warehouse.query("SELECT COUNT(*) AS n FROM {d}.large") == [{"n": 1_999_991}]


def test_a_result_is_read_once_by_the_storage_api_and_not_kept(fresh_cloud: LocalCloud, warehouse: Warehouse) -> None:
    job = warehouse.client.query("SELECT 7 AS x", retry=None, job_retry=None, timeout=60)
    job.result(timeout=60, retry=None)
    target = f"127.0.0.1:{fresh_cloud.settings.local.ports.bigquery_grpc}"
    with grpc.insecure_channel(target) as channel:
        client = BigQueryReadClient(transport=BigQueryReadGrpcTransport(channel=channel))
        wanted = types.ReadSession(table=job.destination.to_bqstorage(), data_format=types.DataFormat.ARROW)
        session = client.create_read_session(parent="projects/local", read_session=wanted, timeout=10)
        [stream] = session.streams
        assert client.read_rows(stream.name, timeout=10).to_arrow(session).to_pylist() == [{"x": 7}]
        with pytest.raises(NotFound):
            list(client.read_rows(stream.name, timeout=10, retry=None))
        with pytest.raises(NotFound):
            client.create_read_session(parent="projects/local", read_session=wanted, timeout=10)
