"""What a job may spend: calls are reserved in the ledger before its pipeline starts, capped on the workers, and settled
after its end.

The cap of a worker holds within one attempt of its bundle. A runner that repeats a failed bundle by itself, as Dataflow
does up to four times, begins to count anew; what was landed is not asked for again, so that only the calls that gave no
answer could come twice.
"""

import contextlib
import json
import logging
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from apache_beam.options.pipeline_options import DirectOptions

from beam_pipelines.job.clients import ShardClients, calls_made
from beam_pipelines.job.launch import Launch
from beam_pipelines.job.options import is_local_runner
from beam_pipelines.job.sources import source_id
from beam_pipelines.landing.files import read_bytes
from coinbeam.batch.options import LedgerUse
from coinbeam.errors import CoinbeamError
from coinbeam.ops.call_ledger import CallLedger, Reservation
from coinbeam.sources.choose import refuse_without_network
from coinbeam.warehouse.client import Warehouse

_LOGGER = logging.getLogger(__name__)

HEADROOM_SHARE = 0.2
"""Calls for retries, as a share of the calls that are needed."""


@dataclass(frozen=True)
class CallOrder:
    """The calls that an attempt may make for a batch: how many without any retry, over all shards, and by whom."""

    batch_id: str
    calls: int
    clients: ShardClients

    def headroom(self) -> int:
        """Calls more, for retries: a share of the needed ones, and at least every attempt of one call."""
        return math.ceil(self.calls * HEADROOM_SHARE) + self.clients.coingecko.max_attempts


@contextlib.contextmanager
def reserved(order: CallOrder, launch: Launch) -> Iterator[ShardClients]:
    """Reserve the calls of an attempt for as long as its pipeline runs: by option, else when it asks the real market.

    What was spent stands in the report of a job that ended. A job that was only submitted has none, and counts in full.

    Yields:
        Who makes the calls, capped where they are reserved.

    Raises:
        BudgetExceededError: the month has fewer calls left than needed; none was made.
        TerminalError: there is no ledger, or the warehouse refused.
        TransientError: the warehouse does not answer, or this machine has no network.
    """
    clients, use = order.clients, launch.job.call_ledger
    if clients.source.kind == "live" and is_local_runner(launch.options):
        refuse_without_network(launch.settings)
    if use is LedgerUse.OFF or (use is LedgerUse.AUTO and clients.source.kind != "live"):
        yield clients
        return
    ledger, spent = CallLedger(Warehouse(launch.settings), launch.settings, launch.clock), None
    held = ledger.reserve(
        launch.spec.name,
        order.batch_id,
        order.calls,
        source_id(clients.source),
        headroom=order.headroom(),
        multiple=clients.shards,
        run_label=run_label(os.environ),
    )
    try:
        yield replace(clients, reservation=held)
        spent = _reported_calls(launch.report_uri)
    except Exception:
        # Where the calls were made in this process, they are known even of an attempt that failed.
        if is_local_runner(launch.options) and launch.options.view_as(DirectOptions).direct_running_mode == "in_memory":
            spent = calls_made(held.entry_id)
        raise
    finally:
        _settle(ledger, held, spent)


def _reported_calls(uri: str) -> int | None:
    """The calls that a report names; None where there is no report, or storage does not give it."""
    with contextlib.suppress(Exception):
        calls: int = json.loads(read_bytes(uri))["api_calls"]
        return calls
    return None


def run_label(environment: Mapping[str, str]) -> str | None:
    """The Airflow run and the attempt, as Airflow tells its processes; None for a job started by hand."""
    run, attempt = (environment.get(f"AIRFLOW_CTX_{name}") for name in ("DAG_RUN_ID", "TRY_NUMBER"))
    return f"{run}, attempt {attempt or 1}" if run else None


def _settle(ledger: CallLedger, held: Reservation, spent: int | None) -> None:
    """Settle where the number is known. A ledger that cannot be reached fails no job, nor hides why one failed."""
    reason: object = "nobody knows how many were made."
    if spent is not None:
        try:
            ledger.settle(held, spent)
            return
        except CoinbeamError as error:
            reason = error
    _LOGGER.warning("%d calls stay reserved for %s and count in full: %s", held.calls, held.batch_id, reason)
