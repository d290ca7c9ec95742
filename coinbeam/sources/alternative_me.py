"""The Fear & Greed index of alternative.me: its bands, the days that it never published, and a client for its one
endpoint.
"""

import random
import time
from collections.abc import Callable
from datetime import date

from coinbeam.clock import Clock, utc_now
from coinbeam.settings import CoinGeckoSettings, Settings
from coinbeam.sources.choose import RuntimeSource
from coinbeam.sources.http.client import ApiAnswer, CoinGeckoClient
from coinbeam.sources.http.errors import ApiError
from coinbeam.sources.rate import RateLimiter
from coinbeam.sources.registry import ALTERNATIVE_ME

FIRST_DAY = date(2018, 2, 1)
"""The index starts here."""

NEVER_PUBLISHED = frozenset({date(2018, 4, 14), date(2018, 4, 15), date(2018, 4, 16), date(2024, 10, 26)})
"""Days that the index does not have and will not get: no gaps of ours."""

BANDS: tuple[tuple[int, str], ...] = (
    (25, "Extreme Fear"),
    (46, "Fear"),
    (54, "Neutral"),
    (75, "Greed"),
    (100, "Extreme Greed"),
)
"""Highest value of each class, as observed in published values."""


def classification(value: int) -> str:
    """The class of a value.

    Raises:
        ValueError: it is not from 0 to 100.
    """
    if not 0 <= value <= BANDS[-1][0]:
        raise ValueError(f"{value} is not from 0 to 100")
    return next(name for highest, name in BANDS if value <= highest)


def index_url(settings: Settings, source: RuntimeSource) -> str:
    """Where the index is asked for: the configured address, or the simulator's."""
    if source.kind == "simulator":
        return f"http://127.0.0.1:{settings.local.ports.simulator}/fng/"
    return str(settings.history.fear_greed_url)


class FearGreedClient:
    """Asks for the index, with the patience and the care of the CoinGecko client, but never with its key or its plan.

    Args:
        settings: timeouts and patience.
        url: of the index.
        clock: stamps the answer.
        sleep: waits that many seconds between attempts.
        rng: gives the jitter.
    """

    def __init__(
        self,
        settings: CoinGeckoSettings,
        url: str,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
        rng: random.Random | None = None,
    ) -> None:
        keyless = settings.model_copy(update={"api_key": None, "api_key_secret": None})
        self._client = CoinGeckoClient(
            keyless, url, RateLimiter(ALTERNATIVE_ME.calls_per_minute or 1.0), clock=clock, sleep=sleep, rng=rng
        )
        self._url = url

    def index(self) -> ApiAnswer:
        """The whole index, newest value first.

        Raises:
            ApiTerminalError: refused for a reason that stays.
            ApiTransientError: refused or unreachable until the patience ended.
        """
        try:
            return self._client.get("/", {"limit": 0})
        except ApiError as error:
            remedy = f"Check that this network may reach {self._url} (history.fear_greed_url), and try again later."
            kept = error.status, error.code, error.retry_after, error.calls, error.throttled
            raise type(error)(error.message, remedy, *kept) from error

    def close(self) -> None:
        """Close the connections."""
        self._client.close()
