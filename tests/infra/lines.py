"""What is really written into the logs: our own lines by the code that writes them, and Google's as its pages show them."""

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any, cast

from beam_pipelines.trades.sink import REFUSALS
from coinbeam.feeds.trades import intake, refill
from coinbeam.ops import batch_line
from coinbeam.ops.alerts import note
from coinbeam.ops.call_ledger import CallLedger, Usage
from coinbeam.ops.incidents import Failure
from coinbeam.ops.runbooks import RUNBOOKS, alert_of
from coinbeam.settings import Settings
from tests.infra.queries import Entry

TASKS = ("cloud_composer_environment", "cloud_run_job")
"""Where our tasks run."""

ROW: Mapping[str, Any] = {
    "table_name": "crypto_market_snapshot_fact",
    "status": "published",
    "mode": "fetch",
    "source_id": "coingecko",
    "rows_published": 17_994,
    "rows_rejected": 6,
    "api_calls": 132,
    "batch_id": "20261121T0000Z-usd-all",
}
"""What the line takes of the record of a snapshot."""

GAP = {
    **ROW,
    "status": "gap",
    "mode": "gap",
    "source_id": None,
    "rows_published": 0,
    "rows_rejected": 0,
    "api_calls": 0,
}
LOW = 39, 499_961
"""Calls left and spent of a month that is nearly over."""


def written(settings: Settings) -> list[Entry]:
    """Every line that an alert, a metric or the dashboard may look for."""
    return [*of_tasks(settings), *of_the_stream(), *of_google()]


def of_tasks(settings: Settings) -> Iterator[Entry]:
    """Lines of tasks, as Composer and as a run on a terminal dress them; what has several lines comes line by line."""
    with said() as lines:
        for row, left in ((ROW, 488_488), (ROW, LOW[0]), (GAP, 0)):
            recorded(row, left)
        for kind in (*RUNBOOKS, "KeyError"):
            failure = Failure("crypto_etl_dag", "audit", kind, "Coinbeam: audit failed", f"{kind}: why", "run", "b")
            note(alert_of(failure, settings, "https://airflow.example.com/log"))
    for message in lines:
        for line in message.splitlines():
            for dressed in (
                f"[2026-11-21T00:04:10] {{steps.py:258}} INFO - {line}",
                f"2026-11-21T00:04:10Z [info ] {line} ",
            ):
                for kind in TASKS:
                    yield Entry({"resource.type": kind, "textPayload": dressed}, severity="INFO")


def recorded(row: Mapping[str, Any], left: int) -> None:
    """Have the line of a batch written, in a month of so many calls."""
    ledger = SimpleNamespace(usage=lambda _: Usage(500_000, 500_000 - left, 0, 0))
    batch_line.tell(row, cast(CallLedger, ledger), 250.4)


@contextmanager
def said() -> Iterator[list[str]]:
    """The messages that our loggers write meanwhile."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = logging.getLogger("coinbeam")
    level = logger.level
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    try:
        yield lines
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


def of_the_stream() -> Iterator[Entry]:
    """Lines of the publisher and of the streaming job."""
    pool = {"resource.type": "cloud_run_worker_pool", "resource.labels.worker_pool_name": "coinbeam-publisher"}
    yield Entry({**pool, "textPayload": refill.ASKED_AGAIN % ("Binance answered 503", 2.5)})
    yield Entry({**pool, "textPayload": intake.GONE % ("BTCUSDT", 12, 3_000_000_001)})
    worker = {"resource.type": "dataflow_step", "jsonPayload.message": REFUSALS % (3, "no_json")}
    yield Entry(worker, "dataflow.googleapis.com/worker", "WARNING")


def of_google() -> Iterator[Entry]:
    """Entries that Google's services write when something of ours fails."""
    failed = {"resource.type": "bigquery_dts_config", "resource.labels.config_id": "freshness-check"}
    yield Entry(failed, severity="ERROR")
    worker = {"resource.type": "dataflow_step", "jsonPayload.message": "Error processing instruction"}
    yield Entry(worker, "dataflow.googleapis.com/worker", "ERROR")
    build = {"resource.type": "build", "textPayload": "ERROR: build step 3 failed: step exited with non-zero status: 1"}
    yield Entry(build, "cloudbuild")
