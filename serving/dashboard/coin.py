"""One coin: its days, its hours, and what it amounts to."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pandas as pd
import pyarrow.compute as pc

from coinbeam.bundle.grid import decode
from coinbeam.bundle.layout import CHART, INDICATORS, MARKET_DAILY
from coinbeam.bundle.reader import Bundle
from coinbeam.contracts import load_contract
from serving.dashboard import formats

RANGES: dict[str, int | None] = {"7": 7, "30": 30, "90": 90, "365": 365, "max": None}
"""Days of each range, by its name in the address of a page."""

HOURLY_DAYS = 30
"""Up to so many days the price is drawn from every snapshot, beyond from one of each day."""

Row = dict[str, Any]

_BEGINNING = datetime(1970, 1, 1, tzinfo=UTC)
_END = 2**53
"""An instant after all others."""


def since(days: int | None, now: datetime) -> datetime:
    """When a range of so many days up to now begins, to the hour; None for all days."""
    return _BEGINNING if days is None else now.replace(minute=0, second=0, microsecond=0) - timedelta(days=days)


def days(bundle: Bundle, currency: str, asset_id: str, first: datetime) -> pd.DataFrame:
    """The days of a coin with its indicators, by their midnight, ascending; a day without a price has none of them."""
    number = bundle.numbers[asset_id]
    instants, chart = bundle.series("charts", currency, number, _millis(first), _END)
    found = pd.DataFrame(chart, columns=list(CHART), index=_index(instants))
    instants, indicators = bundle.series("indicators", currency, number, _millis(first), _END)
    by_name = load_contract(MARKET_DAILY).by_name
    for place, name in enumerate(INDICATORS):
        values: Any = indicators[:, place]
        if by_name[name].type == "STRING":
            values = decode(by_name[name], values)
        found[name] = pd.Series(values, index=_index(instants))
    known = found["price"].first_valid_index()
    return found.iloc[:0] if known is None else found.loc[known:]


def prices(bundle: Bundle, currency: str, asset_id: str, first: datetime) -> pd.Series:
    """The prices of all snapshots and days, ascending; where a snapshot and a day share an instant, of the snapshot."""
    daily = days(bundle, currency, asset_id, first)["price"]
    instants, found = bundle.series("intraday", currency, bundle.numbers[asset_id], _millis(first), _END)
    hourly = pd.Series(found[:, CHART.index("price")], index=_index(instants)).dropna()
    kept = daily[~daily.index.isin(hourly.index)]
    return pd.concat([hourly, kept]).sort_index()


def turns(days: pd.DataFrame, signal: str) -> pd.DataFrame:
    """The days on which a signal became another one than on the day before."""
    values = days[signal]
    return days[values.notna() & (values != values.shift())].iloc[1:]


def row(bundle: Bundle, table: str, currency: str, asset_id: str) -> Row:
    """The row of a coin in a whole table, empty where it has none."""
    rows = bundle.table(table)
    found = rows.filter(pc.and_(pc.equal(rows["asset_id"], asset_id), pc.equal(rows["quote_currency"], currency)))
    return found.to_pylist()[0] if found.num_rows else {}


def snapshot(bundle: Bundle, currency: str, asset_id: str) -> Row:
    """All that the newest snapshot says of a coin, empty where it is not in it."""
    snapshot_at = bundle.snapshot_at(currency)
    if snapshot_at is None:
        return {}
    rows = bundle.markets(currency, snapshot_at)
    found = rows.filter(pc.equal(rows["asset_id"], asset_id))
    return found.to_pylist()[0] if found.num_rows else {}


def facts(currency: str, seen: Row, past: Row, today: Row) -> dict[str, dict[str, str]]:
    """What is known of a coin beside its largest figures, by where it comes from.

    Args:
        seen: its row of the newest snapshot, ``past`` that of ``asset_stats``, ``today`` its newest day; any may be
            empty.
    """
    return {
        "Signals": {
            "average of 7 days": today.get("signal") or formats.MISSING,
            "average of 30 days": today.get("ma30_signal") or formats.MISSING,
            "with the index": today.get("combined_signal") or formats.MISSING,
        },
        "Last 24 hours": {
            "low": formats.price(seen.get("low_24h"), currency),
            "high": formats.price(seen.get("high_24h"), currency),
        },
        "At the source": {
            "highest": _at(seen, "ath", currency),
            "lowest": _at(seen, "atl", currency),
            "circulating": formats.amount(seen.get("circulating_supply")),
            "at most": formats.amount(seen.get("max_supply")),
        },
        "In this warehouse": {
            "days": formats.count(past.get("days_tracked")),
            "since": formats.day(past.get("first_date")),
            "days missing": formats.count(past.get("days_missing")),
            "deepest drawdown": formats.share(past.get("maximum_drawdown_percentage")),
        },
    }


def _at(seen: Row, name: str, currency: str) -> str:
    price = formats.price(seen.get(name), currency)
    return price if price == formats.MISSING else f"{price}, {formats.day(seen.get(f'{name}_date'))}"


def _millis(moment: datetime) -> int:
    return round(moment.timestamp() * 1_000)


def _index(instants: Any) -> pd.DatetimeIndex:
    return pd.DatetimeIndex(instants.astype("datetime64[ms]"), tz="UTC")
