"""The DAG of snapshots: its schedule, its form, and the order of its jobs. What it shares with the others is in
``test_dags.py``.
"""

from typing import Any

import pytest

pytestmark = pytest.mark.xdist_group("dags")  # one database, one description


@pytest.fixture(scope="module")
def snapshot_dag(described: dict[str, Any]) -> dict[str, Any]:
    """The DAG of snapshots."""
    return dict(described["dags"]["crypto_etl_dag"])


def test_it_runs_daily(snapshot_dag: dict[str, Any]) -> None:
    assert snapshot_dag["schedule"] == "0 0 * * *"


def test_hourly_is_a_setting_and_shortens_what_a_run_may_take(
    snapshot_dag: dict[str, Any], described_production: dict[str, Any]
) -> None:
    hourly = described_production["dags"]["crypto_etl_dag"]
    assert hourly["schedule"] == "0 * * * *"
    assert hourly["timeout"] < snapshot_dag["timeout"]


def test_its_form_has_these_fields(snapshot_dag: dict[str, Any]) -> None:
    selection = {"universe", "ids", "top_n", "category", "quote_currency"}
    assert set(snapshot_dag["params"]) == selection | {
        "refetch",
        "replay_date",
        "replay_batch",
        "snapshot_at",
        "source",
        "dry_run",
    }


def test_fields_with_few_values_are_lists_to_choose_from(snapshot_dag: dict[str, Any]) -> None:
    params = snapshot_dag["params"]
    assert params["universe"]["enum"] == ["all", "top", "ids", "category"]
    assert all(len(field.get("enum", [1, 2])) > 1 for field in params.values()), "a field with one choice is none"
    assert "usd" in params["quote_currency"]["enum"]
    assert params["replay_date"]["format"] == "date"


def test_it_works_unless_told_to_show_the_plan_only(snapshot_dag: dict[str, Any]) -> None:
    assert snapshot_dag["params"]["dry_run"]["default"] is False


def test_the_jobs_start_in_parallel_after_the_schema(snapshot_dag: dict[str, Any]) -> None:
    tasks = snapshot_dag["tasks"]
    assert "choose_jobs" in tasks["ensure_schema"]["down"]
    assert tasks["choose_jobs"]["down"] == ["fetch_crypto_data", "populate_crypto_asset_dim", "populate_date_dim"]


def test_each_job_is_loaded_on_its_own_and_audited_with_the_others(snapshot_dag: dict[str, Any]) -> None:
    tasks = snapshot_dag["tasks"]
    assert tasks["fetch_crypto_data"]["down"] == [
        "load_crypto_market_snapshot_fact",
        "load_exchange_rate_fact",
        "load_rejected_record",
    ]
    assert tasks["populate_crypto_asset_dim"]["down"] == ["load_crypto_asset_dim", "load_rejected_record"]
    assert tasks["populate_date_dim"]["down"] == ["load_date_dim"]
    for name in (
        "load_crypto_market_snapshot_fact",
        "load_exchange_rate_fact",
        "load_crypto_asset_dim",
        "load_date_dim",
        "record_rejects",
    ):
        assert tasks[name]["down"] == ["audit"]


def test_readers_are_looked_at_after_the_publish(snapshot_dag: dict[str, Any]) -> None:
    tasks = snapshot_dag["tasks"]
    assert tasks["publish"]["down"] == ["verify"]
    assert tasks["verify"]["down"] == ["record_batch"]
