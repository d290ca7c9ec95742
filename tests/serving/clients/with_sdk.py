"""Every method of CoinGecko's SDK over our routes, strictly validated; prints what each returned as JSON."""

import asyncio
import json
import sys
from inspect import isawaitable

from coingecko_sdk import AsyncCoingecko, Coingecko, NotFoundError

BASE, KEY = sys.argv[1:]


def calls(client):
    """Each method by name."""
    chart = client.coins.market_chart
    return {
        "ping": lambda: client.ping.get(),
        "price": lambda: client.simple.price.get(
            ids="bitcoin,ethereum", vs_currencies="usd,eur", include_market_cap=True, include_24hr_vol=True,
            include_24hr_change=True, include_last_updated_at=True, precision="full",
        ),
        "currencies": lambda: client.simple.supported_vs_currencies.get(),
        "list": lambda: client.coins.list.get(include_platform=True),
        "markets": lambda: client.coins.markets.get(
            vs_currency="usd", per_page=250, sparkline=True, price_change_percentage="1h,24h,7d,14d,30d,200d,1y",
            include_rehypothecated=True,
        ),
        "derived": lambda: client.coins.markets.get(vs_currency="eur"),
        "coin": lambda: client.coins.get_id("bitcoin", sparkline=True),
        "chart": lambda: chart.get("bitcoin", vs_currency="usd", days="30"),
        "range": lambda: chart.get_range("bitcoin", vs_currency="usd", from_="2026-11-01", to="2026-11-19"),
        "history": lambda: client.coins.history.get("bitcoin", date="19-11-2026"),
        "global": lambda: client.global_.get(),
        "search": lambda: client.search.get(query="coin"),
        "key": lambda: client.key.get(),
    }  # fmt: skip


def plain(value):
    """A model as JSON."""
    if isinstance(value, list):
        return [plain(each) for each in value]
    if isinstance(value, dict):
        return {name: plain(each) for name, each in value.items()}
    return value.to_dict(mode="json") if hasattr(value, "to_dict") else value


async def ask(kind, **key):
    """All methods of one client."""
    client = kind(base_url=BASE, _strict_response_validation=True, max_retries=0, **key)
    found = {}
    for name, call in calls(client).items():
        value = call()
        found[name] = plain(await value if isawaitable(value) else value)
    try:
        value = client.coins.get_id("nope")
        await value if isawaitable(value) else value
    except NotFoundError as error:
        found["unknown"] = error.body
    return found


first = asyncio.run(ask(Coingecko, demo_api_key=KEY))
second = asyncio.run(ask(AsyncCoingecko, pro_api_key=KEY))
assert {n: v for n, v in first.items() if n != "key"} == {n: v for n, v in second.items() if n != "key"}
print(json.dumps(first))
