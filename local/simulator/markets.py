"""``/coins/markets`` and ``/coins/list``: rows of a snapshot, selected, ordered, cut into pages."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np

from local.simulator.catalogue import SPARKLINE_POINTS
from local.simulator.market import Snapshot
from local.simulator.noise import IntArray
from local.simulator.rendering import Row, blank, display_prices, money, numbers, percentages, ranks

MARKET_FIELDS: tuple[str, ...] = (
    "id",
    "symbol",
    "name",
    "image",
    "current_price",
    "market_cap",
    "market_cap_rank",
    "fully_diluted_valuation",
    "total_volume",
    "high_24h",
    "low_24h",
    "price_change_24h",
    "price_change_percentage_24h",
    "market_cap_change_24h",
    "market_cap_change_percentage_24h",
    "circulating_supply",
    "total_supply",
    "max_supply",
    "ath",
    "ath_change_percentage",
    "ath_date",
    "atl",
    "atl_change_percentage",
    "atl_date",
    "roi",
    "last_updated",
)
"""The fields of every row, in the order of the real answers."""

_ALWAYS_FILLED = frozenset({"id", "symbol", "name", "image", "last_updated"})

_PRICE_FIELDS = ("current_price",)


@dataclass(frozen=True)
class MarketsQuery:
    """What one call of ``/coins/markets`` asks for.

    Attributes:
        per_page: rows per page, 1..250; it bounds a query by ids too.
        page: from 1.
        order: ``market_cap``, ``volume`` or ``id`` with ``_asc`` or ``_desc``.
        ids: only these coins; unknown ids are silently absent. None for all.
        category: only coins of this category id.
        sparkline: add the hourly prices of seven days.
        periods: price changes to add, as ``1h``, ``24h``, ``7d``.
        rehypothecated: add the rank by the method before February 2026.
    """

    per_page: int = 100
    page: int = 1
    order: str = "market_cap_desc"
    ids: frozenset[str] | None = None
    category: str | None = None
    sparkline: bool = False
    periods: tuple[str, ...] = ()
    rehypothecated: bool = False


def market_rows(snapshot: Snapshot, rate: float, precision: str | None) -> list[Row]:
    """All rows of a snapshot by slot, without the fields that a call has to ask for.

    Args:
        snapshot: the market at an instant.
        rate: units of the quote currency per US dollar.
        precision: see :func:`local.simulator.rendering.display_prices`.
    """
    columns = {
        **_identity(snapshot),
        **_prices(snapshot, rate, precision),
        **_capitals(snapshot, rate),
        **_records(snapshot, rate, precision),
    }
    rows = [
        dict(zip(MARKET_FIELDS, cells, strict=True))
        for cells in zip(*(columns[field] for field in MARKET_FIELDS), strict=True)
    ]
    _apply_quirks(snapshot, rows)
    return rows


def _identity(snapshot: Snapshot) -> dict[str, list[Any]]:
    coins = snapshot.catalogue
    ids, names = snapshot.identity
    roi = [_roi(times) for times in coins.number("roi_times").tolist()]
    return {
        "id": ids,
        "symbol": coins.symbols,
        "name": names,
        "image": coins.images,
        "roi": roi,
        "last_updated": snapshot.last_updated,
    }


def _roi(times: float) -> Row | None:
    return None if times != times else {"times": times, "currency": "usd", "percentage": times * 100}


def _prices(snapshot: Snapshot, rate: float, precision: str | None) -> dict[str, list[Any]]:
    stale = snapshot.catalogue.flag("stale")
    return {
        "current_price": display_prices(snapshot.price * rate, precision),
        "high_24h": blank(display_prices(snapshot.high * rate, precision), stale),
        "low_24h": blank(display_prices(snapshot.low * rate, precision), stale),
        "price_change_24h": numbers((snapshot.price - snapshot.past["24h"]) * rate),
        "price_change_percentage_24h": percentages(snapshot.change_percentage("24h")),
        "total_volume": money(snapshot.volume * rate),
    }


def _capitals(snapshot: Snapshot, rate: float) -> dict[str, list[Any]]:
    coins, cap = snapshot.catalogue, snapshot.market_cap * rate
    circulating, total, maximum = (coins.number(name) for name in ("circulating", "total", "maximum"))
    whole, change = coins.flag("whole_supply"), snapshot.change_percentage("24h")
    diluted = snapshot.price * rate * np.where(np.isnan(maximum), total, maximum)
    exact = coins.slots % 2 == 1
    return {
        "market_cap": money(cap),
        "market_cap_rank": ranks(snapshot.rank),
        "fully_diluted_valuation": money(diluted),
        "market_cap_change_24h": money(cap - cap / (1 + change / 100), exact),
        "market_cap_change_percentage_24h": percentages(change),
        "circulating_supply": numbers(circulating, whole),
        "total_supply": numbers(total, whole),
        "max_supply": numbers(maximum, whole),
    }


def _records(snapshot: Snapshot, rate: float, precision: str | None) -> dict[str, list[Any]]:
    coins, price = snapshot.catalogue, snapshot.price
    return {
        "ath": display_prices(coins.all_time_high * rate, precision),
        "ath_change_percentage": percentages((price / coins.all_time_high - 1) * 100),
        "ath_date": coins.all_time_high_dates,
        "atl": display_prices(coins.all_time_low * rate, precision),
        "atl_change_percentage": percentages((price / coins.all_time_low - 1) * 100),
        "atl_date": coins.all_time_low_dates,
    }


def _apply_quirks(snapshot: Snapshot, rows: list[Row]) -> None:
    """Null the fields that coins without a price, or with only a price, lack; set the exact values of quirks."""
    coins = snapshot.catalogue
    nullable = dict.fromkeys(field for field in MARKET_FIELDS if field not in _ALWAYS_FILLED)
    for slot in np.flatnonzero(coins.flag("unpriced")).tolist():
        rows[slot].update(nullable)
    for slot in np.flatnonzero(coins.flag("bare")).tolist():
        rows[slot].update({field: None for field in nullable if field not in _PRICE_FIELDS})
    for slot, quirk in coins.quirks.items():
        rows[slot].update(quirk.fixed)


def select(snapshot: Snapshot, query: MarketsQuery) -> IntArray:
    """Slots of all coins that a query means, in its order, before paging."""
    slots = snapshot.order(query.order)
    if query.ids is not None:
        wanted = [snapshot.slot_of[coin] for coin in query.ids if coin in snapshot.slot_of]
        slots = slots[np.isin(slots, wanted)]
    if query.category is not None:
        slots = slots[[query.category in snapshot.catalogue.categories[slot] for slot in slots.tolist()]]
    return slots


def page_of(slots: IntArray, query: MarketsQuery, shift: int = 0) -> IntArray:
    """The slots of one page; ``shift`` moves the window, as coins that change place during a walk do."""
    start = max(0, (query.page - 1) * query.per_page + shift)
    return slots[start : start + query.per_page]


def complete(snapshot: Snapshot, rows: list[Row], slots: IntArray, query: MarketsQuery, rate: float) -> list[Row]:
    """The rows of a page with the fields that the query asks for; the given rows stay as they are."""
    extras = _extras(snapshot, slots, query, rate)
    page = [dict(rows[slot]) for slot in slots.tolist()]
    for field, cells in extras:
        for row, cell in zip(page, cells, strict=True):
            row[field] = cell
    return page


def _extras(snapshot: Snapshot, slots: IntArray, query: MarketsQuery, rate: float) -> Iterable[tuple[str, list[Any]]]:
    if query.rehypothecated:
        yield "market_cap_rank_with_rehypothecated", ranks(snapshot.rank_with_rehypothecated[slots])
    if query.sparkline:
        yield "sparkline_in_7d", [{"price": series} for series in sparklines(snapshot, slots, rate)]
    silent = snapshot.catalogue.flag("bare")[slots]
    for period in query.periods:
        change = snapshot.price[slots] / snapshot.past[period][slots] - 1
        yield f"price_change_percentage_{period}_in_currency", blank(numbers(change * 100), silent)


def sparklines(snapshot: Snapshot, slots: IntArray, rate: float) -> list[Any]:
    """Hourly prices of seven days for some slots: fewer points for young coins, none without a price."""
    counts = (
        np.where(snapshot.catalogue.flag("unpriced"), 0, snapshot.catalogue.traits["spark_points"])[slots]
        .astype(np.int64)
        .tolist()
    )
    prices = snapshot.sparkline[slots] * rate
    return [series[SPARKLINE_POINTS - count :] for series, count in zip(prices, counts, strict=True)]


def list_rows(snapshot: Snapshot, include_platform: bool, status: str) -> list[Row]:
    """The rows of ``/coins/list`` by id: it lacks a few coins that have a market, and names others that have none.

    Args:
        snapshot: the market at an instant.
        include_platform: add the contract addresses.
        status: ``active`` or ``inactive``.
    """
    coins = snapshot.catalogue
    if status == "inactive":
        rows = [_bare_listing(coin) for coin in coins.inactive]
    else:
        unlisted = coins.flag("unlisted").tolist()
        triples = zip(snapshot.identity[0], coins.symbols, snapshot.identity[1], range(len(coins)), strict=True)
        rows = [
            {"id": i, "symbol": s, "name": n, "platforms": coins.platforms[slot]}
            for i, s, n, slot in triples
            if not unlisted[slot]
        ]
        rows = sorted(rows + [_bare_listing(coin) for coin in coins.list_only], key=lambda row: str(row["id"]))
    return rows if include_platform else [{field: row[field] for field in ("id", "symbol", "name")} for row in rows]


def _bare_listing(coin: str) -> Row:
    return {"id": coin, "symbol": coin.replace("-", "")[:6], "name": coin.replace("-", " ").title(), "platforms": {}}
