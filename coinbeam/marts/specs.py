"""The marts that are tables, one row each.

A mart is a folder of its name below ``sql/crypto_marts``: its contract, the scripts that bring it in step with the
facts, and ``report.sql``, which counts what a refresh left in it.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Scope(StrEnum):
    """What a refresh hands to a script, and how often it runs; a script whose scope is empty does not run.

    Attributes:
        RENAMED: nothing, once, when an asset has another name than its rows say.
        TOUCHED: the touched assets, once: ``first_date``, ``last_date``, ``look_back_from``, and the days around
            them, ``day_before`` and ``day_after``.
        SLICES: the same, slice by slice of their dates.
        LATEST: the dates that hold the newest prices, ``first_latest`` to ``last_latest``, and the ``lost``.
        SENTIMENT: each range of dates of the index.
        TRADES: each range of dates of windows of trades, and the day after it that its last hour reaches.
        DAYS: the days that prices or the index may have changed, ``first_date`` to ``last_date``.
    """

    RENAMED = "renamed"
    TOUCHED = "touched"
    SLICES = "slices"
    LATEST = "latest"
    SENTIMENT = "sentiment"
    TRADES = "trades"
    DAYS = "days"


@dataclass(frozen=True)
class MartSpec:
    """A mart by the name of its table: the scope of each script, in the order in which they run, and of its report."""

    name: str
    scripts: Mapping[str, Scope]
    reported: Scope


MARTS = (
    MartSpec(
        "market_daily",
        {
            "names.sql": Scope.RENAMED,
            "refresh.sql": Scope.SLICES,
            "ranks.sql": Scope.TOUCHED,
            "sentiment.sql": Scope.SENTIMENT,
        },
        Scope.TOUCHED,
    ),
    MartSpec("asset_stats", {"refresh.sql": Scope.TOUCHED}, Scope.TOUCHED),
    MartSpec("latest_prices", {"refresh.sql": Scope.LATEST}, Scope.LATEST),
    MartSpec("market_overview", {"refresh.sql": Scope.DAYS}, Scope.DAYS),
    MartSpec("intraday_moving_average", {"refresh.sql": Scope.TRADES}, Scope.TRADES),
    MartSpec("trade_daily", {"refresh.sql": Scope.TRADES}, Scope.TRADES),
)
"""In the order in which a refresh makes them: a mart may read those before it."""
