"""What the source can do to us, through the real DAG: a correct warehouse or a clear failure, never half of one."""

from typing import Any

import pytest

from tests.temporary import COINS

pytestmark = [pytest.mark.airflow, pytest.mark.cloud]

FAST = {"COINBEAM_COINGECKO__MAX_ATTEMPTS": "2"}


@pytest.fixture(autouse=True)
def _calendar(pipeline: Any) -> None:
    pipeline.fill_calendar()


def test_an_unreadable_page_blocks_the_publish_and_a_handful_of_bad_rows_does_not(pipeline: Any) -> None:
    pipeline.faults(profile="html_persistent", page=2)
    ran = pipeline.run(variables=FAST)
    assert ran.code != 0, "one page of three is far above five per cent"
    (batch,) = pipeline.batches()
    assert batch["status"] == "failed"
    assert "reject_share" in batch["error_message"]
    assert "Nothing was published" in batch["error_message"]
    assert pipeline.tables()["crypto_market_snapshot_fact"] == []
    (refused,) = pipeline.rows("SELECT * FROM `{ops}.rejected_record` WHERE snapshot_date >= '2000-01-01'")
    assert refused["level"] == "page"
    assert refused["estimated_rows"] == 250
    (incident,) = pipeline.rows("SELECT * FROM `{ops}.incident`")
    assert (incident["task_id"], incident["error_class"], incident["closed_at"]) == (
        "audit",
        "PublishBlockedError",
        None,
    )

    failed = pipeline.rows(
        "SELECT rule, value FROM `{ops}.quality_result` WHERE checked_date >= '2000-01-01' AND status = 'failed'"
    )
    assert [row["rule"] for row in failed] == ["reject_share"]
    assert failed[0]["value"] > 0.05

    pipeline.faults(profile="corrupt_rows", limit=9)
    ran = pipeline.run(variables=FAST)
    assert ran.code == 0, "the malformed page is asked for again, the others are reused; " + ran.log[-4000:]
    assert len(pipeline.tables()["crypto_market_snapshot_fact"]) > 0.9 * COINS
    blocked, batch = pipeline.batches()
    assert (blocked["status"], batch["status"]) == ("failed", "published"), "each run keeps its row"
    assert 0 < batch["rows_rejected"] <= 9, "a handful of bad rows cost only themselves"
    assert (
        batch["rows_published"]
        == batch["rows_read"] - batch["rows_unpriced"] - batch["rows_rejected"] - batch["rows_duplicate"]
    )
    rejects = pipeline.rows("SELECT level, reason FROM `{ops}.rejected_record` WHERE snapshot_date >= '2000-01-01'")
    assert len(rejects) == batch["rows_rejected"], "those of the first run are gone"
    assert {row["level"] for row in rejects} == {"row"}
    assert {"wrong_type", "below_minimum"} & {row["reason"] for row in rejects}
    (incident,) = pipeline.rows("SELECT * FROM `{ops}.incident`")
    assert incident["closed_at"] is not None, "the audit succeeded, so the incident is over"


def test_a_source_that_is_down_is_a_clear_failure_with_a_row(pipeline: Any) -> None:
    pipeline.faults(profile="down")
    ran = pipeline.run(variables={"COINBEAM_COINGECKO__MAX_ATTEMPTS": "1", "COINBEAM_RETRY__RETRIES": "0"})
    assert ran.code != 0
    (batch,) = pipeline.batches()
    assert batch["status"] == "failed"
    assert "fetch_crypto_data" in batch["error_message"]
    assert "503" in batch["error_message"], "the words of the job, not only its exit code"
    assert "503" in ran.log
    (incident,) = pipeline.rows("SELECT * FROM `{ops}.incident` WHERE task_id = 'fetch_crypto_data'")
    assert incident["error_class"] == "ApiTransientError", "by its own words, not by those of the operator"
    ledger = pipeline.rows(
        "SELECT * FROM `{ops}.api_call_budget` WHERE budget_month >= '2000-01-01' AND job != 'lock' ORDER BY job"
    )
    assert [(row["job"], row["calls_spent"]) for row in ledger] == [
        ("fetch_crypto_data", 1),
        ("populate_crypto_asset_dim", 1),
    ]
    assert all("attempt 1" in row["run_label"] for row in ledger)
    assert pipeline.tables()["crypto_market_snapshot_fact"] == []
