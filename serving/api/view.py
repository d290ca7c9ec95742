"""A version of the bundle as the API answers from it; the next version replaces it as a whole."""

import threading
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from functools import cached_property, lru_cache

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from coinbeam.batch.tables import ASSETS
from coinbeam.bundle.reader import Bundle
from coinbeam.clock import Clock, format_instant
from coinbeam.sources.registry import SOURCES
from serving.api.answers import Refusal, not_held
from serving.api.assets import Assets
from serving.api.market import Market, market_at, plain_number

_PAST_HELD = 4
"""Markets of the past, and markets in derived currencies, in memory."""


class View:
    """One version, with what is made of it kept as long as it lives."""

    def __init__(self, bundle: Bundle, clock: Clock) -> None:
        self.bundle, self._clock = bundle, clock
        self._past = lru_cache(maxsize=_PAST_HELD)(self._market_at)
        self._converted = lru_cache(maxsize=_PAST_HELD)(self._derived)
        self._past_assets = lru_cache(maxsize=_PAST_HELD)(self._assets_at)
        self._newest: dict[str, Market | None] = {}
        self._sparklines = lru_cache(maxsize=None)(bundle.sparklines)
        self._lock = threading.Lock()
        bundle.prefetch("charts", "intraday", "sparklines", "tables")
        for currency in bundle.currencies:
            market = self.market(currency, None)
            if market is not None:
                market.rendered, market.orders  # noqa: B018 - made before the first call asks

    @property
    def version(self) -> str:
        """Its name."""
        return self.bundle.version

    def now(self) -> datetime:
        """The present instant."""
        return self._clock()

    @cached_property
    def home_currency(self) -> str:
        """The currency from which others are derived."""
        currencies = self.bundle.currencies
        return "usd" if "usd" in currencies or not currencies else currencies[0]

    @cached_property
    def assets(self) -> Assets:
        """The assets now."""
        return self._assets_at(None)

    def assets_at(self, at: datetime | None) -> Assets:
        """The assets at an instant, or now."""
        return self.assets if at is None else self._past_assets(at)

    def held(self, currency: str, at: datetime | None) -> Market:
        """The market in a currency, at an instant or now, derived where the warehouse holds another currency.

        Raises:
            Refusal: the currency is unknown, or nothing was observed until then.
        """
        market = self.market(currency, at) if currency in self.bundle.currencies else self._converted(currency, at)
        if market is None or not len(market):
            raise self.before_everything(currency)
        return market

    def market(self, currency: str, at: datetime | None) -> Market | None:
        """The market in a currency that the warehouse holds, or None when nothing was observed until then."""
        if at is not None:
            return self._past(currency, at)
        with self._lock:
            if currency not in self._newest:
                self._newest[currency] = self._market_at(currency, None)
            return self._newest[currency]

    @cached_property
    def newest(self) -> datetime | None:
        """When the newest of all prices was observed; None when there is none."""
        return max((market.newest for market in self._newest.values() if market), default=None)

    def rates(self, at: datetime | None = None) -> Mapping[str, float]:
        """Units of each currency for one of the home currency, at the newest snapshot of an instant."""
        snapshot_at = self.bundle.snapshot_at(self.home_currency, at)
        per_bitcoin = self.bundle.rates(self.home_currency, snapshot_at) if snapshot_at else {}
        home = per_bitcoin.get(self.home_currency)
        return {currency: value / home for currency, value in per_bitcoin.items()} if home else {}

    def _derived(self, currency: str, at: datetime | None) -> Market | None:
        rate = self.rates(at).get(currency)
        if rate is None:
            known = ", ".join(self.currencies(at)) or "none"
            raise Refusal(400, f"invalid vs_currency: {currency[:16]} is not held; held are {known}")
        market = self.market(self.home_currency, at)
        return market and market.converted(currency, rate)

    def currencies(self, at: datetime | None = None) -> list[str]:
        """All currencies that prices can be had in: those that are held, then those that are derived."""
        held = self.bundle.currencies
        return [*held, *(currency for currency in sorted(self.rates(at)) if currency not in held)]

    def before_everything(self, currency: str) -> Refusal:
        """Nothing was observed until an instant."""
        first = self.first(currency)
        since = f"; the first is of {first:%Y-%m-%dT%H:%M:%SZ}" if first else ""
        return Refusal(404, f"no price in {currency} was observed until then{since}")

    def first(self, currency: str) -> datetime | None:
        """The first instant of which there is a price."""
        found = list(self.bundle.snapshots.get(currency, ())[:1])
        for grid in self.bundle.grids("charts", currency, 0, round(self._clock().timestamp() * 1_000)):
            times = grid.column("observed_at")
            if not np.isnan(times).all():
                found.append(datetime.fromtimestamp(int(np.nanmin(times)) / 1_000, UTC))
                break
        return min(found, default=None)

    def day(self, currency: str, number: int, midnight: int, until: int) -> tuple[float | int | None, ...]:
        """Price, market cap and volume of an asset at the beginning of a day, as far as observed until an instant."""
        _, found = self.bundle.series("charts", currency, number, midnight, midnight)
        if not len(found) or not found[0, 3] <= until:
            return None, None, None
        return tuple(plain_number(value) for value in found[0, :3])

    def volume_change(self, currency: str, at: datetime | None, volume: float) -> float:
        """Percent by which the volume of the market grew over that of the day before; 0 where that is not known."""
        rows = self.table("market_overview")
        day = (at or self._clock()).date() - timedelta(days=1)
        found = rows.filter(pc.and_(pc.equal(rows["quote_currency"], currency), pc.equal(rows["date"], day)))
        before = found["total_volume"][0].as_py() if found.num_rows else None
        return 100 * (volume / before - 1) if before else 0.0

    def sparklines(self, currency: str) -> Mapping[int, pa.Array]:
        """Hourly prices of seven days of the newest snapshot, by the number of the asset."""
        return self._sparklines(currency)

    def table(self, name: str) -> pa.Table:
        """A table that the bundle holds as a whole."""
        return self.bundle.table(name)

    def number_of(self, asset_id: str) -> int | None:
        """The number of an asset in charts."""
        return self.bundle.numbers.get(asset_id)

    @cached_property
    def sources(self) -> tuple[str, ...]:
        """Where the newest prices came from."""
        return tuple(sorted({source for market in self._newest.values() if market for source in market.sources}))

    @cached_property
    def attribution(self) -> str:
        """What the sources ask to be shown beside the data."""
        texts = [source.attribution for source in SOURCES if source.id in self.sources and source.attribution]
        return "; ".join(dict.fromkeys(texts))

    @cached_property
    def headers(self) -> list[tuple[bytes, bytes]]:
        """What every answer says of the version that it is from."""
        manifest = self.bundle.manifest
        shown = {
            "x-coinbeam-version": manifest.version,
            "x-coinbeam-batch": manifest.batch_id,
            "x-coinbeam-observed-at": format_instant(self.newest) if self.newest else "",
            "x-coinbeam-source": ", ".join(self.sources),
            "x-attribution": self.attribution,
        }
        return [(name.encode(), value.encode("latin-1", "replace")) for name, value in shown.items() if value]

    def _market_at(self, currency: str, at: datetime | None) -> Market | None:
        return market_at(self.bundle, lambda: self.assets_at(at), currency, at, self.now())

    def _assets_at(self, at: datetime | None) -> Assets:
        return Assets.at(self.table(ASSETS), at)


def require_currency(view: View, currency: str) -> str:
    """A currency whose history is held.

    Raises:
        Refusal: it is not.
    """
    if currency in view.bundle.currencies:
        return currency
    if currency in view.rates():
        raise not_held(f"The history in {currency}, which is only derived for snapshots,")
    raise Refusal(
        400, f"invalid vs_currency: {currency[:16]} is not held; held are {', '.join(view.bundle.currencies)}"
    )
