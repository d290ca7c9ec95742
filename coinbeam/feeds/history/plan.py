"""A backfill as a run sees it: its batches, what is left of it, and what of that the run may do."""

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time
from typing import Any, ClassVar

from coinbeam.batch.kinds import HISTORY, Batch, Feed
from coinbeam.feeds.plan import BatchPlan, Carried


@dataclass(frozen=True, kw_only=True)
class HistoryPlan(BatchPlan):
    """The plan of one batch of a backfill. Its universe is the backfill, and it stands for its last day.

    Attributes:
        pieces: number of its pieces; 0 when files are read.
    """

    feed: ClassVar[Feed] = HISTORY

    pieces: int

    @property
    def holds_all(self) -> bool:
        """Whether a rerun has all that the batch ever had: pieces do, files need not."""
        return self.pieces > 0

    @property
    def backfill_id(self) -> str:
        """The backfill."""
        return self.universe


@dataclass(frozen=True, kw_only=True)
class BackfillEstimate:
    """What is left of a backfill, and what of it a run may do today; files are read without any call.

    Attributes:
        pieces: pieces that are not settled.
        calls: calls for those that are not landed, without retries; ``calls_today`` are those of this run.
        days_of_quota: days that the calls take at the given calls per day.
        minutes: time of this run's calls under the rate limit.
        rows: days of the pieces: most rows that can come.
        landing_bytes: bytes of the answers before compression.
        dollars: list price of the Dataflow jobs and of the marts; 0 on one machine.
        marts_dollars: that of the queries of the batches and of the refreshes that they wake, at most.
        credits_left: calls left this month.
    """

    pieces: int = 0
    calls: int = 0
    calls_today: int = 0
    days_of_quota: int = 0
    minutes: float = 0.0
    rows: int
    landing_bytes: int = 0
    dollars: float
    marts_dollars: float = 0.0
    credits_left: int


@dataclass(frozen=True, kw_only=True)
class BackfillPlan(Carried):
    """What a run does.

    Attributes:
        batches: arguments of the batches of this run: ``batch`` and the job's ``options``.
        batches_settled: batches that are done; ``batches_waiting`` wait for a later day's calls.
        what: the assets, or the files, in words.
        started_at: ISO 8601 instant of the plan.
        banner: what a person must not overlook, or empty.
    """

    backfill_id: str
    batches: list[dict[str, dict[str, Any]]]
    batches_settled: int = 0
    batches_waiting: int = 0
    what: str
    first_date: str
    last_date: str
    quote_currency: str
    started_at: str = ""
    estimate: dict[str, Any] = field(default_factory=dict)
    banner: str = ""

    @property
    def batch(self) -> Batch:
        """All days of the plan as one batch: what the calendar must cover."""
        first, last = date.fromisoformat(self.first_date), date.fromisoformat(self.last_date)
        at = datetime.combine(last, time(), UTC)
        return Batch(HISTORY, self.backfill_id, self.backfill_id, at, first, last, self.started_at)


def describe(plan: BackfillPlan) -> str:
    """The plan in words, for a log and a terminal."""
    costs = plan.estimate
    lines = [
        plan.banner,
        f"backfill  {plan.backfill_id}: {plan.what} in {plan.quote_currency}, {plan.first_date} to {plan.last_date}",
        f"left      {costs['pieces']} pieces, at most {costs['rows']} rows, {costs['landing_bytes'] / 1e6:.1f} MB to "
        "land",
        f"calls     {costs['calls']} ({costs['credits_left']} left this month): {costs['days_of_quota']} days of quota",
        f"this run  {len(plan.batches)} batches, {costs['calls_today']} calls, {costs['minutes']:.1f} minutes under "
        "the rate limit",
        f"batches   {plan.batches_settled} done before, {plan.batches_waiting} wait for another day",
        f"cost      about ${costs['dollars']:.2f}, of which the marts at most ${costs['marts_dollars']:.2f}",
    ]
    return "\n".join(line for line in lines if line)
