"""Every method of pycoingecko over our routes; prints what each returned as JSON."""

import json
import sys

from pycoingecko import CoinGeckoAPI

BASE, KEY = sys.argv[1:]
client = CoinGeckoAPI(demo_api_key=KEY)
client.api_base_url = f"{BASE}/"
found = {
    "ping": client.ping(),
    "price": client.get_price(ids=["bitcoin", "ethereum"], vs_currencies=["usd", "eur"], include_last_updated_at=True),
    "currencies": client.get_supported_vs_currencies(),
    "list": client.get_coins_list(),
    "markets": client.get_coins_markets(vs_currency="USD", order="market_cap_rank", sparkline=True),
    "coin": client.get_coin_by_id("bitcoin", localization=False),
    "chart": client.get_coin_market_chart_by_id("bitcoin", "usd", 30),
    "range": client.get_coin_market_chart_range_by_id("bitcoin", "usd", 1_793_491_200, 1_794_960_000),
    "history": client.get_coin_history_by_id("bitcoin", "19-11-2026"),
    "global": {"data": client.get_global()},
    "search": client.search("coin"),
    "key": client.key(),
}
try:
    client.get_coin_by_id("nope")
except ValueError as error:
    found["unknown"] = error.args[0]
print(json.dumps(found))
