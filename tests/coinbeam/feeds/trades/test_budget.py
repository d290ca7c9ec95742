"""What polls may cost: calls of the ledger, a few at a time, and never more than their share of a month."""

from datetime import UTC, datetime, timedelta

import pytest

from coinbeam.feeds.trades.budget import CALLS_AT_ONCE, JOB, PollBudget
from coinbeam.ops.call_ledger import CallLedger
from coinbeam.sources.rate import BudgetExceededError
from coinbeam.sources.registry import COINGECKO
from tests.coinbeam.conftest import Stage

pytestmark = pytest.mark.cloud


def test_polls_reserve_a_few_calls_at_a_time_and_keep_to_their_share_of_the_month(stage: Stage) -> None:
    now = [datetime(2026, 1, 31, 23, 30, tzinfo=UTC)]
    given = stage.warehouse.settings
    plan = given.coingecko.limits.model_copy(update={"calls_per_month": 4 * CALLS_AT_ONCE})
    tiny = given.coingecko.model_copy(update={"plans": {"tiny": plan}, "plan": "tiny"})
    settings = given.model_copy(update={"coingecko": tiny})
    ledger = CallLedger(stage.warehouse, settings, lambda: now[0], sleep=lambda _: None)
    budget = PollBudget(ledger, COINGECKO.id, 0.5, lambda: now[0])
    ledger.reserve("fetch_crypto_data", "snapshot", 10, COINGECKO.id)
    for _ in range(CALLS_AT_ONCE + 1):
        budget.take()
    used = ledger.usage(COINGECKO.id, JOB)
    assert (used.spent, used.reserved) == (CALLS_AT_ONCE, CALLS_AT_ONCE)
    budget.settle()
    assert ledger.usage(COINGECKO.id, JOB).used == CALLS_AT_ONCE + 1, "what was not used is given back"
    with pytest.raises(BudgetExceededError, match=r"31 of 60 calls, their share"):
        budget.take()
    now[0] += timedelta(hours=1)
    budget.take()
    assert ledger.usage(COINGECKO.id, JOB).reserved == CALLS_AT_ONCE, "the next month pays"
    now[0] += timedelta(days=28)
    budget.take()
    assert ledger.usage(COINGECKO.id, JOB).used == CALLS_AT_ONCE, "and the one after it, from its first call on"
    assert budget.made == 1
    now[0] -= timedelta(days=28)
    assert ledger.usage(COINGECKO.id, JOB).spent == 1, "what February did not use is given back"
