"""The market kernel's work as a Beam pipeline is usually written: a page is split into rows, and each row goes through
the steps alone.
"""

# mypy: disable-error-code="no-untyped-call,misc,attr-defined"
# Beam is untyped where it counts.
import csv
import io
import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.pvalue import TaggedOutput
from apache_beam.runners.portability.fn_api_runner import FnApiRunner

from beam_pipelines.batch_files.rejects import Refused
from beam_pipelines.snapshot.rules import OBSERVED_COLUMN, MarketRules
from beam_pipelines.snapshot.sparklines import prices_of, sparkline_statistics
from beam_pipelines.snapshot.specification import Accepted, validate_row
from benchmarks.pages import Snapshot, landed_at
from coinbeam.contracts import Column
from coinbeam.contracts.instants import format_micros, to_micros
from coinbeam.contracts.values import ID_COLUMN


def run_rows(snapshots: list[Snapshot], rules: MarketRules, output: Path) -> None:
    """Write one CSV of all snapshots and one file of rejects."""
    pages = [(day, path) for day, snapshot in enumerate(snapshots) for path in snapshot.files]
    with beam.Pipeline(runner=FnApiRunner()) as pipeline:
        judged = (
            pipeline
            | "Pages" >> beam.Create(pages)
            | "Spread pages" >> beam.Reshuffle()
            | "Split into rows" >> beam.FlatMap(_split)
            | "Validate row"
            >> beam.ParDo(_Validate(rules, snapshots)).with_outputs("rejected", "unpriced", main="accepted")
        )
        newest = judged.accepted | "Group by asset" >> beam.GroupByKey() | "Newest row" >> beam.Map(_newest)
        (
            newest
            | "Row as CSV" >> beam.Map(_csv_line)
            | "Write rows" >> beam.io.WriteToText(f"{output}/crypto", ".csv", num_shards=1)
        )
        judged.rejected | "Write rejects" >> beam.io.WriteToText(f"{output}/rejected", ".ndjson", num_shards=1)
        (
            judged.unpriced
            | "Count unpriced" >> beam.combiners.Count.Globally()
            | "Write count" >> beam.io.WriteToText(f"{output}/unpriced")
        )


def _split(page: tuple[int, str]) -> Iterator[tuple[int, Any, frozenset[str]]]:
    """Each row with its day and the fields that its page has."""
    day, path = page
    rows = orjson.loads(Path(path).read_bytes())
    present = frozenset(field for row in rows if isinstance(row, dict) for field in row)
    for row in rows:
        yield day, row, present


class _Validate(beam.DoFn):
    def __init__(self, rules: MarketRules, snapshots: list[Snapshot]) -> None:
        super().__init__()
        self._rules = rules
        self._batches = [snapshot.batch for snapshot in snapshots]

    def process(self, element: tuple[int, Any, frozenset[str]]) -> Iterator[Any]:
        day, row, present = element
        landed = to_micros(landed_at(day))
        expected = (present | self._rules.never_absent) & self._rules.column_of_field.keys()
        verdict = validate_row(row, self._rules, expected, landed)
        if isinstance(verdict, Accepted):
            yield (
                (day, str(verdict.values[ID_COLUMN])),
                (int(str(verdict.values[OBSERVED_COLUMN])), self._values(day, row, verdict, landed)),
            )
        elif isinstance(verdict, Refused):
            reject = {"reason": verdict.reason, "column_name": verdict.column_name, "payload": json.dumps(row)}
            yield TaggedOutput("rejected", json.dumps(reject))
        else:
            yield TaggedOutput("unpriced", 1)

    def _values(self, day: int, row: Any, accepted: Accepted, landed: int) -> list[Any]:
        """The row of the batch file, in the order of the contract."""
        batch = self._batches[day]
        statistics, _ = sparkline_statistics([prices_of(row)])
        added = {
            "quote_currency": batch.quote_currency,
            "snapshot_at": to_micros(batch.snapshot_at),
            "snapshot_date": batch.snapshot_at.date().isoformat(),
            "time_id": batch.snapshot_at.hour * 60 + batch.snapshot_at.minute,
            "volatility_7d": float(statistics[0, 0]),
            "realized_volatility_7d": float(statistics[1, 0]),
            "ingested_at": landed,
            "source_id": batch.source_id,
            "batch_id": batch.batch_id,
        }
        values = [
            added[c.name] if c.name in added else accepted.values[c.name] for c in self._rules.contract.file_columns
        ]
        return [
            _written(column, value) for column, value in zip(self._rules.contract.file_columns, values, strict=True)
        ]


def _written(column: Column, value: Any) -> Any:
    """A value as the CSV shows it; NaN stands for null."""
    if value is None or value != value:
        return None
    return format_micros(value) if column.type == "TIMESTAMP" else value


def _newest(group: tuple[tuple[int, str], Iterable[tuple[int, list[Any]]]]) -> list[Any]:
    return max(group[1], key=lambda observed: observed[0])[1]


def _csv_line(values: list[Any]) -> str:
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(values)
    return line.getvalue().removesuffix("\r\n")
