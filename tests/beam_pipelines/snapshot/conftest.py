"""A batch, its rules, a good row as the API documents it, and pages made of rows."""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from beam_pipelines.snapshot.rules import MarketRules
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import load_contract
from coinbeam.landing.layout import LandedBody

SNAPSHOT_AT = datetime(2026, 1, 2, tzinfo=UTC)
LANDED_AT = datetime(2026, 1, 2, 0, 5, 30, tzinfo=UTC)

Row = dict[str, Any]


@pytest.fixture(scope="session")
def rules() -> MarketRules:
    """The rules of the real contract, with five minutes of clock skew."""
    return MarketRules(load_contract("crypto_market_snapshot_fact"), 300)


@pytest.fixture(scope="session")
def batch() -> BatchManifest:
    """A daily batch of the whole market."""
    return BatchManifest("20260102T0000Z-usd-all", "markets", "coingecko", SNAPSHOT_AT, "usd", 250, "all")


@pytest.fixture(scope="session")
def good_row() -> Callable[..., Row]:
    """Makes a row that keeps every rule, with some fields replaced."""

    def make(**replaced: Any) -> Row:
        return {**_GOOD_ROW, "sparkline_in_7d": {"price": _sparkline()}, **replaced}

    return make


@pytest.fixture(scope="session")
def land() -> Callable[..., LandedBody]:
    """Lands rows as a bare array, or a body as it is."""

    def landed(
        body: bytes | list[Any], uri: str = "landing/markets/b/page-00001.json.gz", landed_at: datetime = LANDED_AT
    ) -> LandedBody:
        return LandedBody(uri, body if isinstance(body, bytes) else json.dumps(body).encode(), landed_at)

    return landed


def _sparkline() -> list[float]:
    return [100.0 + (index * 37 % 101) / 7 for index in range(168)]


_GOOD_ROW: Row = {
    "id": "bitcoin",
    "symbol": "btc",
    "name": "Bitcoin",
    "image": "https://coin-images.coingecko.com/coins/images/1/large/bitcoin.png?1696501400",
    "current_price": 123456.78,
    "market_cap": 2460000000000,
    "market_cap_rank": 1,
    "fully_diluted_valuation": 2460000000000,
    "total_volume": 47000000000,
    "high_24h": 125000.5,
    "low_24h": 122000,
    "price_change_24h": -12.5,
    "price_change_percentage_24h": -0.0101,
    "market_cap_change_24h": -250000000,
    "market_cap_change_percentage_24h": -0.01,
    "circulating_supply": 19930000.0,
    "total_supply": 19930000.0,
    "max_supply": 21000000.0,
    "ath": 126080,
    "ath_change_percentage": -2.1,
    "ath_date": "2025-10-06T18:57:42.558Z",
    "atl": 67.81,
    "atl_change_percentage": 181952.3,
    "atl_date": "2013-07-06T00:00:00.000Z",
    "roi": None,
    "last_updated": "2026-01-02T00:04:53.662Z",
    "price_change_percentage_1h_in_currency": 0.1,
    "price_change_percentage_24h_in_currency": -0.0101,
    "price_change_percentage_7d_in_currency": 3.4,
}
