"""Entries of the Fear & Greed index as the batch file of ``fear_greed_fact``, with rejects and a report."""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from beam_pipelines.batch_files.builder import BatchInput, BatchSink, ReadBody, Report, TableBuilder, assemble
from beam_pipelines.batch_files.csv_bodies import NAIVE_STAMP
from beam_pipelines.batch_files.json_bodies import BodyFault
from beam_pipelines.batch_files.rejects import Refused, RejectMaker
from beam_pipelines.sentiment.bodies import read_entries
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import Contract
from coinbeam.contracts.values import fault_of
from coinbeam.landing.layout import LandedBody
from coinbeam.sources.alternative_me import FIRST_DAY, NEVER_PUBLISHED, classification
from coinbeam.sources.registry import FILES

_INTEGER = re.compile(r"-?\d{1,18}(\.0+)?", re.ASCII)
_DAY = timedelta(days=1)
_FIRST_SECOND = datetime.combine(FIRST_DAY, time(), UTC).timestamp()
_Entries = list[tuple[Any, dict[str, Any] | Refused]]
_FILLED = ("date", "value", "classification", "observed_at", "ingested_at")


class IndexTable(TableBuilder[str]):
    """Builds the batch file of the index: one row for each day, sorted. Of several bodies the one that was known last
    counts. A stamp may lie ``clock_skew_seconds`` after the moment of landing.

    The age of a file that somebody brought says nothing of its content: its stamps are judged by the moment at which
    the job reads it, and it was known at the newest of them.
    """

    def __init__(self, contract: Contract, clock_skew_seconds: float, read_at: datetime | None = None) -> None:
        super().__init__(contract, _FILLED)
        self._clock_skew, self._read_at = timedelta(seconds=clock_skew_seconds), read_at

    def build(self, given: BatchInput[str], read: ReadBody, sink: BatchSink) -> Report:
        """Write one batch: rows read are valid, duplicate or rejected; missing days lie between first and last."""
        rejects, counts = RejectMaker(given.batch, self.contract), Counter[str]()
        days: dict[date, dict[str, Any]] = {}
        bodies = [self._judged(read(uri), given.batch) for uri in given.bodies]
        for known_at, landed, entries in sorted(bodies, key=lambda body: (body[0], body[1].uri), reverse=True):
            if isinstance(entries, BodyFault):
                sink.refuse([rejects.body(landed, entries.reason)])
                continue
            counts["rows_read"] += len(entries)
            for number, (entry, found) in enumerate(entries):
                if isinstance(found, Refused):
                    sink.refuse([rejects.row(landed, number, entry, found)])
                elif found["date"] in days:
                    counts["rows_duplicate"] += 1
                else:
                    days[found["date"]] = {**found, "ingested_at": known_at}
        found_days = sorted(days)
        filled = {name: [days[day][name] for day in found_days] for name in _FILLED}
        sink.rows(assemble(self.contract, filled, given.batch))
        span = (found_days[-1] - found_days[0]).days + 1 if found_days else 0
        absent = [day for day in (found_days[0] + _DAY * number for number in range(span)) if day not in days]
        missing = [day.isoformat() for day in absent if day not in NEVER_PUBLISHED]
        return {
            "pages_read": len(bodies),
            "pages_rejected": sink.counts["pages_rejected"],
            "rows_read": counts["rows_read"],
            "rows_valid": len(days),
            "rows_duplicate": counts["rows_duplicate"],
            "rows_rejected": sink.counts["rows_rejected"],
            "days_missing": len(missing),
            "missing_days": missing,
            "days_never_published": len(absent) - len(missing),
            "first_date": found_days[0].isoformat() if found_days else None,
            "last_date": found_days[-1].isoformat() if found_days else None,
            "rejects_by_reason": sink.rejects_by_reason,
        }

    def _judged(self, landed: LandedBody, batch: BatchManifest) -> tuple[datetime, LandedBody, _Entries | BodyFault]:
        """When a body was known, and its entries, each with what became of it."""
        is_foreign = batch.source_id == FILES.id
        moment = (is_foreign and self._read_at) or landed.landed_at
        end_of_batch = datetime.combine(batch.snapshot_at.date() + _DAY, time(), UTC) - timedelta(seconds=1)
        entries = read_entries(landed.body)
        if isinstance(entries, BodyFault):
            return landed.landed_at, landed, entries
        latest = min(moment + self._clock_skew, end_of_batch)
        found = [(entry, read_entry(entry, self.contract, latest)) for entry in entries]
        stamps = [values["observed_at"] for _, values in found if not isinstance(values, Refused)]
        return max(stamps, default=landed.landed_at) if is_foreign else landed.landed_at, landed, found


def read_entry(entry: Any, contract: Contract, latest: datetime) -> dict[str, Any] | Refused:
    """Judge one entry: stamp, value and class, in this order; a stamp after ``latest`` comes from the future. Gives the
    columns of an accepted one. A class that is not that of its value is the source's word: it may have moved its
    bounds, and a rule of the contract warns.

    The newest entry, which says when the next one comes, is today's value and a value like any other: the index of a
    day is published at its beginning.
    """
    if not isinstance(entry, Mapping):
        return Refused("wrong_type", None, entry)
    missing = [name for name, source in (("observed_at", "timestamp"), ("value", "value")) if source not in entry]
    if missing:
        return Refused("missing_field", missing[0], None)
    observed_at = _stamp(entry["timestamp"], latest)
    if isinstance(observed_at, Refused):
        return observed_at
    value = _integer(entry["value"])
    reason = fault_of(value, contract.by_name["value"])
    if reason or not isinstance(value, int):
        return Refused(reason or "wrong_type", "value", entry["value"])
    given = entry.get("value_classification", classification(value))
    if given not in contract.by_name["classification"].accepted:
        return Refused("classification_mismatch", "classification", given)
    return {"date": observed_at.date(), "value": value, "classification": given, "observed_at": observed_at}


def _integer(given: Any) -> Any:
    """The integer that a text spells, ``40.0`` as well; anything else as it is."""
    return int(given.partition(".")[0]) if isinstance(given, str) and _INTEGER.fullmatch(given) else given


def _fault_of_stamp(given: Any) -> str:
    if isinstance(given, str) and NAIVE_STAMP.fullmatch(given):
        return "stamp_without_zone"
    return "null_value" if given is None else "wrong_type"


def _stamp(given: Any, latest: datetime) -> datetime | Refused:
    """The midnight that a text of epoch seconds names."""
    seconds = _integer(given)
    if type(seconds) is not int:
        return Refused(_fault_of_stamp(given), "observed_at", given)
    if seconds < _FIRST_SECOND:
        return Refused("below_minimum", "observed_at", given)
    if seconds > latest.timestamp():
        return Refused("future_observation", "observed_at", given)
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment if seconds % 86_400 == 0 else Refused("not_midnight", "observed_at", given)
