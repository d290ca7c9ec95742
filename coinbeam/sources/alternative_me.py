"""The Fear & Greed index of alternative.me: its bands, the days that it never published, and a client for it."""

from datetime import date
from typing import Unpack

from coinbeam.batch.tables import FEAR_GREED_FACT
from coinbeam.contracts import load_contract
from coinbeam.contracts.model import Band
from coinbeam.settings import PatienceSettings
from coinbeam.sources.http.client import ApiAnswer, HttpClient, Wiring
from coinbeam.sources.http.errors import Api
from coinbeam.sources.rate import RateLimiter
from coinbeam.sources.registry import ALTERNATIVE_ME

FIRST_DAY = date(2018, 2, 1)
"""The index starts here."""

NEVER_PUBLISHED = frozenset({date(2018, 4, 14), date(2018, 4, 15), date(2018, 4, 16), date(2024, 10, 26)})
"""Days that the index does not have and will not get: no gaps of ours."""


def bands() -> tuple[Band, ...]:
    """The classes of the index, as observed in published values, ascending."""
    return load_contract(FEAR_GREED_FACT).by_name["classification"].bands


def classification(value: int) -> str:
    """The class of a value.

    Raises:
        ValueError: it is not from 0 to 100.
    """
    if not 0 <= value <= bands()[-1].up_to:
        raise ValueError(f"{value} is not from 0 to 100")
    return next(band.name for band in bands() if value <= band.up_to)


class FearGreedClient(HttpClient):
    """Asks for the index, without any key and at the rate that alternative.me allows."""

    def __init__(self, settings: PatienceSettings, url: str, **wiring: Unpack[Wiring]) -> None:
        api = Api(f"Check that this network may reach {url} (history.fear_greed_url), and try again later.")
        super().__init__(api, settings, url, RateLimiter(ALTERNATIVE_ME.calls_per_minute or 1.0), **wiring)

    def index(self) -> ApiAnswer:
        """The whole index, newest value first.

        Raises:
            ApiTerminalError: refused for a reason that stays.
            ApiTransientError: refused or unreachable until the patience ended.
        """
        return self.get("/", {"limit": 0})
