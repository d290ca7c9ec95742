"""Windows of trades as a Beam pipeline is usually written: an element for each trade, combined one by one."""

# mypy: disable-error-code="no-untyped-call,misc,attr-defined"
# Beam is untyped where it counts.
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.runners.portability.fn_api_runner import FnApiRunner
from apache_beam.transforms.window import FixedWindows, TimestampedValue

Known = tuple[int, float, int, float, float, float, int, int, float, float]
"""First id and its price, last id and its price, highest, lowest, aggregate trades, single trades, both volumes."""

_NOTHING: Known = (2**63, 0.0, -1, 0.0, float("-inf"), float("inf"), 0, 0, 0.0, 0.0)


def run_rows(file: Path, output: Path) -> None:
    """Write the windows of a file."""
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        (
            pipeline
            | "Lines" >> beam.io.ReadFromText(str(file))
            | "Parse" >> beam.Map(orjson.loads)
            | "Time" >> beam.Map(lambda trade: TimestampedValue(trade, trade["T"] / 1_000))
            | "Window" >> beam.WindowInto(FixedWindows(60))
            | "By symbol" >> beam.Map(lambda trade: (trade["s"], trade))
            | "Combine" >> beam.CombinePerKey(_Combine())
            | "Row" >> beam.Map(_row)
            | "Write" >> beam.io.WriteToText(f"{output}/windows", ".ndjson", num_shards=1)
        )


class _Combine(beam.CombineFn):
    def create_accumulator(self) -> Known:
        return _NOTHING

    def add_input(self, known: Known, trade: dict[str, Any]) -> Known:
        price, quantity, number = float(trade["p"]), float(trade["q"]), trade["a"]
        singles = trade["l"] - trade["f"] + 1
        return _both(known, (number, price, number, price, price, price, 1, singles, quantity, price * quantity))

    def merge_accumulators(self, many: Iterable[Known]) -> Known:
        merged = _NOTHING
        for known in many:
            merged = _both(merged, known)
        return merged

    def extract_output(self, known: Known) -> Known:
        return known


def _both(one: Known, other: Known) -> Known:
    first, last = one if one[0] <= other[0] else other, one if one[2] >= other[2] else other
    return (
        first[0],
        first[1],
        last[2],
        last[3],
        max(one[4], other[4]),
        min(one[5], other[5]),
        one[6] + other[6],
        one[7] + other[7],
        one[8] + other[8],
        one[9] + other[9],
    )


def _row(combined: tuple[str, Known], window: Any = beam.DoFn.WindowParam) -> str:
    symbol, (_, opened, _, closed, high, low, trades, singles, base, quote) = combined
    return json.dumps(
        {
            "symbol": symbol,
            "window_start": window.start.micros // 1_000,
            "open_price": opened,
            "high_price": high,
            "low_price": low,
            "close_price": closed,
            "agg_trade_count": trades,
            "trade_count": singles,
            "base_volume": base,
            "quote_volume": quote,
        }
    )
