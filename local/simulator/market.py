"""The market: prices of all coins as a pure function of (seed, instant), and the snapshot that the API answers from.

A log price is its base plus value noise on lattices of growing width (one shared factor, one path per coin). It has no
memory, so the answer for an instant is the same at any time and in any order.
"""

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import TypeVar

import numpy as np

from local.simulator.catalogue import MARKET_SIGMA, PERIODS_HOURS, SPARKLINE_POINTS, Catalogue, build_catalogue
from local.simulator.noise import FloatArray, IntArray, hashes, normals, uniforms

CHANGE_PERIODS = {"1h": 1, "24h": 24, "7d": 168, "14d": 336, "30d": 720, "60d": 1440, "200d": 4800, "1y": 8760}
"""Period name to hours."""

_FACTOR_SLOT = np.array([2**40], dtype=np.int64)
_Value = TypeVar("_Value")


def bucket_start(moment: datetime) -> datetime:
    """The start of the server's cache bucket: all answers of a minute are equal (documentation of /coins/markets)."""
    return moment.replace(second=0, microsecond=0)


def epoch_hours(moment: datetime) -> float:
    """Hours since 1970-01-01, with a fraction."""
    return moment.timestamp() / 3600


@dataclass(frozen=True)
class Snapshot:
    """All coins at one instant; prices in US dollars, NaN stands for null.

    Attributes:
        catalogue: the coins.
        at: start of the cache bucket.
        price: current price.
        past: price one period of ``CHANGE_PERIODS`` ago.
        high: highest price of the last 24 hours.
        low: lowest price of the last 24 hours.
        volume: traded in the last 24 hours.
        sparkline: hourly prices of the last seven days, oldest first, one row per coin.
    """

    catalogue: Catalogue
    at: datetime
    price: FloatArray
    past: dict[str, FloatArray]
    high: FloatArray
    low: FloatArray
    volume: FloatArray
    sparkline: FloatArray

    @cached_property
    def identity(self) -> tuple[list[str], list[str]]:
        """Ids and names of this instant."""
        return self.catalogue.identities(int(self.at.timestamp()))

    @cached_property
    def slot_of(self) -> dict[str, int]:
        """Slot by id."""
        return {coin: slot for slot, coin in enumerate(self.identity[0])}

    @cached_property
    def market_cap(self) -> FloatArray:
        """Price times circulating supply; 0 where the API says 0 instead of null, null for a coin with only a price."""
        cap = np.where(self.catalogue.flag("zero_cap"), 0.0, self.price * self.catalogue.number("circulating"))
        return np.where(self.catalogue.flag("bare") | np.isnan(self.price), np.nan, cap)

    @cached_property
    def rank(self) -> IntArray:
        """Market cap rank from 1; 0 is null: no cap, or a rehypothecated token (the method of February 2026)."""
        return self._ranks(np.where(self.catalogue.flag("rehypothecated"), 0.0, self.market_cap))

    @cached_property
    def rank_with_rehypothecated(self) -> IntArray:
        """The rank by the method before February 2026."""
        return self._ranks(self.market_cap)

    @cached_property
    def last_updated(self) -> list[str]:
        """ISO 8601 instants in milliseconds: in the minute before the bucket, for stale coins three days earlier."""
        bits = hashes(self.catalogue.seed, "updated", self.catalogue.slots)
        offsets = (bits % np.uint64(59_900)).astype(np.int64) + 50
        offsets += np.where(self.catalogue.flag("stale"), 3 * 86_400_000, 0)
        stamps = np.datetime64(self.at.replace(tzinfo=None), "ms") - offsets.astype("timedelta64[ms]")
        return [f"{text}Z" for text in np.datetime_as_string(stamps).tolist()]

    def order(self, by: str) -> IntArray:
        """Slots in the order of a ``/coins/markets`` query, as ``volume_asc``; nulls come last in both directions."""
        field, _, direction = by.rpartition("_")
        if field == "id":
            slots = np.argsort(np.array(self.identity[0]), kind="stable")
            return slots[::-1] if direction == "desc" else slots
        values = self.market_cap if field == "market_cap" else self.volume
        return np.argsort(values if direction == "asc" else -values, kind="stable")

    def change_percentage(self, period: str) -> FloatArray:
        """Price change over a period of ``CHANGE_PERIODS``, in percent."""
        change: FloatArray = (self.price / self.past[period] - 1) * 100
        return change

    def _ranks(self, cap: FloatArray) -> IntArray:
        ranked = np.flatnonzero(cap > 0)
        ranks = np.zeros(len(cap), dtype=np.int64)
        ranks[ranked[np.argsort(-cap[ranked], kind="stable")]] = np.arange(1, len(ranked) + 1)
        return ranks


class Market:
    """The market of one seed and number of coins: snapshots, cached by bucket, and price histories of single coins."""

    def __init__(self, seed: int, coins: int) -> None:
        self.catalogue = build_catalogue(seed, coins)
        self._snapshots: Recent[Snapshot] = Recent(3)
        self._hourly: Recent[FloatArray] = Recent(2)

    def snapshot(self, moment: datetime) -> Snapshot:
        """All coins at the start of the cache bucket in which ``moment`` (aware) lies."""
        at = bucket_start(moment)
        return self._snapshots.get(at, lambda: self._snapshot(at))

    def prices(self, slots: IntArray, hours: FloatArray) -> FloatArray:
        """Prices in US dollars, one row per slot, one column per instant (hours since 1970)."""
        coins = self.catalogue
        log_price = _path(coins.seed, slots, coins.number("sigma")[slots], hours)
        factor = _path(coins.seed, _FACTOR_SLOT, np.full(1, MARKET_SIGMA), hours)
        log_price += coins.number("beta")[slots][:, None] * factor
        np.exp(log_price, out=log_price)
        log_price *= coins.number("base_price")[slots][:, None]
        log_price[coins.flag("unpriced")[slots]] = np.nan
        return log_price

    def volumes(self, slots: IntArray, hours: FloatArray) -> FloatArray:
        """Volume of 24 hours in US dollars, shaped as in :meth:`prices`."""
        coins = self.catalogue
        swing = np.exp(_octave(coins.seed, "volume", slots, hours, 24))
        usual = coins.number("base_price") * coins.number("circulating") * coins.number("turnover")
        volumes: FloatArray = usual[slots][:, None] * swing
        return volumes

    def _snapshot(self, at: datetime) -> Snapshot:
        now, slots = epoch_hours(at), self.catalogue.slots
        lags = self.prices(slots, now - np.array([0.0, *CHANGE_PERIODS.values()]))
        price, past = lags[:, 0].copy(), dict(zip(CHANGE_PERIODS, lags[:, 1:].T.copy(), strict=True))
        week = np.arange(int(now) - SPARKLINE_POINTS + 1, int(now) + 1, dtype=np.float64)
        sparkline = self._hourly.get(int(now), lambda: self.prices(slots, week))
        day = sparkline[:, -24:]
        silent = self.catalogue.flag("unpriced") | self.catalogue.flag("bare")
        volume = np.where(silent, np.nan, self.volumes(slots, np.array([now]))[:, 0])
        high, low = np.maximum(day.max(1), price), np.minimum(day.min(1), price)
        return Snapshot(self.catalogue, at, price, past, high, low, volume, sparkline)


class Recent(OrderedDict[Hashable, _Value]):
    """A few values made on demand; the least recently made goes first."""

    def __init__(self, size: int) -> None:
        super().__init__()
        self._size = size

    def get(self, key: Hashable, make: Callable[[], _Value]) -> _Value:  # type: ignore[override]
        """The value of a key, made once."""
        if key not in self:
            self[key] = make()
            while len(self) > self._size:
                self.popitem(last=False)
        return self[key]


def _path(seed: int, slots: IntArray, sigma: FloatArray, hours: FloatArray) -> FloatArray:
    """Deviation of the log price: the sum of all lattices, each half as wide as a random walk after its period."""
    total = np.zeros((len(slots), len(hours)))
    for period in PERIODS_HOURS:
        octave = _octave(seed, f"path{period}", slots, hours, period)
        octave *= 0.5 * period**0.5
        total += octave
    total *= sigma[:, None]
    return total


def _octave(seed: int, stream: str, slots: IntArray, hours: FloatArray, period: int) -> FloatArray:
    """Noise on a lattice of one width, linear between knots."""
    position = hours / period
    left = np.floor(position).astype(np.int64)
    fraction = position - left
    knots = np.unique(np.concatenate([left, left + 1]))
    values = normals(seed, stream, slots[:, None], knots[None, :])
    start = np.searchsorted(knots, left)
    if not fraction.any():
        return values[:, start]
    value = values[:, start + 1]
    value -= (base := values[:, start])
    value *= fraction
    value += base
    return value


def jitter(seed: int, slot: int, stamps: IntArray, bound: int) -> IntArray:
    """Milliseconds in [0, ``bound``) by which each stamp of a history is late; always the same for the same stamp."""
    late: IntArray = (uniforms(seed, "jitter", np.full(len(stamps), slot), stamps) * bound).astype(np.int64)
    return late
