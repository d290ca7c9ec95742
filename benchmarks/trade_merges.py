"""One more minute of live trades, whatever is there already: the newest window of five symbols is appended to
``trade_window_pane`` and merged into ``trade_window_fact``, as the sink of the stream does it.

Both tables are filled to a size by load jobs; then minutes are added and measured, in a local cloud of its own.
"""

import io
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, median
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
from google.cloud import bigquery

from benchmarks.growth import Cost, emulator_process, measured
from benchmarks.trade_lines import FIRST_MS, SYMBOLS
from coinbeam.batch.tables import TRADE_WINDOW_FACT, TRADE_WINDOW_PANE
from coinbeam.contracts import load_contract
from coinbeam.contracts.arrow import arrow_schema, csv_block, csv_header
from coinbeam.contracts.bigquery import schema
from coinbeam.feeds.trades.merge import append_panes, merge_panes, starts_of
from coinbeam.feeds.trades.message import WINDOW
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from tests.temporary import temporary_cloud

_MINUTES_A_LOAD = 7 * 1_440
_WARM_UP = 3  # the first minutes after a fill find cold caches
_WINDOW_US = int(WINDOW.total_seconds() * 1_000_000)


@dataclass(frozen=True)
class Merge:
    """What one more minute cost at one size.

    Attributes:
        rows: of the fact, and of the panes, before the first minute.
        wall_ms: median of the minutes.
        cpu_ms: mean of the minutes, emulator and benchmark; the system counts it in steps of 10 ms.
        slowest_ms: elapsed time of the slowest minute.
    """

    rows: int
    wall_ms: float
    cpu_ms: float
    slowest_ms: float


def measure_merges(folder: Path, sizes: Iterable[int], minutes: int) -> list[Merge]:
    """Fill to each size, the smallest first, and add minutes there.

    Raises:
        RuntimeError: the fact has not the rows that were added.
    """
    with temporary_cloud(folder, coins=1) as cloud:
        warehouse = Warehouse(cloud.settings)
        ensure_schema(warehouse)
        emulator = emulator_process(cloud.settings.local.ports.bigquery)
        there, found = 0, []
        for size in sorted(sizes):
            there = _fill(warehouse, there, size // len(SYMBOLS))
            rows = there * len(SYMBOLS)
            costs = [_add_minute(warehouse, emulator, there + number) for number in range(_WARM_UP + minutes)]
            there += len(costs)
            _check(warehouse, there * len(SYMBOLS))
            found.append(_merge(rows, costs[_WARM_UP:]))
    return found


def _merge(rows: int, costs: list[Cost]) -> Merge:
    elapsed = [1_000 * cost.wall_seconds for cost in costs]
    return Merge(rows, median(elapsed), mean(1_000 * cost.cpu_seconds for cost in costs), max(elapsed))


def _fill(warehouse: Warehouse, first: int, last: int) -> int:
    """Load the minutes from ``first`` to before ``last`` into both tables; how many are there."""
    for name in (TRADE_WINDOW_FACT, TRADE_WINDOW_PANE):
        contract = load_contract(name)
        config = bigquery.LoadJobConfig(
            source_format=bigquery.SourceFormat.CSV,
            skip_leading_rows=1,
            schema=schema(contract.columns),
            write_disposition=bigquery.WriteDisposition.WRITE_APPEND,
        )
        for start in range(first, last, _MINUTES_A_LOAD):
            body = csv_header(contract.columns) + csv_block(panes(start, min(start + _MINUTES_A_LOAD, last), name))
            table = warehouse.full_name(warehouse.table(contract))
            warehouse.client.load_table_from_file(io.BytesIO(body), table, job_config=config).result(retry=None)
    return max(first, last)


def _add_minute(warehouse: Warehouse, emulator: psutil.Process, minute: int) -> Cost:
    rows = [_as_json(row) for row in panes(minute, minute + 1, TRADE_WINDOW_PANE).to_pylist()]
    with measured(emulator) as costs:
        append_panes(warehouse, rows)
        merge_panes(warehouse, *starts_of(rows))
    return costs[0]


def _as_json(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value.isoformat() if hasattr(value, "isoformat") else value for name, value in row.items()}


def _check(warehouse: Warehouse, expected: int) -> None:
    [row] = warehouse.rows(f"SELECT COUNT(*) AS n FROM {warehouse.names()[TRADE_WINDOW_FACT]}")
    if row["n"] != expected:
        raise RuntimeError(f"trade_window_fact has {row['n']} rows instead of {expected}: the merges did other work.")


def panes(first: int, last: int, name: str) -> pa.Table:
    """The rows of all symbols for the minutes from ``first`` to before ``last``, in the columns of a table."""
    minutes = np.repeat(np.arange(first, last), len(SYMBOLS))
    starts = FIRST_MS * 1_000 + minutes * _WINDOW_US
    price, count = 100.0 + minutes % 997, np.full(len(minutes), 840)
    prices = [f"{kind}_price" for kind in ("open", "high", "low", "close", "average", "volume_weighted_average")]
    values: dict[str, Any] = {
        "symbol": np.tile(np.array(SYMBOLS, dtype=object), last - first),
        "window_start": starts.astype("datetime64[us]"),
        "window_date": starts.astype("datetime64[us]").astype("datetime64[D]"),
        "pane_index": np.zeros_like(count),
        "timing": np.full(len(minutes), "on_time", dtype=object),
        "run_id": np.full(len(minutes), "stream", dtype=object),
        **dict.fromkeys(prices, price),
        **{f"{side}{kind}_volume": price * 7 for side in ("", "taker_buy_") for kind in ("base", "quote")},
        "agg_trade_count": count,
        "trade_count": 2 * count,
        "first_agg_trade_id": minutes * 840,
        "last_agg_trade_id": minutes * 840 + 839,
        "first_trade_at": starts.astype("datetime64[us]"),
        "last_trade_at": (starts + _WINDOW_US - 1_000).astype("datetime64[us]"),
        **{f"{kind}_count": np.zeros_like(count) for kind in ("missing_trade", "open_mark", "mark")},
        "is_complete": np.full(len(minutes), True),
        "source_id": np.full(len(minutes), "binance_simulator", dtype=object),
        "written_at": (starts + _WINDOW_US + 400_000).astype("datetime64[us]"),
    }
    layout = arrow_schema(load_contract(name).columns)
    return pa.Table.from_arrays([pa.array(values[field.name]).cast(field.type) for field in layout], schema=layout)
