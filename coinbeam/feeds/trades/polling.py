"""The publisher of polled prices: asks CoinGecko for all of them at once, again and again, and publishes what is new.

::

    CoinGecko <-- poll --> series of each symbol --> Pub/Sub --> positions

A price whose instant is not newer than that of the last one is not sent again. What is not acknowledged when it ends is
lost, if no later poll finds it: nobody can be asked for the prices of the past minute. So no window of polled prices
claims to be complete. What fails is logged, and asked again.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import orjson

from coinbeam.errors import CoinbeamError, SettingsError, TerminalError, TransientError
from coinbeam.feeds.trades.message import FEED, PRICE_COLON, PRICES, Message, unreadable
from coinbeam.feeds.trades.pace import Backoff, Wiring
from coinbeam.feeds.trades.polled import Found, Series, read_answer
from coinbeam.feeds.trades.publish import IDLE_SECONDS, Calls, fitting
from coinbeam.feeds.trades.publisher import DRAIN_SECONDS, Outlet, Places, keep_status, run_until
from coinbeam.feeds.trades.status import PollerStatus
from coinbeam.feeds.trades.store import Store
from coinbeam.settings import StreamSettings
from coinbeam.sources.http.client import ApiAnswer
from coinbeam.sources.http.errors import ApiError, ThrottledError
from coinbeam.sources.rate import BudgetExceededError

_LOGGER = logging.getLogger(__name__)

_FIRST_WAIT, _THROTTLED_WAIT, _LONGEST_WAIT = 5.0, 15.0, 600.0
"""Seconds before a poll that follows one which failed, was refused for its rate, or failed often."""


class Index(Protocol):
    """The part of ``CoinGeckoClient`` that is used here."""

    def prices(self, quote_currency: str, ids: Sequence[str]) -> ApiAnswer:
        """The present prices of assets."""
        ...


@dataclass
class PricePublisher:
    """One run of the publisher of polled prices.

    Attributes:
        symbols: asset and quote currency of each, such as ``bitcoin:usd``.
        index: makes one attempt for each question; this class is the one that is patient.
        stop: set it to end the run.
    """

    settings: StreamSettings
    symbols: Sequence[str]
    source_id: str
    index: Index
    outlet: Outlet
    places: Places
    wiring: Wiring = field(default_factory=Wiring)
    stop: asyncio.Event = field(default_factory=asyncio.Event)

    def __post_init__(self) -> None:
        self._published = _read_positions(self.places.positions)
        self.series = {symbol: Series(symbol, self._published.get(symbol, -1)) for symbol in self.symbols}
        self._by_currency: dict[str, list[str]] = {}
        for symbol in self.symbols:
            asset, _, currency = symbol.rpartition(PRICE_COLON)
            self._by_currency.setdefault(currency, []).append(asset)
        self._calls = Calls(self.outlet.client, self.outlet.topic, self.wiring)
        self._backoff = Backoff(_FIRST_WAIT, _LONGEST_WAIT, self.wiring.rng)
        self._lines = list[Message]()
        self._polls = self._failures = self._unreadable = self._heartbeats = 0
        self._problem: str | None = None
        self._started_at = self.wiring.clock()

    async def run(self) -> None:
        """Poll and publish until told to stop; then publish what waits, for a while.

        Raises:
            TerminalError: Pub/Sub refuses for a reason that stays, or CoinGecko does at the first poll.
        """
        others = (self._poll_all(), keep_status(self.places.status, self.status, self.wiring))
        try:
            await run_until(self.stop, self._send_all(), others)
        finally:
            await self._leave()

    def status(self) -> PollerStatus:
        """What it does at present."""
        return PollerStatus(
            source_id=self.source_id,
            state="stopped" if self.stop.is_set() else "running",
            started_at=self._started_at,
            written_at=self.wiring.clock(),
            polls=self._polls,
            failures=self._failures,
            waiting=self._waiting(),
            unreadable=self._unreadable,
            heartbeats=self._heartbeats,
            retries=self._calls.retries,
            problem=self._calls.problem or self._problem,
            symbols=[series.status() for series in self.series.values()],
        )

    async def _poll_all(self) -> None:
        while True:
            await self.wiring.sleep(await self._poll())

    async def _poll(self) -> float:
        """Ask once; the seconds until the next time."""
        began = self.wiring.monotonic()
        if self._waiting() >= self.settings.waiting_trades:
            return self._failed("as many prices wait for Pub/Sub as may, and no more are polled", 0.0)
        try:
            for currency, assets in self._by_currency.items():
                answer = await asyncio.to_thread(self.index.prices, currency, assets)
                if answer.problem:
                    return self._failed(answer.problem, 0.0)
                self._take(answer, currency)
        except CoinbeamError as error:
            if isinstance(error, TerminalError) and not isinstance(error, BudgetExceededError) and not self._polls:
                raise
            throttled = _THROTTLED_WAIT if isinstance(error, ThrottledError) else 0.0
            asked = (error.retry_after or 0.0) if isinstance(error, ApiError) else 0.0
            return self._failed(str(error), max(throttled, asked))
        self._polls += 1
        self._problem = None
        self._backoff.reset()
        return max(0.0, began + self.settings.poll_seconds - self.wiring.monotonic())

    def _failed(self, problem: str, least: float) -> float:
        wait = max(least, self._backoff.next(), min(_FIRST_WAIT, self.settings.poll_seconds))
        self._failures += 1
        self._problem = problem
        _LOGGER.warning("No prices: %s; another poll in %.0f s", problem, wait)
        return wait

    def _take(self, answer: ApiAnswer, currency: str) -> None:
        """Take the rows of an answer.

        Raises:
            SettingsError: it is the first one, and lacks a symbol that was never published.
        """
        now = self.wiring.clock()
        found = {one.symbol: one for one in read_answer(answer.body, currency, now) if one.symbol in self.series}
        missing = [
            symbol for symbol in self.symbols if symbol.endswith(f"{PRICE_COLON}{currency}") and symbol not in found
        ]
        never = [symbol for symbol in missing if symbol not in self._published]
        if never and not self._polls:
            raise SettingsError(
                f"CoinGecko has no {', '.join(never)}.", "Name ids of its list and a currency, like bitcoin:usd."
            )
        for symbol in missing:
            self.series[symbol].unusable += 1
        for one in found.values():
            if self.series[one.symbol].take(one, now):
                self._pass_on(one)

    def _pass_on(self, found: Found) -> None:
        self._unreadable += 1
        _LOGGER.warning("%s: passed on as it came, for a dead letter: %s", found.symbol, found.fault)
        self._lines.append(unreadable(found.raw, self.wiring.clock()))

    async def _send_all(self) -> None:
        while not self.stop.is_set():
            if not await self._send():
                await self.wiring.sleep(IDLE_SECONDS)
        while await self._send():
            pass

    async def _send(self) -> bool:
        """Publish one call of what waits; False when nothing but a heartbeat was."""
        due = ((series, series.message(self.settings.bundle_trades)) for series in self.series.values())
        taken = [(series, *one) for series, one in due if one]
        messages = [message for _, message, _ in taken] + self._lines
        del messages[fitting(messages) :]
        chosen, lines = taken[: len(messages)], len(messages[len(taken) :])
        beat = self._calls.heartbeat()
        if not messages and not beat:
            return False
        await self._calls.publish([_of_prices(one) for one in messages + beat], self._waiting)
        self._heartbeats += len(beat)
        for series, _, part in chosen:
            series.acknowledged(part)
            self._published[series.symbol] = series.published_at
        del self._lines[:lines]
        if chosen:
            await self._write(self.places.positions, lambda: orjson.dumps(self._published).decode())
        return bool(messages)

    def _waiting(self) -> int:
        return len(self._lines) + sum(len(series.waiting) for series in self.series.values())

    async def _leave(self) -> None:
        if waiting := self._waiting():
            _LOGGER.warning("Pub/Sub did not acknowledge %d prices in %g s; they are lost", waiting, DRAIN_SECONDS)
        await self._write(self.places.status, lambda: self.status().model_dump_json(indent=1))

    async def _write(self, store: Store, text: Callable[[], str]) -> None:
        try:
            await asyncio.to_thread(store.write, text())
        except TransientError as error:
            _LOGGER.warning("%s; after a kill some prices are published again, which changes nothing", error)


def _of_prices(message: Message) -> Message:
    return Message(message.data, message.attributes | {FEED: PRICES})


def _read_positions(store: Store) -> dict[str, int]:
    """The instant of the newest published price of each symbol; without them prices are sent again, to no harm."""
    try:
        found: Any = orjson.loads(store.read() or "{}")
        return {str(symbol): int(at) for symbol, at in found.items()}
    except (ValueError, TypeError, AttributeError) as error:
        _LOGGER.warning("The positions of polled prices cannot be read: %s", error)
        return {}
