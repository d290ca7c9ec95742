"""Landed trades for the benchmark: a made-up venue in the exact lines of Binance, the same for the same number of trades.

As in landed messages, the trades of one second and symbol lie together, ids are consecutive, and several trades share a
millisecond.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from coinbeam.sources.aggregate_trade import TRADE

SYMBOLS = ("BTCUSDT", "ETHUSDT", "SOLUSDT", "XRPUSDT", "DOGEUSDT")
FIRST_MS = 1_767_225_600_000
"""Time of the first trade, 2026-01-01T00:00:00Z: the begin of a window."""

A_SECOND = 70
"""Trades of all symbols in a second."""

SHARES = (0.4, 0.25, 0.15, 0.12, 0.08)
"""Of the trades; then prices, and their decimals."""

LEVELS = (87_000.0, 2_900.0, 125.0, 1.9, 0.12)
DECIMALS = (2, 2, 2, 4, 5)
_FIRST_ID = 3_700_000_000


def landed(folder: Path, trades: int) -> Path:
    """The file of so many trades, written below the folder unless it is there already."""
    path = folder / f"trades-{trades}.ndjson"
    if not path.exists():
        folder.mkdir(parents=True, exist_ok=True)
        unfinished = path.with_suffix(".part")
        with unfinished.open("wb") as file:
            file.writelines(_lines(trades))
        unfinished.rename(path)
    return path


def line(
    symbol: str, number: int, time: int, price: float, quantity: float, first: int, last: int, maker: bool
) -> bytes:
    """One aggregate trade as Binance writes it.

    Args:
        number: its id; ``first`` and ``last`` those of its single trades.
        time: milliseconds since 1970.
        maker: whether the buyer was the maker.
    """
    return (
        f'{{"e":"{TRADE}","E":{time + 4},"s":"{symbol}","a":{number},"p":"{price:.8f}","q":"{quantity:.8f}",'
        f'"f":{first},"l":{last},"T":{time},"m":{"true" if maker else "false"},"M":true}}'
    ).encode()


def _lines(trades: int) -> Iterator[bytes]:
    """The lines of each symbol in turn for each second."""
    counts = [int(trades * share) for share in SHARES[1:]]
    made = [_of_symbol(number, count, trades) for number, count in enumerate([trades - sum(counts), *counts])]
    seconds = -(-trades // A_SECOND)
    cuts = [np.searchsorted(times, FIRST_MS + 1_000 * np.arange(seconds + 1)).tolist() for times, _ in made]
    for second in range(seconds):
        for cut, (_, lines) in zip(cuts, made, strict=True):
            yield from lines[cut[second] : cut[second + 1]]


def _of_symbol(number: int, count: int, trades: int) -> tuple["np.ndarray[Any, Any]", list[bytes]]:
    """Times and lines of the trades of one symbol, in the order of their ids."""
    rng = np.random.default_rng((number, trades))
    times = np.sort(rng.integers(FIRST_MS, FIRST_MS + trades * 1_000 // A_SECOND, count))
    prices = np.round(LEVELS[number] * np.exp(np.cumsum(rng.normal(0, 2e-5, count))), DECIMALS[number])
    quantities = np.round(rng.lognormal(0, 1.5, count) * 500 / LEVELS[number], 5) + 0.00001
    singles = rng.geometric(0.6, count)
    last = _FIRST_ID + np.cumsum(singles)
    columns = (times, prices, quantities, last - singles, last - 1, rng.random(count) < 0.5)
    symbol, first_id = SYMBOLS[number], _FIRST_ID // 2 + number * 1_000_003
    lines = [
        line(symbol, first_id + place, *values) + b"\n"
        for place, values in enumerate(zip(*(column.tolist() for column in columns), strict=True))
    ]
    return times, lines
