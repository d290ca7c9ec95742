"""The report of a job: what it read and wrote, as one JSON object; the DAG records it in ``ingestion_batch``."""

import json
from collections.abc import Callable, Iterable
from typing import Any

import apache_beam as beam
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import PCollection
from apache_beam.transforms.combiners import ToListCombineFn

from beam_pipelines.job.metrics import counters
from beam_pipelines.landing.files import exists, read_bytes, write_atomically

Report = dict[str, Any]


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
    """Gathers what the steps of a job say and writes the report as the last act of the pipeline, on whichever machine
    that is.

    Args:
        uri: where to.
        summarise: makes the report of everything gathered, which comes in any order.
    """

    def __init__(self, uri: str, summarise: Callable[[list[Any]], Report]) -> None:
        super().__init__()
        self._uri = uri
        self._summarise = summarise

    def expand(self, parts: PCollection[Any]) -> PCollection[Report]:
        """Wire the transform."""
        return (
            parts
            | "Gather parts" >> beam.CombineGlobally(ToListCombineFn())
            | "Summarise" >> beam.Map(self._summarise)
            | "Write report" >> beam.Map(_write, self._uri)
        )


def _write(report: Report, uri: str) -> Report:
    write_atomically(uri, (json.dumps(report, indent=2, ensure_ascii=False) + "\n").encode())
    return report


def total(parts: Iterable[dict[str, Any]]) -> Report:
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
