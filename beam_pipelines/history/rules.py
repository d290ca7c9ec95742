"""What a point of history must keep, by the contract of the daily fact; made at launch, shipped to workers."""

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo
from functools import cached_property

import numpy as np
import numpy.typing as npt

from coinbeam.contracts import Column, Contract
from coinbeam.contracts.instants import EARLIEST, to_micros
from coinbeam.contracts.values import Doubles, number_bounds
from coinbeam.errors import ContractError

STAMP_COLUMN = "observed_at"
SERIES_COLUMNS = ("price", "market_cap", "total_volume")
"""The columns that a chart fills, in the order of the contract; the first is the price."""

COMPUTED_COLUMNS = ("asset_id", "date", "observed_at", "ingested_at", "source_id")
"""Columns that neither a series nor the batch fills; the source of a row is that of its piece."""

DAY_MS = 86_400_000
NEAR_MIDNIGHT_MS = 3_600_000
"""How far after 00:00 the first point of a day may lie in a file of hours: one that begins later holds a part of it."""

FINER_THAN_DAILY_MS = DAY_MS // 2
"""Two points that lie closer are no daily ones."""

EARLIEST_MS = to_micros(EARLIEST) // 1_000

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HistoryRules:
    """The rules of one contract version.

    Attributes:
        contract: of the daily fact.
        clock_skew_seconds: how far a stamp may lie after the moment of landing.
        settle_minutes: how long after its stamp a point is settled; until then it is "now".
        read_at: when the job reads; what a file that somebody brought may hold is judged by it, since the age of a
            file says nothing of its content. None is the moment of landing.
        zone: of the stamps of files that name none; None refuses them.

    Raises:
        ContractError: the contract has other series than the kernel fills, or another type for one.
    """

    contract: Contract
    clock_skew_seconds: float
    settle_minutes: float
    read_at: datetime | None = None
    zone: tzinfo | None = None

    def __post_init__(self) -> None:
        filled = tuple(column.name for column in self.contract.source_columns)
        if filled != SERIES_COLUMNS or any(column.type != "FLOAT64" for column in self.contract.source_columns):
            raise ContractError(
                f"The history kernel cannot fill {', '.join(filled)} of {self.contract.name}.",
                "Teach it the series first.",
            )

    @cached_property
    def series(self) -> tuple[Column, ...]:
        """The columns that a chart fills, the price first."""
        return self.contract.source_columns

    @cached_property
    def fields(self) -> tuple[str, ...]:
        """Names of the series in the body of the API."""
        return tuple(str(column.source) for column in self.series)

    @cached_property
    def bounds(self) -> tuple[Doubles, Doubles]:
        """Smallest and largest accepted double of each series, as two column vectors."""
        return number_bounds(self.series)

    def latest_stamp(self, landed_at: datetime) -> int:
        """The latest acceptable stamp of a body, in milliseconds since the epoch."""
        return to_micros(landed_at + timedelta(seconds=self.clock_skew_seconds)) // 1_000

    def last_settled(self, landed_at: datetime) -> int:
        """The latest stamp of a settled point of a body, in milliseconds since the epoch."""
        return to_micros(landed_at - timedelta(minutes=self.settle_minutes)) // 1_000
