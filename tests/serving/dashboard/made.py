"""A market that has something for every page, and bundles of it in emulators of this process."""

from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pyarrow as pa

from coinbeam.bundle.builder import Builder
from coinbeam.contracts import load_contract
from coinbeam.contracts.arrow import arrow_schema
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import (
    Environment,
    GoogleSettings,
    LocalSettings,
    PortSettings,
    ServingSettings,
    Settings,
    StorageSettings,
)
from tests.deploy.emulator import Emulator
from tests.serving.made import MadeSource, midnight

LAST = date(2026, 1, 31)
NOW = datetime(2026, 1, 31, 6, tzinfo=UTC)
BUCKET = "coinbeam"


class Market(MadeSource):
    """A few coins over some weeks, with marts, a gap, quality results and an incident."""

    def __init__(
        self, assets: int = 12, days: int = 50, last: date = LAST, source_id: str = "coingecko_simulator"
    ) -> None:
        super().__init__(assets, days, last)
        self.source_id = source_id
        self.quiet = False

    def days(self, first: date, last: date) -> pa.Table:
        """As of the market, but the last coin has no price on three days, and signals turn each week."""
        rows = super().days(first, last).to_pylist()
        gap = {self.last - timedelta(days=n) for n in (4, 5, 6)}
        kept = [row for row in rows if not (row["asset_id"] == self.ids[-1] and row["date"] in gap)]
        for row in kept:
            row["signal"] = ("BUY", "SELL", "WAIT")[row["date"].toordinal() // 7 % 3]
            row["combined_signal"] = ("POTENTIAL_BUY", "HOLD", "POTENTIAL_SELL")[row["date"].toordinal() // 9 % 3]
            row["ma30_signal"] = "ABOVE"
            row["realized_volatility_7d"], row["realized_volatility_30d"] = 0.42, 0.5
            row["drawdown_percentage"] = -3.5
        return pa.Table.from_pylist(kept, schema=super().days(last, last).schema)

    def table(self, name: str, newest: date | None) -> pa.Table:
        """Every table that a page reads."""
        make = getattr(self, f"_{name}", None)
        return super().table(name, newest) if make is None else filled(name, make())

    def status(self) -> list[dict[str, Any]]:
        """Blocks as the warehouse has them."""
        fresh = {"table": "latest_prices", "newest": midnight(self.last), "age_hours": 0.5, "stale_after_hours": 26}
        incident = {"task_id": "fetch", "opened_at": midnight(self.last), "message": "429 from the source"}
        quota = {"source_id": "coingecko", "plan": "demo", "used_this_month": 1234, "left": 8766}
        return [
            block("Freshness", [fresh | {"state": "fresh"}]),
            block("Unresolved batches", []),
            block("Open incidents", [] if self.quiet else [incident]),
            block("API quota", [quota]),
        ]

    def _latest_prices(self) -> list[dict[str, Any]]:
        prices = self.price(self.last)
        return [
            {
                "asset_id": asset_id,
                "quote_currency": "usd",
                "symbol": f"c{place}",
                "name": f"Coin {place}",
                "price": price / 1e9 if place == 3 else price,
                "market_cap": price * 1e6,
                "market_cap_rank": place + 1,
                "total_volume": price * 1e4,
                "price_change_percentage_24h": (-1) ** place * 1.234,
                "date": self.last,
                "price_at": midnight(self.last) + timedelta(minutes=10),
                "source_id": self.source_id,
                "batch_id": f"{self.last:%Y%m%d}T0000Z-usd-all",
            }
            for place, (asset_id, price) in enumerate(zip(self.ids, prices.tolist(), strict=True))
        ]

    def _market_overview(self) -> list[dict[str, Any]]:
        return [
            {
                "date": self.last - timedelta(days=n),
                "quote_currency": "usd",
                "assets": len(self.ids),
                "covered_assets": len(self.ids),
                "total_market_cap": 3.1e12 - n * 1e10,
                "total_volume": 1.2e11,
                "bitcoin_dominance_percentage": 56.78,
                "advancers": 7,
                "decliners": 5,
                "unchanged": 0,
            }
            for n in range(40)
        ]

    def _movers(self) -> list[dict[str, Any]]:
        return [
            {
                "date": self.last,
                "quote_currency": "usd",
                "days": days,
                "direction": direction,
                "position": position,
                "asset_id": self.ids[position + shift],
                "name": f"Coin {position + shift}",
                "market_cap_rank": position,
                "price": 2.5,
                "price_change_percentage": sign * days * (6.0 - position),
            }
            for days in (1, 7)
            for direction, sign, shift in (("up", 1, 0), ("down", -1, 5))
            for position in (1, 2, 3)
        ]

    def _new_in_top(self) -> list[dict[str, Any]]:
        row = {
            "date": self.last,
            "quote_currency": "usd",
            "asset_id": self.ids[9],
            "name": "Coin 9",
            "market_cap_rank": 10,
        }
        return [row | {"top": top, "price": 0.01, "previous_rank": 11} for top in (10, 25)]

    def _fear_greed_fact(self) -> list[dict[str, Any]]:
        return [
            {
                "date": self.last - timedelta(days=n),
                "value": 20 + n,
                "classification": "Extreme Fear" if n <= 5 else "Fear",
                "source_id": "alternative_me",
            }
            for n in range(40)
        ]

    def _quality_result(self) -> list[dict[str, Any]]:
        results = [("passed", None), ("warning", '["coin-00003"]')]
        if not self.quiet:
            results.append(("failed", '["coin-00001", "coin-00002"]'))
        return [
            {
                "result_id": status,
                "checked_date": self.last,
                "checked_at": midnight(self.last),
                "table_name": "crypto_market_snapshot_fact",
                "rule": f"rule_that_{status}",
                "status": status,
                "value": 2.0,
                "threshold": "= 0",
                "message": "What it protects",
                "failing_sample": keys,
                "batch_id": "b",
            }
            for status, keys in results
        ]


def block(title: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """A block of the status."""
    return {"title": title, "columns": list(rows[0]) if rows else ["batch_id"], "rows": rows, "nothing": "None."}


def filled(name: str, rows: list[dict[str, Any]]) -> pa.Table:
    """Rows as a table of a contract, null where they say nothing."""
    fields = [field.with_nullable(True) for field in arrow_schema(load_contract(name).columns)]
    return pa.Table.from_pylist(rows, schema=pa.schema(fields))


def settings_of(emulator: Emulator, folder: Path, **serving: Any) -> Settings:
    """Settings of an environment on this machine, whose bucket the emulator has."""
    return Settings(
        environment=Environment.LOCAL,
        google=GoogleSettings(project="local"),
        storage=StorageSettings(bucket=BUCKET),
        serving=ServingSettings(poll_seconds=0.2, **serving),
        local=LocalSettings(state_dir=folder, ports=PortSettings(storage=emulator.port)),
    )


def build(settings: Settings, source: MadeSource, now: datetime = NOW) -> None:
    """Make the next version of the bundle."""
    warehouse: Any = SimpleNamespace(settings=settings)
    assert Builder(warehouse, Bucket(settings), lambda: now, source=source).build() is not None
