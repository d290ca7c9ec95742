"""Lineage: the names of what jobs and scripts read and write, and who is believed."""

from typing import Any

import pytest

from coinbeam.batch.tables import DAILY_FACT, FEAR_GREED_FACT, SNAPSHOT_FACT
from coinbeam.marts.specs import MARTS
from tests.dags.description import read

pytestmark = pytest.mark.xdist_group("dags")  # one database


@pytest.fixture(scope="module")
def told(run_python: Any) -> dict[str, Any]:
    """The lineage of every case of ``lineage_cases.py``: inputs and outputs, each a namespace and a name."""
    return read(run_python("from tests.dags.lineage_cases import main; main()"))


def test_a_job_asks_an_endpoint_lands_its_answers_and_writes_what_is_loaded(told: dict[str, Any]) -> None:
    assert told["live"] == [
        ["https://api.coingecko.com api/v3/coins/markets", "https://api.coingecko.com api/v3/exchange_rates"],
        [
            "gs://bucket landing/markets",
            "gs://bucket landing/exchange_rates",
            "gs://coinbeam batches/b/crypto_1.csv",
            "gs://coinbeam batches/b",
        ],
    ]


def test_a_simulated_market_is_told_by_its_own_address(told: dict[str, Any]) -> None:
    asked, written = told["simulator"]
    assert [name.partition(" ")[2] for name in asked] == ["api/v3/coins/list", "api/v3/coins/{id}"]
    assert all(name.startswith("http://127.0.0.1:") for name in asked)
    assert written == ["gs://bucket landing/coins_list", "gs://bucket landing/coins", "gs://bucket batches/b"]


def test_a_source_that_the_job_chooses_is_not_guessed(told: dict[str, Any]) -> None:
    assert told["auto"][0] == ["auto coins/{id}/market_chart/range"]


def test_the_index_has_a_server_of_its_own(told: dict[str, Any]) -> None:
    assert told["index"][0] == ["https://api.alternative.me fng"]


def test_a_replay_continues_from_what_the_fetch_landed(told: dict[str, Any]) -> None:
    assert told["replay"] == [["gs://bucket landing/markets"], ["gs://bucket batches/b"]]
    assert set(told["replay"][0]) < set(told["live"][1])


def test_files_of_a_user_are_told_by_their_folder(told: dict[str, Any]) -> None:
    assert told["exports"] == [["file /data/exports"], ["file /data/out"]]


def test_a_job_that_asks_nobody_reads_nothing(told: dict[str, Any]) -> None:
    assert told["calendar"] == [[], ["gs://bucket batches/b"]]


def test_a_script_tells_its_tables_and_neither_temporary_ones_nor_variables(told: dict[str, Any]) -> None:
    assert told["script"] == [
        ["bigquery acme.crypto_data.list", "bigquery acme.crypto_staging.fact__b", "bigquery other.crypto_data.dim"],
        ["bigquery acme.crypto_data.fact", "bigquery acme.crypto_ops.queue"],
    ]


def test_what_is_no_sql_has_no_lineage(told: dict[str, Any]) -> None:
    assert told["no_sql"] == [[], []]


def test_a_refresh_reads_the_facts_and_writes_every_mart_and_the_queue(told: dict[str, Any]) -> None:
    facts, written = (set(side) for side in told["marts"])
    assert written == {f"bigquery acme.crypto_marts.{mart.name}" for mart in MARTS} | {
        "bigquery acme.crypto_ops.publication"
    }
    assert {f"bigquery acme.crypto_data.{fact}" for fact in (DAILY_FACT, SNAPSHOT_FACT, FEAR_GREED_FACT)} <= facts


def test_bigquery_is_believed_where_it_tells_and_the_sql_where_it_does_not(told: dict[str, Any]) -> None:
    assert told["told_by_bigquery"] == [
        ["bigquery acme.crypto_data.told_input"],
        ["bigquery acme.crypto_data.told_output"],
    ]
    assert [[name.rpartition(".")[2] for name in side] for side in told["told_by_emulator"]] == [
        ["list", "fact__b", "dim"],
        ["fact", "queue"],
    ]


def test_lineage_that_cannot_be_told_is_left_out_and_fails_no_task(told: dict[str, Any]) -> None:
    assert told["broken"] == "None"
