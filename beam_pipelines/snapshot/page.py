"""One landed page as validated columns and rejects: a bad row costs only itself, an unreadable page only its rows."""

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from beam_pipelines.batch_files.json_bodies import BodyFault, plain
from beam_pipelines.batch_files.rejects import Refused, Reject, RejectMaker
from beam_pipelines.snapshot.bodies import Page, read_body
from beam_pipelines.snapshot.columns import ColumnBuilder, MarketColumns, fill_members, fill_statistics
from beam_pipelines.snapshot.layout import Record, lay_out
from beam_pipelines.snapshot.rules import OBSERVED_COLUMN, PRICE_COLUMN, MarketRules
from beam_pipelines.snapshot.sparklines import holds_flat_arrays, prices_of, read_prices
from beam_pipelines.snapshot.specification import Accepted, Unpriced, validate_row
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts.instants import format_micros, to_micros
from coinbeam.contracts.values import ID_COLUMN, fault_of, is_unpriced
from coinbeam.landing.layout import LandedBody
from coinbeam.sources.registry import FILES


@dataclass
class PageColumns:
    """What one landed body holds.

    Attributes:
        columns: accepted rows in the order of the page; None when there are none.
        rejects: refused rows, or the refused page.
        unknown_fields: fields that the contract does not know.
        answered: ids of all rows of the page, whatever became of them.
        counts: ``rows_read``, the elements of the page; ``rows_unpriced``, those without a price; and
            ``sparkline_unusable``, ``roi_unusable`` and ``image_unusable``, accepted rows where it is malformed and its
            columns are null.
    """

    columns: MarketColumns | None = None
    rejects: list[Reject] = field(default_factory=list)
    unknown_fields: frozenset[str] = frozenset()
    answered: frozenset[str] = frozenset()
    counts: Counter[str] = field(default_factory=Counter)


def read_page(landed: LandedBody, batch: BatchManifest, rules: MarketRules) -> PageColumns:
    """Read one landed body; never raises for what is in it."""
    page, rejects = read_body(landed.body, batch.quote_currency), RejectMaker(batch, rules.contract)
    if isinstance(page, BodyFault):
        return PageColumns(rejects=[rejects.body(landed, page.reason, batch.per_page)])
    return _PageReader(page, landed, batch, rejects, rules).read()


def _observed(columns: MarketColumns) -> npt.NDArray[np.int64]:
    """Microseconds since the epoch at which each row was observed."""
    return np.asarray(columns.arrays[OBSERVED_COLUMN].cast(pa.int64()))


class _PageReader:
    """Sorts the rows of one page into accepted, unpriced and refused ones."""

    def __init__(
        self, page: Page, landed: LandedBody, batch: BatchManifest, rejects: RejectMaker, rules: MarketRules
    ) -> None:
        self._page = page
        self._landed = landed
        self._batch = batch
        self._rejects = rejects
        self._is_foreign = batch.source_id == FILES.id
        self._landed_micros = to_micros((self._is_foreign and rules.read_at) or landed.landed_at)
        self._rules = rules
        self._layout, self._records = lay_out(page.rows, rules)
        self._prices = read_prices(page.rows) if self._layout.has_sparkline else []
        self._unusable: dict[int, frozenset[str]] = {}  # decorations of rows, by position
        self._is_flat = holds_flat_arrays(page.body, self._prices) if self._prices else True
        self._result = PageColumns(unknown_fields=self._layout.unknown, counts=Counter(rows_read=len(page.rows)))

    def read(self) -> PageColumns:
        """The columns of the page, vectorised; unusual rows are judged one by one and put back, or dropped."""
        self._result.answered = self._ids()
        for position, record in enumerate(self._records):
            if record is None:
                self._judge(position)
        self._drop_unpriced()
        builder = ColumnBuilder(self._layout, self._rules, self._landed_micros, may_hold_nan=self._page.may_hold_nan)
        numbers, records = self._remaining()
        columns, suspects = builder.build(records)
        while suspects:  # one fault can hide another, in another row
            for position in sorted(suspects):
                self._judge(numbers[position])
            numbers, records = self._remaining()
            columns, suspects = builder.build(records)
        if self._is_foreign and records and self._refuse_other_times(columns, numbers):
            numbers, records = self._remaining()
            columns, _ = builder.build(records)
        if self._is_foreign and records:
            columns = replace(columns, landed_micros=int(_observed(columns).max()) // 1_000_000 * 1_000_000)
        self._result.rejects.sort(key=lambda reject: reject.row_number or 0)
        if records:
            self._result.columns = columns
            if self._prices:
                prices = [self._prices[number] for number in numbers]
                unusable = fill_statistics(columns, prices, self._rules, flat=self._is_flat)
                self._result.counts["sparkline_unusable"] = unusable
            for place, field in enumerate(self._layout.objects, len(self._layout.fields)):
                given = [record[place] for record in records]
                unusable = fill_members(columns, given, self._rules.members[field], self._rules)
                self._result.counts[f"{field}_unusable"] = unusable
            for field in self._rules.decorations:
                found = [unusable for position, unusable in self._unusable.items() if self._records[position]]
                self._result.counts[f"{field}_unusable"] = sum(field in unusable for unusable in found)
        return self._result

    def _ids(self) -> frozenset[str]:
        """The ids of the rows that have one."""
        place = self._layout.fields.index(str(self._rules.contract.by_name[ID_COLUMN].source))
        return frozenset(str(record[place]) for record in self._records if record is not None)

    def _refuse_other_times(self, columns: MarketColumns, numbers: list[int]) -> bool:
        """Refuse what a file holds of another time than its batch; whether there was any.

        A row that is older than the rest is a coin that the source has not updated; a page without any row of the time
        is a page of another day.
        """
        instant = to_micros(self._batch.snapshot_at)
        tolerance = int(self._rules.observed_tolerance_hours * 3_600_000_000)
        observed = _observed(columns)
        outside = observed > instant + tolerance
        if observed[~outside].max(initial=0) < instant - tolerance:
            outside[:] = True
        for position in np.flatnonzero(outside).tolist():
            row, asset_id = plain(self._page.rows[numbers[position]]), columns.arrays[ID_COLUMN][position].as_py()
            fault = Refused("observed_outside_interval", OBSERVED_COLUMN, format_micros(int(observed[position])))
            self._result.rejects.append(self._rejects.row(self._landed, numbers[position], row, fault, asset_id))
            self._records[numbers[position]] = None
        return bool(outside.any())

    def _remaining(self) -> tuple[list[int], list[Record]]:
        """Row numbers and records of the rows that are still in."""
        kept = [(number, record) for number, record in enumerate(self._records) if record is not None]
        return [number for number, _ in kept], [record for _, record in kept]

    def _drop_unpriced(self) -> None:
        columns, fields = self._rules.contract.by_name, self._layout.fields
        price, asset_id = (fields.index(str(columns[name].source)) for name in (PRICE_COLUMN, ID_COLUMN))
        for position, record in enumerate(self._records):
            if record is not None and not record[price] and is_unpriced(record[price]):
                if fault_of(record[asset_id], columns[ID_COLUMN]):
                    self._judge(position)
                else:
                    self._records[position] = None
                    self._result.counts["rows_unpriced"] += 1

    def _judge(self, position: int) -> None:
        """Put one row before the specification; it stays with canonical values, or goes."""
        row = plain(self._page.rows[position])
        verdict = validate_row(row, self._rules, self._layout.required, self._landed_micros)
        self._records[position] = None
        match verdict:
            case Accepted():
                self._records[position] = self._canonical(row, verdict)
                self._unusable[position] = verdict.unusable
                if self._prices:
                    self._prices[position] = prices_of(row)
            case Unpriced():
                self._result.counts["rows_unpriced"] += 1
            case Refused():
                id_column = self._rules.contract.by_name[ID_COLUMN]
                given = row.get(id_column.source) if isinstance(row, dict) else None
                asset_id = None if fault_of(given, id_column) else given
                self._result.rejects.append(self._rejects.row(self._landed, position, row, verdict, asset_id))

    def _canonical(self, row: dict[str, Any], accepted: Accepted) -> Record:
        """The record of an accepted row, its values in the form that the vectorised path reads; objects as they are."""
        columns = self._rules.column_of_field
        fields = [columns[field] for field in self._layout.fields]
        values = [accepted.values[column.name] for column in fields]
        return (
            *(
                format_micros(int(value)) if value is not None and column.type == "TIMESTAMP" else value
                for column, value in zip(fields, values, strict=True)
            ),
            *map(row.get, self._layout.objects),
        )
