"""CoinGecko's own clients and those of others get what the API says, from each method that has a route here."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from tests.serving.clients.conftest import HERE, run
from tests.serving.clients.mcp import session
from tests.serving.served import ASSETS_MADE, Made

pytestmark = [pytest.mark.clients, pytest.mark.xdist_group("clients")]

METHODS = {
    "ping", "price", "currencies", "list", "markets", "coin", "chart", "range", "history", "global", "search", "unknown",
}  # fmt: skip

PYTHON = ["with_sdk.py", "with_pycoingecko.py", "with_openapi_client.py"]


@pytest.fixture
def said(keyed_api_url: str, api_key: str) -> Callable[..., Any]:
    """What the API says itself."""
    return lambda target: httpx.get(f"{keyed_api_url}/api/v3{target}", headers={"x-cg-demo-api-key": api_key}).json()


def assert_the_same(found: dict[str, Any], said: Callable[..., Any], made: Made) -> None:
    """What a client returned is what the API says."""
    assert found.keys() | {"key", "derived"} == METHODS | {"key", "derived"}
    price = said("/simple/price?ids=bitcoin,ethereum&vs_currencies=usd,eur")
    assert price["bitcoin"]["usd"] == made[2].price(made[2].last)[0]
    for coin, by_currency in price.items():
        assert {currency: found["price"][coin][currency] for currency in by_currency} == by_currency
    assert found["ping"] == said("/ping")
    assert found["currencies"] == said("/simple/supported_vs_currencies")
    assert [coin["id"] for coin in found["list"]] == [coin["id"] for coin in said("/coins/list")]
    assert len(found["list"]) == ASSETS_MADE
    prices = [row["current_price"] for row in said("/coins/markets?vs_currency=usd&per_page=250")]
    assert [row["current_price"] for row in found["markets"]] == prices[: len(found["markets"])]
    assert len(found["markets"]) in {100, 250}
    assert found["markets"][0]["sparkline_in_7d"]["price"][-1] == prices[0]
    assert found["coin"]["market_data"]["current_price"]["usd"] == prices[0]
    assert found["chart"] == said("/coins/bitcoin/market_chart?vs_currency=usd&days=30")
    days = said("/coins/bitcoin/market_chart/range?vs_currency=usd&from=1793491200&to=1795046400")["prices"]
    assert found["range"]["prices"] == days[: len(found["range"]["prices"])]
    assert len(found["range"]["prices"]) >= 17
    assert found["history"]["market_data"] == said("/coins/bitcoin/history?date=19-11-2026")["market_data"]
    assert found["global"]["data"]["total_market_cap"] == said("/global")["data"]["total_market_cap"]
    assert [coin["id"] for coin in found["search"]["coins"]] == [c["id"] for c in said("/search?query=coin")["coins"]]
    assert found["unknown"] == {"error": "coin not found"}


@pytest.mark.parametrize("script", PYTHON)
def test_a_python_client(
    script: str,
    python_clients: Path,
    keyed_api_url: str,
    api_key: str,
    said: Callable[..., Any],
    made_bundle: Made,
    tmp_path: Path,
) -> None:
    printed = run(python_clients, HERE / script, f"{keyed_api_url}/api/v3", api_key, folder=tmp_path)
    assert_the_same(json.loads(printed), said, made_bundle)


def test_the_typescript_sdk(
    node_clients: Path, keyed_api_url: str, api_key: str, said: Callable[..., Any], made_bundle: Made
) -> None:
    script = node_clients / "with_typescript.mjs"  # it finds packages beside itself
    script.write_text((HERE / "with_typescript.mjs").read_text())
    printed = run("node", script, f"{keyed_api_url}/api/v3", api_key, folder=node_clients)
    assert_the_same(json.loads(printed), said, made_bundle)


def test_the_mcp_server(
    node_clients: Path, keyed_api_url: str, api_key: str, said: Callable[..., Any], made_bundle: Made
) -> None:
    methods = (HERE / "with_typescript.mjs").read_text()
    body = methods[methods.index("const found") : methods.index("await client.coins.getID('nope')")]
    code = f"async function run(client) {{ {body} return found; }}"
    programs = node_clients / "node_modules" / ".bin"
    variables = {
        "COINGECKO_BASE_URL": f"{keyed_api_url}/api/v3",
        "COINGECKO_DEMO_API_KEY": api_key,
        "PATH": f"{programs}{os.pathsep}{os.environ['PATH']}",
    }
    with session(programs / "mcp-server", variables=variables) as server:
        assert {"execute", "search_docs"} <= {tool["name"] for tool in server.ask("tools/list", {})["tools"]}
        result = server.ask("tools/call", {"name": "execute", "arguments": {"intent": "try", "code": code}})
    [content] = result["content"]
    assert_the_same({**json.loads(content["text"]), "unknown": {"error": "coin not found"}}, said, made_bundle)
