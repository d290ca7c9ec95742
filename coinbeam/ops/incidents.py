"""Incidents: one alert when an outage begins and one when it is over, none for the failures in between.

An incident belongs to a batch, and only the success of that batch closes it: a green run of another day mends nothing.
"""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from coinbeam.batch.digest import digest
from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.contracts import load_contract
from coinbeam.sources.http.errors import ApiTransientError, ThrottledError, UnreachableError
from coinbeam.sql_template import render
from coinbeam.warehouse.client import Warehouse

INCIDENTS = "incident"
GAP = "gap"
"""The error class of a batch that could not honestly be filled."""

OUTAGE = frozenset(kind.__name__ for kind in (ApiTransientError, ThrottledError, UnreachableError))
"""Classes of errors that an outage of a source causes, in every task that asks it."""

_LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Failure:
    """A task that failed for good.

    Attributes:
        task_id: the task; with DAG, error class and batch it tells one incident from another.
        error_class: class of the error, or ``GAP``.
        message: what failed, why, and what to do next.
        batch_id: what the run was about to publish; None before there was a plan.
    """

    dag_id: str
    task_id: str
    error_class: str
    title: str
    message: str
    run_id: str
    batch_id: str | None = None


@dataclass(frozen=True)
class Incident:
    """An incident as it is on record, with the instants of its first and its latest failure, and what that one said.

    ``recovered_at`` is when its cause was over for another batch.
    """

    incident_id: str
    dag_id: str
    task_id: str
    error_class: str
    batch_id: str | None
    title: str
    opened_at: datetime
    last_seen_at: datetime
    occurrences: int
    message: str
    recovered_at: datetime | None

    def has_cause_of(self, failure: Failure) -> bool:
        """Whether somebody was told of the cause of a failure by this incident: of an outage once for all."""
        if self.recovered_at is not None:
            return False
        if failure.error_class in OUTAGE:
            return self.error_class in OUTAGE
        return (self.dag_id, self.task_id, self.error_class) == (failure.dag_id, failure.task_id, failure.error_class)


class Incidents:
    """Opens, counts and closes incidents in ``crypto_ops.incident``."""

    def __init__(self, warehouse: Warehouse, clock: Clock = utc_now) -> None:
        self._warehouse, self._clock = warehouse, clock
        self._contract = load_contract(INCIDENTS)
        self._table = warehouse.table(self._contract)

    def report(self, failure: Failure) -> bool:
        """Record a failure: open an incident, or add to the open one of the same task, class and batch.

        Returns:
            Whether somebody must be told: nobody was, of this cause.

        Raises:
            TerminalError: the warehouse refused, for example because the table does not exist yet.
            TransientError: the warehouse does not answer.
        """
        now = self._clock()
        names = failure.dag_id, failure.task_id, failure.error_class, failure.batch_id or ""
        key = digest(*names, format_instant(now), length=16)
        values = {**vars(failure), "message": failure.message[:_LONGEST_MESSAGE], "incident_id": key}
        sql = render(self._contract.folder / "report.sql", target=f"`{self._table}`")
        self._warehouse.query(sql, **values, now=now)
        first = next((incident for incident in self.open() if incident.has_cause_of(failure)), None)
        return first is not None and first.incident_id == key  # of two failures at the same moment the first one tells

    def resolve(
        self, dag_id: str, task_ids: Collection[str], batch_id: str | None = None, *, is_published: bool = False
    ) -> list[Incident]:
        """Close the open incidents of a batch whose tasks succeeded, and note of other batches that the cause is over.

        Args:
            task_ids: the tasks that succeeded.
            batch_id: the batch of the run; a run without one closes the incidents that have none.
            is_published: the batch is done, so that nothing of it is open, whichever task had failed.

        Returns:
            The incidents whose end nobody was told of yet.

        Raises:
            TransientError: the warehouse does not answer.
        """
        now, over = self._clock(), list[Incident]()
        for incident in self.open(dag_id):
            is_own = incident.batch_id in {None, batch_id}
            if is_own and (incident.task_id in task_ids or (is_published and incident.batch_id is not None)):
                self._set("closed_at", now, incident)
            elif not is_own and incident.task_id in task_ids and incident.recovered_at is None:
                self._set("recovered_at", now, incident)
            else:
                continue
            over += [incident] if incident.recovered_at is None else []
        return over

    def _set(self, column: str, now: datetime, incident: Incident) -> None:
        sql = f"UPDATE `{self._table}` SET {column} = @now WHERE incident_id = @incident_id"
        self._warehouse.query(sql, now=now, incident_id=incident.incident_id)

    def open(self, dag_id: str | None = None) -> list[Incident]:
        """The open incidents, of one DAG or of all, the oldest first; none while there is no table."""
        if not self._warehouse.exists(self._table):
            return []
        sql = (
            f"SELECT * FROM `{self._table}` WHERE closed_at IS NULL "
            "AND (@dag_id IS NULL OR dag_id = @dag_id) ORDER BY opened_at, incident_id"
        )
        names = Incident.__annotations__
        rows = self._warehouse.rows(sql, dag_id=dag_id)  # a table that nobody migrated yet lacks what is newer
        known: list[dict[str, Any]] = [{name: row.get(name) for name in names} for row in rows]
        return [Incident(**row) for row in known]


def recovery(incidents: Collection[Incident], batch_id: str | None = None) -> str:
    """What is over, one line for each incident; those of other batches than the one that ended it stay unresolved."""
    return "\n".join(
        f"{i.dag_id}.{i.task_id}: {i.error_class}, open since {format_instant(i.opened_at)}, {i.occurrences} failures."
        + (
            f" Batch {i.batch_id} is still unresolved: see `coinbeam status`."
            if i.batch_id not in {None, batch_id}
            else ""
        )
        for i in incidents
    )
