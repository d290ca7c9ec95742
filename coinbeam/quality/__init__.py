"""The quality gate: rules of the contracts, run as SQL on staging before a publish and on published tables after it."""

from coinbeam.quality.audit import Audit, Auditor, Result, Status, refuse_if_blocked
from coinbeam.quality.published import check_published, guards, judge_published, newest_dates

__all__ = [
    "Audit",
    "Auditor",
    "Result",
    "Status",
    "check_published",
    "guards",
    "judge_published",
    "newest_dates",
    "refuse_if_blocked",
]
