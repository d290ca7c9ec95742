"""The steps of one batch of a backfill."""

from functools import cached_property
from typing import Any

from coinbeam.batch.jobs import PIECES_FILE
from coinbeam.batch.kinds import HISTORY, Batch
from coinbeam.contracts import load_contract
from coinbeam.feeds.ending import Ending
from coinbeam.feeds.history.ledger import PieceLedger
from coinbeam.feeds.history.pieces import HistoryPiece, pieces_json
from coinbeam.feeds.history.plan import HistoryPlan
from coinbeam.feeds.history.planner import BackfillPlanner
from coinbeam.feeds.known_assets import refuse_unknown
from coinbeam.feeds.steps import BatchSteps
from coinbeam.quality import Result
from coinbeam.sources.registry import FILES


class HistorySteps(BatchSteps[HistoryPlan]):
    """The steps of the batches of backfills."""

    @cached_property
    def planner(self) -> BackfillPlanner:
        """The planner, on the same warehouse and bucket."""
        return BackfillPlanner(self.settings, self.warehouse, self.bucket, self.clock)

    def prepare(self, plan: HistoryPlan) -> list[str]:
        """Lay out the batch and write its pieces for the job."""
        changes = super().prepare(plan)
        if plan.pieces:
            self.bucket.write_text(f"{plan.batch.folder}/{PIECES_FILE}", pieces_json(self._pieces(plan)))
        return changes

    def landed_places(self, plan: HistoryPlan) -> list[str]:
        """Those of its pieces, in any revision."""
        source = plan.source_id or ""
        return [f"{piece.folder('', source)}/{piece.name}." for piece in self._pieces(plan)]

    def _pieces(self, plan: HistoryPlan) -> list[HistoryPiece]:
        return (self.planner.written(plan.backfill_id) or {}).get(plan.batch_id, [])

    def audit(self, batch: Batch) -> list[Result]:
        """The audit of every batch; the assets of files must exist, since their names are a person's word."""
        if not batch.holds_all:
            staged = self.staging(batch).name(load_contract(batch.feed.fact))
            ids = [row["asset_id"] for row in self.warehouse.rows(f"SELECT DISTINCT asset_id FROM `{staged}`")]
            refuse_unknown(self.warehouse, ids, "Say which asset each file holds with --asset-of FILE=ID.", FILES.id)
        return super().audit(batch)

    def record(self, plan: HistoryPlan, ending: Ending) -> dict[str, Any]:
        """Write what became of the pieces into their ledger, then the row of the batch."""
        ledger = PieceLedger(self.warehouse, self.clock)
        if report := self.reports(plan, ending).get(HISTORY.job.name):
            ledger.settle(plan, report["pieces"], ending)
        else:
            ledger.fail(plan, self._pieces(plan), ending.error)
        return super().record(plan, ending)
