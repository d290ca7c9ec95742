"""Backfills: years of daily history in pieces, gathered in batches, planned once and worked off in as many runs as the budget takes."""

from coinbeam.backfill.batches import BackfillEstimate, BackfillPlan, HistoryBatch, describe
from coinbeam.backfill.ledger import PieceLedger
from coinbeam.backfill.planner import BackfillPlanner
from coinbeam.backfill.request import BackfillRequest, request_from
from coinbeam.backfill.steps import BackfillSteps

__all__ = [
    "BackfillEstimate",
    "BackfillPlan",
    "BackfillPlanner",
    "BackfillRequest",
    "BackfillSteps",
    "HistoryBatch",
    "PieceLedger",
    "describe",
    "request_from",
]
