"""Pages for the benchmark: a made-up market in the exact shape of ``/coins/markets``, the same for the same number of
pages.

Every type is right, so that strict SQL can read the pages too; values break rules now and then: no price, a negative
price, a null id, an observation from the future, an asset on two pages.
"""

import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import orjson

from coinbeam.batch.manifest import BatchManifest

ROWS_PER_PAGE = 250
PAGES_PER_SNAPSHOT = 72
POINTS = 168
FIRST_SNAPSHOT = datetime(2026, 1, 1, tzinfo=UTC)

_UNPRICED_EVERY, _NEGATIVE_EVERY, _NULL_ID_EVERY, _FUTURE_EVERY, _REPEATED_EVERY = 211, 5_003, 7_001, 9_001, 1_009
_COMPLETE = "COMPLETE"


@dataclass(frozen=True)
class Snapshot:
    """One day of pages: its batch and its files."""

    batch: BatchManifest
    files: tuple[str, ...]


def snapshots(folder: Path, pages: int) -> list[Snapshot]:
    """The snapshots of so many pages, written below the folder unless they are there already."""
    root = folder / f"pages-{pages}"
    days = [min(PAGES_PER_SNAPSHOT, pages - start) for start in range(0, pages, PAGES_PER_SNAPSHOT)]
    if not (root / _COMPLETE).exists():
        for day, count in enumerate(days):
            _write_day(root, day, count)
        (root / _COMPLETE).touch()
    return [
        Snapshot(_batch(day), tuple(str(path) for path in _files(root, day, count))) for day, count in enumerate(days)
    ]


def landed_at(day: int) -> datetime:
    """When the pages of a day were landed: the modification time of their files."""
    return FIRST_SNAPSHOT + timedelta(days=day, minutes=5)


def _batch(day: int) -> BatchManifest:
    snapshot_at = FIRST_SNAPSHOT + timedelta(days=day)
    return BatchManifest(
        f"{snapshot_at:%Y%m%dT%H%MZ}-usd-all",
        "markets",
        "coingecko_simulator",
        snapshot_at,
        "usd",
        ROWS_PER_PAGE,
        "all",
    )


def _files(root: Path, day: int, count: int) -> list[Path]:
    return [root / f"day-{day:03d}" / f"page-{number:05d}.json" for number in range(1, count + 1)]


def _write_day(root: Path, day: int, count: int) -> None:
    seconds = landed_at(day).timestamp()
    for number, path in enumerate(_files(root, day, count)):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(orjson.dumps(list(_rows(day, number)), option=orjson.OPT_SERIALIZE_NUMPY))
        os.utime(path, (seconds, seconds))


def _rows(day: int, page: int) -> Iterator[dict[str, Any]]:
    rng = np.random.default_rng((day, page))
    level = 10.0 ** rng.uniform(-8, 5, ROWS_PER_PAGE)
    sparklines = level[:, None] * np.exp(np.cumsum(rng.normal(0, 0.01, (ROWS_PER_PAGE, POINTS)), axis=1))
    draws = rng.random((ROWS_PER_PAGE, 8))
    for row in range(ROWS_PER_PAGE):
        yield _row(day, page * ROWS_PER_PAGE + row, sparklines[row], draws[row].tolist())


def _row(day: int, number: int, sparkline: "np.ndarray[Any, Any]", draws: list[float]) -> dict[str, Any]:
    price, place = float(sparkline[-1]), number + day * 18_000
    supply = round(1e6 + draws[0] * 1e12, 3)
    change = price * (draws[1] - 0.5) / 5
    seen = landed_at(day) - timedelta(seconds=20 + 200 * draws[2])
    asset = number - 1 if place % _REPEATED_EVERY == 0 and number else number
    return {
        "id": None if place % _NULL_ID_EVERY == 0 else f"asset-{asset:05d}-{'wrapped-token'[: asset % 14]}",
        "symbol": f"a{asset % 9973}",
        "name": f"Asset {asset:05d}, the “{asset % 97}th”",
        "image": f"https://coin-images.coingecko.com/coins/images/{number}/large/asset.png?1696501400",
        "current_price": -price if place % _NEGATIVE_EVERY == 0 else None if place % _UNPRICED_EVERY == 0 else price,
        "market_cap": round(price * supply),
        "market_cap_rank": number + 1,
        "fully_diluted_valuation": round(price * supply * 1.1),
        "total_volume": round(price * supply * draws[3] / 10),
        "high_24h": price * (1 + draws[4] / 10),
        "low_24h": price * (1 - draws[4] / 10),
        "price_change_24h": change,
        "price_change_percentage_24h": change / price * 100,
        "market_cap_change_24h": change * supply,
        "market_cap_change_percentage_24h": round(change / price * 100, 5),
        "circulating_supply": supply,
        "total_supply": supply if number % 5 else None,
        "max_supply": supply * 2 if number % 3 == 0 else None,
        "ath": price * (2 + 30 * draws[5]),
        "ath_change_percentage": round(-99 * draws[5], 5),
        "ath_date": _stamp(seen - timedelta(days=900 * draws[6])),
        "atl": price / (2 + 30 * draws[7]),
        "atl_change_percentage": round(9_900 * draws[7], 5),
        "atl_date": _stamp(seen - timedelta(days=1_900 * draws[5])),
        "roi": {"times": draws[3] * 9, "currency": "usd", "percentage": draws[3] * 900} if number % 50 == 0 else None,
        "last_updated": _stamp(seen + timedelta(days=1) if place % _FUTURE_EVERY == 0 else seen),
        "sparkline_in_7d": {"price": sparkline},
        "price_change_percentage_1h_in_currency": draws[0] - 0.5,
        "price_change_percentage_24h_in_currency": change / price * 100,
        "price_change_percentage_7d_in_currency": draws[1] * 20 - 10,
    }


def _stamp(moment: datetime) -> str:
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")
