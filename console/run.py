"""The command ``coinbeam run``: start what is needed, run the DAG, show what came of it."""

import json
import os
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from coinbeam.clock import format_instant, parse_instant, utc_now
from coinbeam.contracts import load_all
from coinbeam.feeds.forms import SnapshotForm, form_defaults
from coinbeam.feeds.snapshot.plan import describe
from coinbeam.feeds.snapshot.request import present_instant, request_from
from coinbeam.feeds.snapshot.steps import SnapshotSteps
from coinbeam.ops.status import open_rejects
from coinbeam.settings import Settings, load_settings
from coinbeam.sql_template import expression
from coinbeam.warehouse.client import Warehouse
from console.dags import (
    Source,
    batches_since,
    run_in_composer,
    run_locally,
    start_local_cloud,
    start_services,
)
from console.output import complain, heading, say, show, show_summary_table
from local import environment as emulators
from local.airflow import airflow_environment
from runs.airflow import SNAPSHOT_DAG, DagRun, command, last_error, marts_run


@dataclass(frozen=True)
class RunCommand:
    """One run as the command line orders it.

    Attributes:
        snapshot_at: ISO 8601 text, or None for the present interval.
        form: fields of the trigger form that were given.
        dry_run: show the plan and stop.
        replays: read what was landed for the instant, and ask nobody.
    """

    source: Source
    snapshot_at: str | None
    form: Mapping[str, Any]
    dry_run: bool
    replays: bool = False

    def execute(self, mode: str) -> int:
        """Run ``local``, in the ``cloud``, or ``all``: one after the other.

        Returns:
            0 when every run ended published, 1 otherwise.

        Raises:
            SettingsError: an option is wrong.
        """
        if mode != "local":
            self.source.refuse_in_cloud()
        will_ask = mode != "cloud" and not self.replays
        settings = self.source.settings(will_ask=will_ask)
        request = request_from(self.conf(settings), utc_now(), settings)  # a wrong option fails before anything starts
        if self.replays:
            start_services(settings)
            SnapshotSteps(settings).plan(request, "replay", settings.runner.value)  # so does what was never landed
        code = 0 if mode == "cloud" else self._run_local(settings)
        if code or mode == "local":
            return code
        return run_in_composer(settings, SNAPSHOT_DAG, self.conf(settings))

    def conf(self, settings: Settings) -> dict[str, Any]:
        """Every field of the trigger form, given or from the settings."""
        chosen = {"replay_date": None, "source": self.source.files or "", "dry_run": self.dry_run}
        named = None if self.source.files and not self.snapshot_at else self.instant(settings)
        conf = {**form_defaults(SnapshotForm, settings), **self.form, "snapshot_at": named, **chosen}
        if self.replays:
            conf["replay_batch"] = request_from(conf, utc_now(), settings).batch_id
        return conf

    def instant(self, settings: Settings) -> str:
        """The instant of the snapshot, or the present one."""
        given = self.snapshot_at
        return format_instant(parse_instant(given)) if given else present_instant(utc_now(), settings)

    def plan(self) -> None:
        """Show what the run would cost."""
        settings = self.source.settings(will_ask=False)
        request = request_from(self.conf(settings), utc_now(), settings)
        plan = SnapshotSteps(settings).plan(request, "plan", settings.runner.value)
        say(describe(plan))

    def _run_local(self, settings: Settings) -> int:
        started, began = time.monotonic(), utc_now()
        start_local_cloud(settings)
        ready = time.monotonic()
        marts = [] if self.dry_run else [marts_run()]
        run = DagRun(self.instant(settings), self.conf(settings), self.source.variables)
        code, log = run_locally(settings, run, *marts)
        if self.dry_run:
            return code
        batch = self._recorded(settings, began)
        if batch is None or batch["status"] == "failed":
            complain((batch and batch["error_message"]) or last_error(log) or "The run ended without a recorded batch.")
            say(f"Log: {log}")
            return 1
        if code:
            complain(last_error(log) or "The marts were not refreshed.")
        took = f"{time.monotonic() - started:.1f} s in all, {ready - started:.1f} s of it to start the local cloud"
        show_summary(Warehouse(settings), batch, took)
        say(f"\nLog of the run: {log}")
        return code

    def _recorded(self, settings: Settings, began: datetime) -> dict[str, Any] | None:
        """The record that this very run left, not one of an earlier run of the batch."""
        batch_id = request_from(self.conf(settings), began, settings).batch_id
        return next((batch for batch in batches_since(settings, began) if batch["batch_id"] == batch_id), None)


def open_ui() -> int:
    """Start the local cloud and all parts of Airflow in one process group; returns its exit code."""
    settings = load_settings()
    start_local_cloud(settings)
    say(
        f"Airflow will answer at http://{emulators.HOST}:{settings.local.ports.airflow} (no log-in). "
        "Ctrl-C stops it; `make down` stops the cloud."
    )
    environment = os.environ | airflow_environment(settings)
    try:
        return subprocess.run(command("local.standalone"), env=environment, check=False).returncode
    except KeyboardInterrupt:
        say("Airflow is stopped. The local cloud still runs: `make down` stops it.")
        return 0


def show_summary(warehouse: Warehouse, batch: Mapping[str, Any], took: str) -> None:
    """What a person wants to see after a run."""
    heading(f"Batch {batch['batch_id']}: {batch['status']}")
    if batch["status"] == "gap":
        say(str(batch["error_message"]))
        return
    sql = f"SELECT name, attribution FROM `{warehouse.dataset('crypto_data')}.source_dim` WHERE source_id = @source"
    source = warehouse.rows(sql, source=batch["source_id"])
    say(f"Source: {source[0]['name']}. {source[0]['attribution'] or ''}" if source else f"Source: {batch['source_id']}")
    heading("Rows in the warehouse")
    show_summary_table(["table", "rows"], table_counts(warehouse))
    heading("This batch")
    rows = ("rows_read", "rows_published", "rows_unpriced", "rows_duplicate", "rows_rejected")
    show_summary_table((*rows, "pages_read", "pages_rejected", "api_calls", "api_retries", "api_throttled"), [batch])
    heading("Rejected records by reason")
    rejected = open_rejects(warehouse, batch["batch_id"])
    show(["reason", "records"], rejected) if rejected else say("none")
    heading("Checks")
    show(["stage", "status", "rules"], check_counts(warehouse, batch))
    for check in open_checks(warehouse, batch):
        say(f"{check['status']} {check['table_name']}.{check['rule']}: {check['message']} {check['failing_sample']}")
    if late := late_note(warehouse, batch):
        heading("Late for its day")
        say(late)
    heading("Top ten by market capitalisation")
    largest = top_ten(warehouse, batch)
    show_summary_table(tuple(_TOP_TEN), [{name: row[column] for name, column in _TOP_TEN.items()} for row in largest])
    heading("Seconds by task")
    seconds = json.loads(batch["task_seconds"] or "{}")
    show_summary_table(["task", "seconds"], [{"task": task, "seconds": value} for task, value in seconds.items()])
    say(took)
    heading("Try next")
    for line in NEXT_COMMANDS:
        say(f"  {line}")


_TOP_TEN = {
    "rank": "market_cap_rank",
    "name": "name",
    "price": "current_price",
    "market_cap": "market_cap",
    "change_24h_%": "price_change_percentage_24h",
    "volatility_7d": "volatility_7d",
}
"""Columns of the fact by short names, so that ten assets with real names fit a terminal of 80 columns."""

NEXT_COMMANDS = (
    '.venv/bin/coinbeam query "SELECT market_cap_rank, name, price, price_at FROM crypto_marts.latest_prices WHERE '
    "market_cap_rank <= 10 AND quote_currency = 'usd' ORDER BY market_cap_rank\"",
    ".venv/bin/coinbeam backfill --assets bitcoin,ethereum    # a year of daily history: shows the plan first",
    ".venv/bin/coinbeam fear-greed    # the Fear & Greed index",
    ".venv/bin/coinbeam status    # freshness, batches, incidents, quota",
    "docs/questions.md    # ten questions of an analyst, each with its query",
    "make serve      # the API: CoinGecko's own clients read this warehouse",
    "make dashboard      # market, coins and the trust in them, in a browser",
    ".venv/bin/coinbeam lakehouse export    # open tables for DuckDB, Polars and Spark",
    "make ui      # the Airflow UI",
    "make down    # stop the local cloud",
)


def table_counts(warehouse: Warehouse) -> list[dict[str, Any]]:
    """Rows of every table of the contracts."""
    parts = []
    for contract in load_all().values():
        where = f" WHERE {contract.partition_column} >= '1970-01-01'" if contract.partition_column else ""
        parts.append(
            f"SELECT '{contract.dataset}.{contract.name}' AS `table`, COUNT(*) AS `rows` FROM "
            f"`{warehouse.table(contract)}`{where}"
        )
    return sorted(warehouse.rows(" UNION ALL ".join(parts)), key=lambda row: str(row["table"]))


def open_checks(warehouse: Warehouse, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rules of a run that did not pass, with what they found."""
    return warehouse.rows(
        f"SELECT status, table_name, rule, message, failing_sample FROM {_checks_of(warehouse, batch)} "
        "AND status != 'passed' ORDER BY status, table_name, rule"
    )


def check_counts(warehouse: Warehouse, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """How many rules of a run passed, failed, warned, by stage."""
    return warehouse.rows(
        f"SELECT stage, status, COUNT(*) AS `rules` FROM {_checks_of(warehouse, batch)} "
        "GROUP BY stage, status ORDER BY stage, status"
    )


def _checks_of(warehouse: Warehouse, batch: Mapping[str, Any]) -> str:
    return (
        f"`{warehouse.dataset('crypto_ops')}.quality_result` WHERE checked_date = DATE '{batch['snapshot_date']}' "
        f"AND batch_id = '{batch['batch_id']}' AND run_id = '{batch['run_id']}'"
    )


def late_note(warehouse: Warehouse, batch: Mapping[str, Any]) -> str:
    """What it means that prices were asked for long after the midnight of their day; empty when they were not."""
    market = warehouse.settings.market
    stands = expression("stands_for_day", market.late_after_seconds)
    [seen] = warehouse.rows(
        f"SELECT COUNTIF(NOT {stands}) AS late, MAX(observed_at) AS newest "
        f"FROM `{warehouse.dataset('crypto_data')}.crypto_market_snapshot_fact` "
        f"WHERE snapshot_date = DATE '{batch['snapshot_date']}' AND batch_id = '{batch['batch_id']}'"
    )
    if not seen["late"]:
        return ""
    return (
        f"{seen['late']:,} prices were asked for more than {market.late_after_minutes:g} minutes after midnight, the "
        f"newest at {seen['newest']:%H:%M} UTC. They are the newest prices (latest_prices, price_history), but not "
        "those of 00:00: market_daily and market_overview take none of them. `coinbeam backfill` brings the day when "
        "it is over."
    )


def top_ten(warehouse: Warehouse, batch: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The largest assets of a batch."""
    return warehouse.rows(
        f"SELECT * FROM `{warehouse.dataset('crypto_data')}.crypto_market_snapshot_fact` "
        f"WHERE snapshot_date = DATE '{batch['snapshot_date']}' AND batch_id = '{batch['batch_id']}' "
        "AND market_cap_rank IS NOT NULL ORDER BY market_cap_rank LIMIT 10"
    )
