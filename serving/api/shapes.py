"""The shapes of the answers below ``/api/v3`` as OpenAPI describes them. The tests hold every answer to them."""

from datetime import date, datetime
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, with_config
from typing_extensions import TypedDict  # that of typing lacks what pydantic needs before Python 3.12

from serving.api.market import ROW_FIELDS, column_of

Number = float | None


_exactly = with_config(extra="forbid")
"""Nothing but the fields that are named."""


@_exactly
class Ping(TypedDict):
    """The server answers."""

    gecko_says: Literal["(V3) To the Moon!"]


Prices = dict[str, dict[str, Number]]
"""Of each coin its prices by currency, and what was asked for besides: ``usd``, ``usd_market_cap``, ``usd_24h_vol``,
``usd_24h_change``, ``last_updated_at``.
"""


@_exactly
class ListedCoin(TypedDict):
    """A coin of the list."""

    id: str
    symbol: str
    name: str
    platforms: NotRequired[Annotated[dict[str, str], Field(description="Contract address by platform, if asked for")]]


@_exactly
class Roi(TypedDict):
    """The return on the price at which a coin was first sold."""

    times: float
    currency: str
    percentage: float


@_exactly
class Sparkline(TypedDict):
    """Hourly prices of seven days."""

    price: list[float]


def _of_row(name: str) -> Any:
    if name == "roi":
        return Roi | None
    column = column_of(name)
    if column.type == "STRING":
        kind: Any = str
    elif column.type == "TIMESTAMP":
        kind = datetime if column.required else datetime | None
    else:
        kind = (int if column.type == "INT64" else float) | None
    return Annotated[kind, Field(description=f"{column.description}. Unit: {column.unit}")]


PERIODS = ("1h", "24h", "7d", "14d", "30d", "200d", "1y")
"""Periods whose changes a call may ask for."""

_ASKED: dict[str, Any] = {
    "market_cap_rank_with_rehypothecated": Annotated[None, Field(description="Not held")],
    "sparkline_in_7d": Sparkline,
    **{f"price_change_percentage_{period}_in_currency": Number for period in PERIODS},
}
"""Fields that a row has when the call asks for them."""

MarketRow = TypedDict(
    "MarketRow",
    {**{n: _of_row(n) for n in ROW_FIELDS}, **{n: NotRequired[kind] for n, kind in _ASKED.items()}},  # type: ignore[misc]
)
_exactly(MarketRow)


@_exactly
class DetailedPlatform(TypedDict):
    """Where a token lives."""

    decimal_place: int | None
    contract_address: str


@_exactly
class Image(TypedDict):
    """The addresses of a picture."""

    thumb: str
    small: str


@_exactly
class LargeImage(Image):
    """The same with the largest one."""

    large: str


ByCurrency = dict[str, float]


@_exactly
class MarketData(TypedDict):
    """The market data of a coin, by currency where it is an object. What is not known is left out."""

    current_price: ByCurrency
    market_cap: ByCurrency
    fully_diluted_valuation: ByCurrency
    total_volume: ByCurrency
    high_24h: ByCurrency
    low_24h: ByCurrency
    ath: ByCurrency
    ath_change_percentage: ByCurrency
    ath_date: dict[str, datetime]
    atl: ByCurrency
    atl_change_percentage: ByCurrency
    atl_date: dict[str, datetime]
    price_change_percentage_1h_in_currency: ByCurrency
    price_change_percentage_24h_in_currency: ByCurrency
    price_change_percentage_7d_in_currency: ByCurrency
    market_cap_rank: int | None
    max_supply: Number
    roi: Roi | None
    last_updated: datetime
    price_change_24h: NotRequired[float]
    price_change_percentage_24h: NotRequired[float]
    price_change_percentage_7d: NotRequired[float]
    market_cap_change_24h: NotRequired[float]
    market_cap_change_percentage_24h: NotRequired[float]
    total_supply: NotRequired[float]
    circulating_supply: NotRequired[float]
    sparkline_7d: NotRequired[list[float]]


@_exactly
class Coin(TypedDict):
    """All of one coin. What the warehouse does not hold has the value of a coin that has none of it."""

    id: str
    symbol: str
    name: str
    web_slug: str
    asset_platform_id: str | None
    platforms: dict[str, str]
    detail_platforms: dict[str, DetailedPlatform]
    block_time_in_minutes: float
    hashing_algorithm: str | None
    categories: list[str]
    preview_listing: bool
    public_notice: None
    additional_notices: list[str]
    has_supply_breakdown: bool
    description: dict[str, str]
    links: dict[str, Any]
    image: LargeImage
    country_origin: str
    genesis_date: date | None
    sentiment_votes_up_percentage: None
    sentiment_votes_down_percentage: None
    watchlist_portfolio_users: float
    market_cap_rank: int | None
    market_cap_rank_with_rehypothecated: None
    status_updates: list[Any]
    last_updated: datetime
    localization: NotRequired[dict[str, str]]
    market_data: NotRequired[MarketData]


Point = Annotated[list[Number], Field(min_length=2, max_length=2)]
"""A time and a value; readers of OpenAPI 3.0 know no tuples."""


@_exactly
class Chart(TypedDict):
    """Points of milliseconds since the epoch and a value."""

    prices: list[Point]
    market_caps: list[Point]
    total_volumes: list[Point]


@_exactly
class DayData(TypedDict):
    """The prices of a day by currency."""

    current_price: ByCurrency
    market_cap: ByCurrency
    total_volume: ByCurrency


@_exactly
class Empty(TypedDict):
    """Nothing of this is held."""


@_exactly
class History(TypedDict):
    """A coin at the beginning of a day."""

    id: str
    symbol: str
    name: str
    image: Image
    market_data: DayData
    community_data: Empty
    developer_data: Empty
    public_interest_stats: Empty
    localization: NotRequired[dict[str, str]]


@_exactly
class GlobalData(TypedDict):
    """The market as a whole; totals by currency, shares of the largest coins by symbol."""

    active_cryptocurrencies: int
    upcoming_icos: int
    ongoing_icos: int
    ended_icos: int
    markets: int
    total_market_cap: ByCurrency
    total_volume: ByCurrency
    market_cap_percentage: ByCurrency
    market_cap_change_percentage_24h_usd: float
    volume_change_percentage_24h_usd: float
    updated_at: int


@_exactly
class Global(TypedDict):
    """The market as a whole."""

    data: GlobalData


@_exactly
class FoundCoin(TypedDict):
    """A coin of a search."""

    id: str
    name: str
    api_symbol: str
    symbol: str
    market_cap_rank: int | None
    thumb: str
    large: str


@_exactly
class FoundCategory(TypedDict):
    """A category of a search."""

    id: str
    name: str


@_exactly
class Found(TypedDict):
    """What a search found; exchanges, offerings and NFTs are not held."""

    coins: list[FoundCoin]
    exchanges: list[Empty]
    icos: list[Empty]
    categories: list[FoundCategory]
    nfts: list[Empty]


@_exactly
class KeyUsage(TypedDict):
    """What a key may do."""

    plan: str
    rate_limit_request_per_minute: int
    monthly_call_credit: int
    current_total_monthly_calls: int
    current_remaining_monthly_calls: int
    api_key_rate_limit_request_per_minute: int
    api_key_monthly_call_credit: int
    api_key_current_total_monthly_calls: int


@_exactly
class Error(TypedDict):
    """Most errors."""

    error: str


@_exactly
class NumberedStatus(TypedDict):
    """An error that CoinGecko numbers."""

    error_code: int
    error_message: str


@_exactly
class NumberedError(TypedDict):
    """Errors that CoinGecko numbers."""

    status: NumberedStatus
