"""The launch of a job: what all of them do between the command line and the report."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipelines.job.options import JobRequest, beam_options, read_job, read_options
from beam_pipelines.job.report import Report, WriteReport, final_report, forget
from beam_pipelines.job.reservation import CallOrder, Summarise, reserved
from beam_pipelines.job.sources import make_clients, refuse_other_times, resolve_source, source_id
from beam_pipelines.snapshot.walk import ShardClients, begin_batch, landed_manifest
from coinbeam.batch.jobs import JobSpec
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.options import Options
from coinbeam.clock import Clock
from coinbeam.landing.layout import folder
from coinbeam.settings import Settings, load_settings
from coinbeam.sources.choose import RuntimeSource

Build = Callable[[beam.Pipeline, WriteReport], None]
"""Adds the steps of a job to a pipeline, the report last."""


@dataclass(frozen=True)
class Launch:
    """One start of a job.

    Attributes:
        spec: the job.
        options: Beam's options with the runner resolved.
        job: the options that every job takes.
        settings: the environment.
        clock: source of "now".
    """

    spec: JobSpec
    options: PipelineOptions
    job: JobRequest
    settings: Settings
    clock: Clock

    def read(self, model: type[Options]) -> Options:
        """The checked options of the job, as its own model."""
        return read_options(self.options, model)

    def run(self, build: Build, summarise: Summarise) -> Report:
        """Run the pipeline to its end and return its report, with the counters of the runner.

        Args:
            build: adds the steps.
            summarise: makes the report of what the steps say.
        """
        uri = self.spec.report_path(self.job.output)
        forget(uri)
        with beam.Pipeline(options=self.options) as pipeline:
            build(pipeline, WriteReport(uri, summarise))
        return final_report(uri, pipeline.result)

    def fetch(self, order: CallOrder, build: Callable[[ShardClients], Build], summarise: Summarise) -> Report:
        """Run a pipeline that asks a market: its calls are reserved before it starts, and settled by its report.

        Args:
            order: the calls that it needs.
            build: adds the steps, given who makes the calls.
            summarise: makes the report of what the steps say.

        Raises:
            BudgetExceededError: the month has fewer calls left than needed.
        """
        with reserved(order, self.job, self.settings, self.options, self.clock) as spending:
            return spending.settle(self.run(build(spending.clients), spending.noted(summarise)))


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
        manifest: the batch.
        folders: its landing folders, one for each endpoint.
        source: whom to ask.
        clients: makes the clients.
    """

    manifest: BatchManifest
    folders: tuple[str, ...]
    source: RuntimeSource
    clients: ShardClients


def begin(
    launch: Launch, batch: str, endpoints: Sequence[str], per_page: int, universe: str, shards: int | None
) -> BegunBatch:
    """Decide whom to ask for a snapshot, and write the manifests of the batch.

    Args:
        launch: the start of the job.
        batch: name of the batch.
        endpoints: what is asked for, the leading one first.
        per_page: rows asked for per page.
        universe: label of the selection.
        shards: parallel walks that the caller asked for.

    Raises:
        SettingsError: a setting is wrong, or contradicts an earlier attempt of the batch.
    """
    job = launch.job
    folders = tuple(folder(job.landing, endpoint, batch) for endpoint in endpoints)
    begun = landed_manifest(folders[0])
    source = resolve_source(job, begun, launch.settings)
    refuse_other_times(job, source, begun, launch.clock())
    clients = make_clients(job, source, launch.settings, launch.options, shards)
    manifests = [
        BatchManifest(batch, endpoint, source_id(source), job.snapshot_at, job.quote_currency, per_page, universe)
        for endpoint in endpoints
    ]
    for uri, manifest in zip(folders, manifests, strict=True):
        begin_batch(uri, manifest)
    return BegunBatch(manifests[0], folders, source, clients)
