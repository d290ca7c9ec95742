"""Which asset a symbol of a venue trades, or is the price of."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from coinbeam.batch.tables import TRADE_SYMBOLS, TRADE_WINDOW_FACT
from coinbeam.clock import format_instant
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError
from coinbeam.feeds.trades.message import PRICE_COLON
from coinbeam.sources.registry import SOURCES
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.staging import merge_rows

DOLLARS = frozenset({"USDT", "USDC", "FDUSD", "TUSD", "USD1", "RLUSD", "USDE", "USD"})
"""Quotes that are the US dollar, or follow it."""

QUOTES = (*DOLLARS, "BTC", "ETH", "BNB", "SOL", "EUR", "EURI", "GBP", "TRY", "BRL", "JPY", "AUD", "MXN", "PLN", "ARS")
"""What symbols of the spot market end with. Source: ``quoteAsset`` of Binance's ``/api/v3/exchangeInfo``."""

_UNITS = {"1000": 1_000, "1M": 1_000_000}
"""Beginnings of tickers that stand for many units: 1000SATS, 1MBABYDOGE."""


@dataclass(frozen=True)
class Pair:
    """A symbol, taken apart: what is traded, of how many units of the asset, and what it is paid with.

    Attributes:
        asset_id: of a polled price, whose symbol names it.
    """

    base_asset: str
    base_units: int
    quote_asset: str
    asset_id: str | None = None

    @property
    def ticker(self) -> str:
        """Of the asset, without the number of units."""
        return next(
            (self.base_asset.removeprefix(name) for name, units in _UNITS.items() if units == self.base_units),
            self.base_asset,
        )


def split(symbol: str) -> Pair:
    """Take a symbol apart: that of a polled price at its colon, another one by the longest quote that it ends with.

    Raises:
        SettingsError: it ends with no known quote, or with nothing before it.
    """
    asset, colon, currency = symbol.rpartition(PRICE_COLON)
    if colon and asset and currency:
        return Pair(asset, 1, currency, asset)
    ends = [quote for quote in QUOTES if symbol.endswith(quote) and symbol != quote]
    if not ends:
        raise SettingsError(
            f"{symbol!r} is no symbol of the spot market: it ends with none of its quotes.",
            "Name pairs as Binance writes them, such as BTCUSDT, and polled prices like bitcoin:usd.",
        )
    quote = max(ends, key=len)
    base = symbol.removesuffix(quote)
    many = next((name for name in _UNITS if base.startswith(name) and base[len(name) :].isalpha()), None)
    return Pair(base, _UNITS[many] if many else 1, quote)


def refuse_twin(warehouse: Warehouse, source_id: str) -> None:
    """Keep simulated and real trades apart: in one warehouse they would meet in one window, and in one topic.

    Raises:
        SettingsError: the warehouse has windows of the twin of this source.
        TransientError: the warehouse does not answer.
    """
    twins = {one.twin: one.id for one in SOURCES if one.twin} | {one.id: one.twin for one in SOURCES if one.twin}
    if (twin := twins.get(source_id)) is None:
        return
    rows = warehouse.rows(
        f"SELECT 1 AS one FROM {warehouse.names()[TRADE_WINDOW_FACT]} "
        "WHERE window_date >= '2010-01-01' AND source_id = @twin LIMIT 1",
        twin=twin,
    )
    if rows:
        raise SettingsError(
            f"This warehouse has windows of {twin}, which those of {source_id} must not join.",
            "`coinbeam local live` puts simulated values aside, `coinbeam local reset` deletes all; or set "
            "COINBEAM_LOCAL__STATE_DIR to another folder.",
        )


def map_symbols(warehouse: Warehouse, symbols: Iterable[str], source_id: str) -> Mapping[str, str | None]:
    """Bring the rows of symbols and of their venue up to date, and tell which asset each symbol trades.

    A ticker belongs to many assets; the best ranked of those that have a price is meant, unless
    ``stream.assets`` names another one.

    Raises:
        SettingsError: a symbol is none.
        TransientError: the warehouse does not answer.
    """
    pairs = {symbol: split(symbol) for symbol in symbols}
    tickers = sorted({pair.ticker.lower() for pair in pairs.values() if pair.asset_id is None})
    best = "ARRAY_AGG(asset_id ORDER BY market_cap_rank, asset_id LIMIT 1)[OFFSET(0)]"
    ranked = warehouse.rows(
        f"SELECT LOWER(symbol) AS ticker, {best} AS asset_id FROM {warehouse.names()['latest_prices']} "
        "WHERE market_cap_rank IS NOT NULL AND LOWER(symbol) IN UNNEST(@tickers) GROUP BY ticker",
        tickers=tickers,
    )
    found = {row["ticker"]: row["asset_id"] for row in ranked}
    told = warehouse.settings.stream.assets
    matches = {symbol: _match(symbol, pair, told, found) for symbol, pair in pairs.items()}
    rows = [
        {
            "symbol": symbol,
            **vars(pair),
            "is_dollar_quote": pair.quote_asset.upper() in DOLLARS,
            "asset_id": matches[symbol][0],
            "matched_by": matches[symbol][1],
            "source_id": source_id,
            "updated_at": format_instant(warehouse.clock()),
        }
        for symbol, pair in pairs.items()
    ]
    venue = next(source for source in SOURCES if source.id == source_id)
    shown = {name: getattr(venue, name) for name in ("name", "kind", "url", "attribution", "description")}
    merge_rows(warehouse, load_contract("source_dim"), [{"source_id": source_id, **shown}])
    merge_rows(warehouse, load_contract(TRADE_SYMBOLS), rows)
    return {symbol: asset for symbol, (asset, _) in matches.items()}


def _match(
    symbol: str, pair: Pair, told: Mapping[str, str], found: Mapping[str, str]
) -> tuple[str, str] | tuple[None, None]:
    """The asset of a symbol, and what says so."""
    if pair.asset_id is not None:
        return pair.asset_id, "id"
    if symbol in told:
        return told[symbol], "setting"
    ranked = found.get(pair.ticker.lower())
    return (ranked, "market_cap_rank") if ranked else (None, None)
