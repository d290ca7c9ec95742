"""Windows of trades in Spark on one core, by its DataFrame functions: nothing runs in Python.

Once as a user would write it, and once with what Coinbeam does besides: each id counts once, and sums are exact.
"""

# mypy: disable-error-code="import-not-found,import-untyped"
# Spark is there for `make bench` only.
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from local.environment import HOST

_SCHEMA = "s STRING, a BIGINT, p STRING, q STRING, f BIGINT, l BIGINT, T BIGINT"


_EXACT = "decimal(18,8)"
"""Products of two have 37 digits: the most that Spark has, 38, are enough for exact sums."""


def run_spark(file: Path, output: Path) -> None:
    """Write the windows of a file."""
    _run(file, output, is_exact=False)


def run_exact(file: Path, output: Path) -> None:
    """The same of trades that may come twice, with exact sums."""
    _run(file, output, is_exact=True)


def _run(file: Path, output: Path, *, is_exact: bool) -> None:
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.driver.host", HOST)
        .config("spark.driver.bindAddress", HOST)
        .config("spark.ui.enabled", False)
        .config("spark.sql.shuffle.partitions", 1)  # the default of 200 is for a cluster
        .getOrCreate()
    )
    number = _EXACT if is_exact else "double"
    price, quantity = f.col("p").cast(number), f.col("q").cast(number)
    trades = spark.read.schema(_SCHEMA).json(str(file))
    windows = (
        (trades.dropDuplicates(["s", "a"]) if is_exact else trades)
        .groupBy(f.col("s").alias("symbol"), (f.col("T") - f.col("T") % 60_000).alias("window_start"))
        .agg(
            f.min_by(price, "a").cast("double").alias("open_price"),
            f.max(price).cast("double").alias("high_price"),
            f.min(price).cast("double").alias("low_price"),
            f.max_by(price, "a").cast("double").alias("close_price"),
            f.count("*").alias("agg_trade_count"),
            f.sum(f.col("l") - f.col("f") + 1).alias("trade_count"),
            f.sum(quantity).cast("double").alias("base_volume"),
            f.sum(price * quantity).cast("double").alias("quote_volume"),
        )
    )
    windows.write.json(str(output / "windows"))
    _stop(spark)


def _stop(spark: SparkSession) -> None:
    """End Java too and wait for it: the system counts what a process used only once it was waited for."""
    gateway: Any = spark.sparkContext._gateway
    spark.stop()
    gateway.shutdown()
    gateway.proc.stdin.close()
    gateway.proc.wait()
