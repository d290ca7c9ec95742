"""The quality gate: rules of the contracts, run as SQL on staging before a publish and on published tables after it."""

from coinbeam.quality.audit import SAMPLE_SIZE, Audit, Auditor, Result, Status, refuse_if_blocked
from coinbeam.quality.published import check_published, newest_dates
from coinbeam.quality.rules import (
    batch_complete,
    foreign_key,
    foreign_keys,
    freshness,
    listed_share,
    reject_share,
    row_count,
    rules_of,
)

__all__ = [
    "SAMPLE_SIZE",
    "Audit",
    "Auditor",
    "Result",
    "Status",
    "batch_complete",
    "check_published",
    "foreign_key",
    "foreign_keys",
    "freshness",
    "listed_share",
    "newest_dates",
    "refuse_if_blocked",
    "reject_share",
    "row_count",
    "rules_of",
]
