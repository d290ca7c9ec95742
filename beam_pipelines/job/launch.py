"""The launch of a job: what all of them do between the command line and the report."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.pvalue import PBegin, PCollection

from beam_pipelines.job.clients import ShardClients, make_clients
from beam_pipelines.job.options import JobRequest, beam_options, read_job, read_options
from beam_pipelines.job.report import Report, WriteReport, final_report, forget
from beam_pipelines.job.sources import refuse_other_times, resolve_source, source_id
from beam_pipelines.landing.fetch import Landed
from beam_pipelines.landing.folder import begin_batch, begun_batches
from coinbeam.batch.identity import INTERVAL
from coinbeam.batch.jobs import JobSpec
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.options import Options
from coinbeam.clock import Clock, format_instant
from coinbeam.landing.layout import folder
from coinbeam.ops.call_ledger import Reservation
from coinbeam.settings import Settings, load_settings
from coinbeam.sources.registry import COINGECKO


@dataclass(frozen=True)
class Launch:
    """One start of a job, with Beam's options, their runner resolved, and those that every job takes."""

    spec: JobSpec
    options: PipelineOptions
    job: JobRequest
    settings: Settings
    clock: Clock

    def read(self, model: type[Options]) -> Options:
        """The checked options of the job, as its own model."""
        return read_options(self.options, model)

    @property
    def report_uri(self) -> str:
        """Where the report lies."""
        return self.spec.report_path(self.job.output)

    def head(self, *batches: BatchManifest) -> Report:
        """What a report says first: job, mode and batch, whose names are null where a replay has several."""
        one = batches[0] if len(batches) == 1 else None
        return {
            "job": self.spec.name,
            "mode": "replay" if self.job.glob else "fetch",
            "batch_id": one and one.batch_id,
            "source_id": one and one.source_id,
            "snapshot_at": one and format_instant(one.snapshot_at),
        }

    def run(
        self,
        landed: beam.PTransform[PBegin, Landed],
        write: beam.PTransform[PCollection[Any], PCollection[Any]],
        head: Report,
        reservation: Reservation | None = None,
    ) -> Report:
        """Run the pipeline to its end and return its report, with the counters of the runner.

        The report names the reservation, so that the DAG that waits for a submitted job can settle it.
        """
        forget(self.report_uri)
        tail = {"reservation": reservation.to_dict()} if reservation else {}
        with beam.Pipeline(options=self.options) as pipeline:
            inputs, stats = pipeline | "Landed" >> landed
            parts = (inputs | "Write" >> write, stats)
            _ = parts | "All parts" >> beam.Flatten() | "Report" >> WriteReport(self.report_uri, head, tail)
        return final_report(self.report_uri, pipeline.result)


def prepare(spec: JobSpec, argv: Sequence[str], settings: Settings | None, clock: Clock) -> Launch:
    """Read the options that every job takes.

    Args:
        spec: the job.
        argv: the command line without the program.
        settings: the environment; by default that of this process.
        clock: source of "now".

    Raises:
        SettingsError: an option or setting is wrong.
    """
    settings = settings or load_settings()
    options = beam_options(argv, spec.options)
    return Launch(spec, options, read_job(read_options(options, spec.options), settings, clock), settings, clock)


@dataclass(frozen=True)
class BegunBatch:
    """A batch of the present that may be asked for: its manifest is written.

    Attributes:
        manifest: that of the leading endpoint.
        folders: its landing folders, one for each endpoint.
        clients: make the clients, and know whom to ask.
        deadline: the end of the interval, from which on no call is made; None for a simulated market.
    """

    manifest: BatchManifest
    folders: tuple[str, ...]
    clients: ShardClients
    deadline: datetime | None


def begin(
    launch: Launch, batch: str, endpoints: Sequence[str], per_page: int, universe: str, shards: int | None
) -> BegunBatch:
    """Decide whom to ask for a snapshot, and write the manifests of the batch.

    Args:
        endpoints: what is asked for, the leading one first.
        universe: label of the selection.
        shards: parallel walks, when the caller named a number.

    Raises:
        SettingsError: a setting is wrong, or contradicts an earlier attempt of the batch.
    """
    job = launch.job
    begun = begun_batches(job.landing, endpoints[0], batch, COINGECKO)
    source = resolve_source(job, begun, launch.settings)
    answering = source_id(source)
    refuse_other_times(job, source, begun.get(answering), launch.clock())
    folders = tuple(folder(job.landing, endpoint, batch, answering) for endpoint in endpoints)
    clients = make_clients(job, source, launch.settings, launch.options, shards)
    manifests = [
        BatchManifest(batch, endpoint, answering, job.snapshot_at, job.quote_currency, per_page, universe)
        for endpoint in endpoints
    ]
    for uri, manifest in zip(folders, manifests, strict=True):
        begin_batch(uri, manifest)
    deadline = job.snapshot_at + INTERVAL[job.period] if source.kind == "live" else None
    return BegunBatch(manifests[0], folders, clients, deadline)
