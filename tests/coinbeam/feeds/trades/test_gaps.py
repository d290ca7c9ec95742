"""One symbol, step by step: what REST is asked, what is held, how messages are cut."""

from typing import Any

import orjson
import pytest

from coinbeam.feeds.trades.doubt import MOST_HELD
from coinbeam.feeds.trades.entries import Mark
from coinbeam.feeds.trades.gaps import Ask, Limits, Tracker
from coinbeam.feeds.trades.position import Position
from coinbeam.feeds.trades.seen import Seen
from coinbeam.sources.binance import Trade

LIMITS = Limits(trades=3, seconds=1.0, silence_seconds=60.0)


def trade(id: int, at: int = 0, length: int = 0) -> Trade:
    line = orjson.dumps({"e": "aggTrade", "s": "BTCUSDT", "a": id, "T": at or id, "x": "x" * length})
    return Trade("BTCUSDT", id, at or id, line)


def followed(position: Position | None = None, now: float = 0.0) -> Tracker:
    return Tracker(position or Position("BTCUSDT"), LIMITS, now)


def since(next_id: int, at: int, **changes: Any) -> Position:
    """A position of a symbol that was published up to an id."""
    seen = Seen(0, at)
    seen.next = next_id
    return Position("BTCUSDT", seen, **{"is_started": True, **changes})


def lines(tracker: Tracker, now: float) -> list[tuple[Any, ...]]:
    """Kind and ids of what is published now."""
    found = list[tuple[Any, ...]]()
    while bundle := tracker.take(now):
        rows = [orjson.loads(line) for line in bundle.message.data.splitlines()]
        found += [(row["e"], row.get("a", row.get("f")), *([row["l"]] if "l" in row else [])) for row in rows]
        tracker.acknowledged(bundle)
    return found


def test_a_message_is_due_when_it_is_full_or_old() -> None:
    tracker = followed()
    assert not tracker.is_due(100.0)
    tracker.hear(trade(1), 100.0)
    assert not tracker.is_due(100.9)
    assert tracker.is_due(101.0)
    tracker.hear(trade(2), 100.1)
    assert tracker.is_due(100.1), "the start and two trades are three lines"


def test_a_message_of_long_lines_is_cut_below_what_pubsub_takes() -> None:
    tracker = Tracker(Position("BTCUSDT"), LIMITS._replace(trades=1_000), 0.0)
    for id in range(200):
        tracker.hear(trade(id, 1, 60_000), 0.0)
    bundle = tracker.take(0.0)
    assert bundle is not None
    assert len(bundle.message.data) < 5 * 2**20
    assert bundle.message.attributes["last_id"] == str(len(bundle.entries) - 2)


def test_trades_behind_a_gap_are_held_until_it_is_settled() -> None:
    tracker = followed()
    for id in (1, 4, 5):
        tracker.hear(trade(id), 0.0)
    assert lines(tracker, 2.9) == [("start", 1), ("aggTrade", 1)]
    assert lines(tracker, 3.0) == [("gap", 2, 3), ("aggTrade", 4), ("aggTrade", 5)]


def test_frames_that_changed_places_are_put_in_order_without_a_question() -> None:
    tracker = followed()
    for id in (1, 3, 2):
        tracker.hear(trade(id), 0.0)
    assert tracker.wants(0.2, 0) is None
    assert lines(tracker, 0.2) == [("start", 1), ("aggTrade", 1), ("aggTrade", 2), ("aggTrade", 3)]
    assert tracker.wants(0.3, 0) is None


def test_a_gap_of_which_a_part_came_is_marked_where_it_is_missing() -> None:
    tracker = followed()
    for id in (1, 9, 5):
        tracker.hear(trade(id), 0.0)
    [_, _, *rest] = lines(tracker, 3.0)
    assert rest == [("gap", 2, 4), ("aggTrade", 5), ("gap", 6, 8), ("aggTrade", 9)]
    assert (tracker.counts.gaps_found, tracker.gaps_open) == (2, 2)


def test_rest_is_asked_for_no_more_than_is_missing() -> None:
    tracker = followed()
    for id in (1, 4, 10_000):
        tracker.hear(trade(id), 0.0)
    ask = tracker.wants(0.3, 0)
    assert ask == Ask("BTCUSDT", 2, 3)
    assert ask.limit == 2
    assert tracker.answered(ask, [trade(2), trade(3)], 2, 0.3) == 0
    ask = tracker.wants(0.3, 0)
    assert ask == Ask("BTCUSDT", 5, 9_999)
    assert ask.limit == 1_000


def test_an_answer_without_rows_is_asked_for_again_ever_more_rarely() -> None:
    tracker = followed()
    for id in (1, 3):
        tracker.hear(trade(id), 0.0)
    asked, now = list[float](), 0.0
    while now < 59:
        if ask := tracker.wants(now, 0):
            asked.append(now)
            tracker.answered(ask, [], 0, now)
        now += 0.25
    assert asked == [0.25, 2.25, 6.25, 14.25, 30.25]


def test_what_is_too_old_for_any_window_is_not_fetched() -> None:
    tracker = followed(since(next_id=50, at=1_000), now=0.0)
    ask = tracker.wants(0.0, 5_000)
    assert ask == Ask("BTCUSDT", 50, since=5_000)
    assert tracker.answered(ask, [trade(70, 5_001), trade(71, 5_002)], 2, 0.0) == 20
    assert lines(tracker, 0.0) == [("gap", 50, 69), ("aggTrade", 70), ("aggTrade", 71)]
    assert tracker.wants(1.0, 5_000) is None


def test_a_symbol_is_caught_up_when_rest_has_no_full_answer_any_more() -> None:
    tracker = followed(since(next_id=50, at=49), now=0.0)
    ask = tracker.wants(0.0, 0)
    assert ask == Ask("BTCUSDT", 50)
    tracker.answered(ask, [trade(id) for id in range(50, 1_050)], 1_000, 0.0)
    ask = tracker.wants(0.0, 0)
    assert ask == Ask("BTCUSDT", 1_050)
    tracker.answered(ask, [trade(1_050)], 1, 0.0)
    assert tracker.wants(59.0, 0) is None
    assert not tracker.is_deaf(10.0), "no connection is to blame for what happened before the start"


@pytest.mark.parametrize("rows", [[], [Trade("BTCUSDT", 3, 3, b"{}")]], ids=["no rows", "rows of before"])
def test_a_full_answer_without_news_does_not_make_it_ask_for_ever(rows: list[Trade]) -> None:
    tracker = followed(since(next_id=50, at=49), now=0.0)
    ask = tracker.wants(0.0, 0)
    assert ask
    tracker.answered(ask, rows, 1_000, 0.0)
    assert tracker.wants(1.0, 0) is None


def test_a_silent_symbol_is_deaf_only_if_the_stream_does_not_bring_what_rest_has() -> None:
    tracker = followed()
    tracker.hear(trade(1), 0.0)
    for deaf, start in ((False, 60.0), (True, 200.0)):
        ask = tracker.wants(start, 0)
        assert ask
        assert ask.is_watch
        assert ask.first
        tracker.answered(ask, [trade(ask.first)], 1, start)
        if not deaf:
            tracker.hear(trade(ask.first), start + 1)
        assert not tracker.is_deaf(start + 1.9)
        assert tracker.is_deaf(start + 2.0) == deaf
        assert not tracker.is_deaf(start + 3.0), "it is told once"


def test_a_symbol_that_was_never_heard_of_begins_with_the_newest_trade_of_rest() -> None:
    tracker = followed()
    assert tracker.wants(59.0, 0) is None
    ask = tracker.wants(60.0, 0)
    assert ask == Ask("BTCUSDT", None, is_watch=True)
    assert ask.limit == 1
    tracker.answered(ask, [trade(7)], 1, 60.0)
    assert lines(tracker, 61.0) == [("start", 7), ("aggTrade", 7)]


def test_a_trade_from_before_the_start_is_counted_and_not_published() -> None:
    tracker = followed()
    tracker.hear(trade(5), 0.0)
    assert not tracker.hear(trade(4), 0.0)
    assert lines(tracker, 1.0) == [("start", 5), ("aggTrade", 5)]
    assert (tracker.counts.early, tracker.counts.duplicates) == (1, 0)


def test_a_symbol_that_rest_refuses_is_left_alone_for_a_while() -> None:
    tracker = followed(since(next_id=50, at=49), now=0.0)
    tracker.refused(60.0, 0.0)
    assert tracker.wants(59.0, 0) is None
    assert tracker.wants(60.0, 0)


def test_a_venue_that_counts_anew_closes_no_gap_of_before() -> None:
    tracker = followed()
    for id, at in ((10, 10), (13, 13), (1, 100), (2, 101)):
        tracker.hear(trade(id, at), 0.0)
    tracker.answered(Ask("BTCUSDT", None), [trade(2, 101)], 1, 0.0)
    for id in range(3, 30):
        tracker.hear(trade(id, 200), 0.0)
    assert [line for line in lines(tracker, 9.0) if line[0] != "aggTrade"] == [
        ("start", 10),
        ("gap", 11, 12),
        ("gap", 14, 14),
        ("start", 1),
    ]


def test_a_trade_that_rest_cannot_read_either_is_given_up() -> None:
    tracker = followed()
    for id in (1, 5):
        tracker.hear(trade(id), 0.0)
    ask = tracker.wants(0.3, 0)
    assert ask
    assert tracker.answered(ask, [trade(2), trade(4)], 3, 0.3, [3]) == 1
    assert lines(tracker, 0.4) == [
        ("start", 1),
        ("aggTrade", 1),
        ("aggTrade", 2),
        ("gap", 3, 3),
        ("aggTrade", 4),
        ("aggTrade", 5),
    ]
    assert tracker.wants(59.0, 0) is None


@pytest.mark.parametrize(("id", "at"), [(10**15, 11), (50_000, 11), (4, 12), (0, 12)], ids=["far", "high", "low", "0"])
def test_an_id_that_rest_does_not_know_is_false_and_leaves_no_trace(id: int, at: int) -> None:
    tracker = followed()
    for each in range(1, 11):
        tracker.hear(trade(each), 0.0)
    assert not tracker.hear(trade(id, at), 0.0)
    tracker.hear(trade(11), 0.0)
    ask = tracker.wants(0.0, 0)
    assert ask == Ask("BTCUSDT", None)
    tracker.answered(ask, [trade(11)], 1, 0.1)
    assert [one.id for one in tracker.false] == [id]
    assert lines(tracker, 9.0) == [("start", 1), *(("aggTrade", each) for each in range(1, 12))]
    assert (tracker.waiting, tracker.gaps_open) == (0, 0)
    assert tracker.wants(9.0, 0) is None


def test_an_id_that_is_far_ahead_is_true_if_rest_knows_it() -> None:
    tracker = followed()
    for id in (1, 50_000, 50_001):
        tracker.hear(trade(id, 100 + id % 7), 0.0)
    assert tracker.waiting == 4
    ask = tracker.wants(0.0, 0)
    assert ask == Ask("BTCUSDT", None)
    tracker.answered(ask, [], 0, 0.0)
    assert tracker.wants(0.9, 0) is None, "no answer is no reason to ask at once"
    ask = tracker.wants(1.0, 0)
    assert ask
    tracker.answered(ask, [trade(49_990)], 1, 1.0)
    assert tracker.wants(1.3, 0) == Ask("BTCUSDT", 2, 49_999)
    assert lines(tracker, 4.0)[2:] == [("gap", 2, 49_999), ("aggTrade", 50_000), ("aggTrade", 50_001)]
    assert tracker.waiting == 0


def test_a_long_silence_makes_a_high_id_plausible() -> None:
    tracker = followed(since(next_id=50, at=0))
    assert tracker.hear(trade(5_000_000, 3_600_000), 0.0)


def test_a_flood_of_doubted_trades_is_bounded_and_a_gap_if_they_are_true() -> None:
    tracker = followed()
    tracker.hear(trade(1, 1), 0.0)
    for id in range(10**9, 10**9 + MOST_HELD + 5):
        tracker.hear(trade(id, 1), 0.0)
    assert tracker.waiting == MOST_HELD + 2
    tracker.answered(Ask("BTCUSDT", None), [trade(10**9 + MOST_HELD, 1)], 1, 0.0)
    last = 10**9 + MOST_HELD + 5
    tracker.hear(trade(last, 1), 0.0)
    assert [mark for mark in lines(tracker, 9.0) if mark[0] == "gap"] == [
        ("gap", 2, 10**9 - 1),
        ("gap", 10**9 + MOST_HELD, last - 1),
    ]


def test_an_id_that_was_believed_is_forgotten_when_the_next_ones_are_later() -> None:
    tracker = followed()
    for id, at in ((1, 1), (9_000, 2), (2, 3)):
        tracker.hear(trade(id, at), 0.0)
    assert lines(tracker, 3.0)[2:] == [("aggTrade", 2), ("gap", 3, 8_999), ("aggTrade", 9_000)]
    for id in range(3, 20):
        tracker.hear(trade(id, 5_000 + id), 4.0)
    assert lines(tracker, 9.0) == [("aggTrade", id) for id in range(3, 20)]
    assert tracker.wants(9.0, 0) is None, "there is nothing between 19 and 9,000 to ask for"
    for seen in (tracker.seen, tracker.position.seen):
        assert seen
        assert (seen.next, seen.holes) == (20, [])


def test_a_mark_never_ends_before_it_begins() -> None:
    tracker = followed()
    for id, at in ((1, 900), (3, 500)):
        tracker.hear(trade(id, at), 0.0)
    assert spans(tracker, 3.0) == [(2, 2, 500, 900)]


def spans(tracker: Tracker, now: float) -> list[tuple[Any, ...]]:
    """Ids and times of the gaps that are marked now."""
    found = list[tuple[Any, ...]]()
    while bundle := tracker.take(now):
        found += [mark[2:] for mark in bundle.marks if mark.kind == "gap"]
        tracker.acknowledged(bundle)
    return found


def test_a_mark_reaches_from_the_trade_below_to_the_one_above() -> None:
    tracker = followed()
    for id, at in ((1, 100), (5, 500), (6, 600), (20, 2_000)):
        tracker.hear(trade(id, at), 0.0)
    assert spans(tracker, 3.0) == [(2, 4, 100, 500), (7, 19, 600, 2_000)]
    tracker.hear(trade(10, 1_000), 3.0)
    assert spans(tracker, 6.0) == [(7, 9, 600, 1_000)], "of the part below it, which is a gap of its own"
    tracker.hear(trade(12, 1_200), 6.0)
    assert spans(tracker, 9.0) == [(11, 11, 1_000, 1_200)]


def test_a_gap_is_filled_behind_the_last_of_its_trades() -> None:
    tracker = followed()
    for id in (1, 4):
        tracker.hear(trade(id), 0.0)
    assert lines(tracker, 3.0)[-2:] == [("gap", 2, 3), ("aggTrade", 4)]
    for id in (5, 2, 6, 3, 7):
        tracker.hear(trade(id), 3.0)
    assert lines(tracker, 4.0) == [
        ("aggTrade", 5),
        ("aggTrade", 2),
        ("aggTrade", 6),
        ("aggTrade", 3),
        ("filled", 2, 3),
        ("aggTrade", 7),
    ]
    assert tracker.gaps_open == 0


def restored(position: Position) -> Tracker:
    """A tracker of the next run, from what was written down."""
    return followed(Position.load("BTCUSDT", orjson.loads(orjson.dumps(position.dump()))))


def test_a_kill_after_a_mark_was_sent_leaves_its_gap_to_the_next_run() -> None:
    tracker = followed()
    for id in (1, 4):
        tracker.hear(trade(id), 0.0)
    for _ in range(2):
        bundle = tracker.take(3.0)
        assert bundle
        tracker.position.intend(bundle.marks)
    tracker = restored(tracker.position)
    ask = tracker.wants(0.0, 0)
    assert ask == Ask("BTCUSDT", 1), "nothing was acknowledged"
    tracker.answered(ask, [trade(id) for id in range(1, 5)], 4, 0.0)
    assert lines(tracker, 1.0) == [
        ("start", 1),
        ("aggTrade", 1),
        ("aggTrade", 2),
        ("aggTrade", 3),
        ("filled", 2, 3),
        ("aggTrade", 4),
    ]


def test_a_start_that_is_sent_again_forgets_no_gap() -> None:
    position = Position("BTCUSDT")
    start, gap = Mark("start", "BTCUSDT", 0, 0, 1, 1), Mark("gap", "BTCUSDT", 1, 1, 1, 2)
    position.intend([start, gap])
    position.advance([start])
    assert list(position.gaps) == [(1, 1)]
    position.advance([gap, start])
    assert position.gaps == {}, "the second start is that of a venue that counts anew"


def test_a_gap_of_which_nothing_is_missing_is_filled_when_the_next_run_begins() -> None:
    position = since(next_id=50, at=49, gaps={(2, 3): Mark("gap", "BTCUSDT", 2, 3, 1, 4)})
    assert lines(restored(position), 1.0) == [("filled", 2, 3)]


def test_a_gap_below_the_floor_is_never_called_filled() -> None:
    seen = Seen(0, 0, most=1)
    for id in (2, 4):
        seen.add(id, id)
    assert seen.floor == 2
    assert seen.lacks(1, 1)
    assert not seen.lacks(2, 2)
    assert seen.lacks(4, 5)
