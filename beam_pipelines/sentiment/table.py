"""Entries of the Fear & Greed index as the batch file of ``fear_greed_fact``, with rejects and a report."""

import re
from collections import Counter
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

from beam_pipelines.batch_files.builder import BatchInput, BatchSink, ReadBody, Report, TableBuilder, assemble
from beam_pipelines.batch_files.json_bodies import BodyFault
from beam_pipelines.batch_files.rejects import Refused, RejectMaker
from beam_pipelines.sentiment.bodies import read_entries
from coinbeam.contracts import Contract
from coinbeam.contracts.instants import EARLIEST
from coinbeam.contracts.values import fault_of
from coinbeam.sources.alternative_me import NEVER_PUBLISHED, classification

_INTEGER = re.compile(r"-?\d{1,18}", re.ASCII)
_DAY = timedelta(days=1)
_FILLED = ("date", "value", "classification", "observed_at", "ingested_at")


class IndexTable(TableBuilder[str]):
    """Builds the batch file of the index: one row for each day, sorted. Of several bodies the one that was landed last
    counts. A stamp may lie ``clock_skew_seconds`` after the moment of landing.
    """

    def __init__(self, contract: Contract, clock_skew_seconds: float) -> None:
        super().__init__(contract, _FILLED)
        self._clock_skew = timedelta(seconds=clock_skew_seconds)

    def build(self, given: BatchInput[str], read: ReadBody, sink: BatchSink) -> Report:
        """Write one batch: rows read are valid, duplicate or rejected; missing days lie between first and last."""
        rejects, counts = RejectMaker(given.batch, self.contract), Counter[str]()
        days: dict[date, dict[str, Any]] = {}
        bodies = sorted(map(read, given.bodies), key=lambda landed: (landed.landed_at, landed.uri), reverse=True)
        for landed in bodies:
            entries = read_entries(landed.body)
            if isinstance(entries, BodyFault):
                sink.refuse([rejects.body(landed, entries.reason)])
                continue
            counts["rows_read"] += len(entries)
            for number, entry in enumerate(entries):
                found = read_entry(entry, self.contract, landed.landed_at + self._clock_skew)
                if isinstance(found, Refused):
                    sink.refuse([rejects.row(landed, number, entry, found)])
                elif found["date"] in days:
                    counts["rows_duplicate"] += 1
                else:
                    days[found["date"]] = {**found, "ingested_at": landed.landed_at}
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


def read_entry(entry: Any, contract: Contract, latest: datetime) -> dict[str, Any] | Refused:
    """Judge one entry: stamp, value and class, in this order; a stamp after ``latest`` comes from the future. Gives the
    columns of an accepted one.

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
    band = classification(value)
    given = entry.get("value_classification", band)
    if given != band:
        return Refused("classification_mismatch", "classification", given)
    return {"date": observed_at.date(), "value": value, "classification": band, "observed_at": observed_at}


def _integer(given: Any) -> Any:
    """The integer that a text spells; anything else as it is."""
    return int(given) if isinstance(given, str) and _INTEGER.fullmatch(given) else given


def _stamp(given: Any, latest: datetime) -> datetime | Refused:
    """The midnight that a text of epoch seconds names."""
    seconds = _integer(given)
    if type(seconds) is not int:
        return Refused("null_value" if given is None else "wrong_type", "observed_at", given)
    if seconds < EARLIEST.timestamp():
        return Refused("below_minimum", "observed_at", given)
    if seconds > latest.timestamp():
        return Refused("future_observation", "observed_at", given)
    moment = datetime.fromtimestamp(seconds, UTC)
    return moment if seconds % 86_400 == 0 else Refused("not_midnight", "observed_at", given)
