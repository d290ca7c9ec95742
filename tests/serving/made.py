"""A market of our own making as a source of the bundle: any number of assets and days, the same for the same seed."""

from collections.abc import Iterable
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from coinbeam.batch.tables import ASSETS, DAILY_FACT, FEAR_GREED_FACT, SNAPSHOT_FACT
from coinbeam.bundle.layout import CHART, DAY_KEY, INDICATORS, columns_of
from coinbeam.bundle.source import TABLES, Source, Taken
from coinbeam.contracts import Column, load_contract
from coinbeam.contracts.arrow import arrow_schema

_INSTANT = pa.timestamp("us", tz="UTC")
_LATE_SECONDS = 47
"""So long after midnight the price of a day is observed."""


class MadeSource(Source):
    """Days and one snapshot, that of the newest day.

    Attributes:
        last: the newest day; tests move it.
        refreshed_at: when the marts were refreshed.
        factor: all prices are multiplied by it; a correction is another factor.
        hour: of the newest day, at which the newest snapshot is taken.
    """

    def __init__(self, assets: int, days: int, last: date, first_touched: date | None = None) -> None:
        self.ids = [f"coin-{number:05d}" for number in range(assets)]
        self.last, self.first = last, last - timedelta(days=days - 1)
        self.first_touched = first_touched or self.first
        self.refreshed_at = midnight(last) + timedelta(hours=1)
        self.factor = 1.0
        self.hour = 0
        self.asked: list[tuple[date, date]] = []

    def taken_since(self, refreshed_at: datetime | None) -> list[Taken]:
        """One publish of history and one of a snapshot."""
        if refreshed_at is not None and refreshed_at >= self.refreshed_at:
            return []
        batch = f"{self.last:%Y%m%d}T{self.hour:02}00Z-usd-all"
        return [
            Taken("backfill-1", DAILY_FACT, self.first_touched, self.last, self.refreshed_at),
            Taken(batch, SNAPSHOT_FACT, self.last, self.last, self.refreshed_at),
        ]

    def last_day(self) -> date | None:
        """The newest day."""
        return self.last

    def price(self, day: date) -> np.ndarray:
        """The prices of all assets on a day."""
        noise = np.random.default_rng(day.toordinal()).normal(0, 0.02, len(self.ids))
        return 50_000.0 / (1 + np.arange(len(self.ids))) * np.exp(noise) * self.factor

    def days(self, first: date, last: date) -> pa.Table:
        """Rows of ``market_daily``."""
        self.asked.append((first, last))
        stretch = [first + timedelta(days=n) for n in range((last - first).days + 1)]
        return pa.concat_tables(
            [self._day(day) for day in stretch if self.first <= day <= self.last] or [self._no_day()]
        )

    def _no_day(self) -> pa.Table:
        return _filled(_daily_columns(), {}, 0)

    def _day(self, day: date) -> pa.Table:
        price = self.price(day)
        values: dict[str, Any] = {
            "asset_id": self.ids,
            "quote_currency": ["usd"] * len(self.ids),
            "date": [day] * len(self.ids),
            "price": price,
            "market_cap": price * 1e6,
            "total_volume": price * 1e4,
            "observed_at": [midnight(day) + timedelta(seconds=_LATE_SECONDS)] * len(self.ids),
            "sma_7d": price,
            "sma_30d": price * 0.9,
            "rsi_14d": np.full(len(self.ids), 55.0),
            "drawdown_percentage": np.zeros(len(self.ids)),
            "signal": ["BUY"] * len(self.ids),
            "combined_signal": ["HOLD"] * len(self.ids),
            "market_cap_rank": np.arange(1, len(self.ids) + 1),
        }
        return _filled(_daily_columns(), values, len(self.ids))

    def snapshots(self, day: date, instants: Iterable[datetime]) -> pa.Table:
        """The snapshot of the newest day."""
        instant = min(instants)
        price, height = self.price(day) * (1 + instant.hour / 1_000), len(self.ids)
        observed = instant + timedelta(minutes=10)
        values: dict[str, Any] = {
            "asset_id": self.ids,
            "quote_currency": ["usd"] * height,
            "snapshot_at": [instant] * height,
            "snapshot_date": [day] * height,
            "time_id": np.full(height, instant.hour * 60),
            "symbol": [f"c{number}" for number in range(height)],
            "name": [f"Coin {number}" for number in range(height)],
            "market_cap_rank": np.arange(1, height + 1),
            "observed_at": [observed] * height,
            "ingested_at": [observed] * height,
            "source_id": ["coingecko_simulator"] * height,
            "batch_id": [f"{instant:%Y%m%dT%H%M}Z-usd-all"] * height,
            "image": [f"https://example.org/{number}/large/coin.png" for number in range(height)],
            "ath_date": [midnight(day - timedelta(days=100))] * height,
            "atl_date": [midnight(day - timedelta(days=200))] * height,
        }
        columns = load_contract(SNAPSHOT_FACT).columns
        numbers = {c.name: price * (1 + place / 7) for place, c in enumerate(columns) if c.type == "FLOAT64"}
        return _filled(columns, {**numbers, **values, "current_price": price}, height)

    def rates(self, day: date, instants: Iterable[datetime]) -> dict[datetime, dict[str, float]]:  # noqa: ARG002
        """None was asked for."""
        return {}

    def table(self, name: str, newest: date | None) -> pa.Table:  # noqa: ARG002 - as the real source has it
        """Assets and the index; the other tables are empty."""
        columns = load_contract(name).columns
        if name == ASSETS:
            values = {
                "asset_id": self.ids,
                "valid_from": [midnight(self.first)] * len(self.ids),
                "is_current": [True] * len(self.ids),
                "symbol": [f"c{number}" for number in range(len(self.ids))],
                "name": [f"Coin {number}" for number in range(len(self.ids))],
                "status": ["active"] * len(self.ids),
                "categories": ['["Layer 1 (L1)"]' if number % 2 else None for number in range(len(self.ids))],
                "platforms": ['{"ethereum":"0x1"}' if number % 3 else None for number in range(len(self.ids))],
                "source_id": ["coingecko_simulator"] * len(self.ids),
                "batch_id": ["b"] * len(self.ids),
            }
            return _filled(columns, values, len(self.ids))
        if name == FEAR_GREED_FACT:
            at = midnight(self.last)
            row = {"date": [self.last], "value": [50], "classification": ["Neutral"], "observed_at": [at]}
            known = {"ingested_at": [at], "source_id": ["alternative_me"], "batch_id": ["b"]}
            return _filled(columns, row | known, 1)
        assert name in TABLES
        return _filled(columns, {}, 0)

    def status(self) -> list[dict[str, Any]]:
        """One block."""
        row = {"table": "crypto_market_snapshot_fact", "state": "fresh"}
        return [{"title": "Freshness", "columns": ["table", "state"], "rows": [row], "nothing": "None."}]

    def sparklines(self, snapshot: pa.Table) -> dict[str, list[Any]]:
        """A line of 168 prices for each asset."""
        prices = snapshot["current_price"].to_numpy()
        hours = np.linspace(0.9, 1.0, 168)
        return {i: (p * hours).tolist() for i, p in zip(snapshot["asset_id"].to_pylist(), prices, strict=True)}


def midnight(day: date) -> datetime:
    """The beginning of a day."""
    return datetime.combine(day, time(), UTC)


def _daily_columns() -> list[Column]:
    return columns_of((*DAY_KEY, *CHART, *INDICATORS))


def _filled(columns: Iterable[Column], values: dict[str, Any], height: int) -> pa.Table:
    """A table of some values, null where there is none."""
    fields = [field.with_nullable(True) for field in arrow_schema(columns)]
    arrays = [pa.array(values[f.name], f.type) if f.name in values else pa.nulls(height, f.type) for f in fields]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))
