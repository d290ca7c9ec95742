"""Daily history of single assets: ask CoinGecko for pieces of it, land the exact bytes, and write one row for each
closed day as one CSV.

A piece is one call for one asset and up to a year. It is landed under a name made of nothing but what was asked, so
that a piece that lies there is never asked for again, by this batch or by any other. Then the whole batch is one Beam
element: its bodies become columns one asset at a time, the earliest settled point of a UTC day stands for the day, and
every other point is counted.

On one machine, against the simulator (``python -m local.simulator``) or CoinGecko itself (``--source=live``)::

    python -m beam_pipelines.fetch_market_history --runner=DirectRunner --source=simulator \
        --assets=bitcoin,ethereum --from_date=2026-01-01 --output=/tmp/coinbeam

Years of history on a free plan, from CSV exports of the CoinGecko website::

    python -m beam_pipelines.fetch_market_history --runner=DirectRunner --source='exports/*-usd-max.csv' \
        --asset_of=btc-usd-max.csv=bitcoin,eth-usd-max.csv=ethereum --output=/tmp/coinbeam

Again from what was landed, byte for byte the same CSV::

    python -m beam_pipelines.fetch_market_history --runner=DirectRunner \
        --source='/tmp/coinbeam/landing/market_chart/*/*/*' --output=/tmp/again

On Dataflow::

    COINBEAM_ENV=production python -m beam_pipelines.fetch_market_history --runner=DataflowRunner --source=live \
        --pieces=gs://BUCKET/batches/B/pieces.json --output=gs://BUCKET/batches/B --landing=gs://BUCKET \
        --project=PROJECT --region=us-central1 --temp_location=gs://BUCKET/dataflow/temp

In ``--output``: ``history_<batch>.csv``, ``rejected_history.ndjson`` and ``report_fetch_market_history.json``.
"""

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, time
from functools import partial
from typing import Any

import apache_beam as beam
from apache_beam.transforms.combiners import ToListCombineFn

from beam_pipelines.batch_files.builder import BatchInput
from beam_pipelines.batch_files.write import WriteBatch
from beam_pipelines.history.chart import PieceBody
from beam_pipelines.history.replay import find_bodies
from beam_pipelines.history.rules import HistoryRules
from beam_pipelines.history.table import HistoryReport, HistoryTable
from beam_pipelines.history.walk import FetchPieces, PieceFetch, shard_pieces
from beam_pipelines.job.command import execute
from beam_pipelines.job.launch import Launch, prepare
from beam_pipelines.job.options import HistoryRequest, JobRequest, read_history
from beam_pipelines.job.report import Report, WriteReport
from beam_pipelines.job.reservation import CallOrder
from beam_pipelines.job.sources import make_clients, resolve_source, source_id
from beam_pipelines.landing.files import exists, read_bytes
from beam_pipelines.snapshot.walk import STATS, FetchStats, ShardClients, without_key
from coinbeam.batch.digest import digest
from coinbeam.batch.jobs import FETCH_MARKET_HISTORY as JOB
from coinbeam.batch.jobs import MARKET_CHART
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.options import HistoryOptions
from coinbeam.batch.tables import DAILY_FACT
from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError
from coinbeam.feeds.history.pieces import (
    HistoryPiece,
    newest_closed_day,
    oldest_day,
    pieces,
    reach,
    read_pieces,
)
from coinbeam.settings import Settings


@dataclass(frozen=True)
class HistoryFetch:
    """Pieces to ask for: who is asked, how many calls are needed, and the clock of the landing."""

    pieces: tuple[HistoryPiece, ...]
    fetch: PieceFetch
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
        SettingsError: an option or setting is wrong, or the plan does not reach so far; nothing was called.
    """
    launch = prepare(JOB, argv, settings, clock)
    history = launch.settings.history
    request = read_history(launch.read(HistoryOptions), launch.job, newest_closed_day(clock(), history))
    skew = launch.settings.quality.clock_skew_seconds
    builder = HistoryTable(HistoryRules(load_contract(DAILY_FACT), skew, history.settle_minutes))
    work: HistoryFetch | BatchInput[PieceBody]
    if launch.job.glob:
        bodies = find_bodies(launch.job, request, launch.settings)
        batch = replayed_batch(bodies, launch.job)
        work = history_input(bodies, batch, launch.job.output)
    else:
        work, batch = prepare_fetch(launch, request)
    summarise = partial(history_report, batch=batch, mode="replay" if launch.job.glob else "fetch")
    steps = partial(build, batch=batch, output=launch.job.output, builder=builder)
    if isinstance(work, BatchInput):
        return launch.run(partial(steps, work=work), summarise)
    order = CallOrder(JOB.name, batch.batch_id, work.calls, work.clients)
    return launch.fetch(order, lambda clients: partial(steps, work=replace(work, clients=clients)), summarise)


def prepare_fetch(launch: Launch, request: HistoryRequest) -> tuple[HistoryFetch, BatchManifest]:
    """Decide whom to ask for which pieces.

    Raises:
        SettingsError: a setting is wrong, a piece is not closed yet, or lies beyond the plan and was not landed.
    """
    job, settings, now = launch.job, launch.settings, launch.clock()
    wanted = planned_pieces(request, job, settings)
    currency = wanted[0].quote_currency
    source = resolve_source(job, None, settings)
    refuse_open_days(wanted, newest_closed_day(now, settings.history))
    coingecko = without_key(settings.coingecko)
    fetch = PieceFetch(job.landing, source_id(source), coingecko)
    oldest = oldest_day(coingecko.limits.history_days, now)
    beyond = [
        piece for piece in wanted if piece.first < oldest and not exists(piece.uri(fetch.landing, fetch.source_id))
    ]
    if beyond:
        reach(coingecko, min(piece.first for piece in beyond), now)
    clients = make_clients(job, source, settings, launch.options, request.fetch_shards)
    batch = history_batch(job, currency, fetch.source_id, [(piece.asset_id, piece.name) for piece in wanted], wanted)
    return HistoryFetch(tuple(wanted), fetch, clients, calls_needed(wanted, fetch, clients.shards), launch.clock), batch


def calls_needed(wanted: Sequence[HistoryPiece], fetch: PieceFetch, shards: int) -> int:
    """Calls without retries: of the shard with the most pieces that were not landed, times the shards, since all have
    the same share.
    """
    open_pieces = [
        sum(not exists(piece.uri(fetch.landing, fetch.source_id)) for piece in shard)
        for shard in shard_pieces(wanted, shards)
    ]
    return shards * max(open_pieces)


def planned_pieces(request: HistoryRequest, job: JobRequest, settings: Settings) -> list[HistoryPiece]:
    """The pieces of the file, or those that assets and days take; sorted.

    Raises:
        SettingsError: the file is not there or holds no pieces, or the currencies differ.
    """
    if request.pieces is None:
        first, last = request.first or date.max, request.last or date.min
        days = settings.history.piece_days
        return sorted(
            piece for asset in request.assets for piece in pieces(asset, job.quote_currency, first, last, days)
        )
    if not exists(request.pieces):
        raise SettingsError(
            f"--pieces={request.pieces} does not exist.",
            "Check the path; coinbeam.feeds.history.pieces.pieces_json writes such a file.",
        )
    return read_pieces(read_bytes(request.pieces))


def refuse_open_days(wanted: Iterable[HistoryPiece], newest: date) -> None:
    """Refuse a piece whose last day is not settled: once landed it would never be asked for again, and the day would
    stay a gap.

    Raises:
        SettingsError: there is one.
    """
    late = max(piece.last for piece in wanted)
    if late > newest:
        raise SettingsError(
            f"{late} is not a closed day yet: the newest one is {newest}.", f"End with --to_date={newest} or earlier."
        )


def replayed_batch(bodies: Sequence[PieceBody], job: JobRequest) -> BatchManifest:
    """The batch of a replay: that of the same pieces, when they were landed; of files their own."""
    names = [
        (body.asset_id, f"{body.first}_{body.last}" if not body.is_foreign else str(body.uri).rpartition("/")[2])
        for body in bodies
    ]
    sources = sorted({body.source_id for body in bodies})
    days = [
        HistoryPiece(body.asset_id, job.quote_currency, body.first, body.last)
        for body in bodies
        if body.first and body.last
    ]
    return history_batch(job, job.quote_currency, sources[0], names, days)


def history_batch(
    job: JobRequest, currency: str, source: str, names: Iterable[tuple[str, str]], days: Sequence[HistoryPiece]
) -> BatchManifest:
    """A batch of history. Its name is that of the same pieces in every run; its instant, where nobody gave one, is
    their last day.
    """
    name = job.batch or f"daily-{currency}-{digest(*sorted(f'{asset} {piece}' for asset, piece in names), length=12)}"
    instant = job.snapshot_at
    if not job.snapshot_given and days:
        instant = datetime.combine(max(piece.last for piece in days), time(), UTC)
    return BatchManifest(name, MARKET_CHART, source, instant, currency, 1, "history")


def history_input(bodies: Iterable[PieceBody], batch: BatchManifest, output: str) -> BatchInput[PieceBody]:
    """A batch with the names of its files."""
    return BatchInput.of(batch, bodies, output, JOB, DAILY_FACT, batch.batch_id)


def build(
    pipeline: beam.Pipeline,
    report: WriteReport,
    work: HistoryFetch | BatchInput[PieceBody],
    batch: BatchManifest,
    output: str,
    builder: HistoryTable,
) -> None:
    """Add the steps of the job to a pipeline."""
    if isinstance(work, BatchInput):
        parts = [pipeline | "Bodies" >> beam.Create([work]) | "Write history" >> WriteBatch(builder)]
    else:
        shards = pipeline | "Shards" >> beam.Create(shard_pieces(work.pieces, work.clients.shards))
        fetched = shards | "Fetch" >> FetchPieces(work.fetch, work.clients, work.clock)
        batches = (
            fetched.pieces
            | "Gather pieces" >> beam.CombineGlobally(ToListCombineFn())
            | "To batch" >> beam.Map(history_input, batch, output)
        )
        parts = [batches | "Write history" >> WriteBatch(builder), fetched[STATS]]
    _ = parts | "All parts" >> beam.Flatten() | "Report" >> report


def history_report(parts: list[Any], batch: BatchManifest, mode: str) -> Report:
    """The report of the job: what was read, what came of it, what it cost, and the same piece by piece.

    Args:
        parts: a `HistoryReport`, and `FetchStats` objects when the API was asked.
        batch: the batch that was written.
        mode: fetch or replay.
    """
    stats, counts = FetchStats(), dict[str, Any]()
    for part in parts:
        if isinstance(part, FetchStats):
            stats.add(part)
        elif isinstance(part, HistoryReport):
            counts = part.to_dict()
    sources = sorted({piece["source_id"] for piece in counts["pieces"]})
    listed = counts.pop("pieces")
    return {
        "job": JOB.name,
        "mode": mode,
        "batch_id": batch.batch_id,
        "source_id": sources[0] if len(sources) == 1 else None,
        "source_ids": sources,
        "snapshot_at": format_instant(batch.snapshot_at),
        "quote_currency": batch.quote_currency,
        "file": JOB.file(DAILY_FACT, batch.batch_id),
        **counts,
        **vars(stats),
        "pieces": listed,
    }


if __name__ == "__main__":
    sys.exit(execute(run, JOB))
