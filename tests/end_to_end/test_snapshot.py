"""One snapshot through the real DAG: complete, idempotent, honest about time."""

import json
import random
from collections.abc import Callable
from datetime import timedelta
from itertools import count, takewhile
from typing import Any

import pytest
import requests
from starlette.testclient import TestClient

from coinbeam.clock import format_instant, utc_now
from coinbeam.ops.batch_line import RECORDED
from console.rejects import Replayed, replay_rejects
from local.simulator.currencies import CURRENCIES
from runs.airflow import MARTS_DAG, SNAPSHOT_DAG
from serving.api.app import create_app
from tests.end_to_end.conftest import COSTS, RUNS
from tests.temporary import COINS

pytestmark = [pytest.mark.airflow, pytest.mark.cloud]


def test_a_whole_market_is_published_and_neither_a_second_run_nor_a_kill_changes_it(pipeline: Any) -> None:
    pipeline.freeze(format_instant(utc_now()))
    pipeline.faults(profile="throttle", retry_after=0)
    first = pipeline.run()
    assert first.code == 0, first.log[-4000:]
    tables = pipeline.tables()
    batch = pipeline.batches()[0]

    assert batch["status"] == "published"
    assert batch["rows_read"] == COINS
    assert batch["api_retries"] > 0, "a passing fault costs retries and no rows"
    assert batch["api_throttled"] > 0
    assert (
        batch["rows_read"]
        == batch["rows_valid"] + batch["rows_unpriced"] + batch["rows_duplicate"] + batch["rows_rejected"]
    )
    assert (
        batch["rows_published"]
        == batch["rows_staged"]
        == batch["rows_valid"]
        == len(tables["crypto_market_snapshot_fact"])
    )
    assert batch["rows_unpriced"] > 0
    assert batch["api_calls"] == pipeline.simulator_stats()["total_calls"]
    assert batch["details_fetched"] == 3
    [line] = [line for line in first.log.splitlines() if RECORDED in line and f"batch_id={batch['batch_id']}" in line]
    assert f" rows_published={batch['rows_published']} " in line, "what the cloud counts stands in the log as text"
    assert batch["assets_listed"] > COINS / 2
    assert json.loads(batch["task_seconds"])["fetch_crypto_data"] > 0
    rates = [json.loads(row) for row in tables["exchange_rate_fact"]]
    assert {rate["batch_id"] for rate in rates} == {batch["batch_id"]}
    assert {rate["currency"] for rate in rates} == set(CURRENCIES)
    calls = pipeline.simulator_stats()["calls"]
    assert calls["/exchange_rates"] > 0
    assert len(tables["time_dim"]) == 1440
    assert len(tables["date_dim"]) > 6000
    assert {json.loads(row)["status"] for row in tables["quality_result"]} <= {"passed", "warning"}
    assert list(pipeline.warehouse.client.list_tables(pipeline.settings.warehouse.staging_dataset)) == []

    pipeline.faults(profile="none")
    second = pipeline.run(variables={"COINBEAM_MARKET__MAX_DETAILS": "0"})
    assert second.code == 0, second.log[-4000:]
    again = pipeline.tables()
    for name in tables:
        if name not in RUNS:
            assert again[name] == tables[name], name
    assert pipeline.simulator_stats()["calls"]["/exchange_rates"] == calls["/exchange_rates"], "landed rates are reused"
    first, replayed = pipeline.batches()
    assert first == batch, "the record of the fetch and of what it cost stays"
    assert replayed["api_calls"] == 0, "every page and the list were reused"
    [newest] = pipeline.warehouse.rows(
        f"SELECT run_id, started_at, runs, api_calls FROM `{pipeline.settings.warehouse.ops_dataset}"
        ".latest_ingestion_batch` WHERE snapshot_date >= '2000-01-01'"
    )
    assert newest == {name: replayed[name] for name in ("run_id", "started_at")} | {
        "runs": 2,
        "api_calls": batch["api_calls"],
    }

    assert pipeline.run_other(MARTS_DAG).code == 0
    said, served = simulated_market(pipeline), served_market(pipeline)
    assert set(served) == {key for key, row in said.items() if row["current_price"] is not None}
    assert {
        (key, field, value, said[key].get(field))
        for key, row in served.items()
        for field, value in row.items()
        if field != "sparkline_in_7d" and value != said[key].get(field)
    } == set()
    assert [key for key, row in served.items() if row.keys() != said[key].keys()] == []
    assert [key for key, row in served.items() if row["sparkline_in_7d"] != said[key]["sparkline_in_7d"]] == []

    in_euro = {"ids": "bitcoin", "vs_currencies": "eur", "precision": "full"}
    with TestClient(create_app(pipeline.settings, needs_key=False)) as api:
        derived = api.get("/api/v3/simple/price", params=in_euro)
    euros = simulated(pipeline, MARKETS, vs_currency="eur", ids="bitcoin", precision="full")[0]["current_price"]
    assert derived.json()["bitcoin"]["eur"] == pytest.approx(euros, rel=1e-4), "rates have few digits"
    assert derived.headers["x-coinbeam-derived"] == "eur from usd"

    killed = pipeline.elsewhere()
    killed.kill(random.uniform(2, 10), SNAPSHOT_DAG, {"COINBEAM_MARKET__MAX_DETAILS": "3"})
    assert killed.run().code == 0
    assert {row["status"] for row in killed.batches()} == {"published"}
    found = killed.tables()
    for name in tables:
        # The record and the ledger tell what the runs cost: pages landed before the kill cost nothing again, and a
        # killed attempt in full.
        if name not in COSTS:
            assert found[name] == tables[name], name


MARKETS = "/api/v3/coins/markets"
EVERYTHING = {
    "vs_currency": "usd",
    "per_page": 250,
    "precision": "full",
    "sparkline": "true",
    "price_change_percentage": "1h,24h,7d",
}


def served_market(pipeline: Any) -> dict[str, dict[str, Any]]:
    """Every row of the market as our API has it, by id."""
    with TestClient(create_app(pipeline.settings, needs_key=False)) as api:
        return whole_market(lambda page: api.get(MARKETS, params={**EVERYTHING, "page": page}).json())


def simulated_market(pipeline: Any) -> dict[str, dict[str, Any]]:
    """The same as the simulator says it, whose clock stands still."""
    return whole_market(lambda page: simulated(pipeline, MARKETS, **EVERYTHING, page=page))


def simulated(pipeline: Any, path: str, **parameters: Any) -> Any:
    """An answer of the simulator."""
    url = f"http://127.0.0.1:{pipeline.settings.local.ports.simulator}{path}"
    return requests.get(url, parameters, timeout=30).json()


def whole_market(page_of: Callable[[int], list[dict[str, Any]]]) -> dict[str, dict[str, Any]]:
    """All pages of a market."""
    pages = iter(takewhile(bool, map(page_of, count(1))))
    return {row["id"]: row for page in pages for row in page}


def test_a_dry_run_shows_the_plan_and_changes_nothing(pipeline: Any) -> None:
    ran = pipeline.run(dry_run=True)
    assert ran.code == 0
    assert "calls" in ran.log
    assert "Dry run: the plan is shown above" in ran.log
    assert list(pipeline.warehouse.client.list_tables(pipeline.settings.warehouse.data_dataset)) == []
    assert list(pipeline.warehouse.client.list_tables(pipeline.settings.warehouse.ops_dataset)) == []


def test_a_past_date_without_landing_is_a_recorded_gap_and_publishes_nothing(pipeline: Any) -> None:
    yesterday = utc_now() - timedelta(days=1)
    ran = pipeline.run(replay_date=f"{yesterday:%Y-%m-%d}")
    assert ran.code == 0, ran.log[-3000:]
    (batch,) = pipeline.batches()
    assert batch["status"] == "gap"
    assert "never stamped on an old date" in batch["error_message"]
    assert pipeline.tables()["crypto_market_snapshot_fact"] == []
    assert pipeline.simulator_stats()["total_calls"] == 0


def test_the_ids_of_the_form_are_what_is_published(pipeline: Any) -> None:
    pipeline.fill_calendar()
    without_rates = {"COINBEAM_MARKET__EXCHANGE_RATES": "false"}
    assert pipeline.run(universe="ids", ids="bitcoin, ethereum,tether", variables=without_rates).code == 0
    assert pipeline.tables()["exchange_rate_fact"] == []
    assert "/exchange_rates" not in pipeline.simulator_stats()["calls"]
    fact = "`{data}.crypto_market_snapshot_fact` WHERE snapshot_date >= '2000-01-01'"
    assert {row["asset_id"] for row in pipeline.rows(f"SELECT asset_id FROM {fact}")} == {
        "bitcoin",
        "ethereum",
        "tether",
    }
    (batch,) = pipeline.batches()
    assert batch["universe"].startswith("ids-")

    name, day = batch["batch_id"], f"DATE '{batch['snapshot_date']}'"
    pipeline.rows(
        "INSERT INTO `{ops}.rejected_record` "
        "(rejected_id, batch_id, snapshot_date, table_name, level, estimated_rows, page_uri, reason, "
        "contract_version, rejected_at) "
        f"VALUES ('r', '{name}', {day}, 'crypto_market_snapshot_fact', 'row', 1, 'gs://x', 'an older rule', '0', "
        "CURRENT_TIMESTAMP())"
    )
    calls = pipeline.simulator_stats()["total_calls"]
    replayed = replay_rejects(
        pipeline.warehouse, lambda found: None if pipeline.run(replay_batch=found).code == 0 else "failed"
    )
    assert replayed == [Replayed(name, 1, 0, "replayed")], (
        "of ids, too, by the landing folder that bears the name of the batch"
    )
    assert pipeline.simulator_stats()["total_calls"] == calls
    first, again = pipeline.batches()
    assert first == batch, "a replay takes nothing from the record of the fetch"
    assert (again["mode"], again["universe"], again["rows_published"]) == ("replay", batch["universe"], 3)
