"""The tape: ranges that agree with each other, ids and times in order, prices of the market, halts, and its truth."""

import json
import re
import time
from decimal import Decimal
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinbeam.settings import ROOT
from local.simulator.binance.faults import combined
from local.simulator.binance.tape import DAY_MS, MINUTE_MS, MOST_PER_SECOND, OPENED_MS, Tape, Trades, milliseconds
from local.simulator.binance.truth import truth
from local.simulator.market import Market, epoch_hours
from tests.local.simulator.binance.conftest import NOON, NOON_MS

CAPTURES = ROOT.parent / "shared" / "captures" / "binance" / "aggtrade_kline.jsonl"
UNIT = 10**8
MARKET = Market(7, 600)
TAPE = Tape(MARKET, 5.0)
RATES = {rate: Tape(MARKET, rate) for rate in (0.003, 0.4, 5.0, 700.0)}
SYMBOLS = sorted(TAPE.listings)

FRAME = re.compile(
    r'\{"stream":"([a-z0-9]+)@aggTrade","data":\{"e":"aggTrade","E":\d{13},"s":"([A-Z0-9]+)","a":\d+,"p":"\d+\.\d{8}",'
    r'"q":"\d+\.\d{8}","f":\d+,"l":\d+,"T":\d{13},"m":(?:true|false),"M":true\}\}'
)

instants = st.integers(OPENED_MS + 3 * DAY_MS, NOON_MS + 400 * DAY_MS)
tapes = st.sampled_from(list(RATES.values()))


def same(left: Trades, right: Trades) -> bool:
    return left.lines() == right.lines()


@given(tapes, st.sampled_from(SYMBOLS), instants, st.integers(0, 300), st.integers(0, 300), st.integers(0, 300))
def test_a_range_is_the_same_part_of_a_larger_one(tape, symbol, at, before, length, after):
    first = tape.next_id(symbol, at)
    larger = tape.trades(symbol, first - before, first + length + after - 1)
    assert same(larger[before : before + length], tape.trades(symbol, first, first + length - 1))


@given(tapes, st.sampled_from(SYMBOLS), instants, st.integers(1, 400))
def test_ids_are_consecutive_and_times_never_go_back(tape, symbol, at, length):
    first = tape.next_id(symbol, at)
    trades = tape.trades(symbol, first, first + length - 1)
    assert trades.ids.tolist() == list(range(first, first + length))
    assert (np.diff(trades.times) >= 0).all()
    assert (trades.firsts[1:] == trades.lasts[:-1] + 1).all()
    assert (trades.lasts >= trades.firsts).all()
    assert (trades.prices > 0).all()
    assert (trades.quantities > 0).all()


@given(tapes, st.sampled_from(SYMBOLS), instants, st.integers(0, 90_000), st.integers(0, 90_000))
def test_spans_of_time_meet_without_a_hole_or_an_overlap(tape, symbol, at, first_ms, second_ms):
    if tape is RATES[700.0]:
        first_ms, second_ms = first_ms // 100, second_ms // 100
    middle, end = at + first_ms, at + first_ms + second_ms
    left, right, whole = (tape.between(symbol, *span) for span in ((at, middle), (middle, end), (at, end)))
    assert left.lines() + right.lines() == whole.lines()
    assert all(at <= stamp < end for stamp in whole.times.tolist())
    first = tape.next_id(symbol, at)
    (before, behind) = tape.trades(symbol, first - 1, first).times.tolist()
    assert before < at <= behind


@given(instants, st.lists(st.tuples(st.integers(-300_000, 300_000), st.integers(1, 200_000)), min_size=1, max_size=4))
def test_halts_are_holes_in_time_and_leave_the_ids(at, spans):
    tape, span = Tape(MARKET, 0.4), (at - 600_000, at + 600_000)
    undisturbed = tape.between("BTCUSDT", *span)
    for start, length in spans:
        tape.halt("BTCUSDT", at + start, at + start + length)
    trades = tape.between("BTCUSDT", *span)
    assert trades.ids.tolist() == undisturbed.ids.tolist()
    assert (np.diff(trades.times) >= 0).all()
    for start, length in spans:
        assert not len(tape.between("BTCUSDT", at + start, at + start + length))
    assert sum(len(tape.between("BTCUSDT", *part)) for part in pairwise((span[0], at, at + 1_000, span[1]))) == len(
        trades
    )
    kept = [stamp for stamp in undisturbed.times.tolist() if not any(at + s <= stamp < at + s + n for s, n in spans)]
    assert set(kept) <= set(trades.times.tolist())


def test_a_halt_is_of_one_symbol_until_it_is_forgotten():
    tape, span = Tape(MARKET, 5.0), (NOON_MS, NOON_MS + 60_000)
    tape.halt("BTCUSDT", *span)
    assert not len(tape.between("BTCUSDT", *span))
    assert tape.is_halted("BTCUSDT", NOON_MS)
    assert not tape.is_halted("BTCUSDT", span[1])
    assert same(tape.between("ETHUSDT", *span), TAPE.between("ETHUSDT", *span))
    tape.resume()
    assert same(tape.between("BTCUSDT", *span), TAPE.between("BTCUSDT", *span))


def test_the_tape_is_that_of_its_seed():
    ids = TAPE.next_id("BTCUSDT", NOON_MS), TAPE.next_id("BTCUSDT", NOON_MS) + 50
    assert same(Tape(Market(7, 600), 5.0).trades("BTCUSDT", *ids), TAPE.trades("BTCUSDT", *ids))
    assert not same(Tape(Market(8, 600), 5.0).trades("BTCUSDT", *ids), TAPE.trades("BTCUSDT", *ids))


def test_more_coins_in_the_market_do_not_change_the_trades_of_the_known_ones():
    span = NOON_MS, NOON_MS + 20_000
    assert same(Tape(Market(7, 2_000), 5.0).between("ETHUSDT", *span), TAPE.between("ETHUSDT", *span))


def test_a_day_has_as_many_trades_as_the_rate_says_and_no_two_minutes_alike():
    first, last = TAPE.next_id("BTCUSDT", OPENED_MS + DAY_MS), TAPE.next_id("BTCUSDT", OPENED_MS + 2 * DAY_MS)
    assert last - first == 5 * 86_400
    counts = {len(TAPE.between("BTCUSDT", NOON_MS + n * MINUTE_MS, NOON_MS + (n + 1) * MINUTE_MS)) for n in range(20)}
    assert len(counts) > 10


def test_before_the_venue_opened_there_is_nothing():
    assert not len(TAPE.between("BTCUSDT", OPENED_MS - DAY_MS, OPENED_MS))
    first = TAPE.trades("BTCUSDT", 0, TAPE.next_id("BTCUSDT", OPENED_MS) + 1)
    assert first.times.min() >= OPENED_MS


@pytest.mark.parametrize(
    ("symbol", "coin"), [("BTCUSDT", "bitcoin"), ("SHIBUSDT", "shiba-inu"), ("USDCUSDT", "usd-coin")]
)
def test_prices_are_those_of_the_market(symbol, coin):
    slot = np.array([MARKET.catalogue.ids.index(coin)])
    (price,) = MARKET.prices(slot, np.array([epoch_hours(NOON)])).ravel()
    trades = TAPE.between(symbol, NOON_MS, NOON_MS + 2_000)
    assert len(trades)
    tick = TAPE.listings[symbol].tick
    assert (np.abs(trades.prices / UNIT - price) <= price * 3e-4 + 2 * tick / UNIT).all()
    assert not (trades.prices % tick).any()
    assert not (trades.quantities % TAPE.listings[symbol].step).any()


def test_quantities_of_cheap_coins_are_beyond_the_integers_of_a_double():
    assert TAPE.between("SHIBUSDT", NOON_MS, NOON_MS + 600_000).quantities.max() > 2**53


def test_the_largest_coins_are_traded_and_usdt_is_not():
    assert {"BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT"} <= set(SYMBOLS)
    assert "USDTUSDT" not in SYMBOLS
    assert len(SYMBOLS) > 100
    assert all(re.fullmatch("[A-Z0-9]{2,20}", symbol) for symbol in SYMBOLS)


@pytest.mark.parametrize("rate", [0.0, -1.0, MOST_PER_SECOND + 1.0])
def test_a_rate_out_of_bounds_is_refused(rate):
    with pytest.raises(ValueError, match="trades per second"):
        Tape(MARKET, rate)


def test_the_fastest_tape_is_in_order_too():
    trades = Tape(MARKET, MOST_PER_SECOND).between("BTCUSDT", NOON_MS, NOON_MS + 1_000)
    assert len(trades) > 10_000
    assert (np.diff(trades.times) >= 0).all()


def test_rows_of_rest_are_lines_of_the_stream_without_three_fields():
    trades = TAPE.between("BTCUSDT", NOON_MS, NOON_MS + 10_000)
    for line, row in zip(trades.lines(), trades.rows(), strict=True):
        told = json.loads(line)
        assert list(told) == ["e", "E", "s", "a", "p", "q", "f", "l", "T", "m", "M"]
        assert (told.pop("e"), told.pop("E") - told["T"], told.pop("s")) == ("aggTrade", 1, "BTCUSDT")
        assert list(told.items()) == list(json.loads(row).items())


def test_texts_have_the_units_of_the_columns():
    trades = TAPE.between("ETHUSDT", NOON_MS, NOON_MS + 10_000)
    rows = [json.loads(row) for row in trades.rows()]
    assert [int(Decimal(row["p"]) * UNIT) for row in rows] == trades.prices.tolist()
    assert [int(Decimal(row["q"]) * UNIT) for row in rows] == trades.quantities.tolist()


def test_frames_are_of_the_captured_form():
    if not CAPTURES.is_file():
        pytest.skip("no captures: ../shared/captures is absent")
    captured = [json.loads(text)["_msg"] for text in CAPTURES.read_text().splitlines() if '"BINANCE.ws' in text]
    frames = [json.dumps(message, separators=(",", ":")) for message in captured if "@aggTrade" in message["stream"]]
    assert frames
    assert [frame for frame in frames if not FRAME.fullmatch(frame)] == []
    ours = [combined("BTCUSDT", line) for line in TAPE.between("BTCUSDT", NOON_MS, NOON_MS + 5_000).lines()]
    assert [frame for frame in ours if not FRAME.fullmatch(frame)] == []


def test_the_truth_of_a_window_is_that_of_its_columns():
    span = milliseconds(NOON), milliseconds(NOON) + 60_000
    found, trades = truth(TAPE, "SHIBUSDT", *span), TAPE.between("SHIBUSDT", *span)
    assert found is not None
    prices, quantities = trades.prices.astype(object), trades.quantities.astype(object)
    bought = ~trades.makers
    assert (found.open, found.close) == (trades.prices[0], trades.prices[-1])
    assert (found.high, found.low) == (trades.prices.max(), trades.prices.min())
    assert (found.count, found.first_id, found.last_id) == (len(trades), trades.ids[0], trades.ids[-1])
    assert (found.first_ms, found.last_ms) == (trades.times[0], trades.times[-1])
    assert found.trade_count == trades.lasts[-1] - trades.firsts[0] + 1
    assert (found.price_sum, found.quantity_sum) == (prices.sum(), quantities.sum())
    assert found.quote_sum == (prices * quantities).sum() > 2**64
    assert found.taker_buy_quantity_sum == quantities[bought].sum()
    assert found.taker_buy_quote_sum == (prices * quantities)[bought].sum()
    assert truth(TAPE, "SHIBUSDT", span[0], span[0]) is None


def test_a_hundred_thousand_lines_take_less_than_a_second():
    tape = RATES[700.0]
    first, begun = tape.next_id("BTCUSDT", NOON_MS), time.process_time()
    assert len(tape.trades("BTCUSDT", first, first + 99_999).lines()) == 100_000
    assert time.process_time() - begun < 1
