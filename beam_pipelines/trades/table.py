"""The row of a window, computed from integers: sums are exact, and made a float once, correctly rounded."""

from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from operator import mul
from typing import Any

import numpy as np

from beam_pipelines.trades.lines import SCALE, Mark, open_marks, unpack
from coinbeam.clock import format_instant

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(milliseconds: int) -> str:
    """ISO 8601 of milliseconds since 1970, exact."""
    return format_instant(_EPOCH + timedelta(milliseconds=milliseconds))


def window_row(symbol: str, start: int, table: Any, marks: Iterable[Mark]) -> dict[str, Any]:
    """The columns of ``trade_window_fact`` that follow from the trades or polled prices of a window, ready for JSON.

    Python divides two integers to the nearest float (``int.__truediv__``), so that no figure depends on the order of
    the trades.

    Args:
        start: begin of the window in milliseconds.
        table: its trades, at least one, by id and each id once; see ``COLUMNS``.
        marks: those that touch it.
    """
    ids, prices, quantities = table[:, :3].T.tolist()
    counts, offsets, makers = unpack(table[:, 3])
    known = frozenset(marks)
    quotes = list(map(mul, prices, quantities))
    base, quote = sum(quantities), sum(quotes)
    figures = _of_trades(prices, base, quote) if base else _of_points(table[:, 1])
    taken = np.flatnonzero(makers == 0).tolist()
    missing, still_open = ids[-1] - ids[0] + 1 - len(ids), open_marks(known, ids)
    return {
        "symbol": symbol,
        "window_start": instant(start),
        "window_date": instant(start)[:10],
        **figures,
        "base_volume": base / SCALE,
        "quote_volume": quote / SCALE**2,
        "taker_buy_base_volume": sum(quantities[number] for number in taken) / SCALE,
        "taker_buy_quote_volume": sum(quotes[number] for number in taken) / SCALE**2,
        "agg_trade_count": len(ids),
        "trade_count": int(counts.sum()),
        "first_agg_trade_id": ids[0],
        "last_agg_trade_id": ids[-1],
        "first_trade_at": instant(start + int(offsets.min())),
        "last_trade_at": instant(start + int(offsets.max())),
        "missing_trade_count": missing,
        "open_mark_count": still_open,
        "mark_count": len(known),
        "is_complete": missing == 0 and still_open == 0,
    }


def _of_trades(prices: list[int], base: int, quote: int) -> dict[str, float | None]:
    return {
        "open_price": prices[0] / SCALE,
        "high_price": max(prices) / SCALE,
        "low_price": min(prices) / SCALE,
        "close_price": prices[-1] / SCALE,
        "average_price": sum(prices) / (len(prices) * SCALE),
        "volume_weighted_average_price": quote / (base * SCALE),
    }


def _of_points(bits: Any) -> dict[str, float | None]:
    """Of polled prices, as they were polled: nobody knows a volume to weight them by."""
    prices = bits.copy().view(np.float64).tolist()
    return {
        "open_price": prices[0],
        "high_price": max(prices),
        "low_price": min(prices),
        "close_price": prices[-1],
        "average_price": float(sum(map(Fraction, prices), Fraction()) / len(prices)),
        "volume_weighted_average_price": None,
    }
