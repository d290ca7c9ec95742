"""A batch of the Fear & Greed index. It comes whole every day, and one call brings it."""

from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, date, datetime
from typing import ClassVar

from coinbeam.batch.digest import digest
from coinbeam.batch.identity import interval_start
from coinbeam.batch.kinds import SENTIMENT, Feed
from coinbeam.clock import format_instant
from coinbeam.errors import SettingsError
from coinbeam.feeds.market import choose_market
from coinbeam.feeds.plan import BatchPlan, Mode, job_options
from coinbeam.feeds.steps import BatchSteps
from coinbeam.settings import Period
from coinbeam.sources.alternative_me import FIRST_DAY
from coinbeam.sources.registry import ALTERNATIVE_ME


@dataclass(frozen=True, kw_only=True)
class SentimentPlan(BatchPlan):
    """The plan of a batch: all days of the index up to the day of its run."""

    feed: ClassVar[Feed] = SENTIMENT

    options: dict[str, str]

    @property
    def holds_all(self) -> bool:
        """Whether it has the whole index, as the source does; a file need not."""
        return self.mode != Mode.REPLAY


_NAME = "fear-greed-"


def batch_of_day(instant: datetime) -> str:
    """The batch of the index of a UTC day, as its source gave it."""
    return f"{_NAME}{instant:%Y%m%d}"


def day_of_batch(batch_id: str) -> date | None:
    """The day that a batch of the index stands for, by its id; None when it is none, or was read from files."""
    if not batch_id.startswith(_NAME):
        return None
    with suppress(ValueError):
        return datetime.strptime(batch_id.removeprefix(_NAME), "%Y%m%d").replace(tzinfo=UTC).date()
    return None


class SentimentSteps(BatchSteps[SentimentPlan]):
    """The steps of a batch of the index."""

    def plan(
        self, scheduled: datetime, run_id: str, runner: str, files: str = "", *, refetch: bool = False
    ) -> SentimentPlan:
        """Decide which source the run asks.

        Args:
            scheduled: logical instant of the run; its UTC day names the batch.
            files: a glob of bodies to read instead of asking; empty for none.
            refetch: put aside what was landed on that day and ask again.

        Raises:
            SettingsError: files cannot be fetched again; or as `choose_market`.
        """
        if files and refetch:
            raise SettingsError("Files are read, so nothing can be fetched again.", "Leave --refetch out.")
        instant = interval_start(scheduled, Period.DAILY)
        name = batch_of_day(instant) + (f"-files-{digest(files)}" if files else "")
        chosen = None if files else choose_market(self.settings, self.warehouse)
        return SentimentPlan(
            batch_id=name,
            run_id=run_id,
            snapshot_at=format_instant(instant),
            first_date=str(FIRST_DAY),
            mode=(Mode.FETCH if chosen else Mode.REPLAY).value,
            universe="fear-greed",
            quote_currency="none",
            source_id=ALTERNATIVE_ME.answering(chosen.kind) if chosen else None,
            runner=runner,
            started_at=format_instant(self.clock()),
            options=job_options(self.settings, name, instant, chosen.kind if chosen else files),
            banner=(chosen and chosen.banner) or "",
            refetch=refetch,
        )
