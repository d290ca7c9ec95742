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

from beam_pipelines.assets.table import AssetTable
from beam_pipelines.assets.walk import AssetWalk, load_known
from beam_pipelines.batch_files.write import write_landed
from beam_pipelines.job.command import execute
from beam_pipelines.job.launch import begin, prepare
from beam_pipelines.job.replay import find_batches, foreign_snapshot, refuse_shared_file, refuse_unless_live
from beam_pipelines.job.report import Report
from beam_pipelines.job.reservation import CallOrder, reserved
from beam_pipelines.landing.fetch import Fetch, Given
from beam_pipelines.landing.folder import FetchStats
from coinbeam.batch.jobs import COINS, COINS_LIST
from coinbeam.batch.jobs import POPULATE_CRYPTO_ASSET_DIM as JOB
from coinbeam.batch.options import AssetOptions
from coinbeam.batch.tables import ASSETS
from coinbeam.batch.universe import UniverseSpec
from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import load_contract
from coinbeam.settings import Settings


def run(argv: Sequence[str], settings: Settings | None = None, clock: Clock = utc_now) -> Report:
    """Run the job to its end and return its report, with the counters of the runner.

    Raises:
        SettingsError: an option or setting is wrong; nothing was called.
    """
    launch = prepare(JOB, argv, settings, clock)
    job, options, universe = launch.job, launch.read(AssetOptions), UniverseSpec()
    contract, known = load_contract(ASSETS), load_known(options.known_assets)
    write = write_landed(AssetTable(contract, known), JOB, job.output)
    if job.glob:
        landed = find_batches(job, lambda _: foreign_snapshot(job, COINS_LIST, 1, universe))
        batches = [one.batch for one in landed]
        refuse_unless_live(batches, launch.settings)
        refuse_shared_file([JOB.file(ASSETS)] * len(batches), batches)
        return launch.run(Given(landed, FetchStats()), write, launch.head(*batches))
    begun = begin(launch, job.batch_id(universe), (COINS_LIST, COINS), 1, universe.label, 1)
    most = launch.settings.market.max_details if options.max_details is None else options.max_details
    lists, details = begun.folders
    walk = AssetWalk(begun.manifest, contract, lists, details, most, known, begun.deadline)
    with reserved(CallOrder(begun.manifest.batch_id, walk.calls_needed(), begun.clients), launch) as clients:
        return launch.run(Fetch(walk, clients, clock), write, launch.head(begun.manifest), clients.reservation)


if __name__ == "__main__":
    sys.exit(execute(run, JOB))
