"""What is ordered to go wrong with the stream: the same trades on every connection, and the tape and REST stay true."""

import json
from collections import Counter
from itertools import pairwise
from typing import Any

import pytest

from local.simulator.binance.faults import HUGE_BYTES, UNASKED, FrameFaults, Garbage, Spoiler, VenueOrder, combined
from local.simulator.binance.tape import DAY_MS, Tape, Trades
from tests.local.simulator.binance.conftest import NOON_MS, Server, data, frames

ALL = [kind for kind in Garbage if kind is not Garbage.HUGE]


def some(tape: Tape, symbol: str = "BTCUSDT", seconds: int = 120) -> Trades:
    """What is traded from noon on."""
    return tape.between(symbol, NOON_MS, NOON_MS + seconds * 1_000)


def spoiled(
    trades: Trades, pieces: int = 1, since_ms: int = NOON_MS - 1, **order: Any
) -> tuple[list[str], FrameFaults]:
    """The frames of trades that come in pieces, and what was counted."""
    faults, spoiler = FrameFaults(VenueOrder(**order), since_ms), Spoiler(trades.symbol, combined)
    sent: list[str] = []
    for piece in range(0, len(trades), -(-len(trades) // pieces)):
        part = trades[piece : piece + -(-len(trades) // pieces)]
        sent += spoiler.frames(part, part.lines(), faults)
    return sent, faults


def ids(sent: list[str]) -> list[int]:
    return [json.loads(frame)["data"]["a"] for frame in sent]


def test_a_share_of_trades_is_dropped_and_the_rest_is_whole(tape: Tape) -> None:
    trades = some(tape)
    sent, faults = spoiled(trades, drop=0.2)
    whole = [combined("BTCUSDT", line) for line in trades.lines()]
    assert 0.12 < faults.sent["drop"] / len(trades) < 0.28
    assert len(sent) == len(trades) - faults.sent["drop"]
    assert sent == [frame for frame in whole if frame in set(sent)]
    assert spoiled(trades, drop=0.2, seed=2)[0] != sent


@pytest.mark.parametrize("order", [{"drop": 0.3}, {"duplicate": 0.3}, {"reorder": 0.3}, {"garbage": 0.3}])
def test_the_same_trades_are_hit_however_they_are_read(tape: Tape, order: dict[str, float]) -> None:
    trades = some(tape)
    assert spoiled(trades, 1, **order)[0] == spoiled(trades, 50, **order)[0]


def test_dropped_trades_come_in_runs(tape: Tape) -> None:
    trades = some(tape)
    kept = ids(spoiled(trades, drop=0.3, run=25)[0])
    gaps = {after - before - 1 for before, after in pairwise(kept)} - {0}
    assert gaps
    assert all(gap % 25 == 0 for gap in gaps)


def test_a_duplicate_is_the_same_frame_again_within_a_few(tape: Tape) -> None:
    trades = some(tape)
    sent, faults = spoiled(trades, duplicate=0.2)
    counts = Counter(sent)
    assert set(counts) == {combined("BTCUSDT", line) for line in trades.lines()}
    assert sum(count - 1 for count in counts.values()) in {faults.sent["duplicate"], faults.sent["duplicate"] - 1}
    distances = [sent.index(frame, sent.index(frame) + 1) - sent.index(frame) for frame in counts if counts[frame] == 2]
    assert min(distances) == 1
    assert max(distances) < 12


def test_a_reordered_trade_comes_late_and_none_is_lost(tape: Tape) -> None:
    trades = some(tape)
    sent, faults = spoiled(trades, reorder=0.2)
    found = ids(sent)
    late = sum(after < before for before, after in pairwise(found))
    assert faults.sent["reorder"] > 60
    assert late > 40
    assert len(set(found)) == len(found)
    assert set(trades.ids.tolist()) - set(found) <= set(trades.ids[-5:].tolist()), "the last ones wait for the next"


def test_only_the_symbols_named_are_hit_and_no_more_than_the_limit(tape: Tape) -> None:
    for symbol, hits in (("BTCUSDT", 0), ("ETHUSDT", 7)):
        trades = some(tape, symbol)
        sent, faults = spoiled(trades, drop=0.5, symbols=["ETHUSDT"], limit=7)
        assert len(trades) - len(sent) == faults.sent["drop"] == hits


def test_a_silent_symbol_says_nothing_until_the_silence_is_over(tape: Tape) -> None:
    trades = some(tape)
    sent, faults = spoiled(trades, silent=["BTCUSDT"], silence_seconds=60, drop=0.5, limit=5)
    said = [json.loads(frame)["data"]["T"] for frame in sent]
    assert min(said) > NOON_MS + 59_000
    assert faults.sent["silent"] + faults.sent["drop"] + len(sent) == len(trades)
    assert faults.sent["drop"] == 5, "silence uses none of the limit"
    assert len(spoiled(some(tape, "ETHUSDT"), silent=["BTCUSDT"])[0]) == len(some(tape, "ETHUSDT"))


def garbage(tape: Tape, kind: Garbage) -> tuple[str, dict[str, Any]]:
    """A frame of a kind of garbage, and the trade in whose place it came."""
    trades = some(tape, seconds=30)
    sent, faults = spoiled(trades, garbage=0.1, kinds=[kind], limit=1)
    assert faults.sent == {kind: 1}
    assert len(sent) == len(trades)
    [(frame, line)] = [
        (frame, line) for frame, line in zip(sent, trades.lines(), strict=True) if frame != combined("BTCUSDT", line)
    ]
    return frame, json.loads(line)


def test_half_a_frame_is_no_json(tape: Tape) -> None:
    frame, _ = garbage(tape, Garbage.NO_JSON)
    with pytest.raises(json.JSONDecodeError):
        json.loads(frame)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        pytest.param(Garbage.NO_NUMBER, lambda _: {"p": "expensive"}, id="a price that is no number"),
        pytest.param(Garbage.NEGATIVE_QUANTITY, lambda trade: {"q": f"-{trade['q']}"}, id="a negative quantity"),
        pytest.param(Garbage.ID_BACKWARDS, lambda trade: {"a": trade["a"] - 1_000}, id="an id that goes backwards"),
        pytest.param(Garbage.FUTURE, lambda trade: {k: trade[k] + DAY_MS for k in "ET"}, id="tomorrow"),
        pytest.param(Garbage.YEAR_OLD, lambda trade: {k: trade[k] - 365 * DAY_MS for k in "ET"}, id="a year ago"),
        pytest.param(Garbage.UNASKED_SYMBOL, lambda _: {"s": UNASKED}, id="a symbol nobody asked for"),
        pytest.param(Garbage.HUGE, lambda _: {"q": "9" * HUGE_BYTES}, id="ten megabytes"),
    ],
)
def test_garbage_differs_from_its_trade_in_one_thing(tape: Tape, kind: Garbage, change: Any) -> None:
    frame, trade = garbage(tape, kind)
    changed = trade | change(trade)
    assert frame == combined(changed["s"], json.dumps(changed, separators=(",", ":")))


def test_garbage_may_lack_a_field(tape: Tape) -> None:
    frame, trade = garbage(tape, Garbage.MISSING_FIELD)
    assert json.loads(frame)["data"] == {key: value for key, value in trade.items() if key != "q"}


def test_all_kinds_come_but_the_huge_one_only_when_it_is_named(tape: Tape) -> None:
    _, faults = spoiled(some(tape, seconds=600), garbage=0.2)
    assert set(faults.sent) == set(ALL)


def test_a_stream_loses_what_was_ordered_on_every_connection_and_rest_has_it(server: Server) -> None:
    server.order(drop=0.3, symbols=["BTCUSDT"])
    start = server.now_ms()
    with server.stream("BTCUSDT") as first, server.stream("BTCUSDT") as second:
        server.wait(20)
        trades = server.tape.between("BTCUSDT", start + 1, start + 20_001)
        fates = server.api.venue.faults.fates(trades)
        kept = [trade for trade, fate in zip(trades.ids.tolist(), fates, strict=True) if fate is None]
        assert 0 < len(kept) < len(trades)
        assert [trade["a"] for trade in data(first, len(kept))] == kept
        assert [trade["a"] for trade in data(second, len(kept))] == kept


def test_a_symbol_falls_silent_while_its_connection_lives(server: Server) -> None:
    server.order(silent=["BTCUSDT"], silence_seconds=30)
    with server.stream("BTCUSDT", "ETHUSDT") as websocket:
        server.wait(30)
        count = len(server.tape.between("ETHUSDT", server.now_ms() - 29_999, server.now_ms() + 1))
        assert {trade["s"] for trade in data(websocket, count)} == {"ETHUSDT"}
        server.wait(10)
        assert {trade["s"] for trade in data(websocket, 60)} == {"BTCUSDT", "ETHUSDT"}


def test_ten_megabytes_reach_a_client(server: Server) -> None:
    server.order(garbage=1.0, kinds=["huge"], limit=1)
    with server.connect("ws/btcusdt@aggTrade") as websocket:
        server.wait(3)
        sizes = [len(frame) for frame in frames(websocket, 8)]
    assert sizes[0] > HUGE_BYTES
    assert max(sizes[1:]) < 200


def test_an_order_is_called_off_by_an_empty_one(server: Server) -> None:
    server.order(drop=1.0)
    with server.stream("BTCUSDT") as websocket:
        server.wait(5)
        with pytest.raises(TimeoutError):
            websocket.recv(timeout=0.15)
        start = server.now_ms()
        server.order()
        server.wait(5)
        assert data(websocket, 1)[0]["a"] == server.tape.next_id("BTCUSDT", start + 1)
