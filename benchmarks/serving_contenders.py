"""What a user would pick instead of the bundle: a query for each call, of DuckDB over Parquet files or of the warehouse.

``python -m benchmarks.serving_contenders --folder F --port P`` serves the three routes of the benchmark by DuckDB.
"""

import argparse
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb
import orjson
import pyarrow.parquet as pq
import uvicorn
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from tests.serving.made import MadeSource, midnight

DAILY, MARKETS = "daily", "markets"
DAILY_COLUMNS = ("asset_id", "date", "price", "market_cap", "total_volume", "observed_at")

PRICE_SQL = "SELECT asset_id, current_price FROM {markets} WHERE asset_id IN ({ids})"
MARKETS_SQL = "SELECT * FROM {markets} ORDER BY market_cap_rank LIMIT 100 OFFSET {offset}"
CHART_SQL = (
    "SELECT observed_at, price, market_cap, total_volume FROM {daily} WHERE asset_id = '{asset}' "
    "AND date >= '{first}' ORDER BY date"
)


def write_files(source: MadeSource, folder: Path) -> None:
    """The market as Parquet files: its days sorted by asset, month by month, and its newest snapshot."""
    (folder / DAILY).mkdir(parents=True, exist_ok=True)
    first = source.first
    while first <= source.last:
        last = (first.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)
        rows = source.days(first, last).select(DAILY_COLUMNS)
        pq.write_table(rows.sort_by("asset_id"), folder / DAILY / f"{first:%Y-%m}.parquet", row_group_size=20_000)
        first = last + timedelta(days=1)
    pq.write_table(source.snapshots(source.last, [midnight(source.last)]), folder / f"{MARKETS}.parquet")


def create_app(folder: Path, days: int) -> Starlette:
    """The three routes, by DuckDB."""
    database = duckdb.connect()
    tables = {MARKETS: f"'{folder}/{MARKETS}.parquet'", DAILY: f"'{folder}/{DAILY}/*.parquet'"}

    async def answer(sql: str) -> list[dict[str, Any]]:
        def run() -> list[dict[str, Any]]:
            found: list[dict[str, Any]] = database.cursor().sql(sql.format(**tables)).to_arrow_table().to_pylist()
            return found

        return await run_in_threadpool(run)

    async def price(request: Request) -> Response:
        ids = ", ".join(f"'{text}'" for text in request.query_params["ids"].split(","))
        rows = await answer(PRICE_SQL.replace("{ids}", ids))
        return Response(orjson.dumps({row["asset_id"]: {"usd": row["current_price"]} for row in rows}))

    async def markets(request: Request) -> Response:
        offset = (int(request.query_params["page"]) - 1) * 100
        return Response(orjson.dumps(await answer(MARKETS_SQL.replace("{offset}", str(offset)))))

    async def chart(request: Request) -> Response:
        first = datetime.now(UTC).date() - timedelta(days=days)
        sql = CHART_SQL.replace("{asset}", request.path_params["coin"]).replace("{first}", str(first))
        rows = await answer(sql)
        names = {"prices": "price", "market_caps": "market_cap", "total_volumes": "total_volume"}
        points = {
            name: [(row["observed_at"].timestamp() * 1e3, row[own]) for row in rows] for name, own in names.items()
        }
        return Response(orjson.dumps(points))

    return Starlette(
        routes=[
            Route("/api/v3/simple/price", price),
            Route("/api/v3/coins/markets", markets),
            Route("/api/v3/coins/{coin}/market_chart", chart),
        ]
    )


def main() -> None:
    """Serve until it is stopped."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--days", type=int, default=365)
    arguments = parser.parse_args()
    app = create_app(arguments.folder, arguments.days)
    uvicorn.run(app, port=arguments.port, log_config=None, access_log=False)


if __name__ == "__main__":
    main()
