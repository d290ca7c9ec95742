"""Plans of backfills on the emulator: pieces, batches, what the budget allows, and what a second run finds."""

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from coinbeam.batch.jobs import FETCH_MARKET_HISTORY
from coinbeam.clock import format_instant
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.feeds.ending import Ending
from coinbeam.feeds.history import refreshes
from coinbeam.feeds.history.pieces import read_pieces
from coinbeam.feeds.history.plan import BackfillPlan, HistoryPlan
from coinbeam.feeds.history.request import BackfillRequest
from coinbeam.feeds.history.steps import HistorySteps
from coinbeam.feeds.plan import DATAFLOW_MINUTES, dataflow_dollars
from coinbeam.ops.call_ledger import CallLedger
from coinbeam.settings import Environment, HistorySettings, MarketSettings, MarketSource
from tests.coinbeam.conftest import Stage, asset_row, date_row, fact_row

pytestmark = pytest.mark.cloud

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
SOURCE = "coingecko_simulator"
REQUEST = BackfillRequest(("bitcoin", "ethereum"), None, "usd", date(2025, 11, 1), date(2026, 3, 1), 100)
"""Two assets over a turn of the year: four pieces."""


def steps(stage: Stage, now: datetime = NOW, **history: Any) -> HistorySteps:
    """The steps with a clock that stands still, and batches of two pieces."""
    settings = stage.warehouse.settings
    changed = settings.model_copy(
        update={"history": HistorySettings(**{"chunk_pieces": 2, "max_parallel": 1, **history})}
    )
    return HistorySteps(changed, stage.warehouse, clock=lambda: now)


def planned(made: HistorySteps, request: BackfillRequest = REQUEST) -> BackfillPlan:
    """A plan, written down, as the DAG makes it."""
    plan = made.planner.plan(request, "run", "local")
    made.planner.write_plan(request)
    return plan


def batches(plan: BackfillPlan) -> list[HistoryPlan]:
    return [HistoryPlan(**entry["batch"]) for entry in plan.batches]


def ledger(stage: Stage) -> dict[tuple[str, str], dict[str, Any]]:
    return {(row["asset_id"], str(row["first_date"])): row for row in stage.contents("history_piece")}


def end(made: HistorySteps, one: HistoryPlan, status: str = "published", error: str | None = None, **told: Any) -> None:
    """End a batch with the report that its job would leave."""
    pieces = read_pieces(made.bucket.read_text(f"{one.batch.folder}/pieces.json") or "")
    counts = {
        "points_read": 5,
        "rows_valid": 3,
        "rows_rejected": 1,
        "days_missing": 2,
        "missing_days": ["2026-01-02"],
        "calls": 1,
    }
    report = {
        "source_id": SOURCE,
        "pages_read": len(pieces),
        "rows_read": 10,
        "rows_valid": 6,
        "api_calls": 2,
        "rows_superseded": 4,
        "pieces": [{**piece.to_dict(), **counts, "error": None, **told} for piece in pieces],
    }
    made.bucket.write_text(f"{one.batch.folder}/report_fetch_market_history.json", json.dumps(report))
    made.record(one, Ending(status, error, {"audit": 1.0}, frozenset({FETCH_MARKET_HISTORY.name})))


def test_a_plan_changes_nothing_and_tells_everything(stage: Stage) -> None:
    plan = steps(stage).planner.plan(REQUEST, "run", "local")
    assert (plan.batches_settled, plan.batches_waiting, plan.what) == (0, 0, "2 assets")
    costs = plan.estimate
    assert (costs["pieces"], costs["calls"], costs["calls_today"], costs["days_of_quota"]) == (4, 4, 4, 1)
    assert costs["rows"] == 2 * 121
    assert costs["dollars"] == 0
    assert json.loads(json.dumps(plan.to_dict())) == plan.to_dict()
    assert stage.contents("history_piece") == []
    assert steps(stage).bucket.names("") == []


def test_batches_hold_pieces_in_order_and_the_options_of_their_job(stage: Stage) -> None:
    made = steps(stage)
    plan = planned(made)
    first, second = batches(plan)
    assert [first.batch_id[-5:], second.batch_id[-5:]] == ["-0000", "-0001"]
    assert (first.batch.first_date, first.batch.last_date) == (date(2025, 11, 1), date(2026, 3, 1))
    options = plan.batches[0]["options"]
    assert options["pieces"] == f"{options['output']}/pieces.json"
    assert options["call_ledger"] == "on"
    assert options["source"] == "simulator"
    made.prepare(first)
    pieces = read_pieces(made.bucket.read_text(f"{first.batch.folder}/pieces.json") or "")
    assert [(p.asset_id, str(p.first), str(p.last)) for p in pieces] == [
        ("bitcoin", "2025-11-01", "2025-12-31"),
        ("bitcoin", "2026-01-01", "2026-03-01"),
    ]


def test_the_rate_of_all_batches_at_a_time_is_the_share_of_backfills(stage: Stage) -> None:
    plan = steps(stage, rate_share=0.1, max_parallel=3).planner.plan(REQUEST, "run", "local")
    limit = stage.warehouse.settings.local.simulator.calls_per_minute
    assert float(plan.batches[0]["options"]["calls_per_minute"]) * 3 <= limit * 0.1
    with pytest.raises(SettingsError, match=r"Lower history\.max_parallel"):
        steps(stage, rate_share=0.00001, max_parallel=3).planner.plan(REQUEST, "run", "local")


def test_a_written_plan_is_that_of_every_later_run(stage: Stage) -> None:
    first = planned(steps(stage))
    later = steps(stage, NOW + timedelta(days=3), chunk_pieces=1)
    assert [b.batch_id for b in batches(later.planner.plan(REQUEST, "again", "local"))] == [
        b.batch_id for b in batches(first)
    ]
    assert {row["status"] for row in stage.contents("history_piece")} == {"planned"}


def test_a_batch_is_replayed_from_landing_without_a_call(stage: Stage) -> None:
    made = steps(stage)
    first, _ = batches(planned(made))
    made.prepare(first)
    replay = replace(REQUEST, replay_batch=first.batch_id, assets=(), calls_per_day=1)
    with pytest.raises(SettingsError, match=f"2 of the 2 pieces of {first.batch_id} are not in the landing"):
        made.planner.plan(replay, "run", "local")
    pieces = read_pieces(made.bucket.read_text(f"{first.batch.folder}/pieces.json") or "")
    for piece in pieces:
        made.bucket.write_text(piece.uri("", SOURCE).lstrip("/"), "[]")
    end(made, first)
    plan = made.planner.plan(replay, "again", "local")
    made.planner.write_plan(replay)
    (again,) = batches(plan)
    assert (again.batch_id, again.pieces, again.universe, again.mode) == (first.batch_id, 2, first.universe, "replay")
    assert (plan.what, plan.estimate["calls"]) == (f"replay of {first.batch_id}", 0)
    made.prepare(again)
    end(made, again)
    assert {row["status"] for row in stage.contents("history_piece")} == {"published", "planned"}
    with pytest.raises(SettingsError, match="'backfill-1-0000' is no batch of a backfill"):
        made.planner.plan(replace(replay, replay_batch="backfill-1-0000"), "run", "local")


def test_settled_batches_are_not_asked_for_again_and_failed_ones_are(stage: Stage) -> None:
    made = steps(stage)
    first, second = batches(planned(made))
    made.prepare(first)
    end(made, first)
    made.prepare(second)
    end(made, second, "failed", "audit: no")
    again = made.planner.plan(REQUEST, "again", "local")
    assert ([b.batch_id for b in batches(again)], again.batches_settled) == ([second.batch_id], 1)
    states = {key: row["status"] for key, row in ledger(stage).items()}
    assert states == {
        ("bitcoin", "2025-11-01"): "published",
        ("bitcoin", "2026-01-01"): "published",
        ("ethereum", "2025-11-01"): "failed",
        ("ethereum", "2026-01-01"): "failed",
    }
    assert ledger(stage)["ethereum", "2026-01-01"]["error_message"] == "audit: no"


def test_a_simulated_backfill_settles_nothing_of_the_real_source(stage: Stage) -> None:
    made = steps(stage)
    for one in batches(planned(made)):
        made.prepare(one)
        end(made, one)
    assert made.planner.plan(REQUEST, "again", "local").batches == []
    live = made.settings.model_copy(update={"market": MarketSettings(source=MarketSource.LIVE)})
    real = HistorySteps(live, stage.warehouse, clock=lambda: NOW)
    plan = real.planner.plan(REQUEST, "real", "local")
    assert (plan.estimate["pieces"], plan.estimate["calls"], plan.batches_settled) == (4, 4, 0)
    real.planner.write_plan(REQUEST)
    assert {row["status"] for row in stage.contents("history_piece")} == {"planned"}


def test_settled_and_landed_pieces_are_asked_for_again_when_a_person_says_so(stage: Stage) -> None:
    made = steps(stage)
    for one in batches(planned(made)):
        made.prepare(one)
        end(made, one)
        for place in made.landed_places(one):
            made.bucket.write_text(f"{place}json.gz", "wrong")
            made.bucket.write_text(f"{place}r2.json.gz", "wrong again")
    assert made.planner.plan(REQUEST, "again", "local").batches == []
    again = replace(REQUEST, refetch=True)
    plan = made.planner.plan(again, "again", "local")
    assert (len(plan.batches), plan.estimate["calls"]) == (2, 4)
    for one in batches(plan):
        soon = replace(one, started_at=format_instant(datetime.now(UTC) + timedelta(minutes=1)))
        assert "4 landed objects were put aside" in made.prepare(soon)[-1]
    assert made.bucket.names("landing/") == []


def test_what_the_source_does_not_have_is_settled_too(stage: Stage) -> None:
    made = steps(stage)
    for one in batches(planned(made)):
        made.prepare(one)
        end(made, one, rows_valid=0, points_read=0, error="HTTP 404")
    assert {row["status"] for row in stage.contents("history_piece")} == {"empty"}
    assert made.planner.plan(REQUEST, "again", "local").batches == []


def test_a_job_that_never_came_to_its_report_leaves_its_pieces_failed(stage: Stage) -> None:
    made = steps(stage)
    one, _ = batches(planned(made))
    made.prepare(one)
    made.record(one, Ending("failed", "fetch_market_history: HTTP 503", {}))
    row = ledger(stage)["bitcoin", "2025-11-01"]
    assert (row["status"], row["error_message"]) == ("failed", "fetch_market_history: HTTP 503")


def test_the_record_of_a_batch_accounts_for_every_point(stage: Stage) -> None:
    made = steps(stage)
    one, _ = batches(planned(made))
    made.prepare(one)
    end(made, one, "failed")
    (row,) = stage.contents("ingestion_batch")
    assert (row["table_name"], row["mode"], row["rows_read"], row["rows_valid"]) == (
        "crypto_market_daily_fact",
        "fetch",
        10,
        6,
    )
    assert (row["pages_read"], row["api_calls"], row["universe"]) == (2, 2, one.backfill_id)
    assert row["points_superseded"] == 4, "the report has it by another name"
    assert (row["points_now"], row["assets_listed"]) == (0, 0)


def test_landed_pieces_cost_no_call(stage: Stage) -> None:
    made = steps(stage)
    made.bucket.write_text(f"landing/market_chart/usd-{SOURCE}/bitcoin/2025-11-01_2025-12-31.json.gz", "x")
    made.bucket.write_text("landing/market_chart/usd-coingecko/bitcoin/2026-01-01_2026-03-01.json.gz", "another source")
    assert made.planner.plan(REQUEST, "run", "local").estimate["calls"] == 3


def test_only_as_many_batches_run_as_the_day_pays_for(stage: Stage) -> None:
    made = steps(stage)
    plan = made.planner.plan(replace(REQUEST, calls_per_day=3), "run", "local")
    assert (len(plan.batches), plan.batches_waiting, plan.estimate["calls_today"], plan.estimate["days_of_quota"]) == (
        1,
        1,
        2,
        2,
    )
    spend(stage, 2)
    with pytest.raises(TerminalError, match="backfills spent 2 of 3 today"):
        made.planner.plan(replace(REQUEST, calls_per_day=3), "run", "local")
    tomorrow = steps(stage, NOW + timedelta(days=1)).planner.plan(replace(REQUEST, calls_per_day=3), "run", "local")
    assert len(tomorrow.batches) == 1


def spend(stage: Stage, calls: int) -> None:
    """Calls of an earlier backfill of the same day."""
    book = CallLedger(stage.warehouse, stage.warehouse.settings, lambda: NOW)
    book.settle(book.reserve("fetch_market_history", "other", calls, SOURCE), calls)


def test_the_month_bounds_a_backfill_too(stage: Stage) -> None:
    settings = stage.warehouse.settings
    simulator = settings.local.simulator.model_copy(update={"calls_per_month": 1})
    small = settings.model_copy(update={"local": settings.local.model_copy(update={"simulator": simulator})})
    with pytest.raises(TerminalError, match="1 are left this month"):
        HistorySteps(small, stage.warehouse, clock=lambda: NOW).planner.plan(REQUEST, "run", "local")


def test_the_depth_of_the_plan_is_told_before_any_call(stage: Stage) -> None:
    made = steps(stage)
    live = made.settings.model_copy(update={"market": MarketSettings(source=MarketSource.LIVE)})
    with pytest.raises(SettingsError, match="'analyst', which reaches there"):
        HistorySteps(live, stage.warehouse, clock=lambda: NOW).planner.plan(
            replace(REQUEST, first=date(2014, 1, 1)), "run", "local"
        )


def test_a_day_that_is_not_closed_is_refused(stage: Stage) -> None:
    with pytest.raises(SettingsError, match="2026-03-10 is the newest closed one"):
        steps(stage).planner.plan(replace(REQUEST, last=date(2026, 3, 11)), "run", "local")


def test_the_top_n_are_those_of_the_newest_snapshot_and_stay_so(stage: Stage) -> None:
    made, today = steps(stage), datetime(2026, 3, 9, tzinfo=UTC)
    request = replace(REQUEST, assets=(), top_n=1)
    with pytest.raises(TerminalError, match="Run crypto_etl_dag first"):
        made.planner.plan(request, "run", "local")
    publish(stage, today, bitcoin=9e11, ethereum=5e11)
    planned(made, request)
    assert {key[0] for key in ledger(stage)} == {"bitcoin"}
    publish(stage, today + timedelta(days=1), bitcoin=1.0, ethereum=5e11)
    later = steps(stage, NOW + timedelta(hours=1)).planner.plan(request, "again", "local")
    assert later.estimate["pieces"] == 2, "the plan was written down with the assets of its day"


def publish(stage: Stage, at: datetime, **caps: float) -> None:
    rows = [fact_row(asset, at, f"b{at:%d}", market_cap=cap) for asset, cap in caps.items()]
    stage.publish(
        f"b{at:%d}",
        at,
        crypto_market_snapshot_fact=rows,
        crypto_asset_dim=[asset_row(asset, f"b{at:%d}") for asset in caps],
        date_dim=[date_row(at)],
    )


def test_only_gaps_asks_from_the_first_to_the_last_missing_day_of_each_piece(stage: Stage) -> None:
    have = {"bitcoin": [date(2025, 11, 1) + timedelta(n) for n in range(121) if n not in {10, 12, 100}]}
    load_history(stage, have)
    request = replace(REQUEST, assets=("bitcoin",), only_gaps=True)
    made = steps(stage)
    one, *_ = batches(planned(made, request))
    made.prepare(one)
    pieces = read_pieces(made.bucket.read_text(f"{one.batch.folder}/pieces.json") or "")
    assert [(str(p.first), str(p.last)) for p in pieces] == [("2025-11-11", "2025-11-13"), ("2026-02-09", "2026-02-09")]
    end(made, one)
    other = replace(request, last=date(2026, 2, 28))
    assert steps(stage).planner.plan(other, "run", "local").batches == [], (
        "the source was asked for these days and has none"
    )


def load_history(stage: Stage, days: dict[str, list[date]]) -> None:
    """Rows of daily history, as an earlier backfill left them."""
    rows = [
        {
            "asset_id": asset,
            "quote_currency": "usd",
            "date": str(day),
            "price": 1.5,
            "observed_at": f"{day}T00:00:00Z",
            "ingested_at": f"{day}T01:00:00Z",
            "source_id": SOURCE,
            "batch_id": "earlier",
        }
        for asset, known in days.items()
        for day in known
    ]
    stage.warehouse.append(
        stage.warehouse.table(load_contract("crypto_market_daily_fact")), "\n".join(map(json.dumps, rows)).encode()
    )


def test_files_are_one_batch_without_calls(stage: Stage) -> None:
    request = replace(REQUEST, assets=(), files="/exports/*.csv", asset_of="btc-usd-max.csv=bitcoin", is_whole=True)
    plan = steps(stage).planner.plan(request, "run", "local")
    (entry,) = plan.batches
    assert entry["options"]["source"] == "/exports/*.csv"
    assert entry["options"]["asset_of"] == "btc-usd-max.csv=bitcoin"
    assert "from_date" not in entry["options"]
    assert plan.estimate["calls"] == 0
    production = stage.warehouse.settings.model_copy(update={"environment": Environment.PRODUCTION})
    with pytest.raises(SettingsError, match="not in the bucket"):
        HistorySteps(production, stage.warehouse, steps(stage).bucket, lambda: NOW).planner.plan(
            request, "run", "local"
        )
    request = replace(request, files=f"{production.bucket_uri}/exports/*.csv")
    made = HistorySteps(production, stage.warehouse, steps(stage).bucket, lambda: NOW)
    costs = made.planner.plan(request, "run", "dataflow").estimate
    assert costs["marts_dollars"] == refreshes.dollars(production, 1, 0, costs["rows"]) > 0
    assert costs["dollars"] == costs["marts_dollars"] + dataflow_dollars(production, DATAFLOW_MINUTES)


def test_the_calendar_is_laid_out_when_it_does_not_cover_the_days(stage: Stage) -> None:
    made = steps(stage)
    batch = BackfillPlan.from_dict(planned(made).to_dict()).batch
    assert (batch.first_date, batch.last_date) == (REQUEST.first, REQUEST.last)
    assert made.prepare_calendar(batch)
    assert stage.warehouse.exists(made.staging(made.calendar_of(batch)).name(load_contract("date_dim")))
    rows = [date_row(datetime(2025, 1, 1, tzinfo=UTC)), date_row(datetime(2030, 1, 1, tzinfo=UTC))]
    stage.load(stage.warehouse.table(load_contract("date_dim")), "date_dim", rows)
    assert not made.prepare_calendar(batch)
