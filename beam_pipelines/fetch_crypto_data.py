"""One snapshot of the crypto market: ask CoinGecko page by page, land the exact bytes, and write the valid rows as one CSV.

Pages are asked for by a fixed number of shards, which divide the API quota; each answer lies in ``landing/`` before anything reads it. Then
the whole snapshot is one Beam element: its pages become columns, bad rows are set aside with their reason, and each asset is written once.

On one machine, against the simulator (``python -m local.simulator``) or CoinGecko itself (``--source=live``, without ``--snapshot_at``)::

    python -m beam_pipelines.fetch_crypto_data --runner=DirectRunner --source=simulator \
        --snapshot_at=2026-01-02T00:00:00Z --output=/tmp/coinbeam

Again from what was landed, byte for byte the same CSV::

    python -m beam_pipelines.fetch_crypto_data --runner=DirectRunner --source='/tmp/coinbeam/landing/markets/*/*' --output=/tmp/again

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
from dataclasses import dataclass
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.options.pipeline_options import PipelineOptions
from apache_beam.transforms.combiners import ToListCombineFn

from beam_pipelines.command import execute
from beam_pipelines.fetching import (
    STATS,
    ClientFactory,
    FetchedPage,
    FetchPages,
    FetchPlan,
    FetchStats,
    begin_batch,
    deadline,
    landed_manifest,
    page_size,
)
from beam_pipelines.files import exists, list_files, read_bytes, write_atomically
from beam_pipelines.markets.rules import MarketRules
from beam_pipelines.markets.snapshot import SnapshotReport
from beam_pipelines.markets.transform import SnapshotInput, WriteSnapshots
from beam_pipelines.options import CoinbeamOptions, JobRequest, MarketOptions, MarketRequest, beam_options, read_job, read_market
from beam_pipelines.replaying import Replay, find_replays
from beam_pipelines.reports import Report, WriteReport, final_report, forget, report_uri, total
from beam_pipelines.sources import make_clients, refuse_other_times, resolve_source, source_id
from coinbeam.batch import BatchManifest, file_stamp, top_n
from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError
from coinbeam.landing import COMPLETE_NAME, folder, newest_revisions
from coinbeam.settings import Settings, load_settings

JOB = "fetch_crypto_data"
TABLE = "crypto_market_snapshot_fact"
ENDPOINT = "markets"


@dataclass(frozen=True)
class MarketFetch:
    """A batch to ask for: the plan of its calls, who makes them, and the clock by which they are in time."""

    plan: FetchPlan
    clients: ClientFactory
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
    settings = settings or load_settings()
    options = beam_options(argv, (CoinbeamOptions, MarketOptions))
    job, market = read_job(options, settings, clock), read_market(options, settings)
    rules = MarketRules.from_contract(load_contract(TABLE), settings.quality.clock_skew_seconds)
    work = (
        find_replays(job, ENDPOINT, market.per_page, market.universe, settings)
        if job.glob
        else prepare_fetch(job, market, settings, options, clock)
    )
    batches = [replay.batch for replay in work] if isinstance(work, list) else [work.plan.manifest]
    _refuse_shared_files(batches, job)
    uri = report_uri(job.output, JOB)
    forget(uri)
    summarise = partial(fetch_report, batches=batches, mode="replay" if job.glob else "fetch")
    with beam.Pipeline(options=options) as pipeline:
        build(pipeline, work, job, rules, WriteReport(uri, summarise))
    return final_report(uri, pipeline.result)


def prepare_fetch(
    job: JobRequest, market: MarketRequest, settings: Settings, options: PipelineOptions, clock: Clock
) -> MarketFetch | list[Replay]:
    """Decide whom to ask, and write the manifest of the batch; a batch that an earlier attempt landed as a whole asks nobody.

    Raises:
        SettingsError: a setting is wrong, or contradicts an earlier attempt of the batch.
    """
    batch = job.batch_id(market.universe)
    where = folder(job.landing, ENDPOINT, batch)
    begun = landed_manifest(where)
    source = resolve_source(job, begun, settings)
    refuse_other_times(job, source, begun, clock())
    clients = make_clients(job, source, settings, options, market.fetch_shards)
    size = page_size(market.universe, market.per_page)
    manifest = BatchManifest(batch, ENDPOINT, source_id(source), job.snapshot_at, job.quote_currency, size, market.universe.label)
    begin_batch(where, manifest)
    whole = landed_whole(where, manifest)
    if whole is not None:
        return [whole]
    return MarketFetch(
        FetchPlan(manifest, where, market.universe, clients.shards, deadline(job.snapshot_at, job.period, source)), clients, clock
    )


def build(pipeline: beam.Pipeline, work: MarketFetch | list[Replay], job: JobRequest, rules: MarketRules, report: WriteReport) -> None:
    """Add the steps of the job to a pipeline."""
    to_input = partial(snapshot_input, job=job)
    if isinstance(work, list):
        snapshots = pipeline | "Replays" >> beam.Create([to_input(replay) for replay in work])
        reused = FetchStats(bodies_reused=0 if job.glob else sum(len(replay.uris) for replay in work))
        parts = [snapshots | "Write snapshots" >> WriteSnapshots(rules), pipeline | "Reused pages" >> beam.Create([reused])]
    else:
        fetched = pipeline | "Shards" >> beam.Create(range(work.plan.shards)) | "Fetch" >> FetchPages(work.plan, work.clients, work.clock)
        snapshots = (
            fetched.pages
            | "Gather pages" >> beam.CombineGlobally(ToListCombineFn())
            | "Seal landing" >> beam.Map(seal, work.plan.folder)
            | "In order" >> beam.Map(in_order, work.plan.manifest)
            | "To snapshot" >> beam.Map(to_input)
        )
        parts = [snapshots | "Write snapshots" >> WriteSnapshots(rules), fetched[STATS]]
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


def snapshot_input(replay: Replay, job: JobRequest) -> SnapshotInput:
    """A batch with the names of its files."""
    stamp = file_stamp(replay.batch.snapshot_at, job.period)
    files = f"{job.output}/crypto_{stamp}.csv", f"{job.output}/rejected_{stamp}.ndjson"
    return SnapshotInput(replay.batch, replay.uris, *files, limit=top_n(replay.batch.universe))


def _refuse_shared_files(batches: Sequence[BatchManifest], job: JobRequest) -> None:
    """Two batches of one instant would overwrite each other's file."""
    stamps = Counter(file_stamp(batch.snapshot_at, job.period) for batch in batches)
    stamp, count = stamps.most_common(1)[0]
    if count > 1:
        names = ", ".join(batch.batch_id for batch in batches if file_stamp(batch.snapshot_at, job.period) == stamp)
        raise SettingsError(
            f"Batches {names} would all write crypto_{stamp}.csv.",
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
        "job": JOB,
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
    sys.exit(execute(run, job=JOB))
