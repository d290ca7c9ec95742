"""The API under load, and what one more hour of the bundle costs: ``python -m benchmarks.serving`` (needs ``wrk``).

A market of our own making becomes a bundle; one server process answers from it, and ``wrk`` asks it over loopback with 16
connections, other coins and pages each time. Beside it, in the same run and under the same load, stand a DuckDB query
for each call and, one call after the other, a query of the local warehouse for each call.
"""

import argparse
import json
import logging
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from datetime import timedelta
from pathlib import Path
from threading import Thread
from typing import Any

import psutil
import requests
from google.cloud import bigquery
from rich.console import Console
from rich.table import Table

from benchmarks.serving_contenders import CHART_SQL, DAILY, DAILY_COLUMNS, MARKETS, MARKETS_SQL, PRICE_SQL, write_files
from coinbeam.batch.tables import SNAPSHOT_FACT
from coinbeam.bundle.builder import Builder
from coinbeam.bundle.layout import columns_of
from coinbeam.clock import utc_now
from coinbeam.contracts import load_contract
from coinbeam.contracts.bigquery import schema
from coinbeam.errors import TerminalError
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import Settings
from coinbeam.warehouse.client import Warehouse
from tests.deploy.emulator import Emulator, running
from tests.serving.made import MadeSource
from tests.temporary import free_ports, temporary_cloud, temporary_settings

PRICE, PAGE, CHART = "price", "page of 100", "chart of a year"

TARGETS = {PRICE: 4_000, PAGE: 2_000, CHART: 2_000}
"""Calls a second that one worker must answer."""

MOST_P99_MS, MOST_MB, MOST_LOAD_SECONDS, MOST_GROWTH = 20.0, 450, 1.0, 1.3

_SCRIPTS = {
    PRICE: 'string.format("/api/v3/simple/price?ids=coin-%05d,coin-%05d&vs_currencies=usd", n(), n())',
    PAGE: 'string.format("/api/v3/coins/markets?vs_currency=usd&per_page=100&page=%d", math.random(1, {pages}))',
    CHART: 'string.format("/api/v3/coins/coin-%05d/market_chart?vs_currency=usd&days=365", n())',
}
_LUA = """local function n() return math.random(0, {last}) end
request = function() return wrk.format("GET", {path}, {headers}) end
"""
_CONNECTIONS = 16


@dataclass(frozen=True)
class Load:
    """What came of one load.

    Attributes:
        rate: calls a second.
        p99_ms: of a hundred calls one took longer.
        failed: calls without a good answer.
    """

    route: str
    rate: float
    p99_ms: float
    failed: int


@dataclass(frozen=True)
class Hour:
    """What one more hour cost with some days behind it."""

    days: int
    seconds: float
    written_mb: float
    total_mb: float


def main(argv: list[str] | None = None) -> int:
    """Measure and print; 0 when every call was answered and the contenders agree, whatever the figures."""
    arguments = _arguments(argv)
    if shutil.which("wrk") is None:
        raise TerminalError("There is no wrk on this machine.", "On Debian and Ubuntu: apt-get install wrk.")
    console = Console(stderr=arguments.json)
    logging.getLogger("gcp_storage_emulator").setLevel(logging.CRITICAL)
    with tempfile.TemporaryDirectory() as name, running() as emulator:
        report = _measure(Path(name), emulator, arguments, console)
    if arguments.json:
        print(json.dumps(report, default=asdict))
    return 0 if report["agree"] and not any(load.failed for load in report["loads"]) else 1


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--assets", type=int, default=18_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seconds", type=int, default=8, help="of each load")
    parser.add_argument("--without-warehouse", action="store_true", help="leave out the slowest contender")
    parser.add_argument("--json", action="store_true", help="the report as JSON on standard output")
    return parser.parse_args(argv)


def _measure(folder: Path, emulator: Emulator, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    growth = [_one_more_hour(folder, emulator, arguments.assets, days) for days in (30, arguments.days)]
    _tell_growth(console, growth)
    settings, source = _made(folder / "served", emulator, "served", arguments.assets, arguments.days)
    _build(settings, source)
    load_seconds = _load_seconds(settings)
    with _server(settings) as (url, server):
        loads = [_load(url, route, arguments) for route in TARGETS]
        loads.append(_load(url, PRICE, arguments, headers=_tag(url), name="price, 304"))
        resident = server.memory_info().rss / 1e6
        loads.append(_under_swap(url, settings, source, arguments))
        time.sleep(2)
        after_swaps = server.memory_info().rss / 1e6
        ours = _answers(url)
    write_files(source, folder / "files")
    with _duckdb_server(folder / "files", arguments.days) as url:
        contender = [_load(url, route, arguments) for route in TARGETS]
        agree = same_prices(ours, _answers(url))
    warehouse = [] if arguments.without_warehouse else _ask_warehouse(folder, arguments)
    _tell(console, loads, contender, warehouse, (resident, after_swaps), load_seconds, agree)
    return {
        "loads": loads,
        "duckdb": contender,
        "warehouse": warehouse,
        "resident_mb": resident,
        "resident_after_swaps_mb": after_swaps,
        "load_seconds": load_seconds,
        "growth": growth,
        "agree": agree,
    }


def _made(folder: Path, emulator: Emulator, bucket: str, assets: int, days: int) -> tuple[Settings, MadeSource]:
    base = temporary_settings(folder)
    ports = base.local.ports.model_copy(update={"storage": emulator.port})
    settings = base.model_copy(
        update={
            "local": base.local.model_copy(update={"ports": ports}),
            "storage": base.storage.model_copy(update={"bucket": bucket}),
            "serving": base.serving.model_copy(update={"poll_seconds": 0.2}),
        }
    )
    emulator.create_bucket(bucket)
    return settings, MadeSource(assets, days, utc_now().date() - timedelta(days=1))


def _build(settings: Settings, source: MadeSource) -> Any:
    return Builder(Warehouse(settings), Bucket(settings), utc_now, source).build()


def _one_more_hour(folder: Path, emulator: Emulator, assets: int, days: int) -> Hour:
    """The least of three hours, after the first one of the day."""
    settings, source = _made(folder / f"growth-{days}", emulator, f"growth-{days}", assets, days)
    _build(settings, source)
    made = []
    for hour in (1, 2, 3):
        source.hour, source.first_touched = hour, source.last
        source.refreshed_at += timedelta(hours=1)
        made.append(_build(settings, source))
    best = min(made, key=lambda built: float(built.seconds))
    return Hour(days, best.seconds, best.size / 1e6, best.total / 1e6)


def _load_seconds(settings: Settings) -> float:
    """From nothing in memory to the first answer, the files being on this machine already."""
    code = (
        "import sys, time; from coinbeam.settings import Settings; from serving.api.view import View; "
        "from coinbeam.bundle.reader import Bundle, open_files; from coinbeam.clock import utc_now; "
        "settings = Settings.model_validate_json(sys.stdin.read()); files = open_files(settings); "
        "View(Bundle(files.manifest(), files), utc_now); began = time.perf_counter(); files = open_files(settings); "
        "View(Bundle(files.manifest(), files), utc_now); print(time.perf_counter() - began)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], input=settings.model_dump_json(), capture_output=True, text=True, check=True
    )
    return float(done.stdout)


@contextmanager
def _server(settings: Settings) -> Iterator[tuple[str, psutil.Process]]:
    port = free_ports(1)[0]
    code = (
        "import sys, uvicorn; from coinbeam.settings import Settings; from serving.api.app import create_app; "
        "app = create_app(Settings.model_validate_json(sys.stdin.read()), needs_key=False); "
        f"uvicorn.run(app, port={port}, log_config=None, access_log=False, server_header=False)"
    )
    with _process(
        [sys.executable, "-c", code], f"http://127.0.0.1:{port}", "/ready", settings.model_dump_json()
    ) as found:
        yield found


@contextmanager
def _duckdb_server(folder: Path, days: int) -> Iterator[str]:
    port = free_ports(1)[0]
    command = [sys.executable, "-m", "benchmarks.serving_contenders", "--folder", str(folder), "--port", str(port)]
    path = "/api/v3/simple/price?ids=coin-00000"
    with _process([*command, "--days", str(days)], f"http://127.0.0.1:{port}", path, "") as (url, _):
        yield url


@contextmanager
def _process(command: list[str], url: str, path: str, given: str) -> Iterator[tuple[str, psutil.Process]]:
    process = subprocess.Popen(command, stdin=subprocess.PIPE, text=True)
    try:
        assert process.stdin
        process.stdin.write(given)
        process.stdin.close()
        _wait(lambda: requests.get(url + path, timeout=5).ok, process)
        yield url, psutil.Process(process.pid)
    finally:
        process.terminate()
        process.wait(20)


def _wait(answers: Callable[[], bool], process: "subprocess.Popen[str]") -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until and process.poll() is None:
        try:
            if answers():
                return
        except requests.RequestException:
            time.sleep(0.1)
    raise TerminalError("A server did not come up within 60 s.")


def _load(
    url: str, route: str, arguments: argparse.Namespace, *, headers: str = "{}", name: str = "", seconds: int = 0
) -> Load:
    with tempfile.NamedTemporaryFile("w", suffix=".lua") as script:
        path = _SCRIPTS[route].replace("{pages}", str(max(1, arguments.assets // 100)))
        if headers != "{}":
            path = '"/api/v3/simple/price?ids=coin-00000&vs_currencies=usd"'
        script.write(_LUA.format(last=arguments.assets - 1, path=path, headers=headers))
        script.flush()
        base = ["wrk", "-t1", f"-c{_CONNECTIONS}", "--latency", "-s", script.name]
        subprocess.run([*base, "-d1s", url], capture_output=True, check=True)  # caches of the system, of all alike
        command = [*base, f"-d{seconds or arguments.seconds}s", url]
        text = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    return parse(name or route, text)


def parse(route: str, text: str) -> Load:
    """What ``wrk`` printed.

    Raises:
        TerminalError: it printed something else.
    """
    rate, p99 = re.search(r"Requests/sec:\s+([\d.]+)", text), re.search(r"99%\s+([\d.]+)(us|ms|s)", text)
    if rate is None or p99 is None:
        raise TerminalError(f"wrk printed no figures: {text[-200:]!r}.")
    failed = re.search(r"Non-2xx or 3xx responses: (\d+)", text)
    errors = re.search(r"Socket errors: connect (\d+), read (\d+), write (\d+), timeout (\d+)", text)
    broken = sum(map(int, errors.groups())) if errors else 0
    milliseconds = float(p99[1]) * {"us": 1e-3, "ms": 1.0, "s": 1e3}[p99[2]]
    return Load(route, float(rate[1]), milliseconds, (int(failed[1]) if failed else 0) + broken)


def _tag(url: str) -> str:
    answer = requests.get(f"{url}/api/v3/simple/price?ids=coin-00000&vs_currencies=usd", timeout=10)
    return "{" + f"['If-None-Match'] = '{answer.headers['etag']}'" + "}"


def _under_swap(url: str, settings: Settings, source: MadeSource, arguments: argparse.Namespace) -> Load:
    """The load of prices while two versions come, one after the other."""
    before = requests.get(f"{url}/ready", timeout=10).json()["version"]
    seconds = max(arguments.seconds, 8)
    found: list[Load] = []
    thread = Thread(
        target=lambda: found.append(_load(url, PRICE, arguments, name="price, two versions", seconds=seconds))
    )
    thread.start()
    for hour in (1, 2):
        time.sleep(1)
        source.hour, source.first_touched = hour, source.last
        source.refreshed_at += timedelta(hours=1)
        _build(settings, source)
    thread.join()
    assert requests.get(f"{url}/ready", timeout=10).json()["version"] > before
    return found[0]


def _answers(url: str) -> list[float]:
    """The prices of a chart, without its ends: each contender has another idea of where a year begins."""
    chart = requests.get(f"{url}/api/v3/coins/coin-00007/market_chart?vs_currency=usd&days=365", timeout=30).json()
    return [value for _, value in chart["prices"]][5:300]


def same_prices(ours: list[float], theirs: list[float]) -> bool:
    """Whether a contender has the prices that we have, but for a few days at the ends."""
    known = set(theirs)
    return sum(value in known for value in ours) >= len(ours) - 10


def _ask_warehouse(folder: Path, arguments: argparse.Namespace) -> list[Load]:
    """One query after the other of the local warehouse, as a service without a bundle would ask."""
    with temporary_cloud(folder / "cloud") as cloud:
        warehouse = Warehouse(cloud.settings)
        warehouse.client.create_dataset("bench")
        for table, columns in ((DAILY, columns_of(DAILY_COLUMNS)), (MARKETS, load_contract(SNAPSHOT_FACT).columns)):
            warehouse.client.create_table(bigquery.Table(warehouse.full_name(f"bench.{table}"), schema=schema(columns)))
        config = bigquery.LoadJobConfig(source_format="PARQUET", write_disposition="WRITE_APPEND")
        for path in sorted((folder / "files").rglob("*.parquet")):
            table = MARKETS if path.stem == MARKETS else DAILY
            with path.open("rb") as file:
                name = warehouse.full_name(f"bench.{table}")
                warehouse.client.load_table_from_file(file, name, job_config=config).result()
        names = {MARKETS: f"bench.{MARKETS}", DAILY: f"bench.{DAILY}"}
        first = str(utc_now().date() - timedelta(days=arguments.days))
        queries = {
            PRICE: PRICE_SQL.replace("{ids}", "'coin-00001', 'coin-00002'"),
            PAGE: MARKETS_SQL.replace("{offset}", "100"),
            CHART: CHART_SQL.replace("{asset}", "coin-00007").replace("{first}", first),
        }
        return [_queried(warehouse, route, sql.format(**names)) for route, sql in queries.items()]


def _queried(warehouse: Warehouse, route: str, sql: str) -> Load:
    taken = []
    for _ in range(20):
        began = time.perf_counter()
        assert warehouse.rows(sql)
        taken.append(time.perf_counter() - began)
    return Load(route, len(taken) / sum(taken), max(taken) * 1e3, 0)


def _tell_growth(console: Console, growth: list[Hour]) -> None:
    table = Table(title="One more hour of the bundle", title_justify="left")
    for title in ("days behind", "seconds", "MB written", "MB in all"):
        table.add_column(title, justify="right")
    for hour in growth:
        table.add_row(f"{hour.days}", f"{hour.seconds:.2f}", f"{hour.written_mb:.1f}", f"{hour.total_mb:.0f}")
    console.print(table)
    ratio = growth[-1].seconds / growth[0].seconds
    console.print(f"{ratio:.2f} times as long (at most {MOST_GROWTH})\n")


def _tell(
    console: Console,
    loads: list[Load],
    duckdb: list[Load],
    warehouse: list[Load],
    resident: tuple[float, float],
    load_seconds: float,
    agree: bool,
) -> None:
    table = Table(title=f"One worker, {_CONNECTIONS} connections", title_justify="left")
    for title in ("route", "calls/s", "wanted", "p99 ms", "failed", "DuckDB calls/s", "p99 ms", "warehouse calls/s"):
        table.add_column(title, justify="left" if title == "route" else "right")
    by_route = {load.route: load for load in duckdb}
    asked = {load.route: load for load in warehouse}
    for load in loads:
        other, query = by_route.get(load.route), asked.get(load.route)
        table.add_row(
            load.route,
            f"{load.rate:,.0f}",
            f"{TARGETS[load.route]:,}" if load.route in TARGETS else "",
            f"{load.p99_ms:.1f}",
            str(load.failed),
            f"{other.rate:,.0f}" if other else "",
            f"{other.p99_ms:.1f}" if other else "",
            f"{query.rate:,.1f}" if query else "",
        )
    console.print(table)
    console.print(
        f"Resident {resident[0]:.0f} MB (at most {MOST_MB}), after two swaps {resident[1]:.0f} MB; a version is opened in {load_seconds:.2f} s (at most "
        f"{MOST_LOAD_SECONDS:g}); p99 wanted {MOST_P99_MS:g} ms. DuckDB's answers "
        + ("agree." if agree else "differ: no figure of this run counts.")
    )


if __name__ == "__main__":
    sys.exit(main())
