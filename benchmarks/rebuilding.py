"""The contender of the growth benchmark: the usual pandas pipeline, which adds an hour by reading and computing its
whole history again.

``python -m benchmarks.rebuilding FOLDER --hour N --assets M --store files``: reads the history, appends the hour, drops
duplicates, computes the same windows for every day of every asset, and writes the marts. The history is either the
batch files as they were fetched, one CSV an hour (``files``), or a table that the pipeline keeps beside them and writes
back as a whole (``table``).
"""

import argparse
from pathlib import Path

import pandas as pd

from benchmarks.hours import snapshots

COLUMNS = ["asset_id", "snapshot_at", "current_price", "market_cap", "total_volume"]
STORES = ("files", "table")
TABLE = "history.parquet"
KEY = ["asset_id", "snapshot_at"]


def main() -> None:
    """Add one hour."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--hour", type=int, required=True)
    parser.add_argument("--assets", type=int, required=True)
    parser.add_argument("--store", choices=STORES, required=True)
    arguments = parser.parse_args()
    new = snapshots(arguments.hour, arguments.hour + 1, arguments.assets, "hour").select(COLUMNS).to_pandas()
    history = pd.concat([read(arguments.folder, arguments.store), new])
    history = history.drop_duplicates(KEY, keep="last").sort_values(KEY)
    if arguments.store == "table":
        history.to_parquet(arguments.folder / TABLE, index=False)
    daily(history).to_parquet(arguments.folder / "market_daily.parquet", index=False)
    history.groupby("asset_id").tail(1).to_parquet(arguments.folder / "latest_prices.parquet", index=False)


def read(folder: Path, store: str) -> pd.DataFrame:
    """The whole history."""
    if store == "table":
        return pd.read_parquet(folder / TABLE)
    files = sorted(folder.glob("crypto_*.csv"))
    return pd.concat(pd.read_csv(path, usecols=COLUMNS, parse_dates=["snapshot_at"]) for path in files)


def daily(history: pd.DataFrame) -> pd.DataFrame:
    """The windows of every day of every asset; days without gaps, as the benchmark's are."""
    history = history.assign(date=history["snapshot_at"].dt.floor("D"))
    days = history.drop_duplicates(["asset_id", "date"], keep="first").reset_index(drop=True)
    grouped = days.groupby("asset_id")["current_price"]
    for n in (7, 30):
        rolling = grouped.rolling(n)
        days[f"sma_{n}d"] = rolling.mean().reset_index(level=0, drop=True)
        days[f"volatility_{n}d"] = rolling.std().reset_index(level=0, drop=True)
        days[f"price_change_percentage_{n}d"] = grouped.pct_change(n) * 100
    change = grouped.diff()
    days["rsi_14d"] = (
        100
        * _wilder(change.clip(lower=0), days)
        / (_wilder(change.clip(lower=0), days) + _wilder(-change.clip(upper=0), days))
    )
    days["running_high"] = grouped.cummax()
    days["drawdown_percentage"] = (days["current_price"] / days["running_high"] - 1) * 100
    return days


def _wilder(changes: pd.Series, days: pd.DataFrame) -> pd.Series:
    """Wilder's average from the mean of the first 14 changes on: an exponential one with alpha 1/14 over that seed and
    the rest.
    """
    position = days.groupby("asset_id").cumcount()
    seed = changes.groupby(days["asset_id"]).rolling(14).mean().reset_index(level=0, drop=True)
    seeded = changes.where(position > 14, seed).where(position >= 14)
    smoothed = seeded.groupby(days["asset_id"]).ewm(alpha=1 / 14, adjust=False, ignore_na=True).mean()
    return smoothed.reset_index(level=0, drop=True).where(position >= 14)


if __name__ == "__main__":
    main()
