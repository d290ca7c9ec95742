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
from datetime import UTC, date, datetime, time
from operator import attrgetter

from beam_pipelines.batch_files.write import write_landed
from beam_pipelines.history.chart import PieceBody
from beam_pipelines.history.replay import find_bodies
from beam_pipelines.history.rules import HistoryRules
from beam_pipelines.history.table import HistoryTable
from beam_pipelines.history.walk import HistoryWalk
from beam_pipelines.job.clients import make_clients
from beam_pipelines.job.command import execute
from beam_pipelines.job.launch import Launch, prepare
from beam_pipelines.job.options import JobRequest, read_history
from beam_pipelines.job.report import Report
from beam_pipelines.job.reservation import CallOrder, reserved
from beam_pipelines.job.sources import resolve_source, source_id
from beam_pipelines.landing.batch import LandedBatch
from beam_pipelines.landing.fetch import Fetch, Given
from beam_pipelines.landing.files import exists, read_bytes
from beam_pipelines.landing.folder import FetchStats
from coinbeam.batch.digest import digest
from coinbeam.batch.jobs import FETCH_MARKET_HISTORY as JOB
from coinbeam.batch.jobs import MARKET_CHART
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.options import HistoryOptions
from coinbeam.batch.tables import DAILY_FACT
from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError
from coinbeam.feeds.history.pieces import HistoryPiece, newest_closed_day, oldest_day, pieces, reach, read_pieces
from coinbeam.settings import Settings


def run(argv: Sequence[str], settings: Settings | None = None, clock: Clock = utc_now) -> Report:
    """Run the job to its end and return its report, with the counters of the runner.

    Raises:
        SettingsError: an option or setting is wrong, or the plan does not reach so far; nothing was called.
    """
    launch = prepare(JOB, argv, settings, clock)
    job, history = launch.job, launch.settings.history
    request = read_history(launch.read(HistoryOptions), job, newest_closed_day(clock(), history))
    skew = launch.settings.quality.clock_skew_seconds
    rules = HistoryRules(load_contract(DAILY_FACT), skew, history.settle_minutes, clock(), request.time_zone)
    write = write_landed(HistoryTable(rules), JOB, job.output, attrgetter("batch_id"))
    if job.glob:
        bodies = find_bodies(job, request, launch.settings)
        landed = LandedBatch(replayed_batch(bodies, job), tuple(bodies))
        sources = {body.source_id for body in bodies}
        return launch.run(Given([landed], FetchStats()), write, head(launch, landed.batch, sources))
    order, walk = prepare_fetch(launch, request)
    with reserved(order, launch) as clients:
        report = head(launch, walk.manifest, {walk.manifest.source_id})
        return launch.run(Fetch(walk, clients, clock), write, report, clients.reservation)


def prepare_fetch(launch: Launch, request: HistoryOptions) -> tuple[CallOrder, HistoryWalk]:
    """Decide whom to ask for which pieces.

    Raises:
        SettingsError: a setting is wrong, a piece is not closed yet, or lies beyond the plan and was not landed.
    """
    job, settings, now = launch.job, launch.settings, launch.clock()
    wanted = planned_pieces(request, job, settings)
    source = resolve_source(job, (), settings)
    refuse_open_days(wanted, newest_closed_day(now, settings.history))
    clients = make_clients(job, source, settings, launch.options, request.fetch_shards)
    names = [(piece.asset_id, piece.name) for piece in wanted]
    batch = history_batch(job, wanted[0].quote_currency, source_id(source), names, [piece.last for piece in wanted])
    walk = HistoryWalk(batch, tuple(wanted), job.landing, clients.coingecko, clients.shards)
    oldest = oldest_day(clients.coingecko.limits.history_days, now)
    beyond = [piece.first for piece in wanted if piece.first < oldest and not walk.is_landed(piece)]
    if beyond:
        reach(clients.coingecko, min(beyond), now)
    return CallOrder(batch.batch_id, walk.calls_needed(), clients), walk


def planned_pieces(request: HistoryOptions, job: JobRequest, settings: Settings) -> list[HistoryPiece]:
    """The pieces of the file, or those that assets and days take; sorted.

    Raises:
        SettingsError: the file is not there or holds no pieces, or the currencies differ.
    """
    if request.pieces is None:
        first, last = request.from_date or date.max, request.to_date or date.min
        days = settings.history.piece_days
        return sorted(
            piece for asset in request.assets or () for piece in pieces(asset, job.quote_currency, first, last, days)
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
    last_days = [body.last for body in bodies if body.first and body.last]
    return history_batch(job, job.quote_currency, sources[0], names, last_days)


def history_batch(
    job: JobRequest, currency: str, source: str, names: Iterable[tuple[str, str]], last_days: Sequence[date]
) -> BatchManifest:
    """A batch of history: same pieces, same name in every run; unless given, its instant is their last day."""
    name = job.batch or f"daily-{currency}-{digest(*sorted(f'{asset} {piece}' for asset, piece in names), length=12)}"
    instant = job.snapshot_at
    if not job.snapshot_given and last_days:
        instant = datetime.combine(max(last_days), time(), UTC)
    return BatchManifest(name, MARKET_CHART, source, instant, currency, 1, "history")


def head(launch: Launch, batch: BatchManifest, source_ids: Iterable[str]) -> Report:
    """What the report says first; of several sources their names only."""
    sources = sorted(source_ids)
    known = launch.head(batch) | {"source_id": sources[0] if len(sources) == 1 else None}
    return {
        **{name: known[name] for name in ("job", "mode", "batch_id", "source_id")},
        "source_ids": sources,
        "snapshot_at": known["snapshot_at"],
        "quote_currency": batch.quote_currency,
        "file": JOB.file(DAILY_FACT, batch.batch_id),
    }


if __name__ == "__main__":
    sys.exit(execute(run, JOB))
