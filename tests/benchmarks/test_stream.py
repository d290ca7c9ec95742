"""The benchmark of the stream measures what it says: what it publishes is counted, and what does not arrive is found."""

import json
import os
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from benchmarks import stream
from benchmarks.stream import Outcome, Sample, Seen, judge, main, outcome_of, quantile
from benchmarks.stream_feed import WINDOW_MS, Feed, pace, windows
from benchmarks.trade_lines import FIRST_MS, SYMBOLS
from coinbeam.settings import Settings

KEY = ("BTCUSDT", FIRST_MS)
GOOD = Outcome(
    published=1_000.0,
    late=0.0,
    windows=2,
    missing=[],
    first=[0.4, 0.9],
    made=[0.1, 0.2],
    whole=[0.4, 1.2],
    memory=[150.0, 200.0, 219.0],
    share=[0.2, 0.2],
    panes=3,
)


@pytest.mark.clients
@pytest.mark.timeout(240)
def test_a_minute_of_the_stream(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A window always closes within 61 s."""
    cores = os.sched_getaffinity(0)
    assert main(["--seconds", "61", "--rate", "500", "--keep", str(tmp_path), "--json"]) == 0
    report: dict[str, Any] = json.loads(capsys.readouterr().out)
    assert report["missing"] == []
    assert report["windows"] in (5, 10)
    assert len(report["first"]) == len(report["made"]) == len(report["whole"]) == report["windows"]
    assert all(0 < made < seen < 20 for made, seen in zip(report["made"], report["first"], strict=True))
    assert 50 < report["memory"][0] < 1_000
    assert 0.001 < report["share"][0] < 1.1
    assert len(report["targets"]) == 4
    assert os.sched_getaffinity(0) == cores


def test_messages_are_full_or_have_waited() -> None:
    made = pace(0, FIRST_MS, 1_000)  # 400 a second
    assert list(made.due(FIRST_MS + 900, FIRST_MS + 9_000, 500, 1_000)) == []
    [waited] = made.due(FIRST_MS + 1_000, FIRST_MS + 9_000, 500, 1_000)
    assert len(waited.data.splitlines()) == 401
    assert waited.attributes | {"first_id": "0", "last_id": "400"} == waited.attributes
    full = list(made.due(FIRST_MS + 4_000, FIRST_MS + 9_000, 500, 10_000))
    assert [len(one.data.splitlines()) for one in full] == [500, 500]
    assert json.loads(full[0].data.splitlines()[0])["a"] == 401


def test_nothing_is_traded_after_the_end_and_all_of_it_is_counted() -> None:
    made = pace(1, FIRST_MS - 1_000, 1_000)  # 250 a second
    messages = list(made.due(FIRST_MS + 60_000, FIRST_MS + 500, 100, 0))
    trades = [json.loads(line) for message in messages for line in message.data.splitlines()]
    assert [trade["a"] for trade in trades] == list(range(376))
    assert max(trade["T"] for trade in trades) == FIRST_MS + 500
    found = Counter((trade["s"], trade["T"] // WINDOW_MS * WINDOW_MS) for trade in trades)
    assert windows(made) == found
    assert set(found) == {(SYMBOLS[1], FIRST_MS - WINDOW_MS), (SYMBOLS[1], FIRST_MS)}


def feed(**sent: int) -> Feed:
    """What was published over two minutes, of windows that closed and of one that did not."""
    keys = {(symbol, FIRST_MS): trades for symbol, trades in sent.items()}
    made = Feed(Settings(), rate=10, seconds=120.0, sent=Counter(keys | {("BTCUSDT", FIRST_MS + WINDOW_MS): 7}))
    made.end_ms = FIRST_MS + WINDOW_MS + 10.0
    return made


SAMPLES = [Sample(at, rss, cpu) for at, rss, cpu in [(1, 100, 1.0), (59, 300, 30.0), (61, 400, 31.0), (119, 600, 60.0)]]


def test_a_window_is_whole_when_all_trades_are_in_it() -> None:
    seen = {KEY: Seen({0.3: 90, 0.5: 100}, made=0.1)}
    outcome = outcome_of(feed(BTCUSDT=100), seen, SAMPLES, panes=2)
    assert (outcome.windows, outcome.missing) == (1, [])
    assert (outcome.first, outcome.made, outcome.whole) == ([0.3], [0.1], [0.5])
    assert outcome.memory == [200 / 1e6, 500 / 1e6]
    assert outcome.share == [0.5, 0.5]
    assert outcome.published == 107 / 120


@pytest.mark.parametrize(
    "counts",
    [
        pytest.param({0.3: 99}, id="a trade is missing"),
        pytest.param({0.3: 101}, id="a trade was counted twice"),
    ],
)
def test_trades_that_did_not_arrive_are_found(counts: dict[float, int]) -> None:
    outcome = outcome_of(feed(BTCUSDT=100, ETHUSDT=5), {KEY: Seen(counts)}, SAMPLES, panes=1)
    assert outcome.missing == [f"BTCUSDT {FIRST_MS}", f"ETHUSDT {FIRST_MS}"]
    assert not judge(outcome, 1)[1].met


@pytest.mark.parametrize(
    ("changed", "met"),
    [
        pytest.param({}, [True] * 4, id="all as it should be"),
        pytest.param({"published": 980.0}, [False, True, True, True], id="too few published"),
        pytest.param({"missing": ["BTCUSDT 0"]}, [True, False, True, True], id="a window lacks trades"),
        pytest.param({"first": [0.4, 1.1]}, [True, True, False, True], id="rows come late"),
        pytest.param({"memory": [150.0, 200.0, 221.0]}, [True, True, True, False], id="memory grows"),
    ],
)
def test_each_target_fails_for_itself(changed: dict[str, Any], met: list[bool]) -> None:
    outcome = Outcome(**(vars(GOOD) | changed))
    assert [target.met for target in judge(outcome, 1_000)] == met


def test_a_run_in_which_no_window_closed_is_a_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    nothing = Outcome(**(vars(GOOD) | {"windows": 0, "first": [], "made": [], "whole": []}))
    monkeypatch.setattr(stream, "run", lambda *_: nothing)
    assert main(["--seconds", "1"]) == 1
    monkeypatch.setattr(stream, "run", lambda *_: GOOD)
    assert main(["--seconds", "1"]) == 0


@pytest.mark.parametrize(("share", "value"), [(0.5, 10), (0.95, 19), (1.0, 20), (0.0, 1)])
def test_quantiles(share: float, value: int) -> None:
    assert quantile(list(range(1, 21)), share) == value
