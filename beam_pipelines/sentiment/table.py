"""Entries of the Fear & Greed index as the batch file of ``fear_greed_fact``, with rejects and a report."""

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pyarrow as pa

from beam_pipelines.batch_files.json_bodies import BodyFault
from beam_pipelines.batch_files.rejects import Reject, body_payload, payload_json, value_json
from beam_pipelines.sentiment.bodies import read_entries
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import Contract
from coinbeam.contracts.arrow import arrow_schema
from coinbeam.contracts.instants import EARLIEST
from coinbeam.contracts.values import fault_of
from coinbeam.landing.layout import LandedBody
from coinbeam.sources.alternative_me import NEVER_PUBLISHED, classification

_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)
_DAY = timedelta(days=1)


@dataclass(frozen=True)
class IndexValue:
    """One accepted entry."""

    value: int
    classification: str
    observed_at: datetime

    @property
    def date(self) -> date:
        """The UTC day that it stands for."""
        return self.observed_at.date()


@dataclass(frozen=True)
class Fault:
    """Why an entry is refused: class of the fault, column and offending value."""

    reason: str
    column: str | None
    value: Any


@dataclass(frozen=True)
class IndexReport:
    """What became of the entries: ``rows_read`` is the sum of valid, duplicate and rejected rows.

    Attributes:
        pages_read: bodies read.
        pages_rejected: bodies that are no index.
        rows_read: entries of all bodies.
        rows_valid: days of the batch file.
        rows_duplicate: accepted entries of a day that a newer body, or an earlier entry of the same body, has.
        rows_rejected: entries refused.
        days_missing: days between the first and the last that should be there and are not.
        missing_days: those days, ISO 8601.
        days_never_published: days in between that the index never had.
        first_date: first day of the batch file, ISO 8601; None without any.
        last_date: last day likewise.
        rejects_by_reason: rejected records by reason.
    """

    pages_read: int
    pages_rejected: int
    rows_read: int
    rows_valid: int
    rows_duplicate: int
    rows_rejected: int
    days_missing: int
    missing_days: list[str]
    days_never_published: int
    first_date: str | None
    last_date: str | None
    rejects_by_reason: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return dict(vars(self))


@dataclass(frozen=True)
class IndexBatch:
    """Everything that one batch says of the index.

    Attributes:
        table: one row for each day, sorted.
        rejects: refused entries and bodies.
        report: counts.
    """

    table: pa.Table
    rejects: list[Reject]
    report: IndexReport


@dataclass
class _Days:
    """The days found so far, each once, and what was refused."""

    batch: BatchManifest
    contract: Contract
    clock_skew: timedelta
    values: dict[date, tuple[IndexValue, LandedBody]] = field(default_factory=dict)
    rejects: list[Reject] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)

    def add(self, landed: LandedBody) -> None:
        """Take in one body; never raises for what is in it."""
        self.counts["pages_read"] += 1
        entries = read_entries(landed.body)
        if isinstance(entries, BodyFault):
            self.counts["pages_rejected"] += 1
            self.rejects.append(self._reject(landed, entries.reason, None, None, body_payload(landed.body)))
            return
        for number, entry in enumerate(entries):
            self._take(landed, number, entry)

    def _take(self, landed: LandedBody, number: int, entry: Any) -> None:
        self.counts["rows_read"] += 1
        found = read_entry(entry, self.contract, landed.landed_at + self.clock_skew)
        if isinstance(found, Fault):
            self.counts["rows_rejected"] += 1
            self.rejects.append(self._reject(landed, found.reason, number, found, payload_json(entry)))
        elif found.date in self.values:
            self.counts["rows_duplicate"] += 1
        else:
            self.values[found.date] = found, landed

    def _reject(self, landed: LandedBody, reason: str, number: int | None, fault: Fault | None, payload: str) -> Reject:
        column, value = (fault.column, value_json(fault.value)) if fault else (None, None)
        version = self.contract.version
        return Reject(self.batch, landed, self.contract.name, version, reason, number, None, column, value, payload)


def read_entry(entry: Any, contract: Contract, latest: datetime) -> IndexValue | Fault:
    """Judge one entry: stamp, value and class, in this order.

    The newest entry, which says when the next one comes, is today's value and a value like any other: the index of a
    day is published at its beginning.

    Args:
        entry: an element of the index; everything in it is text.
        contract: of the fact.
        latest: later stamps come from the future, aware.
    """
    if not isinstance(entry, Mapping):
        return Fault("wrong_type", None, entry)
    missing = [name for name, source in (("observed_at", "timestamp"), ("value", "value")) if source not in entry]
    if missing:
        return Fault("missing_field", missing[0], None)
    observed_at = _stamp(entry["timestamp"], latest)
    if isinstance(observed_at, Fault):
        return observed_at
    value = _integer(entry["value"])
    reason = fault_of(value, contract.by_name["value"])
    if reason or not isinstance(value, int):
        return Fault(reason or "wrong_type", "value", entry["value"])
    band = classification(value)
    given = entry.get("value_classification", band)
    if given != band:
        return Fault("classification_mismatch", "classification", given)
    return IndexValue(value, band, observed_at)


def _integer(given: Any) -> Any:
    """The integer that a text spells; anything else as it is."""
    return int(given) if isinstance(given, str) and _INTEGER.fullmatch(given) else given


def _stamp(given: Any, latest: datetime) -> datetime | Fault:
    """The midnight that a text of epoch seconds names."""
    seconds = _integer(given)
    if type(seconds) is not int:
        return Fault("null_value" if given is None else "wrong_type", "observed_at", given)
    if seconds < EARLIEST.timestamp():
        return Fault("below_minimum", "observed_at", given)
    if seconds > latest.timestamp():
        return Fault("future_observation", "observed_at", given)
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment if seconds % 86_400 == 0 else Fault("not_midnight", "observed_at", given)


def read_index(
    bodies: Iterable[LandedBody], batch: BatchManifest, contract: Contract, clock_skew_seconds: float
) -> IndexBatch:
    """Read the bodies of a batch; the same bodies give the same table. Of several bodies the one that was landed last
    counts.

    Args:
        bodies: landed bodies or foreign files.
        batch: the batch.
        contract: of the fact.
        clock_skew_seconds: how far a stamp may lie after the moment of landing.
    """
    days = _Days(batch, contract, timedelta(seconds=clock_skew_seconds))
    for landed in sorted(bodies, key=lambda landed: (landed.landed_at, landed.uri), reverse=True):
        days.add(landed)
    return IndexBatch(_table(days), days.rejects, _report(days))


def _table(days: _Days) -> pa.Table:
    added = {"source_id": days.batch.source_id, "batch_id": days.batch.batch_id}
    rows = [
        {**vars(value), "date": day, "ingested_at": landed.landed_at, **added}
        for day, (value, landed) in sorted(days.values.items())
    ]
    return pa.Table.from_pylist(rows, arrow_schema(days.contract.file_columns))


def _report(days: _Days) -> IndexReport:
    found = sorted(days.values)
    absent = [day for day in _between(found) if day not in days.values]
    missing = [day.isoformat() for day in absent if day not in NEVER_PUBLISHED]
    counts = {
        name: days.counts[name]
        for name in ("pages_read", "pages_rejected", "rows_read", "rows_duplicate", "rows_rejected")
    }
    return IndexReport(
        **counts,
        rows_valid=len(found),
        days_missing=len(missing),
        missing_days=missing,
        days_never_published=len(absent) - len(missing),
        first_date=found[0].isoformat() if found else None,
        last_date=found[-1].isoformat() if found else None,
        rejects_by_reason=dict(sorted(Counter(reject.reason for reject in days.rejects).items())),
    )


def _between(found: list[date]) -> list[date]:
    """All days from the first to the last."""
    return [found[0] + _DAY * number for number in range((found[-1] - found[0]).days + 1)] if found else []
