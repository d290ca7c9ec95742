"""Asking REST for what the streams did not bring: one question after another, within the weight that may be used."""

import asyncio
import logging
from collections import deque
from collections.abc import Callable

from coinbeam.feeds.trades.gaps import Ask
from coinbeam.feeds.trades.intake import Intake
from coinbeam.feeds.trades.pace import Backoff, Wiring
from coinbeam.sources.binance import BinanceClient
from coinbeam.sources.http.errors import ApiTerminalError, ApiTransientError, ThrottledError

_LOGGER = logging.getLogger(__name__)

_IDLE_SECONDS = 0.1
_REFUSED_SECONDS = 60.0
_THROTTLED_SECONDS = 15.0

ASKED_AGAIN = "%s; REST is asked again in %.1f s"
"""An alert counts it: infra/modules/alerts."""


class Refill:
    """Asks what the trackers want to know, each symbol in turn.

    Args:
        renew: called with a symbol whose connection is deaf for it.
    """

    def __init__(self, client: BinanceClient, intake: Intake, renew: Callable[[str], None], wiring: Wiring) -> None:
        self._client, self._intake, self._renew, self._wiring = client, intake, renew, wiring
        self._turns = deque(intake.trackers)
        self._backoff = Backoff(1.0, 60.0, wiring.rng)

    async def run(self) -> None:
        """Ask until cancelled."""
        while True:
            ask = self._next()
            if ask is None:
                await self._wiring.sleep(_IDLE_SECONDS)
                continue
            await self._intake.room.wait()
            await self._ask(ask)

    def _next(self) -> Ask | None:
        """The next question: symbols take turns, so that a long refill of one does not keep another waiting."""
        now = self._wiring.monotonic()
        for symbol, tracker in self._intake.trackers.items():
            if tracker.is_deaf(now):
                _LOGGER.warning("%s is silent, but REST has newer trades: its connection is replaced", symbol)
                self._renew(symbol)
        for _ in range(len(self._turns)):
            self._turns.rotate(-1)
            if ask := self._intake.ask(self._turns[-1]):
                return ask
        return None

    async def _ask(self, ask: Ask) -> None:
        first = ask.first if ask.since is None else None
        try:
            rows = await asyncio.to_thread(self._client.trades, ask.symbol, first, ask.since, ask.limit)
        except ApiTransientError as error:
            wait = self._backoff.next()
            if isinstance(error, ThrottledError):
                wait += _THROTTLED_SECONDS
            if error.retry_after is not None:
                wait = error.retry_after + self._wiring.rng.uniform(0, 1)
            _LOGGER.warning(ASKED_AGAIN, error, wait)
            await self._wiring.sleep(wait)
        except ApiTerminalError as error:
            _LOGGER.error("%s", error)
            self._intake.trackers[ask.symbol].refused(_REFUSED_SECONDS, self._wiring.monotonic())
        else:
            self._backoff.reset()
            self._intake.answered(ask, rows)
