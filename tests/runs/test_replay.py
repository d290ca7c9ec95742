"""Which run reads what again: by the name of a batch, and by an object that a person names or hands in."""

import pytest

from coinbeam.errors import SettingsError
from coinbeam.settings import Settings, load_settings
from runs.airflow import BACKFILL_DAG, FEAR_GREED_DAG, SNAPSHOT_DAG
from runs.replay import replay_run, run_of_object

SNAPSHOT = "20260103T0000Z-usd-all"


@pytest.fixture
def settings() -> Settings:
    load_settings.cache_clear()
    return load_settings()


def test_each_kind_of_batch_is_replayed_by_its_own_dag(settings: Settings) -> None:
    runs = [replay_run(batch, settings) for batch in (SNAPSHOT, "backfill-0123456789-0003", "fear-greed-20260102")]
    assert [run.dag_id for run in runs] == [SNAPSHOT_DAG, BACKFILL_DAG, FEAR_GREED_DAG]
    assert [run.conf.get("replay_batch") for run in runs[:2]] == [SNAPSHOT, "backfill-0123456789-0003"]
    assert runs[1].conf["dry_run"] is False
    assert runs[2].logical_date.startswith("2026-01-02T00:00:00")
    with pytest.raises(SettingsError, match="names no snapshot"):
        replay_run("marts", settings)


@pytest.mark.parametrize(
    "name",
    [
        f"landing/markets/{SNAPSHOT}/page-00001.json.gz",
        f"landing/markets/{SNAPSHOT}-coingecko_simulator/page-00001.json.gz",
        f"inbox/{SNAPSHOT}",
    ],
    ids=["a page of it", "a page of a simulator", "an object of its name in the inbox"],
)
def test_an_object_names_its_batch(name: str, settings: Settings) -> None:
    run = run_of_object(f"gs://{settings.storage.bucket}/{name}", settings)
    assert (run.dag_id, run.conf["replay_batch"]) == (SNAPSHOT_DAG, SNAPSHOT)


def test_a_file_of_the_inbox_is_daily_history_of_the_asset_that_its_folder_names(settings: Settings) -> None:
    uri = f"gs://{settings.storage.bucket}/inbox/bitcoin/btc-usd-max.csv"
    run = run_of_object(uri, settings)
    assert (run.dag_id, run.conf["source"], run.conf["dry_run"]) == (BACKFILL_DAG, uri, False)
    assert run.conf["asset_of"] == "btc-usd-max.csv=bitcoin"
    named = run_of_object(f"gs://{settings.storage.bucket}/inbox/bitcoin.json", settings)
    assert named.conf["asset_of"] is None, "its own name tells it"


@pytest.mark.parametrize("name", ["batches/x/crypto.csv", "inbox/", "landing", "landing/markets/marts/page"])
def test_any_other_object_is_refused(name: str, settings: Settings) -> None:
    with pytest.raises(SettingsError):
        run_of_object(f"gs://{settings.storage.bucket}/{name}", settings)
