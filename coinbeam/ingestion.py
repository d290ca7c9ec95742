"""The steps of one batch between the Beam jobs: plan, prepare, audit, verify, record. The DAG gives them their order and their retries."""

import json
import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime, timedelta
from typing import Any

from google.cloud import bigquery

from coinbeam import __version__
from coinbeam.batch import FILE_SOURCE, LIVE_SOURCE, SIMULATOR_SOURCE, file_stamp
from coinbeam.clock import Clock, format_instant, parse_instant, utc_now
from coinbeam.coingecko.source import choose_source
from coinbeam.contracts import Contract, load_all, load_contract
from coinbeam.errors import SettingsError
from coinbeam.landing import COMPLETE_NAME, MANIFEST_NAME, folder, read_manifest
from coinbeam.plan import (
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
from coinbeam.publish import ASSETS, DATES, FACT, REJECTS, STAGED, publish_script, rejects_script
from coinbeam.quality import (
    Audit,
    Auditor,
    Result,
    Stage,
    foreign_key,
    listed_share,
    refuse_if_blocked,
    reject_share,
    row_count,
    rules_of,
)
from coinbeam.settings import Settings, Universe
from coinbeam.storage import Bucket
from coinbeam.warehouse import StagingTables, Warehouse

logger = logging.getLogger("coinbeam.ingestion")

CALENDAR_HORIZON = timedelta(days=366)
"""The calendar is extended when fewer days than these lie ahead of a snapshot."""

KNOWN_ASSETS = "known_assets.csv"
FETCH_JOB, ASSETS_JOB = "fetch_crypto_data", "populate_crypto_asset_dim"
FETCH_REPORT, ASSETS_REPORT = f"report_{FETCH_JOB}.json", f"report_{ASSETS_JOB}.json"


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


def batch_folder(batch: str) -> str:
    """Path of the files of a batch in the bucket."""
    return f"batches/{batch}"


class Ingestion:
    """The steps of one batch.

    Args:
        settings: the environment.
        warehouse: BigQuery; made from the settings when left out.
        bucket: Cloud Storage; made from the settings when left out.
        clock: source of "now".
    """

    def __init__(
        self, settings: Settings, warehouse: Warehouse | None = None, bucket: Bucket | None = None, clock: Clock = utc_now
    ) -> None:
        self.settings = settings
        self.warehouse = warehouse or Warehouse(settings, clock=clock)
        self.bucket = bucket or Bucket(settings)
        self._clock = clock

    def plan(self, request: RunRequest, run_id: str, runner: str) -> BatchPlan:
        """Decide what the run does, before anything is changed anywhere.

        Raises:
            SettingsError: the request contradicts the settings or the honest-time rule.
            TerminalError: the month's credits do not pay for it.
        """
        now = self._clock()
        landing = folder("", "markets", request.batch_id).lstrip("/")
        manifest_text = self.bucket.read_text(f"{landing}/{MANIFEST_NAME}")
        is_whole = self.bucket.read_text(f"{landing}/{COMPLETE_NAME}") is not None
        mode = decide_mode(request, now, self.settings, manifest_text is not None and is_whole)
        source, source_id, banner = self._source(mode, request, landing)
        if mode == Mode.REPLAY:
            refuse_foreign_source(self.settings, read_manifest(manifest_text) if manifest_text and not request.files else None)
        costs = self.estimate(request, fetches=mode == Mode.FETCH, simulated=source_id == SIMULATOR_SOURCE)
        if source_id != SIMULATOR_SOURCE:
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
            reason=_reason(mode, request, now, "only a part of it was landed" if manifest_text else "nothing was landed for it"),
            universe=request.universe.label,
            quote_currency=request.quote_currency,
            fetch_options=common | selection(request) | {"quote_currency": request.quote_currency} | fetch_rate,
            assets_options=common | assets_rate | {"known_assets": f"{common['output']}/{KNOWN_ASSETS}"},
            source_id=source_id,
            runner=runner,
            output=common["output"],
            started_at=format_instant(now),
            estimate=asdict(costs),
            banner=banner,
        )

    def _rates(self, request: RunRequest, source_id: str | None) -> tuple[dict[str, str], dict[str, str]]:
        """The shares of the rate limit for the two jobs that run at the same time, as their options."""
        simulated = source_id == SIMULATOR_SOURCE
        limit = self.settings.local.simulator.calls_per_minute if simulated else self.settings.coingecko.limits.calls_per_minute
        shares = rate_shares(limit, page_calls(self.settings, request.universe), asset_calls(self.settings))
        fetch, assets = ({"calls_per_minute": str(share)} for share in shares)
        return fetch, assets

    def _source(self, mode: str, request: RunRequest, landing: str) -> tuple[str, str | None, str]:
        """The ``--source`` of the jobs, the source id where it is known before the run, and a banner."""
        if mode == Mode.REPLAY:
            return request.files or self.bucket.uri(f"{landing}/*"), FILE_SOURCE if request.files else None, ""
        if mode == Mode.GAP:
            return "", None, ""
        chosen = choose_source(self.settings)
        return chosen.kind, SIMULATOR_SOURCE if chosen.kind == "simulator" else LIVE_SOURCE, chosen.banner or ""

    def estimate(self, request: RunRequest, *, fetches: bool, simulated: bool) -> Estimate:
        """What the run needs, against what the warehouse has on record for this month."""
        per_minute = self.settings.local.simulator.calls_per_minute if simulated else None
        return estimate(self.settings, request.universe, self.calls_this_month(), fetches=fetches, per_minute=per_minute)

    def calls_this_month(self) -> int:
        """Calls to the live API since the first of the month; 0 when the table does not exist yet."""
        contract = load_contract("ingestion_batch")
        if not self.warehouse.exists(self.warehouse.table(contract)):
            return 0
        first = self._clock().date().replace(day=1)
        table = self.warehouse.table(contract)
        sql = f"SELECT COALESCE(SUM(api_calls), 0) AS calls FROM `{table}` WHERE snapshot_date >= @first AND source_id = @source"
        parameters = [bigquery.ScalarQueryParameter("first", "DATE", first), bigquery.ScalarQueryParameter("source", "STRING", LIVE_SOURCE)]
        return int(self.warehouse.rows(sql, parameters)[0]["calls"])

    def prepare(self, plan: BatchPlan) -> list[str]:
        """Bring the schema up to the contracts and lay out empty staging tables.

        Returns:
            The changes made to the schema, one line each.
        """
        changes = self.warehouse.ensure_schema()
        self.warehouse.create_staging(self._staging(plan), self._staged())
        if plan.mode == Mode.FETCH:
            self.bucket.write_text(f"{plan.folder}/{KNOWN_ASSETS}", self._known_assets())
        return changes

    def _known_assets(self) -> str:
        """The assets of the dimension and when their details were landed, as the assets job reads it."""
        table = self.warehouse.table(load_contract(ASSETS))
        rows = self.warehouse.rows(
            f"SELECT asset_id, details_at FROM `{table}` WHERE is_current AND details_at IS NOT NULL ORDER BY asset_id"
        )
        lines = [f"{row['asset_id']},{format_instant(row['details_at'])}" for row in rows]
        return "\n".join(["asset_id,details_at", *lines]) + "\n"

    def needs_calendar(self, plan: BatchPlan) -> bool:
        """Whether the calendar ends too close to the batch, or begins after it."""
        table = self.warehouse.table(load_contract(DATES))
        row = self.warehouse.rows(f"SELECT MIN(date) AS first, MAX(date) AS last FROM `{table}`")[0]
        day = plan.instant.date()
        return row["last"] is None or row["first"] > day or row["last"] < day + CALENDAR_HORIZON

    def rejects_script(self, plan: BatchPlan) -> str:
        """The transaction that makes the refused records visible, whatever the audit will say."""
        return rejects_script(self.warehouse, plan.batch_id, plan.instant)

    def audit(self, plan: BatchPlan) -> list[Result]:
        """Run every rule on the staged batch and append the results.

        Raises:
            PublishBlockedError: the batch must not be published.
        """
        auditor = Auditor(self.warehouse, Audit(plan.batch_id, plan.run_id, plan.instant, Stage.STAGING))
        results: list[Result] = []
        for contract in self._staged():
            if contract.name != REJECTS:
                results += self._audit_staged(auditor, plan, contract)
        auditor.record(results, self._clock())
        refuse_if_blocked(results)
        return results

    def _audit_staged(self, auditor: Auditor, plan: BatchPlan, contract: Contract) -> list[Result]:
        staging = self._staging(plan)
        table = f"`{staging.name(contract)}`"
        if contract.name != FACT and self.warehouse.rows(f"SELECT COUNT(*) AS n FROM {table}")[0]["n"] == 0:
            return []  # this batch did not load the dimension
        rules = rules_of(contract, contract.file_columns)
        if contract.name == FACT:
            limit = self.settings.quality.max_reject_share
            rules += [
                reject_share(contract, staging.name(load_contract(REJECTS)), limit),
                row_count(self._report(plan, FETCH_REPORT)["rows_valid"]),
            ]
        if contract.name == ASSETS:
            rules.append(listed_share(self.warehouse.table(contract), self.settings.quality.min_listed_share))
        return auditor.check(contract, table, rules)

    def publish_script(self, plan: BatchPlan) -> str:
        """The transaction that publishes the batch."""
        return publish_script(self.warehouse, plan.batch_id, plan.instant)

    def verify(self, plan: BatchPlan) -> list[Result]:
        """Check the batch as readers see it: complete, and every key found in its dimension.

        Raises:
            PublishBlockedError: what is visible is not what was staged.
        """
        fact = load_contract(FACT)
        scope = f"snapshot_date = DATE '{plan.instant:%Y-%m-%d}' AND batch_id = '{plan.batch_id}'"
        visible = f"(SELECT * FROM `{self.warehouse.table(fact)}` WHERE {scope})"
        rules = [row_count(self._report(plan, FETCH_REPORT)["rows_valid"]), *self._foreign_keys(fact)]
        auditor = Auditor(self.warehouse, Audit(plan.batch_id, plan.run_id, plan.instant, Stage.PUBLISHED))
        results = auditor.check(fact, visible, rules)
        auditor.record(results, self._clock())
        refuse_if_blocked(results)
        return results

    def _foreign_keys(self, contract: Contract) -> list[Any]:
        referring = [column for column in contract.columns if column.references]
        parents = {column.name: load_contract((column.references or "").partition(".")[0]) for column in referring}
        return [foreign_key(c, self.warehouse.table(parents[c.name]), current_only=parents[c.name].name == ASSETS) for c in referring]

    def record(
        self, plan: BatchPlan, status: str, task_seconds: Mapping[str, float], error: str | None, jobs: Collection[str]
    ) -> dict[str, Any]:
        """Write the row of this run into ``ingestion_batch``, replacing an earlier one of the same run.

        Args:
            plan: the batch.
            status: published, failed or gap.
            task_seconds: seconds by task.
            error: why it failed or is a gap.
            jobs: the Beam jobs that succeeded in this run; only their reports are of this run.

        Returns:
            The row.
        """
        fetch = self.bucket.read_json(f"{plan.folder}/{FETCH_REPORT}") if FETCH_JOB in jobs else {}
        assets = self.bucket.read_json(f"{plan.folder}/{ASSETS_REPORT}") if ASSETS_JOB in jobs else {}
        row = self._batch_row(plan, status, fetch, assets) | {"task_seconds": json.dumps(dict(task_seconds)), "error_message": error}
        merge_row(self.warehouse, load_contract("ingestion_batch"), row)
        if status == "published":
            self.warehouse.drop_staging(self._staging(plan), self._staged())
        return row

    def failure(self, plan: BatchPlan, job: str) -> str | None:
        """What a Beam job said when it failed; its exit code alone tells nobody why."""
        return self.bucket.read_text(f"{plan.folder}/failure_{job}.txt")

    def _batch_row(self, plan: BatchPlan, status: str, fetch: Mapping[str, Any], assets: Mapping[str, Any]) -> dict[str, Any]:
        fact = load_contract(FACT)
        counts = {name: int(fetch.get(name, 0)) for name in _FETCH_COUNTS} | {name: int(assets.get(name, 0)) for name in _ASSET_COUNTS}
        calls = {name: int(fetch.get(name, 0)) + int(assets.get(name, 0)) for name in _CALL_COUNTS}
        published = self._visible_rows(plan) if status == "published" else 0
        return {
            "batch_id": plan.batch_id,
            "run_id": plan.run_id,
            "snapshot_at": plan.snapshot_at,
            "snapshot_date": f"{plan.instant:%Y-%m-%d}",
            "status": status,
            "mode": plan.mode,
            "environment": self.settings.environment.value,
            "source_id": fetch.get("source_id") or plan.source_id,
            "universe": plan.universe,
            "quote_currency": plan.quote_currency,
            "runner": plan.runner,
            "started_at": plan.started_at,
            "finished_at": format_instant(self._clock()),
            **counts,
            **calls,
            "rows_staged": self._staged_rows(plan),
            "rows_published": published,
            "unknown_fields": json.dumps(fetch["unknown_fields"]) if fetch.get("unknown_fields") else None,
            "coinbeam_version": __version__,
            "contract_version": fact.version,
        }

    def _visible_rows(self, plan: BatchPlan) -> int:
        sql = f"SELECT COUNT(*) AS n FROM `{self.warehouse.table(load_contract(FACT))}` WHERE snapshot_date = @day AND batch_id = @batch"
        day = bigquery.ScalarQueryParameter("day", "DATE", plan.instant.date())
        return int(self.warehouse.rows(sql, [day, bigquery.ScalarQueryParameter("batch", "STRING", plan.batch_id)])[0]["n"])

    def _staged_rows(self, plan: BatchPlan) -> int:
        """Rows of the fact in staging; 0 when the run ended before there was a staging table."""
        name = self._staging(plan).name(load_contract(FACT))
        if not self.warehouse.exists(name):
            return 0
        return int(self.warehouse.rows(f"SELECT COUNT(*) AS n FROM `{name}`")[0]["n"])

    def _report(self, plan: BatchPlan, name: str) -> dict[str, Any]:
        report = self.bucket.read_json(f"{plan.folder}/{name}")
        if not report:
            raise SettingsError(f"{self.bucket.uri(plan.folder)}/{name} is missing.", "The job did not finish; run the batch again.")
        return report

    def _staging(self, plan: BatchPlan) -> StagingTables:
        return StagingTables(self.settings, plan.batch_id)

    def _staged(self) -> list[Contract]:
        return [load_all()[name] for name in STAGED]


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
            return f"Files matching {request.files} are replayed." if request.files else f"{at} is past: its landed pages are replayed."
    return (
        f"{at} is past (now is {format_instant(now)}) and {lack}. The source answers only for now, so the batch is "
        "recorded as a gap; today's prices are never stamped on an old date."
    )


def merge_row(warehouse: Warehouse, contract: Contract, row: Mapping[str, Any]) -> None:
    """Insert one row, or replace the one with the same key, within its partition."""
    columns = [column.name for column in contract.columns]
    source = ", ".join(f"@{name} AS {name}" for name in columns)
    match = [f"t.{name} = s.{name}" for name in contract.primary_key]
    match += [f"t.{contract.partition_column} = @{contract.partition_column}"] if contract.partition_column else []
    assignments = ", ".join(f"{name} = s.{name}" for name in columns if name not in contract.primary_key)
    sql = (
        f"MERGE `{warehouse.table(contract)}` AS t USING (SELECT {source}) AS s ON {' AND '.join(match)} "
        f"WHEN MATCHED THEN UPDATE SET {assignments} "
        f"WHEN NOT MATCHED THEN INSERT ({', '.join(columns)}) VALUES ({', '.join(f's.{name}' for name in columns)})"
    )
    warehouse.query(sql, [bigquery.ScalarQueryParameter(c.name, c.type, row.get(c.name)) for c in contract.columns])
