"""The tape: any range of it is the same wherever it is read from, and its windows come to exact figures."""

import json
import time
from datetime import timedelta
from decimal import Decimal

import numpy as np
import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinbeam.errors import SettingsError
from coinbeam.settings import ROOT
from local.simulator.binance.listing import UNIT
from local.simulator.binance.tape import DAY_MS, MINUTE_MS, MOST_PER_SECOND, OPENED_MS, Halt, Tape, Trades
from local.simulator.binance.truth import figures, truth
from local.simulator.market import Market, epoch_hours
from tests.local.simulator.binance.conftest import COINS, NOON, NOON_MS, SEED

CAPTURE = ROOT.parent / "shared" / "captures" / "binance" / "aggtrade_kline.jsonl"

MARKET = Market(SEED, COINS)
TAPES = {rate: Tape(MARKET, rate) for rate in (0.001, 0.3, 5.0, 997.7)}

rates = st.sampled_from(list(TAPES))
symbols = st.sampled_from(["BTCUSDT", "USDCUSDT", "SHIBUSDT"])
instants = st.integers(OPENED_MS, NOON_MS)


def assert_consecutive(trades: Trades) -> None:
    assert (np.diff(trades.ids) == 1).all()
    assert (np.diff(trades.times) >= 0).all()
    assert (trades.firsts[1:] == trades.lasts[:-1] + 1).all()
    assert (trades.lasts >= trades.firsts).all()


@settings(max_examples=60, deadline=None)
@given(rates, symbols, instants, st.integers(0, 400), st.integers(0, 400), st.integers(0, 400))
def test_any_range_is_the_same_part_of_a_larger_one(rate, symbol, at, before, count, after):
    tape = TAPES[rate]
    start = max(tape.next_id(symbol, at), tape.listings[symbol].first_id + before)
    larger = tape.trades(symbol, start - before, start + count + after)
    part = Tape(MARKET, rate).trades(symbol, start, start + count)
    assert part.lines() == larger.lines()[before : before + count + 1]
    assert part.rows() == larger.rows()[before : before + count + 1]
    assert_consecutive(larger)


@settings(max_examples=60, deadline=None)
@given(rates, symbols, instants, st.integers(0, 5 * MINUTE_MS), st.integers(0, 5 * MINUTE_MS))
def test_ranges_of_time_meet_and_hold_what_was_traded_in_them(rate, symbol, start, length, rest):
    tape = TAPES[rate]
    middle = start + min(length, 2_000) if rate > 100 else start + length
    end = middle + min(rest, 2_000)
    first, second, whole = (tape.between(symbol, *span) for span in ((start, middle), (middle, end), (start, end)))
    assert first.rows() + second.rows() == whole.rows()
    assert ((whole.times >= start) & (whole.times < end)).all()
    around = tape.trades(symbol, tape.next_id(symbol, start) - 1, tape.next_id(symbol, end))
    assert int(((around.times >= start) & (around.times < end)).sum()) == len(whole)
    assert_consecutive(around)


def test_ids_go_on_over_midnight_and_a_day_has_its_number_of_trades(tape):
    midnight = NOON_MS - NOON_MS % DAY_MS
    assert_consecutive(tape.between("BTCUSDT", midnight - 90_000, midnight + 90_000))
    assert tape.next_id("BTCUSDT", midnight + DAY_MS) - tape.next_id("BTCUSDT", midnight) == tape.per_day == 432_000


def test_the_first_trade_is_that_of_the_opening(tape):
    first = tape.listings["BTCUSDT"].first_id
    assert tape.next_id("BTCUSDT", 0) == first
    assert tape.trades("BTCUSDT", 0, first).ids.tolist() == [first]
    assert tape.trades("BTCUSDT", 0, first).times[0] - OPENED_MS < 1_000
    assert len(tape.trades("BTCUSDT", 0, first - 1)) == len(tape.between("BTCUSDT", 0, OPENED_MS)) == 0


def test_no_two_symbols_have_the_same_ids_at_a_time(tape):
    ids = {tape.next_id(symbol, NOON_MS) // 100 for symbol in tape.listings}
    assert len(ids) == len(tape.listings)


def test_minutes_differ_and_nights_are_quieter(tape):
    midnight = NOON_MS - NOON_MS % DAY_MS
    counts = np.diff([tape.next_id("BTCUSDT", midnight + minute * MINUTE_MS) for minute in range(1_441)])
    assert counts.min() > 100
    assert len(set(counts.tolist())) > 100
    assert counts[14 * 60 : 16 * 60].mean() > 1.3 * counts[2 * 60 : 4 * 60].mean()


def test_some_trades_come_in_the_same_millisecond(tape):
    gaps = np.diff(tape.between("BTCUSDT", NOON_MS, NOON_MS + 10 * MINUTE_MS).times)
    assert 0.04 < (gaps == 0).mean() < 0.15


@pytest.mark.parametrize("symbol", ["BTCUSDT", "ETHUSDT", "USDCUSDT", "SHIBUSDT"])
def test_prices_follow_the_market(tape, symbol):
    pair = tape.listings[symbol]
    for hours in (0, 0.5, 1, 100, 5_000):
        moment = NOON - timedelta(hours=hours)
        at = NOON_MS - round(hours * 3_600_000)
        [[market]] = MARKET.prices(np.array([pair.slot]), np.array([epoch_hours(moment)]))
        trades = tape.between(symbol, at, at + 2_000)
        near = np.maximum(market * 5e-4, 3 * pair.tick / UNIT)
        assert (np.abs(trades.prices / UNIT - market) <= near).all()
        assert (trades.prices % pair.tick == 0).all()


def test_a_snapshot_of_the_other_source_agrees_with_the_trades_of_its_minute(tape):
    row = MARKET.snapshot(NOON)
    close = truth(tape, "ETHUSDT", NOON_MS - MINUTE_MS, NOON_MS).close / UNIT
    assert close == pytest.approx(row.price[tape.listings["ETHUSDT"].slot], rel=1e-3)


def test_quantities_are_whole_steps_and_some_are_beyond_what_a_double_counts(tape):
    for symbol, pair in tape.listings.items():
        quantities = tape.between(symbol, NOON_MS, NOON_MS + 2 * MINUTE_MS).quantities
        assert (quantities > 0).all()
        assert (quantities % pair.step == 0).all()
    assert tape.between("SHIBUSDT", NOON_MS, NOON_MS + 10 * MINUTE_MS).quantities.max() > 2**53


def test_buyers_are_makers_half_of_the_time_and_sellers_take_below(tape):
    trades = tape.between("BTCUSDT", NOON_MS, NOON_MS + 10 * MINUTE_MS)
    assert 0.45 < trades.makers.mean() < 0.55
    assert trades.prices[trades.makers].mean() < trades.prices[~trades.makers].mean()


def test_steps_are_those_of_binance(tape):
    steps = {name: (tape.listings[name].tick, tape.listings[name].step) for name in ("BTCUSDT", "ETHUSDT", "SHIBUSDT")}
    assert steps == {"BTCUSDT": (1_000_000, 1_000), "ETHUSDT": (1_000_000, 10_000), "SHIBUSDT": (1, 100_000_000)}


def test_only_ordinary_coins_are_traded():
    listed = Tape(Market(SEED, 600)).listings
    assert {"BTCUSDT", "ETHUSDT", "SOLUSDT", "DOGEUSDT", "SHIBUSDT"} < set(listed)
    assert len(listed) > 200
    assert not {"USDTUSDT", "DUSTUSDT", "UNPUSDT", "WETHUSDT", "🐸USDT"} & set(listed)


def test_lines_are_compact_json_of_the_columns(tape):
    trades = tape.between("SHIBUSDT", NOON_MS, NOON_MS + 20_000)
    assert len(trades) > 50
    for number, (line, row) in enumerate(zip(trades.lines(), trades.rows(), strict=True)):
        said = json.loads(line)
        assert orjson.dumps(said).decode() == line
        assert orjson.dumps({key: said[key] for key in "apqflTmM"}).decode() == row
        assert (said["e"], said["s"], said["E"] - said["T"], said["M"]) == ("aggTrade", "SHIBUSDT", 1, True)
        assert (said["a"], said["T"]) == (trades.ids[number], trades.times[number])
        assert (said["f"], said["l"], said["m"]) == (trades.firsts[number], trades.lasts[number], trades.makers[number])
        for text, units in ((said["p"], trades.prices[number]), (said["q"], trades.quantities[number])):
            assert len(text.partition(".")[2]) == 8
            assert Decimal(text) * UNIT == int(units)


def test_the_bytes_of_a_seed_never_change_between_processes_or_versions(tape):
    assert tape.trades("BTCUSDT", 1_476_141_110, 1_476_141_110).lines() == [GOLDEN]


GOLDEN = (
    '{"e":"aggTrade","E":1795177800016,"s":"BTCUSDT","a":1476141110,"p":"96189.74000000","q":"0.00008000",'
    '"f":2952282220,"l":2952282221,"T":1795177800015,"m":true,"M":true}'
)


def test_another_seed_or_rate_is_another_tape(tape):
    first = tape.between("BTCUSDT", NOON_MS, NOON_MS + 5_000).lines()
    for other in (Tape(Market(SEED + 1, COINS)), Tape(MARKET, 4.0)):
        assert other.between("BTCUSDT", NOON_MS, NOON_MS + 5_000).lines() != first


@pytest.mark.parametrize("rate", [0, -1, MOST_PER_SECOND + 1])
def test_a_rate_that_no_tape_has_is_refused(rate):
    with pytest.raises(SettingsError, match="trades_per_second"):
        Tape(MARKET, rate)


def test_the_largest_rate_stays_within_64_bits():
    tape = Tape(MARKET, MOST_PER_SECOND)
    trades = tape.between("BTCUSDT", NOON_MS, NOON_MS + 500)
    assert len(trades) > 5_000
    assert_consecutive(trades)
    assert tape.next_id("BTCUSDT", NOON_MS + 30_000) - tape.next_id("BTCUSDT", NOON_MS) > 300_000


def test_a_hundred_thousand_lines_are_made_in_a_second_of_cpu():
    tape = Tape(MARKET, 1_000)
    first = tape.next_id("ETHUSDT", NOON_MS)
    before = time.process_time()
    assert len(tape.trades("ETHUSDT", first, first + 99_999).lines()) == 100_000
    assert time.process_time() - before < 1, "about 0.1 s on an idle machine"


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.tuples(st.integers(0, 600_000), st.integers(1, 200_000)), max_size=4), symbols, st.integers(0, 900_000)
)
def test_halts_are_holes_in_time_with_consecutive_ids(halts, symbol, at):
    plain, tape = Tape(MARKET), Tape(MARKET)
    for start, length in halts:
        tape.halt(symbol, NOON_MS + start, NOON_MS + start + length)
    first, last = plain.next_id(symbol, NOON_MS - 1_000), plain.next_id(symbol, NOON_MS + 900_000)
    before, after = plain.trades(symbol, first, last), tape.trades(symbol, first, last)
    assert_consecutive(after)
    moved = before.times != after.times
    holes = [range(NOON_MS + start, NOON_MS + start + length) for start, length in halts]
    assert not any(moment in hole for hole in holes for moment in after.times.tolist())
    assert moved.tolist() == [any(moment in hole for hole in holes) for moment in before.times.tolist()]
    edges = [NOON_MS + edge for start, length in halts for edge in (start, start + 1, start + length)]
    for moment in (NOON_MS + at, *edges):
        assert tape.next_id(symbol, moment) == first + int((after.times < moment).sum())
    assert tape.is_halted(symbol, NOON_MS + at) is any(NOON_MS + at in hole for hole in holes)


def test_halts_that_meet_are_one_and_only_of_their_symbol(tape):
    halted = Tape(MARKET)
    for start in (2_000, 1_000, 3_000):
        halted.halt("BTCUSDT", NOON_MS + start, NOON_MS + start + 1_000)
    assert halted.halts() == {"BTCUSDT": (Halt(NOON_MS + 1_000, NOON_MS + 4_000),)}
    span = NOON_MS, NOON_MS + 5_000
    assert halted.between("ETHUSDT", *span).lines() == tape.between("ETHUSDT", *span).lines()
    assert halted.between("BTCUSDT", *span).lines() != tape.between("BTCUSDT", *span).lines()
    halted.resume()
    assert halted.between("BTCUSDT", *span).lines() == tape.between("BTCUSDT", *span).lines()


def test_the_truth_of_rows_is_that_of_a_hand_calculation():
    rows = [
        {"a": 7, "p": "2.00000000", "q": "0.50000000", "f": 10, "l": 12, "T": 1_000, "m": True},
        {"a": 8, "p": "1.00000001", "q": "123456789.00000001", "f": 13, "l": 13, "T": 1_000, "m": False},
        {"a": 9, "p": "1.50000000", "q": "2.00000000", "f": 14, "l": 15, "T": 1_500, "m": False},
    ]
    found = figures(rows)
    assert (found.open, found.high, found.low, found.close) == (200_000_000, 200_000_000, 100_000_001, 150_000_000)
    assert (found.count, found.trade_count, found.first_id, found.last_id) == (3, 6, 7, 9)
    assert (found.first_ms, found.last_ms) == (1_000, 1_500)
    assert (found.price_sum, found.quantity_sum) == (450_000_001, 12_345_679_150_000_001)
    assert found.taker_buy_quantity_sum == 12_345_679_100_000_001
    assert found.taker_buy_quote_sum == 100_000_001 * 12_345_678_900_000_001 + 150_000_000 * 200_000_000
    assert found.quote_sum == found.taker_buy_quote_sum + 200_000_000 * 50_000_000


def test_the_truth_of_a_window_is_that_of_its_columns(tape):
    trades = tape.between("SHIBUSDT", NOON_MS, NOON_MS + MINUTE_MS)
    found = truth(tape, "SHIBUSDT", NOON_MS, NOON_MS + MINUTE_MS)
    prices, quantities = trades.prices.astype(object), trades.quantities.astype(object)
    took = ~trades.makers
    assert (found.count, found.first_id, found.last_id) == (len(trades), trades.ids[0], trades.ids[-1])
    assert (found.open, found.close, found.high, found.low) == (prices[0], prices[-1], max(prices), min(prices))
    assert (found.price_sum, found.quantity_sum, found.quote_sum) == (
        prices.sum(),
        quantities.sum(),
        (prices * quantities).sum(),
    )
    assert found.taker_buy_quote_sum == (prices * quantities)[took].sum()
    assert found.trade_count == trades.lasts[-1] - trades.firsts[0] + 1


def test_a_window_without_trades_has_no_truth_and_a_halt_moves_it():
    tape = Tape(MARKET)
    minutes = [(NOON_MS + n * MINUTE_MS, NOON_MS + (n + 1) * MINUTE_MS) for n in range(3)]
    plain = [truth(tape, "BTCUSDT", *minute) for minute in minutes]
    tape.halt("BTCUSDT", minutes[0][1] - 10_000, minutes[2][0] + 1)
    halted = [truth(tape, "BTCUSDT", *minute) for minute in minutes]
    assert halted[1] is None
    assert halted[0].count < plain[0].count
    assert halted[2].count == sum(window.count for window in plain) - halted[0].count
    assert halted[2].first_id == halted[0].last_id + 1


@pytest.mark.skipif(not CAPTURE.is_file(), reason="needs the captures in ../shared/captures/binance")
def test_lines_have_the_form_of_captured_frames(tape):
    [ours] = tape.trades("BTCUSDT", 1_476_141_110, 1_476_141_110).lines()
    spot = []
    for record in CAPTURE.read_text(encoding="utf-8").splitlines():
        said = json.loads(record)
        if said["_capture"].startswith(("BINANCE.", "BINANCE_US.")) and said["_msg"]["data"]["e"] == "aggTrade":
            spot.append((record, said["_msg"]["data"]))
    assert len(spot) >= 10
    for record, trade in spot:
        assert list(trade) == list(json.loads(ours))
        assert {key: type(value) for key, value in trade.items()} == {
            key: type(value) for key, value in json.loads(ours).items()
        }
        assert {len(trade[key].partition(".")[2]) for key in "pq"} == {8}
        assert orjson.dumps(trade).decode() in record, "compact, as ours"
