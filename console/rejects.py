"""Refused records: listed, and replayed from landing after a fix."""

import re
from collections.abc import Callable
from dataclasses import dataclass

from coinbeam.clock import utc_now
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError
from coinbeam.ops.status import BEGINNING, open_rejects
from coinbeam.settings import load_settings
from coinbeam.warehouse.client import Warehouse
from console.dags import fault, refresh_marts, run_locally, start_local_cloud
from console.output import Format, complain, say, show
from runs.replay import replay_run

EVERY_PAIR = 1_000_000
"""More pairs of batch and reason than there will ever be."""

_OF_FILES = re.compile(r"backfill-[0-9a-f]+-\d{8}")
"""A batch of history that was read from files: it is named by its last day, and not by a number of four digits."""

Replay = Callable[[str], str | None]
"""Replays a batch by its id; returns why it failed, or None."""


def show_rejects(batch: str | None, reason: str | None, limit: int, form: Format) -> None:
    """Show refused records, newest first."""
    warehouse = Warehouse(load_settings())
    columns = ["batch_id", "level", "asset_id", "reason", "column_name", "value", "page_uri", "row_number"]
    sql = (
        f"SELECT {', '.join(columns)} FROM `{warehouse.table(load_contract('rejected_record'))}` "
        f"WHERE snapshot_date >= '{BEGINNING}' AND (@batch IS NULL OR batch_id = @batch) "
        f"AND (@reason IS NULL OR reason = @reason) ORDER BY rejected_at DESC, page_uri, row_number LIMIT {limit}"
    )
    show(columns, warehouse.rows(sql, batch=batch, reason=reason), form)


@dataclass(frozen=True)
class Replayed:
    """A batch, its open rejects before and after a replay, and the outcome: ``replayed``, or why it was not."""

    batch_id: str
    before: int
    after: int
    outcome: str


def replay_rejects(
    warehouse: Warehouse, replay: Replay, batch: str | None = None, reason: str | None = None
) -> list[Replayed]:
    """Replay every batch that has open rejects, one after another, the oldest first.

    Args:
        batch: only this batch.
        reason: only batches with rejects of this reason; only these are counted.

    Raises:
        SettingsError: there is nothing to replay.
    """

    def count(one: str) -> int:
        return sum(row["records"] for row in open_rejects(warehouse, one, reason, EVERY_PAIR))

    found = {row["batch_id"] for row in open_rejects(warehouse, batch, reason, EVERY_PAIR)}
    if not found:
        selected = " that --batch and --reason select." if batch or reason else "."
        raise SettingsError(f"No reject is open{selected}", "See `coinbeam rejects`.")
    results = []
    for one in sorted(found):
        before = count(one)
        outcome = _replay(one, replay)
        results.append(Replayed(one, before, count(one), outcome))
    return results


def _replay(batch: str, replay: Replay) -> str:
    """Replay a batch whose bodies were landed; returns the outcome."""
    if "-files-" in batch or _OF_FILES.fullmatch(batch):
        return "its bodies were files: run it again with --source=GLOB"
    return replay(batch) or "replayed"


def replay_command(batch: str | None, reason: str | None) -> int:
    """Replay through the real DAG on this machine, and show what became of the rejects.

    Returns:
        0 when every batch was replayed, 1 otherwise.
    """
    settings = load_settings()
    start_local_cloud(settings)

    def through_dag(batch_id: str) -> str | None:
        try:
            run = replay_run(batch_id, settings)
        except SettingsError as error:
            return str(error)
        say(f"Replaying {batch_id}")
        began = utc_now()
        code, log = run_locally(settings, run)
        if code == 0:
            return None
        said = fault(settings, log, began) or "the run failed"
        complain(f"{said} Log: {log}")
        return said

    results = replay_rejects(Warehouse(settings), through_dag, batch, reason)
    if any(result.outcome == "replayed" for result in results):
        refresh_marts(settings)
    show(("batch_id", "before", "after", "outcome"), [vars(result) for result in results])
    return 0 if all(result.outcome == "replayed" for result in results) else 1
