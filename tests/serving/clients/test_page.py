"""Every example of docs/clients.md runs, and each shows the price that the API says."""

import csv
import json
import re
from pathlib import Path
from urllib.parse import urlencode

import httpx
import pytest

from coinbeam.settings import ROOT
from tests.serving.clients.conftest import HERE, run
from tests.serving.clients.mcp import session
from tests.serving.served import Made

PAGE = ROOT / "docs" / "clients.md"
TEXT = PAGE.read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^## ([^\n]+)\n(.*?)(?=^## |\Z)", TEXT, re.MULTILINE | re.DOTALL))
BLOCKS = [
    (title, language, code)
    for title, body in SECTIONS.items()
    for language, code in re.findall(r"^```(\w+)\n(.*?)^```", body, re.MULTILINE | re.DOTALL)
]
SERVER, KEY = "http://127.0.0.1:8000", "cbk_your_key"

CLIENTS = [pytest.mark.clients, pytest.mark.xdist_group("clients")]

DUCKDB_OFFLINE = "import duckdb_extensions\nduckdb_extensions.import_extension('httpfs')\n"
"""Where only registries are reached, the extension comes from one; installing it again does nothing."""


def examples(language: str) -> list[object]:
    """The examples in one language."""
    return [pytest.param(code, id=title, marks=CLIENTS) for title, of, code in BLOCKS if of == language]


@pytest.fixture
def price(made_bundle: Made) -> str:
    """The price of bitcoin up to its point."""
    return str(made_bundle[2].price(made_bundle[2].last)[0]).partition(".")[0]


@pytest.mark.parametrize("code", examples("python"))
def test_an_example_in_python(
    python_clients: Path, keyed_api_url: str, api_key: str, price: str, code: str, tmp_path: Path
) -> None:
    script = tmp_path / "example.py"
    before = DUCKDB_OFFLINE if "duckdb" in code else ""
    script.write_text(before + code.replace(SERVER, keyed_api_url).replace(KEY, api_key))
    variables = {
        "COINBEAM_API": keyed_api_url,
        "PYTHONPATH": str(ROOT / "docs" / "examples"),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(tmp_path),
    }
    shown = run(python_clients, script, folder=tmp_path, variables=variables)
    assert price in shown.replace(",", "")


@pytest.mark.parametrize("code", examples("js"))
def test_an_example_in_javascript(node_clients: Path, keyed_api_url: str, api_key: str, price: str, code: str) -> None:
    script = node_clients / "example.mjs"
    script.write_text(code.replace(SERVER, keyed_api_url).replace(KEY, api_key))
    assert f"bitcoin {price}." in run("node", script, folder=node_clients)


@pytest.mark.parametrize("code", examples("json"))
def test_the_configuration_of_an_mcp_server(
    node_clients: Path, keyed_api_url: str, api_key: str, price: str, code: str
) -> None:
    [server] = json.loads(code.replace(SERVER, keyed_api_url).replace(KEY, api_key))["mcpServers"].values()
    ask = "async function run(client) { return client.simple.price.get({ ids: 'bitcoin', vs_currencies: 'usd' }); }"
    # What is installed in the folder is what npx takes, without asking a registry.
    variables = server["env"] | {"npm_config_offline": "true"}
    with session(server["command"], *server["args"], variables=variables, folder=node_clients) as running:
        result = running.ask("tools/call", {"name": "execute", "arguments": {"intent": "try", "code": ask}})
    assert f'"usd":{price}.' in result["content"][0]["text"]


@pytest.mark.parametrize("language", ["powerquery", "excel"])
def test_a_spreadsheet_gets_rows(keyed_api_url: str, api_key: str, price: str, language: str) -> None:
    [code] = [code for _, of, code in BLOCKS if of == language]
    [address] = re.findall(rf'"({SERVER}[^"]*)"', code)
    asked = dict(re.findall(r' (\w+) = "(\w+)"', code.replace("[format", "[ format")))
    target = address.replace(SERVER, keyed_api_url).replace(KEY, api_key) + (f"?{urlencode(asked)}" if asked else "")
    headers = dict.fromkeys(re.findall(rf'#"([\w-]+)" = "{KEY}"', code), api_key)
    answer = httpx.get(target, headers={"Accept": "text/html, */*", **headers})
    rows = list(csv.DictReader(answer.text.splitlines()))
    assert next(row for row in rows if row["asset_id"] == "bitcoin")["current_price"].startswith(f"{price}.")


def test_every_section_but_the_table_has_an_example_that_is_run() -> None:
    assert {title for title, _, _ in BLOCKS} == SECTIONS.keys() - {"Which work"}
    assert {language for _, language, _ in BLOCKS} == {"python", "js", "json", "powerquery", "excel"}


def test_the_table_names_the_versions_that_are_installed() -> None:
    pins = dict(line.split("==") for line in (HERE / "requirements.txt").read_text().splitlines() if "==" in line)
    pins |= json.loads((HERE / "package.json").read_text())["dependencies"]
    rows = re.findall(r"^\| `([^`]+)`[^|]*\| ([\d.]+) \|", TEXT, re.MULTILINE)
    assert len(rows) == 5
    assert {name: version for name, version in rows if pins[name] != version} == {}
    assert f"`openbb-core` {pins['openbb-core']}" in TEXT
    assert f"deno@{pins['deno']}" in TEXT
