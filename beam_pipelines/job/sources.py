"""Decide at launch whom a job asks, and how much of the plan it may use."""

import logging
from collections.abc import Collection
from datetime import datetime

from beam_pipelines.job.options import JobRequest
from coinbeam.batch.identity import is_present
from coinbeam.batch.manifest import BatchManifest
from coinbeam.clock import format_instant
from coinbeam.errors import SettingsError
from coinbeam.feeds.snapshot.plan import ASSETS_IN_MARKET
from coinbeam.settings import MarketSource, Settings
from coinbeam.sources.choose import RuntimeSource, choose_source
from coinbeam.sources.registry import COINGECKO, SIMULATED

_LOGGER = logging.getLogger(__name__)


def resolve_source(job: JobRequest, begun: Collection[str], settings: Settings) -> RuntimeSource:
    """Whom to ask, with a warning where it is the simulator for want of a key.

    Raises:
        SettingsError: as `wanted_source`.
    """
    chosen = wanted_source(job, begun, settings)
    if chosen.banner:
        _LOGGER.warning("\n%s", chosen.banner)
    return chosen


def wanted_source(job: JobRequest, begun: Collection[str], settings: Settings) -> RuntimeSource:
    """Whom to ask. With ``auto`` a batch that was begun, by the ids of those who answered, stays with its source, the
    real one first: one batch never mixes real and simulated values.

    Raises:
        SettingsError: a simulated source outside the local environment, or plan and key do not fit.
    """
    wanted = job.source or settings.market.source
    if wanted is MarketSource.AUTO and begun:
        wanted = MarketSource.SIMULATOR if SIMULATED.issuperset(begun) else MarketSource.LIVE
    return choose_source(settings, wanted)


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
