"""The clients of a job: each shard has its share of the quota, and no key travels with the pipeline."""

import os
from collections import defaultdict
from dataclasses import dataclass

from apache_beam.options.pipeline_options import PipelineOptions
from pydantic import SecretStr

from beam_pipelines.job.options import JobRequest, is_local_runner
from coinbeam.errors import SettingsError
from coinbeam.ops.call_ledger import Reservation
from coinbeam.secrets import api_key
from coinbeam.settings import CoinGeckoSettings, Settings
from coinbeam.sources.choose import RuntimeSource
from coinbeam.sources.coingecko import CoinGeckoClient
from coinbeam.sources.rate import CallCap, RateLimiter, quota, shard_count
from coinbeam.sources.registry import COINGECKO


@dataclass(frozen=True)
class ShardClients:
    """Makes clients that share the quota of one job, and its reservation where there is one, evenly.

    ``coingecko`` is plan and patience without the key; ``shards`` is how many clients there are at the same time.
    """

    coingecko: CoinGeckoSettings
    source: RuntimeSource
    calls_per_minute: float
    shards: int
    reservation: Reservation | None = None

    def __call__(self) -> CoinGeckoClient:
        """The client of one shard; the key is read here, on the worker, and goes to the live API only.

        Raises:
            SettingsError: the plan needs a key and the worker finds none.
        """
        key = api_key(with_worker_key(self.coingecko)) if self.source.kind == "live" else None
        limiter = RateLimiter(self.calls_per_minute, self.shards)
        cap = None
        if self.reservation is not None:
            cap = CallCap(self.reservation.calls // self.shards)
            _CAPS[self.reservation.entry_id].append(cap)
        return CoinGeckoClient(self.coingecko, self.source.base_url, limiter, api_key=key, cap=cap)


_CAPS: dict[str, list[CallCap]] = defaultdict(list)
"""The caps of the clients that were made in this process, by reservation."""


def calls_made(entry_id: str) -> int:
    """Calls of this process for a reservation, those of failed attempts included; asked once, at the end."""
    return sum(cap.made for cap in _CAPS.pop(entry_id, []))


def without_key(coingecko: CoinGeckoSettings) -> CoinGeckoSettings:
    """The settings as they may travel in a job graph, which Dataflow stores and shows."""
    return coingecko.model_copy(update={"api_key": None})


def with_worker_key(coingecko: CoinGeckoSettings) -> CoinGeckoSettings:
    """The settings with the key of this machine's environment, if it has one."""
    key = os.environ.get("COINBEAM_COINGECKO__API_KEY") or os.environ.get("COINGECKO_API_KEY")
    return coingecko.model_copy(update={"api_key": SecretStr(key)}) if key else coingecko


def make_clients(
    job: JobRequest, source: RuntimeSource, settings: Settings, options: PipelineOptions, wanted_shards: int | None
) -> ShardClients:
    """The client factory of a job; wrong keys and quotas are found here, before the pipeline starts.

    Raises:
        SettingsError: the key is missing here, or would be missing on the workers; or the share exceeds the plan.
    """
    plan_rate = quota(settings, COINGECKO.answering(source.kind)).calls_per_minute
    rate = job.calls_per_minute or plan_rate
    if rate > plan_rate:
        raise SettingsError(
            f"--calls_per_minute={rate:g} exceeds the plan's {plan_rate:g}.",
            "Lower it, or choose a larger coingecko.plan.",
        )
    if source.kind == "live":
        api_key(settings.coingecko)
        reachable = is_local_runner(options) or settings.coingecko.api_key_secret
        if settings.coingecko.limits.key_header and not reachable:
            raise SettingsError(
                "The key of the plan is only in this machine's environment, where no other worker can read it.",
                "Store it in Secret Manager and set coingecko.api_key_secret (projects/P/secrets/S/versions/V).",
            )
    shards = wanted_shards or (1 if is_local_runner(options) else shard_count(rate, settings.market.fetch_shards))
    return ShardClients(without_key(settings.coingecko), source, rate, shards)
