"""The limit of REST: request weight per minute, 429 beyond it, and 418 for who goes on."""

import math
from collections.abc import Callable

from local.simulator.answers import Answer
from local.simulator.binance.errors import banned, too_much_weight
from local.simulator.binance.faults import VenueOrder

WINDOW_SECONDS = 60

PATIENCE = 5
"""Refused calls of one minute after which the address is banned."""

BAN_SECONDS = 120
"""The shortest ban of Binance."""


class Weights:
    """Counts the weight of calls by whole minutes, refused ones included, as Binance does.

    Args:
        monotonic: seconds that never go back.
    """

    def __init__(self, monotonic: Callable[[], float]) -> None:
        self._monotonic = monotonic
        self._minute, self._ignored, self._banned_until = -1, 0, -math.inf
        self.used = 0
        self.order(VenueOrder())

    def order(self, order: VenueOrder) -> None:
        """Take the limit and the refusals of an order; a ban is over."""
        self._order, self._refusals, self._banned_until = order, order.refusals, -math.inf

    def charge(self, weight: int, now_ms: int) -> Answer | None:
        """Count a call; the refusal when it is one too many.

        Args:
            weight: of the call.
            now_ms: milliseconds since 1970, for the end of a ban in words.
        """
        now = self._monotonic()
        minute = math.floor(now / WINDOW_SECONDS)
        if minute != self._minute:
            self._minute, self.used, self._ignored = minute, 0, 0
        self.used += weight
        if self._refusals:
            self._refusals -= 1
            return too_much_weight(self._order.weight_per_minute, self._order.retry_after)
        if now >= self._banned_until and self.used <= self._order.weight_per_minute:
            return None
        return self._refuse(now, now_ms)

    def _refuse(self, now: float, now_ms: int) -> Answer:
        self._ignored += 1
        if now >= self._banned_until and self._ignored <= PATIENCE:
            rest = WINDOW_SECONDS * (self._minute + 1) - now
            return too_much_weight(self._order.weight_per_minute, max(1, math.ceil(rest)))
        if now >= self._banned_until:
            self._banned_until = now + BAN_SECONDS
        rest = self._banned_until - now
        return banned(now_ms + round(rest * 1_000), math.ceil(rest))
