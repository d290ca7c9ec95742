"""The asset dimension: the list of all coins, and details of those that need them most within the budget of calls.

The details of a coin cost one call each. Coins without any come first, then those with the oldest; the rest waits and
is counted. What an earlier attempt of the batch landed counts towards the budget and is not asked for again.

::

    python -m beam_pipelines.populate_crypto_asset_dim --runner=DirectRunner --source=simulator --max_details=20 \
        --snapshot_at=2026-01-02T00:00:00Z --output=/tmp/coinbeam

Again from what was landed::

    python -m beam_pipelines.populate_crypto_asset_dim --runner=DirectRunner \
        --source='/tmp/coinbeam/landing/coins*/*/*' --output=/tmp/again

On Dataflow::

    COINBEAM_ENV=production python -m beam_pipelines.populate_crypto_asset_dim --runner=DataflowRunner --source=live \
        --output=gs://BUCKET/batches/today --landing=gs://BUCKET --project=PROJECT \
        --region=us-central1 --temp_location=gs://BUCKET/dataflow/temp

In ``--output``: ``asset_dim.csv``, ``rejected_assets.ndjson`` and ``report_populate_crypto_asset_dim.json``.
"""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import partial

import apache_beam as beam

from beam_pipelines.assets.table import AssetTable
from beam_pipelines.assets.walk import AssetBodies, AssetFetch, FetchAssets, load_known
from beam_pipelines.batch_files.builder import BatchInput
from beam_pipelines.batch_files.write import WriteBatch
from beam_pipelines.job.command import execute
from beam_pipelines.job.launch import Launch, begin, prepare
from beam_pipelines.job.options import JobRequest
from beam_pipelines.job.replay import find_replays
from beam_pipelines.job.report import Report, WriteReport
from beam_pipelines.job.reservation import CallOrder
from beam_pipelines.snapshot.walk import STATS, ShardClients, batch_report, deadline
from coinbeam.batch.jobs import COINS, COINS_LIST
from coinbeam.batch.jobs import POPULATE_CRYPTO_ASSET_DIM as JOB
from coinbeam.batch.options import AssetOptions
from coinbeam.batch.tables import ASSETS
from coinbeam.batch.universe import UniverseSpec
from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError
from coinbeam.settings import Settings


@dataclass(frozen=True)
class AskedFor:
    """A batch to ask for, who asks, how many calls are needed, and the clock by which they are in time."""

    fetch: AssetFetch
    clients: ShardClients
    calls: int
    clock: Clock = utc_now


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
    job, request = launch.job, launch.read(AssetOptions)
    builder = AssetTable(load_contract(ASSETS), load_known(request.known_assets))
    work = find_bodies(job, launch.settings) if job.glob else prepare_fetch(launch, request)
    batch = work.replay.batch if isinstance(work, AssetBodies) else work.fetch.manifest
    summarise = partial(batch_report, job=JOB.name, batch=batch, mode="replay" if job.glob else "fetch")
    steps = partial(build, builder=builder, output=job.output)
    if isinstance(work, AssetBodies):
        return launch.run(partial(steps, work=work), summarise)
    order = CallOrder(JOB.name, batch.batch_id, work.calls, work.clients)
    return launch.fetch(order, lambda clients: partial(steps, work=replace(work, clients=clients)), summarise)


def find_bodies(job: JobRequest, settings: Settings) -> AssetBodies:
    """The one batch that a replay reads.

    Raises:
        SettingsError: the glob matches several batches, or as `find_replays` raises it.
        TerminalError: nothing matches.
    """
    replays = find_replays(job, COINS_LIST, 1, UniverseSpec(), settings)
    if len(replays) > 1:
        names = ", ".join(replay.batch.batch_id for replay in replays)
        raise SettingsError(
            f"Batches {names} would all write {JOB.file(ASSETS)}.",
            "Narrow --source to one of them.",
        )
    return AssetBodies(replays[0])


def prepare_fetch(launch: Launch, request: AssetOptions) -> AskedFor:
    """Decide whom to ask, and write the manifests of the batch.

    Raises:
        SettingsError: a setting is wrong, or contradicts an earlier attempt of the batch.
    """
    job, universe = launch.job, UniverseSpec()
    begun = begin(launch, job.batch_id(universe), (COINS_LIST, COINS), 1, universe.label, 1)
    until = deadline(job.snapshot_at, job.period, begun.source)
    list_folder, details_folder = begun.folders
    most = launch.settings.market.max_details if request.max_details is None else request.max_details
    fetch = AssetFetch(begun.manifest, list_folder, details_folder, most, request.known_assets, until)
    return AskedFor(fetch, begun.clients, fetch.calls_needed(), launch.clock)


def build(
    pipeline: beam.Pipeline, report: WriteReport, work: AskedFor | AssetBodies, builder: AssetTable, output: str
) -> None:
    """Add the steps of the job to a pipeline."""
    if isinstance(work, AssetBodies):
        bodies, parts = pipeline | "Bodies" >> beam.Create([work]), []
    else:
        fetched = (
            pipeline
            | "Batch" >> beam.Create([work.fetch])
            | "Fetch" >> FetchAssets(builder.contract, work.clients, work.clock)
        )
        bodies, parts = fetched.bodies, [fetched[STATS]]
    parts.append(bodies | "To batch" >> beam.Map(asset_input, output) | "Write assets" >> WriteBatch(builder))
    _ = parts | "All parts" >> beam.Flatten() | "Report" >> report


def asset_input(bodies: AssetBodies, output: str) -> BatchInput[str]:
    """A batch with the names of its files."""
    found = BatchInput.of(bodies.replay.batch, bodies.replay.uris, output, JOB, ASSETS)
    return replace(found, missing=bodies.details_missing)


if __name__ == "__main__":
    sys.exit(execute(run, JOB))
