"""Every figure of the marts against computations that share nothing with their SQL."""

import csv
import json
import math
import random
from collections.abc import Iterator, Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pytest

from coinbeam.batch.tables import DAILY_FACT, FEAR_GREED_FACT
from coinbeam.contracts import load_contract
from coinbeam.settings import ROOT, SignalSettings
from tests.coinbeam.marts import reference
from tests.coinbeam.marts.conftest import START, Bench, assert_close, day_row, index_row
from tests.coinbeam.marts.reference import Thresholds

CAPTURES = ROOT.parent / "shared" / "captures" / "daily"
DAYS = 75
ULPS = 2.0**-52  # a log return carries an error of about one of these, however small the spread of the returns

pytestmark = pytest.mark.cloud


def walk(seed: int, start: float, spread: float, days: int = DAYS) -> Iterator[float]:
    """A random walk of positive prices."""
    source, price = random.Random(seed), start
    for _ in range(days):
        yield price
        price *= math.exp(source.gauss(0, spread))


def series() -> dict[str, list[float | None]]:
    """Prices by asset, None on days without a row: ordinary, constant, tiny, huge, jumping, broken off and sparse
    ones.
    """
    gaps = random.Random(7)
    made: dict[str, list[float | None]] = {
        "bitcoin": list(walk(1, 60_000.0, 0.03)),
        "ethereum": [None if gaps.random() < 0.05 else price for price in walk(2, 3_000.0, 0.04)],
        "constant": [0.1] * DAYS,
        "constant-with-gaps": [None if n in (20, 21, 44) else 1 / 3 for n in range(DAYS)],
        "tiny": list(walk(3, 1e-12, 0.05)),
        "huge": list(walk(4, 3e14, 0.05)),
        "stablecoin": [1.0 + 1e-9 * gaps.random() for _ in range(DAYS)],
        "rising": [1.01**n for n in range(DAYS)],
        "falling": [0.5**n for n in range(DAYS)],
        "jump": [1e-9 if n < 40 else 1e9 for n in range(DAYS)],
        "spike": [1e6 if n == 50 else 1.0 + n / 1e6 for n in range(DAYS)],
        "newborn": [None] * (DAYS - 1) + [2.0],
        "dead": [5.0 + n % 3 for n in range(16)] + [None] * (DAYS - 16),
        "every-other-day": [float(n + 1) if n % 2 else None for n in range(DAYS)],
        "wrapped-bitcoin": list(walk(21, 60_100.0, 0.03)),
        "returned": [3.0 + n % 5 if n < 17 or n > 58 else None for n in range(DAYS)],
    }
    for number in range(6):
        made[f"random-{number}"] = [
            None if gaps.random() < 0.02 else price for price in walk(10 + number, 10.0 ** (number - 3), 0.1)
        ]
    return made


def observations(batch: str = "history") -> list[dict[str, Any]]:
    """The series as rows of the daily fact; some without cap or volume, some with a cap of 0."""
    source = random.Random(11)
    rows = []
    for asset, prices in series().items():
        for n, price in enumerate(prices):
            if price is not None:
                cap = source.choice([None, 0.0] + [price * source.uniform(1e6, 2e6)] * 8)
                volume = None if source.random() < 0.01 else price * source.uniform(1e3, 2e3)
                rows.append(day_row(asset, START + timedelta(n), price, batch, market_cap=cap, total_volume=volume))
    return rows


def index() -> dict[date, dict[str, Any]]:
    """A Fear & Greed index that visits every band and its bounds, with days without a value."""
    values = [0, 24, 25, 26, 46, 47, 54, 55, 75, 76, 100]
    return {
        START + timedelta(n): index_row(START + timedelta(n), values[(n * 7) % len(values)])
        for n in range(DAYS)
        if n % 13
    }


def day_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """A row of the fact as the reference reads it."""
    return {**row, "date": date.fromisoformat(row["date"]), "price_source": "history"}


@pytest.fixture(scope="module")
def thresholds() -> Thresholds:
    """Those of the settings, but for a market so small that some days cover it and others do not."""
    return Thresholds(dominance_among=len(series()) * 4 // 5)


def assert_matches(found: Mapping[Any, Mapping[str, Any]], expected: Mapping[Any, Mapping[str, Any]]) -> None:
    """Rows agree in every column that the reference knows."""
    assert set(found) == set(expected)
    for key, row in expected.items():
        for name in set(row) & set(found[key]):
            window = name.rpartition("_")[2]
            scale = ULPS * 20 * float(row[f"largest_return_{window}"] or 0) * 4 if name.startswith("realized") else 0.0
            assert_close(found[key][name], row[name], f"{key} {name}", scale)


def test_every_figure_agrees_with_the_definitions(bench: Bench, thresholds: Thresholds) -> None:
    rows = observations()
    signals = SignalSettings(dominance_among=thresholds.dominance_among)
    bench.warehouse.settings = bench.warehouse.settings.model_copy(update={"signals": signals})
    bench.put(DAILY_FACT, "history", rows)
    bench.put(FEAR_GREED_FACT, "index", list(index().values()))
    report = bench.refresh()
    sentiment = {day: (row["value"], row["classification"]) for day, row in index().items()}
    expected = reference.market_daily([day_of(row) for row in rows], sentiment, thresholds)
    found = bench.everything()
    assert_matches(found["market_daily"], expected)
    unchecked = {"asset_id", "quote_currency", "observed_at", "symbol", "name"}
    assert {c.name for c in load_contract("market_daily").columns} - set(next(iter(expected.values()))) == unchecked
    assert_matches(found["asset_stats"], reference.asset_stats(expected))
    assert_overview(found["market_overview"], reference.market_overview(expected, thresholds))
    known = [row["ethereum_dominance_percentage"] is None for row in found["market_overview"].values()]
    assert 0 < sum(known) < len(known), "some days cover the market, others do not"
    assert report.rows["market_daily"] == len(rows)
    assert {row["signal"] for row in found["market_daily"].values()} == {"BUY", "SELL", "WAIT"}
    assert {row["ma30_signal"] for row in found["market_daily"].values()} == {"ABOVE", "AT", "BELOW", None}
    assert {row["combined_signal"] for row in found["market_daily"].values()} == {
        "POTENTIAL_BUY",
        "POTENTIAL_SELL",
        "HOLD",
    }
    assert {row["sentiment_score"] for row in found["market_daily"].values()} == {1, 2, 3, 4, 5, None}
    for row in (row for key, row in found["market_daily"].items() if key[0].startswith("constant")):
        assert {row["volatility_7d"], row["volatility_30d"], row["realized_volatility_7d"]} <= {0.0, None}
        assert {row["sma_7d"], row["sma_30d"]} <= {row["price"], None}
        assert row["rsi_14d"] in {50.0, None}


def assert_overview(found: Mapping[Any, Mapping[str, Any]], expected: Mapping[Any, Mapping[str, Any]]) -> None:
    """As ``assert_matches``; the movers are JSON in the mart."""
    movers = ("gainers", "losers")
    assert_matches(found, {key: {k: v for k, v in row.items() if k not in movers} for key, row in expected.items()})
    for key, row in expected.items():
        for name in movers:
            listed = json.loads(found[key][name] or "[]")
            assert [mover["asset_id"] for mover in listed] == row[name], (key, name)
            assert all(set(mover) == {"asset_id", "price_change_percentage_1d"} for mover in listed)


def exports() -> dict[str, list[tuple[date, datetime, float, float | None, float | None]]]:
    """The real CSV exports of the CoinGecko website; of several points of one day the earliest."""
    found = {}
    for path in sorted(CAPTURES.glob("*-usd-max.csv")):
        days: dict[date, tuple[date, datetime, float, float | None, float | None]] = {}
        with path.open(newline="") as file:
            for line in csv.DictReader(file):
                at = datetime.strptime(line["snapped_at"], "%Y-%m-%d %H:%M:%S UTC").replace(tzinfo=UTC)
                cap, volume = (float(text) if (text := line[name]) else None for name in ("market_cap", "total_volume"))
                if at.date() not in days or at < days[at.date()][1]:
                    days[at.date()] = (at.date(), at, float(line["price"]), cap, volume)
        found[path.name.partition("-")[0]] = [days[day] for day in sorted(days)]
    return found


WINDOWED = ("sma", "volatility", "realized_volatility", "price_change_percentage")
NUMPY_FIGURES = [
    *(f"{name}_{n}d" for n in (7, 30) for name in WINDOWED),
    "running_high",
    "drawdown_percentage",
    "rsi_14d",
]


def numpy_figures(days: list[date], prices: np.ndarray) -> dict[str, np.ndarray]:
    """Some figures of one asset by plain numpy over a calendar with NaN on missing days."""
    first, length = days[0], (days[-1] - days[0]).days + 1
    p = np.full(length, np.nan)
    p[[(day - first).days for day in days]] = prices
    change = np.full(length, np.nan)
    change[1:] = p[1:] - p[:-1]
    log_return = np.full(length, np.nan)
    log_return[1:] = np.log1p((p[1:] - p[:-1]) / p[:-1])
    made = {}
    for n in (7, 30):
        shifted = np.lib.stride_tricks.sliding_window_view(p, n)
        made[f"sma_{n}d"] = _lead(shifted.mean(axis=1), n)
        # numpy subtracts a rounded mean: without the shift seven equal prices have a deviation of 1e-18.
        made[f"volatility_{n}d"] = _lead((shifted - shifted[:, -1:]).std(axis=1, ddof=1), n)
        returns = np.lib.stride_tricks.sliding_window_view(log_return, n)
        made[f"realized_volatility_{n}d"] = _lead((returns - returns[:, -1:]).std(axis=1, ddof=1) * np.sqrt(365), n)
        made[f"price_change_percentage_{n}d"] = _lead((p[n:] - p[:-n]) / p[:-n] * 100, n + 1)
    made["running_high"] = np.fmax.accumulate(p)
    made["drawdown_percentage"] = (p / made["running_high"] - 1) * 100
    made["rsi_14d"] = _rsi(change)
    return {name: values[~np.isnan(p)] for name, values in made.items()}


def _lead(values: np.ndarray, n: int) -> np.ndarray:
    return np.concatenate([np.full(n - 1, np.nan), values])


def _rsi(change: np.ndarray) -> np.ndarray:
    rsi, run, gain, loss = np.full(len(change), np.nan), [], 0.0, 0.0
    for day, x in enumerate(change):
        run = [] if np.isnan(x) else [*run, x]
        if len(run) == 14:
            gain, loss = np.maximum(run, 0).mean(), np.maximum(-np.array(run), 0).mean()
        elif len(run) > 14:
            gain, loss = (13 * gain + max(x, 0)) / 14, (13 * loss + max(-x, 0)) / 14
        if len(run) >= 14:
            rsi[day] = 100 * gain / (gain + loss) if gain + loss else 50.0
    return rsi


@pytest.mark.skipif(not CAPTURES.is_dir(), reason="the captures of real daily histories are not beside this checkout")
def test_the_real_histories_agree_with_numpy(bench: Bench) -> None:
    real = exports()
    assert len(real) == 9
    rows = [
        day_row(asset, day, price, "export", market_cap=cap, total_volume=volume, observed_at=at.isoformat())
        for asset, points in real.items()
        for day, at, price, cap, volume in points
    ]
    bench.put(DAILY_FACT, "export", rows)
    report = bench.refresh()
    assert report.rows["market_daily"] == len(rows)
    found, stats = bench.rows("market_daily", NUMPY_FIGURES), bench.rows("asset_stats")
    for asset, points in real.items():
        days, prices = [point[0] for point in points], np.array([point[2] for point in points])
        figures = numpy_figures(days, prices)
        assert set(figures) == set(NUMPY_FIGURES)
        for name, expected in figures.items():
            values = np.array([found[asset, "usd", day][name] for day in days], dtype=float)
            assert np.array_equal(np.isnan(values), np.isnan(expected)), (asset, name)
            scale = (
                1e-12 if name == "drawdown_percentage" else 0
            )  # numpy's own p / high - 1 loses digits near 0; the SQL does not
            np.testing.assert_allclose(values, expected, rtol=1e-12, atol=scale, err_msg=f"{asset} {name}")
        row = stats[asset, "usd"]
        assert (row["first_date"], row["last_date"], row["days_tracked"]) == (days[0], days[-1], len(days))
        assert (row["ath"], row["atl"]) == (prices.max(), prices.min())
        assert row["average_price"] == pytest.approx(math.fsum(prices) / len(prices), rel=1e-12)
