"""Decide at launch whom a job asks, and how much of the plan it may use."""

import logging
from datetime import datetime

from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipelines.job.options import JobRequest, is_local_runner
from beam_pipelines.snapshot.walk import ShardClients, without_key
from coinbeam.batch.identity import is_present
from coinbeam.batch.manifest import BatchManifest
from coinbeam.clock import format_instant
from coinbeam.errors import SettingsError
from coinbeam.feeds.snapshot.plan import ASSETS_IN_MARKET
from coinbeam.secrets import api_key
from coinbeam.settings import MarketSource, Settings
from coinbeam.sources.choose import RuntimeSource, calls_per_minute, choose_source
from coinbeam.sources.rate import shard_count
from coinbeam.sources.registry import COINGECKO, COINGECKO_SIMULATOR

_LOGGER = logging.getLogger(__name__)


def resolve_source(job: JobRequest, begun: BatchManifest | None, settings: Settings) -> RuntimeSource:
    """Whom to ask. With ``auto`` a batch that was begun stays with its source: one batch never mixes real and simulated
    prices.

    Raises:
        SettingsError: a simulated source outside the local environment, or the plan needs a key and there is none.
    """
    wanted = job.source or settings.market.source
    if wanted is MarketSource.AUTO and begun is not None:
        wanted = MarketSource.SIMULATOR if begun.source_id == COINGECKO_SIMULATOR.id else MarketSource.LIVE
    chosen = choose_source(settings, wanted)
    if chosen.banner:
        _LOGGER.warning("\n%s", chosen.banner)
    return chosen


def refuse_other_times(job: JobRequest, source: RuntimeSource, begun: BatchManifest | None, now: datetime) -> None:
    """Keep a live answer, which is for now, away from any instant but the present interval's. A batch begun in time may
    go on.

    Raises:
        SettingsError: the snapshot is past or lies in the future.
    """
    if source.kind == "live" and begun is None and not is_present(job.snapshot_at, now, job.period):
        raise SettingsError(
            f"--snapshot_at={format_instant(job.snapshot_at)} is not the present {job.period} interval (now is "
            f"{format_instant(now)}), and "
            "CoinGecko answers for now only: today's prices are never stamped on another date.",
            "Leave --snapshot_at out to fetch the present interval, or replay landed pages with --source=GLOB.",
        )


def source_id(source: RuntimeSource) -> str:
    """Key of ``source_dim``."""
    return COINGECKO.answering(source.kind)


def expected_assets(settings: Settings, source: RuntimeSource) -> int:
    """How many assets a market has, before it was asked."""
    return settings.local.simulator.coins if source.kind == "simulator" else ASSETS_IN_MARKET


def make_clients(
    job: JobRequest, source: RuntimeSource, settings: Settings, options: PipelineOptions, wanted_shards: int | None
) -> ShardClients:
    """The client factory of a job; wrong keys and quotas are found here, before the pipeline starts.

    Args:
        job: the job's share of the plan.
        source: whom to ask.
        settings: the plan.
        options: which runner.
        wanted_shards: parallel walks that the caller asked for.

    Raises:
        SettingsError: the key is missing here, or would be missing on the workers; or the share exceeds the plan.
    """
    plan_rate = calls_per_minute(settings, source)
    rate = job.calls_per_minute or plan_rate
    if rate > plan_rate:
        raise SettingsError(
            f"--calls_per_minute={rate:g} exceeds the plan's {plan_rate:g}.",
            "Lower it, or choose a larger coingecko.plan.",
        )
    if source.kind == "live":
        _require_key(settings, options)
    shards = wanted_shards or (1 if is_local_runner(options) else shard_count(rate, settings.market.fetch_shards))
    return ShardClients(without_key(settings.coingecko), source, rate, shards)


def _require_key(settings: Settings, options: PipelineOptions) -> None:
    api_key(settings.coingecko)
    coingecko = settings.coingecko
    if coingecko.limits.key_header and not is_local_runner(options) and not coingecko.api_key_secret:
        raise SettingsError(
            "The key of the plan is only in this machine's environment, where no other worker can read it.",
            "Store it in Secret Manager and set coingecko.api_key_secret (projects/P/secrets/S/versions/V).",
        )
