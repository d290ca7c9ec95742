"""Statements that change the same rows at the same moment: one is done, the others are tried again."""

import time
from collections.abc import Callable

import tenacity

from coinbeam.errors import WriteConflictError

CONFLICT_ATTEMPTS = 10
"""Tries of a statement that others keep overtaking; each waits longer, up to ten seconds."""


def until_no_conflict(sleep: Callable[[float], None] = time.sleep) -> tenacity.Retrying:
    """Calls a function again while others change the same rows; the last conflict is raised."""
    return tenacity.Retrying(
        retry=tenacity.retry_if_exception_type(WriteConflictError),
        stop=tenacity.stop_after_attempt(CONFLICT_ATTEMPTS),
        wait=tenacity.wait_random_exponential(multiplier=0.2, max=10),
        sleep=sleep,
        reraise=True,
    )
