"""A batch of the Fear & Greed index: its plan, its steps and its record."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import datetime
from typing import Any

from coinbeam.batch.digest import digest
from coinbeam.batch.identity import interval_start
from coinbeam.batch.kinds import SENTIMENT, Batch, batch_folder
from coinbeam.clock import format_instant, parse_instant
from coinbeam.feeds.steps import BatchSteps, Ending, counts
from coinbeam.settings import Period
from coinbeam.sources.alternative_me import FIRST_DAY
from coinbeam.sources.choose import choose_source
from coinbeam.sources.registry import ALTERNATIVE_ME, ALTERNATIVE_ME_SIMULATOR


@dataclass(frozen=True)
class IndexPlan:
    """What a run does; JSON-ready.

    Attributes:
        batch_id: the batch.
        run_id: the run.
        instant: ISO 8601 UTC midnight of the run's day.
        source_id: key of ``source_dim``, or None for files.
        runner: local or dataflow.
        started_at: ISO 8601 instant of the plan.
        options: options of the job.
        banner: what a person must not overlook, or empty.
    """

    batch_id: str
    run_id: str
    instant: str
    source_id: str | None
    runner: str
    started_at: str
    options: dict[str, str] = field(default_factory=dict)
    banner: str = ""

    @property
    def batch(self) -> Batch:
        """The batch on its way through staging: the whole index, up to its day."""
        at = parse_instant(self.instant)
        return Batch(SENTIMENT, self.batch_id, self.run_id, at, FIRST_DAY, at.date())

    def to_dict(self) -> dict[str, Any]:
        """The plan as Airflow passes it between tasks."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "IndexPlan":
        """The plan as it came back."""
        return cls(**values)


class FearGreedSteps(BatchSteps):
    """The steps of a batch of the index. It comes whole every day, and one call brings it."""

    def plan(self, scheduled: datetime, run_id: str, runner: str, files: str = "") -> IndexPlan:
        """Decide whom the run asks.

        Args:
            scheduled: logical instant of the run; its UTC day names the batch.
            run_id: the run.
            runner: local or dataflow.
            files: a glob of bodies to read instead of asking; empty for none.
        """
        instant = interval_start(scheduled, Period.DAILY)
        name = f"fear-greed-{instant:%Y%m%d}" + (f"-files-{digest(files)}" if files else "")
        chosen = None if files else choose_source(self.settings)
        output = self.bucket.uri(batch_folder(name))
        options = {
            "source": chosen.kind if chosen else files,
            "snapshot_at": format_instant(instant),
            "batch_id": name,
            "output": output,
            "landing": self.settings.bucket_uri,
        }
        started = format_instant(self.clock())
        if chosen is None:
            return IndexPlan(name, run_id, format_instant(instant), None, runner, started, options)
        source_id = ALTERNATIVE_ME_SIMULATOR.id if chosen.kind == "simulator" else ALTERNATIVE_ME.id
        return IndexPlan(
            name, run_id, format_instant(instant), source_id, runner, started, options, chosen.banner or ""
        )

    def _scope(self, batch: Batch) -> str:
        """Only what is new or was revised changes hands, so that a batch is visible when the index holds each of its
        values.
        """
        staged = self.staging(batch).name(self.staged(batch)[0])
        same = "CONCAT(CAST(date AS STRING), ' ', CAST(value AS STRING))"
        return f"{same} IN (SELECT {same} FROM `{staged}`)"

    def record(self, plan: IndexPlan, ending: Ending) -> dict[str, Any]:
        """Write the row of this run into ``ingestion_batch``.

        Args:
            plan: the batch.
            ending: how it ended.
        """
        report = self.bucket.read_json(SENTIMENT.job.report_path(plan.batch.folder))
        row = {
            "mode": "fetch" if plan.source_id else "replay",
            "source_id": report.get("source_id") or plan.source_id,
            "universe": "fear-greed",
            "quote_currency": "none",
            "runner": plan.runner,
            "started_at": plan.started_at,
            "pages_read": int(bool(report)),
            **counts(
                report, ("rows_read", "rows_valid", "rows_rejected", "rows_duplicate", "pages_rejected", "days_missing")
            ),
            **counts(report, ("api_calls", "api_retries", "api_throttled", "bytes_landed")),
        }
        return self.record_ending(plan.batch, ending, row)
