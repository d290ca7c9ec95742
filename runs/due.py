"""Which runs are due: what a scheduler would have started by now, and what nobody has published yet."""

from datetime import datetime, timedelta

from coinbeam.batch.identity import interval_start
from coinbeam.clock import format_instant
from coinbeam.contracts import load_contract
from coinbeam.feeds.forms import IndexForm, SnapshotForm, form_defaults
from coinbeam.feeds.sentiment import batch_of_day
from coinbeam.feeds.snapshot.request import request_from
from coinbeam.marts.refresh import Marts
from coinbeam.ops.status import BEGINNING
from coinbeam.quality.witness import RULE
from coinbeam.settings import Period
from coinbeam.warehouse.client import Warehouse
from runs.airflow import FEAR_GREED_DAG, SNAPSHOT_DAG, WITNESS_DAG, DagRun

INDEX_AFTER, WITNESS_AFTER = timedelta(minutes=20), timedelta(minutes=45)
"""So long after midnight the schedules of these DAGs begin: before that the index has no point of the new day."""


class Due:
    """What is due in a warehouse.

    A snapshot stands for the interval in which it is taken, so one that nobody took in time is a gap and never due.
    """

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse, self._settings = warehouse, warehouse.settings

    def runs(self, now: datetime) -> list[DagRun]:
        """The runs that are due, in their order, without the marts."""
        midnight = interval_start(now, Period.DAILY)
        instant = interval_start(now, self._settings.market.period)
        published = self._published([self._snapshot_batch(instant), batch_of_day(midnight)])
        found = []
        if self._snapshot_batch(instant) not in published:
            form = form_defaults(SnapshotForm, self._settings)
            found.append(DagRun(format_instant(instant), form, {}, SNAPSHOT_DAG))
        if now >= midnight + INDEX_AFTER and batch_of_day(midnight) not in published:
            form = form_defaults(IndexForm, self._settings)
            found.append(DagRun(format_instant(midnight), form, {}, FEAR_GREED_DAG))
        if now >= midnight + WITNESS_AFTER and self._settings.witness.enabled and not self._compared_since(midnight):
            found.append(DagRun(format_instant(midnight), {}, {}, WITNESS_DAG))
        return found

    def marts_wait(self) -> bool:
        """Whether a publish waits for the refresh of the marts."""
        return self._exists("publication") and Marts(self._warehouse, self._settings).plan() is not None

    def _snapshot_batch(self, instant: datetime) -> str:
        return request_from(form_defaults(SnapshotForm, self._settings), instant, self._settings).batch_id

    def _published(self, batches: list[str]) -> set[str]:
        """Which of these batches are published."""
        if not self._exists("ingestion_batch"):
            return set()
        table = self._warehouse.table(load_contract("ingestion_batch"))
        sql = f"SELECT DISTINCT batch_id FROM `{table}` WHERE snapshot_date >= '{BEGINNING}' AND status = 'published'"
        return {row["batch_id"] for row in self._warehouse.rows(f"{sql} AND batch_id IN UNNEST(@ids)", ids=batches)}

    def _compared_since(self, midnight: datetime) -> bool:
        """Whether the witness was asked since an instant."""
        if not self._exists("quality_result"):
            return False
        table = self._warehouse.table(load_contract("quality_result"))
        sql = f"SELECT COUNT(*) AS results FROM `{table}` WHERE checked_date >= '{BEGINNING}' AND rule = @rule"
        [row] = self._warehouse.rows(f"{sql} AND checked_at >= @since", rule=RULE.name, since=midnight)
        return bool(row["results"])

    def _exists(self, table: str) -> bool:
        return self._warehouse.exists(self._warehouse.table(load_contract(table)))
