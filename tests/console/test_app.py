"""The command line as a person meets it: exit codes, misuse, and answers from the emulator."""

import csv
import io
import json
import os
from dataclasses import replace
from pathlib import Path

import pytest

from coinbeam import __version__
from coinbeam.batch.tables import SNAPSHOT_FACT as FACT
from coinbeam.contracts import dictionary as dictionary_module
from coinbeam.contracts import load_all, load_contract
from coinbeam.contracts.dictionary import render
from tests.coinbeam.conftest import DAY, Stage, fact_row, reject_row
from tests.console.conftest import Coinbeam
from tests.temporary import LocalCloud, free_ports


@pytest.fixture
def filled(stage: Stage) -> Stage:
    """A warehouse with two assets and one reject; the environment points at it."""
    stage.publish(
        "batch",
        **{
            FACT: [fact_row("bitcoin", current_price=0.1 + 0.2), fact_row("ethereum", name='E "2", ツ')],
            "rejected_record": [reject_row(1)],
        },
    )
    return stage


def test_the_version_is_told(coinbeam: Coinbeam) -> None:
    ended = coinbeam("--version")
    assert (ended.code, ended.out) == (0, f"{__version__}\n")


@pytest.mark.parametrize(
    "command",
    [
        "",
        "run",
        "plan",
        "replay",
        "query",
        "status",
        "rejects",
        "rejects replay",
        "quality",
        "quality check",
        "ui",
        "contracts",
        "contracts check",
        "contracts ddl",
    ],
)
def test_every_command_explains_itself(command: str, coinbeam: Coinbeam) -> None:
    ended = coinbeam(*command.split(), "--help")
    assert ended.code == 0
    assert len(ended.out) > 100


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        pytest.param(["fly"], "fly", id="an unknown command"),
        pytest.param(["query"], "sql", id="a query without SQL"),
        pytest.param(["query", "SELECT 1", "--format", "xml"], "xml", id="an unknown format"),
        pytest.param(["status", "--what"], "--what", id="an unknown option"),
        pytest.param(["rejects", "--limit", "0"], "--limit", id="a limit of none"),
        pytest.param(
            ["rejects", "--batch", "b", "replay"], "written after it", id="a selection before the word replay"
        ),
        pytest.param(["quality", "--table", "t", "check"], "written after it", id="a selection before the word check"),
        pytest.param(["quality", "--status", "odd"], "odd", id="a status that no rule has"),
        pytest.param(["run", "--mode", "moon"], "moon", id="an unknown mode"),
        pytest.param(["run", "--universe", "stars"], "stars", id="an unknown universe"),
        pytest.param(["run", "--universe", "ids"], "ids", id="the universe of ids without ids"),
        pytest.param(["run", "--ids", "bitcoin", "--top-n", "5"], "--ids and --top-n choose", id="two selections"),
        pytest.param(["run", "--universe", "all", "--ids", "bitcoin"], "--ids has no meaning", id="ids of everything"),
        pytest.param(["run", "--top-n", "0"], "--top-n", id="the largest none"),
        pytest.param(["run", "--quote-currency", "U$"], "quote_currency", id="a malformed currency"),
        pytest.param(["run", "--snapshot-at", "noon"], "noon", id="no instant"),
        pytest.param(
            ["run", "--snapshot-at", "2026-01-02T12:34:56Z"], "start of a daily interval", id="an instant within a day"
        ),
        pytest.param(["replay", "noon"], "noon", id="a replay of no instant"),
        pytest.param(["contracts", "ddl", "nothing"], "nothing", id="an unknown table"),
    ],
)
def test_misuse_is_refused_before_anything_is_started(
    arguments: list[str], named: str, coinbeam: Coinbeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("subprocess.Popen", lambda *_, **__: pytest.fail("something was started"))
    ended = coinbeam(*arguments)
    assert ended.code == 2
    assert named in ended.err
    assert "Traceback" not in ended.err


def test_wrong_settings_are_misuse_and_named(coinbeam: Coinbeam, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COINBEAM_MARKET__SOURCE", "binance")
    ended = coinbeam("status")
    assert ended.code == 2
    assert ended.err.startswith("error: Wrong settings: market.source")
    assert ended.err.count("\n") == 1, "one line, no traceback"


def test_a_warehouse_that_is_down_is_a_failure_with_a_remedy(
    coinbeam: Coinbeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COINBEAM_LOCAL__PORTS__BIGQUERY", str(free_ports(1)[0]))
    ended = coinbeam("query", "SELECT 1")
    assert ended.code == 1
    assert "coinbeam local up" in ended.err


def test_checking_the_contracts_names_each_of_them(coinbeam: Coinbeam) -> None:
    ended = coinbeam("contracts", "check")
    assert ended.code == 0
    assert [line.split()[0] for line in ended.out.splitlines()] == [
        f"{c.dataset}.{c.name}" for c in load_all().values()
    ]


def test_the_ddl_of_one_table_or_of_all(coinbeam: Coinbeam) -> None:
    assert coinbeam("contracts", "ddl", "date_dim").out.startswith("CREATE TABLE IF NOT EXISTS `crypto_data.date_dim`")
    everything = coinbeam("contracts", "ddl").out
    views = sum(contract.is_view for contract in load_all().values())
    assert everything.count("CREATE TABLE IF NOT EXISTS") == len(load_all()) - views
    assert everything.count("CREATE OR REPLACE VIEW") == views


def test_the_dictionary_is_printed_or_written(
    coinbeam: Coinbeam, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    assert coinbeam("contracts", "dictionary").out == render()
    monkeypatch.setattr(dictionary_module, "DICTIONARY", tmp_path / "dictionary.md")
    assert coinbeam("contracts", "dictionary", "--write").code == 0
    assert (tmp_path / "dictionary.md").read_text(encoding="utf-8") == render()


QUERY = "SELECT asset_id, current_price, name FROM `{table}` WHERE snapshot_date = '2026-01-02' ORDER BY asset_id"


@pytest.mark.cloud
def test_a_query_is_answered_in_every_format(coinbeam: Coinbeam, filled: Stage) -> None:
    sql = QUERY.format(table=filled.warehouse.table(load_contract(FACT)))
    expected = [("bitcoin", 0.1 + 0.2, "Bitcoin"), ("ethereum", 0.1 + 0.2, 'E "2", ツ')]
    rows = json.loads(coinbeam("query", sql, "--format", "json").out)
    assert [(row["asset_id"], row["current_price"], row["name"]) for row in rows] == expected
    lines = list(csv.reader(io.StringIO(coinbeam("query", sql, "--format", "csv").out)))
    assert lines == [["asset_id", "current_price", "name"], *([a, repr(p), n] for a, p, n in expected)]
    table = coinbeam("query", sql).out
    assert table.splitlines()[1] == "bitcoin   0.30000000000000004  Bitcoin"


@pytest.mark.cloud
def test_a_query_that_fails_says_why_in_one_line(coinbeam: Coinbeam, filled: Stage) -> None:
    assert filled
    ended = coinbeam("query", "SELECT * FROM nowhere.nothing")
    assert ended.code == 1
    assert ended.out == ""
    assert "nowhere" in ended.err
    assert "Traceback" not in ended.err


@pytest.mark.cloud
@pytest.mark.parametrize("sql", ["SELECT 1 AS one WHERE FALSE", "CREATE OR REPLACE TEMP TABLE t AS SELECT 1 AS x"])
def test_a_query_without_rows_is_no_failure(sql: str, coinbeam: Coinbeam, filled: Stage) -> None:
    assert filled
    assert coinbeam("query", sql, "--format", "json").code == 0


@pytest.mark.cloud
def test_rejects_are_listed_and_filtered(coinbeam: Coinbeam, filled: Stage) -> None:
    assert filled
    (row,) = json.loads(coinbeam("rejects", "--format", "json").out)
    assert (row["batch_id"], row["reason"], row["value"], row["row_number"]) == ("batch", "negative", "-1", 1)
    assert len(json.loads(coinbeam("rejects", "--reason", "negative", "--batch", "batch", "--format", "json").out)) == 1
    assert json.loads(coinbeam("rejects", "--reason", "other", "--format", "json").out) == []
    assert json.loads(coinbeam("rejects", "--batch", "it's", "--format", "json").out) == []


@pytest.mark.cloud
def test_the_status_shows_freshness_batches_rejects_and_quota(coinbeam: Coinbeam, filled: Stage) -> None:
    assert filled
    ended = coinbeam("status")
    assert ended.code == 0
    for title in ("Freshness", "Last batches", "Open rejects", "Open incidents", "API quota", "Backfills"):
        assert title in ended.out
    rows = json.loads(coinbeam("status", "--format", "json").out)
    (fresh,) = [row for row in rows if row["block"] == "Freshness" and row["table"] == FACT]
    assert fresh["newest"] == DAY.isoformat().replace("+00:00", "Z")
    assert fresh["state"] in {"fresh", "stale", "too old"}
    (quota,) = [row for row in rows if row["block"] == "API quota"]
    assert (quota["used_this_month"], quota["left"]) == (0, quota["calls_per_month"])


@pytest.mark.cloud
def test_the_status_of_a_warehouse_without_tables_says_what_to_do(coinbeam: Coinbeam, fresh_cloud: LocalCloud) -> None:
    assert fresh_cloud
    ended = coinbeam("status")
    assert ended.code == 0, ended.err
    assert "missing" in ended.out
    assert "No batch has run yet: `coinbeam run` makes the tables" in ended.out


@pytest.mark.cloud
def test_a_plan_says_what_a_run_would_cost(coinbeam: Coinbeam, filled: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    assert filled
    monkeypatch.setenv("COINBEAM_MARKET__SOURCE", "simulator")
    ended = coinbeam("plan", "--top-n", "100", "--source", "simulator")
    assert ended.code == 0, ended.err
    assert "universe  top-100 in usd" in ended.out
    assert "calls     13 (10000 left this month)" in ended.out
    assert os.environ["COINBEAM_MARKET__SOURCE"] == "simulator"


def test_local_commands_are_handed_to_the_supervisor_with_their_exit_code(
    coinbeam: Coinbeam, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[list[str]] = []

    class Done:
        returncode = 7

    def run(arguments: list[str], **_: object) -> Done:
        seen.append(arguments)
        return Done()

    monkeypatch.setattr("subprocess.run", run)
    assert coinbeam("local", "reset", "--yes").code == 7
    assert seen[0][1:] == ["-m", "local", "reset", "--yes"]


@pytest.mark.cloud
@pytest.mark.parametrize(
    ("sql", "word"),
    [
        ("DELETE FROM crypto_data.time_dim WHERE TRUE", "DELETE"),
        ("DROP TABLE crypto_data.time_dim", "DROP"),
        ("CREATE TABLE crypto_data.x AS SELECT 1 AS a", "CREATE"),
        ("SELECT 1; TRUNCATE TABLE crypto_data.time_dim", "TRUNCATE"),
        ("CALL crypto_data.something()", "CALL"),
    ],
)
def test_a_query_changes_nothing_unless_told(sql: str, word: str, filled: Stage, coinbeam: Coinbeam) -> None:
    sql = sql.replace("crypto_data", filled.warehouse.dataset("crypto_data"))
    ended = coinbeam("query", sql)
    assert (ended.code, ended.out) == (2, "")
    assert f"{word} changes the warehouse, and nothing was done. Add --write" in ended.err


@pytest.mark.cloud
def test_a_query_that_may_write_writes(filled: Stage, coinbeam: Coinbeam) -> None:
    fact = filled.warehouse.table(load_contract(FACT))
    ended = coinbeam(
        "query", "--write", f"DELETE FROM {fact} WHERE snapshot_date = '{DAY.date()}' AND asset_id = 'bitcoin'"
    )
    assert (ended.code, ended.out) == (0, "Done.\n")
    told = coinbeam("query", f"SELECT asset_id FROM {fact} WHERE snapshot_date >= '2020-01-01'", "--format", "csv")
    assert (told.out, told.err) == ("asset_id\nethereum\n", "")


@pytest.mark.cloud
def test_a_query_that_bigquery_would_refuse_is_told(filled: Stage, coinbeam: Coinbeam) -> None:
    fact = filled.warehouse.table(load_contract(FACT))
    ended = coinbeam("query", f"SELECT COUNT(*) AS n FROM {fact}", "--format", "csv")
    assert (ended.code, ended.out) == (0, "n\n2\n")
    assert ended.err.startswith(f"warning: BigQuery may refuse this query: {FACT} is partitioned")
    assert "snapshot_date" in ended.err


def test_ctrl_c_is_answered(coinbeam: Coinbeam, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_args: object, **_kwargs: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("console.read.run_query", interrupted)
    ended = coinbeam("query", "SELECT 1")
    assert (ended.code, ended.out) == (130, "")
    assert ended.err.startswith("error: Stopped by Ctrl-C.")


def test_a_column_whose_field_nobody_asks_for_is_refused(coinbeam: Coinbeam, monkeypatch: pytest.MonkeyPatch) -> None:
    fact = load_contract(FACT)
    added = replace(fact.columns[0], name="change_30d", source="price_change_percentage_30d_in_currency")
    known = load_all() | {FACT: replace(fact, columns=(*fact.columns, added))}
    monkeypatch.setattr("coinbeam.contracts.load_all", lambda: known)
    ended = coinbeam("contracts", "check")
    assert ended.code == 1
    assert "Column change_30d stores price_change_percentage_30d_in_currency, which CoinGecko only sends" in ended.err
    assert "price_change_percentage=30d" in ended.err
