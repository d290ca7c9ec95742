"""``/coins/{id}``: everything about one coin, in every quote currency."""

from datetime import timedelta
from typing import Any

import numpy as np
from pydantic import BaseModel

from local.simulator.catalogue import CATEGORIES
from local.simulator.currencies import CURRENCIES, units_per_dollar
from local.simulator.market import CHANGE_PERIODS, Snapshot
from local.simulator.markets import sparklines
from local.simulator.noise import hashes
from local.simulator.quirks import NULL_EXPLORERS, RENAMED_IDS
from local.simulator.rendering import Row, display_prices, money, percentages

LOCALES: tuple[str, ...] = ("en", "de", "es", "fr", "it", "ja", "ko", "pt", "ru", "zh")

_GENESIS = {"bitcoin": "2009-01-03", "ethereum": "2015-07-30", "litecoin": "2011-10-07", "dogecoin": "2013-12-08"}
_ALGORITHMS = {"bitcoin": "SHA-256", "litecoin": "Scrypt", "dogecoin": "Scrypt", "ethereum": "Ethash"}


class DetailFlags(BaseModel):
    """Which parts of the answer are wanted; the names and defaults are the API's."""

    localization: bool = True
    tickers: bool = True
    market_data: bool = True
    community_data: bool = True
    developer_data: bool = True
    sparkline: bool = False


class CoinView:
    """One coin of a snapshot, seen as the endpoint of details shows it; its row is of ``/coins/markets`` in dollars."""

    def __init__(self, snapshot: Snapshot, slot: int, row: Row) -> None:
        self._snapshot, self._slot, self._row = snapshot, slot, row
        self._bits = int(hashes(snapshot.catalogue.seed, "detail", np.array([slot]))[0])

    def answer(self, flags: DetailFlags) -> Row:
        """The body for some flags."""
        coin, platforms = self._row, self._snapshot.catalogue.platforms[self._slot]
        body = _head(coin["id"], coin["symbol"], coin["name"], platforms) | self._facts()
        body["market_cap_rank_with_rehypothecated"] = int(self._snapshot.rank_with_rehypothecated[self._slot]) or None
        if flags.localization:
            body["localization"] = dict.fromkeys(LOCALES, coin["name"])
        if flags.market_data:
            body["market_data"] = self._market_data(flags.sparkline)
        return body | _optional_parts(flags, [self._ticker()] if coin["current_price"] is not None else [], self._bits)

    def _facts(self) -> Row:
        coin, bits = self._row, self._bits
        votes = None if bits % 4 == 0 else round(bits % 10_000 / 100, 2)
        started = f"20{14 + bits % 12:02d}-{1 + bits // 16 % 12:02d}-{1 + bits // 256 % 28:02d}"
        return {
            "categories": [CATEGORIES[name] for name in self._snapshot.catalogue.categories[self._slot]],
            "hashing_algorithm": _ALGORITHMS.get(coin["id"]),
            "genesis_date": _GENESIS.get(coin["id"], started if bits % 3 == 0 else None),
            "description": {"en": _description(coin["name"], bits)},
            "image": {size: coin["image"].replace("/large/", f"/{size}/") for size in ("thumb", "small", "large")},
            "sentiment_votes_up_percentage": votes,
            "sentiment_votes_down_percentage": None if votes is None else round(100 - votes, 2),
            "watchlist_portfolio_users": bits % 100_000,
            "market_cap_rank": coin["market_cap_rank"],
            "last_updated": coin["last_updated"],
        }

    def _market_data(self, sparkline: bool) -> Row:
        coin, snapshot = self._row, self._snapshot
        data: Row = {"current_price": self._prices("current_price", snapshot.price), "roi": coin["roi"]}
        data |= dict.fromkeys(("total_value_locked", "mcap_to_tvl_ratio", "fdv_to_tvl_ratio"))
        data |= self._records() | self._capitals() | self._changes()
        same = ("market_cap_rank", "circulating_supply", "total_supply", "max_supply", "last_updated")
        data |= {field: coin[field] for field in same}
        data["max_supply_infinite"] = coin["max_supply"] is None
        if sparkline:
            data["sparkline_7d"] = sparklines(snapshot, np.array([self._slot]), 1.0)[0]
        return data

    def _records(self) -> Row:
        parts: Row = {}
        for name, (values, _) in self._snapshot.catalogue.records.items():
            parts[name] = self._prices(name, values)
            for field in (f"{name}_change_percentage", f"{name}_date"):
                parts[field] = self._everywhere(self._row[field])
        return parts

    def _capitals(self) -> Row:
        coin, snapshot = self._row, self._snapshot
        cap, diluted = coin["market_cap"], coin["fully_diluted_valuation"]
        return {
            "market_cap": self._amounts(cap),
            "fully_diluted_valuation": self._amounts(diluted),
            "market_cap_fdv_ratio": round(cap / diluted, 2) if cap and diluted else None,
            "total_volume": self._amounts(coin["total_volume"]),
            "high_24h": self._prices("high_24h", snapshot.high),
            "low_24h": self._prices("low_24h", snapshot.low),
        }

    def _changes(self) -> Row:
        coin, snapshot = self._row, self._snapshot
        fields = ("price_change_24h", "market_cap_change_24h", "market_cap_change_percentage_24h")
        parts: Row = {field: coin[field] for field in fields}
        parts |= {f"{field}_in_currency": self._everywhere(coin[field]) for field in fields}
        for period in CHANGE_PERIODS:
            change = percentages(snapshot.change_percentage(period)[self._slot : self._slot + 1])[0]
            parts[f"price_change_percentage_{period}_in_currency"] = self._everywhere(change)
            if period != "1h":
                parts[f"price_change_percentage_{period}"] = change
        return parts

    def _prices(self, field: str, values: Any) -> Row:
        """A price in every currency; none at all when the row has none."""
        if self._row[field] is None:
            return {}
        dollars = values[self._slot : self._slot + 1]
        return {code: display_prices(dollars * rate)[0] for code, rate in self._rates()} | {"usd": self._row[field]}

    def _amounts(self, dollars: float | None) -> Row:
        return {} if dollars is None else {code: money(np.array([dollars * rate]))[0] for code, rate in self._rates()}

    def _everywhere(self, value: Any) -> Row:
        return {} if value is None else dict.fromkeys(CURRENCIES, value)

    def _rates(self) -> list[tuple[str, float]]:
        pairs = ((code, units_per_dollar(code, self._snapshot)) for code in CURRENCIES)
        return [(code, rate) for code, rate in pairs if rate is not None]

    def _ticker(self) -> Row:
        coin = self._row
        stamp = coin["last_updated"].replace("Z", "+00:00")
        rates = dict(self._rates())
        price = {code: coin["current_price"] * rates.get(code, 1.0) for code in ("btc", "eth", "usd")}
        return {
            "base": coin["symbol"].upper(),
            "target": "USDT",
            "market": {"name": "Simulated Exchange", "identifier": "simulated", "has_trading_incentive": False},
            "last": coin["current_price"],
            "volume": 1000.0,
            "converted_last": price,
            "converted_volume": {code: value * 1000 for code, value in price.items()},
            "trust_score": "green",
            "bid_ask_spread_percentage": 0.1,
            **dict.fromkeys(("timestamp", "last_traded_at", "last_fetch_at"), stamp),
            "is_anomaly": False,
            "is_stale": False,
            "trade_url": "https://example.org/trade",
            "token_info_url": None,
            "coin_id": coin["id"],
            "target_coin_id": "tether",
        }


def listed_answer(snapshot: Snapshot, coin: str, flags: DetailFlags) -> Row:
    """The body of an id without a market: a renamed one has an empty ``current_price``, one has null explorers."""
    body = _head(coin, coin[:5], coin.replace("-", " ").title(), {}) | {"description": {"en": _description(coin, 0)}}
    body |= {"market_cap_rank": None, "market_cap_rank_with_rehypothecated": None, "watchlist_portfolio_users": 0}
    votes = ("sentiment_votes_up_percentage", "sentiment_votes_down_percentage")
    body |= dict.fromkeys((*votes, "hashing_algorithm", "genesis_date"))
    body |= {"categories": [], "image": dict.fromkeys(("thumb", "small", "large"), "missing_large.png")}
    if coin == NULL_EXPLORERS:
        body["links"]["blockchain_site"] = ["https://example.org/explorer", None, None]
    if coin in RENAMED_IDS:
        body["public_notice"] = "This coin was renamed."
    if flags.localization:
        body["localization"] = dict.fromkeys(LOCALES, body["name"])
    if flags.market_data:
        nothing: Row = {"current_price": {}, "market_cap": {}, "total_volume": {}}
        body["market_data"] = nothing | {"roi": None, "market_cap_rank": None}
    stamp = (snapshot.at - timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    return body | _optional_parts(flags, [], 0) | {"last_updated": stamp}


def _head(coin: str, symbol: str, name: str, platforms: dict[str, str]) -> Row:
    return {
        "id": coin,
        "symbol": symbol,
        "name": name,
        "web_slug": coin,
        "asset_platform_id": next(iter(platforms), None),
        "platforms": platforms or {"": ""},
        "detail_platforms": {
            place: {"decimal_place": 18, "contract_address": address} for place, address in platforms.items()
        }
        or {"": {"decimal_place": None, "contract_address": ""}},
        "block_time_in_minutes": 0 if platforms else 10,
        "preview_listing": False,
        "public_notice": None,
        "additional_notices": [],
        "has_supply_breakdown": False,
        "links": _links(coin, bool(platforms)),
        "country_origin": "",
        "status_updates": [],
    }


def _links(coin: str, is_token: bool) -> Row:
    """Links as the API pads them: empty strings everywhere, a null explorer for a coin with a chain of its own."""
    return {
        "homepage": [f"https://example.org/{coin}", "", ""],
        "whitepaper": "",
        "blockchain_site": [f"https://example.org/explorer/{coin}", "" if is_token else None],
        "official_forum_url": ["", "", ""],
        "chat_url": ["", "", ""],
        "announcement_url": ["", ""],
        "snapshot_url": None,
        "twitter_screen_name": coin,
        "facebook_username": "",
        "bitcointalk_thread_identifier": None,
        "telegram_channel_identifier": "",
        "subreddit_url": "https://www.reddit.com",
        "repos_url": {"github": [], "bitbucket": []},
    }


def _description(name: str, bits: int) -> str:
    """A text with CR LF, quotes and a comma; now and then an empty one."""
    return "" if bits % 5 == 1 else f'{name} is a "simulated" coin, with no value.\r\n\r\nIts prices come from a seed.'


def _optional_parts(flags: DetailFlags, tickers: list[Row], bits: int) -> Row:
    parts: Row = {}
    if flags.community_data:
        counts = ("average_posts", "average_comments", "accounts_active")
        parts["community_data"] = {
            "facebook_likes": None,
            **{f"reddit_{count}_48h": 0 for count in counts},
            "reddit_subscribers": bits % 1000,
            "telegram_channel_user_count": None,
        }
    if flags.developer_data:
        pulls = ("pull_requests_merged", "pull_request_contributors")
        names = ("forks", "stars", "subscribers", "total_issues", "closed_issues", *pulls)
        work = {"code_additions_deletions_4_weeks": {"additions": 0, "deletions": 0}, "commit_count_4_weeks": 0}
        parts["developer_data"] = dict.fromkeys(names, bits % 500) | work | {"last_4_weeks_commit_activity_series": []}
    if flags.tickers:
        parts["tickers"] = tickers
    return parts
