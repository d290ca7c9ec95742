"""The jobs with gs:// outputs, against the storage emulator."""

import subprocess
import sys
from typing import Any

import pytest
from google.cloud import storage

from coinbeam.settings import ROOT
from tests.temporary import LocalCloud

pytestmark = pytest.mark.cloud
AT = "2026-01-02T00:00:00Z"


@pytest.fixture
def bucket(fresh_cloud: LocalCloud) -> Any:
    return storage.Client(project="local").bucket(fresh_cloud.settings.storage.bucket)


def job(name: str, cloud: LocalCloud, *argv: str, runner: str = "DirectRunner", **variables: str) -> None:
    command = [sys.executable, "-m", f"beam_pipelines.{name}", f"--runner={runner}", *argv]
    environment = {"PATH": "/usr/bin:/bin", **cloud.env, **variables}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr


def test_landing_and_batch_files_lie_in_the_bucket_and_replay_the_same(fresh_cloud: LocalCloud, bucket: Any) -> None:
    root = fresh_cloud.settings.bucket_uri
    job(
        "fetch_crypto_data",
        fresh_cloud,
        "--source=simulator",
        f"--snapshot_at={AT}",
        f"--output={root}/batches/one",
        f"--landing={root}",
    )
    job("fetch_crypto_data", fresh_cloud, f"--source={root}/landing/markets/*/*", f"--output={root}/batches/again")
    names = {blob.name for blob in bucket.client.list_blobs(bucket)}
    assert "landing/markets/20260102T0000Z-usd-all-coingecko_simulator/page-00001.json.gz" in names
    assert not [name for name in names if name.rpartition("/")[2].startswith(".")]
    first, again = (
        bucket.blob(f"batches/{name}/crypto_2026-01-02.csv").download_as_bytes(raw_download=True)
        for name in ("one", "again")
    )
    assert first == again
    assert first.count(b"\n") > 500


def test_the_dimensions_lie_in_the_bucket(fresh_cloud: LocalCloud, bucket: Any) -> None:
    root = fresh_cloud.settings.bucket_uri
    job(
        "populate_crypto_asset_dim",
        fresh_cloud,
        "--source=simulator",
        f"--snapshot_at={AT}",
        f"--output={root}/b",
        "--max_details=2",
    )
    job("populate_date_dim", fresh_cloud, f"--output={root}/b")
    names = {blob.name for blob in bucket.client.list_blobs(bucket)}
    assert {
        "b/asset_dim.csv",
        "b/rejected_assets.ndjson",
        "b/date_dim.csv",
        "b/report_populate_crypto_asset_dim.json",
    } <= names


def test_a_dataflow_template_divides_the_quota_and_holds_no_key(fresh_cloud: LocalCloud, bucket: Any) -> None:
    root, key = fresh_cloud.settings.bucket_uri, "CG-thekeyofthistest"
    dataflow = [
        "--project=local",
        "--region=us-central1",
        f"--temp_location={root}/temp",
        f"--staging_location={root}/staging",
    ]
    job(
        "fetch_crypto_data",
        fresh_cloud,
        "--source=live",
        "--call_ledger=off",
        f"--output={root}/b",
        f"--template_location={root}/template/fetch",
        "--sdk_location=container",
        *dataflow,
        runner="DataflowRunner",
        COINGECKO_API_KEY=key,
        COINBEAM_COINGECKO__PLAN="analyst",
        COINBEAM_COINGECKO__API_KEY_SECRET="projects/p/secrets/s/versions/1",
    )
    written = {blob.name: blob.download_as_bytes(raw_download=True) for blob in bucket.client.list_blobs(bucket)}
    assert "template/fetch" in written
    [graph] = [content for name, content in written.items() if name.endswith("pipeline.pb")]
    assert b"FetchFn" in graph
    assert not [name for name, content in written.items() if key.encode() in content]
