"""What a row of ``/coins/markets`` must keep, derived from the contract of the fact table; made at launch, shipped to
workers.
"""

import re
from dataclasses import dataclass
from functools import cached_property

import pyarrow as pa

from coinbeam.contracts import Column, Contract
from coinbeam.contracts.arrow import arrow_schema
from coinbeam.contracts.values import Doubles, number_bounds
from coinbeam.errors import ContractError

ID_COLUMN = "asset_id"
PRICE_COLUMN = "current_price"
OBSERVED_COLUMN = "observed_at"
VOLATILITY_COLUMN = "volatility_7d"
REALIZED_VOLATILITY_COLUMN = "realized_volatility_7d"

SPARKLINE_FIELD = "sparkline_in_7d"
"""Source field of the two statistics; the contract lists it as ignored, since no column holds it."""

NEVER_ABSENT_COLUMNS = frozenset({"symbol", "name"})
"""Nullable columns whose field every row of the API has (OpenAPI specification of ``/coins/markets``), beside the
required ones.
"""

_PRICE_CHANGE_FIELD = re.compile(r"price_change_percentage_\w+_in_currency")


@dataclass(frozen=True)
class MarketRules:
    """The rules of one contract version.

    Attributes:
        table_name: table that accepted rows are meant for.
        contract_version: version written into every reject.
        file_columns: columns of a batch file, in order.
        ignored_fields: fields of the body that are known and not stored.
        clock_skew_seconds: how far ``last_updated`` may lie after the moment of landing.
    """

    table_name: str
    contract_version: str
    file_columns: tuple[Column, ...]
    ignored_fields: frozenset[str]
    clock_skew_seconds: float

    @classmethod
    def from_contract(cls, contract: Contract, clock_skew_seconds: float) -> "MarketRules":
        """The rules of a contract.

        Raises:
            ContractError: a column is filled from the body in a type, or bound to a list of values, that the kernel
                does not know.
        """
        unknown = [c.name for c in contract.file_columns if c.source and (c.type in {"BOOL", "DATE"} or c.accepted)]
        if unknown:
            raise ContractError(
                f"The market kernel cannot fill {', '.join(unknown)} of {contract.name}.", "Teach it the type first."
            )
        return cls(
            contract.name, contract.version, contract.file_columns, contract.ignored_source_fields, clock_skew_seconds
        )

    @cached_property
    def schema(self) -> pa.Schema:
        """Arrow schema of a batch file."""
        return arrow_schema(self.file_columns)

    @cached_property
    def source_columns(self) -> tuple[Column, ...]:
        """Columns that a field of the body fills, in order."""
        return tuple(column for column in self.file_columns if column.source)

    @cached_property
    def column_of_field(self) -> dict[str, Column]:
        """Columns by the field that fills them, in order."""
        return {str(column.source): column for column in self.source_columns}

    @cached_property
    def source_fields(self) -> frozenset[str]:
        """Fields of the body that fill a column."""
        return frozenset(self.column_of_field)

    @cached_property
    def never_absent(self) -> frozenset[str]:
        """Fields that every row must have, whatever the other rows of its page have."""
        return frozenset(
            field for field, c in self.column_of_field.items() if c.required or c.name in NEVER_ABSENT_COLUMNS
        )

    @cached_property
    def by_name(self) -> dict[str, Column]:
        """Columns by name."""
        return {column.name: column for column in self.file_columns}

    @cached_property
    def number_columns(self) -> tuple[Column, ...]:
        """FLOAT64 columns, in order, statistics included: the rows of the number block of a page."""
        return tuple(column for column in self.file_columns if column.type == "FLOAT64")

    @cached_property
    def number_row(self) -> dict[str, int]:
        """Row of each FLOAT64 column in the number block."""
        return {column.name: row for row, column in enumerate(self.number_columns)}

    @cached_property
    def number_bounds(self) -> tuple[Doubles, Doubles]:
        """Smallest and largest accepted double of each FLOAT64 column, as two column vectors."""
        return number_bounds(self.number_columns)

    def is_known(self, field: str) -> bool:
        """Whether a field of the body is stored, deliberately ignored, or a price change over a window that is not
        stored.
        """
        return (
            field in self.source_fields
            or field in self.ignored_fields
            or _PRICE_CHANGE_FIELD.fullmatch(field) is not None
        )
