"""Rules of the real contract, a batch, charts made of points, and bodies as they are landed."""

import json
from collections.abc import Callable
from datetime import UTC, date, datetime
from typing import Any

import pytest

from beam_pipelines.history.chart import PieceBody
from beam_pipelines.history.rules import HistoryRules
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import load_contract
from coinbeam.landing.layout import LandedBody

LANDED_AT = datetime(2026, 1, 11, 0, 40, tzinfo=UTC)
FIRST, LAST = date(2026, 1, 1), date(2026, 1, 10)


@pytest.fixture(scope="session")
def rules() -> HistoryRules:
    """The rules of the real contract."""
    return HistoryRules(load_contract("crypto_market_daily_fact"), 300, 35)


@pytest.fixture(scope="session")
def batch() -> BatchManifest:
    """A batch of history."""
    return BatchManifest("b", "market_chart", "coingecko", datetime(2026, 1, 10, tzinfo=UTC), "usd", 1, "history")


@pytest.fixture(scope="session")
def piece() -> PieceBody:
    """Ten days of bitcoin, landed."""
    return PieceBody(
        "bitcoin", "coingecko", FIRST, LAST, "landing/market_chart/usd-coingecko/bitcoin/2026-01-01_2026-01-10.json.gz"
    )


@pytest.fixture(scope="session")
def foreign() -> PieceBody:
    """A file that a user brought."""
    return PieceBody("bitcoin", "file", None, None, "bitcoin.json")


@pytest.fixture(scope="session")
def land() -> Callable[..., LandedBody]:
    """Lands a body, or the chart of points ``(instant, price, cap, volume)``, instants as ISO 8601 without a zone."""

    def landed(
        body: bytes | dict[str, Any] | list[tuple[Any, ...]], landed_at: datetime = LANDED_AT, uri: str = "body"
    ) -> LandedBody:
        if isinstance(body, list):
            names = ("prices", "market_caps", "total_volumes")
            body = {name: [[ms(point[0]), point[index]] for point in body] for index, name in enumerate(names, 1)}
        return LandedBody(uri, body if isinstance(body, bytes) else json.dumps(body).encode(), landed_at)

    return landed


def ms(instant: str) -> int:
    """Milliseconds since the epoch."""
    return round(datetime.fromisoformat(instant).replace(tzinfo=UTC).timestamp() * 1_000)
