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
from collections.abc import Sequence
from functools import partial

from beam_pipelines.batch_files.write import write_landed
from beam_pipelines.job.clients import without_key
from beam_pipelines.job.command import execute
from beam_pipelines.job.launch import Launch, prepare
from beam_pipelines.job.options import JobRequest
from beam_pipelines.job.replay import find_batches, refuse_shared_file, refuse_simulated
from beam_pipelines.job.report import Report
from beam_pipelines.job.sources import wanted_source
from beam_pipelines.landing.fetch import Fetch, Given
from beam_pipelines.landing.folder import FetchStats, begin_batch, begun_batches
from beam_pipelines.sentiment.table import IndexTable
from beam_pipelines.sentiment.walk import IndexWalk
from coinbeam.batch.digest import digest
from coinbeam.batch.jobs import FEAR_GREED
from coinbeam.batch.jobs import FETCH_FEAR_GREED as JOB
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.tables import FEAR_GREED_FACT
from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import load_contract
from coinbeam.landing.layout import folder
from coinbeam.settings import Settings
from coinbeam.sources.alternative_me import FearGreedClient
from coinbeam.sources.choose import RuntimeSource, refuse_without_network
from coinbeam.sources.registry import ALTERNATIVE_ME, FILES


def run(argv: Sequence[str], settings: Settings | None = None, clock: Clock = utc_now) -> Report:
    """Run the job to its end and return its report, with the counters of the runner.

    Raises:
        SettingsError: an option or setting is wrong; nothing was called.
    """
    launch = prepare(JOB, argv, settings, clock)
    job, contract = launch.job, load_contract(FEAR_GREED_FACT)
    builder = IndexTable(contract, launch.settings.quality.clock_skew_seconds, clock())
    write = write_landed(builder, JOB, job.output)
    if job.glob:
        name = f"fear-greed-files-{digest(job.glob)}"
        landed = find_batches(job, lambda _: index_batch(job, name, FILES.id))
        batches = [one.batch for one in landed]
        refuse_shared_file([JOB.file(FEAR_GREED_FACT)] * len(batches), batches)
        refuse_simulated([batch.source_id for batch in batches], launch.settings)
        return launch.run(Given(landed, FetchStats()), write, launch.head(*batches))
    walk, source = prepare_fetch(launch)
    url = source.beside("/fng/", launch.settings.history.fear_greed_url)
    if source.kind == "live":
        refuse_without_network(launch.settings, url)
    client = partial(FearGreedClient, without_key(launch.settings.coingecko), url)
    return launch.run(Fetch(walk, client, clock), write, launch.head(walk.manifest))


def prepare_fetch(launch: Launch) -> tuple[IndexWalk, RuntimeSource]:
    """Decide whom to ask, and write the manifest of the batch.

    Raises:
        SettingsError: a setting is wrong, or contradicts an earlier attempt of the batch.
    """
    job = launch.job
    name = job.batch or f"{job.snapshot_at:%Y%m%dT%H%MZ}-fear-greed"
    begun = begun_batches(job.landing, FEAR_GREED, name, ALTERNATIVE_ME)
    source = wanted_source(job, begun, launch.settings)
    batch = index_batch(job, name, ALTERNATIVE_ME.answering(source.kind))
    where = folder(job.landing, FEAR_GREED, name, batch.source_id)
    begin_batch(where, batch)
    return IndexWalk(batch, where), source


def index_batch(job: JobRequest, name: str, source_id: str) -> BatchManifest:
    """The batch of one answer; it has neither pages nor a selection."""
    return BatchManifest(name, FEAR_GREED, source_id, job.snapshot_at, job.quote_currency, 1, FEAR_GREED)


if __name__ == "__main__":
    sys.exit(execute(run, JOB))
