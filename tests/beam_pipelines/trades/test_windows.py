"""The stream, event by event: what a pane says on time, late, and of what comes twice or cannot be read."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam
import orjson
import pytest
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.testing import test_stream as streams  # its class would be collected as a test
from apache_beam.testing.util import assert_that
from apache_beam.transforms.window import TimestampedValue
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.trades.lines import Part, RefusedLine, read_lines
from beam_pipelines.trades.windows import PANES, REFUSED, TradeWindows, refused_row
from coinbeam.batch.jobs import STREAM_RUNNER
from coinbeam.batch.tables import REJECTS
from coinbeam.contracts import load_contract
from coinbeam.feeds.trades.message import Message, bundle, filled_mark, gap_mark, heartbeat, start_mark, unreadable
from coinbeam.sources.aggregate_trade import wrong_field
from tests.beam_pipelines.trades.made import MINUTE, NOW, RUN, START, SYMBOL, Trade, figures, lines

SECONDS = START / 1_000
TRADES = [
    Trade(100 + n, 7_000_000_000_000 + n * 37, 10_000_000 + n, n * 5_000, 1 + n % 3, n % 2 == 0) for n in range(12)
]
NEXT = [Trade(112 + n, 7_100_000_000_000 - n, 20_000_000, MINUTE + n * 1_000) for n in range(4)]


def message(trades: Iterable[Trade], *marks: bytes) -> Message:
    """One message of the publisher."""
    known = list(trades)
    ids = [trade.id for trade in known] or [0]
    at = START + min((trade.at for trade in known), default=0)
    return bundle(SYMBOL, [*(trade.line() for trade in known), *marks], min(ids), max(ids), at)


def stream(*events: Message | float) -> streams.TestStream:
    """Messages in this order; a number advances the watermark to so many seconds after the start."""
    made = streams.TestStream().advance_watermark_to(SECONDS - 60)
    for event in events:
        if isinstance(event, Message):
            made = made.add_elements([TimestampedValue(event, int(event.attributes["event_time"]) / 1_000)])
        else:
            made = made.advance_watermark_to(SECONDS + event)
    return made.advance_watermark_to_infinity()


def run(*events: Message | float, panes: Callable[[list[Any]], None], refused: Callable[[list[Any]], None]) -> None:
    """Run the transform over a stream, and check what comes out."""
    options = PipelineOptions(["--streaming"])
    with beam.Pipeline(STREAM_RUNNER, options=options) as pipeline:
        made = pipeline | stream(*events) | TradeWindows(RUN)
        assert_that(made[PANES] | beam.WindowInto(beam.window.GlobalWindows()), panes, label="panes")
        assert_that(made[REFUSED], refused, label="refused")


def rows(found: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Figures without what the run says of itself, in the order of windows and panes."""
    own = {"pane_index", "timing", "run_id", "source_id", "written_at"}
    ordered = sorted(found, key=lambda row: (row["window_start"], row["pane_index"]))
    return [{name: value for name, value in row.items() if name not in own} for row in ordered]


def expect(*wanted: dict[str, Any], timings: tuple[str, ...] | None = None) -> Callable[[list[Any]], None]:
    """The panes, exactly."""

    def check(found: list[Any]) -> None:
        assert rows(found) == list(wanted)
        if timings:
            ordered = sorted(found, key=lambda row: (row["window_start"], row["pane_index"]))
            assert tuple(row["timing"] for row in ordered) == timings

    return check


def reasons(*wanted: str) -> Callable[[list[Any]], None]:
    """The refused lines, by reason."""

    def check(found: list[Any]) -> None:
        assert sorted(row["reason"] for row in found) == sorted(wanted)

    return check


def test_a_window_fires_once_on_time() -> None:
    run(message(TRADES), 61, panes=expect(figures(TRADES), timings=("on_time",)), refused=reasons())


def test_a_late_trade_makes_a_pane_that_knows_all() -> None:
    run(
        message(TRADES[:-1]),
        61,
        message(TRADES[-1:]),
        panes=expect(figures(TRADES[:-1]), figures(TRADES), timings=("on_time", "late")),
        refused=reasons(),
    )


def test_what_is_later_than_a_day_changes_nothing() -> None:
    day = 86_400
    run(
        message(TRADES[:-1]), 61, day + 120, message(TRADES[-1:]), panes=expect(figures(TRADES[:-1])), refused=reasons()
    )


def test_duplicates_overlap_and_order_change_nothing() -> None:
    shuffled = [TRADES[n] for n in (5, 1, 11, 0, 7, 3, 9, 2, 10, 4, 8, 6)]
    run(
        message(shuffled[:7]),
        message(TRADES[3:9]),
        message(shuffled[5:]),
        message(shuffled[5:]),
        61,
        panes=expect(figures(TRADES)),
        refused=reasons(),
    )


def test_a_message_may_hold_two_windows() -> None:
    run(message([*TRADES, *NEXT]), 130, panes=expect(figures(TRADES), figures(NEXT)), refused=reasons())


def test_a_heartbeat_is_no_trade() -> None:
    run(heartbeat(NOW), message(TRADES), 61, panes=expect(figures(TRADES)), refused=reasons())


def test_marks_say_what_is_missing_until_it_is_filled() -> None:
    gap = (SYMBOL, 110, 113, START + TRADES[9].at, START + NEXT[2].at)
    before, after = [*TRADES[:10]], [*NEXT[2:]]
    run(
        message([*before, *after], gap_mark(*gap)),
        130,
        message([*TRADES[10:], *NEXT[:2]], filled_mark(*gap)),
        panes=expect(
            figures(before, open_marks=1, marks=1),
            figures(TRADES, marks=2),
            figures(after, open_marks=1, marks=1),
            figures(NEXT, marks=2),
        ),
        refused=reasons(),
    )


def test_the_window_in_which_a_symbol_is_first_seen_is_not_complete() -> None:
    start = start_mark(SYMBOL, 100, START)
    wanted = figures(TRADES, open_marks=1, marks=1), figures(NEXT)
    run(message([*TRADES, *NEXT], start), 130, panes=expect(*wanted), refused=reasons())


POISON = {
    "no JSON": (b"{x", "not_json"),
    "no UTF-8": (b'{"e":"\xff"}', "not_json"),
    "no object": (b"[1,2]", "not_an_object"),
    "another kind": (TRADES[0].line(e="kline"), "unknown_kind"),
    "no price": (TRADES[0].line(p=...), "missing_field"),
    "a price that is a number": (TRADES[0].line(p=70_000.0), "wrong_value"),
    "a price that is no number": (TRADES[0].line(p="much"), "wrong_value"),
    "a price that is not a number": (TRADES[0].line(p="NaN"), "wrong_value"),
    "nine places": (TRADES[0].line(p="1.123456789"), "wrong_value"),
    "a price without end": (TRADES[0].line(p="1" + "0" * 15), "wrong_value"),
    "a price of nothing": (TRADES[0].line(p="0.00000000"), "not_positive"),
    "a negative quantity": (TRADES[0].line(q="-1.00000000"), "not_positive"),
    "an id that is a text": (TRADES[0].line(a="100"), "wrong_value"),
    "a negative id": (TRADES[0].line(a=-1), "wrong_id"),
    "single trades that go backwards": (TRADES[0].line(f=9, l=3), "wrong_id"),
    "an id beyond 63 bits": (TRADES[0].line(a=2**63), "wrong_value"),
    "single trades that wrap around": (TRADES[0].line(f=2**63 - 1, l=-(2**63)), "wrong_id"),
    "an id that nobody can count on from": (TRADES[0].line(a=2**63 - 1), "wrong_id"),
    "a side that is a text": (TRADES[0].line(m="yes"), "wrong_value"),
    "a year ago": (TRADES[0].line(T=START - 365 * 86_400_000), "too_old"),
    "in an hour": (TRADES[0].line(T=int(NOW.timestamp() * 1_000) + 3_600_000), "in_future"),
    "another symbol": (TRADES[0].line(s="ETHUSDT"), "other_symbol"),
    "no symbol": (TRADES[0].line(s=...), "missing_field"),
    "a gap that ends before it begins": (gap_mark(SYMBOL, 5, 4, START, START), "wrong_value"),
    "a gap without end": (b'{"e":"gap","s":"BTCUSDT","f":1,"T":1764000000000}', "wrong_value"),
}


def test_each_poisoned_line_is_set_aside_and_the_rest_flows() -> None:
    poisoned = message(TRADES[:6], *(line for line, _ in POISON.values()))
    run(
        poisoned,
        message(TRADES[6:]),
        61,
        panes=expect(figures(TRADES, marks=1)),
        refused=reasons(*(reason for _, reason in POISON.values())),
    )


@pytest.mark.parametrize("changes", [{"p": "much"}, {"q": "-1"}, {"l": -1}, {"m": None}], ids=str)
def test_a_window_whose_last_trade_is_refused_is_not_complete_until_it_comes(changes: dict[str, Any]) -> None:
    run(
        message(TRADES[:-1], TRADES[-1].line(**changes)),
        61,
        message(TRADES[-1:]),
        panes=expect(figures(TRADES[:-1], open_marks=1, marks=1), figures(TRADES, marks=1)),
        refused=reasons("wrong_id" if "l" in changes else "not_positive" if "q" in changes else "wrong_value"),
    )


def test_a_trade_that_another_clock_calls_true_is_not_missing_in_silence() -> None:
    ahead = Trade(140, 1, 1, int(NOW.timestamp() * 1_000) - START + 61_000)
    [refused, part] = read_lines(ahead.line(), RUN.limits(), SYMBOL)
    assert isinstance(refused, RefusedLine)
    assert isinstance(part, Part)
    assert [mark.kind for mark in part.marks] == ["missed"]


def test_what_the_publisher_calls_no_trade_is_none_here_whatever_it_looks_like() -> None:
    doubted = [unreadable(line, NOW) for line in (TRADES[-1].line(), b"{x")]
    run(
        *doubted,
        message(TRADES[:-1]),
        61,
        panes=expect(figures(TRADES[:-1])),
        refused=reasons("refused_by_publisher", "not_json"),
    )


def test_a_gap_that_began_days_ago_marks_the_window_in_which_it_ends() -> None:
    gap = gap_mark(SYMBOL, 1, 99, START - 4 * 86_400_000, START)
    run(message(TRADES, gap), 61, panes=expect(figures(TRADES, open_marks=1, marks=1)), refused=reasons())


AMOUNTS = st.text("0123456789.", max_size=22) | st.decimals(0, 10**12, places=8).map(str)


@given(
    st.fixed_dictionaries(
        {
            "p": AMOUNTS | st.none() | st.floats(),
            "q": AMOUNTS,
            "f": st.integers(-2, 2**64) | st.booleans() | st.none(),
            "l": st.integers(-2, 2**64) | st.just(1_000_000_007),
            "m": st.booleans() | st.integers(0, 1),
        }
    )
    | st.builds(
        lambda p, f, n: {"p": p, "q": "1", "f": f, "l": f + n, "m": True},
        AMOUNTS,
        st.integers(0, 9),
        st.integers(-1, 10**9),
    )
)
def test_what_the_publisher_takes_for_a_trade_is_one_here(fields: dict[str, Any]) -> None:
    if wrong_field(fields) is None:
        [part] = read_lines(orjson.dumps(orjson.loads(TRADES[0].line()) | fields), RUN.limits(), SYMBOL)
        assert isinstance(part, Part)


@pytest.mark.parametrize("amount", ["92233720368.54775807", "0.00000001", "1", "00000000001.50"])
def test_the_largest_and_the_smallest_amount_are_taken_by_both(amount: str) -> None:
    line = TRADES[0].line(p=amount)
    assert wrong_field(orjson.loads(line)) is None
    [part] = read_lines(line, RUN.limits(), SYMBOL)
    assert isinstance(part, Part)


@pytest.mark.parametrize("name", [name for name, (_, why) in POISON.items() if why in {"wrong_value", "not_positive"}])
def test_what_is_refused_here_for_its_figures_is_none_for_the_publisher(name: str) -> None:
    row = orjson.loads(POISON[name][0])
    assert row["e"] != "aggTrade" or wrong_field(row) or not isinstance(row["a"], int) or row["a"] >= 2**63


def test_marks_without_end_are_refused_and_the_rest_flows() -> None:
    """Each would be written into each minute of a day."""
    day = 24 * 60 * MINUTE
    marks = [gap_mark(SYMBOL, n, n, START - day + MINUTE, START + n) for n in range(10, 110)]
    found = list(read_lines(b"\n".join([TRADES[0].line(), *marks]), RUN.limits(), SYMBOL))
    assert {one.reason for one in found if isinstance(one, RefusedLine)} == {"too_many_marks"}
    parts = [one for one in found if isinstance(one, Part)]
    assert sum(len(one.trades) for one in parts) == 1
    assert sum(len(one.marks) for one in parts) < 100_000


def test_a_symbol_that_nobody_asked_for_is_refused_line_by_line() -> None:
    strange = Message(Trade(1, 1, 1, 0, symbol="DOGEUSDT").line() + b"\n", {"event_time": str(START)})
    run(strange, message(TRADES), 61, panes=expect(figures(TRADES)), refused=reasons("unknown_symbol"))


def test_a_message_that_is_too_large_is_one_refused_record() -> None:
    large = Message(b"x" * 10_000_001, {"symbol": SYMBOL, "event_time": str(START)})
    run(large, message(TRADES), 61, panes=expect(figures(TRADES)), refused=reasons("too_large"))


def test_of_two_trades_that_claim_one_id_the_smaller_stays_and_the_other_is_refused() -> None:
    other = Trade(105, 1, 1, TRADES[5].at)
    run(
        message([*TRADES, other]),
        61,
        panes=expect(figures([*(t for t in TRADES if t.id != 105), other])),
        refused=reasons("id_claimed_twice"),
    )


@pytest.mark.parametrize("name", POISON)
@pytest.mark.parametrize("is_among_trades", [True, False])
def test_a_refused_line_names_its_place_and_shows_it(name: str, is_among_trades: bool) -> None:
    line, reason = POISON[name]
    data = (lines(TRADES[:1]) if is_among_trades else b"") + line + b"\n"
    [refused] = [found for found in read_lines(data, RUN.limits(), SYMBOL) if isinstance(found, RefusedLine)]
    assert (refused.number, refused.reason, refused.line) == (int(is_among_trades), reason, line)
    row = refused_row(RUN, "message 1", SYMBOL, refused, str(START + MINUTE))
    assert (row["batch_id"], row["snapshot_date"]) == ("stream-20251124", "2025-11-24"), "again it is the same row"
    assert set(row) == set(load_contract(REJECTS).by_name)
    assert (row["table_name"], row["page_uri"], row["payload"]) == (
        "trade_window_fact",
        "message 1",
        line.decode("utf-8", errors="replace"),
    )


@given(
    st.binary(max_size=300)
    | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(repr).map(str.encode)
)
def test_no_bytes_whatever_raise(data: bytes) -> None:
    list(read_lines(data, RUN.limits(), SYMBOL))


@given(
    st.dictionaries(
        st.sampled_from("easpqfTlmU"),
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats()
        | st.text()
        | st.sampled_from(["gap", "aggTrade"]),
    )
)
def test_no_values_whatever_raise(row: dict[str, Any]) -> None:
    data = b"\n".join([TRADES[0].line(), json.dumps({**orjson.loads(TRADES[1].line()), **row}).encode()])
    found = list(read_lines(data, RUN.limits(), SYMBOL))
    assert any(isinstance(one, Part) and len(one.trades) for one in found)
