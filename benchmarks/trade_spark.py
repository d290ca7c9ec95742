"""Windows of trades in Spark on one core, by its DataFrame functions: nothing runs in Python."""

# mypy: disable-error-code="import-not-found,import-untyped"
# Spark is there for `make bench` only.
from pathlib import Path
from typing import Any

from pyspark.sql import SparkSession
from pyspark.sql import functions as f

from local.environment import HOST

_SCHEMA = "s STRING, a BIGINT, p STRING, q STRING, f BIGINT, l BIGINT, T BIGINT"


def run_spark(file: Path, output: Path) -> None:
    """Write the windows of a file."""
    spark = (
        SparkSession.builder.master("local[1]")
        .config("spark.driver.host", HOST)
        .config("spark.driver.bindAddress", HOST)
        .config("spark.ui.enabled", False)
        .config("spark.sql.shuffle.partitions", 1)  # the default of 200 is for a cluster
        .getOrCreate()
    )
    price, quantity = f.col("p").cast("double"), f.col("q").cast("double")
    windows = (
        spark.read.schema(_SCHEMA)
        .json(str(file))
        .groupBy(f.col("s").alias("symbol"), (f.col("T") - f.col("T") % 60_000).alias("window_start"))
        .agg(
            f.min_by(price, "a").alias("open_price"),
            f.max(price).alias("high_price"),
            f.min(price).alias("low_price"),
            f.max_by(price, "a").alias("close_price"),
            f.count("*").alias("agg_trade_count"),
            f.sum(f.col("l") - f.col("f") + 1).alias("trade_count"),
            f.sum(quantity).alias("base_volume"),
            f.sum(price * quantity).alias("quote_volume"),
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
