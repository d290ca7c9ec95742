"""Any order, duplication and bundling of the same trades gives the same row, and that of exact fractions."""

import random
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.trades.accumulator import CombineTrades, Known, pack_trades, split_conflicts, unpack_trades
from beam_pipelines.trades.lines import COLUMNS, MISSED, Mark, Part, open_marks, read_lines, touched
from beam_pipelines.trades.table import window_row
from beam_pipelines.trades.windows import Run
from coinbeam.feeds.trades.message import FILLED, GAP
from coinbeam.feeds.trades.message import START as FIRST
from tests.beam_pipelines.trades.made import MINUTE, RUN, START, SYMBOL, Trade, figures, lines

MOST_UNITS = 10**17
"""A billion units: beyond it an integer of 1e-8 has no exact float, and sums of products have 60 digits and more."""

trades = st.lists(
    st.builds(
        Trade,
        st.integers(0, 2**61),
        st.integers(1, MOST_UNITS),
        st.integers(1, MOST_UNITS),
        st.integers(0, MINUTE - 1),
        st.integers(1, 1_000),
        st.booleans(),
    ),
    min_size=1,
    max_size=30,
    unique_by=lambda trade: trade.id,
)


def row_of(known: Known) -> dict[str, Any]:
    """The row of what a window knows."""
    table, _ = split_conflicts(known[0])
    return window_row(SYMBOL, START, table, known[1])


def combined(messages: list[bytes], source: random.Random, run: Run = RUN, symbol: str = SYMBOL) -> Known:
    """Messages through accumulators that are merged in some order."""
    combine = CombineTrades()
    held = [combine.create_accumulator() for _ in range(source.randrange(1, 4))]
    for message in messages:
        for part in read_lines(message, run.limits(), symbol):
            assert isinstance(part, Part)
            number = source.randrange(len(held))
            held[number] = combine.add_input(held[number], (pack_trades(part.trades), tuple(part.marks)))
        if source.random() < 0.3:
            held[number] = combine.compact(held[number])
    source.shuffle(held)
    return combine.extract_output(combine.merge_accumulators(held))


@given(trades, st.randoms(use_true_random=False))
def test_order_duplicates_and_bundling_change_no_bit(given_trades: list[Trade], source: random.Random) -> None:
    sent = [*given_trades, *source.choices(given_trades, k=source.randrange(10))]
    source.shuffle(sent)
    messages = []
    while sent:
        size = source.randrange(1, 8)
        messages.append(lines(sent[:size]))
        sent = sent[size:]
    once = combined([lines(given_trades)], random.Random(0))
    again = combined(messages, source)
    assert (again[0].tobytes(), again[1]) == (once[0].tobytes(), once[1])
    assert row_of(again) == figures(given_trades)


def test_a_window_of_many_small_messages_is_that_of_one() -> None:
    many = [Trade(n, 7_000_000_000_000 + n * 13, 1_000 + n, n * 59) for n in range(1_000)]
    shuffled = random.Random(1).sample(many, len(many))
    assert row_of(combined([lines([trade]) for trade in shuffled], random.Random(2))) == figures(many)


def test_a_float_sum_would_not_do() -> None:
    """What the integers are for: the plain sum of the same trades depends on their order."""
    many = [Trade(n, 6_543_210_987_654 + n * 7_919, 12_345_678 + n * 104_729, n * 59) for n in range(1_000)]
    products = [trade.price / 1e8 * (trade.quantity / 1e8) for trade in many]
    assert sum(products) != sum(reversed(products))
    assert row_of(combined([lines(many)], random.Random(0))) == row_of(combined([lines(many[::-1])], random.Random(1)))


@given(st.lists(st.tuples(*[st.integers(-(2**63), 2**63 - 1)] * len(COLUMNS)), max_size=50))
def test_packed_trades_are_the_same_again(rows: list[tuple[int, ...]]) -> None:
    table = np.array(rows, np.int64).reshape(-1, len(COLUMNS))
    packed = pack_trades(table)
    assert packed == pack_trades(table.copy())
    assert (unpack_trades(packed).tolist() if rows else packed) == (table.tolist() if rows else b"")


def test_trades_as_they_come_take_a_fourth_of_their_bytes() -> None:
    many = [Trade(n, 7_000_000_000_000 + n * 1_000_000, 12_345_000 + n * 1_000, n * 59) for n in range(500)]
    [part] = read_lines(lines(many), RUN.limits(), SYMBOL)
    assert isinstance(part, Part)
    assert len(pack_trades(part.trades)) < part.trades.nbytes / 4


@given(st.integers(0, 10**6), st.integers(0, 10**10))
def test_a_mark_touches_its_begin_and_the_day_before_its_end(after: int, length: int) -> None:
    starts = touched(Mark(GAP, 1, 2, START + after, START + after + length))
    first, last = START + after - after % MINUTE, START + after + length
    assert starts[0] == first
    assert starts[-1] == last - last % MINUTE
    assert len(starts) <= 1_442
    assert starts[1:] == list(range(starts[-1] - MINUTE * (len(starts) - 2), starts[-1] + 1, MINUTE))


def test_a_gap_is_closed_only_by_its_own_filling() -> None:
    gap, other = Mark(GAP, 5, 9, 0, 1), Mark(FILLED, 5, 8, 0, 1)
    assert open_marks(frozenset({gap})) == 1
    assert open_marks(frozenset({gap, other})) == 1
    assert open_marks(frozenset({gap, other, Mark(FILLED, 5, 9, 0, 1)})) == 0
    assert open_marks(frozenset({Mark(FIRST, 5, 5, 0, 0), gap})) == 2


def test_a_refused_trade_is_missing_until_its_id_comes() -> None:
    missed = frozenset({Mark(MISSED, 5, 5, 0, 0), Mark(MISSED, 6, 6, 0, 0)})
    assert open_marks(missed) == 2
    assert open_marks(missed, [4, 5]) == 1
    assert open_marks(missed, [4, 5, 6]) == 0
