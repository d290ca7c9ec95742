"""Polled prices on the path of the trades: what a window of them says, and what it does not claim."""

import random
from dataclasses import replace
from fractions import Fraction
from typing import Any

import apache_beam as beam
import orjson
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing.util import assert_that
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.trades.lines import Part, RefusedLine, read_lines
from beam_pipelines.trades.windows import PANES, REFUSED, TradeWindows
from coinbeam.batch.jobs import STREAM_RUNNER
from coinbeam.feeds.trades.message import Message, bundle, price_line
from tests.beam_pipelines.trades.made import MINUTE, RUN, START, Trade, lines
from tests.beam_pipelines.trades.test_figures import combined, row_of
from tests.beam_pipelines.trades.test_windows import TRADES, message, reasons, stream

PRICE_RUN = replace(RUN, symbols=RUN.symbols | {"bitcoin:usd"}, price_source_id="coingecko_simulator")
SYMBOL = "bitcoin:usd"


def polled(*points: tuple[float, int]) -> Message:
    """A message of prices, each at so many milliseconds after ``START``."""
    made = [price_line(SYMBOL, START + at, price, START + at) for price, at in points]
    ids = [START + at for _, at in points]
    return bundle(SYMBOL, made, min(ids), max(ids), min(ids))


def test_a_window_of_polled_prices_has_their_prices_and_no_volume_and_is_never_complete() -> None:
    def check(found: list[Any]) -> None:
        prices, trades = sorted(found, key=lambda row: str(row["symbol"]), reverse=True)
        assert trades["symbol"] == "BTCUSDT"
        assert trades["source_id"] == "binance_simulator"
        assert trades["is_complete"]
        wanted = {
            "symbol": SYMBOL,
            "source_id": "coingecko_simulator",
            "open_price": 65_000.1,
            "high_price": 65_010.7,
            "low_price": 64_999.3,
            "close_price": 64_999.3,
            "average_price": float(sum(map(Fraction, (65_000.1, 65_010.7, 64_999.3))) / 3),
            "volume_weighted_average_price": None,
            "base_volume": 0.0,
            "quote_volume": 0.0,
            "taker_buy_base_volume": 0.0,
            "taker_buy_quote_volume": 0.0,
            "trade_count": 3,
            "agg_trade_count": 3,
            "open_mark_count": 1,
            "is_complete": False,
        }
        assert {name: prices[name] for name in wanted} == wanted

    first = polled((65_000.1, 1_000), (65_010.7, 21_000))
    events = first, message(TRADES), polled((64_999.3, 41_000)), first, 61
    with beam.Pipeline(STREAM_RUNNER, options=PipelineOptions(["--streaming"])) as pipeline:
        made = pipeline | stream(*events) | TradeWindows(PRICE_RUN)
        assert_that(made[PANES] | beam.WindowInto(beam.window.GlobalWindows()), check, label="panes")
        assert_that(made[REFUSED], reasons(), label="refused")


def test_one_price_alone_is_no_complete_window_either() -> None:
    [part] = read_lines(polled((1.0, 0)).data, PRICE_RUN.limits(), SYMBOL)
    assert isinstance(part, Part)
    row = row_of((part.trades, tuple(part.marks)))
    assert (row["missing_trade_count"], row["is_complete"]) == (0, False)


@given(
    st.lists(
        st.tuples(st.floats(5e-324, 1.7e308), st.integers(0, MINUTE - 1)),
        min_size=1,
        max_size=20,
        unique_by=lambda point: point[1],
    ),
    st.randoms(use_true_random=False),
)
def test_prices_are_those_that_were_polled_bit_for_bit(points: list[tuple[float, int]], source: random.Random) -> None:
    sent = [*points, *source.choices(points, k=3)]
    source.shuffle(sent)
    row = row_of(combined([polled(point).data for point in sent], source, PRICE_RUN, SYMBOL))
    ordered = [price for price, _ in sorted(points, key=lambda point: point[1])]
    found = (row["open_price"], row["high_price"], row["low_price"], row["close_price"], row["trade_count"])
    assert found == (ordered[0], max(ordered), min(ordered), ordered[-1], len(ordered))
    assert min(ordered) <= row["average_price"] <= max(ordered)


@pytest.mark.parametrize(
    ("changes", "reason", "column"),
    [
        ({"p": "65000"}, "wrong_value", "p"),
        ({"p": 0}, "wrong_value", "p"),
        ({"p": -1.5}, "wrong_value", "p"),
        ({"p": True}, "wrong_value", "p"),
        ({"a": -1}, "wrong_value", "a"),
        ({"T": "now"}, "wrong_value", "T"),
        ({"T": START - 3 * 86_400_000}, "too_old", "T"),
        ({"T": START + 3 * 86_400_000}, "in_future", "T"),
        ({"s": "BTCUSDT"}, "other_symbol", "s"),
        ({"s": "dogecoin:usd"}, "other_symbol", "s"),
        ({"s": None}, "missing_field", "s"),
    ],
    ids=str,
)
def test_what_is_no_polled_price_is_refused_by_name(changes: dict[str, Any], reason: str, column: str) -> None:
    line = orjson.dumps(orjson.loads(polled((1.0, 0)).data) | changes)
    [found] = read_lines(line, PRICE_RUN.limits(), SYMBOL)
    assert isinstance(found, RefusedLine)
    assert (found.reason, found.column) == (reason, column)


def test_trades_and_prices_never_share_a_symbol() -> None:
    price, trade = price_line("BTCUSDT", 1, 1.0, START), Trade(1, 1, 1, 0, symbol=SYMBOL)
    for line, symbol in ((price, "BTCUSDT"), (lines([trade]), SYMBOL)):
        found = [one for one in read_lines(line, PRICE_RUN.limits(), symbol) if isinstance(one, RefusedLine)]
        assert [(one.reason, one.column) for one in found] == [("wrong_value", "s")]
