"""The tickers of CoinPaprika: the same market with ids of its own, symbols in capitals, whole seconds."""

import re

import numpy as np

from local.simulator.market import Snapshot
from local.simulator.rendering import Row

LARGEST = 2_000
"""Assets of the free tier. Source: CoinPaprika's list of plans."""


def ticker_rows(snapshot: Snapshot) -> list[Row]:
    """The body of ``/v1/tickers``: the ranked assets, largest first. Its prices are those of the market."""
    slots = [int(slot) for slot in np.argsort(snapshot.rank, kind="stable") if snapshot.rank[slot] > 0][:LARGEST]
    return [_row(snapshot, slot) for slot in slots]


def _row(snapshot: Snapshot, slot: int) -> Row:
    symbol, name = snapshot.catalogue.symbols[slot], snapshot.identity[1][slot]
    return {
        "id": f"{symbol}-{re.sub('[^a-z0-9]+', '-', name.lower()).strip('-')}".lower(),
        "name": name,
        "symbol": symbol.upper(),
        "rank": int(snapshot.rank[slot]),
        "last_updated": f"{snapshot.last_updated[slot][:19]}Z",
        "quotes": {
            "USD": {
                "price": float(snapshot.price[slot]),
                "volume_24h": float(np.nan_to_num(snapshot.volume[slot])),
                "market_cap": float(snapshot.market_cap[slot]),
            }
        },
    }
