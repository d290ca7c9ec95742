"""Backfills: years of daily history in pieces, gathered in batches, planned once and worked off in as many runs as the
budget takes.
"""

from coinbeam.feeds.history.batches import BackfillEstimate, BackfillPlan, HistoryBatch, describe
from coinbeam.feeds.history.ledger import PieceLedger
from coinbeam.feeds.history.planner import BackfillPlanner
from coinbeam.feeds.history.request import BackfillRequest, request_from
from coinbeam.feeds.history.steps import BackfillSteps

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
