"""The API quota on a worker: a rate bound that holds on any number of them, and a cap on the calls of each."""

import math
import threading
import time
from collections import deque
from collections.abc import Callable

from coinbeam.errors import SettingsError, TerminalError, TransientError
from coinbeam.settings import PlanLimits, Settings, SimulatorSettings
from coinbeam.sources.registry import COINGECKO_SIMULATOR

WINDOW_SECONDS = 60.0
"""Plans are sold in calls per minute."""

_TOLERATED_LOSS = 0.05
_ROUNDING_MARGIN = 1e-6  # a sum of rounded intervals must not fall short of the window


class BudgetExceededError(TerminalError):
    """A run needs more calls than the plan has left."""


class CallsSpentError(TransientError):
    """A walk is longer than what was reserved for it; another attempt reserves anew, and knows more.

    Attributes:
        calls: attempts of the same question that were made before it.
        throttled: how many of them were refused for their rate.
    """

    calls = 0
    throttled = 0


def quota(settings: Settings, source_id: str | None) -> PlanLimits | SimulatorSettings:
    """What a market allows to all jobs together, a minute and a month: the plan, or the simulator."""
    return settings.local.simulator if source_id == COINGECKO_SIMULATOR.id else settings.coingecko.limits


class CallCap:
    """The most calls that a client may make of what its job reserved, each attempt counted. Threads may share it."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self.made = 0

    def take(self) -> None:
        """Count one call that is about to be made.

        Raises:
            CallsSpentError: it would be one too many; do not make it.
        """
        with self._lock:
            if self.made >= self._limit:
                raise CallsSpentError(
                    f"All {self._limit:,} calls that were reserved for this walk are made, retries included.",
                    "Run the job again: what was landed is not asked for again, and the rest is reserved anew.",
                )
            self.made += 1


class RateLimiter:
    """The rate bound of one shard: evenly spaced calls, whose sum over all shards stays within the plan.

    The bound is global by construction, without any talk between workers. All calls are divided over a fixed number of
    shards, each shard makes its calls one after another, and each has its share of the quota: ``floor(calls_per_minute
    / shards)`` calls in any window of 60 s. Rounding down matters: four shards of 7.5 evenly spaced calls each can put
    32 calls into one minute of a plan of 30.

    The server counts arrivals, not departures: a call that was slow on its way would share a window with one call too
    many. The next call comes after the last answer, so that has arrived by then; a window is counted
    from that moment.

    Every job that runs at the same time counts as shards of its own. A worker that is restarted forgets its last call,
    so each restart may add one call to a window; the client's handling of 429 covers that. Threads may share a limiter.
    """

    def __init__(
        self,
        calls_per_minute: float,
        shards: int = 1,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Make the limiter of one shard of a plan of so many calls per minute.

        Raises:
            SettingsError: the plan is too small for that many shards.
        """
        rate = shard_rate(calls_per_minute, shards)
        self.interval_seconds = WINDOW_SECONDS / rate * (1 + _ROUNDING_MARGIN)
        self._arrived: deque[float] = deque(maxlen=max(1, math.floor(rate)))  # the calls of a full window
        self._monotonic, self._sleep, self._lock = monotonic, sleep, threading.Lock()
        self._next_call = -math.inf

    def acquire(self) -> float:
        """Block until the next call is allowed.

        The distance is counted from the moment the last call was really released, so that a late wake-up never brings
        two calls closer together; and the call waits until a whole window has passed since the one that opens it had
        surely arrived.

        Returns:
            Seconds waited.
        """
        with self._lock:
            started = now = self._monotonic()
            if self._next_call > -math.inf:
                self._arrived.append(started)
            if len(self._arrived) == self._arrived.maxlen:
                self._next_call = max(self._next_call, self._arrived[0] + len(self._arrived) * self.interval_seconds)
            while now < self._next_call:
                self._sleep(self._next_call - now)
                now = self._monotonic()
            self._next_call = now + self.interval_seconds
            return now - started


def shard_rate(calls_per_minute: float, shards: int) -> float:
    """Calls per minute of one shard: whole calls, so that no window of 60 s over all shards exceeds the plan.

    Raises:
        SettingsError: there is not one call per minute for each shard; use `shard_count`.
    """
    if not (math.isfinite(calls_per_minute) and calls_per_minute > 0 and shards >= 1):
        raise SettingsError(
            f"A quota of {calls_per_minute} calls per minute over {shards} shards makes no sense.",
            "Set calls_per_minute of the plan above 0, and at least one shard.",
        )
    if shards == 1 and calls_per_minute < 1:
        return calls_per_minute
    whole_calls = math.floor(calls_per_minute / shards)
    if whole_calls < 1:
        raise SettingsError(
            f"{shards} shards cannot share {calls_per_minute:g} calls per minute: each needs at least one.",
            f"Set market.fetch_shards to {shard_count(calls_per_minute, shards)} or less, or choose a larger "
            "coingecko.plan.",
        )
    return float(whole_calls)


def shard_count(calls_per_minute: float, wanted: int) -> int:
    """The most shards, up to ``wanted``, that leave at most 5 % of the plan unused by rounding.

    A plan of 5 calls per minute gets one shard, 30 get three (of 10 each; four of 7 would lose two calls), 500 four.
    """
    usable = max(1, math.floor(calls_per_minute))
    enough = (1 - _TOLERATED_LOSS) * usable
    counts = range(max(1, min(wanted, usable)), 0, -1)
    return next(count for count in counts if count == 1 or count * (usable // count) >= enough)
