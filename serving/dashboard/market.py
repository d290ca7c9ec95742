"""The market as a whole: its days, its coins, what moved, and where it all comes from."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
import pyarrow.compute as pc

from coinbeam.batch.tables import ASSETS, FEAR_GREED_FACT
from coinbeam.bundle.reader import Bundle
from coinbeam.contracts import load_contract
from coinbeam.settings import SignalSettings
from coinbeam.sources.registry import SIMULATED, SOURCES

MOST_COINS = 250
"""Rows of a table on a page; the others are found by their name."""

_ENOUGH = SignalSettings().dominance_among
_SPARKLINE_POINTS = 28
_CHANGES = ("price_change_percentage_1h", "price_change_percentage_7d")
_COINS = (
    "market_cap_rank",
    "asset_id",
    "symbol",
    "name",
    "price",
    "price_change_percentage_1h",
    "price_change_percentage_24h",
    "price_change_percentage_7d",
    "market_cap",
    "total_volume",
    "price_at",
)


def of_currency(bundle: Bundle, table: str, currency: str) -> pd.DataFrame:
    """The rows of a whole table in one currency."""
    rows = bundle.table(table)
    return rows.filter(pc.equal(rows["quote_currency"], currency)).to_pandas()


def overview(bundle: Bundle, currency: str) -> pd.DataFrame:
    """The market of each day, ascending."""
    return of_currency(bundle, "market_overview", currency).sort_values("date", ignore_index=True)


def coins(bundle: Bundle, currency: str) -> pd.DataFrame:
    """The newest price of every coin, the largest coin first; changes of an hour and a week where the newest snapshot
    is what the price comes from.
    """
    newest = of_currency(bundle, "latest_prices", currency)
    snapshot_at = bundle.snapshot_at(currency)
    if snapshot_at is not None:
        snapshot = bundle.markets(currency, snapshot_at).select(["asset_id", "batch_id", *_CHANGES]).to_pandas()
        newest = newest.merge(snapshot, how="left", on=["asset_id", "batch_id"])
    newest = newest.reindex(columns=list(_COINS))
    newest["name"] = newest["name"].fillna(newest["asset_id"])
    order = ["market_cap_rank", "market_cap", "asset_id"]
    return newest.sort_values(order, ascending=[True, False, True], na_position="last", ignore_index=True)


def sums(coins: pd.DataFrame) -> pd.Series:
    """The market over the newest price of each coin, under the names of ``market_overview``."""
    known = coins[coins["market_cap"] > 0]
    total = known["market_cap"].sum()
    change = coins["price_change_percentage_24h"]
    found = {
        "total_market_cap": total,
        "total_volume": known["total_volume"].sum(),
        "advancers": (change > 0).sum(),
        "decliners": (change < 0).sum(),
    }
    for asset_id in ("bitcoin", "ethereum"):
        cap = known.loc[known["asset_id"] == asset_id, "market_cap"].sum()
        # Of a few coins it would be no share of the market.
        found[f"{asset_id}_dominance_percentage"] = 100 * cap / total if cap and len(known) >= _ENOUGH else np.nan
    return pd.Series(found)


def matching(coins: pd.DataFrame, text: str) -> pd.DataFrame:
    """The coins whose name, symbol or id holds a text, in any case of its letters."""
    wanted = text.strip().casefold()
    if not wanted:
        return coins
    columns = [coins[name].fillna("").str.casefold() for name in ("name", "symbol", "asset_id")]
    found = np.logical_or.reduce([column.str.contains(wanted, regex=False).to_numpy(bool) for column in columns])
    return coins[found]


def sparklines(bundle: Bundle, currency: str, asset_ids: list[str]) -> list[list[float]]:
    """The last seven days of each coin in some points, as far as they are known."""
    lines = bundle.sparklines(currency)
    found = []
    for asset_id in asset_ids:
        line = lines.get(bundle.numbers.get(asset_id, -1))
        values = [] if line is None else line.to_numpy(zero_copy_only=False).tolist()
        found.append(values[:: max(1, len(values) // _SPARKLINE_POINTS)])
    return found


def fear_greed(bundle: Bundle) -> pd.DataFrame:
    """The index of each day, ascending."""
    return bundle.table(FEAR_GREED_FACT).to_pandas().sort_values("date", ignore_index=True)


def movers(bundle: Bundle, currency: str, days: int) -> pd.DataFrame:
    """What rose and what fell most in some days, the largest change of each direction first."""
    found = of_currency(bundle, "movers", currency)
    return found[found["days"] == days].sort_values(["direction", "position"], ignore_index=True)


def entrants(bundle: Bundle, currency: str) -> pd.DataFrame:
    """The assets that entered the largest of the newest day, each once, with the smallest circle that it entered."""
    found = of_currency(bundle, "new_in_top", currency).sort_values(["top", "market_cap_rank"])
    return found.drop_duplicates("asset_id", ignore_index=True)


@dataclass(frozen=True)
class Origin:
    """Where the prices of a version come from, and how new they are.

    Attributes:
        newest: when the newest price was known; None without any.
        stale_after: the age from which they are stale.
        source_ids: of all rows that are shown.
    """

    newest: datetime | None
    stale_after: timedelta
    source_ids: frozenset[str]

    @property
    def is_simulated(self) -> bool:
        """Whether any of the values is of our own making."""
        return bool(self.source_ids & SIMULATED)

    @property
    def attributions(self) -> list[str]:
        """What the terms of the sources ask to show."""
        texts = (source.attribution for source in SOURCES if source.id in self.source_ids)
        return list(dict.fromkeys(text for text in texts if text))

    def age(self, now: datetime) -> timedelta | None:
        """How old the newest price is."""
        return None if self.newest is None else now - self.newest

    def is_stale(self, now: datetime) -> bool:
        """Whether the prices are older than they should be."""
        age = self.age(now)
        return age is not None and age > self.stale_after


def origin(bundle: Bundle, stale_after_minutes: float | None) -> Origin:
    """Where the prices of a version come from; they are stale after so many minutes, or as their contract says."""
    prices = bundle.table("latest_prices")
    newest = pc.max(prices["price_at"]).as_py() if prices.num_rows else None
    ids = {
        source for rows in (prices, bundle.table(FEAR_GREED_FACT)) for source in rows["source_id"].unique().to_pylist()
    }
    hours = load_contract("latest_prices").freshness_hours
    assert hours is not None, "the contract promises freshness"
    limit = timedelta(minutes=stale_after_minutes) if stale_after_minutes else timedelta(hours=hours)
    return Origin(newest and newest.astimezone(UTC), limit, frozenset(ids))


def names(bundle: Bundle) -> dict[str, str]:
    """What each asset that the source ever listed is called, by its id."""
    rows = bundle.table(ASSETS)
    current = rows.filter(rows["is_current"])
    pairs = zip(current["asset_id"].to_pylist(), current["name"].to_pylist(), strict=True)
    return {asset_id: name or asset_id for asset_id, name in pairs}
