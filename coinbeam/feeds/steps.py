"""The steps of every kind of batch: stage, audit, publish, verify, record. The DAGs give them order and retries."""

import json
from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any, Generic, TypeVar

from coinbeam import __version__
from coinbeam.batch.jobs import JOBS, JobSpec
from coinbeam.batch.kinds import CALENDAR, Batch
from coinbeam.batch.tables import ASSETS, DATES, REJECTS
from coinbeam.clock import Clock, format_instant, parse_instant, utc_now
from coinbeam.contracts import Contract, Rule, Stage, load_contract
from coinbeam.errors import SettingsError
from coinbeam.feeds.ending import Ending
from coinbeam.feeds.plan import BatchPlan
from coinbeam.landing.bucket import ARCHIVE, Bucket
from coinbeam.landing.layout import folder
from coinbeam.ops import batch_line
from coinbeam.ops.call_ledger import CallLedger
from coinbeam.quality import Audit, Auditor, Result, guards, refuse_if_blocked
from coinbeam.quality.published import check_table, published_rules, rows_of_dates
from coinbeam.quality.rules import batch_complete, listed_share, reject_share, row_count, rules_of
from coinbeam.settings import Settings
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.lease import PublishLease
from coinbeam.warehouse.publish import publish_script, rejects_script
from coinbeam.warehouse.schema import ensure_schema
from coinbeam.warehouse.staging import StagingTables, merge_rows

CALENDAR_HORIZON = timedelta(days=366)
"""The calendar is extended when fewer days than these lie ahead of a batch."""

RECORD = "ingestion_batch"
"""The table of the records of batches."""

PlanT = TypeVar("PlanT", bound=BatchPlan)


class BatchSteps(Generic[PlanT]):
    """The steps of one batch; warehouse and bucket are made from the settings when left out."""

    def __init__(
        self,
        settings: Settings,
        warehouse: Warehouse | None = None,
        bucket: Bucket | None = None,
        clock: Clock = utc_now,
    ) -> None:
        self.settings = settings
        self.warehouse = warehouse or Warehouse(settings, clock=clock)
        self.bucket = bucket or Bucket(settings)
        self.clock = clock

    def prepare(self, plan: PlanT) -> list[str]:
        """Make what the jobs and loads of a batch need. A kind of batch may write more beside its files.

        Returns:
            The changes made to the schema, and of what was put aside, one line each.
        """
        changes = self.lay_out(plan.batch)
        if plan.refetch:
            # Not what this run landed itself: a task that is cleared must not ask for that again.
            moved = [self.bucket.archive(place, parse_instant(plan.started_at)) for place in self.landed_places(plan)]
            changes.append(f"{sum(moved)} landed objects were put aside below {self.bucket.uri(ARCHIVE)}")
        return changes

    def landed_places(self, plan: PlanT) -> list[str]:
        """The beginnings of the names of all objects that the batch lands, within the bucket."""
        return self.places_of(plan, plan.feed.job)

    def places_of(self, plan: PlanT, job: JobSpec) -> list[str]:
        """Those of one job."""
        endpoints, source = job.endpoints.values(), plan.source_id or ""
        return [f"{folder('', endpoint, plan.batch_id, source)}/" for endpoint in endpoints]

    def lay_out(self, batch: Batch) -> list[str]:
        """Bring the schema up to the contracts and lay out the empty staging tables of this run.

        Returns:
            The changes of the schema.
        """
        changes = ensure_schema(self.warehouse)
        PublishLease(self.warehouse, batch).lay_out()
        self.staging(batch).create(self.warehouse, self.staged(batch))
        return changes

    def needs_calendar(self, batch: Batch) -> bool:
        """Whether the calendar ends too close to the batch, or begins after it."""
        table = self.warehouse.table(load_contract(DATES))
        row = self.warehouse.rows(f"SELECT MIN(date) AS first, MAX(date) AS last FROM `{table}`")[0]
        return (
            row["last"] is None or row["first"] > batch.first_date or row["last"] < batch.last_date + CALENDAR_HORIZON
        )

    def calendar_of(self, batch: Batch) -> Batch:
        """The batch of the calendar that a batch needs."""
        return replace(batch, feed=CALENDAR, batch_id=f"calendar-{batch.batch_id}")

    def prepare_calendar(self, batch: Batch) -> bool:
        """Lay out the staging of the calendar where it does not cover a batch; whether it does not."""
        needed = self.needs_calendar(batch)
        if needed:
            self.lay_out(self.calendar_of(batch))
        return needed

    def rejects_script(self, batch: Batch) -> str:
        """The transaction that makes the refused records visible, before the audit and independent of it."""
        return rejects_script(self.warehouse, batch)

    def publish_script(self, batch: Batch) -> str:
        """The transaction that publishes the batch.

        Raises:
            PublishBlockedError: this run did not pass the audit, or another one audited the batch after it.
        """
        seals = PublishLease(self.warehouse, batch).seals() if batch.feed.is_audited else {}
        changed = [load_contract(name) for name in batch.feed.published]
        checks = guards(self.warehouse, changed, Audit.of_batch(batch, Stage.PUBLISHED, self.clock()))
        return publish_script(self.warehouse, batch, seals, checks)

    def audit(self, batch: Batch) -> list[Result]:
        """Run every rule on the staged batch, append the results, and take the lease for the rows that passed.

        Raises:
            PublishBlockedError: the batch must not be published.
        """
        audited = [contract for contract in self.staged(batch) if contract.name != REJECTS]
        lease = PublishLease(self.warehouse, batch)
        seals = lease.seal(audited)  # first: rows that change under the rules are not those that pass
        auditor = Auditor(self.warehouse, Audit.of_batch(batch, Stage.STAGING, self.clock()))
        results = [result for contract in audited for result in self._audit_staged(auditor, batch, contract)]
        auditor.record(results, self.clock())
        refuse_if_blocked(results)
        lease.take(seals)
        return results

    def _audit_staged(self, auditor: Auditor, batch: Batch, contract: Contract) -> list[Result]:
        staging = self.staging(batch)
        table, is_fact = f"`{staging.name(contract)}`", contract.name == batch.feed.fact
        if not is_fact and self.warehouse.rows(f"SELECT COUNT(*) AS n FROM {table}")[0]["n"] == 0:
            return []  # this batch did not load the dimension
        rules = rules_of(contract, contract.file_columns)
        if is_fact:
            report = self.report(batch, batch.feed.job)
            rules += [
                reject_share(contract, staging.name(load_contract(REJECTS)), self.settings.quality.max_reject_share),
                row_count(report["rows_valid"]),
                batch_complete(report),
                *self.walk_rules(batch, report),
            ]
        if contract.name == ASSETS:
            rules.append(listed_share(self.warehouse.table(contract), self.settings.quality.min_listed_share))
        return auditor.check(contract, table, rules)

    def walk_rules(self, batch: Batch, report: Mapping[str, Any]) -> list[Rule]:  # noqa: ARG002 - of some feeds only
        """Rules that hold what a walk brought against what it was asked for; a kind of batch may have some."""
        return []

    def verify(self, batch: Batch) -> list[Result]:
        """Check the published tables as readers see them: the rows of the batch complete, every key found, and no rule
        broken.

        Raises:
            PublishBlockedError: what is visible is not what was staged.
        """
        audit = Audit.of_batch(batch, Stage.PUBLISHED, self.clock())
        auditor = Auditor(self.warehouse, audit)
        results: list[Result] = []
        for name in batch.feed.published:
            contract = load_contract(name)
            rules, rows = published_rules(contract, audit), rows_of_dates(self.warehouse, contract, audit)
            if name == batch.feed.fact:
                rules.append(row_count(int(self.report(batch, batch.feed.job)["rows_valid"])))
                rows = self._visible(batch)
            results += check_table(self.warehouse, auditor, contract, rows, rules)
        auditor.record(results, audit.now)
        refuse_if_blocked(results, Stage.PUBLISHED)
        return results

    def standing_fault(self, plan: PlanT) -> str | None:  # noqa: ARG002 - of some feeds only
        """What has been wrong for several published batches and needs a person, in a sentence.

        Empty when nothing is, and None when the run cannot tell.
        """
        return None

    def _visible(self, batch: Batch) -> str:
        """The rows of the fact that stand where the run staged a row, as a subquery: its own, or others that are
        preferred to them.
        """
        contract, column = load_contract(batch.feed.fact), batch.feed.date_column
        same_key = " AND ".join(f"t.{name} = s.{name}" for name in contract.primary_key)
        return (
            f"(SELECT t.* FROM `{self.warehouse.table(contract)}` AS t "
            f"INNER JOIN `{self.staging(batch).name(contract)}` AS s ON {same_key} "
            f"WHERE t.{column} BETWEEN DATE '{batch.first_date}' AND DATE '{batch.last_date}')"
        )

    def visible_rows(self, batch: Batch) -> int:
        """Rows that the run staged and readers see, its own or preferred ones."""
        return int(self.warehouse.rows(f"SELECT COUNT(*) AS n FROM {self._visible(batch)} AS visible")[0]["n"])

    def staged_rows(self, batch: Batch) -> int:
        """Rows of the fact in staging; 0 when the run ended before there was a staging table."""
        name = self.staging(batch).name(load_contract(batch.feed.fact))
        if not self.warehouse.exists(name):
            return 0
        return int(self.warehouse.rows(f"SELECT COUNT(*) AS n FROM `{name}`")[0]["n"])

    def report(self, batch: Batch, job: JobSpec) -> dict[str, Any]:
        """The report that a Beam job left beside its files.

        Raises:
            SettingsError: there is none.
        """
        path = job.report_path(batch.folder)
        report = self.bucket.read_json(path)
        if not report:
            cause = (
                f"{self.bucket.uri(path)} is missing: its job did not finish, or another run of the batch began since."
            )
            raise SettingsError(
                cause, "See `coinbeam status`, and run the batch again unless the other run published it."
            )
        return report

    def failure(self, batch: Batch, task: str) -> str | None:
        """What a Beam job said when it failed, by the name of its task; its exit code alone tells nobody why."""
        job = JOBS.get(task)
        return self.bucket.read_text(job.failure_path(batch.folder)) if job else None

    def record(self, plan: PlanT, ending: Ending) -> dict[str, Any]:
        """Write the row of this run into ``ingestion_batch``, replacing one that an earlier try of this task left, and
        clean up behind a publish. A replay is a run of its own. The log gets the row as one line of numbers.

        Returns:
            The row.
        """
        batch, contract, feed = plan.batch, load_contract(RECORD), plan.feed
        reports = self.reports(plan, ending)
        report = reports.get(feed.job.name, {})
        row = {
            "batch_id": batch.batch_id,
            "run_id": batch.run_id,
            "snapshot_at": format_instant(batch.instant),
            "snapshot_date": f"{batch.instant:%Y-%m-%d}",
            "status": ending.status,
            "mode": plan.mode,
            "environment": self.settings.environment.value,
            "source_id": report.get("source_id") or plan.source_id,
            "universe": plan.universe,
            "quote_currency": plan.quote_currency,
            "runner": plan.runner,
            "started_at": plan.started_at,
            "finished_at": format_instant(self.clock()),
            "table_name": feed.fact,
            "rows_staged": self.staged_rows(batch),
            "rows_published": self.visible_rows(batch) if ending.status == "published" else 0,
            "unknown_fields": json.dumps(report["unknown_fields"]) if report.get("unknown_fields") else None,
            "coinbeam_version": __version__,
            "contract_version": load_contract(feed.fact).version,
            "task_seconds": json.dumps(dict(ending.task_seconds)),
            "error_message": ending.error,
            **counts(contract, feed.job.name, reports),
        }
        merge_rows(self.warehouse, contract, [row])
        if ending.status == "published":
            self.staging(batch).drop(self.warehouse, self.staged(batch))
        age = (self.clock() - batch.instant).total_seconds()
        batch_line.tell(row, CallLedger(self.warehouse, self.settings, self.clock), age)
        return row

    def reports(self, plan: PlanT, ending: Ending) -> dict[str, dict[str, Any]]:
        """The reports of this run by job; one that a failed job left in an earlier run does not count."""
        done = [job for name, job in JOBS.items() if name in ending.succeeded]
        return {job.name: self.bucket.read_json(job.report_path(plan.batch.folder)) for job in done}

    def staging(self, batch: Batch) -> StagingTables:
        """The names of the staging tables of this run of the batch."""
        return StagingTables(self.settings, batch)

    def staged(self, batch: Batch) -> list[Contract]:
        """The contracts of the tables that the batch stages."""
        return [load_contract(name) for name in batch.feed.staged]


def counts(contract: Contract, job: str, reports: Mapping[str, Mapping[str, Any]]) -> dict[str, int]:
    """The columns of a table that count what jobs did: the sum over the reports that the contract names for a column.

    Args:
        contract: the table. ``reports`` of a column names jobs, each with the name of the count in its report where
            that differs: ``job`` or ``job.count``.
        job: the job of the feed. An optional column that this job does not count stays null.
        reports: of the jobs that succeeded; a count that a report does not have is 0.
    """
    found = {}
    for column in contract.columns:
        sources = dict(source.partition(".")[::2] for source in column.reports)
        if job in sources or (sources and column.required):
            found[column.name] = sum(
                int(reports.get(name, {}).get(count or column.name) or 0) for name, count in sources.items()
            )
    return found
