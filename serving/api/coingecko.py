"""The routes of CoinGecko's API that the warehouse can answer, with its parameters and the shapes of its answers."""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, time
from typing import Any

from coinbeam.contracts.instants import FIRST_DATE
from coinbeam.settings import ServingSettings
from serving.api import parameters as read
from serving.api import shapes
from serving.api.answers import Refusal, invalid, key_missing, missing, unknown_coin
from serving.api.assets import Asset
from serving.api.charts import chart, span_of_days, span_of_range
from serving.api.keys import Key
from serving.api.market import Doubles, Market, instant_text, plain_number, rounded
from serving.api.parameters import Parameter
from serving.api.view import View, require_currency

MOST_FOUND = 25
"""Coins of a search."""

_BEGINNING = round(datetime.combine(FIRST_DATE, time(), UTC).timestamp() * 1_000)
_ORDERS = ("market_cap_desc", "market_cap_asc", "volume_desc", "volume_asc", "id_asc", "id_desc")
_CHANGES = {"1h": "price_change_percentage_1h", "7d": "price_change_percentage_7d"}
"""Columns of the changes that the warehouse holds, by period; that of 24 hours has one of its own."""


@dataclass(frozen=True)
class Ask:
    """One call.

    Attributes:
        values: of its parameters.
        at: the instant it asks for; None for now.
        coin: the id in its path, or empty.
        calls: of its key so far, since the server started.
        now: the present instant.
    """

    view: View
    values: Mapping[str, Any]
    at: datetime | None
    coin: str
    key: Key | None
    now: datetime
    settings: ServingSettings
    calls: int = 0

    def market(self, currency: str) -> Market:
        """The market that the call asks for."""
        return self.view.held(currency, self.at)

    @property
    def end(self) -> int:
        """The last instant that the call may see, milliseconds since the epoch."""
        return round((self.at or self.now).timestamp() * 1_000)


Body = bytes | dict[str, Any] | list[Any]


@dataclass(frozen=True)
class Route:
    """One route.

    Attributes:
        path: below ``/api/v3``; ``{id}`` is the coin.
        shape: of its answer, for its description; None where it has none.
    """

    path: str
    summary: str
    answer: Callable[[Ask], tuple[Body, Market | None]]
    shape: Any
    parameters: Mapping[str, Parameter]


def _any_of(*known: str) -> dict[str, Any]:
    """Texts that mean something, and any other, which means the default."""
    return {"anyOf": [{"type": "string", "enum": list(known)}, {"type": "string"}]}


def _parameters(*given: Parameter) -> dict[str, Parameter]:
    return {parameter.name: parameter for parameter in given}


_VS_CURRENCY = Parameter(
    "vs_currency", read.lower, "Currency of all amounts", read.SOMETHING, required=True, example="usd"
)
_IDS = Parameter("ids", read.names, "Ids of coins, separated by commas", default=[], example="bitcoin,ethereum")
_NAMES = Parameter("names", read.lower_names, "Names of coins, separated by commas", default=[])
_SYMBOLS = Parameter("symbols", read.lower_names, "Symbols of coins, separated by commas", default=[])
_TOKENS = Parameter(
    "include_tokens",
    read.or_else("top", "top", "all"),
    "Of a symbol the largest coin, or all",
    _any_of("top", "all"),
    default="top",
)
_PRECISION = Parameter(
    "precision",
    read.precision,
    "Decimal places of prices; left out or full: all",
    {"type": "string", "enum": ["full", *map(str, range(19))]},
)
_INTERVAL = Parameter(
    "interval",
    read.one_of("5m", "hourly", "daily"),
    "Every snapshot, or one point a day; left out: snapshots up to 90 days",
    {"type": "string", "enum": ["hourly", "daily"]},
)


def _flag(name: str, description: str) -> Parameter:
    return Parameter(name, read.flag, description, read.BOOLEAN, default=False)


def _ignored(*names: str) -> list[Parameter]:
    """Parameters of the real API that choose what the warehouse does not hold."""
    return [Parameter(name, read.text, "Accepted, and without effect here") for name in names]


def ping(_: Ask) -> tuple[Body, None]:
    """The server answers."""
    return {"gecko_says": "(V3) To the Moon!"}, None


def simple_price(ask: Ask) -> tuple[Body, Market]:
    """Prices of some coins in some currencies."""
    values = ask.values
    if not (values["ids"] or values["names"] or values["symbols"]):
        raise missing("ids")
    markets = [ask.market(currency) for currency in dict.fromkeys(values["vs_currencies"])]
    first = markets[0]
    found = (
        _chosen(first, values) if not values["ids"] else {i: first.place[i] for i in values["ids"] if i in first.place}
    )
    body: dict[str, Any] = {
        asset_id: {}
        for asset_id in values["ids"]
        if asset_id not in first.place and asset_id in ask.view.assets_at(ask.at).by_id
    }
    for name, place in found.items():
        body[name] = _price(markets, first.ids[place], values)
    return body, first


def _chosen(market: Market, values: Mapping[str, Any]) -> dict[str, int]:
    """Places by id of the coins that names or symbols mean; names count before symbols."""
    groups, asked = (market.by_name, values["names"]) if values["names"] else (market.by_symbol, values["symbols"])
    takes_all = values["include_tokens"] == "all" and not values["names"]
    places = [place for text in asked for place in groups.get(text, ())[: None if takes_all else 1]]
    return {market.ids[place]: place for place in places}


def _price(markets: Iterable[Market], asset_id: str, values: Mapping[str, Any]) -> dict[str, Any]:
    """The prices of one coin; a market in a currency that lacks it adds nothing."""
    row: dict[str, Any] = {}
    for market in markets:
        place = market.place.get(asset_id)
        if place is None:
            continue
        currency = market.quote_currency
        row[currency] = rounded(market.number("current_price", place), values["precision"])
        if values["include_market_cap"]:
            row[f"{currency}_market_cap"] = market.number("market_cap", place)
        if values["include_24hr_vol"]:
            row[f"{currency}_24h_vol"] = market.number("total_volume", place)
        if values["include_24hr_change"]:
            row[f"{currency}_24h_change"] = _change(market, "24h", place)
        if values["include_last_updated_at"]:
            row["last_updated_at"] = int(market.observed[place]) // 1_000_000
    return row


def _change(market: Market, period: str, place: int) -> float | None:
    if period != "24h":
        return market.number(_CHANGES[period], place) if period in _CHANGES else None
    exact = market.number("price_change_percentage_24h_in_currency", place)
    return market.number("price_change_percentage_24h", place) if exact is None else exact


def supported_vs_currencies(ask: Ask) -> tuple[Body, None]:
    """The currencies that prices can be had in."""
    return ask.view.currencies(ask.at), None


def coins_list(ask: Ask) -> tuple[Body, None]:
    """All coins."""
    wanted = ask.values["status"] == "active"
    with_platforms = ask.values["include_platform"]
    rows = []
    for asset in ask.view.assets_at(ask.at).by_id.values():
        if asset.is_active is wanted:
            row: dict[str, Any] = {"id": asset.asset_id, "symbol": asset.symbol or "", "name": asset.name or ""}
            rows.append(row | {"platforms": asset.platforms} if with_platforms else row)
    return sorted(rows, key=lambda row: str(row["id"])), None


def coins_markets(ask: Ask) -> tuple[Body, Market]:
    """A page of the market."""
    values = ask.values
    market = ask.market(values["vs_currency"])
    places = _selected(ask, market)
    start = (values["page"] - 1) * values["per_page"]
    page = places[start : start + values["per_page"]]
    if not _adds_fields(values):
        return b"[" + b",".join([market.rendered[place] for place in page]) + b"]", market
    return [_row(ask, market, place) for place in page], market


def _selected(ask: Ask, market: Market) -> list[int]:
    """The places that a call means, in its order, all pages of them."""
    values = ask.values
    places = market.orders[values["order"]]
    chosen: set[int] | None = None
    if values["ids"]:
        chosen = {market.place[asset_id] for asset_id in values["ids"] if asset_id in market.place}
    elif values["names"] or values["symbols"]:
        chosen = set(_chosen(market, values).values())
    if values["category"]:
        members = ask.view.assets_at(ask.at).categories.get(values["category"])
        if members is None:
            raise Refusal(404, "category not found")
        of_category = {market.place[asset_id] for asset_id in members if asset_id in market.place}
        chosen = of_category if chosen is None else chosen & of_category
    if chosen is None:
        start = (values["page"] - 1) * values["per_page"]
        head: list[int] = places[: start + values["per_page"]].tolist()
        return head
    return [place for place in places.tolist() if place in chosen]


def _adds_fields(values: Mapping[str, Any]) -> bool:
    return bool(
        values["sparkline"]
        or values["price_change_percentage"]
        or values["include_rehypothecated"]
        or values["precision"] is not None
    )


def _row(ask: Ask, market: Market, place: int) -> dict[str, Any]:
    values = ask.values
    row = market.row(place, values["precision"])
    if values["include_rehypothecated"]:
        row["market_cap_rank_with_rehypothecated"] = None
    if values["sparkline"]:
        row["sparkline_in_7d"] = {"price": _sparkline(ask, market, place)}
    for period in values["price_change_percentage"]:
        row[f"price_change_percentage_{period}_in_currency"] = _change(market, period, place)
    return row


def _sparkline(ask: Ask, market: Market, place: int) -> list[float]:
    """Hourly prices of seven days, which are kept of the newest snapshot in its own currency alone."""
    if ask.at is not None or market.derived_from:
        return []
    number = ask.view.number_of(market.ids[place])
    found = ask.view.sparklines(market.quote_currency).get(-1 if number is None else number)
    return [] if found is None else found.to_pylist()


def coin(ask: Ask) -> tuple[Body, Market | None]:
    """All of one coin."""
    asset, markets = _coin(ask)
    first = markets[0] if markets else None
    place = first.place[ask.coin] if first else None
    rank = first.number("market_cap_rank", place) if first and place is not None else None
    updated = int(first.observed[place]) if first and place is not None else None
    body: dict[str, Any] = {
        "id": ask.coin,
        "symbol": asset.symbol or "",
        "name": asset.name or "",
        "web_slug": ask.coin,
        "asset_platform_id": asset.asset_platform_id,
        "platforms": asset.platforms or {"": ""},
        "detail_platforms": {
            platform: {"decimal_place": None, "contract_address": address}
            for platform, address in (asset.platforms or {"": ""}).items()
        },
        "block_time_in_minutes": 0,
        "hashing_algorithm": asset.hashing_algorithm,
        "categories": asset.categories,
        "preview_listing": False,
        "public_notice": None,
        "additional_notices": [],
        "has_supply_breakdown": False,
        "description": {"en": ""},
        "links": _links(asset),
        "image": _images(first, place),
        "country_origin": asset.country_origin or "",
        "genesis_date": asset.genesis_date.isoformat() if asset.genesis_date else None,
        "sentiment_votes_up_percentage": None,
        "sentiment_votes_down_percentage": None,
        "watchlist_portfolio_users": 0,
        "market_cap_rank": rank,
        "market_cap_rank_with_rehypothecated": None,
        "status_updates": [],
        "last_updated": instant_text(updated) if updated else instant_text(0),
    }
    if ask.values["localization"]:
        body["localization"] = {"en": asset.name or ""}
    if ask.values["market_data"] and markets:
        body["market_data"] = _market_data(ask, markets)
    return body, first


def _coin(ask: Ask) -> tuple[Asset, list[Market]]:
    """What is known of the coin of a path: its dimension, and the markets that have a price of it.

    Raises:
        Refusal: nothing is.
    """
    asset = ask.view.assets_at(ask.at).by_id.get(ask.coin)
    markets = []
    for currency in ask.view.currencies(ask.at):
        try:
            market = ask.market(currency)
        except Refusal:
            continue
        if ask.coin in market.place:
            markets.append(market)
    if asset is None and not markets:
        raise unknown_coin()
    return asset or _known_by_price(markets[0], ask.coin), markets


def _known_by_price(market: Market, asset_id: str) -> Asset:
    """An asset that a snapshot has and the dimension does not."""
    place = market.place[asset_id]
    texts = market.texts
    return Asset(asset_id, texts["symbol"][place], texts["name"][place], "inferred", *[None] * 7)


def _links(asset: Asset) -> dict[str, Any]:
    """The links, of which the first homepage is held; the others have the values of a coin that has none."""
    return {
        "homepage": [asset.homepage or "", "", ""],
        "whitepaper": "",
        "blockchain_site": [],
        "official_forum_url": [],
        "chat_url": [],
        "announcement_url": [],
        "snapshot_url": None,
        "twitter_screen_name": "",
        "facebook_username": "",
        "bitcointalk_thread_identifier": None,
        "telegram_channel_identifier": "",
        "subreddit_url": "",
        "repos_url": {"github": [], "bitbucket": []},
    }


def _images(market: Market | None, place: int | None) -> dict[str, str]:
    """The addresses of the picture in three sizes, which differ in one word."""
    large = (market.texts["image"][place] if market and place is not None else None) or ""
    return {size: large.replace("/large/", f"/{size}/") for size in ("thumb", "small", "large")}


_AMOUNTS = (
    "current_price", "market_cap", "fully_diluted_valuation", "total_volume", "high_24h", "low_24h", "ath",
    "ath_change_percentage", "ath_date", "atl", "atl_change_percentage", "atl_date",
)  # fmt: skip
"""Fields of ``market_data`` that are objects by currency."""
_PLAIN = (
    "price_change_24h", "price_change_percentage_24h", "market_cap_change_24h", "market_cap_change_percentage_24h",
    "total_supply", "max_supply", "circulating_supply",
)  # fmt: skip
"""Fields of ``market_data`` that are numbers, in the first currency."""


def _market_data(ask: Ask, markets: list[Market]) -> dict[str, Any]:
    """The market data of a coin, without what the warehouse does not know."""
    places = [(market, market.place[ask.coin]) for market in markets]
    data: dict[str, Any] = {}
    for field in _AMOUNTS:
        found = {market.quote_currency: market.value(field, place) for market, place in places}
        data[field] = {currency: value for currency, value in found.items() if value is not None}
    first, place = places[0]
    data |= {field: value for field in _PLAIN if (value := first.value(field, place)) is not None}
    data |= {"max_supply": first.value("max_supply", place), "roi": first.value("roi", place)}
    data["market_cap_rank"] = first.number("market_cap_rank", place)
    week = first.number("price_change_percentage_7d", place)
    data |= {} if week is None else {"price_change_percentage_7d": week}
    for period in ("1h", "24h", "7d"):
        changes = {market.quote_currency: _change(market, period, at) for market, at in places}
        known = {currency: value for currency, value in changes.items() if value is not None}
        data[f"price_change_percentage_{period}_in_currency"] = known
    if ask.values["sparkline"]:
        data["sparkline_7d"] = {"price": _sparkline(ask, first, place)}["price"]
    data["last_updated"] = instant_text(int(first.observed[place]))
    return data


def market_chart(ask: Ask) -> tuple[Body, None]:
    """Prices of the last days."""
    currency, number = _charted(ask)
    span = span_of_days(ask.values["days"], ask.end, _BEGINNING)
    return chart(ask.view, currency, number, span, ask.values["interval"], ask.values["precision"]), None


def market_chart_range(ask: Ask) -> tuple[Body, None]:
    """Prices between two instants."""
    currency, number = _charted(ask)
    span = span_of_range(ask.values["from"], ask.values["to"])
    span = span._replace(first=max(span.first, _BEGINNING), last=min(span.last, ask.end))
    return chart(ask.view, currency, number, span, ask.values["interval"], ask.values["precision"]), None


def _charted(ask: Ask) -> tuple[str, int | None]:
    """The currency of a chart, and the number of its coin; None when nothing of it was ever observed.

    Raises:
        Refusal: the coin or the currency is unknown.
    """
    number = ask.view.number_of(ask.coin)
    if number is None and ask.coin not in ask.view.assets.by_id:
        raise unknown_coin()
    return require_currency(ask.view, ask.values["vs_currency"]), number


def history(ask: Ask) -> tuple[Body, None]:
    """The price of a coin at the beginning of a day."""
    day = ask.values["date"]
    midnight = datetime.combine(day, time(), UTC)
    if midnight > (ask.at or ask.now):
        raise invalid("date", "it lies in the future")
    asset = ask.view.assets.by_id.get(ask.coin)
    number = ask.view.number_of(ask.coin)
    if asset is None and number is None:
        raise unknown_coin()
    first = round(midnight.timestamp() * 1_000)
    prices: dict[str, dict[str, Any]] = {"current_price": {}, "market_cap": {}, "total_volume": {}}
    for currency in ask.view.bundle.currencies if number is not None else ():
        found = ask.view.day(currency, number or 0, first, ask.end)
        for field, value in zip(prices, found, strict=True):
            if value is not None:
                prices[field][currency] = value
    if not prices["current_price"]:
        raise Refusal(
            404, f"no price of {ask.coin} on {day:%d-%m-%Y} was observed; /market_chart says which days are held"
        )
    name = (asset.name if asset else None) or ""
    body: dict[str, Any] = {
        "id": ask.coin,
        "symbol": (asset.symbol if asset else None) or "",
        "name": name,
        "image": {size: address for size, address in _picture(ask).items() if size != "large"},
        "market_data": prices,
        "community_data": {},
        "developer_data": {},
        "public_interest_stats": {},
    }
    return (body | {"localization": {"en": name}} if ask.values["localization"] else body), None


def _picture(ask: Ask) -> dict[str, str]:
    market = ask.view.market(ask.view.home_currency, None)
    return _images(market, market.place.get(ask.coin) if market else None)


def global_data(ask: Ask) -> tuple[Body, Market]:
    """The market as a whole."""
    home = ask.market(ask.view.home_currency)
    caps = home.numbers["market_cap"]
    total, traded = _total(caps), _total(home.numbers["total_volume"])
    grown = _total(home.numbers["market_cap_change_24h"])
    rates = {**ask.view.rates(ask.at), home.quote_currency: 1.0}
    largest = [place for place in range(min(10, len(home))) if caps[place] > 0]
    shares = {home.texts["symbol"][p] or home.ids[p]: 100 * float(caps[p]) / total for p in largest} if total else {}
    data = {
        "active_cryptocurrencies": len(home),
        "upcoming_icos": 0,
        "ongoing_icos": 0,
        "ended_icos": 0,
        "markets": 0,
        "total_market_cap": {currency: plain_number(total * rate) for currency, rate in rates.items()},
        "total_volume": {currency: plain_number(traded * rate) for currency, rate in rates.items()},
        "market_cap_percentage": shares,
        "market_cap_change_percentage_24h_usd": _relative_change(total, grown),
        "volume_change_percentage_24h_usd": ask.view.volume_change(home.quote_currency, ask.at, traded),
        "updated_at": int(home.newest.timestamp()),
    }
    return {"data": data}, home


def _total(values: Doubles) -> float:
    """The sum of what is known, the same in any order."""
    return math.fsum(value for value in values.tolist() if value == value)


def _relative_change(now: float, change: float) -> float:
    """Percent by which a total grew, given what it grew by; 0 where there was nothing before."""
    return 100 * change / (now - change) if now != change else 0.0


def search(ask: Ask) -> tuple[Body, Market]:
    """Coins and categories whose name, symbol or id holds a text, the largest first."""
    text = ask.values["query"].lower()
    home = ask.market(ask.view.home_currency)
    exact = [p for p, s in enumerate(home.texts["symbol"]) if (s or "").lower() == text or home.ids[p] == text]
    named = [
        p
        for p, (asset_id, symbol, name) in enumerate(
            zip(home.ids, home.texts["symbol"], home.texts["name"], strict=True)
        )
        if text in asset_id or text in (symbol or "").lower() or text in (name or "").lower()
    ]
    places = list(dict.fromkeys([*exact, *named]))[:MOST_FOUND]
    coins = []
    for place in places:
        pictures = _images(home, place)
        coins.append(
            {
                "id": home.ids[place],
                "name": home.texts["name"][place] or "",
                "api_symbol": home.ids[place],
                "symbol": (home.texts["symbol"][place] or "").upper(),
                "market_cap_rank": home.number("market_cap_rank", place),
                "thumb": pictures["thumb"],
                "large": pictures["large"],
            }
        )
    known = ask.view.assets_at(ask.at).category_names
    categories = [{"id": key, "name": name} for key, name in sorted(known.items()) if text in name.lower()]
    return {"coins": coins, "exchanges": [], "icos": [], "categories": categories[:MOST_FOUND], "nfts": []}, home


def key_usage(ask: Ask) -> tuple[Body, None]:
    """What the key of the call may do. There is no monthly quota: the credit is what the minute's limit adds up to."""
    if ask.key is None:
        raise key_missing()
    limit = ask.key.calls_per_minute or ask.settings.calls_per_minute
    credit = limit * 60 * 24 * 31
    body = {
        "plan": ask.key.name,
        "rate_limit_request_per_minute": limit,
        "monthly_call_credit": credit,
        "current_total_monthly_calls": ask.calls,
        "current_remaining_monthly_calls": credit - ask.calls,
        # A key of the real API may have limits of its own within those of its plan; here they are the same.
        "api_key_rate_limit_request_per_minute": limit,
        "api_key_monthly_call_credit": credit,
        "api_key_current_total_monthly_calls": ask.calls,
    }
    return body, None


def unknown(what: str) -> Callable[[Ask], tuple[Body, None]]:
    """The answer of a route of the real API that the warehouse has nothing for."""

    def refuse(_: Ask) -> tuple[Body, None]:
        raise Refusal(404, f"{what} are not in this warehouse, and nothing is invented")

    return refuse


_MARKETS = _parameters(
    _VS_CURRENCY,
    _IDS,
    _NAMES,
    _SYMBOLS,
    _TOKENS,
    Parameter("category", read.lower, "Id of a category"),
    Parameter(
        "order",
        read.or_else(_ORDERS[0], *_ORDERS),
        "Order of the rows",
        _any_of(*_ORDERS),
        default=_ORDERS[0],
    ),
    Parameter("per_page", read.per_page, "Rows of a page, at most 250", read.COUNT, default=100),
    Parameter("page", read.positive, "Number of the page", read.COUNT, default=1),
    _flag("sparkline", "Add the hourly prices of seven days, of the newest snapshot"),
    Parameter(
        "price_change_percentage",
        read.periods(*shapes.PERIODS),
        f"Add changes of periods: {', '.join(shapes.PERIODS)}; null where the warehouse does not hold them",
        {"type": "string", "pattern": "^({0})(,({0}))*$".format("|".join(shapes.PERIODS))},
        default=[],
    ),
    Parameter("locale", read.text, "Accepted, and without effect here"),
    _PRECISION,
    _flag("include_rehypothecated", "Add a rank that the warehouse does not hold: null"),
)
_CHART_PARAMETERS = (_VS_CURRENCY, _INTERVAL, _PRECISION)

ROUTES = (
    Route("/simple/price", "Prices of coins", simple_price, shapes.Prices, _parameters(
        Parameter(
            "vs_currencies", read.lower_names, "Currencies, separated by commas", read.SOME, required=True,
            example="usd",
        ),
        _IDS, _NAMES, _SYMBOLS, _TOKENS,
        _flag("include_market_cap", "Add market capitalisations"),
        _flag("include_24hr_vol", "Add volumes"),
        _flag("include_24hr_change", "Add changes of 24 hours"),
        _flag("include_last_updated_at", "Add when the price was observed, UNIX seconds"),
        _PRECISION,
    )),
    Route("/coins/markets", "A page of the market", coins_markets, list[shapes.MarketRow], _MARKETS),
    Route("/coins/{id}/market_chart", "Prices of the last days", market_chart, shapes.Chart, _parameters(
        Parameter("days", read.days, "Number of days, or max", read.DAYS, required=True, example="30"),
        *_CHART_PARAMETERS,
    )),
    Route("/coins/{id}/market_chart/range", "Prices of a range", market_chart_range, shapes.Chart, _parameters(
        Parameter("from", read.seconds, "UNIX seconds, or ISO 8601", read.INSTANT, required=True, example="2026-11-01"),
        Parameter("to", read.seconds, "UNIX seconds, or ISO 8601", read.INSTANT, required=True, example="2026-11-20"),
        *_CHART_PARAMETERS,
    )),
    Route("/ping", "The server answers", ping, shapes.Ping, {}),
    Route("/simple/supported_vs_currencies", "Currencies", supported_vs_currencies, list[str], {}),
    Route("/coins/list", "All coins", coins_list, list[shapes.ListedCoin], _parameters(
        _flag("include_platform", "Add platforms and contract addresses"),
        Parameter(
            "status", read.one_of("active", "inactive"), "Listed coins, or vanished ones",
            {"type": "string", "enum": ["active", "inactive"]}, default="active",
        ),
    )),
    Route("/coins/{id}/history", "The price at the beginning of a day", history, shapes.History, _parameters(
        Parameter("date", read.day, "Day, dd-mm-yyyy", read.DAY, required=True, example="01-11-2026"),
        Parameter("localization", read.flag, "Add names", read.BOOLEAN, default=True),
    )),
    Route("/coins/{id}/ohlc", "Not held", unknown("Candles"), None, {}),
    Route("/coins/{id}/tickers", "Not held", unknown("Tickers of exchanges"), None, {}),
    Route("/coins/{id}", "One coin", coin, shapes.Coin, _parameters(
        Parameter("localization", read.flag, "Add names", read.BOOLEAN, default=True),
        Parameter("market_data", read.flag, "Add market data", read.BOOLEAN, default=True),
        _flag("sparkline", "Add the hourly prices of seven days, of the newest snapshot"),
        *_ignored("tickers", "community_data", "developer_data", "include_categories_details", "dex_pair_format"),
    )),
    Route("/global", "The market as a whole", global_data, shapes.Global, {}),
    Route("/search", "Coins and categories by text", search, shapes.Found, _parameters(
        Parameter("query", read.text, "Part of a name, a symbol or an id", read.SOMETHING, required=True, example="bit")
    )),
    Route("/key", "What the key of the call may do", key_usage, shapes.KeyUsage, {}),
)  # fmt: skip
"""In the order in which a call is compared with them: the frequent ones first."""
