"""Panes into the fact: whatever order, and however often, the row that knows most is the one that stays."""

import random
from datetime import datetime, timedelta
from typing import Any

import pytest

from coinbeam.batch.tables import REJECTS, TRADE_WINDOW_FACT, TRADE_WINDOW_PANE
from coinbeam.errors import TerminalError
from coinbeam.feeds.trades.merge import append_panes, append_rejects, merge_panes, seek_point, starts_of
from tests.coinbeam.conftest import Stage, reject_row
from tests.coinbeam.feeds.trades.conftest import FIRST, pane, polled

pytestmark = pytest.mark.cloud


def bring(stage: Stage, *panes: dict[str, Any]) -> None:
    """What the sink of the stream does with the panes of one firing."""
    append_panes(stage.warehouse, panes)
    merge_panes(stage.warehouse, *starts_of(panes))


def known(stage: Stage) -> list[tuple[str, datetime, int, int]]:
    """Symbol, window, trades and marks of every row of the fact."""
    rows = stage.contents(TRADE_WINDOW_FACT)
    return [(r["symbol"], r["window_start"], r["agg_trade_count"], r["mark_count"]) for r in rows]


def torn(number: int) -> dict[str, Any]:
    """The pane of a window whose last two trades were not there yet: it misses none between its ids."""
    whole = pane(number)
    return {**whole, "agg_trade_count": 8, "last_agg_trade_id": whole["last_agg_trade_id"] - 2}


def test_a_row_gives_way_only_to_one_that_knows_more(stage: Stage) -> None:
    bring(stage, pane(0, 6), pane(1), pane(2), pane(0, symbol="ETHUSDT"))
    bring(stage, pane(0, 9, pane_index=1, timing="late"), pane(1, 3, run_id="another"))
    bring(stage, pane(0, 9, pane_index=2, mark_count=2, open_mark_count=1, is_complete=False))
    bring(stage, pane(0, 9, pane_index=3, mark_count=1))
    assert known(stage) == [
        ("BTCUSDT", FIRST, 9, 2),
        ("BTCUSDT", FIRST + timedelta(minutes=1), 10, 0),
        ("BTCUSDT", FIRST + timedelta(minutes=2), 10, 0),
        ("ETHUSDT", FIRST, 10, 0),
    ]
    assert len(stage.contents(TRADE_WINDOW_PANE)) == 8


def test_any_order_and_any_repetition_end_the_same(stage: Stage) -> None:
    panes = [pane(n % 3, 1 + n // 3, pane_index=n, mark_count=n % 2) for n in range(30)]
    source = random.Random(1)
    for _ in range(3):
        shuffled = source.sample(panes, len(panes))
        for first in range(0, 30, 10):
            bring(stage, *shuffled[first : first + 10])
    rows = stage.contents(TRADE_WINDOW_FACT)
    assert [row["agg_trade_count"] for row in rows] == [10, 10, 10]
    assert [row["mark_count"] for row in rows] == [1, 0, 1]


def test_a_row_that_the_table_refuses_is_said_by_name(stage: Stage, monkeypatch: pytest.MonkeyPatch) -> None:
    """BigQuery's answer is made up here: the emulator takes some wrong rows, and fails at others with a fault of its
    own.
    """
    said = [{"index": 0, "errors": [{"reason": "invalid", "location": "open_price"}]}]
    monkeypatch.setattr(stage.warehouse.client, "insert_rows_json", lambda *_, **__: said)
    with pytest.raises(TerminalError, match="refuses rows of trade_window_pane"):
        append_panes(stage.warehouse, [pane(open_price="much")])


def test_refused_lines_are_appended_once(stage: Stage) -> None:
    append_rejects(stage.warehouse, [reject_row(1), reject_row(1)])
    append_rejects(stage.warehouse, [reject_row(1), reject_row(2)])
    append_rejects(stage.warehouse, [reject_row(1) | {"batch_id": "another"}])
    assert [row["rejected_id"] for row in stage.contents(REJECTS)] == ["r1", "r1", "r2"]


@pytest.mark.parametrize(
    ("panes", "expected"),
    [
        ([], -1_440 + 4.5),
        ([pane(n) for n in range(-9, 4)], 3),
        ([pane(n, 10 - (n == 1)) for n in range(-9, 4)], 1),
        ([pane(n, 10 - (n == -20)) for n in range(-30, 4)], 3),
        ([pane(n) for n in range(-9, 4) if n != 2], 1),
        ([*(pane(n) for n in range(-30, 4) if n != -20), torn(-20)], -20),
        ([pane(n) for n in range(-10, 1)], 0),
        ([*(pane(n) for n in range(-9, 4)), pane(4, symbol="ETHUSDT")], 3),
        ([pane(n, symbol="ETHUSDT") for n in range(4)], -7),
        ([pane(-20), pane(3, symbol="ETHUSDT")], -7),
        ([pane(n) for n in range(4)], 3),
        ([pane(3), *(polled(n) for n in range(-597, 4))], -7),
        ([pane(3), *(polled(n) for n in range(-30, 4))], -7),
        ([pane(3), polled(-600), polled(3, symbol="ethereum:usd")], -7),
    ],
    ids=[
        "nothing yet",
        "all whole",
        "one misses a trade",
        "one misses a trade for long",
        "one is missing",
        "one lost its end unnoticed",
        "long down",
        "another symbol",
        "nothing of one symbol",
        "a quiet symbol",
        "a cold start",
        "polled prices of ten hours",
        "polled prices",
        "an asset whose price is old",
    ],
)
def test_a_restart_reads_from_the_oldest_open_window(
    stage: Stage, panes: list[dict[str, Any]], expected: float
) -> None:
    if panes:
        bring(stage, *panes)
    found = seek_point(
        stage.warehouse,
        sorted({"BTCUSDT", *(one["symbol"] for one in panes)}),
        FIRST + timedelta(minutes=4, seconds=30),
    )
    assert found == FIRST + timedelta(minutes=expected)
