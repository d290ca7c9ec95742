"""The Fear & Greed index of alternative.me: ask for the whole of it, land the exact bytes, and write one row for each
day.

One call brings every value since 2018. Everything in it is text; a value whose class is not that of its band is set
aside, and missing days are listed, except the four that were never published.

::

    python -m beam_pipelines.fetch_fear_greed --runner=DirectRunner --source=simulator --output=/tmp/coinbeam

Again from what was landed, or from a CSV with header ``date,fng``::

    python -m beam_pipelines.fetch_fear_greed --runner=DirectRunner \
        --source='/tmp/coinbeam/landing/fear_greed/*/*' --output=/tmp/again

On Dataflow, as the other jobs: ``--runner=DataflowRunner --source=live --output=gs://BUCKET/batches/today
--landing=gs://BUCKET --project=PROJECT --region=us-central1 --temp_location=gs://BUCKET/dataflow/temp``.

In ``--output``: ``fear_greed.csv``, ``rejected_fear_greed.ndjson`` and ``report_fetch_fear_greed.json``.
"""

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import TaggedOutput

from beam_pipelines.batch_files.builder import BatchInput
from beam_pipelines.batch_files.write import WriteBatch
from beam_pipelines.job.command import execute
from beam_pipelines.job.launch import Launch, prepare
from beam_pipelines.job.options import JobRequest
from beam_pipelines.job.report import Report, WriteReport
from beam_pipelines.landing.files import list_files
from beam_pipelines.sentiment.bodies import is_index
from beam_pipelines.sentiment.table import IndexTable
from beam_pipelines.snapshot.walk import STATS, LandingFolder, batch_report, begin_batch, landed_manifest, without_key
from coinbeam.batch.digest import digest
from coinbeam.batch.jobs import FEAR_GREED
from coinbeam.batch.jobs import FETCH_FEAR_GREED as JOB
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.tables import FEAR_GREED_FACT
from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.landing.layout import folder, newest_revisions
from coinbeam.settings import CoinGeckoSettings, MarketSource, Settings
from coinbeam.sources.alternative_me import FearGreedClient, index_url
from coinbeam.sources.choose import RuntimeSource, choose_source
from coinbeam.sources.registry import ALTERNATIVE_ME, ALTERNATIVE_ME_SIMULATOR, FILES

STEM = "index"


@dataclass(frozen=True)
class IndexBodies:
    """A batch of the index and where its bodies lie."""

    batch: BatchManifest
    uris: tuple[str, ...]


@dataclass(frozen=True)
class IndexFetch:
    """An index to ask for.

    Attributes:
        batch: the batch.
        folder: its landing folder.
        url: of the index.
        coingecko: timeouts and patience, without the key.
    """

    batch: BatchManifest
    folder: str
    url: str
    coingecko: CoinGeckoSettings


def run(argv: Sequence[str], settings: Settings | None = None, clock: Clock = utc_now) -> Report:
    """Run the job to its end and return its report, with the counters of the runner.

    Args:
        argv: the command line without the program.
        settings: the environment; by default that of this process.
        clock: source of "now".

    Raises:
        SettingsError: an option or setting is wrong; nothing was called.
    """
    launch = prepare(JOB, argv, settings, clock)
    work = find_bodies(launch.job, launch.settings) if launch.job.glob else prepare_fetch(launch)
    builder = IndexTable(load_contract(FEAR_GREED_FACT), launch.settings.quality.clock_skew_seconds)
    summarise = partial(batch_report, job=JOB.name, batch=work.batch, mode="replay" if launch.job.glob else "fetch")
    steps = partial(build, work=work, builder=builder, output=launch.job.output, clock=clock)
    return launch.run(steps, summarise)


def prepare_fetch(launch: Launch) -> IndexFetch:
    """Decide whom to ask, and write the manifest of the batch.

    Raises:
        SettingsError: a setting is wrong, or contradicts an earlier attempt of the batch.
    """
    job, settings = launch.job, launch.settings
    name = job.batch or f"{job.snapshot_at:%Y%m%dT%H%MZ}-fear-greed"
    where = folder(job.landing, FEAR_GREED, name)
    source = choose_index(job, landed_manifest(where), settings)
    source_id = ALTERNATIVE_ME.answering(source.kind)
    batch = BatchManifest(name, FEAR_GREED, source_id, job.snapshot_at, job.quote_currency, 1, FEAR_GREED)
    begin_batch(where, batch)
    return IndexFetch(batch, where, index_url(settings, source), without_key(settings.coingecko))


def choose_index(job: JobRequest, begun: BatchManifest | None, settings: Settings) -> RuntimeSource:
    """Whom to ask. With ``auto`` the index follows the market, and a batch that was begun stays with its source.

    Raises:
        SettingsError: a simulated source outside the local environment.
    """
    wanted = job.source or settings.market.source
    if wanted is MarketSource.AUTO and begun is not None:
        wanted = MarketSource.SIMULATOR if begun.source_id == ALTERNATIVE_ME_SIMULATOR.id else MarketSource.LIVE
    return choose_source(settings, wanted)


def find_bodies(job: JobRequest, settings: Settings) -> IndexBodies:
    """The one batch that a replay reads.

    Raises:
        SettingsError: the glob matches several batches, or simulated values would enter a shared warehouse.
        TerminalError: nothing matches.
    """
    uris = newest_revisions(str(metadata.path) for metadata in list_files(job.glob or ""))
    if not uris:
        raise TerminalError(
            f"--source={job.glob} matches no file.",
            "Quote the glob so that the shell leaves it alone, and check the path.",
        )
    manifests = {uri.rpartition("/")[0]: landed_manifest(uri.rpartition("/")[0]) for uri in uris}
    if len(manifests) > 1:
        raise SettingsError(
            f"--source matches files in {len(manifests)} folders, which would all write {JOB.file(FEAR_GREED_FACT)}.",
            "Narrow it to one of them.",
        )
    [landed] = manifests.values()
    foreign = BatchManifest(
        f"fear-greed-files-{digest(job.glob or '')}",
        FEAR_GREED,
        FILES.id,
        job.snapshot_at,
        job.quote_currency,
        1,
        FEAR_GREED,
    )
    batch = landed or foreign
    if batch.source_id == ALTERNATIVE_ME_SIMULATOR.id and not settings.is_local:
        raise SettingsError(
            f"--source matches simulated values, which may not enter environment {settings.environment}.",
            "Replay what was landed from the live API, or set COINBEAM_ENV=local.",
        )
    named = BatchManifest(**{**vars(batch), "batch_id": job.batch}) if job.batch else batch
    return IndexBodies(named, tuple(uris))


def build(
    pipeline: beam.Pipeline,
    report: WriteReport,
    work: IndexFetch | IndexBodies,
    builder: IndexTable,
    output: str,
    clock: Clock,
) -> None:
    """Add the steps of the job to a pipeline."""
    asked = pipeline | "Batch" >> beam.Create([work])
    if isinstance(work, IndexBodies):
        bodies, parts = asked, []
    else:
        fetched = asked | "Fetch" >> beam.ParDo(FetchIndexFn(clock)).with_outputs(STATS, main="bodies")
        bodies, parts = fetched.bodies, [fetched[STATS]]
    parts.append(bodies | "To batch" >> beam.Map(index_input, output) | "Write index" >> WriteBatch(builder))
    _ = parts | "All parts" >> beam.Flatten() | "Report" >> report


def index_input(bodies: IndexBodies, output: str) -> BatchInput[str]:
    """A batch with the names of its files."""
    return BatchInput.of(bodies.batch, bodies.uris, output, JOB, FEAR_GREED_FACT)


class FetchIndexFn(beam.DoFn):
    """Lands the index; what an earlier attempt of the batch landed is not asked for again.

    Args:
        clock: tells the time on the worker.
    """

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock

    def process(self, fetch: IndexFetch) -> Iterator[Any]:
        """Fetch one index.

        Raises:
            TerminalError: the API refuses for a reason that stays.
            TransientError: the API failed for longer than the client's patience.
        """
        landing = LandingFolder(fetch.folder, is_index, None, self._clock)
        client = FearGreedClient(fetch.coingecko, fetch.url)
        try:
            landed = landing.body(STEM, client.index)
        finally:
            client.close()
        yield IndexBodies(fetch.batch, (landed.uri,))
        landing.stats.count()
        yield TaggedOutput(STATS, landing.stats)


if __name__ == "__main__":
    sys.exit(execute(run, JOB))
