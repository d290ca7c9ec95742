"""A made-up market by the hour, the same whatever stretch of it is asked for: what the growth benchmark feeds to both
contenders.
"""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import numpy as np
import pyarrow as pa

from coinbeam.contracts import load_contract
from coinbeam.contracts.arrow import arrow_schema

START = datetime(2024, 1, 1, tzinfo=UTC)
"""Hour 0."""

_BLOCK = 24
"""Hours whose prices are drawn together; a price depends on its block alone, so that any stretch can be made on its
own.
"""

_SEED = 20_260_101


def instant(hour: int) -> datetime:
    """The instant of an hour."""
    return START + timedelta(hours=hour)


def asset_ids(assets: int) -> list[str]:
    """The ids, bitcoin and ethereum among them."""
    return ["bitcoin", "ethereum", *(f"asset-{number:04d}" for number in range(2, assets))][:assets]


def prices(first: int, last: int, assets: int) -> np.ndarray:
    """Prices of the hours from ``first`` up to, not including, ``last``: one row an hour, one column an asset."""
    blocks = range(first // _BLOCK, -(-last // _BLOCK))
    noise = np.concatenate(
        [np.random.default_rng([_SEED, block]).normal(0, 0.01, (_BLOCK, assets)) for block in blocks]
    )
    hours = np.arange(blocks.start * _BLOCK, blocks.stop * _BLOCK)[:, None]
    number = np.arange(assets)[None, :]
    level = 10.0 ** (4 - number % 13) * np.exp(0.5 * np.sin(hours / 700 + number))
    made: np.ndarray = level * np.exp(noise)
    return made[first - blocks.start * _BLOCK :][: last - first]


def snapshots(first: int, last: int, assets: int, batch: str) -> pa.Table:
    """Rows of ``crypto_market_snapshot_fact`` for a stretch of hours, in the order of its contract; columns without a
    use are null.
    """
    count, made = last - first, prices(first, last, assets).ravel()
    hours = np.repeat(np.arange(first, last), assets)
    at = np.datetime64(START.replace(tzinfo=None), "us") + hours.astype("timedelta64[h]")
    ids = asset_ids(assets)
    values = {
        "asset_id": np.tile(np.array(ids, dtype=object), count),
        "quote_currency": ["usd"] * len(made),
        "snapshot_at": at,
        "snapshot_date": at.astype("datetime64[D]"),
        "time_id": hours % 24 * 60,
        "symbol": np.tile(np.array([name[:5] for name in ids], dtype=object), count),
        "name": np.tile(np.array([name.title() for name in ids], dtype=object), count),
        "current_price": made,
        "market_cap": made * 1e7,
        "market_cap_rank": np.tile(np.arange(1, assets + 1), count),
        "total_volume": made * 1e5,
        "price_change_percentage_24h": made % 7 - 3,
        "observed_at": at,
        "ingested_at": at + np.timedelta64(1, "m"),
        "source_id": ["coingecko_simulator"] * len(made),
        "batch_id": [batch] * len(made),
    }
    contract = load_contract("crypto_market_snapshot_fact")
    layout = arrow_schema(contract.columns)
    columns = [_column(values.get(field.name), field, len(made)) for field in layout]
    return pa.Table.from_arrays(columns, schema=layout)


def _column(values: object, field: pa.Field, length: int) -> pa.Array:
    if values is None:
        return pa.nulls(length, field.type)
    return pa.array(values).cast(field.type) if isinstance(values, np.ndarray) else pa.array(values, type=field.type)


def months(first: int, last: int) -> Iterator[tuple[int, int]]:
    """A stretch of hours in pieces of at most a month of 30 days."""
    width = 30 * 24
    for start in range(first, last, width):
        yield start, min(start + width, last)
