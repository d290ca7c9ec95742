"""Who may call: a sliding window of calls per minute, and the counts that tests ask for."""

import math
from collections import Counter, deque
from collections.abc import Callable

from local.simulator.answers import Answer, rate_limited

WINDOW_SECONDS = 60.0


class Traffic:
    """Counts calls and refuses those beyond the limit.

    Args:
        calls_per_minute: a fraction below 1 makes the window longer.
        monotonic: seconds that never go back; not the simulated clock, which may stand still.
    """

    def __init__(self, calls_per_minute: float, monotonic: Callable[[], float]) -> None:
        self._capacity = max(1, int(calls_per_minute))
        self._window = WINDOW_SECONDS * max(1.0, 1 / calls_per_minute)
        self._monotonic = monotonic
        self._admitted: deque[float] = deque()
        self.calls: Counter[str] = Counter()
        self.statuses: Counter[int] = Counter()

    def admit(self, path: str) -> Answer | None:
        """Count a call; the refusal when the window is full. A refused call does not fill the window further."""
        self.calls[path] += 1
        now = self._monotonic()
        while self._admitted and now - self._admitted[0] >= self._window:
            self._admitted.popleft()
        if len(self._admitted) >= self._capacity:
            return rate_limited(max(1, math.ceil(self._window - (now - self._admitted[0]))))
        self._admitted.append(now)
        return None
