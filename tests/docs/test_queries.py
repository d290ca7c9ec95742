"""Every query that a page, or a command as a hint, gives a person: it runs, it answers, and on a terminal of any width
nothing of the answer is cut.
"""

import ast
import io
import json
import math
import random
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

import pytest
from rich.console import Console

from coinbeam.batch.tables import ASSETS, DAILY_FACT, FEAR_GREED_FACT, SNAPSHOT_FACT
from coinbeam.contracts import load_all, load_contract
from coinbeam.feeds.trades.merge import append_panes, merge_panes, starts_of
from coinbeam.feeds.trades.settle import announce
from coinbeam.marts.refresh import Marts
from coinbeam.settings import ROOT
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from console import history, output, run, stream
from console.output import Format, show
from console.partitions import statements, unbounded_tables
from tests.coinbeam.conftest import asset_row
from tests.coinbeam.feeds.trades.conftest import pane
from tests.coinbeam.marts.conftest import Bench, day_row, index_row, snapshot_row
from tests.temporary import LocalCloud, fresh_resources

pytestmark = pytest.mark.cloud

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
_COMMAND = re.compile(r'coinbeam query (?:--\S+ )*"([^"]*)"')
DAYS, LARGE = 100, 130


def hinted() -> Iterator[str]:
    """The command lines that commands print as hints."""
    yield from run.NEXT_COMMANDS
    yield from history.NEXT_AFTER_BACKFILL
    yield from history.NEXT_AFTER_INDEX
    yield from stream.NEXT_AFTER_SETTLING


def queries() -> dict[str, str]:
    """Every SQL text by where it stands."""
    found = {}
    for page in PAGES:
        text = page.read_text(encoding="utf-8")
        for number, sql in enumerate(re.findall(r"```sql\n(.*?)```", text, re.DOTALL), start=1):
            found[f"{page.name} block {number}"] = sql
        for number, sql in enumerate(_COMMAND.findall(text), start=1):
            found[f"{page.name} line {number}"] = sql
    for number, line in enumerate(hinted(), start=1):
        found |= {f"hint {number}": sql for sql in _COMMAND.findall(line)}
    return {where: sql for where, sql in found.items() if sql.lower().startswith(("select", "with"))}


QUERIES = queries()


@pytest.fixture(scope="module")
def filled(local_cloud: LocalCloud) -> Warehouse:
    """A market of a hundred days up to today, with a snapshot, names, an index, trades of today, and two prices of long
    ago.
    """
    bench = Bench(Warehouse(fresh_resources(local_cloud).settings))
    ensure_schema(bench.warehouse)
    today, source = datetime.now(UTC).date(), random.Random(5)
    names = ["bitcoin", "ethereum", *(f"coin-{n:03d}" for n in range(LARGE))]
    rows: list[dict[str, Any]] = []
    prices: dict[str, float] = {}
    for place, asset in enumerate(names):
        price = 50_000.0 / (place + 1) ** 2
        for back in range(DAYS, -1, -1):
            price *= math.exp(source.gauss(0, 0.03))
            rows.append(_history(asset, today - timedelta(back), price, place))
        prices[asset] = price
    bench.put(DAILY_FACT, "history", rows)
    bench.put(FEAR_GREED_FACT, "index", [index_row(today - timedelta(n), (n * 7) % 101) for n in range(DAYS)])
    now = datetime.combine(today, time(), UTC)
    snapshots = [
        snapshot_row(asset, now, price, "now", market_cap_rank=place, circulating_supply=5e6, max_supply=1e7)
        for place, (asset, price) in enumerate(prices.items(), start=1)
    ]
    old = now - timedelta(days=9)
    stale = [snapshot_row(f"coin-{n}", old, 1.0, "old", symbol="coi") for n in (1, 2)]
    bench.put(SNAPSHOT_FACT, "now", snapshots)
    bench.put(SNAPSHOT_FACT, "old", stale)
    table = bench.warehouse.table(load_contract(ASSETS))
    known = {column.name for column in load_contract(ASSETS).columns}
    _append(bench.warehouse, table, [{k: v for k, v in asset_row(one).items() if k in known} for one in names])
    panes = [
        pane(number, window_start=(now + timedelta(minutes=number)).isoformat(), window_date=f"{today}")
        for number in range(5)
    ]
    append_panes(bench.warehouse, panes)
    merge_panes(bench.warehouse, *starts_of(panes))
    announce(bench.warehouse, today, len(panes))
    Marts(bench.warehouse, bench.warehouse.settings).refresh()
    return bench.warehouse


def _history(asset: str, day: date, price: float, place: int) -> dict[str, Any]:
    return day_row(asset, day, price, "history", market_cap=price * 1e6 * (place + 1))


def _append(warehouse: Warehouse, table: str, rows: list[dict[str, Any]]) -> None:
    warehouse.append(table, "\n".join(json.dumps(row) for row in rows).encode())


def test_the_pages_and_hints_have_queries() -> None:
    assert sum(where.startswith("questions.md block") for where in QUERIES) == 10
    assert sum(where.startswith("README.md") for where in QUERIES) >= 2
    assert sum(where.startswith("hint") for where in QUERIES) >= 3


@pytest.mark.parametrize("where", QUERIES)
def test_a_query_answers_and_nothing_of_the_answer_is_cut(
    where: str, filled: Warehouse, monkeypatch: pytest.MonkeyPatch
) -> None:
    sql = QUERIES[where]
    for contract in load_all().values():
        sql = sql.replace(f"{contract.dataset}.{contract.name}", filled.table(contract))
    rows = filled.rows(sql)
    assert rows, "a query that a newcomer is given shows something"
    columns = list(rows[0])
    assert any(value is not None for row in rows for value in row.values())
    for width in (80, 160):
        sink = io.StringIO()
        made = Console(file=sink, force_terminal=True, soft_wrap=True, width=width, color_system=None)
        monkeypatch.setattr(output, "console", made)
        show(columns, rows, Format.TABLE)
        shown = sink.getvalue()
        for row in rows:
            missing = [value for value in row.values() if output._cell(value) not in shown]
            assert all(" " in output._cell(value) for value in missing), f"cut at {width} columns: {missing}"
        assert len(shown.splitlines()) <= 90, "a first look that scrolls away is none"
        if "row 1 of" not in shown:
            assert max(map(len, shown.splitlines())) <= width


@pytest.mark.parametrize("where", QUERIES)
def test_a_query_keeps_the_habits_that_the_pages_ask_for(where: str) -> None:
    sql = QUERIES[where]
    partitions = {one.name: one.partition_column for one in load_all().values() if one.partition_column}
    [statement] = statements(sql)
    assert unbounded_tables(statement, partitions) == [], "BigQuery would refuse it"
    priced = [
        name for name, one in load_all().items() if "quote_currency" in one.by_name and re.search(rf"\.{name}\b", sql)
    ]
    assert not priced or "quote_currency = 'usd'" in sql


def test_the_readme_reads_the_warehouse_from_python(filled: Warehouse, capsys: pytest.CaptureFixture[str]) -> None:
    [code] = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    code = code.replace(":9050", f":{filled.settings.local.ports.bigquery}")
    code = code.replace("crypto_marts.latest_prices", filled.table(load_contract("latest_prices")))
    exec(compile(code, "README.md", "exec"), {})
    assert len(ast.literal_eval(capsys.readouterr().out)) == 3
