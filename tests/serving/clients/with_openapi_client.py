"""Every method of coingecko-openapi-client over our routes; prints what each returned as JSON."""

import asyncio
import json
import sys

import coingecko_openapi_client as gecko

BASE, KEY = sys.argv[1:]


async def ask():
    """All methods."""
    configuration = gecko.Configuration()
    configuration.host = BASE
    client = gecko.ApiClient(configuration)
    client.set_default_header("x-cg-pro-api-key", KEY)
    coins, simple = gecko.CoinsApi(client), gecko.SimpleApi(client)
    found = {
        "ping": await gecko.PingApi(client).ping_get(),
        "price": await simple.simple_price_get("bitcoin,ethereum", "usd,eur", include_last_updated_at="true"),
        "currencies": await simple.simple_supported_vs_currencies_get(),
        "list": await coins.coins_list_get(include_platform=True),
        "markets": await coins.coins_markets_get("usd", sparkline=True, order="gecko_desc"),
        "coin": await coins.coins_id_get("bitcoin", tickers=False),
        "chart": await coins.coins_id_market_chart_get("bitcoin", "usd", "30"),
        "range": await coins.coins_id_market_chart_range_get("bitcoin", "usd", "1793491200", "1794960000"),
        "history": await coins.coins_id_history_get("bitcoin", "19-11-2026", localization="false"),
        "global": await gecko.GlobalApi(client).global_get(),
        "search": await gecko.SearchApi(client).search_get("coin"),
    }
    try:
        await coins.coins_id_get("nope")
    except gecko.rest.ApiException as error:
        found["unknown"] = json.loads(error.body)
    await client.rest_client.pool_manager.close()
    return found


print(json.dumps(asyncio.run(ask())))
