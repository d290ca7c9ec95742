"""One snapshot of the crypto market: ask CoinGecko page by page, land the exact bytes, and write the valid rows as one
CSV, the exchange rates as another one.

Pages are asked for by a fixed number of shards, which divide the API quota; each answer lies in ``landing/`` before
anything reads it. Then the whole snapshot is one Beam element: its pages become columns, bad rows are set aside with
their reason, and each asset is written once. One call more asks for the exchange rates, which become a file of their
own; without them the prices are written all the same.

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

In ``--output``: ``crypto_<date>.csv``, ``exchange_rates_<date>.csv``, what was refused of both as
``rejected_<date>.ndjson`` and ``rejected_rates_<date>.ndjson``, and ``report_fetch_crypto_data.json``.
"""

import sys
from collections.abc import Sequence
from functools import partial

from beam_pipelines.batch_files.write import write_landed
from beam_pipelines.job.command import execute
from beam_pipelines.job.launch import Launch, begin, prepare
from beam_pipelines.job.options import JobRequest, MarketRequest, read_market
from beam_pipelines.job.replay import (
    find_batches,
    foreign_snapshot,
    refuse_other_markets,
    refuse_shared_file,
    refuse_unless_live,
)
from beam_pipelines.job.report import Report
from beam_pipelines.job.reservation import CallOrder, reserved
from beam_pipelines.job.sources import expected_assets
from beam_pipelines.landing.fetch import Fetch, Given
from beam_pipelines.landing.folder import FetchStats, LandingFolder
from beam_pipelines.snapshot.landed import with_rates
from beam_pipelines.snapshot.rates import RatesTable
from beam_pipelines.snapshot.rules import MarketRules
from beam_pipelines.snapshot.table import SnapshotTable
from beam_pipelines.snapshot.walk import MarketWalk, is_page, page_size, rows_a_page
from beam_pipelines.snapshot.write import WriteSnapshot, stamp_of
from coinbeam.batch.jobs import EXCHANGE_RATES, MARKETS, RATES_REJECTS
from coinbeam.batch.jobs import FETCH_CRYPTO_DATA as JOB
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.options import SnapshotOptions
from coinbeam.batch.tables import RATES_FACT, SNAPSHOT_FACT
from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import load_contract
from coinbeam.settings import Settings


def run(argv: Sequence[str], settings: Settings | None = None, clock: Clock = utc_now) -> Report:
    """Run the job to its end and return its report, with the counters of the runner.

    Raises:
        SettingsError: an option or setting is wrong; nothing was called.
    """
    launch = prepare(JOB, argv, settings, clock)
    job, market = launch.job, read_market(launch.read(SnapshotOptions), launch.settings)
    quality, fact = launch.settings.quality, load_contract(SNAPSHOT_FACT)
    rules = MarketRules(fact, quality.clock_skew_seconds, clock(), quality.observed_tolerance_hours)
    stamp = partial(stamp_of, job.period)
    write = WriteSnapshot(
        write_landed(SnapshotTable(rules, market.universe.ids), JOB, job.output, stamp),
        write_landed(RatesTable(load_contract(RATES_FACT)), JOB, job.output, stamp, RATES_REJECTS),
    )
    if job.glob:
        landed = [with_rates(one) for one in find_batches(job, lambda uris: foreign_market(uris, job, market))]
        batches = [one.batch for one in landed]
        refuse_unless_live(batches, launch.settings)
        files = [JOB.file(SNAPSHOT_FACT, stamp(batch)) for batch in batches]
        refuse_shared_file(files, batches, ", or use --period=hourly for hourly batches")
        return launch.run(Given(landed, FetchStats()), write, head(launch, batches))
    order, walk = prepare_fetch(launch, market)
    report = head(launch, [walk.manifest]) | {"rates_asked": walk.rates_folder is not None}
    if whole := walk.landed_whole():
        return launch.run(Given([whole], FetchStats(bodies_reused=len(whole.bodies))), write, report)
    with reserved(order, launch) as clients:
        return launch.run(Fetch(walk, clients, clock), write, report, clients.reservation)


def foreign_market(uris: Sequence[str], job: JobRequest, market: MarketRequest) -> BatchManifest:
    """The batch of pages that a user brought.

    Raises:
        SettingsError: nothing says which instant they stand for, or they are in another currency.
    """
    refuse_other_markets(uris, job)
    return foreign_snapshot(job, MARKETS, market.per_page, market.universe)


def prepare_fetch(launch: Launch, market: MarketRequest) -> tuple[CallOrder, MarketWalk]:
    """Decide whom to ask for what, and write the manifest of the batch.

    Raises:
        SettingsError: a setting is wrong, or contradicts an earlier attempt of the batch.
    """
    universe, size = market.universe, page_size(market.universe, market.per_page)
    batch = launch.job.batch_id(universe)
    endpoints = (MARKETS, EXCHANGE_RATES) if launch.settings.market.exchange_rates else (MARKETS,)
    begun = begin(launch, batch, endpoints, size, universe.label, market.fetch_shards)
    pages, rates = (*begun.folders, None)[:2]
    walk = MarketWalk(begun.manifest, str(pages), universe, begun.clients.shards, begun.deadline, rates)
    landed, assets = LandingFolder(walk.folder, is_page), expected_assets(launch.settings, begun.clients.source)
    calls = walk.calls_needed(landed.stems, assets, rows_a_page(landed.uris))
    return CallOrder(batch, calls, begun.clients), walk


def head(launch: Launch, batches: Sequence[BatchManifest]) -> Report:
    """What the report says first; of several batches their names only."""
    one = batches[0] if len(batches) == 1 else None
    return launch.head(*batches) | {
        "quote_currency": one and one.quote_currency,
        "universe": one and one.universe,
        "batches": [batch.batch_id for batch in batches],
    }


if __name__ == "__main__":
    sys.exit(execute(run, JOB))
