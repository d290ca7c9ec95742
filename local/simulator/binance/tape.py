"""The tape: every aggregate trade as a function of (seed, symbol, id), so that any range can be made alone.

A day has a fixed number of trades, and its minutes have seeded shares of them: nights are quieter, and no two minutes
alike. Inside a minute each trade has a cell of time, and comes somewhere in it; some come together with the one before.
So ids are consecutive, times never go back, and both ways between them are direct.

Everything from the price of a minute on is integer arithmetic: the same trade has the same bytes in any range.
"""

from collections.abc import Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np

from coinbeam.errors import SettingsError
from local.simulator.binance.listing import UNIT, Listing, list_pairs
from local.simulator.market import Market, Recent
from local.simulator.noise import BoolArray, HashArray, IntArray, hashes

MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND = timedelta(milliseconds=1)


def milliseconds(moment: datetime) -> int:
    """An aware instant in whole milliseconds since 1970."""
    return (moment - _EPOCH) // _MILLISECOND


OPENED_MS = milliseconds(datetime(2017, 7, 14, tzinfo=UTC))
"""Nothing was traded before, in milliseconds since 1970."""

MOST_PER_SECOND = 20_000
"""Trades of one symbol; more would leave the 64 bits in which a day is dealt out to its minutes."""

_TOLD_MS = 1
"""How long after a trade the stream tells of it: the distance of ``E`` from ``T``."""

_MINUTES = DAY_MS // MINUTE_MS
_ODDS = 65_536
_LARGEST_QUANTITY = 2**62
_FRAME = (
    '{"e":"aggTrade","E":%d,"s":"{symbol}","a":%d,"p":"%d.%08d","q":"%d.%08d","f":%d,"l":%d,"T":%d,"m":%s,"M":true}'
)
_ROW = '{"a":%d,"p":"%d.%08d","q":"%d.%08d","f":%d,"l":%d,"T":%d,"m":%s,"M":true}'


@dataclass(frozen=True)
class Halt:
    """A hole in the time of a symbol, in ms since 1970: the trades of [``start``, ``end``) come at ``end``."""

    start: int
    end: int


@dataclass(frozen=True)
class Trades:
    """Aggregate trades of one symbol as columns, in the order of their ids.

    Attributes:
        symbol: as Binance writes it.
        ids: aggregate trade ids.
        prices: units of 1e-8.
        quantities: units of 1e-8.
        firsts: ids of the first single trade of each, ``lasts`` of the last one.
        times: milliseconds since 1970.
        makers: whether the buyer was the maker.
    """

    symbol: str
    ids: IntArray
    prices: IntArray
    quantities: IntArray
    firsts: IntArray
    lasts: IntArray
    times: IntArray
    makers: BoolArray

    def __len__(self) -> int:
        return len(self.ids)

    def __getitem__(self, part: slice) -> "Trades":
        """Some of them."""
        columns = {field.name: getattr(self, field.name)[part] for field in fields(self) if field.name != "symbol"}
        return Trades(self.symbol, **columns)

    def lines(self) -> list[str]:
        """Each as the stream sends it: the ``data`` of a combined frame, byte for byte in Binance's form."""
        frame = _FRAME.replace("{symbol}", self.symbol)
        return [frame % cells for cells in zip((self.times + _TOLD_MS).tolist(), *self._cells(), strict=True)]

    def rows(self) -> list[str]:
        """Each as REST answers it: without kind, event time and symbol."""
        return [_ROW % cells for cells in zip(*self._cells(), strict=True)]

    def _cells(self) -> Iterator[list[Any]]:
        yield self.ids.tolist()
        for amounts in (self.prices, self.quantities):
            yield (amounts // UNIT).tolist()
            yield (amounts % UNIT).tolist()
        yield from (column.tolist() for column in (self.firsts, self.lasts, self.times))
        yield ["true" if maker else "false" for maker in self.makers.tolist()]


class Tape:
    """All trades of a market.

    Args:
        market: whose prices they follow.
        trades_per_second: of each symbol, as the mean of a day; another rate is another tape.

    Attributes:
        listings: the pairs by symbol.
        per_day: trades of each symbol on a day.
        version: rises with every change of the halts.

    Raises:
        SettingsError: no tape has such a rate.
    """

    def __init__(self, market: Market, trades_per_second: float = 5.0) -> None:
        if not 0 < trades_per_second <= MOST_PER_SECOND:
            found = f"The tape is asked for {trades_per_second} trades per second."
            raise SettingsError(found, f"local.simulator.trades_per_second is above 0, and at most {MOST_PER_SECOND}.")
        self._market, self._seed = market, market.catalogue.seed
        self.listings = list_pairs(market.catalogue)
        self.per_day = max(1, round(trades_per_second * DAY_MS / 1_000))
        self.version = 0
        self._halts: dict[str, tuple[Halt, ...]] = {}
        self._days: Recent[IntArray] = Recent(1_024)
        self._prices: Recent[IntArray] = Recent(1_024)

    def halt(self, symbol: str, start: int, end: int) -> None:
        """Put a hole into the time of a symbol; the ids stay as they are.

        Args:
            symbol: as Binance writes it.
            start: of the hole, in ms since 1970.
            end: of the hole, not included; the trades in it come then.

        Raises:
            KeyError: nobody trades the symbol.
        """
        self._halts[self.listings[symbol].symbol] = _merged((*self._halts.get(symbol, ()), Halt(start, end)))
        self.version += 1

    def resume(self) -> None:
        """Forget all halts."""
        self._halts = {}
        self.version += 1

    def halts(self) -> dict[str, tuple[Halt, ...]]:
        """All halts by symbol, in the order of time."""
        return dict(self._halts)

    def is_halted(self, symbol: str, at_ms: int) -> bool:
        """Whether an instant lies in a halt of a symbol."""
        return any(halt.start <= at_ms < halt.end for halt in self._halts.get(symbol, ()))

    def next_id(self, symbol: str, at_ms: int) -> int:
        """Id of the first trade at or after an instant in ms since 1970.

        Raises:
            KeyError: nobody trades the symbol.
        """
        pair = self.listings[symbol]
        for halt in self._halts.get(symbol, ()):
            if halt.start < at_ms <= halt.end:
                at_ms = halt.start
        day, in_day = divmod(max(at_ms, OPENED_MS) - OPENED_MS, DAY_MS)
        minute, in_minute = divmod(in_day, MINUTE_MS)
        begin, end = map(int, self._day(pair, day)[minute : minute + 2])
        base = pair.first_id + day * self.per_day
        # In a minute of n trades, those before an instant are n times the share of it that has passed, and at most two
        # more: one that shares its cell, and one that comes with it.
        guess = begin + in_minute * (end - begin) // MINUTE_MS
        low, high = max(begin, guess - 3), min(end, guess + 3)
        if low >= high:
            return base + end
        times = self._nominal_times(pair, np.arange(base + low, base + high, dtype=np.int64))
        return base + low + int(np.searchsorted(times, at_ms))

    def trades(self, symbol: str, first_id: int, last_id: int) -> Trades:
        """The trades with the ids from ``first_id`` to ``last_id``, both included, as far as there are such ids.

        Raises:
            KeyError: nobody trades the symbol.
        """
        pair = self.listings[symbol]
        ids = np.arange(max(first_id, pair.first_id), max(last_id + 1, pair.first_id), dtype=np.int64)
        times = self._nominal_times(pair, ids)
        for halt in self._halts.get(symbol, ()):
            times[(times >= halt.start) & (times < halt.end)] = halt.end
        bits = self._bits("trade", pair, ids)
        makers = (bits & np.uint64(1)).astype(np.bool_)
        prices = self._trade_prices(pair, times, bits, makers)
        single = 2 * np.append(ids, ids[-1:] + 1)
        single += (self._bits("single", pair, single >> 1) & np.uint64(1)).astype(np.int64)
        quantities = _quantities(pair, prices, bits)
        return Trades(symbol, ids, prices, quantities, single[:-1], single[1:] - 1, times, makers)

    def between(self, symbol: str, from_ms: int, to_ms: int) -> Trades:
        """The trades from ``from_ms`` until ``to_ms``, not included, in ms since 1970.

        Raises:
            KeyError: nobody trades the symbol.
        """
        return self.trades(symbol, self.next_id(symbol, from_ms), self.next_id(symbol, to_ms) - 1)

    def _bits(self, stream: str, pair: Listing, ids: IntArray) -> HashArray:
        return hashes(self._seed, f"binance:{stream}:{pair.symbol}", ids)

    def _nominal_times(self, pair: Listing, ids: IntArray) -> IntArray:
        """Times of consecutive trades, without halts."""
        days, number = np.divmod(ids - pair.first_id, self.per_day)
        times = np.empty_like(ids)
        for day in range(int(days[0]), int(days[-1]) + 1) if len(ids) else ():
            of_day = slice(*np.searchsorted(days, [day, day + 1]).tolist())
            times[of_day] = self._times_in_day(pair, day, ids[of_day], number[of_day])
        return times

    def _times_in_day(self, pair: Listing, day: int, ids: IntArray, number: IntArray) -> IntArray:
        ends = self._day(pair, day)
        minute = np.searchsorted(ends, number, side="right") - 1
        cell, cells = number - ends[minute], ends[minute + 1] - ends[minute]
        # One in six of the odd cells is empty: its trade comes in the same millisecond as the one before it.
        together = (cell & 1) * (self._bits("together", pair, ids) % np.uint64(6) == 0).astype(np.int64)
        luck = (self._bits("time", pair, ids - together) % np.uint64(_ODDS)).astype(np.int64)
        in_minute = ((cell - together) * _ODDS + luck) * MINUTE_MS // (cells * _ODDS)
        times: IntArray = OPENED_MS + day * DAY_MS + minute * MINUTE_MS + in_minute
        return times

    def _day(self, pair: Listing, day: int) -> IntArray:
        """How many trades of a day come before each of its minutes, and before the next day."""
        return self._days.get((pair.symbol, day), lambda: self._deal(pair, day))

    def _deal(self, pair: Listing, day: int) -> IntArray:
        minutes = np.arange(_MINUTES, dtype=np.int64)
        from_noon = np.abs((minutes - 15 * 60) % _MINUTES - _MINUTES // 2)  # 720 at 15:00 UTC, 0 twelve hours away
        luck = self._bits("minute", pair, day * _MINUTES + minutes) % np.uint64(601)
        shares = (700 + luck.astype(np.int64)) * (720 + from_noon // 2)
        total = np.append(0, np.cumsum(shares))
        dealt: IntArray = total * self.per_day // total[-1]
        return dealt

    def _trade_prices(self, pair: Listing, times: IntArray, bits: HashArray, makers: BoolArray) -> IntArray:
        """On the line between the prices of two minutes, a little off; a seller takes below it, a buyer above."""
        if not len(times):
            return times.copy()
        hours = range(int(times[0]) // HOUR_MS, int(times[-1]) // HOUR_MS + 1)
        anchors = np.concatenate([self._hour(pair, hour)[:-1] for hour in hours] + [self._hour(pair, hours[-1])[-1:]])
        minute, late = np.divmod(times - hours[0] * HOUR_MS, MINUTE_MS)
        left, right = anchors[minute], anchors[minute + 1]
        middle = left + (right - left) * late // MINUTE_MS
        luck = (bits >> np.uint64(1) & np.uint64(1_023)).astype(np.int64)
        away = np.maximum(middle // 5_000, 2 * pair.tick) * luck // 1_024
        steps = (middle + np.where(makers, -away, away)) // pair.tick
        prices: IntArray = np.maximum(steps, 1) * pair.tick
        return prices

    def _hour(self, pair: Listing, hour: int) -> IntArray:
        """Prices at the 61 full minutes of an hour, in units."""
        return self._prices.get((pair.symbol, hour), lambda: self._minute_prices(pair, hour))

    def _minute_prices(self, pair: Listing, hour: int) -> IntArray:
        dollars = self._market.prices(np.array([pair.slot]), hour + np.arange(61) / 60)[0]
        units: IntArray = np.rint(dollars * UNIT).astype(np.int64)
        return units


def _merged(halts: tuple[Halt, ...]) -> tuple[Halt, ...]:
    """Halts in order; those that meet are one."""
    merged: list[Halt] = []
    for halt in sorted(halts, key=lambda halt: halt.start):
        if merged and halt.start <= merged[-1].end:
            merged[-1] = Halt(merged[-1].start, max(halt.end, merged[-1].end))
        else:
            merged.append(halt)
    return tuple(merged)


def _quantities(pair: Listing, prices: IntArray, bits: HashArray) -> IntArray:
    """Quantities worth 5 to 10 dollars, every second one twice as much, every fourth one four times: up to 42,000."""
    cents = 512 + (bits >> np.uint64(11) & np.uint64(511)).astype(np.int64)
    doublings = bits >> np.uint64(20) & np.uint64(0xFFF)
    lowest = doublings & (~doublings + np.uint64(1))
    cents_of_trade = (cents * np.where(lowest == 0, 4_096, lowest.astype(np.int64))).astype(np.float64)
    # Products and quotients of doubles are the same on every machine: IEEE 754 says their every bit.
    steps = np.floor(cents_of_trade * (UNIT / 100) / prices * (UNIT // pair.step))
    quantities: IntArray = np.clip(steps, 1, _LARGEST_QUANTITY // pair.step).astype(np.int64) * pair.step
    return quantities
