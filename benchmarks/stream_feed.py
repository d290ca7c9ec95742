"""Made-up trades of now, published as the publisher does it: messages of up to 500 trades or 1 s of one symbol, one call
under way at a time, and a heartbeat each second.

The publisher itself is left out: a venue that sends 10,000 trades a second would cost more than what is measured.
"""

import asyncio
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

import numpy as np
from google.pubsub_v1.types import PubsubMessage

from benchmarks.trade_lines import DECIMALS, LEVELS, SHARES, SYMBOLS, line
from coinbeam.clock import utc_now
from coinbeam.feeds.trades.message import WINDOW, Message, bundle, heartbeat
from coinbeam.feeds.trades.topic import async_publisher, topic_path
from coinbeam.settings import Settings

WINDOW_MS = int(WINDOW.total_seconds() * 1_000)

Key = tuple[str, int]
"""Symbol, and begin of a window in milliseconds."""

AFTER_SECONDS = 5.0
"""How long heartbeats go on when no trade comes any more, as they do where nobody trades."""

_CALL_SECONDS = 20.0
_TICK_SECONDS = 0.02
_CYCLE = 10_007
"""Prices and quantities of a symbol repeat after so many trades."""


@dataclass
class Pace:
    """The trades of one symbol: the one of number n happens n steps after the begin.

    Attributes:
        taken: how many were put into messages.
    """

    symbol: str
    begin_ms: float
    step_ms: float
    amounts: list[tuple[float, float]]
    taken: int = 0

    def time(self, number: int) -> int:
        """Milliseconds of a trade."""
        return int(self.begin_ms + number * self.step_ms)

    def due(self, now_ms: float, end_ms: float, most: int, wait_ms: float) -> Iterator[Message]:
        """The messages that are full, or whose first trade waited long enough; nothing is traded after the end."""
        happened = int((min(now_ms, end_ms) - self.begin_ms) / self.step_ms) + 1
        while happened - self.taken >= most or (happened > self.taken and now_ms - self.time(self.taken) >= wait_ms):
            yield self._message(min(happened - self.taken, most))

    def _message(self, count: int) -> Message:
        numbers = range(self.taken, self.taken + count)
        self.taken += count
        lines = [
            line(
                self.symbol, number, self.time(number), *self.amounts[number % _CYCLE], number, number, number % 2 == 0
            )
            for number in numbers
        ]
        return bundle(self.symbol, lines, numbers[0], numbers[-1], self.time(numbers[0]))


@dataclass
class Feed:
    """Trades of all symbols at a rate, and how many there were in each window.

    Attributes:
        lags: seconds by which calls came later than the clock wanted; a busy machine cannot publish in time.
        end_ms: the moment after which nothing was published.
    """

    settings: Settings
    rate: int
    seconds: float
    sent: Counter[Key] = field(default_factory=Counter)
    lags: list[float] = field(default_factory=list)
    end_ms: float = 0.0

    def run(self) -> None:
        """Publish until the time is over."""
        asyncio.run(self._run())

    async def _run(self) -> None:
        client, topic, stream = async_publisher(self.settings), topic_path(self.settings), self.settings.stream
        begin = time.time()
        paces = [pace(number, begin * 1_000, self.rate) for number in range(len(SYMBOLS))]
        beat, last = begin, begin
        self.end_ms = (begin + self.seconds) * 1_000
        while (now := time.time()) < begin + self.seconds + AFTER_SECONDS:
            self.lags.append(now - last - _TICK_SECONDS)
            wait_ms = stream.bundle_seconds * 1_000
            made = [
                message
                for each in paces
                for message in each.due(now * 1_000, self.end_ms, stream.bundle_trades, wait_ms)
            ]
            if now >= beat:
                made.append(heartbeat(utc_now()))
                beat += 1.0
            last = now
            if made:
                sent = [PubsubMessage(data=one.data, attributes=one.attributes) for one in made]
                await client.publish(topic=topic, messages=sent, retry=None, timeout=_CALL_SECONDS)
            await asyncio.sleep(max(0.0, now + _TICK_SECONDS - time.time()))
        for each in paces:
            self.sent.update(windows(each))


def pace(number: int, begin_ms: float, rate: int) -> Pace:
    """The trades of a symbol of the list, which has its share of the rate."""
    rng = np.random.default_rng(number)
    prices = np.round(LEVELS[number] * np.exp(np.cumsum(rng.normal(0, 2e-5, _CYCLE))), DECIMALS[number])
    quantities = np.round(rng.lognormal(0, 1.5, _CYCLE) * 500 / LEVELS[number], 5) + 0.00001
    amounts = list(zip(prices.tolist(), quantities.tolist(), strict=True))
    return Pace(SYMBOLS[number], begin_ms, 1_000 / (rate * SHARES[number]), amounts)


def windows(published: Pace) -> Counter[Key]:
    """How many trades of a symbol were published in each window."""
    counts = Counter[int](published.time(number) // WINDOW_MS for number in range(published.taken))
    return Counter({(published.symbol, minute * WINDOW_MS): count for minute, count in counts.items()})
