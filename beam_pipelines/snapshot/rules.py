"""What a row of ``/coins/markets`` must keep, by the contract of the fact; made at launch, shipped to workers."""

import re
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property

from coinbeam.contracts import Column, Contract
from coinbeam.contracts.values import Doubles, number_bounds
from coinbeam.errors import ContractError

PRICE_COLUMN = "current_price"
OBSERVED_COLUMN = "observed_at"
INGESTED_COLUMN = "ingested_at"
VOLATILITY_COLUMN = "volatility_7d"
REALIZED_VOLATILITY_COLUMN = "realized_volatility_7d"

COMPUTED_COLUMNS = frozenset({VOLATILITY_COLUMN, REALIZED_VOLATILITY_COLUMN, INGESTED_COLUMN})
"""Columns that neither a field of the body nor the batch fills."""

SPARKLINE_FIELD = "sparkline_in_7d"
"""Source field of the two statistics; the contract lists it as ignored, since no column holds it."""

NEVER_ABSENT_COLUMNS = frozenset({"symbol", "name"})
"""Nullable columns whose field, by the OpenAPI specification of ``/coins/markets``, every row has all the same."""

DECORATION_COLUMNS = frozenset({"image"})
"""Columns that show a row and say nothing of its price: a malformed or lacking value is null and costs no row."""

_PRICE_CHANGE_FIELD = re.compile(r"price_change_percentage_\w+_in_currency")


@dataclass(frozen=True)
class MarketRules:
    """The rules of one contract version.

    Attributes:
        contract: of the fact table.
        clock_skew_seconds: how far ``last_updated`` may lie after the moment of landing.
        read_at: when the job reads; the rows of a file that somebody brought are judged by it, since the age of a file
            says nothing of its content. None is the moment of landing.
        observed_tolerance_hours: how far from the instant of its batch such a file may have been observed.

    Raises:
        ContractError: a column is filled from the body in a type, or bound to a list of values, that the kernel does
            not know.
    """

    contract: Contract
    clock_skew_seconds: float
    read_at: datetime | None = None
    observed_tolerance_hours: float = 24.0

    def __post_init__(self) -> None:
        columns = self.contract.source_columns
        unknown = [c.name for c in columns if c.type in {"BOOL", "DATE"} or c.accepted]
        if unknown:
            raise ContractError(
                f"The market kernel cannot fill {', '.join(unknown)} of {self.contract.name}.",
                "Teach it the type first.",
            )

    @cached_property
    def column_of_field(self) -> dict[str, Column]:
        """Columns by the field that fills them, in order; without those of ``members``."""
        return {str(column.source): column for column in self.contract.source_columns if "." not in str(column.source)}

    @cached_property
    def members(self) -> dict[str, dict[str, Column]]:
        """Columns that members of an object fill, such as ``roi.times``, by the field of the object and the member."""
        found: dict[str, dict[str, Column]] = {}
        for column in self.contract.source_columns:
            field, _, member = str(column.source).partition(".")
            if member:
                found.setdefault(field, {})[member] = column
        return found

    @cached_property
    def decorations(self) -> frozenset[str]:
        """Fields of the decorating columns; objects are judged as leniently, member by member."""
        return frozenset(field for field, column in self.column_of_field.items() if column.name in DECORATION_COLUMNS)

    @cached_property
    def never_absent(self) -> frozenset[str]:
        """Fields that every row must have, also where no other row of its page has them."""
        return frozenset(
            field for field, c in self.column_of_field.items() if c.required or c.name in NEVER_ABSENT_COLUMNS
        )

    @cached_property
    def number_columns(self) -> tuple[Column, ...]:
        """FLOAT64 columns, in order, statistics included: the rows of the number block of a page."""
        return tuple(column for column in self.contract.file_columns if column.type == "FLOAT64")

    @cached_property
    def number_row(self) -> dict[str, int]:
        """Row of each FLOAT64 column in the number block."""
        return {column.name: row for row, column in enumerate(self.number_columns)}

    @cached_property
    def number_bounds(self) -> tuple[Doubles, Doubles]:
        """Smallest and largest accepted double of each FLOAT64 column, as two column vectors."""
        return number_bounds(self.number_columns)

    def is_known(self, field: str) -> bool:
        """Whether a field is stored, deliberately ignored, or a price change over a window that is not stored."""
        return (
            field in self.column_of_field
            or field in self.members
            or field in self.contract.ignored_source_fields
            or _PRICE_CHANGE_FIELD.fullmatch(field) is not None
        )
