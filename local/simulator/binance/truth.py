"""What a window of trades must come to: one row after the other, in Python's integers, by nobody's batches."""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from decimal import Decimal
from typing import Any

from local.simulator.binance.listing import UNIT
from local.simulator.binance.tape import Tape


@dataclass(frozen=True)
class Truth:
    """The figures of at least one trade.

    Attributes:
        open: price of the smallest id in units of 1e-8, as ``high``, ``low`` and ``close``, that of the largest id.
        count: aggregate trades.
        trade_count: single trades in them.
        first_id: smallest aggregate trade id, ``last_id`` the largest.
        first_ms: earliest time in ms since 1970, ``last_ms`` the latest.
        price_sum: units of 1e-8; each aggregate trade counts once.
        quantity_sum: units of 1e-8.
        quote_sum: price times quantity, units of 1e-16.
        taker_buy_quantity_sum: quantities of trades in which the buyer took, units of 1e-8.
        taker_buy_quote_sum: price times quantity of those, units of 1e-16.
    """

    open: int
    high: int
    low: int
    close: int
    count: int
    trade_count: int
    first_id: int
    last_id: int
    first_ms: int
    last_ms: int
    price_sum: int
    quantity_sum: int
    quote_sum: int
    taker_buy_quantity_sum: int
    taker_buy_quote_sum: int


def truth(tape: Tape, symbol: str, from_ms: int, to_ms: int) -> Truth | None:
    """The figures of the trades from ``from_ms`` until ``to_ms``, not included; None where nothing was traded.

    Raises:
        KeyError: nobody trades the symbol.
    """
    return figures(map(json.loads, tape.between(symbol, from_ms, to_ms).rows()))


def figures(rows: Iterable[Mapping[str, Any]]) -> Truth | None:
    """The figures of rows as REST or the stream writes them, by rising id, each id once; None where there are none."""
    trades = list(rows)
    if not trades:
        return None
    prices = [_units(trade["p"]) for trade in trades]
    quantities = [_units(trade["q"]) for trade in trades]
    quotes = [price * quantity for price, quantity in zip(prices, quantities, strict=True)]
    taken = [not trade["m"] for trade in trades]
    return Truth(
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        count=len(trades),
        trade_count=sum(trade["l"] - trade["f"] + 1 for trade in trades),
        first_id=trades[0]["a"],
        last_id=trades[-1]["a"],
        first_ms=min(trade["T"] for trade in trades),
        last_ms=max(trade["T"] for trade in trades),
        price_sum=sum(prices),
        quantity_sum=sum(quantities),
        quote_sum=sum(quotes),
        taker_buy_quantity_sum=sum(quantity for quantity, took in zip(quantities, taken, strict=True) if took),
        taker_buy_quote_sum=sum(quote for quote, took in zip(quotes, taken, strict=True) if took),
    )


def _units(text: str) -> int:
    return int(Decimal(text) * UNIT)
