"""Incidents: one alert when a failure begins and one when it is over, none for the runs in between."""

from collections.abc import Collection
from dataclasses import dataclass
from datetime import datetime

from coinbeam.batch.digest import digest
from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.contracts import load_contract
from coinbeam.sql_template import render
from coinbeam.warehouse.client import Warehouse

INCIDENTS = "incident"
GAP = "gap"
"""The error class of a batch that could not honestly be filled."""

_LONGEST_MESSAGE = 2000


@dataclass(frozen=True)
class Failure:
    """A task that failed for good.

    Attributes:
        task_id: the task; with DAG and error class it tells one incident from another.
        error_class: class of the error, or ``GAP``.
        message: what failed, why, and what to do next.
    """

    dag_id: str
    task_id: str
    error_class: str
    title: str
    message: str
    run_id: str


@dataclass(frozen=True)
class Incident:
    """An incident as it is on record, with the instants of its first and its latest failure, and what that one said."""

    incident_id: str
    dag_id: str
    task_id: str
    error_class: str
    title: str
    opened_at: datetime
    last_seen_at: datetime
    occurrences: int
    message: str


class Incidents:
    """Opens, counts and closes incidents in ``crypto_ops.incident``."""

    def __init__(self, warehouse: Warehouse, clock: Clock = utc_now) -> None:
        self._warehouse, self._clock = warehouse, clock
        self._contract = load_contract(INCIDENTS)
        self._table = warehouse.table(self._contract)

    def report(self, failure: Failure) -> bool:
        """Record a failure: open an incident, or add to the open one of the same task and class.

        Returns:
            Whether this failure opened it, so that somebody must be told.

        Raises:
            TerminalError: the warehouse refused, for example because the table does not exist yet.
            TransientError: the warehouse does not answer.
        """
        now = self._clock()
        key = digest(failure.dag_id, failure.task_id, failure.error_class, format_instant(now), length=16)
        values = {**vars(failure), "message": failure.message[:_LONGEST_MESSAGE], "incident_id": key}
        sql = render(self._contract.folder / "report.sql", target=f"`{self._table}`")
        self._warehouse.query(sql, **values, now=now)
        same, of_dag = (failure.task_id, failure.error_class), self.open(failure.dag_id)
        first = next((i for i in of_dag if (i.task_id, i.error_class) == same), None)
        return first is not None and first.incident_id == key  # of two failures at the same moment the first one tells

    def resolve(self, dag_id: str, task_ids: Collection[str]) -> list[Incident]:
        """Close the open incidents of tasks that succeeded.

        Returns:
            The incidents that this call closed.

        Raises:
            TransientError: the warehouse does not answer.
        """
        over = [incident for incident in self.open(dag_id) if incident.task_id in task_ids]
        sql = f"UPDATE `{self._table}` SET closed_at = @now WHERE incident_id = @incident_id"
        for incident in over:
            self._warehouse.query(sql, now=self._clock(), incident_id=incident.incident_id)
        return over

    def open(self, dag_id: str | None = None) -> list[Incident]:
        """The open incidents, of one DAG or of all, the oldest first; none while there is no table."""
        if not self._warehouse.exists(self._table):
            return []
        sql = (
            f"SELECT {', '.join(Incident.__annotations__)} FROM `{self._table}` WHERE closed_at IS NULL "
            "AND (@dag_id IS NULL OR dag_id = @dag_id) ORDER BY opened_at, incident_id"
        )
        return [Incident(**row) for row in self._warehouse.rows(sql, dag_id=dag_id)]


def recovery(incidents: Collection[Incident]) -> str:
    """What is over, one line for each incident."""
    return "\n".join(
        f"{i.dag_id}.{i.task_id}: {i.error_class}, open since {format_instant(i.opened_at)}, {i.occurrences} failures."
        for i in incidents
    )
