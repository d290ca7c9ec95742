"""Years of history through the real DAG: every row accounted for, and no moment at which a kill does harm."""

import csv
import json
import math
import random
from datetime import date, timedelta
from typing import Any

import pytest

from coinbeam.clock import format_instant, utc_now
from coinbeam.contracts import load_contract
from coinbeam.feeds.history.coverage import Coverage
from coinbeam.marts.refresh import Marts
from coinbeam.settings import ROOT
from runs.airflow import BACKFILL_DAG
from tests.end_to_end.conftest import COSTS

pytestmark = [pytest.mark.airflow, pytest.mark.cloud]

EXPORTS = ROOT.parent / "shared" / "captures" / "daily"
ASSETS = {
    "ada": "cardano",
    "bnb": "binancecoin",
    "btc": "bitcoin",
    "eth": "ethereum",
    "link": "chainlink",
    "ltc": "litecoin",
    "shib": "shiba-inu",
    "sol": "solana",
    "xrp": "ripple",
}
FORM: dict[str, Any] = {
    "assets": "bitcoin,ethereum,tether",
    "top_n": 3,
    "from_date": None,
    "to_date": None,
    "quote_currency": "usd",
    "only_gaps": False,
    "source": None,
    "asset_of": None,
    "refetch": False,
    "calls_per_day": 1_000,
    "dry_run": False,
}
SMALL_BATCHES = {"COINBEAM_HISTORY__CHUNK_PIECES": "2", "COINBEAM_RETRY__RETRIES": "0"}
KILLS = 3
OTHER_TOLD = COSTS | {"incident"}


@pytest.mark.skipif(not EXPORTS.is_dir(), reason="needs the captures in ../shared/captures/daily")
def test_every_row_of_nine_real_exports_is_published_or_named(pipeline: Any) -> None:
    files = {f"{symbol}-usd-max.csv": asset for symbol, asset in ASSETS.items()}
    names = ",".join(f"{name}={asset}" for name, asset in files.items())
    ran = pipeline.run_other(BACKFILL_DAG, **(FORM | {"assets": None, "source": f"{EXPORTS}/*.csv", "asset_of": names}))
    assert ran.code == 0, ran.log[-4000:]

    (batch,) = pipeline.batches()
    assert (batch["status"], batch["mode"], batch["source_id"]) == ("published", "replay", "coingecko_export")
    assert (
        batch["rows_read"]
        == batch["rows_published"] + batch["rows_rejected"] + batch["rows_unpriced"] + batch["points_superseded"]
    )
    for name, asset in files.items():
        with (EXPORTS / name).open(encoding="utf-8") as file:
            told = {row["snapped_at"][:10]: row for row in csv.DictReader(file)}
        rows = pipeline.rows(
            f"SELECT * FROM `{{data}}.crypto_market_daily_fact` WHERE date >= '2010-01-01' AND asset_id = '{asset}'"
        )
        stored = {str(row["date"]): row for row in rows}
        assert stored.keys() == told.keys(), asset
        for day, row in told.items():
            for column in ("price", "market_cap", "total_volume"):
                assert stored[day][column] == (float(row[column]) if row[column] else None), (asset, day, column)
        first, last = date.fromisoformat(min(told)), date.fromisoformat(max(told))
        absent = {str(first + timedelta(n)) for n in range((last - first).days + 1)} - told.keys()
        (covered,) = Coverage(pipeline.warehouse).read([asset], "usd", first, last, "coingecko")
        named = {str(gap.first + timedelta(n)) for gap in covered.gaps for n in range(gap.days)}
        assert named == absent, asset
        assert not any(gap.is_known for gap in covered.gaps), "a file is no answer of the source: it may still be asked"
        assert not pipeline.rows(f"SELECT * FROM `{{ops}}.history_piece` WHERE asset_id = '{asset}'")
    assert Marts(pipeline.warehouse, pipeline.settings).refresh().rows["market_daily"] == batch["rows_published"]


@pytest.mark.timeout(900)
def test_a_backfill_killed_again_and_again_ends_as_one_that_was_not(pipeline: Any) -> None:
    pipeline.freeze(format_instant(utc_now()))
    undisturbed = pipeline.elsewhere()
    for each in (pipeline, undisturbed):
        each.fill_calendar()
    calls_before = chart_calls(pipeline)
    rng, kills, lost = random.Random(), 0, 0
    for _ in range(KILLS):
        kills += pipeline.kill(rng.uniform(1.5, 7), BACKFILL_DAG, SMALL_BATCHES, **FORM)
        in_vain = chart_calls(pipeline) - calls_before - len(landed(pipeline))
        assert 0 <= in_vain <= lost + 1, (
            "a kill loses at most the one answer that was on its way, and never one that was landed"
        )
        lost = in_vain
    assert kills >= KILLS - 1, "nearly every run was cut short"
    assert pipeline.run_other(BACKFILL_DAG, SMALL_BATCHES, **FORM).code == 0
    assert chart_calls(pipeline) - calls_before == len(landed(pipeline)) + lost
    ran = undisturbed.run_other(BACKFILL_DAG, SMALL_BATCHES, **FORM)
    assert ran.code == 0, [batch["error_message"] for batch in undisturbed.batches()]
    for each in (pipeline, undisturbed):
        Marts(each.warehouse, each.settings).refresh()
    expected, found = undisturbed.tables(), pipeline.tables()
    assert len(expected["crypto_market_daily_fact"]) == 3 * 365
    for name in expected.keys() - OTHER_TOLD:
        assert_same_rows(name, found[name], expected[name])


def assert_same_rows(table: str, found: list[str], expected: list[str]) -> None:
    """The same rows by key; doubles up to the order in which a sum was added."""
    rows, others = ({key_of(table, row): row for row in map(json.loads, lines)} for lines in (found, expected))
    assert rows.keys() == others.keys(), table
    for key, row in rows.items():
        for column, value in row.items():
            if (table, column) == ("history_piece", "api_calls"):
                continue  # a piece that was landed before the kill cost the last run nothing
            other = others[key][column]
            same = (
                math.isclose(value, other, rel_tol=1e-12)
                if isinstance(value, float) and isinstance(other, float)
                else value == other
            )
            assert same, (table, key, column, value, other)


def key_of(table: str, row: dict[str, Any]) -> tuple[str, ...]:
    """The key of a row; of a table keyed by an instant of ours, the whole row."""
    key = load_contract(table).primary_key
    return tuple(str(row[name]) for name in (key if set(key) <= row.keys() else sorted(row)))


def chart_calls(pipeline: Any) -> int:
    """Calls for history that the simulator counted."""
    return sum(count for path, count in pipeline.simulator_stats()["calls"].items() if "market_chart" in path)


def landed(pipeline: Any) -> list[str]:
    """The landed pieces."""
    return [name for name in pipeline.bucket.names("landing/market_chart/") if name.endswith(".json.gz")]
