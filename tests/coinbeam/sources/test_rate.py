"""The rate bound holds over all shards, whatever the workers do with their time."""

import math
import threading
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinbeam.errors import SettingsError
from coinbeam.settings import DEFAULT_PLANS
from coinbeam.sources.rate import RateLimiter, shard_count, shard_rate


class FakeTime:
    """A clock that moves when somebody sleeps, and a little longer than asked."""

    def __init__(self, start=0.0, oversleep=lambda: 0.0):
        self.seconds = start
        self.oversleep = oversleep

    def monotonic(self):
        return self.seconds

    def sleep(self, seconds):
        self.seconds += seconds + self.oversleep()


def call_times(limiter, clock, pauses):
    """When a worker calls that works for ``pauses`` between its calls."""
    times = []
    for pause in pauses:
        limiter.acquire()
        times.append(clock.seconds)
        clock.seconds += pause
    return times


def busiest_minute(times):
    """The most calls in any window of 60 s, closed at its start and open at its end."""
    times = sorted(times)
    return max(bisect_left(times, start + 60) - index for index, start in enumerate(times))


def test_the_first_call_waits_for_nothing_and_the_next_for_its_interval():
    clock = FakeTime(start=1000.0)
    limiter = RateLimiter(30, monotonic=clock.monotonic, sleep=clock.sleep)
    assert limiter.acquire() == 0
    assert limiter.acquire() == pytest.approx(2.0, rel=1e-5)
    clock.seconds += 5
    assert limiter.acquire() == 0


@settings(deadline=None)
@given(
    calls_per_minute=st.integers(1, 6),
    journeys=st.lists(
        st.tuples(st.sampled_from([0.0, 0.3, 20.0]), st.sampled_from([0.0, 5.0])), min_size=14, max_size=40
    ),
)
def test_arrivals_keep_the_bound_however_long_each_call_travels(calls_per_minute, journeys):
    clock = FakeTime()
    limiter = RateLimiter(calls_per_minute, monotonic=clock.monotonic, sleep=clock.sleep)
    arrivals = []
    for outward, homeward in journeys:
        limiter.acquire()
        clock.seconds += outward
        arrivals.append(clock.seconds)
        clock.seconds += homeward
    assert busiest_minute(arrivals) <= calls_per_minute


@settings(deadline=None)  # up to 16 shards of 80 calls, on a machine that may be busy
@given(
    calls_per_minute=st.one_of(st.integers(1, 600), st.floats(1, 600)),
    wanted=st.integers(1, 16),
    start=st.floats(0, 1e7),
    data=st.data(),
)
def test_no_minute_over_all_shards_holds_more_calls_than_the_plan(calls_per_minute, wanted, start, data):
    shards = data.draw(st.integers(1, min(wanted, math.floor(calls_per_minute))), label="shards")
    lateness = st.sampled_from([0.0, 0.0, 0.001, 0.5, 30.0])
    every = []
    for shard in range(shards):
        late = data.draw(st.lists(lateness, min_size=1, max_size=5), label=f"oversleep of shard {shard}")
        turns = iter(range(10**9))
        clock = FakeTime(
            start + data.draw(st.floats(0, 90), label="joins after"),
            lambda late=late, turns=turns: late[next(turns) % len(late)],
        )
        limiter = RateLimiter(calls_per_minute, shards, clock.monotonic, clock.sleep)
        count = min(80, 2 * math.ceil(calls_per_minute / shards) + 2)
        every += call_times(limiter, clock, data.draw(st.lists(lateness, min_size=count, max_size=count), label="work"))
    assert busiest_minute(every) <= calls_per_minute


@given(calls_per_minute=st.integers(1, 600))
def test_a_busy_single_shard_uses_the_whole_plan(calls_per_minute):
    clock = FakeTime()
    limiter = RateLimiter(calls_per_minute, 1, clock.monotonic, clock.sleep)
    times = call_times(limiter, clock, [0.0] * (calls_per_minute + 1))
    assert 60 <= times[-1] < 60.01


def test_rounding_up_would_break_the_bound():
    """The case that a naive division gets wrong: 4 shards of 7.5 calls each."""
    every = []
    for _ in range(4):
        clock = FakeTime()
        every += call_times(RateLimiter(30, 4, clock.monotonic, clock.sleep), clock, [0.0] * 20)
    assert busiest_minute(every) == 28
    naive = [n * 60 / 7.5 for n in range(20)] * 4
    assert busiest_minute(naive) == 32


def test_threads_share_one_limiter_without_breaking_the_distance():
    clock = FakeTime()
    limiter = RateLimiter(60, monotonic=clock.monotonic, sleep=clock.sleep)
    waited = []
    threads = [threading.Thread(target=lambda: waited.append(limiter.acquire())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(10)
    assert len(waited) == 8
    assert clock.seconds == pytest.approx(7.0, rel=1e-4)


def test_a_plan_of_less_than_one_call_per_minute_is_spaced_over_minutes():
    clock = FakeTime()
    limiter = RateLimiter(0.5, monotonic=clock.monotonic, sleep=clock.sleep)
    assert call_times(limiter, clock, [0.0, 0.0]) == pytest.approx([0.0, 120.0], rel=1e-5)


@pytest.mark.parametrize(("calls", "shards"), [(5, 16), (0.5, 2), (1.5, 2)])
def test_more_shards_than_calls_per_minute_is_a_settings_error(calls, shards):
    with pytest.raises(SettingsError, match=rf"market.fetch_shards to {shard_count(calls, shards)} or less"):
        RateLimiter(calls, shards)


@pytest.mark.parametrize(("calls", "shards"), [(0, 1), (-1, 1), (math.nan, 1), (math.inf, 1), (10, 0)])
def test_a_quota_that_makes_no_sense_is_a_settings_error(calls, shards):
    with pytest.raises(SettingsError, match="makes no sense"):
        shard_rate(calls, shards)


@pytest.mark.parametrize(
    ("calls", "wanted", "count"),
    [(5, 4, 1), (30, 4, 3), (250, 4, 4), (500, 4, 4), (0.2, 4, 1), (5, 1, 1), (60_000, 16, 16)],
)
def test_shards_are_as_many_as_the_plan_feeds(calls, wanted, count):
    assert shard_count(calls, wanted) == count


@given(calls=st.floats(0.01, 100_000), wanted=st.integers(1, 16))
def test_a_shard_count_is_always_usable_and_wastes_at_most_a_twentieth(calls, wanted):
    count = shard_count(calls, wanted)
    assert 1 <= count <= wanted
    assert count * shard_rate(calls, count) >= 0.95 * (calls if calls < 1 else math.floor(calls))


@pytest.mark.parametrize("plan", DEFAULT_PLANS.values(), ids=DEFAULT_PLANS.keys())
def test_every_plan_feeds_at_least_one_shard(plan):
    assert RateLimiter(plan.calls_per_minute, shard_count(plan.calls_per_minute, 4)).interval_seconds > 0
