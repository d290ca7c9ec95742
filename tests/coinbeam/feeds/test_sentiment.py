"""A batch of the index: planned without a call, published where it is new, recorded."""

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest

from coinbeam.batch.jobs import FETCH_FEAR_GREED
from coinbeam.batch.tables import FEAR_GREED_FACT, REJECTS
from coinbeam.contracts import load_contract
from coinbeam.errors import PublishBlockedError
from coinbeam.feeds.ending import Ending
from coinbeam.feeds.sentiment import SentimentPlan, SentimentSteps
from tests.coinbeam.conftest import Stage, date_row

pytestmark = pytest.mark.cloud

NOW = datetime(2026, 3, 10, 0, 25, tzinfo=UTC)


def steps(stage: Stage, now: datetime = NOW) -> SentimentSteps:
    return SentimentSteps(stage.warehouse.settings, stage.warehouse, clock=lambda: now)


def index_row(day: date, value: int, plan: SentimentPlan) -> dict[str, Any]:
    return {
        "date": str(day),
        "value": value,
        "classification": "Fear" if value < 47 else "Neutral",
        "observed_at": f"{day}T00:00:00Z",
        "ingested_at": f"{day}T00:20:00Z",
        "source_id": "alternative_me_simulator",
        "batch_id": plan.batch_id,
    }


def published(stage: Stage, values: dict[date, int], now: datetime = NOW) -> SentimentPlan:
    """A batch taken through its steps as the DAG does."""
    made = steps(stage, now)
    plan = made.plan(now, "run", "local")
    made.prepare(plan)
    stage.fill(
        plan.batch,
        plan.batch.feed.staged,
        **{FEAR_GREED_FACT: [index_row(d, v, plan) for d, v in values.items()], REJECTS: []},
    )
    report = {"rows_read": len(values), "rows_valid": len(values), "rows_rejected": 0, "pages_read": 2, "api_calls": 1}
    made.bucket.write_text(f"{plan.batch.folder}/report_fetch_fear_greed.json", json.dumps(report))
    made.audit(plan.batch)
    stage.warehouse.query(made.publish_script(plan.batch))
    made.verify(plan.batch)
    return plan


@pytest.fixture
def calendar(stage: Stage) -> list[date]:
    """Three days that the calendar knows."""
    days = [NOW - timedelta(days=back) for back in (2, 1, 0)]
    stage.load(stage.warehouse.table(load_contract("date_dim")), "date_dim", [date_row(day) for day in days])
    return [day.date() for day in days]


def test_a_plan_names_its_day_and_whom_it_asks(stage: Stage) -> None:
    plan = steps(stage).plan(NOW, "run", "local")
    assert (plan.batch_id, plan.snapshot_at, plan.source_id) == (
        "fear-greed-20260310",
        "2026-03-10T00:00:00Z",
        "alternative_me_simulator",
    )
    assert plan.options["source"] == "simulator"
    assert (plan.batch.first_date, plan.batch.last_date) == (date(2018, 2, 1), date(2026, 3, 10))
    assert SentimentPlan.from_dict(json.loads(json.dumps(plan.to_dict()))) == plan


def test_files_are_a_batch_of_their_own(stage: Stage) -> None:
    plan = steps(stage).plan(NOW, "run", "local", "/files/fng.csv")
    assert plan.batch_id.startswith("fear-greed-20260310-files-")
    assert (plan.options["source"], plan.source_id) == ("/files/fng.csv", None)


def test_only_new_and_revised_days_change_hands(stage: Stage, calendar: list[date]) -> None:
    first = published(stage, dict.fromkeys(calendar[:2], 30))
    second = published(stage, {calendar[0]: 30, calendar[1]: 50, calendar[2]: 31}, NOW + timedelta(days=1))
    owners = {row["date"]: (row["value"], row["batch_id"]) for row in stage.contents(FEAR_GREED_FACT)}
    assert owners == {
        calendar[0]: (30, first.batch_id),
        calendar[1]: (50, second.batch_id),
        calendar[2]: (31, second.batch_id),
    }
    queued = {row["batch_id"]: (row["first_date"], row["last_date"]) for row in stage.contents("publication")}
    assert queued[second.batch_id] == (calendar[1], calendar[2]), "the marts look at these days alone"


def test_nothing_new_queues_nothing(stage: Stage, calendar: list[date]) -> None:
    published(stage, dict.fromkeys(calendar, 30))
    published(stage, dict.fromkeys(calendar, 30), NOW + timedelta(days=1))
    assert len(stage.contents("publication")) == 1


def test_a_value_that_did_not_arrive_is_noticed(stage: Stage, calendar: list[date]) -> None:
    plan = published(stage, dict.fromkeys(calendar, 30))
    stage.warehouse.query(
        f"DELETE FROM `{stage.warehouse.table(load_contract(FEAR_GREED_FACT))}` WHERE date = '{calendar[1]}'"
    )
    with pytest.raises(PublishBlockedError, match="row_count"):
        steps(stage).verify(plan.batch)


def test_the_record_counts_pages_rows_and_calls(stage: Stage, calendar: list[date]) -> None:
    plan = published(stage, dict.fromkeys(calendar, 30))
    steps(stage).record(plan, Ending("published", None, {"audit": 0.5}, frozenset({FETCH_FEAR_GREED.name})))
    (row,) = stage.contents("ingestion_batch")
    assert (row["table_name"], row["rows_published"], row["api_calls"], row["mode"]) == (FEAR_GREED_FACT, 3, 1, "fetch")
    assert row["pages_read"] == 2
    assert not stage.warehouse.exists(steps(stage).staging(plan.batch).name(load_contract(FEAR_GREED_FACT)))


def test_the_report_of_an_earlier_run_does_not_count(stage: Stage, calendar: list[date]) -> None:
    plan = published(stage, dict.fromkeys(calendar, 30))
    steps(stage).record(plan, Ending("failed", "fetch_fear_greed: no"))
    (row,) = stage.contents("ingestion_batch")
    assert (row["pages_read"], row["rows_read"], row["days_missing"]) == (0, 0, 0)
