"""What a job may spend: calls are reserved in the ledger before its pipeline starts, capped on the workers, and settled
after its end.

The cap of a worker holds within one attempt of its bundle. A runner that repeats a failed bundle by itself, as Dataflow
does up to four times, begins to count anew; what was landed is not asked for again, so that only the calls that gave no
answer could come twice.
"""

import logging
import math
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

from apache_beam.options.pipeline_options import DirectOptions, PipelineOptions

from beam_pipelines.job.options import JobRequest, is_local_runner
from beam_pipelines.job.report import Report
from beam_pipelines.job.sources import source_id
from beam_pipelines.snapshot.walk import ShardClients, calls_made
from coinbeam.batch.options import LedgerUse
from coinbeam.clock import Clock
from coinbeam.errors import CoinbeamError
from coinbeam.ops.call_ledger import CallLedger, Reservation
from coinbeam.settings import Settings
from coinbeam.warehouse.client import Warehouse

Summarise = Callable[[list[Any]], Report]
"""Makes the report of a job of what its steps say."""

_LOGGER = logging.getLogger(__name__)

HEADROOM_SHARE = 0.2
"""Calls for retries, as a share of the calls that are needed."""


@dataclass(frozen=True)
class CallOrder:
    """The calls that an attempt of a job is about to make.

    Attributes:
        job: the job.
        batch_id: the batch that they are for.
        calls: how many without any retry, over all shards.
        clients: who makes them.
    """

    job: str
    batch_id: str
    calls: int
    clients: ShardClients

    def headroom(self) -> int:
        """Calls more, for retries: a share of the needed ones, and at least every attempt of one call."""
        return math.ceil(self.calls * HEADROOM_SHARE) + self.clients.coingecko.max_attempts


@dataclass
class Spending:
    """The account of one attempt while it runs.

    Attributes:
        clients: who makes the calls, capped where they were reserved.
        held: what was reserved; None where the ledger is not used.
        spent: calls made, once somebody knows.
    """

    clients: ShardClients
    held: Reservation | None = None
    spent: int | None = None

    def noted(self, summarise: Summarise) -> Summarise:
        """Makes the report name the reservation, so that whoever sees a submitted job end can settle it."""
        return partial(_with_reservation, summarise, self.held) if self.held else summarise

    def settle(self, report: Report) -> Report:
        """Take the calls from the report of a job that ended; one that was only submitted has none and counts fully."""
        self.spent = report.get("api_calls")
        return report


def _with_reservation(summarise: Summarise, held: Reservation, parts: list[Any]) -> Report:
    return summarise(parts) | {"reservation": held.to_dict()}


def uses_ledger(job: JobRequest, clients: ShardClients) -> bool:
    """Whether an attempt reserves its calls: by option, else when it asks the real market."""
    return job.call_ledger is LedgerUse.ON or (job.call_ledger is LedgerUse.AUTO and clients.source.kind == "live")


@contextmanager
def reserved(
    order: CallOrder, job: JobRequest, settings: Settings, options: PipelineOptions, clock: Clock
) -> Iterator[Spending]:
    """Reserve the calls of an attempt for as long as its pipeline runs.

    Raises:
        BudgetExceededError: the month has fewer calls left than needed; none was made.
        TerminalError: there is no ledger, or the warehouse refused.
        TransientError: the warehouse does not answer.
    """
    if not uses_ledger(job, order.clients):
        yield Spending(order.clients)
        return
    ledger = CallLedger(Warehouse(settings), settings, clock)
    shards = order.clients.shards
    held = ledger.reserve(
        order.job,
        order.batch_id,
        order.calls,
        source_id(order.clients.source),
        headroom=order.headroom(),
        multiple=shards,
        run_label=run_label(os.environ),
    )
    spending = Spending(replace(order.clients, max_calls=held.calls // shards, entry_id=held.entry_id), held)
    try:
        yield spending
    except Exception:
        # Where the calls were made in this process, they are known even of an attempt that failed.
        spending.spent = calls_made(held.entry_id) if _runs_in_this_process(options) else None
        raise
    finally:
        _settle(ledger, held, spending)


def run_label(environment: Mapping[str, str]) -> str | None:
    """The Airflow run and the attempt, as Airflow tells its processes; None for a job started by hand."""
    run, attempt = (environment.get(f"AIRFLOW_CTX_{name}") for name in ("DAG_RUN_ID", "TRY_NUMBER"))
    return f"{run}, attempt {attempt or 1}" if run else None


def _runs_in_this_process(options: PipelineOptions) -> bool:
    return is_local_runner(options) and options.view_as(DirectOptions).direct_running_mode == "in_memory"


def _settle(ledger: CallLedger, held: Reservation, spending: Spending) -> None:
    """Settle where the number is known. A ledger that cannot be reached fails no job, nor hides why one failed."""
    if spending.spent is None:
        _LOGGER.warning(
            "%d calls stay reserved for %s and count in full: nobody knows how many were made.",
            held.calls,
            held.batch_id,
        )
        return
    try:
        ledger.settle(held, spending.spent)
    except CoinbeamError as error:
        _LOGGER.warning("%d calls stay reserved for %s and count in full: %s", held.calls, held.batch_id, error)
