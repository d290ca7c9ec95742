"""``/coins/markets`` and ``/coins/list``: rows of a snapshot, selected, ordered, cut into pages."""

from collections.abc import Iterable
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import AfterValidator, BaseModel, Field

from local.simulator.catalogue import SPARKLINE_POINTS
from local.simulator.market import CHANGE_PERIODS, Snapshot
from local.simulator.noise import IntArray
from local.simulator.rendering import Row, blank, display_prices, money, numbers, percentages, ranks

MAX_PER_PAGE = 250

PERIODS = frozenset(CHANGE_PERIODS) - {"60d"}
"""Periods that ``price_change_percentage`` takes."""

_ALWAYS_FILLED = frozenset({"id", "symbol", "name", "image", "last_updated"})

Order = Literal["market_cap_asc", "market_cap_desc", "volume_asc", "volume_desc", "id_asc", "id_desc"]

Precision = Annotated[str | None, Field(pattern=r"^(full|\d|1[0-8])$")]
"""See :func:`local.simulator.rendering.display_prices`."""


def _known_periods(text: str) -> str:
    if not PERIODS.issuperset(_parts(text)):
        raise ValueError(f"{text!r} names a period that does not exist")
    return text


class MarketsQuery(BaseModel):
    """The parameters of ``/coins/markets``, as the API names, bounds and defaults them; unknown ids are absent."""

    vs_currency: str
    ids: str | None = None
    category: str | None = None
    order: Order = "market_cap_desc"
    per_page: Annotated[int, Field(ge=1), AfterValidator(lambda asked: min(asked, MAX_PER_PAGE))] = 100
    page: Annotated[int, Field(ge=1)] = 1
    sparkline: bool = False
    price_change_percentage: Annotated[str, AfterValidator(_known_periods)] = ""
    precision: Precision = None
    include_rehypothecated: bool = False


def _parts(text: str) -> list[str]:
    """The parts of a parameter between its commas, each once, in the order asked for."""
    return list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))


def market_rows(snapshot: Snapshot, rate: float, precision: str | None) -> list[Row]:
    """All rows of a snapshot by slot, without the fields that a call has to ask for, in the order of the real answers.

    Args:
        snapshot: the market at an instant.
        rate: units of the quote currency per US dollar.
        precision: see :func:`local.simulator.rendering.display_prices`.
    """
    coins, price, cap = snapshot.catalogue, snapshot.price, snapshot.market_cap * rate
    circulating, total, maximum = (coins.number(name) for name in ("circulating", "total", "maximum"))
    whole, stale, change = coins.flag("whole_supply"), coins.flag("stale"), snapshot.change_percentage("24h")
    columns: dict[str, list[Any]] = {
        "id": snapshot.identity[0],
        "symbol": coins.symbols,
        "name": snapshot.identity[1],
        "image": coins.images,
        "current_price": display_prices(price * rate, precision),
        "market_cap": money(cap),
        "market_cap_rank": ranks(snapshot.rank),
        "fully_diluted_valuation": money(price * rate * np.where(np.isnan(maximum), total, maximum)),
        "total_volume": money(snapshot.volume * rate),
        "high_24h": blank(display_prices(snapshot.high * rate, precision), stale),
        "low_24h": blank(display_prices(snapshot.low * rate, precision), stale),
        "price_change_24h": numbers((price - snapshot.past["24h"]) * rate),
        "price_change_percentage_24h": percentages(change),
        "market_cap_change_24h": money(cap - cap / (1 + change / 100), exact=coins.slots % 2 == 1),
        "market_cap_change_percentage_24h": percentages(change),
        "circulating_supply": numbers(circulating, whole),
        "total_supply": numbers(total, whole),
        "max_supply": numbers(maximum, whole),
    }
    for name, (record, dates) in coins.records.items():
        columns[name] = display_prices(record * rate, precision)
        columns[f"{name}_change_percentage"] = percentages((price / record - 1) * 100)
        columns[f"{name}_date"] = dates
    columns["roi"] = [_roi(times) for times in coins.number("roi_times").tolist()]
    columns["last_updated"] = snapshot.last_updated
    rows = [dict(zip(columns, cells, strict=True)) for cells in zip(*columns.values(), strict=True)]
    _apply_quirks(snapshot, rows, dict.fromkeys(field for field in columns if field not in _ALWAYS_FILLED))
    return rows


def _roi(times: float) -> Row | None:
    return None if times != times else {"times": times, "currency": "usd", "percentage": times * 100}


def _apply_quirks(snapshot: Snapshot, rows: list[Row], nullable: Row) -> None:
    """Null the fields that coins without a price, or with only a price, lack; set the exact values of quirks."""
    coins = snapshot.catalogue
    for slot in np.flatnonzero(coins.flag("unpriced")).tolist():
        rows[slot].update(nullable)
    for slot in np.flatnonzero(coins.flag("bare")).tolist():
        rows[slot].update(nullable | {"current_price": rows[slot]["current_price"]})
    for slot, quirk in coins.quirks.items():
        rows[slot].update(quirk.fixed)


def select(snapshot: Snapshot, query: MarketsQuery) -> IntArray:
    """Slots of all coins that a query means, in its order, before paging."""
    slots = snapshot.order(query.order)
    if query.ids:
        wanted = [snapshot.slot_of[coin] for coin in _parts(query.ids) if coin in snapshot.slot_of]
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
    page = [dict(rows[slot]) for slot in slots.tolist()]
    for field, cells in _extras(snapshot, slots, query, rate):
        for row, cell in zip(page, cells, strict=True):
            row[field] = cell
    return page


def _extras(snapshot: Snapshot, slots: IntArray, query: MarketsQuery, rate: float) -> Iterable[tuple[str, list[Any]]]:
    if query.include_rehypothecated:
        yield "market_cap_rank_with_rehypothecated", ranks(snapshot.rank_with_rehypothecated[slots])
    if query.sparkline:
        yield "sparkline_in_7d", [{"price": series} for series in sparklines(snapshot, slots, rate)]
    silent = snapshot.catalogue.flag("bare")[slots]
    for period in _parts(query.price_change_percentage):
        change = numbers(snapshot.change_percentage(period)[slots])
        yield f"price_change_percentage_{period}_in_currency", blank(change, silent)


def sparklines(snapshot: Snapshot, slots: IntArray, rate: float) -> list[Any]:
    """Hourly prices of seven days for some slots: fewer points for young coins, none without a price."""
    coins, prices = snapshot.catalogue, snapshot.sparkline[slots] * rate
    counts = np.where(coins.flag("unpriced"), 0, coins.traits["spark_points"])[slots].tolist()
    return [series[SPARKLINE_POINTS - count :] for series, count in zip(prices, counts, strict=True)]


def list_rows(snapshot: Snapshot, include_platform: bool, status: str) -> list[Row]:
    """The rows of ``/coins/list`` by id: it lacks a few coins that have a market, and names others that have none.

    The status is ``active`` or ``inactive``.
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
