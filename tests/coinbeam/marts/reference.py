"""The marts written straight from their definitions: one row at a time, nothing incremental, in decimal arithmetic of
100 digits.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from decimal import Decimal, localcontext
from typing import Any

DIGITS = 100
SCORES = {"Extreme Fear": 1, "Fear": 2, "Neutral": 3, "Greed": 4, "Extreme Greed": 5}
Row = dict[str, Any]
Key = tuple[str, str]


@dataclass(frozen=True)
class Thresholds:
    """The settings that signals depend on."""

    min_volatility: float = 0.0
    min_volatility_percentage: float = 0.0
    fear_below: int = 25
    greed_above: int = 75
    movers: int = 5
    movers_among: int = 250
    dominance_among: int = 100


def market_daily(
    days: Iterable[Mapping[str, Any]],
    sentiment: Mapping[date, tuple[int, str]] | None = None,
    thresholds: Thresholds = Thresholds(),
) -> dict[tuple[str, str, date], Row]:
    """Every row of the mart by key; ``days`` are the observations that stand for the days of all assets."""
    series: dict[Key, dict[date, Mapping[str, Any]]] = {}
    for day in days:
        series.setdefault((day["asset_id"], day["quote_currency"]), {})[day["date"]] = day
    rows = {}
    with localcontext() as context:
        context.prec = DIGITS
        for key, by_date in series.items():
            for row in _asset(by_date, sentiment or {}, thresholds):
                rows[(*key, row["date"])] = row
    _rank(rows)
    return rows


def _rank(rows: dict[tuple[str, str, date], Row]) -> None:
    """The place of each row by market cap in its day and currency, and the one of the day before."""
    by_day: dict[tuple[str, date], list[tuple[Decimal, str]]] = {}
    for (asset, currency, day), row in rows.items():
        if row["market_cap"]:
            by_day.setdefault((currency, day), []).append((-Decimal(row["market_cap"]), asset))
    places = {
        (asset, currency, day): place
        for (currency, day), found in by_day.items()
        for place, (_, asset) in enumerate(sorted(found), start=1)
    }
    for (asset, currency, day), row in rows.items():
        row["market_cap_rank"] = places.get((asset, currency, day))
        row["previous_rank"] = places.get((asset, currency, day - timedelta(1)))


def _asset(
    by_date: Mapping[date, Mapping[str, Any]], sentiment: Mapping[date, tuple[int, str]], limits: Thresholds
) -> list[Row]:
    prices = {day: Decimal(row["price"]) for day, row in by_date.items()}
    returns = {
        day: (price / before).ln() for day, price in prices.items() if (before := prices.get(day - timedelta(1)))
    }
    rows: list[Row] = []
    wilder: tuple[Decimal, Decimal] | None = None
    run: list[Decimal] = []  # changes of the unbroken run that ends today
    for day in sorted(prices):
        price, source = prices[day], by_date[day]
        before = prices.get(day - timedelta(1))
        run = [] if before is None else [*run, price - before]
        wilder = _wilder(wilder, run)
        known = [d for d in prices if d <= day]
        high, low = max(prices[d] for d in known), min(prices[d] for d in known)
        row: Row = {
            "date": day,
            "price": price,
            "consecutive_days": len(run) + 1,
            "tracked_since": min(known),
            "days_tracked": len(known),
            "running_high": high,
            "running_high_date": min(d for d in known if prices[d] == high),
            "running_low": low,
            "running_low_date": min(d for d in known if prices[d] == low),
            "drawdown_percentage": (price / high - 1) * 100,
            "wilder_gain": wilder and wilder[0],
            "wilder_loss": wilder and wilder[1],
            "rsi_14d": wilder and (100 * wilder[0] / sum(wilder) if sum(wilder) else Decimal(50)),
            "running_price_sum": sum(prices[d] for d in known),
            **_sums(by_date, known),
            **_changes(prices, day),
            **_windows(prices, returns, by_date, day),
            **{
                name: source.get(name)
                for name in ("market_cap", "total_volume", "price_source", "source_id", "batch_id")
            },
        }
        row["running_maximum_drawdown_percentage"] = min(
            row["drawdown_percentage"], *(r["drawdown_percentage"] for r in rows), Decimal(0)
        )
        rows.append({**row, **_signals(row, sentiment.get(day), limits)})
    return rows


def _wilder(before: tuple[Decimal, Decimal] | None, run: list[Decimal]) -> tuple[Decimal, Decimal] | None:
    if len(run) < 14:
        return None
    if len(run) == 14:
        return sum(max(x, Decimal(0)) for x in run) / 14, sum(max(-x, Decimal(0)) for x in run) / 14  # type: ignore[return-value]
    assert before is not None
    return (13 * before[0] + max(run[-1], Decimal(0))) / 14, (13 * before[1] + max(-run[-1], Decimal(0))) / 14


def _sums(by_date: Mapping[date, Mapping[str, Any]], known: list[date]) -> Row:
    caps = [Decimal(cap) for d in known if (cap := by_date[d].get("market_cap"))]
    volumes = [Decimal(volume) for d in known if (volume := by_date[d].get("total_volume")) is not None]
    return {
        "running_market_cap_sum": sum(caps, Decimal(0)),
        "market_cap_days": len(caps),
        "running_volume_sum": sum(volumes, Decimal(0)),
        "volume_days": len(volumes),
    }


def _changes(prices: Mapping[date, Decimal], day: date) -> Row:
    earlier = {n: prices.get(day - timedelta(n)) for n in (1, 7, 30)}
    return {
        f"price_change_percentage_{n}d": None if old is None else (prices[day] / old - 1) * 100
        for n, old in earlier.items()
    }


def _windows(
    prices: Mapping[date, Decimal],
    returns: Mapping[date, Decimal],
    by_date: Mapping[date, Mapping[str, Any]],
    day: date,
) -> Row:
    row: Row = {}
    for n in (7, 30):
        span = [day - timedelta(k) for k in range(n)]
        full = [prices[d] for d in span] if all(d in prices for d in span) else None
        logs = [returns[d] for d in span] if all(d in returns for d in span) else None
        row[f"sma_{n}d"] = full and _mean(full)
        row[f"price_deviation_{n}d"] = row[f"volatility_{n}d"] = full and _deviation(full)
        row[f"realized_volatility_{n}d"] = logs and _deviation(logs) * Decimal(365).sqrt()
        row[f"largest_return_{n}d"] = logs and max(abs(x) for x in logs)
    volumes = [by_date.get(day - timedelta(k), {}).get("total_volume") for k in range(7)]
    row["average_volume_7d"] = None if None in volumes else _mean([Decimal(v) for v in volumes])
    return row


def _mean(values: list[Decimal]) -> Decimal:
    if len(set(values)) == 1:
        return values[0]  # which has more digits than any precision keeps
    return sum(values, Decimal(0)) / len(values)


def _deviation(values: list[Decimal]) -> Decimal:
    if len(set(values)) == 1:
        return Decimal(0)
    mean = _mean(values)
    return (sum(((x - mean) ** 2 for x in values), Decimal(0)) / (len(values) - 1)).sqrt()


def _signals(row: Row, index: tuple[int, str] | None, limits: Thresholds) -> Row:
    price, sma_7d, sma_30d = row["price"], row["sma_7d"], row["sma_30d"]
    signal = "WAIT"
    if sma_7d is not None and price < sma_7d:
        volatility = row["volatility_7d"]
        share = 100 * volatility / sma_7d
        if volatility > Decimal(limits.min_volatility) and share > Decimal(limits.min_volatility_percentage):
            signal = "BUY"
    elif sma_7d is not None and price > sma_7d:
        signal = "SELL"
    ma30 = None if sma_30d is None else "ABOVE" if price > sma_30d else "BELOW" if price < sma_30d else "AT"
    value, classification = index or (None, None)
    combined = "HOLD"
    if value is not None and ma30 == "BELOW" and value < limits.fear_below:
        combined = "POTENTIAL_BUY"
    if value is not None and ma30 == "ABOVE" and value > limits.greed_above:
        combined = "POTENTIAL_SELL"
    return {
        "signal": signal,
        "ma30_signal": ma30,
        "fear_greed_value": value,
        "fear_greed_classification": classification,
        "sentiment_score": SCORES.get(classification or ""),
        "combined_signal": combined,
    }


def asset_stats(daily: Mapping[tuple[str, str, date], Row]) -> dict[Key, Row]:
    """One row for each asset and quote currency, from all its days."""
    series: dict[Key, list[Row]] = {}
    for (asset, quote, _), row in daily.items():
        series.setdefault((asset, quote), []).append(row)
    return {key: _stats(sorted(rows, key=lambda r: r["date"])) for key, rows in series.items()}


def _stats(rows: list[Row]) -> Row:
    prices = [row["price"] for row in rows]
    caps = [Decimal(row["market_cap"]) for row in rows if row["market_cap"]]
    volumes = [Decimal(row["total_volume"]) for row in rows if row["total_volume"] is not None]
    first, last = rows[0]["date"], rows[-1]["date"]
    every_day = {first + timedelta(n) for n in range((last - first).days + 1)}
    with localcontext() as context:
        context.prec = DIGITS
        return {
            "first_date": first,
            "last_date": last,
            "days_tracked": len(rows),
            "days_missing": len(every_day - {row["date"] for row in rows}),
            "ath": max(prices),
            "ath_day": next(row["date"] for row in rows if row["price"] == max(prices)),
            "atl": min(prices),
            "atl_day": next(row["date"] for row in rows if row["price"] == min(prices)),
            "average_price": _mean(prices),
            "average_market_cap": _mean(caps) if caps else None,
            "average_volume": _mean(volumes) if volumes else None,
            "range_percentage": (max(prices) / min(prices) - 1) * 100,
            "maximum_drawdown_percentage": min((p / max(prices[: i + 1]) - 1) * 100 for i, p in enumerate(prices)),
            "last_price": prices[-1],
        }


def market_overview(
    daily: Mapping[tuple[str, str, date], Row], limits: Thresholds = Thresholds()
) -> dict[tuple[date, str], Row]:
    """One row for each day and quote currency, from all assets of the day."""
    days: dict[tuple[date, str], dict[str, Row]] = {}
    for (asset, quote, day), row in daily.items():
        days.setdefault((day, quote), {})[asset] = row
    return {key: _overview(assets, limits) for key, assets in days.items()}


def _overview(assets: Mapping[str, Row], limits: Thresholds) -> Row:
    caps = [Decimal(row["market_cap"]) for row in assets.values() if row["market_cap"] is not None]
    volumes = [Decimal(row["total_volume"]) for row in assets.values() if row["total_volume"] is not None]
    total = sum(caps, Decimal(0)) if caps else None
    changes = {
        asset: row["price_change_percentage_1d"]
        for asset, row in assets.items()
        if row["price_change_percentage_1d"] is not None
    }
    full = [row for row in assets.values() if row["sma_30d"] is not None]
    large = sorted(assets, key=lambda a: (assets[a]["market_cap"] is None, -(assets[a]["market_cap"] or 0), a))[
        : limits.movers_among
    ]
    moved = {asset: changes[asset] for asset in large if asset in changes}
    share = {name: assets[name]["market_cap"] if name in assets else None for name in ("bitcoin", "ethereum")}
    some = next(iter(assets.values()))
    is_market = sum(cap > 0 for cap in caps) >= limits.dominance_among
    return {
        "assets": len(assets),
        "total_market_cap": total,
        "total_volume": sum(volumes, Decimal(0)) if volumes else None,
        **{
            f"{name}_dominance_percentage": 100 * Decimal(cap) / total if cap and total and is_market else None
            for name, cap in share.items()
        },
        "advancers": sum(change > 0 for change in changes.values()),
        "decliners": sum(change < 0 for change in changes.values()),
        "unchanged": sum(change == 0 for change in changes.values()),
        "above_sma_30d_percentage": Decimal(100 * sum(r["ma30_signal"] == "ABOVE" for r in full)) / len(full)
        if full
        else None,
        "covered_assets": sum(cap > 0 for cap in caps),
        "wrapped_market_cap": sum(
            (Decimal(row["market_cap"] or 0) for asset, row in assets.items() if "wrapped" in asset), Decimal(0)
        ),
        "is_backfilled": all(row["price_source"] == "history" for row in assets.values()),
        "gainers": sorted((a for a in moved if moved[a] > 0), key=lambda a: (-moved[a], a))[: limits.movers],
        "losers": sorted((a for a in moved if moved[a] < 0), key=lambda a: (moved[a], a))[: limits.movers],
        "fear_greed_value": some["fear_greed_value"],
        "fear_greed_classification": some["fear_greed_classification"],
    }
