"""What an aggregate trade of Binance must hold, so that the publisher and the pipeline judge it alike.

The publisher asks before it counts a trade as received. A trade that only the pipeline refused would be missing
without a mark, and the window at whose edge it lies would look complete.
"""

import re
from collections.abc import Mapping
from datetime import timedelta
from typing import Any

TRADE = "aggTrade"
"""Value of ``e``, the kind of an event."""

AHEAD = timedelta(seconds=60)
"""How far the pipeline lets a trade be ahead of its clock: two machines never agree."""

MOST_SINGLES = 1_000_000_000
"""Single trades of an aggregate one; more is no number of trades."""

LARGEST_INTEGER = 2**63 - 1

LARGEST_ID = 2**62 - 1
"""Ids are counted on and subtracted from each other, in 64 bits."""

PLACES = 8
"""Of prices and quantities, the smallest step of Binance's ``tickSize`` and ``stepSize``: they are integers of 1e-8."""

_AMOUNT = re.compile(r"(?=[0.]*[1-9])[0-9]{1,10}(?:\.[0-9]{1,8})?")
_LARGE_AMOUNT = re.compile(r"[0-9]{11}(?:\.[0-9]{1,8})?")
"""One of which only some fit into 64 bits."""


def wrong_field(trade: Mapping[str, Any]) -> str | None:
    """The first of price, quantity, single trades and side for which a trade is refused, None when there is none.

    Stricter than the pipeline, which also reads ``1e-8``. Symbol, id and time are not judged here.
    """
    for name in ("p", "q"):
        amount = trade.get(name)
        if type(amount) is not str or not (_AMOUNT.fullmatch(amount) or _is_large(amount)):
            return name
    first, last = trade.get("f"), trade.get("l")
    if type(first) is not int or not 0 <= first <= LARGEST_INTEGER:
        return "f"
    if type(last) is not int or not 0 <= last - first < MOST_SINGLES or last > LARGEST_INTEGER:
        return "l"
    return None if type(trade.get("m")) is bool else "m"


def _is_large(amount: str) -> bool:
    whole, _, part = amount.partition(".")
    return bool(_LARGE_AMOUNT.fullmatch(amount)) and 0 < int(whole + part.ljust(PLACES, "0")) <= LARGEST_INTEGER
