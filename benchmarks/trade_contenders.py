"""What a user would pick instead for trades in windows of 60 s, each run alone in a process of its own: ``python -m
benchmarks.trade_contenders NAME FILE OUTPUT``.

All write the figures of :data:`FIGURES` as newline-delimited JSON below the folder ``OUTPUT``. But for ``spark_exact``
none drops a trade that came twice or adds exactly; the lines of the benchmark need neither.
"""

import argparse
import importlib
import importlib.util
import os
import shutil
from collections.abc import Callable
from pathlib import Path

FIGURES = (
    "open_price",
    "high_price",
    "low_price",
    "close_price",
    "agg_trade_count",
    "trade_count",
    "base_volume",
    "quote_volume",
)
"""What is compared, beside the key: ``symbol`` and ``window_start``, the latter in milliseconds."""

Contender = Callable[[Path, Path], None]

_MODULES = {
    "rows": "benchmarks.trade_rows:run_rows",
    "spark": "benchmarks.trade_spark:run_spark",
    "spark_exact": "benchmarks.trade_spark:run_exact",
    "duckdb": "benchmarks.trade_contenders:run_duckdb",
    "polars": "benchmarks.trade_contenders:run_polars",
}
NAMES = tuple(_MODULES)


def run_duckdb(file: Path, output: Path) -> None:
    """One typed read and one GROUP BY, on one thread."""
    import duckdb

    connection = duckdb.connect()
    connection.execute("SET threads = 1; SET preserve_insertion_order = false")
    types = "{s: 'VARCHAR', a: 'BIGINT', p: 'DOUBLE', q: 'DOUBLE', f: 'BIGINT', l: 'BIGINT', T: 'BIGINT'}"
    connection.execute(
        f"""
        COPY (
            SELECT s AS symbol, T - T % 60000 AS window_start,
                   arg_min(p, a) AS open_price, max(p) AS high_price, min(p) AS low_price, arg_max(p, a) AS close_price,
                   count(*) AS agg_trade_count, sum(l - f + 1)::BIGINT AS trade_count,
                   sum(q) AS base_volume, sum(p * q) AS quote_volume
            FROM read_json('{file}', format = 'newline_delimited', columns = {types})
            GROUP BY ALL
        ) TO '{output}/windows.ndjson' (FORMAT json)
        """
    )


def run_polars(file: Path, output: Path) -> None:
    """A lazy scan and a grouping."""
    import polars as pl

    price, quantity, number = pl.col("p").cast(pl.Float64), pl.col("q").cast(pl.Float64), pl.col("a")
    types = {"s": pl.String, "p": pl.String, "q": pl.String} | dict.fromkeys("aflT", pl.Int64)
    figures = [
        price.get(number.arg_min()).alias("open_price"),
        price.max().alias("high_price"),
        price.min().alias("low_price"),
        price.get(number.arg_max()).alias("close_price"),
        pl.len().alias("agg_trade_count"),
        (pl.col("l") - pl.col("f") + 1).sum().alias("trade_count"),
        quantity.sum().alias("base_volume"),
        (price * quantity).sum().alias("quote_volume"),
    ]
    (
        pl.scan_ndjson(file, schema=types)
        .group_by(pl.col("s").alias("symbol"), (pl.col("T") - pl.col("T") % 60_000).alias("window_start"))
        .agg(figures)
        .collect()
        .write_ndjson(output / "windows.ndjson")
    )


def absent(name: str) -> str | None:
    """Why a contender cannot run on this machine, or None."""
    if not name.startswith("spark"):
        return None
    if importlib.util.find_spec("pyspark") is None:
        return "there is no pyspark: pip install -r config/bench-requirements.txt"
    if shutil.which("java") is None and "JAVA_HOME" not in os.environ:
        return "there is no Java: on Debian and Ubuntu, apt-get install default-jre-headless"
    return None


def main() -> None:
    """Run one contender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=NAMES)
    parser.add_argument("file", type=Path)
    parser.add_argument("output", type=Path)
    arguments = parser.parse_args()
    module, _, function = _MODULES[arguments.name].partition(":")
    contender: Contender = getattr(importlib.import_module(module), function)
    contender(arguments.file, arguments.output)


if __name__ == "__main__":
    main()
