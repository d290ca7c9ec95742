"""The ledger of API calls: a job reserves before its first call and settles after its last; no month exceeds its plan.

The bound is hard: a reservation is granted only while the sum of the month stays within the plan,
each job may make no call beyond its reservation (`coinbeam.sources.rate.CallCap`), and an attempt that was killed
before it could settle counts in full.
"""

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from datetime import UTC, date, datetime
from typing import Any
from uuid import uuid4

from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import load_contract
from coinbeam.errors import TerminalError
from coinbeam.settings import Settings
from coinbeam.sources.rate import BudgetExceededError, quota
from coinbeam.sql_template import render
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.conflicts import until_no_conflict

LEDGER = "api_call_budget"
LOCK = "lock"
"""The job of the row on which the reservations of a month take turns."""

_REMEDY = (
    "Choose a smaller universe (top or ids) or a lower market.max_details, set coingecko.plan to a larger plan that "
    "you pay for, or wait for the first of the month (UTC). "
    "Attempts that were killed count in full: see `coinbeam status`."
)


@dataclass(frozen=True)
class Reservation:
    """Calls that an attempt of a job may make, retries included.

    Attributes:
        entry_id: key of its row.
        month: first day of the month that pays.
        source_id: the market that is asked.
    """

    entry_id: str
    month: date
    source_id: str
    job: str
    batch_id: str
    calls: int

    def to_dict(self) -> dict[str, Any]:
        """The reservation as JSON has it, for the report of its job."""
        return asdict(self) | {"month": self.month.isoformat()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "Reservation":
        """The reservation that a report names."""
        return cls(**{**values, "month": date.fromisoformat(values["month"])})


@dataclass(frozen=True)
class Usage:
    """What a month cost so far, in calls.

    Attributes:
        calls_per_month: the limit.
        spent: calls made by attempts that have settled.
        reserved: calls of attempts that still run or were killed; they count in full.
        today: calls, spent or reserved, of the present UTC day.
    """

    calls_per_month: int
    spent: int
    reserved: int
    today: int

    @property
    def used(self) -> int:
        """Calls that count against the limit."""
        return self.spent + self.reserved

    @property
    def left(self) -> int:
        """Calls that can still be reserved."""
        return max(0, self.calls_per_month - self.used)


class CallLedger:
    """Reserves and settles calls in ``crypto_ops.api_call_budget``; the clock names the month that pays."""

    def __init__(
        self,
        warehouse: Warehouse,
        settings: Settings,
        clock: Clock = utc_now,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self._warehouse, self._settings, self._clock = warehouse, settings, clock
        self._contract = load_contract(LEDGER)
        self._table = warehouse.table(self._contract)
        self._retrying = until_no_conflict(sleep)

    def reserve(
        self,
        job: str,
        batch_id: str,
        calls: int,
        source_id: str,
        *,
        headroom: int = 0,
        multiple: int = 1,
        run_label: str | None = None,
    ) -> Reservation:
        """Reserve calls of the present month, all that are needed or none.

        Args:
            calls: how many are needed without any retry.
            source_id: the market that is asked.
            headroom: more for retries, as far as the month has them.
            multiple: the number of shards that divide the calls evenly; what is reserved is a multiple of it.
            run_label: the run and the attempt, for readers of the ledger.

        Raises:
            BudgetExceededError: the month has fewer calls left than needed.
            TerminalError: there is no ledger.
            WriteConflictError: other reservations were first, again and again.
        """
        if not self._warehouse.exists(self._table):
            raise TerminalError(
                f"There is no table {self._table}, so no call can be reserved.",
                "Run a DAG, which makes it before its first job; for one job by hand there is --call_ledger=off.",
            )
        now = self._clock().astimezone(UTC)
        needed, wanted = (math.ceil(count / multiple) * multiple for count in (calls, calls + headroom))
        entry: dict[str, Any] = {
            **self._scope(now, source_id),
            "entry_id": uuid4().hex,
            "lock_id": f"{LOCK}-{now:%Y-%m}-{source_id}",
            "batch_id": batch_id,
            "job": job,
            "run_label": run_label,
            "needed": needed,
            "wanted": wanted,
            "multiple": multiple,
            "calls_per_month": quota(self._settings, source_id).calls_per_month,
            "now": now,
        }
        self._run("lock", entry)
        self._run("reserve", entry)
        return self._granted(entry) or self._refuse(entry)

    def settle(self, reservation: Reservation, spent: int) -> None:
        """Replace what was reserved by the calls made, retries included; an attempt that made none leaves no row.

        Raises:
            TransientError: the warehouse did not take it; the reservation then counts in full.
        """
        values = {"month": reservation.month, "entry_id": reservation.entry_id, "spent": spent, "now": self._clock()}
        self._run("settle" if spent else "release", values)

    def settle_report(self, report: Mapping[str, Any]) -> None:
        """Settle what the report of a finished job names; a job without a reservation asked nobody.

        A job that was only submitted ends where nobody waits with its reservation.

        Raises:
            TransientError: the warehouse did not take it; the reservation then counts in full.
        """
        if reservation := report.get("reservation"):
            self.settle(Reservation.from_dict(reservation), int(report["api_calls"]))

    def usage(self, source_id: str, job: str | None = None) -> Usage:
        """The state of the present month, of all jobs or of one; nothing is used while there is no ledger."""
        limit = quota(self._settings, source_id).calls_per_month
        if not self._warehouse.exists(self._table):
            return Usage(limit, 0, 0, 0)
        now = self._clock().astimezone(UTC)
        [row] = self._warehouse.rows(self._sql("usage"), **self._scope(now, source_id), today=now.date(), job=job)
        return Usage(limit, row["spent"], row["reserved"], row["today"])

    def _granted(self, entry: dict[str, Any]) -> Reservation | None:
        sql = f"SELECT calls_reserved FROM `{self._table}` WHERE budget_month = @month AND entry_id = @entry_id"
        rows = self._warehouse.rows(sql, month=entry["month"], entry_id=entry["entry_id"])
        known = {name: entry[name] for name in ("entry_id", "month", "source_id", "job", "batch_id")}
        return Reservation(**known, calls=rows[0]["calls_reserved"]) if rows else None

    def _refuse(self, entry: dict[str, Any]) -> Reservation:
        left, limit = self.usage(entry["source_id"]).left, entry["calls_per_month"]
        raise BudgetExceededError(
            f"{entry['job']} needs {entry['needed']:,} calls for {entry['batch_id']}, but {left:,} of {limit:,} are "
            "left this month.",
            _REMEDY,
        )

    def _scope(self, now: datetime, source_id: str) -> dict[str, Any]:
        return {"month": now.date().replace(day=1), "source_id": source_id}

    def _run(self, statement: str, values: dict[str, Any]) -> None:
        """Run a statement of the ledger, again when another one was first; each is safe to repeat."""
        sql = self._sql(statement)
        named = {name: value for name, value in values.items() if f"@{name}" in sql}
        self._retrying(self._warehouse.query, sql, **named)

    def _sql(self, statement: str) -> str:
        return render(self._contract.folder / f"{statement}.sql", target=f"`{self._table}`")
