"""The steps that every kind of batch takes: stage, audit, publish, verify, record. The DAGs give them their order and
their retries.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any

from coinbeam import __version__
from coinbeam.batch.jobs import JOBS, JobSpec
from coinbeam.batch.kinds import CALENDAR, Batch
from coinbeam.batch.tables import ASSETS, DATES, REJECTS
from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.contracts import Contract, Stage, load_contract
from coinbeam.errors import SettingsError
from coinbeam.landing.bucket import Bucket
from coinbeam.quality import (
    Audit,
    Auditor,
    Result,
    batch_complete,
    listed_share,
    refuse_if_blocked,
    reject_share,
    row_count,
    rules_of,
)
from coinbeam.quality.published import check_table, published_rules, rows_of_dates
from coinbeam.settings import Settings
from coinbeam.warehouse.client import StagingTables, Warehouse
from coinbeam.warehouse.publish import publish_script, rejects_script

CALENDAR_HORIZON = timedelta(days=366)
"""The calendar is extended when fewer days than these lie ahead of a batch."""


@dataclass(frozen=True)
class Ending:
    """How a run of a batch ended, for its record.

    Attributes:
        status: published, failed or gap.
        error: why it failed or is a gap.
        task_seconds: seconds by task.
    """

    status: str
    error: str | None
    task_seconds: Mapping[str, float]


class BatchSteps:
    """The steps of one batch.

    Args:
        settings: the environment.
        warehouse: BigQuery; made from the settings when left out.
        bucket: Cloud Storage; made from the settings when left out.
        clock: source of "now".
    """

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

    def lay_out(self, batch: Batch) -> list[str]:
        """Bring the schema up to the contracts and lay out empty staging tables.

        Returns:
            The changes made to the schema, one line each.
        """
        changes = self.warehouse.ensure_schema()
        self.warehouse.create_staging(self.staging(batch), self.staged(batch))
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
        """The transaction that makes the refused records visible, whatever the audit will say."""
        return rejects_script(self.warehouse, batch)

    def publish_script(self, batch: Batch) -> str:
        """The transaction that publishes the batch."""
        return publish_script(self.warehouse, batch)

    def audit(self, batch: Batch) -> list[Result]:
        """Run every rule on the staged batch and append the results.

        Raises:
            PublishBlockedError: the batch must not be published.
        """
        auditor = Auditor(self.warehouse, Audit.of_batch(batch, Stage.STAGING, self.clock()))
        results: list[Result] = []
        for contract in self.staged(batch):
            if contract.name != REJECTS:
                results += self._audit_staged(auditor, batch, contract)
        auditor.record(results, self.clock())
        refuse_if_blocked(results)
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
            ]
        if contract.name == ASSETS:
            rules.append(listed_share(self.warehouse.table(contract), self.settings.quality.min_listed_share))
        return auditor.check(contract, table, rules)

    def verify(self, batch: Batch) -> list[Result]:
        """Check the published tables as readers see them: the rows of the batch complete, every key found, and no rule
        broken.

        Raises:
            PublishBlockedError: what is visible is not what was staged.
        """
        audit = Audit.of_batch(batch, Stage.PUBLISHED, self.clock())
        auditor = Auditor(self.warehouse, audit)
        results = [
            result
            for name in batch.feed.published
            for result in self._verify_table(auditor, audit, batch, load_contract(name))
        ]
        auditor.record(results, audit.now)
        refuse_if_blocked(results, Stage.PUBLISHED)
        return results

    def _verify_table(self, auditor: Auditor, audit: Audit, batch: Batch, contract: Contract) -> list[Result]:
        rules, rows = published_rules(contract, audit), rows_of_dates(self.warehouse, contract, audit)
        if contract.name == batch.feed.fact:
            rules.append(row_count(self._expected_visible(batch)))
            rows = f"(SELECT * FROM `{self.warehouse.table(contract)}` WHERE {self._scope(batch)})"
        return check_table(self.warehouse, auditor, contract, rows, rules)

    def _expected_visible(self, batch: Batch) -> int:
        """Rows of the batch that readers must see."""
        return int(self.report(batch, batch.feed.job)["rows_valid"])

    def _scope(self, batch: Batch) -> str:
        """The condition that finds the rows of a batch in its fact."""
        column = batch.feed.date_column
        return (
            f"{column} BETWEEN DATE '{batch.first_date}' AND DATE '{batch.last_date}' AND batch_id = '{batch.batch_id}'"
        )

    def visible_rows(self, batch: Batch) -> int:
        """Rows of the batch that readers see."""
        table = self.warehouse.table(load_contract(batch.feed.fact))
        return int(self.warehouse.rows(f"SELECT COUNT(*) AS n FROM `{table}` WHERE {self._scope(batch)}")[0]["n"])

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
            raise SettingsError(f"{self.bucket.uri(path)} is missing.", "The job did not finish; run the batch again.")
        return report

    def failure(self, batch: Batch, task: str) -> str | None:
        """What a Beam job said when it failed, by the name of its task; its exit code alone tells nobody why."""
        job = JOBS.get(task)
        return self.bucket.read_text(job.failure_path(batch.folder)) if job else None

    def record_ending(self, batch: Batch, ending: Ending, row: Mapping[str, Any]) -> dict[str, Any]:
        """Write the row of this run into ``ingestion_batch``, replacing an earlier one of the same run, and clean up
        behind a publish.

        Args:
            batch: the batch.
            ending: how it ended.
            row: what only its kind of batch knows; counts that it leaves out are 0.

        Returns:
            The row.
        """
        whole = {
            "batch_id": batch.batch_id,
            "run_id": batch.run_id,
            "snapshot_at": format_instant(batch.instant),
            "snapshot_date": f"{batch.instant:%Y-%m-%d}",
            "status": ending.status,
            "environment": self.settings.environment.value,
            "finished_at": format_instant(self.clock()),
            "table_name": batch.feed.fact,
            "rows_staged": self.staged_rows(batch),
            "rows_published": self.visible_rows(batch) if ending.status == "published" else 0,
            "coinbeam_version": __version__,
            "contract_version": load_contract(batch.feed.fact).version,
            "task_seconds": json.dumps(dict(ending.task_seconds)),
            "error_message": ending.error,
            **row,
        }
        contract = load_contract("ingestion_batch")
        whole |= {c.name: 0 for c in contract.columns if c.required and c.type == "INT64" and c.name not in whole}
        self.warehouse.merge_rows(contract, [whole])
        if ending.status == "published":
            self.warehouse.drop_staging(self.staging(batch), self.staged(batch))
        return whole

    def staging(self, batch: Batch) -> StagingTables:
        """The names of the batch's staging tables."""
        return StagingTables(self.settings, batch.batch_id)

    def staged(self, batch: Batch) -> list[Contract]:
        """The contracts of the tables that the batch stages."""
        return [load_contract(name) for name in batch.feed.staged]


def counts(report: Mapping[str, Any], names: Iterable[str]) -> dict[str, int]:
    """Numbers of a report by name, 0 where it has none."""
    return {name: int(report.get(name) or 0) for name in names}
