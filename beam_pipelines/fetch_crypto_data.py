"""One snapshot of the crypto market: ask CoinGecko page by page, land the exact bytes, and write the valid rows as one
CSV.

Pages are asked for by a fixed number of shards, which divide the API quota; each answer lies in ``landing/`` before
anything reads it. Then the whole snapshot is one Beam element: its pages become columns, bad rows are set aside with
their reason, and each asset is written once.

On one machine, against the simulator (``python -m local.simulator``) or CoinGecko itself (``--source=live``, without
``--snapshot_at``)::

    python -m beam_pipelines.fetch_crypto_data --runner=DirectRunner --source=simulator \
        --snapshot_at=2026-01-02T00:00:00Z --output=/tmp/coinbeam

Again from what was landed, byte for byte the same CSV::

    python -m beam_pipelines.fetch_crypto_data --runner=DirectRunner \
        --source='/tmp/coinbeam/landing/markets/*/*' --output=/tmp/again

On Dataflow::

    COINBEAM_ENV=production python -m beam_pipelines.fetch_crypto_data --runner=DataflowRunner --source=live \
        --output=gs://BUCKET/batches/today --landing=gs://BUCKET --project=PROJECT \
        --region=us-central1 --temp_location=gs://BUCKET/dataflow/temp

In ``--output``: ``crypto_<date>.csv``, ``rejected_<date>.ndjson`` and ``report_fetch_crypto_data.json``.
"""

import json
import sys
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.transforms.combiners import ToListCombineFn

from beam_pipelines.batch_files.builder import BatchInput
from beam_pipelines.batch_files.write import WriteBatch
from beam_pipelines.job.command import execute
from beam_pipelines.job.launch import Launch, begin, prepare
from beam_pipelines.job.options import JobRequest, MarketRequest, read_market
from beam_pipelines.job.replay import Replay, find_replays
from beam_pipelines.job.report import Report, WriteReport, total
from beam_pipelines.job.reservation import CallOrder
from beam_pipelines.job.sources import expected_assets
from beam_pipelines.landing.files import exists, list_files, read_bytes, write_atomically
from beam_pipelines.snapshot.rules import MarketRules
from beam_pipelines.snapshot.table import SnapshotReport, SnapshotTable
from beam_pipelines.snapshot.walk import (
    STATS,
    FetchedPage,
    FetchPages,
    FetchPlan,
    FetchStats,
    LandingFolder,
    ShardClients,
    deadline,
    is_page,
    page_size,
)
from coinbeam.batch.identity import file_stamp
from coinbeam.batch.jobs import FETCH_CRYPTO_DATA as JOB
from coinbeam.batch.jobs import MARKETS
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.options import SnapshotOptions
from coinbeam.batch.tables import SNAPSHOT_FACT
from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError
from coinbeam.landing.layout import COMPLETE_NAME, newest_revisions
from coinbeam.settings import Settings


@dataclass(frozen=True)
class MarketFetch:
    """A batch to ask for: the plan of its calls, who makes them, how many are needed, and the clock by which they are
    in time.
    """

    plan: FetchPlan
    clients: ShardClients
    calls: int
    clock: Clock = utc_now


def run(argv: Sequence[str], settings: Settings | None = None, clock: Clock = utc_now) -> Report:
    """Run the job to its end.

    Args:
        argv: the command line without the program.
        settings: the environment; by default that of this process.
        clock: source of "now".

    Returns:
        The report, with the counters of the runner.

    Raises:
        SettingsError: an option or setting is wrong; nothing was called.
    """
    launch = prepare(JOB, argv, settings, clock)
    job, market = launch.job, read_market(launch.read(SnapshotOptions), launch.settings)
    builder = SnapshotTable(MarketRules(load_contract(SNAPSHOT_FACT), launch.settings.quality.clock_skew_seconds))
    work = (
        find_replays(job, MARKETS, market.per_page, market.universe, launch.settings)
        if job.glob
        else prepare_fetch(launch, market)
    )
    batches = [replay.batch for replay in work] if isinstance(work, list) else [work.plan.manifest]
    _refuse_shared_files(batches, job)
    summarise = partial(fetch_report, batches=batches, mode="replay" if job.glob else "fetch")
    if isinstance(work, list):
        return launch.run(partial(build, work=work, job=job, builder=builder), summarise)
    order = CallOrder(JOB.name, work.plan.manifest.batch_id, work.calls, work.clients)
    return launch.fetch(
        order, lambda clients: partial(build, work=replace(work, clients=clients), job=job, builder=builder), summarise
    )


def prepare_fetch(launch: Launch, market: MarketRequest) -> MarketFetch | list[Replay]:
    """Decide whom to ask, and write the manifest of the batch; a batch that an earlier attempt landed as a whole asks
    nobody.

    Raises:
        SettingsError: a setting is wrong, or contradicts an earlier attempt of the batch.
    """
    job, universe = launch.job, market.universe
    size = page_size(universe, market.per_page)
    begun = begin(launch, job.batch_id(universe), (MARKETS,), size, universe.label, market.fetch_shards)
    where = begun.folders[0]
    whole = landed_whole(where, begun.manifest)
    if whole is not None:
        return [whole]
    until = deadline(job.snapshot_at, job.period, begun.source)
    plan = FetchPlan(begun.manifest, where, universe, begun.clients.shards, until)
    calls = plan.calls_needed(LandingFolder(where, is_page).stems, expected_assets(launch.settings, begun.source))
    return MarketFetch(plan, begun.clients, calls, launch.clock)


def build(
    pipeline: beam.Pipeline,
    report: WriteReport,
    work: MarketFetch | list[Replay],
    job: JobRequest,
    builder: SnapshotTable,
) -> None:
    """Add the steps of the job to a pipeline."""
    to_input = partial(snapshot_input, job=job)
    if isinstance(work, list):
        snapshots = pipeline | "Replays" >> beam.Create([to_input(replay) for replay in work])
        reused = FetchStats(bodies_reused=0 if job.glob else sum(len(replay.uris) for replay in work))
        parts = [
            snapshots | "Write snapshots" >> WriteBatch(builder),
            pipeline | "Reused pages" >> beam.Create([reused]),
        ]
    else:
        fetched = (
            pipeline
            | "Shards" >> beam.Create(range(work.plan.shards))
            | "Fetch" >> FetchPages(work.plan, work.clients, work.clock)
        )
        snapshots = (
            fetched.pages
            | "Gather pages" >> beam.CombineGlobally(ToListCombineFn())
            | "Seal landing" >> beam.Map(seal, work.plan.folder)
            | "In order" >> beam.Map(in_order, work.plan.manifest)
            | "To snapshot" >> beam.Map(to_input)
        )
        parts = [snapshots | "Write snapshots" >> WriteBatch(builder), fetched[STATS]]
    _ = parts | "All parts" >> beam.Flatten() | "Report" >> report


def in_order(pages: Iterable[FetchedPage], manifest: BatchManifest) -> Replay:
    """The pages of a batch by number."""
    return Replay(manifest, tuple(page.uri for page in sorted(pages, key=lambda page: page.number)))


def seal(pages: Sequence[FetchedPage], folder: str) -> Sequence[FetchedPage]:
    """Mark the landing folder of a batch as complete; all shards have ended."""
    said = {"pages": len(pages), "malformed": sum(not page.is_readable for page in pages)}
    write_atomically(f"{folder}/{COMPLETE_NAME}", (json.dumps(said) + "\n").encode())
    return pages


def landed_whole(folder: str, manifest: BatchManifest) -> Replay | None:
    """A batch whose every page was landed and can be read: there is nothing left to ask for."""
    uri = f"{folder}/{COMPLETE_NAME}"
    if not exists(uri):
        return None
    said = json.loads(read_bytes(uri))
    pages = newest_revisions(str(metadata.path) for metadata in list_files(f"{folder}/*.json.gz"))
    return Replay(manifest, tuple(pages)) if not said["malformed"] and len(pages) == said["pages"] else None


def snapshot_input(replay: Replay, job: JobRequest) -> BatchInput[str]:
    """A batch with the names of its files."""
    stamp = file_stamp(replay.batch.snapshot_at, job.period)
    return BatchInput.of(replay.batch, replay.uris, job.output, JOB, SNAPSHOT_FACT, stamp)


def _refuse_shared_files(batches: Sequence[BatchManifest], job: JobRequest) -> None:
    """Two batches of one instant would overwrite each other's file."""
    stamps = Counter(file_stamp(batch.snapshot_at, job.period) for batch in batches)
    stamp, count = stamps.most_common(1)[0]
    if count > 1:
        names = ", ".join(batch.batch_id for batch in batches if file_stamp(batch.snapshot_at, job.period) == stamp)
        raise SettingsError(
            f"Batches {names} would all write {JOB.file(SNAPSHOT_FACT, stamp)}.",
            "Narrow --source to one of them, or use --period=hourly for hourly batches.",
        )


def fetch_report(parts: list[Any], batches: Sequence[BatchManifest], mode: str) -> Report:
    """The report of the job: what was read, what came of it, what it cost.

    Args:
        parts: `SnapshotReport` and `FetchStats` objects.
        batches: the batches that were written.
        mode: fetch or replay.
    """
    stats = FetchStats()
    for part in parts:
        if isinstance(part, FetchStats):
            stats.add(part)
    one = batches[0] if len(batches) == 1 else None
    return {
        "job": JOB.name,
        "mode": mode,
        "batch_id": one and one.batch_id,
        "source_id": one and one.source_id,
        "snapshot_at": one and format_instant(one.snapshot_at),
        "quote_currency": one and one.quote_currency,
        "universe": one and one.universe,
        "batches": [batch.batch_id for batch in batches],
        **total(part.to_dict() for part in parts if isinstance(part, SnapshotReport)),
        **vars(stats),
    }


if __name__ == "__main__":
    sys.exit(execute(run, JOB))
