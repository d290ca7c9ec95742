"""A snapshot: its plan and its record. The steps in between are those of every batch."""

import json
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from coinbeam.batch.identity import file_stamp
from coinbeam.batch.jobs import FETCH_CRYPTO_DATA, KNOWN_ASSETS_FILE, MARKETS, POPULATE_CRYPTO_ASSET_DIM
from coinbeam.batch.kinds import SNAPSHOTS, Batch, batch_folder
from coinbeam.batch.tables import ASSETS
from coinbeam.clock import format_instant, parse_instant
from coinbeam.contracts import load_contract
from coinbeam.feeds.snapshot.plan import (
    Estimate,
    Mode,
    RunRequest,
    asset_calls,
    check_affordable,
    decide_mode,
    estimate,
    page_calls,
    rate_shares,
    refuse_foreign_source,
)
from coinbeam.feeds.steps import BatchSteps, Ending, counts
from coinbeam.landing.layout import COMPLETE_NAME, MANIFEST_NAME, folder, read_manifest
from coinbeam.ops.call_ledger import CallLedger
from coinbeam.settings import Universe
from coinbeam.sources.choose import choose_source
from coinbeam.sources.registry import COINGECKO, COINGECKO_SIMULATOR, FILES


@dataclass(frozen=True)
class BatchPlan:
    """Everything that the tasks of a run need to know of their batch; small, JSON-ready, without secrets.

    Attributes:
        batch_id: the batch.
        run_id: the Airflow run.
        snapshot_at: ISO 8601 instant of the batch.
        stamp: date part of the file names.
        mode: fetch, replay or gap.
        reason: why this mode, in a sentence.
        universe: label of the selection.
        fetch_options: options of the job ``fetch_crypto_data``.
        assets_options: options of the job ``populate_crypto_asset_dim``.
        source_id: key of ``source_dim``, or None for a gap or a replay, whose landing knows.
        runner: local or dataflow.
        output: ``gs://`` folder of the batch files.
        started_at: ISO 8601 instant of the plan.
        estimate: what the run needs.
        banner: what a person must not overlook, or empty.
    """

    batch_id: str
    run_id: str
    snapshot_at: str
    stamp: str
    mode: str
    reason: str
    universe: str
    quote_currency: str
    fetch_options: dict[str, str]
    assets_options: dict[str, str]
    source_id: str | None
    runner: str
    output: str
    started_at: str
    estimate: dict[str, Any] = field(default_factory=dict)
    banner: str = ""

    @property
    def instant(self) -> datetime:
        """``snapshot_at``, aware."""
        return parse_instant(self.snapshot_at)

    @property
    def batch(self) -> Batch:
        """The batch on its way through staging."""
        day = self.instant.date()
        return Batch(SNAPSHOTS, self.batch_id, self.run_id, self.instant, day, day)

    @property
    def folder(self) -> str:
        """Path of the batch files in the bucket."""
        return batch_folder(self.batch_id)

    def to_dict(self) -> dict[str, Any]:
        """The plan as Airflow passes it between tasks."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "BatchPlan":
        """The plan as it came back."""
        return cls(**values)


class Ingestion(BatchSteps):
    """The steps of a snapshot."""

    def plan(self, request: RunRequest, run_id: str, runner: str) -> BatchPlan:
        """Decide what the run does, before anything is changed anywhere.

        Raises:
            SettingsError: the request contradicts the settings or the honest-time rule.
            BudgetExceededError: the month's credits do not pay for it.
        """
        now = self.clock()
        landing = folder("", MARKETS, request.batch_id).lstrip("/")
        manifest_text = self.bucket.read_text(f"{landing}/{MANIFEST_NAME}")
        is_whole = self.bucket.read_text(f"{landing}/{COMPLETE_NAME}") is not None
        mode = decide_mode(request, now, self.settings, manifest_text is not None and is_whole)
        source, source_id, banner = self._source(mode, request, landing)
        if mode == Mode.REPLAY:
            refuse_foreign_source(
                self.settings, read_manifest(manifest_text) if manifest_text and not request.files else None
            )
        costs = self.estimate(request, fetches=mode == Mode.FETCH, simulated=source_id == COINGECKO_SIMULATOR.id)
        if source_id != COINGECKO_SIMULATOR.id:
            check_affordable(costs, self.settings)
        common = {
            "source": source,
            "snapshot_at": format_instant(request.snapshot_at),
            "batch_id": request.batch_id,
            "output": self.bucket.uri(batch_folder(request.batch_id)),
            "landing": self.settings.bucket_uri,
        }
        fetch_rate, assets_rate = self._rates(request, source_id) if mode == Mode.FETCH else ({}, {})
        return BatchPlan(
            batch_id=request.batch_id,
            run_id=run_id,
            snapshot_at=format_instant(request.snapshot_at),
            stamp=file_stamp(request.snapshot_at, self.settings.market.period),
            mode=mode,
            reason=_reason(
                mode, request, now, "only a part of it was landed" if manifest_text else "nothing was landed for it"
            ),
            universe=request.label,
            quote_currency=request.quote_currency,
            fetch_options=common | selection(request) | {"quote_currency": request.quote_currency} | fetch_rate,
            assets_options=common | assets_rate | {"known_assets": f"{common['output']}/{KNOWN_ASSETS_FILE}"},
            source_id=source_id,
            runner=runner,
            output=common["output"],
            started_at=format_instant(now),
            estimate=asdict(costs),
            banner=banner,
        )

    def _rates(self, request: RunRequest, source_id: str | None) -> tuple[dict[str, str], dict[str, str]]:
        """The shares of the rate limit for the two jobs that run at the same time, as their options; backfills have
        their own.
        """
        simulated = source_id == COINGECKO_SIMULATOR.id
        limit = (
            self.settings.local.simulator.calls_per_minute
            if simulated
            else self.settings.coingecko.limits.calls_per_minute
        )
        shares = rate_shares(
            limit * (1 - self.settings.history.rate_share),
            page_calls(self.settings, request.universe),
            asset_calls(self.settings),
        )
        fetch, assets = ({"calls_per_minute": str(share), "call_ledger": "on"} for share in shares)
        return fetch, assets

    def _source(self, mode: str, request: RunRequest, landing: str) -> tuple[str, str | None, str]:
        """The ``--source`` of the jobs, the source id where it is known before the run, and a banner."""
        if mode == Mode.REPLAY:
            return request.files or self.bucket.uri(f"{landing}/*"), FILES.id if request.files else None, ""
        if mode == Mode.GAP:
            return "", None, ""
        chosen = choose_source(self.settings)
        return chosen.kind, COINGECKO.answering(chosen.kind), chosen.banner or ""

    def estimate(self, request: RunRequest, *, fetches: bool, simulated: bool) -> Estimate:
        """What the run needs, against what the warehouse has on record for this month."""
        per_minute = self.settings.local.simulator.calls_per_minute if simulated else None
        return estimate(
            self.settings, request.universe, self.calls_this_month(), fetches=fetches, per_minute=per_minute
        )

    def calls_this_month(self) -> int:
        """Calls to the live API that count against the present month, by the ledger; 0 while there is none."""
        return CallLedger(self.warehouse, self.settings, self.clock).spent_this_month(COINGECKO.id)

    def prepare(self, plan: BatchPlan) -> list[str]:
        """Bring the schema up to the contracts, lay out empty staging tables, and tell the assets job what is known.

        Returns:
            The changes made to the schema, one line each.
        """
        changes = self.lay_out(plan.batch)
        if plan.mode == Mode.FETCH:
            self.bucket.write_text(f"{plan.folder}/{KNOWN_ASSETS_FILE}", self._known_assets())
        return changes

    def _known_assets(self) -> str:
        """The assets of the dimension and when their details were landed, as the assets job reads it."""
        table = self.warehouse.table(load_contract(ASSETS))
        rows = self.warehouse.rows(
            f"SELECT asset_id, details_at FROM `{table}` WHERE is_current AND details_at IS NOT NULL ORDER BY asset_id"
        )
        lines = [f"{row['asset_id']},{format_instant(row['details_at'])}" for row in rows]
        return "\n".join(["asset_id,details_at", *lines]) + "\n"

    def record(self, plan: BatchPlan, ending: Ending, jobs: Collection[str]) -> dict[str, Any]:
        """Write the row of this run into ``ingestion_batch``, replacing an earlier one of the same run.

        Args:
            plan: the batch.
            ending: how it ended.
            jobs: the Beam jobs that succeeded in this run; only their reports are of this run.

        Returns:
            The row.
        """
        fetch, assets = (
            self.bucket.read_json(job.report_path(plan.folder)) if job.name in jobs else {}
            for job in (FETCH_CRYPTO_DATA, POPULATE_CRYPTO_ASSET_DIM)
        )
        unknown = fetch.get("unknown_fields")
        row = {
            "mode": plan.mode,
            "source_id": fetch.get("source_id") or plan.source_id,
            "universe": plan.universe,
            "quote_currency": plan.quote_currency,
            "runner": plan.runner,
            "started_at": plan.started_at,
            "unknown_fields": json.dumps(unknown) if unknown else None,
            **counts(fetch, _FETCH_COUNTS),
            **counts(assets, _ASSET_COUNTS),
            **{name: int(fetch.get(name, 0)) + int(assets.get(name, 0)) for name in _CALL_COUNTS},
        }
        return self.record_ending(plan.batch, ending, row)


_FETCH_COUNTS = (
    "pages_read",
    "pages_rejected",
    "rows_read",
    "rows_unpriced",
    "rows_duplicate",
    "rows_surplus",
    "rows_rejected",
    "rows_valid",
)
_ASSET_COUNTS = ("assets_listed", "details_fetched", "details_waiting")
_CALL_COUNTS = ("api_calls", "api_retries", "api_throttled", "bytes_landed")


def selection(request: RunRequest) -> dict[str, str]:
    """The job options that select the universe of a request."""
    if request.landed:
        return {}  # the landed pages are the selection
    universe = request.universe
    chosen = {
        Universe.TOP: {"top_n": str(universe.top_n)},
        Universe.IDS: {"ids": ",".join(universe.ids)},
        Universe.CATEGORY: {"category": universe.category or ""},
    }
    return {"universe": universe.kind.value, **chosen.get(universe.kind, {})}


def _reason(mode: str, request: RunRequest, now: datetime, lack: str) -> str:
    at = format_instant(request.snapshot_at)
    match mode:
        case Mode.FETCH:
            return f"{at} is the present interval: the source is asked."
        case Mode.REPLAY:
            return (
                f"Files matching {request.files} are replayed."
                if request.files
                else f"{at} is past: its landed pages are replayed."
            )
    return (
        f"{at} is past (now is {format_instant(now)}) and {lack}. The source answers only for now, so the batch is "
        "recorded as a gap; today's prices are never stamped on an old date."
    )
