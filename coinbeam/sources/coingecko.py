"""CoinGecko: a client with its endpoints, the header of its key, and the forms of its errors."""

import re
from collections.abc import Sequence
from datetime import datetime
from typing import Any, Unpack
from urllib.parse import quote

from coinbeam.settings import CoinGeckoSettings
from coinbeam.sources.http.client import ApiAnswer, HttpClient, Wiring
from coinbeam.sources.http.errors import Api, ApiTerminalError, Meaning
from coinbeam.sources.rate import RateLimiter

CODES: dict[int, Meaning] = {
    10002: (ApiTerminalError, "API key missing"),
    10005: (ApiTerminalError, "endpoint not in the plan"),
    10006: (ApiTerminalError, "monthly credits used up"),
    10010: (ApiTerminalError, "a pro key on the public host, or an invalid key"),
    10011: (ApiTerminalError, "a demo key on the pro host, or an invalid key"),
    10012: (ApiTerminalError, "beyond the history that the plan covers"),
}
"""Codes of its own. Sources: https://docs.coingecko.com/docs/errors-and-rate-limits; 10006, 10012 from answers."""

_OUTAGE = "Try again later; status.coingecko.com tells of outages."
_SLOWER = (
    "Lower calls_per_minute of plan {plan!r}, run nothing else from this address, or choose a larger coingecko.plan."
)
_BLOCKED = (
    "Cloudflare blocks this network: run from another address, or use a plan with a key. Trying again prolongs the "
    "block."
)
REMEDIES: dict[int, str] = {
    400: "Check market.ids, market.category and market.quote_currency.",
    401: "Check COINGECKO_API_KEY and that coingecko.plan ({plan}) is the plan of that key.",
    403: "Check that this network may reach CoinGecko, and that coingecko.plan is not {plan} by mistake.",
    404: "CoinGecko drops ids over time: remove it from market.ids or --assets, or check market.category.",
    408: "Check the speed of this network and try again.",
    422: "Check market.quote_currency, market.ids and market.category.",
    429: _SLOWER,
    500: _OUTAGE,
    **dict.fromkeys((1006, 1007, 1008, 1009, 1010, 1012, 1020), _BLOCKED),
    1015: _SLOWER,
    10000: "Check COINGECKO_API_KEY and coingecko.plan ({plan}) on the CoinGecko developer dashboard.",
    10002: "Set COINGECKO_API_KEY (or coingecko.api_key_secret) to the key of plan {plan!r}.",
    10005: "Set coingecko.plan to the plan that you pay for, if it is not {plan!r}, or upgrade it.",
    10006: "Wait for the first of the month, or upgrade the plan and set coingecko.plan (now {plan!r}).",
    10010: "Set coingecko.plan to the paid plan of this key (basic or analyst, not {plan}), or set COINGECKO_API_KEY "
    "to a demo key.",
    10011: "Set coingecko.plan to demo (it is {plan}), or set COINGECKO_API_KEY to the key of plan {plan}.",
    10012: "Ask for a later date, lower history_days of plan {plan!r}, or choose a larger coingecko.plan.",
}
"""By HTTP status, Cloudflare code or code of its own; ``{plan}`` is the configured plan."""
_OTHER = "Check coingecko.plan ({plan}) and the base_url of that plan."


CHANGES = ("1h", "24h", "7d")
"""Over what a page of the market tells changes of the price in the quote currency."""

_CHANGE_FIELD = re.compile(r"price_change_percentage_(?P<over>\w+)_in_currency")


def parameter_not_sent(field: str) -> str | None:
    """The parameter without which a page of the market has no such field, when our request does not send it.

    Source: https://docs.coingecko.com/reference/coins-markets.
    """
    change = _CHANGE_FIELD.fullmatch(field)
    if change and change["over"] not in CHANGES:
        return f"price_change_percentage={change['over']}"
    return "include_rehypothecated=true" if field.endswith("_with_rehypothecated") else None


def error_in(payload: dict[str, Any]) -> tuple[int | None, str | None]:
    """Code and text of the error that an object carries, in any of CoinGecko's forms; ``(None, None)`` for data.

    ``{"error": text}``, ``{"status": 500, "error": text}``, ``{"status": {"error_code", "error_message"}}``,
    ``{"error": {"status": {...}}}`` and ``{"error_code", "status": {"error_message"}}``.
    """
    code: int | None = None
    said: str | None = None
    level: Any = payload
    while isinstance(level, dict):
        error, status = level.get("error"), level.get("status")
        codes = (code, level.get("error_code"), status)
        code = next((c for c in codes if isinstance(c, int) and not isinstance(c, bool) and c >= 400), None)
        said = next((s for s in (said, level.get("error_message"), error) if isinstance(s, str) and s), None)
        level = error if isinstance(error, dict) else status
    return code, said


def coingecko_api(settings: CoinGeckoSettings) -> Api:
    """What sets CoinGecko apart, under the configured plan."""
    plan = settings.plan
    remedies = {number: text.format(plan=plan) for number, text in REMEDIES.items()}
    header = settings.limits.key_header
    return Api(_OTHER.format(plan=plan), remedies, CODES, header, re.compile(r"(?<=CG-)\w+"), error_in)


class CoinGeckoClient(HttpClient):
    """Asks CoinGecko, or the simulator, one call at a time. For one thread; a worker makes its own."""

    def __init__(
        self,
        settings: CoinGeckoSettings,
        base_url: str,
        limiter: RateLimiter,
        api_key: str | None = None,
        **wiring: Unpack[Wiring],
    ) -> None:
        super().__init__(coingecko_api(settings), settings, base_url, limiter, api_key, **wiring)

    def ping(self) -> ApiAnswer:
        """``/ping``: whether the API answers."""
        return self.get("/ping")

    def exchange_rates(self) -> ApiAnswer:
        """``/exchange_rates``: units of each currency, money, coins and metals, that a bitcoin is worth."""
        return self.get("/exchange_rates")

    def coins_list(self) -> ApiAnswer:
        """``/coins/list``: id, symbol, name and contract addresses by platform of every active coin; not paged."""
        return self.get("/coins/list", {"include_platform": True, "status": "active"})

    def coin(self, asset_id: str) -> ApiAnswer:
        """``/coins/{id}``: categories, launch date, platforms and links, without prices, tickers and translations.

        Raises:
            ApiTerminalError: the id cannot be part of a path, or there is no such coin.
        """
        unwanted = ("localization", "tickers", "market_data", "community_data", "developer_data", "sparkline")
        return self.get(_coin_path(asset_id), dict.fromkeys(unwanted, False))

    def markets_page(
        self,
        quote_currency: str,
        page: int,
        per_page: int = 250,
        order: str = "id_asc",
        ids: Sequence[str] = (),
        category: str | None = None,
    ) -> ApiAnswer:
        """``/coins/markets``: one page of prices, with changes over 1 h, 24 h and 7 d and a sparkline of seven days.

        Args:
            page: number of the page, from 1.
            per_page: rows per page, up to 250; bounds ``ids`` too.
            order: ``id_asc`` is the only order under which pages do not shift while they are walked.
            ids: only these coins, or those of a category.
        """
        return self.get(
            "/coins/markets",
            {
                "vs_currency": quote_currency,
                "order": order,
                "per_page": per_page,
                "page": page,
                "ids": ids,
                "category": category,
                "sparkline": True,
                "price_change_percentage": CHANGES,
                "precision": "full",
            },
        )

    def prices(self, quote_currency: str, ids: Sequence[str]) -> ApiAnswer:
        """``/coins/markets``: present prices of up to 250 coins with their instants; an unknown coin is left out."""
        return self.get(
            "/coins/markets",
            {
                "vs_currency": quote_currency,
                "ids": ids,
                "order": "id_asc",
                "per_page": 250,
                "page": 1,
                "sparkline": False,
                "precision": "full",
            },
        )

    def market_chart_range(self, asset_id: str, quote_currency: str, start: datetime, end: datetime) -> ApiAnswer:
        """``/coins/{id}/market_chart/range``: price, market cap and volume over a stretch of time, in full precision.

        The API chooses the distance of the points by the length of the stretch: up to a day 5 minutes, up to 90 days an
        hour, above it a day, at 00:00 UTC. A stretch that reaches into the present ends with a point for "now".
        ``start`` and ``end`` are aware and inclusive; whole seconds count.

        Raises:
            ApiTerminalError: the id cannot be part of a path, there is no such coin, or the plan does not reach so far.
        """
        seconds = {"from": int(start.timestamp()), "to": int(end.timestamp())}
        path = f"{_coin_path(asset_id)}/market_chart/range"
        return self.get(path, {"vs_currency": quote_currency, "precision": "full", **seconds})


def _coin_path(asset_id: str) -> str:
    if not asset_id.strip("."):
        raise ApiTerminalError(f"{asset_id!r} is not an asset id.", "Remove it from the assets that are asked for.")
    return f"/coins/{quote(asset_id, safe='')}"
