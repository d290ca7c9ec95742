"""Which coins of the market are traded against USDT, and in which steps of price and quantity."""

import math
import re
from dataclasses import dataclass

import numpy as np

from local.simulator.catalogue import Catalogue
from local.simulator.noise import text_hash

QUOTE = "USDT"

UNIT = 10**8
"""Prices and quantities are whole numbers of 1e-8."""

_TOP = 300
"""Slots of the catalogue that are looked at: the largest coins."""

_TICKER = re.compile(r"[A-Z0-9]{2,16}")
_LOWEST_PRICE, _HIGHEST_PRICE = 2e-6, 2e5
"""Dollars between which a price, however it moves, is written well with eight decimals."""

_ID_SPREAD = 1_000_000


@dataclass(frozen=True)
class Listing:
    """One pair.

    Attributes:
        symbol: as Binance writes it, ``BTCUSDT``.
        base: what is traded, ``BTC``.
        slot: of the coin in the catalogue.
        tick: step of the price, in units of 1e-8.
        step: step of the quantity, in units of 1e-8.
        first_id: of its aggregate trades; no two symbols have the same ids at the same time.
    """

    symbol: str
    base: str
    slot: int
    tick: int
    step: int
    first_id: int


def list_pairs(catalogue: Catalogue) -> dict[str, Listing]:
    """The pairs by symbol: large ordinary coins with a price and a ticker of their own, without USDT itself."""
    prices = catalogue.number("base_price")[:_TOP]
    silent = (catalogue.flag("unpriced") | catalogue.flag("bare"))[:_TOP]
    pairs: dict[str, Listing] = {}
    for slot in np.flatnonzero(~silent & (prices > _LOWEST_PRICE) & (prices < _HIGHEST_PRICE)).tolist():
        base = catalogue.symbols[slot].upper()
        symbol = f"{base}{QUOTE}"
        if slot in catalogue.quirks or base == QUOTE or symbol in pairs or not _TICKER.fullmatch(base):
            continue
        tick, step = _steps(float(prices[slot]))
        first = 1 + text_hash(catalogue.seed, "first_id", symbol) % _ID_SPREAD
        pairs[symbol] = Listing(symbol, base, slot, tick, step, first)
    return pairs


def _steps(price: float) -> tuple[int, int]:
    """Steps of price and quantity: those of Binance for the known coins, or near them."""
    magnitude = math.floor(math.log10(price))
    return 10 ** (8 + min(-2, max(-8, magnitude - 5))), 10 ** (8 + min(0, max(-8, -magnitude - 1)))
