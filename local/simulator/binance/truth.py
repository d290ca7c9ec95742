"""What a window of trades must come to: one trade after the other, in Python's integers, by nobody's batches."""

from dataclasses import dataclass

from local.simulator.binance.tape import Tape


@dataclass(frozen=True)
class Truth:
    """The figures of the trades of ``[from_ms, to_ms)``; at least one trade.

    Attributes:
        symbol: as ``BTCUSDT``.
        open: price of the smallest id in units of 1e-8; ``close`` that of the largest; ``high`` and ``low`` likewise.
        count: aggregate trades; ``trade_count`` the trades in them.
        first_id: smallest aggregate id, ``last_id`` the largest.
        first_ms: earliest time, ``last_ms`` the latest.
        price_sum: units of 1e-8; ``quantity_sum`` and ``taker_buy_quantity_sum`` as well.
        quote_sum: price times quantity in units of 1e-16; ``taker_buy_quote_sum`` as well.
    """

    symbol: str
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
    """The figures of a window; None where nothing traded in it.

    Raises:
        KeyError: an unknown symbol.
    """
    trades = tape.between(symbol, from_ms, to_ms)
    ids, times = trades.ids.tolist(), trades.times.tolist()
    if not ids:
        return None
    prices, quantities = trades.prices.tolist(), trades.quantities.tolist()
    pairs = list(zip(prices, quantities, strict=True))
    bought = [pair for pair, maker in zip(pairs, trades.makers.tolist(), strict=True) if not maker]
    return Truth(
        symbol=symbol,
        open=prices[0],
        high=max(prices),
        low=min(prices),
        close=prices[-1],
        count=len(ids),
        trade_count=sum(
            last - first + 1 for first, last in zip(trades.firsts.tolist(), trades.lasts.tolist(), strict=True)
        ),
        first_id=ids[0],
        last_id=ids[-1],
        first_ms=times[0],
        last_ms=times[-1],
        price_sum=sum(prices),
        quantity_sum=sum(quantities),
        quote_sum=sum(price * quantity for price, quantity in pairs),
        taker_buy_quantity_sum=sum(quantity for _, quantity in bought),
        taker_buy_quote_sum=sum(price * quantity for price, quantity in bought),
    )
