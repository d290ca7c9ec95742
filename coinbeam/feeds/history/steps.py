"""The steps of one batch of a backfill."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from functools import cached_property
from typing import Any

from coinbeam.batch.jobs import PIECES_FILE
from coinbeam.batch.kinds import HISTORY, Batch
from coinbeam.feeds.history.batches import HistoryBatch
from coinbeam.feeds.history.ledger import PieceLedger
from coinbeam.feeds.history.pieces import HistoryPiece, pieces_json
from coinbeam.feeds.history.planner import BackfillPlanner
from coinbeam.feeds.steps import BatchSteps, Ending, counts

_CALLS = ("api_calls", "api_retries", "api_throttled", "bytes_landed")


class BackfillSteps(BatchSteps):
    """The steps of the batches of backfills."""

    @cached_property
    def planner(self) -> BackfillPlanner:
        """The planner, on the same warehouse and bucket."""
        return BackfillPlanner(self.settings, self.warehouse, self.bucket, self.clock)

    def whole(self, plan: Mapping[str, Any]) -> Batch:
        """All days of a `BackfillPlan`, given as a dictionary, as one batch: what the calendar must cover."""
        first, last = (date.fromisoformat(plan[name]) for name in ("first_date", "last_date"))
        return Batch(
            HISTORY, plan["backfill_id"], plan["backfill_id"], datetime.combine(last, time(), UTC), first, last
        )

    def prepare(self, one: HistoryBatch) -> list[str]:
        """Lay out the staging tables of a batch and write down its pieces for the job."""
        changes = self.lay_out(one.batch)
        if one.pieces:
            self.bucket.write_text(f"{one.batch.folder}/{PIECES_FILE}", pieces_json(self._pieces(one)))
        return changes

    def _pieces(self, one: HistoryBatch) -> list[HistoryPiece]:
        return (self.planner.written(one.backfill_id) or {}).get(one.batch_id, [])

    def record(self, one: HistoryBatch, ending: Ending) -> dict[str, Any]:
        """Write what became of the batch into ``ingestion_batch`` and of its pieces into the ledger.

        Args:
            one: the batch.
            ending: how it ended.

        Returns:
            The row of the batch.
        """
        report = self.bucket.read_json(HISTORY.job.report_path(one.batch.folder))
        ledger = PieceLedger(self.warehouse, self.clock)
        if report:
            ledger.settle(one, report["pieces"], ending)
        else:
            ledger.fail(one, self._pieces(one), ending.error)
        return self.record_ending(one.batch, ending, self._batch_row(one, report))

    def _batch_row(self, one: HistoryBatch, report: Mapping[str, Any]) -> dict[str, Any]:
        """What only a batch of history knows, for ``ingestion_batch``."""
        return {
            "mode": "fetch" if one.pieces else "replay",
            "source_id": report.get("source_id") or one.source_id,
            "universe": one.backfill_id,
            "quote_currency": one.quote_currency,
            "runner": one.runner,
            "started_at": one.started_at,
            **counts(
                report,
                ("pages_read", "pages_rejected", "rows_read", "rows_valid", "rows_rejected", "rows_unpriced", *_CALLS),
            ),
            "points_superseded": int(report.get("rows_superseded") or 0),
            **counts(report, ("points_now", "points_outside", "days_missing")),
        }
