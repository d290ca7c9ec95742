"""The ledger of calls on the emulator: the month is a bound that nothing exceeds, however many reserve at once."""

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from google.api_core.exceptions import BadRequest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from coinbeam.clock import Clock
from coinbeam.contracts import load_contract
from coinbeam.errors import TerminalError, TransientError, WriteConflictError
from coinbeam.ops.call_ledger import LEDGER, CallLedger
from coinbeam.settings import Settings
from coinbeam.sources.rate import BudgetExceededError, CallCap, CallsSpentError
from coinbeam.sources.registry import COINGECKO, COINGECKO_SIMULATOR
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.conflicts import CONFLICT_ATTEMPTS
from coinbeam.warehouse.schema import ensure_schema
from tests.coinbeam.conftest import Stage
from tests.temporary import LocalCloud

pytestmark = pytest.mark.cloud
NOW = datetime(2026, 1, 31, 23, 30, tzinfo=UTC)


def limited(given: Settings, calls_per_month: int) -> Settings:
    """Settings of a plan of so many calls."""
    plan = given.coingecko.limits.model_copy(update={"calls_per_month": calls_per_month})
    return given.model_copy(
        update={"coingecko": given.coingecko.model_copy(update={"plans": {"tiny": plan}, "plan": "tiny"})}
    )


def ledger(warehouse: Warehouse, limit: int = 100, clock: Clock = lambda: NOW) -> CallLedger:
    """A ledger of a small plan that never sleeps."""
    return CallLedger(warehouse, limited(warehouse.settings, limit), clock, sleep=lambda _: None)


def entries(stage: Stage) -> list[dict[str, Any]]:
    """The rows of the ledger without its locks, in the order of their reservation."""
    rows = (row for row in stage.contents(LEDGER) if row["job"] != "lock")
    return sorted(rows, key=lambda row: row["reserved_at"])


def test_a_reservation_counts_in_full_until_it_is_settled(stage: Stage) -> None:
    book = ledger(stage.warehouse)
    held = book.reserve("fetch", "batch", 30, COINGECKO.id, headroom=10, run_label="manual__1")
    assert (held.calls, held.month, held.source_id) == (40, date(2026, 1, 1), COINGECKO.id)
    assert (book.usage(COINGECKO.id).used, book.usage(COINGECKO.id).today) == (40, 40)
    book.settle(held, 31)
    used = book.usage(COINGECKO.id)
    assert (used.spent, used.reserved, used.today, used.left) == (31, 0, 31, 69)
    (row,) = entries(stage)
    assert (row["calls_reserved"], row["calls_spent"], row["calls_per_month"], row["run_label"]) == (
        40,
        31,
        100,
        "manual__1",
    )
    assert row["settled_at"] == NOW


def test_an_attempt_that_was_killed_counts_in_full_for_ever(stage: Stage) -> None:
    ledger(stage.warehouse).reserve("fetch", "batch", 60, COINGECKO.id)
    later = ledger(stage.warehouse, clock=lambda: NOW + timedelta(minutes=10))
    with pytest.raises(
        BudgetExceededError,
        match=r"fetch needs 50 calls for batch, but 40 of 100 are left this month\. .*coingecko\.plan",
    ):
        later.reserve("fetch", "batch", 50, COINGECKO.id)
    assert [row["calls_reserved"] for row in entries(stage)] == [60], "the refused one left nothing"


def test_an_attempt_that_found_everything_landed_leaves_no_row(stage: Stage) -> None:
    book = ledger(stage.warehouse)
    other, idle = (book.reserve("fetch", batch, 5, COINGECKO.id) for batch in ("other", "idle"))
    book.settle(idle, 0)
    assert [row["batch_id"] for row in entries(stage)] == ["other"]
    assert book.usage(COINGECKO.id).used == other.calls


def test_the_first_of_the_month_pays_anew(stage: Stage) -> None:
    ledger(stage.warehouse).reserve("fetch", "batch", 100, COINGECKO.id)
    february = ledger(stage.warehouse, clock=lambda: NOW + timedelta(minutes=30))
    assert february.usage(COINGECKO.id).used == 0
    assert february.reserve("fetch", "batch", 100, COINGECKO.id).month == date(2026, 2, 1)


def test_the_month_is_that_of_utc(stage: Stage) -> None:
    from zoneinfo import ZoneInfo

    tokyo = ledger(stage.warehouse, clock=lambda: NOW.astimezone(ZoneInfo("Asia/Tokyo")))
    assert tokyo.reserve("fetch", "batch", 1, COINGECKO.id).month == date(2026, 1, 1)
    assert tokyo.usage(COINGECKO.id).today == 1


def test_yesterdays_calls_are_of_the_month_and_not_of_today(stage: Stage) -> None:
    ledger(stage.warehouse, clock=lambda: NOW - timedelta(days=1)).reserve("fetch", "batch", 7, COINGECKO.id)
    today = ledger(stage.warehouse)
    assert (today.usage(COINGECKO.id).used, today.usage(COINGECKO.id).today) == (7, 0)


def test_sources_have_plans_of_their_own(stage: Stage) -> None:
    book = ledger(stage.warehouse, limit=10)
    book.reserve("fetch", "batch", 10, COINGECKO.id)
    assert book.reserve("fetch", "batch", 1_000, COINGECKO_SIMULATOR.id).calls == 1_000
    assert (
        book.usage(COINGECKO_SIMULATOR.id).calls_per_month == stage.warehouse.settings.local.simulator.calls_per_month
    )


@pytest.mark.parametrize(
    ("calls", "headroom", "multiple", "granted"),
    [
        pytest.param(40, 20, 1, 60, id="all of the headroom"),
        pytest.param(95, 20, 1, 100, id="as much headroom as is left"),
        pytest.param(100, 20, 1, 100, id="none at all"),
        pytest.param(10, 5, 4, 16, id="a multiple of the shards, rounded up"),
        pytest.param(93, 20, 7, 98, id="never a part of the last multiple"),
        pytest.param(0, 5, 1, 5, id="nothing needed, a little for surprises"),
    ],
)
def test_headroom_is_what_the_month_has_left(
    stage: Stage, calls: int, headroom: int, multiple: int, granted: int
) -> None:
    assert (
        ledger(stage.warehouse)
        .reserve("fetch", "batch", calls, COINGECKO.id, headroom=headroom, multiple=multiple)
        .calls
        == granted
    )


def test_calls_that_fit_only_without_even_shards_are_refused(stage: Stage) -> None:
    with pytest.raises(BudgetExceededError, match="needs 102 calls"):
        ledger(stage.warehouse).reserve("fetch", "batch", 99, COINGECKO.id, multiple=6)


@pytest.mark.parametrize("threads", [4, 20])
def test_parallel_reservations_never_exceed_the_month(stage: Stage, threads: int) -> None:
    """Every thread reserves at the same moment, with a client of its own; what is granted is what fits, and not one
    call more.
    """
    limit, calls, start = 100, 7, threading.Barrier(threads)

    def reserve(number: int) -> list[int]:
        book = ledger(Warehouse(stage.warehouse.settings), limit)
        start.wait(30)
        return [
            attempt for turn in range(20 // threads) if (attempt := _try_to_reserve(book, f"b{number}-{turn}", calls))
        ]

    with ThreadPoolExecutor(threads) as pool:
        granted = [count for counts in pool.map(reserve, range(threads)) for count in counts]
    assert granted == [calls] * (limit // calls)
    assert sum(row["calls_reserved"] for row in entries(stage)) == sum(granted) == 98
    assert len([row for row in stage.contents(LEDGER) if row["job"] == "lock"]) <= threads


def _try_to_reserve(book: CallLedger, batch: str, calls: int) -> int:
    try:
        return book.reserve("fetch", batch, calls, COINGECKO.id).calls
    except BudgetExceededError:
        return 0


def test_every_reservation_updates_the_row_that_makes_them_take_turns(stage: Stage) -> None:
    """In BigQuery only an update conflicts with another statement, so without this the bound would hold on the emulator
    alone.
    """
    ledger(stage.warehouse, clock=lambda: NOW - timedelta(hours=1)).reserve("fetch", "a", 1, COINGECKO.id)
    ledger(stage.warehouse).reserve("fetch", "b", 1, COINGECKO.id)
    (lock,) = (row for row in stage.contents(LEDGER) if row["job"] == "lock")
    assert (lock["reserved_at"], lock["calls_reserved"], lock["calls_spent"]) == (NOW, 0, 0)
    with pytest.raises(BudgetExceededError):
        ledger(stage.warehouse, clock=lambda: NOW + timedelta(minutes=1)).reserve("fetch", "c", 100, COINGECKO.id)
    (lock,) = (row for row in stage.contents(LEDGER) if row["job"] == "lock")
    assert lock["reserved_at"] == NOW, "a refused one changes nothing"


class Overtaken(Warehouse):
    """A warehouse in which others are first for some statements, as BigQuery reports it."""

    def __init__(self, inner: Warehouse, times: int) -> None:
        super().__init__(inner.settings)
        self.times = times
        self.asked = 0

    def query(self, sql: str, **parameters: Any) -> Any:
        if sql.lstrip("-").lstrip().startswith("One statement") or "MERGE" in sql:
            self.asked += 1
            if self.asked <= self.times:
                with self.answering():
                    raise BadRequest(
                        "Could not serialize access to table p:ops.api_call_budget due to concurrent update"
                    )  # type: ignore[no-untyped-call]
        return super().query(sql, **parameters)


def test_a_reservation_that_was_overtaken_is_tried_again(stage: Stage) -> None:
    warehouse = Overtaken(stage.warehouse, CONFLICT_ATTEMPTS - 1)
    assert ledger(warehouse).reserve("fetch", "batch", 5, COINGECKO.id).calls == 5
    assert warehouse.asked == CONFLICT_ATTEMPTS
    assert len(entries(stage)) == 1


def test_a_reservation_that_is_overtaken_again_and_again_gives_up_and_may_be_retried(stage: Stage) -> None:
    warehouse = Overtaken(stage.warehouse, CONFLICT_ATTEMPTS)
    with pytest.raises(WriteConflictError) as caught:
        ledger(warehouse).reserve("fetch", "batch", 5, COINGECKO.id)
    assert isinstance(caught.value, TransientError)
    assert warehouse.asked == CONFLICT_ATTEMPTS
    assert entries(stage) == []


def test_a_statement_whose_answer_was_lost_is_safe_to_repeat(stage: Stage) -> None:
    """The first try did its work, and its answer never came: the second must neither add a row nor count the first
    against itself.
    """

    class Lost(Warehouse):
        lost = False

        def query(self, sql: str, **parameters: Any) -> Any:
            done = super().query(sql, **parameters)
            if "MERGE" in sql and not self.lost:
                self.lost = True
                raise WriteConflictError("the answer was lost")
            return done

    assert ledger(Lost(stage.warehouse.settings)).reserve("fetch", "batch", 100, COINGECKO.id).calls == 100
    assert [row["calls_reserved"] for row in entries(stage)] == [100]


def test_without_a_ledger_nothing_is_used_and_nothing_can_be_reserved(fresh_cloud: LocalCloud) -> None:
    book = CallLedger(Warehouse(fresh_cloud.settings), fresh_cloud.settings, lambda: NOW)
    assert book.usage(COINGECKO.id).used == 0
    with pytest.raises(TerminalError, match=r"no table ops_\w+\.api_call_budget.*--call_ledger=off"):
        book.reserve("fetch", "batch", 1, COINGECKO.id)


@pytest.fixture(scope="module")
def module_stage(local_cloud: LocalCloud) -> Iterator[Warehouse]:
    """One ledger for all examples of a property; each has a month of its own."""
    from tests.temporary import fresh_resources

    warehouse = Warehouse(fresh_resources(local_cloud).settings)
    ensure_schema(warehouse)
    return warehouse


_months = iter(range(10**6))


@settings(max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 60), st.integers(0, 40), st.integers(1, 5), st.sampled_from(["settle", "kill"]))
    )
)
def test_whatever_is_asked_the_sum_stays_within_the_plan(
    module_stage: Warehouse, steps: list[tuple[int, int, int, str]]
) -> None:
    number = next(_months)
    now = datetime(2000 + number // 12, number % 12 + 1, 1, tzinfo=UTC)
    book, used = ledger(module_stage, clock=lambda: now), 0
    for calls, headroom, multiple, end in steps:
        needed = -(-calls // multiple) * multiple
        try:
            held = book.reserve("fetch", "batch", calls, COINGECKO.id, headroom=headroom, multiple=multiple)
        except BudgetExceededError:
            assert needed > 100 - used
            continue
        assert needed <= held.calls <= 100 - used
        assert held.calls % multiple == 0
        spent = held.calls // 2
        if end == "settle":
            book.settle(held, spent)
        used += spent if end == "settle" else held.calls
        assert book.usage(COINGECKO.id).used == used <= 100


def test_the_statements_touch_one_partition_only() -> None:
    folder = load_contract(LEDGER).folder
    for path in folder.glob("*.sql"):
        assert "budget_month = @month" in path.read_text(), f"{path.name} would scan every month"


def test_a_cap_counts_every_call_and_refuses_the_one_beyond_it() -> None:
    cap = CallCap(16)

    def take(_: int) -> bool:
        try:
            cap.take()
        except CallsSpentError:
            return False
        return True

    with ThreadPoolExecutor(8) as pool:
        taken = sum(pool.map(take, range(64)))
    assert taken == cap.made == 16
