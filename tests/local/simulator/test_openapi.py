"""Answers against the official OpenAPI description of the demo API."""

import json
from typing import Any

import pytest
from jsonschema import Draft4Validator

from coinbeam.settings import ROOT

SPEC = ROOT.parent / "shared" / "captures" / "openapi" / "coingecko-demo-api.json"
CHART = "/coins/{id}/market_chart"


@pytest.fixture(scope="module")
def spec() -> dict[str, Any]:
    if not SPEC.is_file():
        pytest.skip("the official OpenAPI description is not here: ../shared/captures")
    document: dict[str, Any] = json.loads(SPEC.read_text())
    return document


def json_schema(node: Any) -> Any:
    """OpenAPI 3.0 as JSON Schema: ``nullable`` becomes a type."""
    if isinstance(node, list):
        return [json_schema(item) for item in node]
    if not isinstance(node, dict):
        return node
    schema = {key: json_schema(value) for key, value in node.items() if key not in {"nullable", "example"}}
    if node.get("nullable") is True and isinstance(node.get("type"), str):
        schema["type"] = [node["type"], "null"]
    return schema


def violations(spec: dict[str, Any], path: str, body: Any) -> list[str]:
    content = spec["paths"][path]["get"]["responses"]["200"]["content"]["application/json"]
    schema = json_schema({**content["schema"], "components": spec["components"]})
    return [
        f"{'.'.join(map(str, error.absolute_path))}: {error.message}"
        for error in Draft4Validator(schema).iter_errors(body)
    ]


@pytest.mark.parametrize(
    ("path", "url"),
    [
        pytest.param("/ping", "/ping", id="ping"),
        pytest.param("/coins/list", "/coins/list", id="list"),
        pytest.param("/coins/list", "/coins/list?include_platform=true", id="list with platforms"),
        pytest.param("/coins/list", "/coins/list?status=inactive", id="list of inactive coins"),
        pytest.param("/coins/markets", "/coins/markets?vs_currency=usd&per_page=250", id="markets"),
        pytest.param(
            "/coins/markets",
            "/coins/markets?vs_currency=eur&order=id_asc&per_page=250&page=2&sparkline=true&include_rehypothecated=true"
            "&price_change_percentage=1h,24h,7d,14d,30d,200d,1y&precision=full",
            id="markets with everything",
        ),
        pytest.param("/coins/{id}", "/coins/tether", id="details of a token"),
        pytest.param("/coins/{id}", "/coins/roi-holder?sparkline=true", id="details with a sparkline"),
        pytest.param("/coins/{id}", "/coins/tether?market_data=false&tickers=false", id="details without market data"),
        pytest.param("/coins/{id}", "/coins/matic-network?sparkline=true", id="details of a renamed coin"),
        pytest.param(CHART, "/coins/bitcoin/market_chart?vs_currency=usd&days=30", id="chart"),
        pytest.param(
            CHART, "/coins/unpriced-coin/market_chart?vs_currency=usd&days=30", id="chart of an unpriced coin"
        ),
        pytest.param(
            f"{CHART}/range",
            "/coins/bitcoin/market_chart/range?vs_currency=usd&from=1792000000&to=1793000000",
            id="range",
        ),
    ],
)
def test_an_answer_keeps_to_the_description(client, spec, path, url):
    body = client.get(f"/api/v3{url}").json()
    assert body
    found = violations(spec, path, body)
    # Real answers hold nulls among the explorers, which the description does not allow; the simulator keeps to reality
    # there.
    assert [text for text in found if not text.startswith("links.blockchain_site")] == []


def test_the_check_would_see_a_wrong_type(client, spec):
    body = client.get("/api/v3/coins/markets?vs_currency=usd").json()
    body[0]["current_price"] = "expensive"
    assert violations(spec, "/coins/markets", body) == ["0.current_price: 'expensive' is not of type 'number', 'null'"]


def test_all_orders_and_parameters_of_the_description_are_served(client, spec):
    order = next(p for p in spec["paths"]["/coins/markets"]["get"]["parameters"] if p["name"] == "order")
    for value in order["schema"]["enum"]:
        assert client.get("/api/v3/coins/markets", params={"vs_currency": "usd", "order": value}).status_code == 200
