"""CoinPaprika: a client for its tickers, and the prices in an answer. A witness of prices, never a source of rows."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Unpack

import orjson

from coinbeam.clock import parse_instant
from coinbeam.errors import CoinbeamError, TerminalError
from coinbeam.settings import PatienceSettings
from coinbeam.sources.http.client import ApiAnswer, HttpClient, Wiring
from coinbeam.sources.http.errors import Api
from coinbeam.sources.rate import RateLimiter
from coinbeam.sources.registry import COINPAPRIKA

_REMEDIES = {
    402: "The free tier of CoinPaprika is used up (20,000 calls a month): wait for the first of the month, or set "
    "witness.enabled to false."
}


@dataclass(frozen=True)
class Ticker:
    """One asset as one source shows it: ``price`` in US dollars at ``observed_at``, aware."""

    id: str
    symbol: str
    name: str
    rank: int
    price: float
    observed_at: datetime


class CoinPaprikaClient(HttpClient):
    """Asks for the tickers, without any key. ``base_url`` reaches up to and including ``/v1``."""

    def __init__(self, settings: PatienceSettings, base_url: str, **wiring: Unpack[Wiring]) -> None:
        api = Api(
            f"Check that this network may reach {base_url} (witness.url), or set witness.enabled to false.", _REMEDIES
        )
        super().__init__(api, settings, base_url, RateLimiter(COINPAPRIKA.calls_per_minute or 1.0), **wiring)

    def tickers(self) -> ApiAnswer:
        """``/tickers``: every asset in US dollars by rank; not paged.

        Raises:
            ApiTerminalError: refused for a reason that stays.
            ApiTransientError: refused or unreachable until the patience ended.
        """
        return self.get("/tickers", {"quotes": "USD"})


def read_tickers(body: bytes, uri: str) -> list[Ticker]:
    """The ranked and priced assets of an answer that was landed at a URI; the others have nothing to compare.

    Raises:
        TerminalError: it is no list of tickers.
    """
    try:
        found = [_ticker(row) for row in orjson.loads(body)]
    except (ValueError, KeyError, TypeError, AttributeError, CoinbeamError) as error:
        reason = f"{type(error).__name__}: {error}"[:200]
        raise TerminalError(
            f"{uri} holds no tickers of CoinPaprika ({reason}).", "Look at the body: its format may have changed."
        ) from error
    return [ticker for ticker in found if ticker]


def _ticker(row: Mapping[str, Any]) -> Ticker | None:
    price, rank, at = row["quotes"]["USD"]["price"], row["rank"], row["last_updated"]
    if not price or price <= 0 or not rank or not at:
        return None
    return Ticker(row["id"], row["symbol"], row["name"], int(rank), float(price), parse_instant(at))
