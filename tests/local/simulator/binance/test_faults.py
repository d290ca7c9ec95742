"""Every fault of the venue: what the websocket then sends, that it is the same each time, and that REST stays true."""

import json
from collections import Counter
from typing import Any

import pytest

from local.simulator.binance.faults import HUGE_BYTES, UNASKED, FrameFaults, Garbage, Spoiler, VenueOrder, combined
from local.simulator.binance.tape import DAY_MS, Tape
from local.simulator.market import Market
from tests.local.simulator.binance.conftest import NOON_MS, WAIT_SECONDS

TAPE = Tape(Market(7, 600), 5.0)
TRADES = TAPE.between("BTCUSDT", NOON_MS + 1, NOON_MS + 600_001)
LINES = TRADES.lines()
WHOLE = [combined("BTCUSDT", line) for line in LINES]


def spoiled(step: int = 10_000, **order: Any) -> tuple[list[str], Counter[str]]:
    """The frames of ten minutes and what was counted, the trades handed over in steps of so many."""
    faults, spoiler = FrameFaults(VenueOrder(**order), NOON_MS), Spoiler("BTCUSDT", combined)
    frames: list[str] = []
    for start in range(0, len(TRADES), step):
        part = slice(start, start + step)
        frames += spoiler.frames(TRADES[part], LINES[part], faults)
    return frames, faults.sent


def ids(frames: list[str]) -> list[int]:
    return [json.loads(frame)["data"]["a"] for frame in frames]


def test_without_an_order_nothing_is_spoiled():
    assert spoiled() == (WHOLE, Counter())


@pytest.mark.parametrize("fault", ["drop", "duplicate", "reorder", "garbage"])
def test_a_fault_hits_its_share_the_same_however_the_trades_come(fault):
    frames, sent = spoiled(**{fault: 0.1})
    assert 0.07 < sent.total() / len(WHOLE) < 0.13
    assert spoiled(step=1, **{fault: 0.1}) == (frames, sent)
    assert spoiled(seed=2, **{fault: 0.1})[0] != frames


def test_dropped_trades_are_missing_and_the_others_in_order():
    frames, sent = spoiled(drop=0.1)
    assert frames == [frame for frame in WHOLE if frame in set(frames)]
    assert len(frames) == len(WHOLE) - sent["drop"]


def test_a_run_of_drops_is_one_gap():
    lost = sorted(set(TRADES.ids.tolist()) - set(ids(spoiled(drop=0.05, run=50)[0])))
    assert lost
    runs = Counter(trade_id // 50 for trade_id in lost)
    assert all(count == 50 for run, count in runs.items() if run * 50 in lost and run * 50 + 49 <= TRADES.ids[-1])


def test_duplicates_are_the_same_bytes_at_once_or_up_to_three_trades_later():
    frames, sent = spoiled(duplicate=0.1)
    assert Counter(frames) - Counter(WHOLE) == Counter({f: 1 for f, n in Counter(frames).items() if n == 2})
    assert len(frames) == len(WHOLE) + sent["duplicate"]
    first: dict[str, int] = {}
    distances = {n - first[frame] for n, frame in enumerate(frames) if first.setdefault(frame, n) != n}
    assert {1, 2} <= distances
    assert max(distances) <= 7


def test_reordered_trades_come_late_and_none_is_lost():
    frames, sent = spoiled(reorder=0.1)
    assert sent["reorder"]
    assert ids(frames) != sorted(ids(frames))
    assert len(WHOLE) - len(set(frames)) <= 2, "but for those that still wait at the end"
    highest = 0
    for trade_id in ids(frames):
        assert trade_id >= highest - 5
        highest = max(highest, trade_id)


def test_a_limit_ends_the_faults():
    frames, sent = spoiled(drop=0.5, limit=3)
    assert (len(frames), sent) == (len(WHOLE) - 3, {"drop": 3})


def test_only_named_symbols_are_hit():
    assert spoiled(drop=1.0, symbols=("ETHUSDT",))[0] == WHOLE
    assert spoiled(drop=1.0, symbols=("BTCUSDT",))[0] == []


def test_silence_is_of_named_symbols_for_a_time():
    frames, sent = spoiled(silent=("BTCUSDT",), silence_seconds=60)
    assert frames == [frame for frame in WHOLE if json.loads(frame)["data"]["T"] > NOON_MS + 60_000]
    assert sent == {"silent": len(WHOLE) - len(frames)}
    assert spoiled(silent=("ETHUSDT",))[0] == WHOLE


def one_of(kind: Garbage) -> tuple[str, dict[str, Any]]:
    """A frame of garbage and the trade in whose place it came."""
    frames, sent = spoiled(garbage=1.0, kinds=(kind,), limit=1)
    assert sent == {kind: 1}
    assert frames[1:] == WHOLE[1:]
    return frames[0], json.loads(LINES[0])


def test_garbage_that_is_no_json():
    frame, _ = one_of(Garbage.NO_JSON)
    assert WHOLE[0].startswith(frame)
    with pytest.raises(json.JSONDecodeError):
        json.loads(frame)


@pytest.mark.parametrize(
    ("kind", "change"),
    [
        (Garbage.NO_NUMBER, lambda trade: trade | {"p": "expensive"}),
        (Garbage.NEGATIVE_QUANTITY, lambda trade: trade | {"q": f"-{trade['q']}"}),
        (Garbage.ID_BACKWARDS, lambda trade: trade | {"a": trade["a"] - 1_000}),
        (Garbage.FUTURE, lambda trade: trade | {"E": trade["E"] + DAY_MS, "T": trade["T"] + DAY_MS}),
        (Garbage.YEAR_OLD, lambda trade: trade | {"E": trade["E"] - 365 * DAY_MS, "T": trade["T"] - 365 * DAY_MS}),
        (Garbage.UNASKED_SYMBOL, lambda trade: trade | {"s": UNASKED}),
        (Garbage.MISSING_FIELD, lambda trade: {name: cell for name, cell in trade.items() if name != "q"}),
        (Garbage.HUGE, lambda trade: trade | {"q": "9" * HUGE_BYTES}),
    ],
)
def test_garbage_that_is_json_differs_in_what_its_kind_says(kind, change):
    frame, trade = one_of(kind)
    told = json.loads(frame)
    assert told["data"] == change(trade)
    assert told["stream"] == f"{told['data']['s'].lower()}@aggTrade"


def test_garbage_is_of_all_kinds_but_the_huge_one():
    assert set(spoiled(garbage=0.2)[1]) == set(Garbage) - {Garbage.HUGE}


def test_every_connection_loses_the_same_trades_and_rest_has_them(bench):
    bench.order("faults", drop=0.2, duplicate=0.1, symbols=["BTCUSDT"])
    with bench.stream("BTCUSDT", "ETHUSDT") as first, bench.stream("BTCUSDT") as second:
        bench.advance(60)
        trades = bench.tape.between("BTCUSDT", NOON_MS + 1, NOON_MS + 60_001)
        faults, spoiler = FrameFaults(VenueOrder(drop=0.2, duplicate=0.1), NOON_MS), Spoiler("BTCUSDT", combined)
        expected = spoiler.frames(trades, trades.lines(), faults)
        eth = len(bench.tape.between("ETHUSDT", NOON_MS + 1, NOON_MS + 60_001))
        both = [str(first.recv(timeout=WAIT_SECONDS)) for _ in range(len(expected) + eth)]
        assert [frame for frame in both if "btcusdt" in frame] == expected
        assert [str(second.recv(timeout=WAIT_SECONDS)) for _ in expected] == expected
    assert 0 < faults.sent["drop"] == bench.report()["sent"]["drop"] / 2
    rows = bench.rest(symbol="BTCUSDT", fromId=int(trades.ids[0]), limit=1_000).json()
    assert [row["a"] for row in rows] == trades.ids.tolist()


def test_a_halt_that_comes_while_a_stream_is_read_holds_for_it_too(bench):
    with bench.stream("BTCUSDT") as client:
        bench.advance(1)
        bench.order("halts", symbol="BTCUSDT", seconds=20, after_seconds=0)
        bench.advance(29)
        trades = bench.tape.between("BTCUSDT", NOON_MS + 1, NOON_MS + 30_001)
        frames = [str(client.recv(timeout=WAIT_SECONDS)) for _ in range(len(trades))]
    assert frames == [combined("BTCUSDT", line) for line in trades.lines()]
    assert not [stamp for stamp in trades.times.tolist() if NOON_MS + 1_001 <= stamp < NOON_MS + 21_001]


def test_a_frame_of_ten_megabytes_is_sent_whole(bench):
    bench.order("faults", garbage=1.0, kinds=["huge"], limit=1)
    with bench.stream("BTCUSDT") as client:
        bench.advance(3)
        assert len(client.recv(timeout=WAIT_SECONDS)) > HUGE_BYTES
        assert json.loads(client.recv(timeout=WAIT_SECONDS))["data"]["s"] == "BTCUSDT"
