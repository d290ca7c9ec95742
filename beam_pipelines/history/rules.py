"""What a point of history must keep, derived from the contract of the daily fact; made at launch, shipped to
workers.
"""

from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from coinbeam.contracts import Column, Contract
from coinbeam.contracts.arrow import arrow_schema
from coinbeam.contracts.instants import EARLIEST, to_micros
from coinbeam.contracts.values import Doubles, number_bounds
from coinbeam.errors import ContractError

STAMP_COLUMN = "observed_at"
SERIES_COLUMNS = ("price", "market_cap", "total_volume")
"""The columns that a chart fills, in the order of the contract; the first is the price."""

DAY_MS = 86_400_000
EARLIEST_MS = to_micros(EARLIEST) // 1_000

Integers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class HistoryRules:
    """The rules of one contract version.

    Attributes:
        table_name: table that accepted points are meant for.
        contract_version: version written into every reject.
        file_columns: columns of a batch file, in order.
        clock_skew_seconds: how far a stamp may lie after the moment of landing.
        settle_minutes: how long after its stamp a point is settled; until then it is "now".
    """

    table_name: str
    contract_version: str
    file_columns: tuple[Column, ...]
    clock_skew_seconds: float
    settle_minutes: float

    @classmethod
    def from_contract(cls, contract: Contract, clock_skew_seconds: float, settle_minutes: float) -> "HistoryRules":
        """The rules of a contract.

        Raises:
            ContractError: the contract has other series than the kernel fills, or another type for one.
        """
        filled = tuple(column.name for column in contract.file_columns if column.source)
        if filled != SERIES_COLUMNS or any(contract.by_name[name].type != "FLOAT64" for name in filled):
            raise ContractError(
                f"The history kernel cannot fill {', '.join(filled)} of {contract.name}.", "Teach it the series first."
            )
        return cls(contract.name, contract.version, contract.file_columns, clock_skew_seconds, settle_minutes)

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of a batch file."""
        return arrow_schema(self.file_columns)

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by name."""
        return {column.name: column for column in self.file_columns}

    @cached_property
    def series(self) -> tuple[Column, ...]:
        """The columns that a chart fills, the price first."""
        return tuple(self.by_name[name] for name in SERIES_COLUMNS)

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
