"""Panes of windows, as the pipeline writes them."""

from datetime import UTC, datetime, timedelta
from typing import Any

FIRST = datetime(2026, 1, 2, 23, 58, tzinfo=UTC)
"""Begin of the window number 0: the third one is on the next day."""


def pane(number: int = 0, trades: int = 10, symbol: str = "BTCUSDT", **changes: Any) -> dict[str, Any]:
    """The pane of a window that knows so many trades; the next window begins with the id after its last one."""
    start = FIRST + timedelta(minutes=number)
    first = 1_000 + 10 * number
    price = 100.0 + number
    return {
        "symbol": symbol,
        "window_start": start.isoformat(),
        "window_date": f"{start:%Y-%m-%d}",
        "open_price": price,
        "high_price": price + 2,
        "low_price": price - 2,
        "close_price": price + 1,
        "average_price": price,
        "volume_weighted_average_price": price,
        "base_volume": 2.0 * trades,
        "quote_volume": 2.0 * trades * price,
        "taker_buy_base_volume": 1.0 * trades,
        "taker_buy_quote_volume": 1.0 * trades * price,
        "agg_trade_count": trades,
        "trade_count": 2 * trades,
        "first_agg_trade_id": first,
        "last_agg_trade_id": first + 9,
        "first_trade_at": start.isoformat(),
        "last_trade_at": (start + timedelta(seconds=59)).isoformat(),
        "missing_trade_count": 10 - trades,
        "open_mark_count": 0,
        "mark_count": 0,
        "is_complete": trades == 10,
        "pane_index": 0,
        "timing": "on_time",
        "run_id": "stream",
        "source_id": "binance_simulator",
        "written_at": (start + timedelta(seconds=61)).isoformat(),
        **changes,
    }


def polled(number: int = 0, prices: int = 3, symbol: str = "bitcoin:usd", **changes: Any) -> dict[str, Any]:
    """The pane of a window in which so many prices were polled."""
    nothing = dict.fromkeys(
        ("base_volume", "quote_volume", "taker_buy_base_volume", "taker_buy_quote_volume"),
        0.0,
    )
    first = int((FIRST + timedelta(minutes=number)).timestamp() * 1_000)
    known = {
        "volume_weighted_average_price": None,
        "trade_count": prices,
        "first_agg_trade_id": first,
        "last_agg_trade_id": first + 59_000,
        "missing_trade_count": 0,
        "open_mark_count": 1,
        "mark_count": 1,
        "is_complete": False,
        "source_id": "coingecko_simulator",
    }
    return pane(number, prices, symbol, **nothing, **known) | changes
