"""Every source, one row each: what ``source_dim`` shows of it, where it answers, and what it allows."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Source:
    """One source of rows.

    Attributes:
        id: key of ``source_dim``.
        url: its home page.
        attribution: the text that its terms ask to show beside the data.
        hosts: where its API answers.
        key_headers: headers that may carry its key, by plan; none for a keyless API.
        calls_per_minute: what it allows; None where a plan of the settings says so.
        endpoints: landing folders that its bodies fill.
        twin: id of the simulated source that stands for it in a local warehouse.
    """

    id: str
    name: str
    kind: Literal["live", "simulated", "file"]
    description: str
    url: str | None = None
    attribution: str | None = None
    hosts: tuple[str, ...] = ()
    key_headers: tuple[str, ...] = ()
    calls_per_minute: float | None = None
    endpoints: tuple[str, ...] = ()
    twin: str | None = None

    def answering(self, kind: str) -> str:
        """Key of ``source_dim`` of what answers: this source, or its twin where ``kind`` is ``simulator``."""
        return self.twin if kind == "simulator" and self.twin else self.id


COINGECKO_SIMULATOR = Source(
    "coingecko_simulator",
    "CoinGecko simulator",
    "simulated",
    "A deterministic market of our own making; only in local warehouses",
    attribution="Simulated data, not market prices",
)
COINGECKO = Source(
    "coingecko",
    "CoinGecko",
    "live",
    "CoinGecko API v3, as landed",
    "https://www.coingecko.com",
    "Data provided by CoinGecko",
    hosts=("api.coingecko.com", "pro-api.coingecko.com"),
    key_headers=("x-cg-demo-api-key", "x-cg-pro-api-key"),
    endpoints=("markets", "exchange_rates", "coins_list", "coins", "market_chart"),
    twin=COINGECKO_SIMULATOR.id,
)
COINGECKO_EXPORT = Source(
    "coingecko_export",
    "CoinGecko CSV export",
    "file",
    "CSV exports of the CoinGecko website, brought by a user",
    COINGECKO.url,
    COINGECKO.attribution,
)
ALTERNATIVE_ME_SIMULATOR = Source(
    "alternative_me_simulator",
    "Fear & Greed simulator",
    "simulated",
    "A deterministic index of our own making; only in local warehouses",
    attribution="Simulated data, not the real index",
)
ALTERNATIVE_ME = Source(
    "alternative_me",
    "Alternative.me Crypto Fear & Greed Index",
    "live",
    "The API of the index, as landed",
    "https://alternative.me/crypto/fear-and-greed-index/",
    "Crypto Fear & Greed Index by alternative.me",
    hosts=("api.alternative.me",),
    calls_per_minute=60.0,
    endpoints=("fear_greed",),
    twin=ALTERNATIVE_ME_SIMULATOR.id,
)
COINPAPRIKA_SIMULATOR = Source(
    "coinpaprika_simulator",
    "CoinPaprika simulator",
    "simulated",
    "The simulated market as a second source shows it; only in local warehouses",
    attribution="Simulated data, not market prices",
)
COINPAPRIKA = Source(
    "coinpaprika",
    "CoinPaprika",
    "live",
    "A witness of prices; no row of a fact comes from it",
    "https://coinpaprika.com",
    "Data provided by CoinPaprika",
    hosts=("api.coinpaprika.com",),
    calls_per_minute=60.0,
    endpoints=("coinpaprika_tickers",),
    twin=COINPAPRIKA_SIMULATOR.id,
)
BINANCE_SIMULATOR = Source(
    "binance_simulator",
    "Binance simulator",
    "simulated",
    "Trades of the simulated market; only in local warehouses",
    attribution="Simulated data, not market prices",
)
BINANCE = Source(
    "binance",
    "Binance",
    "live",
    "Aggregate trades of the spot market, as they are sent",
    "https://www.binance.com",
    "Market data provided by Binance",
    hosts=("data-stream.binance.vision", "data-api.binance.vision"),
    endpoints=("trades",),
    twin=BINANCE_SIMULATOR.id,
)
FILES = Source("file", "Files brought by a user", "file", "API bodies that were not landed by this system")

SOURCES: tuple[Source, ...] = (
    COINGECKO,
    COINGECKO_SIMULATOR,
    COINGECKO_EXPORT,
    ALTERNATIVE_ME,
    ALTERNATIVE_ME_SIMULATOR,
    COINPAPRIKA,
    COINPAPRIKA_SIMULATOR,
    BINANCE,
    BINANCE_SIMULATOR,
    FILES,
)
"""The rows of ``source_dim``. Attributions are those that the terms of each API ask for; alternative.me allows 60 calls
a minute over ten minutes (its API page)."""

SIMULATED = frozenset(source.id for source in SOURCES if source.kind == "simulated")
"""Ids of the sources whose values are of our own making."""
