"""The plan of a batch: what the first task of a run decides and every later one reads."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from enum import StrEnum
from typing import Any, ClassVar, Self

from coinbeam.batch.kinds import Batch, Feed, batch_folder
from coinbeam.clock import format_instant, parse_instant
from coinbeam.settings import Settings
from coinbeam.sources.registry import FILES

DATAFLOW_MINUTES = 6
"""A Dataflow job bills at least about this long: worker start, work, shut-down."""


class Mode(StrEnum):
    """How a batch gets its pages."""

    FETCH = "fetch"
    REPLAY = "replay"
    GAP = "gap"


@dataclass(frozen=True)
class Carried:
    """What Airflow passes between tasks: small, JSON-ready, without secrets."""

    def to_dict(self) -> dict[str, Any]:
        """The values as Airflow passes them."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """What came back."""
        return cls(**values)


@dataclass(frozen=True, kw_only=True)
class BatchPlan(Carried):
    """What the tasks of a run know of their batch.

    Attributes:
        run_id: the run, see `run_identity`.
        snapshot_at: ISO 8601 instant that the batch stands for; its date is the last one of the rows.
        first_date: ISO 8601 first date of the rows.
        mode: fetch, replay or gap.
        reason: why this mode, in a sentence.
        universe: label of the selection.
        source_id: key of ``source_dim``; None for a gap, and for files and landed pages, which know it themselves.
        started_at: ISO 8601 instant of the plan.
        banner: what a person must not overlook, or empty.
        refetch: what earlier runs landed for the batch is put aside, and the source is asked again.
    """

    feed: ClassVar[Feed]

    batch_id: str
    run_id: str
    snapshot_at: str
    first_date: str
    mode: str
    universe: str
    quote_currency: str
    source_id: str | None
    runner: str
    started_at: str
    reason: str = ""
    banner: str = ""
    refetch: bool = False

    @property
    def holds_all(self) -> bool:
        """Whether a rerun has all that the batch ever had; files that a person brings may be others the next time."""
        return self.source_id != FILES.id

    @property
    def batch(self) -> Batch:
        """The batch on its way through staging."""
        at = parse_instant(self.snapshot_at)
        first = parse_instant(self.first_date).date()
        return Batch(self.feed, self.batch_id, self.run_id, at, first, at.date(), self.started_at, self.holds_all)


def run_identity(run_type: str, logical_date: datetime | None, run_id: str) -> str:
    """How the records name a run: its type and logical instant. Runs of one instant differ in their start.

    Args:
        run_type: scheduled, manual, ...
        logical_date: the instant that Airflow files the run under; None for a run without one.
        run_id: Airflow's own identifier, used when there is no instant.
    """
    kind = getattr(run_type, "value", run_type)  # Airflow's enum
    return f"{kind}__{format_instant(logical_date)}" if logical_date else run_id


def job_options(settings: Settings, batch_id: str, snapshot_at: datetime, source: str) -> dict[str, str]:
    """The options that every job of a batch takes: where it reads, what it stands for, and where it writes."""
    return {
        "source": source,
        "snapshot_at": format_instant(snapshot_at),
        "batch_id": batch_id,
        "output": f"{settings.bucket_uri}/{batch_folder(batch_id)}",
        "landing": settings.bucket_uri,
    }


def dataflow_dollars(settings: Settings, minutes: float) -> float:
    """List price of so many minutes of one Dataflow worker of two cores and 7.5 GiB; 0 on one machine."""
    prices = settings.prices
    return 0.0 if settings.is_local else minutes / 60 * (2 * prices.dataflow_vcpu_hour + 7.5 * prices.dataflow_gib_hour)
