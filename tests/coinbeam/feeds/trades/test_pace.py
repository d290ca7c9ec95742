"""When something is tried again."""

import asyncio
import random

from coinbeam.clock import utc_now
from coinbeam.feeds.trades.pace import Backoff, ConnectionBudget, Room, Wiring


class FakeTime:
    """A clock that moves only when somebody sleeps."""

    def __init__(self) -> None:
        self.now = 0.0

    async def sleep(self, seconds: float) -> None:
        self.now += seconds

    def wiring(self) -> Wiring:
        return Wiring(utc_now, lambda: self.now, self.sleep)


def test_waits_are_drawn_from_a_range_that_doubles_up_to_its_cap() -> None:
    class Highest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            assert a == 0, "full jitter"
            return b

    backoff = Backoff(0.5, 60.0, Highest())
    assert [backoff.next() for _ in range(9)] == [0.5, 1, 2, 4, 8, 16, 32, 60, 60]
    backoff.reset()
    assert backoff.next() == 0.5
    backoff.tries = 100_000
    assert backoff.next() == 60.0


def test_no_span_of_five_minutes_has_more_than_300_connections() -> None:
    time, opened = FakeTime(), list[float]()
    budget = ConnectionBudget(time.wiring())

    async def open_many() -> None:
        for _ in range(1_000):
            await budget.acquire()
            opened.append(time.now)
            time.now += 0.1

    asyncio.run(open_many())
    assert all(later - earlier >= 300 for earlier, later in zip(opened, opened[300:], strict=False))
    assert opened[-1] < 4 * 300


def test_a_room_is_waited_for_while_it_is_full() -> None:
    async def scene() -> None:
        room = Room(2)
        room.update(2)
        waiting = asyncio.create_task(room.wait())
        await asyncio.sleep(0)
        assert not waiting.done()
        room.update(1)
        await asyncio.wait_for(waiting, 1)

    asyncio.run(scene())
