"""Which market a run reads: the live API, or on one machine the simulator."""

import logging
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urljoin

from pydantic import HttpUrl

from coinbeam.errors import SettingsError
from coinbeam.secrets import api_key, check_key
from coinbeam.settings import MarketSource, Settings
from coinbeam.sources.coingecko import CoinGeckoClient
from coinbeam.sources.http.errors import ApiError, ThrottledError
from coinbeam.sources.http.transport import refuse_unreachable
from coinbeam.sources.rate import RateLimiter

_LOGGER = logging.getLogger(__name__)
_BANNER_WIDTH = 79
_CONNECT_SECONDS = 5.0


@dataclass(frozen=True)
class RuntimeSource:
    """A market source after ``auto`` was decided: what answers, and where, up to and including ``/api/v3``.

    The banner is several lines that a person must not overlook; ``reason`` says why the live API is not usable, when
    ``auto`` fell back to the simulator.
    """

    kind: Literal["live", "simulator"]
    base_url: str
    banner: str | None = None
    reason: str | None = None

    def beside(self, path: str, url: HttpUrl) -> str:
        """Where another API is asked: at its own URL, or beside a simulated market at a path of the simulator."""
        return urljoin(self.base_url, path) if self.kind == "simulator" else str(url)


Probe = Callable[[Settings, RuntimeSource], str | None]
"""Says why a source is not usable, or ``None`` when it is."""


def choose_source(settings: Settings, wanted: MarketSource | None = None, probe: Probe | None = None) -> RuntimeSource:
    """Decide where prices come from: as wanted, by a flag or a parameter, else as ``market.source`` says.

    Raises:
        SettingsError: anything but live outside the local environment, or plan and key do not fit.
    """
    wanted = wanted or settings.market.source
    if wanted is not MarketSource.LIVE and not settings.is_local:
        raise SettingsError(
            f"The market source is {wanted}, but environment {settings.environment} reads live prices only.",
            "Set market.source to live: a simulated row must never reach a shared warehouse.",
        )
    live = RuntimeSource("live", str(settings.coingecko.limits.base_url).rstrip("/"))
    if wanted is MarketSource.SIMULATOR:
        return RuntimeSource("simulator", settings.simulator_url)
    check_key(settings.coingecko)
    if wanted is MarketSource.LIVE:
        return live
    reason = (probe or probe_live)(settings, live)
    if reason is None:
        return live
    chosen = RuntimeSource("simulator", settings.simulator_url, _fallen_back(live.base_url, reason), reason)
    _LOGGER.warning("The live API is not usable (%s): prices are SIMULATED.", reason)
    return chosen


def refuse_without_network(settings: Settings, url: str = "") -> None:
    """Refuse to ask a live API, by default CoinGecko's, that this machine does not reach: a person waits for an answer
    here, while a deployment has patience. No call is made.

    Raises:
        UnreachableError: there is no connection.
    """
    if settings.is_local:
        refuse_unreachable(url or str(settings.coingecko.limits.base_url), _CONNECT_SECONDS)


def probe_live(settings: Settings, live: RuntimeSource) -> str | None:
    """Ask ``/ping`` once, for at most ``coingecko.probe_timeout_seconds`` altogether.

    In a thread of its own, since no timeout of the HTTP stack covers a name server that does not answer.

    Returns:
        Why the live API is not usable, or ``None`` when it answers. An answer of "too many calls" is one: the client
        waits its turn.
    """
    seconds = settings.coingecko.probe_timeout_seconds
    one_try = {"max_attempts": 1, "connect_timeout_seconds": seconds, "read_timeout_seconds": seconds}
    impatient, key = settings.coingecko.model_copy(update=one_try), api_key(settings.coingecko)
    client = CoinGeckoClient(impatient, live.base_url, RateLimiter(60), api_key=key)
    return reason_within(seconds, lambda: _ping(client), live.base_url)


def reason_within(seconds: float, ask: Callable[[], str | None], url: str) -> str | None:
    """What a probe of a URL says, or that it said nothing in time; its thread is left behind then."""
    reasons: list[str | None] = []
    thread = threading.Thread(target=lambda: reasons.append(ask()), name="probe-live", daemon=True)
    thread.start()
    thread.join(seconds)
    return reasons[0] if reasons else f"no answer from {url} within {seconds:g} s"


def _ping(client: CoinGeckoClient) -> str | None:
    try:
        return client.ping().problem
    except ThrottledError:
        return None
    except ApiError as error:
        return str(error)
    finally:
        client.close()


def banner(*lines: str) -> str:
    """Lines that cannot be missed, in plain characters: they go to terminals and to logs."""
    rule = "#" * _BANNER_WIDTH
    return "\n".join((rule, *(f"# {line}" for line in lines), rule))


def _fallen_back(live_url: str, reason: str) -> str:
    return banner(
        "SIMULATED PRICES: nothing in this run is a real market.",
        f"market.source is auto, and the live API at {live_url} is not usable:",
        f"  {reason}",
        "To insist on real prices: COINBEAM_MARKET__SOURCE=live. To silence this: COINBEAM_MARKET__SOURCE=simulator.",
    )
