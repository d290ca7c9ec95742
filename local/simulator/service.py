"""The simulated API without HTTP: parameters in, bytes out, errors as :class:`ApiError`."""

import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime, timedelta

import numpy as np

from coinbeam.clock import Clock, utc_now
from local.simulator.answers import ApiError, beyond_history, plain_error
from local.simulator.binance.venue import Venue
from local.simulator.catalogue import CATEGORIES
from local.simulator.currencies import exchange_rates, units_per_dollar
from local.simulator.details import CoinView, DetailFlags, listed_answer
from local.simulator.faults import FaultInjector, FaultOrder, page_bytes
from local.simulator.history import Span, Step, between, chart, granularity, last_days
from local.simulator.market import Market, Recent, Snapshot
from local.simulator.markets import MarketsQuery, complete, list_rows, market_rows, page_of, select
from local.simulator.noise import IntArray
from local.simulator.rendering import FULL, Row, to_json
from local.simulator.traffic import Traffic

DEMO_HISTORY_DAYS = 365
"""History depth of the keyless and the demo plan. Source: the API's error 10012."""

ALL_DAYS = 20_000
"""More days than the source has; a history starts with its first day anyway."""


@dataclass(frozen=True)
class SimulatorOptions:
    """How a simulator starts, and what ``POST /_control/reset`` returns to; without ``at`` its clock runs."""

    seed: int
    coins: int
    order: FaultOrder = field(default_factory=FaultOrder)
    at: datetime | None = None
    calls_per_minute: float = 60_000
    trades_per_second: float = 5.0


class SimulatedApi:
    """One simulator: a market, a clock, a rate limit (by ``monotonic``), the faults of the moment, and its venue."""

    def __init__(
        self, options: SimulatorOptions, clock: Clock = utc_now, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self.market = Market(options.seed, options.coins)
        self.options, self._clock, self._monotonic = options, clock, monotonic
        self._rows: Recent[list[Row]] = Recent(3)
        self._orders: Recent[IntArray] = Recent(16)
        self._lists: Recent[bytes] = Recent(4)
        self.at = options.at
        self.venue = Venue(self.market, self.now, monotonic, options.trades_per_second)
        self.reset()

    def reset(self) -> None:
        """Go back to the start: its faults, its clock, empty counts and an empty rate window."""
        self.order_faults(self.options.order)
        self.at = self.options.at
        self.traffic = Traffic(self.options.calls_per_minute, self._monotonic)
        self.venue.reset()

    def order_faults(self, order: FaultOrder) -> None:
        """Replace the faults; what failed before may fail again."""
        self.faults = FaultInjector(order)
        self._kinds: Recent[dict[str, str]] = Recent(2)

    def now(self) -> datetime:
        """The simulated instant."""
        return self.at or self._clock()

    def stats(self) -> Row:
        """Calls by path, answers by status, 429s, faults by profile."""
        calls, statuses = self.traffic.calls, self.traffic.statuses
        return {
            "calls": dict(calls),
            "total_calls": calls.total(),
            "statuses": {str(status): count for status, count in sorted(statuses.items())},
            "too_many_requests": statuses[429],
            "faults": dict(self.faults.sent),
            "profile": self.faults.order.profile,
        }

    def fault_report(self) -> Row:
        """The order in force, and which coins its profile corrupts at this instant."""
        return {**self.faults.order.model_dump(mode="json"), "corrupted": self._corrupt_kinds(self._snapshot())}

    def markets(self, query: MarketsQuery) -> bytes:
        """The body of ``/coins/markets``: a bare array.

        Raises:
            ApiError: unknown currency or category.
        """
        snapshot = self._snapshot()
        rate = self._rate(query.vs_currency, snapshot)
        if query.category is not None and query.category not in CATEGORIES:
            raise ApiError(plain_error(404, "category not found"))
        wanted = (snapshot.at, query.order, query.ids, query.category)
        slots = self._orders.get(wanted, lambda: select(snapshot, query))
        query = query.model_copy(update={"per_page": self.faults.page_size(query.per_page)})
        shift = self.faults.page_shift(query.order.startswith("id_"), query.page)
        rows = self._all_rows(snapshot, query.vs_currency, rate, query.precision)
        chosen = page_of(slots, query, shift)
        page = complete(snapshot, rows, chosen[: self.faults.rows_kept(query.page, len(chosen))], query, rate)
        for row in page[: max(0, -shift)]:  # a row that a moved window repeats is seen later than the first time
            row["last_updated"] = snapshot.at.strftime("%Y-%m-%dT%H:%M:%S.000Z")
        self.faults.corrupt(page, self._corrupt_kinds(snapshot))
        return page_bytes(page)

    def exchange_rates(self) -> bytes:
        """The body of ``/exchange_rates``."""
        return to_json({"rates": exchange_rates(self._snapshot())})

    def coin_list(self, include_platform: bool, status: str) -> bytes:
        """The body of ``/coins/list``."""
        snapshot = self._snapshot()
        key = (snapshot.at, include_platform, status)
        return self._lists.get(key, lambda: to_json(list_rows(snapshot, include_platform, status)))

    def coin(self, coin: str, flags: DetailFlags) -> bytes:
        """The body of ``/coins/{id}``.

        Raises:
            ApiError: nobody knows the id.
        """
        snapshot = self._snapshot()
        slot = self._slot(snapshot, coin)
        if slot is None:
            return to_json(listed_answer(snapshot, coin, flags))
        row = self._all_rows(snapshot, "usd", 1.0, None)[slot]
        return to_json(CoinView(snapshot, slot, row).answer(flags))

    def chart_of_days(
        self, coin: str, currency: str, days: str, interval: Step | None, is_pro: bool, precision: str | None
    ) -> bytes:
        """The body of ``/coins/{id}/market_chart``.

        Raises:
            ApiError: unknown coin or currency, ``days`` is no number, or more of them than the plan allows.
        """
        now = self.now()
        if days != "max" and not (days.isdecimal() and int(days)):
            raise ApiError(plain_error(422, "Invalid parameter days"))
        count = ALL_DAYS if days == "max" else min(int(days), ALL_DAYS)
        span = last_days(count, now, interval or granularity(count))
        return self._chart(coin, currency, precision, span, span.start, now, is_pro)

    def chart_of_range(
        self, coin: str, currency: str, start: datetime, end: datetime, is_pro: bool, precision: str | None
    ) -> bytes:
        """The body of ``/coins/{id}/market_chart/range``.

        Raises:
            ApiError: as for :meth:`chart_of_days`, or the range ends before it starts.
        """
        if end < start:
            raise ApiError(plain_error(422, "Invalid parameter: to is before from"))
        now = self.now()
        return self._chart(coin, currency, precision, between(start, end, now), start, now, is_pro)

    def _chart(
        self, coin: str, currency: str, precision: str | None, span: Span, start: datetime, now: datetime, is_pro: bool
    ) -> bytes:
        snapshot = self._snapshot()
        slot, rate = self._slot(snapshot, coin), self._rate(currency, snapshot)
        if not is_pro and start < now - timedelta(days=DEMO_HISTORY_DAYS + 1):  # a day more, for `days=365`
            raise ApiError(beyond_history(now, DEMO_HISTORY_DAYS))
        body = chart(self.market, slot, span, rate, now)
        if precision not in {None, FULL}:  # otherwise charts are not rounded
            body["prices"] = [[stamp, round(price, int(precision or 0))] for stamp, price in body["prices"]]
        return to_json(body)

    def _snapshot(self) -> Snapshot:
        return self.market.snapshot(self.now())

    def _rate(self, currency: str, snapshot: Snapshot) -> float:
        rate = units_per_dollar(currency.lower(), snapshot)
        if rate is None:
            raise ApiError(plain_error(400, "invalid vs_currency"))
        return rate

    def _slot(self, snapshot: Snapshot, coin: str) -> int | None:
        """The slot of an id; None for one that is listed without a market."""
        slot = snapshot.slot_of.get(coin)
        if slot is None and coin not in snapshot.catalogue.list_only:
            raise ApiError(plain_error(404, "coin not found"))
        return slot

    def _all_rows(self, snapshot: Snapshot, currency: str, rate: float, precision: str | None) -> list[Row]:
        key = (snapshot.at, currency.lower(), precision)
        return self._rows.get(key, lambda: market_rows(snapshot, rate, precision))

    def _corrupt_kinds(self, snapshot: Snapshot) -> dict[str, str]:
        priced = ~np.isnan(snapshot.price)
        ids = list(np.array(snapshot.identity[0])[priced])
        return self._kinds.get(snapshot.at, lambda: self.faults.corrupt_kinds(ids))
