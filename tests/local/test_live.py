"""The move from simulated to real prices."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
from pydantic import HttpUrl

from coinbeam.landing.bucket import Bucket
from coinbeam.ops.call_ledger import CallLedger
from coinbeam.settings import CoinGeckoSettings, PlanLimits, Settings
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from local import cloud
from local.cloud import LocalCloudError
from local.live import go_live
from tests.coinbeam.feeds.test_market import record_batches
from tests.temporary import free_ports, temporary_settings

pytestmark = pytest.mark.cloud

NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def answering_at(settings: Settings, port: int) -> Settings:
    """Settings whose live API is at a port of this machine."""
    limits = PlanLimits(
        base_url=HttpUrl(f"http://127.0.0.1:{port}/api/v3"),
        calls_per_minute=30,
        calls_per_month=10_000,
        history_days=365,
    )
    return settings.model_copy(update={"coingecko": CoinGeckoSettings(plan="test", plans={"test": limits})})


def test_what_was_simulated_is_put_aside_and_what_was_real_is_kept(tmp_path: Path) -> None:
    own = temporary_settings(tmp_path / "state")
    settings = answering_at(own, own.local.ports.simulator)  # stands for the API while the cloud is up
    said: list[str] = []
    try:
        cloud.up(settings, said.append)
        bucket, warehouse = Bucket(settings), Warehouse(settings)
        ensure_schema(warehouse)
        ledger = CallLedger(warehouse, settings, lambda: NOW)
        for source in ("coingecko", "coingecko_simulator"):
            ledger.reserve("fetch_crypto_data", f"batch-{source}", 7, source)
        kept = ["landing/market_chart/usd-coingecko/bitcoin/a.json.gz", "landing/markets/20260102T0000Z-usd-all/p"]
        for name in (*kept, "landing/markets/20260102T0000Z-usd-all-coingecko_simulator/p", "batches/b/x.csv"):
            bucket.write_text(name, name)
        go_live(settings, said.append, lambda: NOW)
        assert "holds no simulated values, so nothing was changed" in said[-1]
        assert len(bucket.names("")) == 4
        record_batches(warehouse, "coingecko", "coingecko_simulator")
        go_live(settings, said.append, lambda: NOW)
        assert bucket.names("") == sorted(kept)
        assert bucket.read_text(kept[0]) == kept[0]
        usage = CallLedger(warehouse, settings, lambda: NOW)
        assert (usage.usage("coingecko").used, usage.usage("coingecko_simulator").used) == (7, 0)
        aside = tmp_path / "state" / "archive" / "20260102T120000Z"
        assert sorted(path.name for path in aside.iterdir()) == ["bigquery", "storage"]
        assert len([path for path in aside.rglob("*") if path.is_file() and "coingecko_simulator" in str(path)]) == 1
        assert any("2 landed real answers were kept" in line for line in said)
    finally:
        cloud.down(settings, said.append)


def test_without_a_live_api_nothing_is_changed(tmp_path: Path) -> None:
    [port] = free_ports(1)
    settings = answering_at(temporary_settings(tmp_path / "state"), port)
    with pytest.raises(LocalCloudError, match="nothing was changed: GET"):
        go_live(settings, print, lambda: NOW)
    assert not (tmp_path / "state" / "archive").exists()
