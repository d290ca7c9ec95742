"""The report of a job: what it read and wrote, as one JSON object; the DAG records it in ``ingestion_batch``."""

import json
from collections.abc import Iterable
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import PCollection
from apache_beam.transforms.combiners import ToListCombineFn

from beam_pipelines.landing.files import exists, read_bytes, write_atomically
from beam_pipelines.landing.folder import FetchStats

Report = dict[str, Any]

LISTED = "pieces"
"""What a report lists one by one; it stands after all numbers."""


def forget(uri: str) -> None:
    """Delete the report of an earlier run, so that nobody takes it for the report of a run that failed."""
    if exists(uri):
        FileSystems.delete([uri])


def final_report(uri: str, result: Any) -> Report:
    """The report as the pipeline wrote it, with the runner's counters.

    A launch that only submits (a template, ``--no_wait_until_finish``) has none yet: then where it will be.
    """
    if not exists(uri):
        return {"state": "submitted", "report_will_be": uri}
    report: Report = json.loads(read_bytes(uri))
    return report | {"metrics": counters(result)}


class WriteReport(beam.PTransform[PCollection[Any], PCollection[Report]]):
    """Gathers what the steps of a job report, in any order, and writes the report as the last act of the pipeline."""

    def __init__(self, uri: str, head: Report, tail: Report) -> None:
        super().__init__()
        self._uri, self._head, self._tail = uri, head, tail

    def expand(self, parts: PCollection[Any]) -> PCollection[Report]:
        """Wire the transform."""
        return (
            parts
            | "Gather parts" >> beam.CombineGlobally(ToListCombineFn())
            | "Summarise" >> beam.Map(summary, self._head, self._tail)
            | "Write report" >> beam.Map(_write, self._uri)
        )


def summary(parts: list[Any], head: Report, tail: Report) -> Report:
    """The report of a job: its head, the sums of what its steps report, what the fetch cost, and its tail."""
    costs = [part for part in parts if isinstance(part, FetchStats)]
    counts = total(part for part in parts if not isinstance(part, FetchStats))
    listed = {LISTED: counts.pop(LISTED)} if LISTED in counts else {}
    return head | counts | total(map(vars, costs)) | listed | tail


def _write(report: Report, uri: str) -> Report:
    write_atomically(uri, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
    return report


def total(parts: Iterable[Report]) -> Report:
    """Sum reports field by field: numbers are added, dictionaries of numbers merged, lists united and sorted."""
    sums: Report = {}
    for part in parts:
        for name, value in part.items():
            sums[name] = _plus(sums[name], value) if name in sums else value
    return sums


def _plus(left: Any, right: Any) -> Any:
    if isinstance(left, dict):
        return {name: left.get(name, 0) + right.get(name, 0) for name in sorted({*left, *right})}
    return sorted({*left, *right}) if isinstance(left, list) else left + right


def counters(result: Any) -> dict[str, int]:
    """Sums of all counters of a pipeline result, by name.

    Committed values where the runner knows them, attempted ones otherwise; an empty dictionary for a runner that offers
    no metrics.
    """
    try:
        found = result.metrics().query()["counters"]
    except (AttributeError, NotImplementedError, ValueError):
        return {}
    values = ((one.key.metric.name, one.attempted if one.committed is None else one.committed) for one in found)
    return dict(sorted(total({name: int(value or 0)} for name, value in values).items()))
