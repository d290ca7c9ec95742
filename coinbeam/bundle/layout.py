"""Which columns the grids of the bundle hold."""

from collections.abc import Iterable

from coinbeam.contracts import Column, load_contract

MARKET_DAILY = "market_daily"
CHART = ("price", "market_cap", "total_volume", "observed_at")
"""Columns of ``market_daily`` in a grid of charts."""
INDICATORS = (
    "sma_7d",
    "sma_30d",
    "volatility_7d",
    "volatility_30d",
    "realized_volatility_7d",
    "realized_volatility_30d",
    "rsi_14d",
    "drawdown_percentage",
    "price_change_percentage_1d",
    "price_change_percentage_7d",
    "price_change_percentage_30d",
    "market_cap_rank",
    "signal",
    "ma30_signal",
    "combined_signal",
)
"""Its columns in a grid of indicators."""

DAY_KEY = ("asset_id", "quote_currency", "date")
"""Its key."""


def columns_of(names: Iterable[str]) -> list[Column]:
    """Columns of ``market_daily`` by name."""
    return [load_contract(MARKET_DAILY).by_name[name] for name in names]
