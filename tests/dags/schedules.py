"""When each DAG runs, said a second time on purpose: a schedule that moves is seen by whoever reads this file.

None for a DAG that a person starts, or that runs after others.
"""

DAILY: dict[str, str | None] = {
    "crypto_etl_dag": "0 0 * * *",
    "fear_greed_dag": "20 0 * * *",
    "price_witness_dag": "45 0 * * *",
    "crypto_stream_dag": "30 1 * * *",
    "crypto_backfill_dag": None,
    "crypto_marts_dag": None,
}

HOURLY = DAILY | {"crypto_etl_dag": "0 * * * *"}
"""With hourly snapshots."""
