"""A mutation for every rule: data made to break exactly this rule, and a clean twin on which it passes.

Rules that the contracts write are listed by table and name; a rule without a mutation fails the suite. Those that
follow from columns and keys are broken one by one in ``test_audit.py``, shapes in ``test_published.py``; those over a
report, references and freshness at the end.
"""

import inspect
import json
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
import sqlglot
from sqlglot import exp

from coinbeam.batch.tables import (
    ASSETS,
    DAILY_FACT,
    DATES,
    FEAR_GREED_FACT,
    RATES_FACT,
    REJECTS,
    TRADE_SYMBOLS,
    TRADE_WINDOW_FACT,
    TRADE_WINDOW_PANE,
)
from coinbeam.batch.tables import SNAPSHOT_FACT as FACT
from coinbeam.contracts import Contract, Rule, Severity, load_all, load_contract
from coinbeam.contracts import Stage as AuditStage
from coinbeam.contracts.model import fill
from coinbeam.errors import PublishBlockedError
from coinbeam.feeds import steps
from coinbeam.feeds.snapshot import steps as snapshot_steps
from coinbeam.quality import Audit, Auditor, Result, Status, refuse_if_blocked
from coinbeam.quality import rules as rules_module
from coinbeam.quality.rules import (
    batch_complete,
    foreign_keys,
    freshness,
    listed_share,
    reject_share,
    row_count,
    rules_of,
)
from coinbeam.warehouse.client import Warehouse
from tests.coinbeam.conftest import DAY, asset_row, date_row, fact_row, rate_row, reject_row
from tests.temporary import LocalCloud, fresh_resources

CONTRACTS = load_all()
TODAY = DAY.date()
BATCH = "20260102T0000Z-usd-all"

Row = dict[str, Any]
Tables = Mapping[str, list[Row]]


def inline(contract: Contract, rows: Iterable[Row], columns: Iterable[str] | None = None) -> str:
    """Rows as a subquery with the columns and types of a contract: a table that nobody has to load.

    The rows are one JSON text: the emulator needs a tenth of a millisecond for each character of SQL outside a text.
    """
    wanted = [c for c in contract.columns if columns is None or c.name in columns]
    read = ", ".join(f"CAST(JSON_VALUE(r, '$.{c.name}') AS {c.type}) AS {c.name}" for c in wanted)
    names = {c.name for c in wanted}
    body = json.dumps([{name: value for name, value in row.items() if name in names} for row in rows], default=str)
    return f"(SELECT {read} FROM UNNEST(JSON_QUERY_ARRAY('{body}')) AS r)"


def at(moment: datetime = DAY, **delta: float) -> str:
    """A moment moved by some time."""
    return (moment + timedelta(**delta)).isoformat()


def day(offset: int = 0) -> date:
    """A date near the batch's."""
    return TODAY + timedelta(days=offset)


def snapshot(asset: str = "a", **changes: Any) -> Row:
    """A snapshot that breaks no rule."""
    return fact_row(
        asset, batch=BATCH, **{"current_price": 2.0, "market_cap": 20.0, "circulating_supply": 10.0, **changes}
    )


def daily(asset: str = "a", on: date = TODAY, price: float = 100.0, **changes: Any) -> Row:
    """A day of history that breaks no rule."""
    stamp = datetime(on.year, on.month, on.day, tzinfo=UTC)
    return {
        "asset_id": asset,
        "quote_currency": "usd",
        "date": on,
        "price": price,
        "observed_at": stamp.isoformat(),
        "ingested_at": DAY.isoformat(),
        "source_id": "coingecko",
        "batch_id": BATCH,
        **changes,
    }


def newest(asset: str, on: date) -> Row:
    """The newest price of an asset, 2.0."""
    stamp = datetime(on.year, on.month, on.day, tzinfo=UTC).isoformat()
    return {
        "asset_id": asset,
        "quote_currency": "usd",
        "price": 2.0,
        "date": on,
        "price_at": stamp,
        "kind": "snapshot",
        "observed_at": stamp,
        "source_id": "coingecko",
        "batch_id": "before",
    }


def wavering(asset: str = "a", last: float = 100.0, days: int = 32) -> list[Row]:
    """A month of prices that move by a hundredth up and down, and the last one: 30 log returns of about 0.01 before
    it.
    """
    prices = [100.0 if n % 2 else 101.0 for n in range(days - 1)]
    return [daily(asset, day(n + 1 - days), price) for n, price in enumerate([*prices, last])]


def rate(currency: str, **changes: Any) -> Row:
    """An exchange rate that breaks no rule."""
    return rate_row(currency, batch=BATCH, **changes)


def index(on: date = TODAY, value: int = 50, classification: str = "Neutral", **changes: Any) -> Row:
    """A value of the index that breaks no rule."""
    return {
        "date": on,
        "value": value,
        "classification": classification,
        "observed_at": f"{on}T00:00:00+00:00",
        **changes,
    }


def version(asset: str = "a", begins: int = -9, ends: int | None = None, **changes: Any) -> Row:
    """A version of an asset, in days from the batch."""
    return {
        **asset_row(asset),
        "valid_from": at(days=begins),
        "valid_to": None if ends is None else at(days=ends),
        "is_current": ends is None,
        **changes,
    }


def ran(number: int, rows: int = 10, table: str = FACT, **changes: Any) -> Row:
    """A batch of an earlier day, as it is recorded."""
    then = DAY - timedelta(days=number)
    name = f"{then:%Y%m%dT%H%M}Z-usd-all" if table == FACT else f"fear-greed-{then:%Y%m%d}"
    return {
        "batch_id": name,
        "run_id": f"run {number}",
        "snapshot_at": then.isoformat(),
        "snapshot_date": then.date(),
        "status": "published",
        "started_at": then.isoformat(),
        "rows_staged": rows,
        "table_name": table,
        **changes,
    }


def minutes(count: int) -> list[Row]:
    """The first minutes of a day."""
    return [{"time_id": n} for n in range(count)]


def mart_day(**changes: Any) -> Row:
    """A row of ``market_daily`` that breaks no rule: the second day of an asset."""
    return {
        "asset_id": "a",
        "quote_currency": "usd",
        "date": TODAY,
        "price": 2.0,
        "running_high": 2.0,
        "running_low": 1.0,
        "consecutive_days": 2,
        "days_tracked": 2,
        "tracked_since": day(-1),
        **changes,
    }


def window(symbol: str = "BTCUSDT", minute: int = 0, **changes: Any) -> Row:
    """A window of trades that breaks no rule: ten trades of the ``minute``-th minute of the day, all there."""
    return {
        "symbol": symbol,
        "window_start": at(minutes=minute),
        "window_date": TODAY,
        "open_price": 2.0,
        "high_price": 4.0,
        "low_price": 1.0,
        "close_price": 3.0,
        "average_price": 2.5,
        "volume_weighted_average_price": 2.5,
        "base_volume": 10.0,
        "quote_volume": 25.0,
        "taker_buy_base_volume": 4.0,
        "taker_buy_quote_volume": 10.0,
        "agg_trade_count": 10,
        "first_agg_trade_id": 10 * minute,
        "last_agg_trade_id": 10 * minute + 9,
        "missing_trade_count": 0,
        "first_trade_at": at(minutes=minute),
        "last_trade_at": at(minutes=minute, seconds=59.999),
        "mark_count": 0,
        "open_mark_count": 0,
        "is_complete": True,
        **changes,
    }


def traded(base: str, quote: str, asset: str, **changes: Any) -> Row:
    """A symbol and the asset that it trades."""
    return {
        "symbol": base + quote,
        "base_asset": base,
        "base_units": 1,
        "quote_asset": quote,
        "is_dollar_quote": quote == "USDT",
        "asset_id": asset,
        **changes,
    }


def trade_day(**changes: Any) -> Row:
    """A row of ``trade_daily`` that breaks no rule."""
    prices = {"open_price": 2.0, "high_price": 4.0, "low_price": 1.0, "close_price": 3.0}
    counts = {"window_count": 1440, "complete_window_count": 1440, "coverage": 1.0}
    return {"symbol": "BTCUSDT", "date": TODAY, **prices, **counts, **changes}


@dataclass(frozen=True)
class Mutation:
    """What breaks a rule, and what does not.

    Attributes:
        clean: rows on which the rule passes.
        broken: rows on which it does not.
        value: the number that it finds in the broken ones.
        sample: the keys that it names.
        tables: rows of the other tables that it reads, by contract; all others are empty. An entry for the table itself
            stands for all that is published of it, where the rule looks beyond the rows in question.
        broken_tables: those that differ when it is broken.
        passing_value: the number that it finds in the clean rows, where that is not 0.
    """

    clean: list[Row]
    broken: list[Row]
    value: float
    sample: tuple[str, ...] = ()
    tables: Tables = field(default_factory=dict)
    broken_tables: Tables = field(default_factory=dict)
    passing_value: float | None = 0.0


def one_row(row: Callable[..., Row], sample: tuple[str, ...], **change: Any) -> Mutation:
    """A rule over single rows: a change of one row breaks it."""
    return Mutation([row()], [row(), row(**change)], 1, sample)


PAST = [ran(n, rows) for n, rows in ((1, 2), (2, 10), (3, 90))]
"""Three batches, of 10 rows by their median."""
STRANGERS = [
    ran(1, 1_000, status="failed"),
    ran(2, 1_000, batch_id="20251231T0000Z-eur-all"),
    ran(3, 1_000, batch_id="20251230T0000Z-usd-top-10"),
    ran(4, 1_000, table=DAILY_FACT),
    ran(91, 1_000),
    ran(0, 1_000, run_id="this batch, before"),
]
"""Batches that a median must not count."""
INDEX_PAST = [ran(n, 100, FEAR_GREED_FACT) for n in (1, 2, 3)]


def snapshots(count: int) -> list[Row]:
    """So many assets."""
    return [snapshot(f"a{n:02}") for n in range(count)]


def indexes(count: int) -> list[Row]:
    """So many days of the index."""
    return [index(day(-n)) for n in range(count)]


PRICES = ("open_price", "high_price", "low_price", "close_price", "average_price", "volume_weighted_average_price")
COMPLETENESS = Mutation(
    [window(), *(window("B", is_complete=False, **{name: 1}) for name in ("missing_trade_count", "open_mark_count"))],
    [window("hole", missing_trade_count=1), window("mark", open_mark_count=1), window("whole", is_complete=False)],
    3,
    tuple(f"{name} 2026-01-02 00:00:00+00" for name in ("hole", "mark", "whole")),
)

RULES: dict[tuple[str, str], Mutation] = {
    (FACT, "rows_present"): Mutation([snapshot()], [], 0, passing_value=1),
    (FACT, "snapshot_date_matches_snapshot_at"): Mutation(
        [snapshot()],
        [snapshot(), snapshot("day", snapshot_date="2026-01-03"), snapshot("minute", time_id=5)],
        2,
        ("day", "minute"),
    ),
    (FACT, "observed_not_after_ingested"): Mutation(
        [snapshot(observed_at=at(minutes=6))],
        [snapshot("future", observed_at=at(minutes=6, seconds=1))],
        1,
        ("future",),
    ),
    (FACT, "low_not_above_high"): Mutation([snapshot()], [snapshot("odd", low_24h=3.0, high_24h=2.0)], 1, ("odd",)),
    (FACT, "supply_not_negative"): Mutation(
        [snapshot()],
        [snapshot(f"x-{name}", **{f"{name}_supply": -1.0}) for name in ("circulating", "total", "max")],
        3,
        ("x-circulating", "x-max", "x-total"),
    ),
    (FACT, "stale_observations"): Mutation(
        [snapshot(), snapshot("b")],
        [snapshot(), snapshot("old", observed_at=at(days=-2)), snapshot("c"), snapshot("d")],
        0.25,
    ),
    (FACT, "not_in_future"): Mutation(
        [snapshot(snapshot_at=at(minutes=5))], [snapshot("soon", snapshot_at=at(minutes=5, seconds=1))], 1, ("soon",)
    ),
    (FACT, "row_count_collapsed"): Mutation(
        snapshots(5), snapshots(4), 0.4, tables={"ingestion_batch": [*PAST, *STRANGERS]}, passing_value=0.5
    ),
    (FACT, "row_count_shrank"): Mutation(
        snapshots(9), snapshots(8), 0.8, tables={"ingestion_batch": [*PAST, *STRANGERS]}, passing_value=0.9
    ),
    (FACT, "row_count_grew"): Mutation(
        snapshots(12), snapshots(13), 1.3, tables={"ingestion_batch": [*PAST, *STRANGERS]}, passing_value=1.2
    ),
    (FACT, "supply_in_order"): Mutation(
        [snapshot(circulating_supply=10.0, total_supply=9.95, max_supply=9.9), snapshot("none", total_supply=None)],
        [
            snapshot(),
            snapshot("circulates", total_supply=9.0),
            snapshot("over", total_supply=20.0, max_supply=19.0),
            snapshot("d"),
        ],
        0.5,
        ("circulates", "over"),
    ),
    (FACT, "market_cap_matches_supply"): Mutation(
        [snapshot(market_cap=20.9), snapshot("zero", market_cap=0.0), snapshot("none", circulating_supply=None)],
        [snapshot(), snapshot("odd", market_cap=21.1)],
        0.5,
        ("odd",),
    ),
    (FACT, "price_jump"): Mutation(
        [
            snapshot(current_price=105.0),
            snapshot("unknown"),
            snapshot("short", current_price=900.0),
            snapshot("flat", current_price=3.0),
        ],
        [snapshot(current_price=105.0), snapshot("jumped", current_price=115.0), snapshot("fell", current_price=85.0)],
        2,
        ("fell", "jumped"),
        tables={
            DAILY_FACT: [
                *wavering("a"),
                *wavering("jumped"),
                *wavering("fell"),
                *wavering("short", days=20),
                *(daily("flat", day(-n), 1.0) for n in range(32)),
            ]
        },
    ),
    (FACT, "price_magnitude"): Mutation(
        [snapshot(), snapshot("unknown", current_price=900.0), snapshot("old", current_price=900.0)],
        [snapshot(current_price=2.0), snapshot("euro", current_price=900.0), snapshot("cents", current_price=0.02)],
        2,
        ("cents", "euro"),
        tables={
            "latest_prices": [
                *(newest(asset, TODAY) for asset in ("a", "euro", "cents")),
                newest("old", day(-40)),
                {**newest("unknown", TODAY), "quote_currency": "eur"},
            ]
        },
    ),
    (DAILY_FACT, "price_magnitude"): Mutation(
        [daily(price=2.0), daily(on=day(-90), price=900.0)],
        [daily(price=2.0), daily("euro", price=900.0), daily("cents", day(-3), 0.02)],
        2,
        ("cents 2025-12-30", "euro 2026-01-02"),
        tables={"latest_prices": [newest(asset, TODAY) for asset in ("a", "euro", "cents")]},
    ),
    (DAILY_FACT, "observed_near_midnight"): one_row(daily, ("a 2026-01-02",), observed_at=at(minutes=61)),
    (FACT, "active_assets_without_a_row"): Mutation(
        [snapshot(f"a{n}") for n in range(9)],
        [snapshot(f"a{n}") for n in range(8)],
        0.2,
        ("a8", "a9"),
        tables={
            ASSETS: [*(version(f"a{n}") for n in range(10)), version("gone", status="inactive"), version("a0", -20, -9)]
        },
        passing_value=0.1,
    ),
    (DAILY_FACT, "rows_present"): Mutation([daily()], [], 0, passing_value=1),
    (DAILY_FACT, "date_matches_observed_at"): one_row(daily, ("a 2026-01-01",), on=day(-1), observed_at=at()),
    (DAILY_FACT, "not_in_future"): one_row(daily, ("a 2026-01-03",), on=day(1)),
    (DAILY_FACT, "observed_not_after_ingested"): one_row(daily, ("a 2026-01-02",), ingested_at=at(minutes=-6)),
    (DAILY_FACT, "agrees_with_snapshots"): Mutation(
        [
            daily(price=2.05),
            daily(on=day(-2), price=9.0),
            daily("b", price=9.0),
            daily("c", price=9.0),
            daily("d", price=9.0),
        ],
        [daily(price=2.05), daily("e", price=2.2)],
        0.5,
        ("e 2026-01-02",),
        tables={
            FACT: [
                snapshot("a"),
                snapshot("b", quote_currency="eur"),
                snapshot("c", observed_at=at(minutes=61)),
                snapshot("d", snapshot_date=day(1)),
                snapshot("e", observed_at=at(minutes=59)),
            ]
        },
    ),
    (DAILY_FACT, "no_date_missing"): Mutation(
        [daily(), daily(on=day(-1))],
        [daily(), daily("b", day(-3))],
        3,
        ("a usd", "b usd"),
        tables={DAILY_FACT: [daily(), daily(on=day(-1)), daily(on=day(-40)), daily("other", day(-9)), daily("other")]},
        broken_tables={
            DAILY_FACT: [
                daily(),
                daily(on=day(-2)),
                daily("b", day(-3)),
                daily("b"),
                daily("other", day(-9)),
                daily("other"),
            ]
        },
    ),
    (DAILY_FACT, "price_jump"): Mutation(
        [daily(), daily("short"), daily("gap")],
        [daily(), daily("up"), daily("down")],
        2,
        ("down 2026-01-02", "up 2026-01-02"),
        tables={
            DAILY_FACT: [
                *wavering(last=109.0),
                *wavering("short", last=900.0, days=20),
                *(row for row in wavering("gap", last=900.0) if row["date"] != day(-1)),
                *wavering("not in question", last=900.0),
            ]
        },
        broken_tables={DAILY_FACT: [*wavering(last=109.0), *wavering("up", last=115.0), *wavering("down", last=85.0)]},
    ),
    (RATES_FACT, "dollar_present"): Mutation([rate("btc"), rate("usd")], [rate("btc"), rate("eur")], 1),
    (RATES_FACT, "bitcoin_is_one"): Mutation(
        [rate("btc"), rate("usd")],
        [rate("btc", value=1.5), rate("usd"), rate("usd", snapshot_at=at(hours=1))],
        2,
    ),
    (RATES_FACT, "snapshot_date_matches_snapshot_at"): Mutation(
        [rate("usd")], [rate("usd"), rate("eur", snapshot_date=day(1))], 1, ("eur",)
    ),
    (RATES_FACT, "value_magnitude"): Mutation(
        [rate("least", value=1e-3), rate("most", value=1e12)],
        [rate("usd"), rate("less", value=0.9e-3), rate("more", value=1.1e12)],
        2,
        ("less", "more"),
    ),
    (RATES_FACT, "value_matches_bitcoin"): Mutation(
        [rate("usd", value=104.0), rate("eur", value=900.0), rate("gbp", value=900.0), rate("chf", value=900.0)],
        [rate("usd", value=106.0), rate("jpy", value=94.0)],
        2,
        ("jpy", "usd"),
        tables={
            FACT: [
                snapshot("bitcoin", current_price=100.0),
                snapshot("bitcoin", current_price=100.0, quote_currency="jpy"),
                snapshot("ethereum", current_price=100.0, quote_currency="eur"),
                snapshot("bitcoin", current_price=100.0, quote_currency="gbp", snapshot_at=at(hours=1)),
                snapshot("bitcoin", current_price=100.0, quote_currency="chf", snapshot_date=day(1)),
            ]
        },
    ),
    (FEAR_GREED_FACT, "rows_present"): Mutation([index()], [], 0, passing_value=1),
    (FEAR_GREED_FACT, "date_matches_observed_at"): one_row(index, ("2026-01-01",), on=day(-1), observed_at=at()),
    (FEAR_GREED_FACT, "not_in_future"): one_row(index, ("2026-01-03",), on=day(1)),
    (FEAR_GREED_FACT, "row_count_collapsed"): Mutation(
        indexes(50), indexes(49), 0.49, tables={"ingestion_batch": [*INDEX_PAST, *STRANGERS]}, passing_value=0.5
    ),
    (FEAR_GREED_FACT, "row_count_shrank"): Mutation(
        indexes(99), indexes(98), 0.98, tables={"ingestion_batch": [*INDEX_PAST, *STRANGERS]}, passing_value=0.99
    ),
    (FEAR_GREED_FACT, "no_date_missing"): Mutation(
        [index(date(2018, 4, 13)), index(date(2018, 4, 17)), index(date(2018, 4, 18))],
        [index(date(2018, 4, 13)), index(date(2018, 4, 17)), index(date(2018, 4, 19))],
        1,
    ),
    (FEAR_GREED_FACT, "classification_matches_value"): Mutation(
        [
            index(value=value, classification=band)
            for band, values in {
                "Extreme Fear": (0, 25),
                "Fear": (26, 46),
                "Neutral": (47, 54),
                "Greed": (55, 75),
                "Extreme Greed": (76, 100),
            }.items()
            for value in values
        ],
        [index(value=46, classification="Neutral")],
        1,
        ("2026-01-02",),
    ),
    (ASSETS, "rows_present"): Mutation([version()], [], 0, passing_value=1),
    (ASSETS, "one_current_version"): Mutation(
        [version(), version(begins=-20, ends=-9)],
        [version(), version("two"), version("two", -8), version("none", ends=-1)],
        2,
        ("none", "two"),
    ),
    (ASSETS, "current_is_open"): Mutation(
        [version(), version(begins=-20, ends=-9)],
        [version(), version("ended", ends=-1, is_current=True), version("open", is_current=False)],
        2,
        ("ended", "open"),
    ),
    (ASSETS, "versions_do_not_overlap"): Mutation(
        [version(), version(begins=-20, ends=-9)],
        [
            version("back", -9, -10),
            version("over"),
            version("over", -20, -8),
            version("hole"),
            version("hole", -20, -10),
        ],
        3,
        ("back", "hole", "over"),
    ),
    (DATES, "rows_present"): Mutation([date_row(DAY)], [], 0, passing_value=1),
    (DATES, "no_date_missing"): Mutation(
        [date_row(DAY), date_row(DAY + timedelta(days=1))], [date_row(DAY), date_row(DAY + timedelta(days=3))], 2
    ),
    ("time_dim", "every_minute_of_a_day"): Mutation(minutes(1440), minutes(1439), 1439, passing_value=1440),
    ("source_dim", "rows_present"): Mutation([{"source_id": "coingecko"}], [], 0, passing_value=1),
    ("asset_stats", "days_add_up"): Mutation(
        [{"asset_id": "a", "first_date": day(-3), "last_date": TODAY, "days_tracked": 3, "days_missing": 1}],
        [{"asset_id": "odd", "first_date": day(-3), "last_date": TODAY, "days_tracked": 3, "days_missing": 2}],
        1,
        ("odd",),
    ),
    ("latest_prices", "date_matches_price_at"): Mutation(
        [{"asset_id": "a", "date": TODAY, "price_at": at(hours=hours)} for hours in (0, 23, 24)],
        [
            {"asset_id": "early", "date": TODAY, "price_at": at(hours=-1)},
            {"asset_id": "odd", "date": TODAY, "price_at": at(hours=48)},
        ],
        2,
        ("early", "odd"),
    ),
    ("market_daily", "high_not_below_price"): Mutation(
        [mart_day()], [mart_day(price=2.1), mart_day(asset_id="low", price=0.9)], 2, ("a 2026-01-02", "low 2026-01-02")
    ),
    ("market_daily", "windows_are_full"): Mutation(
        [mart_day(), mart_day(consecutive_days=7, sma_7d=1.0)],
        [mart_day(sma_7d=1.0), mart_day(asset_id="late", consecutive_days=7), mart_day(asset_id="rsi", rsi_14d=50.0)],
        3,
        ("a 2026-01-02", "late 2026-01-02", "rsi 2026-01-02"),
    ),
    ("market_daily", "run_within_history"): Mutation(
        [mart_day()],
        [mart_day(consecutive_days=3), mart_day(asset_id="many", days_tracked=3, consecutive_days=1)],
        2,
        ("a 2026-01-02", "many 2026-01-02"),
    ),
    ("market_overview", "covered_within_assets"): Mutation(
        [{"date": TODAY, "assets": 6, "covered_assets": covered} for covered in (None, 0, 6)],
        [{"date": TODAY, "assets": 6, "covered_assets": 7}],
        1,
        ("2026-01-02",),
    ),
    ("market_overview", "breadth_within_assets"): Mutation(
        [{"date": TODAY, "assets": 6, "advancers": 1, "decliners": 2, "unchanged": 3}],
        [{"date": TODAY, "assets": 5, "advancers": 1, "decliners": 2, "unchanged": 3}],
        1,
        ("2026-01-02",),
    ),
    (TRADE_WINDOW_FACT, "date_matches_window"): one_row(
        window, ("BTCUSDT 2026-01-02 00:00:00+00",), window_date=day(1)
    ),
    (TRADE_WINDOW_FACT, "window_is_a_whole_minute"): one_row(
        window, ("BTCUSDT 2026-01-02 00:00:01+00",), window_start=at(seconds=1)
    ),
    (TRADE_WINDOW_FACT, "ids_are_counted"): Mutation(
        [window(), window("B", agg_trade_count=8, missing_trade_count=2)],
        [window(agg_trade_count=9), window("B", missing_trade_count=1)],
        2,
        ("B 2026-01-02 00:00:00+00", "BTCUSDT 2026-01-02 00:00:00+00"),
    ),
    (TRADE_WINDOW_FACT, "prices_are_ordered"): Mutation(
        [window(), window("B", **dict.fromkeys(PRICES, 2.0))],
        [window(name, **{name: 4.5 if name == "low_price" else 0.5}) for name in PRICES],
        6,
        tuple(sorted(f"{name} 2026-01-02 00:00:00+00" for name in PRICES)),
    ),
    (TRADE_WINDOW_FACT, "trades_lie_in_window"): Mutation(
        [window(), window("B", first_trade_at=at(seconds=30), last_trade_at=at(seconds=30))],
        [
            window("early", first_trade_at=at(seconds=-0.001)),
            window("late", last_trade_at=at(minutes=1)),
            window("turned", first_trade_at=at(seconds=30), last_trade_at=at(seconds=29)),
        ],
        3,
        tuple(f"{name} 2026-01-02 00:00:00+00" for name in ("early", "late", "turned")),
    ),
    (TRADE_WINDOW_FACT, "takers_are_a_part"): Mutation(
        [window(), window("B", taker_buy_base_volume=10.0, taker_buy_quote_volume=25.0)],
        [window(taker_buy_base_volume=10.5), window("B", taker_buy_quote_volume=25.5)],
        2,
        ("B 2026-01-02 00:00:00+00", "BTCUSDT 2026-01-02 00:00:00+00"),
    ),
    (TRADE_WINDOW_FACT, "completeness_is_true"): COMPLETENESS,
    (TRADE_WINDOW_PANE, "completeness_is_true"): COMPLETENESS,
    (TRADE_WINDOW_FACT, "complete_windows_meet"): Mutation(
        [
            window(),
            window(minute=1),
            window(minute=3, first_agg_trade_id=20, last_agg_trade_id=29),
            window("B", first_agg_trade_id=900, last_agg_trade_id=909),
            window("marked"),
            window("marked", 2, is_complete=False),
        ],
        [window(), window(minute=2), window("B"), window("B", 1, first_agg_trade_id=9, last_agg_trade_id=18)],
        2,
        ("B 2026-01-02 00:01:00+00", "BTCUSDT 2026-01-02 00:02:00+00"),
    ),
    (TRADE_WINDOW_FACT, "windows_are_complete"): one_row(
        window, ("BTCUSDT 2026-01-02 00:00:00+00",), is_complete=False
    ),
    (TRADE_WINDOW_FACT, "agrees_with_snapshot"): Mutation(
        [
            window("AUSDT", close_price=2.03),
            window("1000AUSDT", close_price=2_010.0),
            window("AEUR", close_price=9.0),
            window("AUSDT", 1, close_price=9.0),
        ],
        [window("AUSDT", close_price=2.05), window("1000AUSDT", close_price=1_950.0), window("AEUR", close_price=9.0)],
        2,
        tables={
            FACT: [snapshot("a", observed_at=at(seconds=30)), snapshot("a", quote_currency="eur", current_price=5.0)],
            TRADE_SYMBOLS: [
                traded("A", "USDT", "a"),
                traded("1000A", "USDT", "a", base_units=1_000),
                traded("A", "EUR", "a"),
            ],
        },
    ),
    (TRADE_SYMBOLS, "base_is_in_symbol"): Mutation(
        [traded("BTC", "USDT", "bitcoin")], [traded("BTC", "USDT", "bitcoin", base_asset="ETH")], 1
    ),
    ("trade_daily", "prices_are_ordered"): Mutation(
        [trade_day()],
        [trade_day(**change) for change in ({"low_price": 2.5}, {"high_price": 2.5}, {"low_price": 5.0})],
        3,
    ),
    ("trade_daily", "windows_fit_into_day"): Mutation(
        [trade_day(), trade_day(window_count=3, complete_window_count=0, coverage=0.002)],
        [trade_day(window_count=1441), trade_day(window_count=1439), trade_day(coverage=1.01)],
        3,
    ),
    ("intraday_moving_average", "date_matches_window"): Mutation(
        [window()], [window(), window(window_start=at(days=1))], 1
    ),
}

WRITTEN = {(contract.name, rule.name): rule for contract in CONTRACTS.values() for rule in contract.rules}
ids = [".".join(key) for key in RULES]


def test_every_rule_of_every_contract_has_a_mutation() -> None:
    assert set(RULES) == set(WRITTEN)


MADE = {
    name
    for name, function in vars(rules_module).items()
    if inspect.isfunction(function) and function.__module__ == rules_module.__name__
}
OVER_A_REPORT = {"row_count", "batch_complete", "listed_share", "reject_share"}
"""Ways to make a rule of that name out of a report or a setting."""
OVER_A_WALK = {"ids_answered", "rates_answered", "top_filled"}
"""The same, of what the walk of a snapshot was asked for; tests of the snapshot's steps break them."""


def test_every_way_to_make_a_rule_has_a_mutation() -> None:
    derived = {"rules_of", "_column_rules", "_unique"}  # test_audit.py
    over_the_warehouse = {"foreign_key", "foreign_keys", "freshness", "_young"}
    assert derived | OVER_A_REPORT | OVER_A_WALK | over_the_warehouse == MADE


def test_every_rule_over_a_report_is_asked_for_by_the_steps_of_a_batch() -> None:
    assert {name for name in OVER_A_REPORT if f"{name}(" not in inspect.getsource(steps)} == set()
    assert {name for name in OVER_A_WALK if f"{name}(" not in inspect.getsource(snapshot_steps)} == set()


@pytest.mark.cloud
def test_columns_that_only_the_publish_fills_are_held_to_their_contract(warehouse: Warehouse) -> None:
    assets = load_contract(ASSETS)
    filled = [column for column in assets.columns if column not in assets.file_columns]
    rules = [
        rule
        for rule in rules_of(assets, assets.columns, AuditStage.PUBLISHED)
        if rule.column in {c.name for c in filled} or rule.name == "unique_key"
    ]
    twice = [version(), version()]
    clean = checked(warehouse, ASSETS, rules, [version()], {ASSETS: [version()]})
    assert {r.status for r in clean} == {Status.PASSED}
    broken = checked(
        warehouse, ASSETS, rules, [version(is_current=None), version("b") | {"valid_from": None}], {ASSETS: twice}
    )
    assert {r.rule.name: (r.value, r.sample) for r in broken} == {
        "valid_from_not_null": (1, ("b",)),
        "is_current_not_null": (1, ("a",)),
        "unique_key": (1, ("a",)),
    }
    assert all(blocks([r], AuditStage.PUBLISHED) for r in broken)


@pytest.fixture(scope="module")
def warehouse(local_cloud: LocalCloud) -> Warehouse:
    """A warehouse without tables: every table of these tests is a subquery."""
    return Warehouse(fresh_resources(local_cloud).settings, clock=lambda: DAY)


def checked(warehouse: Warehouse, table: str, rules: list[Rule], rows: list[Row], tables: Tables) -> list[Result]:
    """The results of rules on made-up rows, with made-up neighbours."""
    contract = load_contract(table)
    words = {word for rule in rules for word in re.findall(r"\w+", f"{rule.query} {rule.sample}")}
    names = {
        name: inline(other, tables.get(name, ()), words) for name, other in CONTRACTS.items() if name in named(rules)
    }
    first = min([row["date"] for row in rows if isinstance(row.get("date"), date)], default=TODAY)
    audit = Audit(BATCH, "run", DAY, AuditStage.STAGING, first, TODAY, DAY)
    return Auditor(warehouse, audit, names).check(
        contract, inline(contract, rows, words | {contract.columns[0].name}), rules
    )


def named(rules: Iterable[Rule]) -> set[str]:
    """The placeholders of some rules."""
    return {name for rule in rules for name in rule.placeholders}


def blocks(results: list[Result], stage: AuditStage = AuditStage.STAGING) -> bool:
    """Whether a publish is refused."""
    try:
        refuse_if_blocked(results, stage)
    except PublishBlockedError:
        return True
    return False


@pytest.mark.cloud
@pytest.mark.parametrize("key", RULES, ids=ids)
def test_a_rule_finds_what_was_made_to_break_it_and_nothing_in_its_clean_twin(
    key: tuple[str, str], warehouse: Warehouse
) -> None:
    mutation, rule = RULES[key], WRITTEN[key]
    (clean,) = checked(warehouse, key[0], [rule], mutation.clean, mutation.tables)
    assert (clean.status, clean.value, clean.sample) == (Status.PASSED, mutation.passing_value, ())
    assert not blocks([clean])
    (broken,) = checked(warehouse, key[0], [rule], mutation.broken, {**mutation.tables, **mutation.broken_tables})
    assert (broken.value, broken.sample) == (pytest.approx(mutation.value, rel=1e-12), mutation.sample)
    assert broken.status is (Status.FAILED if rule.severity is Severity.ERROR else Status.WARNING), broken.message
    assert blocks([broken]) is (rule.severity is Severity.ERROR), "only an error stops the publish"


@pytest.mark.cloud
@pytest.mark.parametrize("table", [FACT, FEAR_GREED_FACT])
def test_a_trend_needs_three_batches(table: str, warehouse: Warehouse) -> None:
    rules = [rule for rule in load_contract(table).rules if rule.name.startswith("row_count_")]
    past = [ran(n, 1_000, table) for n in (1, 2)]
    results = checked(warehouse, table, rules, snapshots(1) if table == FACT else indexes(1), {"ingestion_batch": past})
    assert {(r.status, r.value) for r in results} == {(Status.PASSED, 1.0)}


@pytest.mark.cloud
def test_a_batch_of_a_part_of_the_market_says_nothing_of_absent_assets(warehouse: Warehouse) -> None:
    rule = WRITTEN[FACT, "active_assets_without_a_row"]
    rows = [snapshot() | {"batch_id": "20260102T0000Z-usd-top-10"}]
    (result,) = checked(warehouse, FACT, [rule], rows, {ASSETS: [version("a"), version("b")]})
    assert (result.status, result.value) == (Status.PASSED, 0)


KEYS = {(contract.name, rule.name): rule for contract in CONTRACTS.values() for rule in foreign_keys(contract)}


@pytest.mark.cloud
@pytest.mark.parametrize("key", KEYS, ids=[".".join(key) for key in KEYS])
def test_a_key_without_its_dimension_is_found_and_blocks(key: tuple[str, str], warehouse: Warehouse) -> None:
    contract, rule = load_contract(key[0]), KEYS[key]
    column = contract.by_name[rule.column or ""]
    parent, _, name = (column.references or "").partition(".")
    known, unknown = {"STRING": ("a", "b"), "DATE": (TODAY, day(1)), "INT64": (1, 2)}[column.type]
    versions = {"is_current": True} if "is_current" in load_contract(parent).by_name else {}
    expired = [{name: unknown, "is_current": False}] if versions else []
    tables = {parent: [{name: known, **versions}, *expired]}
    (clean,) = checked(warehouse, contract.name, [rule], [{column.name: known}, {"batch_id": "null key"}], tables)
    assert clean.status is Status.PASSED
    (broken,) = checked(warehouse, contract.name, [rule], [{column.name: known}, {column.name: unknown}], tables)
    assert (broken.status, broken.value, broken.sample) == (Status.FAILED, 1, (str(unknown),))
    assert blocks([broken], AuditStage.PUBLISHED)


PROMISING = [contract for contract in CONTRACTS.values() if contract.freshness_hours is not None]


@pytest.mark.parametrize("contract", PROMISING, ids=lambda contract: contract.name)
def test_who_promises_freshness_says_by_which_column_and_when_it_fails(contract: Contract) -> None:
    assert contract.freshness_column in contract.by_name
    assert contract.freshness_limit_hours is not None
    assert contract.freshness_limit_hours > (contract.freshness_hours or 0)


@pytest.mark.cloud
@pytest.mark.parametrize("contract", PROMISING, ids=lambda contract: contract.name)
def test_an_old_table_is_warned_of_then_refused_but_never_because_of_a_replay(
    contract: Contract, warehouse: Warehouse
) -> None:
    column, warn, fail = (
        contract.by_name[contract.freshness_column or ""],
        contract.freshness_hours or 0,
        contract.freshness_limit_hours or 0,
    )
    rules = freshness(contract, enforced=True)
    grain = 24.0 if column.type == "DATE" else 1.0

    def outcome(age: float, rules: list[Rule]) -> dict[str, Status]:
        newest = DAY - timedelta(hours=age)
        value = newest.date() if column.type == "DATE" else newest.isoformat()
        extra = {contract.partition_column: newest.date()} if contract.partition_column else {}
        results = checked(warehouse, contract.name, rules, [], {contract.name: [{**extra, column.name: value}]})
        assert {r.value for r in results} == {float(age)}
        return {r.rule.name: r.status for r in results}

    young, old, too_old = warn // grain * grain, (warn // grain + 1) * grain, (fail // grain + 1) * grain
    assert outcome(young, rules) == {"freshness": Status.PASSED, "freshness_limit": Status.PASSED}
    assert outcome(old, rules) == {"freshness": Status.WARNING, "freshness_limit": Status.PASSED}
    assert outcome(too_old, rules) == {"freshness": Status.WARNING, "freshness_limit": Status.FAILED}
    assert outcome(too_old, freshness(contract, enforced=False))["freshness_limit"] is Status.WARNING
    (empty,) = checked(warehouse, contract.name, rules[1:], [], {})
    assert empty.status is Status.FAILED, "an empty table is not fresh"


@pytest.mark.cloud
def test_the_rules_over_the_report_of_a_job_are_broken_once(warehouse: Warehouse) -> None:
    fact, assets = load_contract(FACT), load_contract(ASSETS)
    report = {
        "rows_read": 9,
        "rows_unpriced": 1,
        "rows_duplicate": 2,
        "rows_surplus": 1,
        "rows_rejected": 1,
        "rows_superseded": 1,
        "points_now": 1,
    }
    made: list[tuple[Contract, Rule, list[Row], list[Row]]] = [
        (fact, row_count(2), snapshots(2), snapshots(3)),
        (fact, batch_complete(report), snapshots(2), snapshots(1)),
        (
            assets,
            listed_share("known", 0.8),
            [version(f"a{n}") for n in range(4)],
            [version(f"a{n}") for n in range(3)],
        ),
        (fact, reject_share(fact, "rejects", 0.1), snapshots(9), snapshots(8)),
    ]
    assert {rule.name for _, rule, _, _ in made} == OVER_A_REPORT
    sources = {
        "`known`": inline(assets, [version(f"a{n}") for n in range(5)]),
        "`rejects`": inline(load_contract(REJECTS), [reject_row(1)]),
    }
    for contract, rule, clean, broken in made:
        query = rule.query
        for name, subquery in sources.items():
            query = query.replace(name, subquery)
        on_made_up_tables = Rule(**{**vars(rule), "query": query, "sample": ""})
        assert checked(warehouse, contract.name, [on_made_up_tables], clean, {})[0].status is Status.PASSED, rule.name
        results = checked(warehouse, contract.name, [on_made_up_tables], broken, {})
        assert results[0].status is Status.FAILED, rule.name
        assert blocks(results), rule.name


def test_a_complete_batch_names_what_was_left_out() -> None:
    rule = batch_complete({"rows_read": 9, "rows_unpriced": 1, "points_now": 2, "rows_valid": 6})
    assert rule.threshold == 6
    assert rule.description == "Of 9 rows read, all arrived but those that were left out: 1 unpriced, 2 now."


def every_rule(contract: Contract) -> list[Rule]:
    """The rules of both stages."""
    return [
        *rules_of(contract, contract.columns),
        *rules_of(contract, contract.columns, AuditStage.PUBLISHED),
        *foreign_keys(contract),
        *freshness(contract, enforced=True),
    ]


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.name)
def test_every_rule_is_one_query_of_one_column_that_bigquery_understands(contract: Contract) -> None:
    audit = Audit(BATCH, "run", DAY, AuditStage.STAGING, TODAY, TODAY, DAY)
    values = {**{name: f"`d.{name}`" for name in CONTRACTS}, **audit.literals, "table": "`d.t`"}
    for rule in every_rule(contract):
        for sql in filter(None, (rule.query, rule.sample)):
            (parsed,) = sqlglot.parse(fill(sql, values), dialect="bigquery", error_level=sqlglot.ErrorLevel.RAISE)
            assert isinstance(parsed, exp.Select), rule.name
            assert len(parsed.selects) == 1, rule.name


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.name)
def test_a_rule_reads_partitioned_tables_only_by_their_dates(contract: Contract) -> None:
    for rule in every_rule(contract):
        for name in rule.placeholders & set(CONTRACTS):
            partition = CONTRACTS[name].partition_column
            assert partition is None or f"{partition} BETWEEN " in rule.query or f"{partition} >= " in rule.query, (
                rule.name,
                name,
            )


@pytest.mark.parametrize("contract", CONTRACTS.values(), ids=lambda contract: contract.name)
def test_names_of_rules_are_unique_within_a_table_and_stage(contract: Contract) -> None:
    for stage in (AuditStage.STAGING, AuditStage.PUBLISHED):
        names = [
            rule.name
            for rule in [
                *rules_of(contract, contract.columns, stage),
                *foreign_keys(contract),
                *freshness(contract, enforced=True),
            ]
        ]
        assert len(names) == len(set(names))
