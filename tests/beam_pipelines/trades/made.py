"""Trades made for tests, and the figures of a window computed without the pipeline's code."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from typing import Any

import orjson

from beam_pipelines.trades.windows import Run

START = 1_764_000_000_000
"""Begin of a window, 2025-11-24T16:00:00Z."""

MINUTE = 60_000
SYMBOL = "BTCUSDT"
NOW = datetime(2025, 11, 24, 16, 30, tzinfo=UTC)

RUN = Run("run", "binance_simulator", "run", lambda: NOW, frozenset({SYMBOL, "ETHUSDT"}))


@dataclass(frozen=True)
class Trade:
    """An aggregate trade: prices and quantities in 1e-8, ``at`` in milliseconds after ``START``."""

    id: int
    price: int
    quantity: int
    at: int
    singles: int = 1
    is_buyer_maker: bool = False
    symbol: str = SYMBOL

    def line(self, **changes: Any) -> bytes:
        """As Binance sends it."""
        row = {
            "e": "aggTrade",
            "E": START + self.at + 3,
            "s": self.symbol,
            "a": self.id,
            "p": decimal(self.price),
            "q": decimal(self.quantity),
            "f": 2 * self.id,
            "l": 2 * self.id + self.singles - 1,
            "T": START + self.at,
            "m": self.is_buyer_maker,
            "M": True,
        }
        return orjson.dumps({name: value for name, value in (row | changes).items() if value is not ...})


def decimal(units: int) -> str:
    """Units of 1e-8 as the text of a decimal."""
    return f"{units // 10**8}.{units % 10**8:08d}"


def lines(trades: Iterable[Trade]) -> bytes:
    """Lines of NDJSON."""
    return b"".join(trade.line() + b"\n" for trade in trades)


def figures(trades: Iterable[Trade], *, open_marks: int = 0, marks: int = 0) -> dict[str, Any]:
    """The row of one window by fractions, whatever order the trades come in and how often."""
    known = sorted(set(trades), key=lambda trade: trade.id)
    first, last = known[0], known[-1]
    begin = START + first.at - first.at % MINUTE
    base = sum(Fraction(trade.quantity, 10**8) for trade in known)
    value = {trade: Fraction(trade.price * trade.quantity, 10**16) for trade in known}
    taken = [trade for trade in known if not trade.is_buyer_maker]
    missing = last.id - first.id + 1 - len(known)
    return {
        "symbol": first.symbol,
        "window_start": text(begin),
        "window_date": text(begin)[:10],
        "open_price": float(Fraction(first.price, 10**8)),
        "high_price": float(max(Fraction(trade.price, 10**8) for trade in known)),
        "low_price": float(min(Fraction(trade.price, 10**8) for trade in known)),
        "close_price": float(Fraction(last.price, 10**8)),
        "average_price": float(sum(Fraction(trade.price, 10**8) for trade in known) / len(known)),
        "volume_weighted_average_price": float(sum(value.values()) / base),
        "base_volume": float(base),
        "quote_volume": float(sum(value.values())),
        "taker_buy_base_volume": float(sum((Fraction(trade.quantity, 10**8) for trade in taken), Fraction())),
        "taker_buy_quote_volume": float(sum((value[trade] for trade in taken), Fraction())),
        "agg_trade_count": len(known),
        "trade_count": sum(trade.singles for trade in known),
        "first_agg_trade_id": first.id,
        "last_agg_trade_id": last.id,
        "first_trade_at": text(START + min(trade.at for trade in known)),
        "last_trade_at": text(START + max(trade.at for trade in known)),
        "missing_trade_count": missing,
        "open_mark_count": open_marks,
        "mark_count": marks,
        "is_complete": not missing and not open_marks,
    }


def text(milliseconds: int) -> str:
    """ISO 8601 with a Z."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=milliseconds)
    return moment.isoformat().replace("+00:00", "Z")
