"""The plan of a run: what would be asked of the source, and what it would cost in calls, minutes, rows, bytes and
dollars.
"""

import math
from dataclasses import dataclass
from datetime import datetime

from coinbeam.batch.identity import BatchName, batch_id, is_present
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.universe import UniverseSpec
from coinbeam.clock import format_instant
from coinbeam.errors import SettingsError
from coinbeam.settings import Settings, Universe
from coinbeam.sources.rate import BudgetExceededError

ASSETS_IN_MARKET = 18_000
"""Assets of the whole market in 2026, for an estimate before the first call."""

BYTES_PER_ROW = 4_300
"""Mean size of one asset with a 168-point sparkline in an answer of the markets endpoint."""

CSV_BYTES_PER_ROW = 480
"""Mean size of one asset in a batch file."""

DATAFLOW_MINUTES = 6
"""A Dataflow job bills at least about this long: worker start, work, shut-down."""


class Mode:
    """How a batch gets its pages."""

    FETCH = "fetch"
    REPLAY = "replay"
    GAP = "gap"


@dataclass(frozen=True)
class Estimate:
    """What a run needs.

    Attributes:
        calls: calls to the API without retries.
        minutes: time those calls take under the plan's limit.
        rows: rows of the fact.
        landing_bytes: bytes of the answers before compression.
        file_bytes: bytes of the batch file.
        dollars: list price of Dataflow, storage for a month and queries; 0 on one machine.
        credits_left: calls left this month before the run, as far as recorded here.
    """

    calls: int
    minutes: float
    rows: int
    landing_bytes: int
    file_bytes: int
    dollars: float
    credits_left: int


def estimate(
    settings: Settings, universe: UniverseSpec, calls_this_month: int, *, fetches: bool, per_minute: float | None = None
) -> Estimate:
    """Estimate a run before its first call.

    Args:
        settings: plan, page size, shards and prices.
        universe: the selection of assets.
        calls_this_month: calls that the warehouse has on record for the month.
        fetches: False when landed pages are replayed: no call is made.
        per_minute: the rate limit, when it is not the plan's (the simulator's).
    """
    limits = settings.coingecko.limits
    rows = _rows(universe)
    calls = page_calls(settings, universe) + asset_calls(settings) if fetches else 0
    landing = rows * BYTES_PER_ROW + calls * 2_000
    return Estimate(
        calls=calls,
        minutes=calls / (per_minute or limits.calls_per_minute),
        rows=rows,
        landing_bytes=landing,
        file_bytes=rows * CSV_BYTES_PER_ROW,
        dollars=_dollars(settings, landing, rows * CSV_BYTES_PER_ROW),
        credits_left=limits.calls_per_month - calls_this_month,
    )


def page_calls(settings: Settings, universe: UniverseSpec) -> int:
    """Calls for the pages of the market, without retries.

    Each shard stops at its first short page, so a walk of unknown length may cost one empty page a shard; one machine
    walks in one shard.
    """
    market = settings.market
    shards = 1 if settings.is_local else market.fetch_shards
    extra = shards if universe.kind in {Universe.ALL, Universe.CATEGORY} else 0
    return market_pages(universe, market.per_page) + extra


def market_pages(universe: UniverseSpec, per_page: int, assets: int = ASSETS_IN_MARKET) -> int:
    """Pages that hold the rows of a selection; of the whole market or a category, as many as a market of so many assets
    has.
    """
    return math.ceil(_rows(universe, assets) / per_page)


def asset_calls(settings: Settings) -> int:
    """Calls for the coin list and the details, without retries."""
    return 1 + settings.market.max_details


def rate_shares(per_minute: float, pages: int, assets: int) -> tuple[int, int]:
    """Divide the plan's calls per minute between the two jobs that run at the same time, by the calls that each has to
    make.

    Args:
        per_minute: the plan's limit.
        pages: calls of the fetch job.
        assets: calls of the assets job.

    Returns:
        Calls per minute of the fetch job and of the assets job; their sum never exceeds the limit.

    Raises:
        SettingsError: the limit cannot be divided.
    """
    total = math.floor(per_minute)
    if total < 2:
        raise SettingsError(
            f"calls_per_minute is {per_minute:g}, but two jobs share it.",
            "Set the plan's calls_per_minute to at least 2.",
        )
    share = min(max(round(total * assets / (pages + assets)), 1), total - 1)
    return total - share, share


def _rows(universe: UniverseSpec, assets: int = ASSETS_IN_MARKET) -> int:
    match universe.kind:
        case Universe.TOP:
            return universe.top_n or 0
        case Universe.IDS:
            return len(universe.ids)
    return assets


def _dollars(settings: Settings, landing_bytes: int, file_bytes: int) -> float:
    """Two small Dataflow jobs, one month of storage, and queries that scan the batch three times."""
    if settings.is_local:
        return 0.0
    prices = settings.prices
    return (
        dataflow_dollars(settings, 2 * DATAFLOW_MINUTES)
        + (landing_bytes / 2.5 + file_bytes) / 2**30 * prices.storage_gib_month
        + 3 * file_bytes / 2**40 * prices.bigquery_tib_scanned
    )


def dataflow_dollars(settings: Settings, minutes: float) -> float:
    """List price of so many minutes of one Dataflow worker of two cores and 7.5 GiB; 0 on one machine."""
    prices = settings.prices
    return 0.0 if settings.is_local else minutes / 60 * (2 * prices.dataflow_vcpu_hour + 7.5 * prices.dataflow_gib_hour)


def check_affordable(plan: Estimate, settings: Settings) -> None:
    """Refuse a run that the month's credits cannot pay, before the first call.

    Raises:
        BudgetExceededError: the run needs more calls than are left.
    """
    if plan.calls > plan.credits_left:
        raise BudgetExceededError(
            f"The run needs about {plan.calls} calls, but only {max(plan.credits_left, 0)} of "
            f"{settings.coingecko.limits.calls_per_month} are left this month.",
            "Choose a smaller universe (top or ids), lower market.max_details, or a larger coingecko.plan.",
        )


@dataclass(frozen=True)
class RunRequest:
    """What a person or the schedule asks for; everything else follows.

    Attributes:
        snapshot_at: the scheduled instant, aware.
        universe: the selection of assets.
        quote_currency: currency of all prices.
        files: a glob of files to replay, or empty.
        landed: the batch to replay from its landing, or None; its name says the rest.
    """

    snapshot_at: datetime
    universe: UniverseSpec
    quote_currency: str
    files: str = ""
    landed: BatchName | None = None

    @property
    def label(self) -> str:
        """The label of the selection of assets."""
        return self.landed.universe if self.landed else self.universe.label

    @property
    def batch_id(self) -> str:
        """The batch that the request names."""
        return (
            self.landed.batch_id
            if self.landed
            else batch_id(self.snapshot_at, self.quote_currency, self.universe, self.files)
        )


def decide_mode(request: RunRequest, now: datetime, settings: Settings, has_landing: bool) -> str:
    """Whether a batch may ask the source, must replay, or is a gap: the rule of honest time.

    The source answers only for now. Inside the interval of the batch it is asked; after it, today's prices are never
    stamped on the old
    date: the landing of that interval is replayed, and without one the batch is a gap.

    Raises:
        SettingsError: the batch lies in the future, or was named and never landed as a whole.
    """
    if request.files:
        return Mode.REPLAY
    if request.landed:
        if not has_landing:
            raise SettingsError(
                f"{request.batch_id} was not landed as a whole, so there is nothing to replay.",
                "Name a batch of `coinbeam status`.",
            )
        return Mode.REPLAY
    if request.snapshot_at > now:
        raise SettingsError(
            f"The snapshot of {format_instant(request.snapshot_at)} lies in the future (now is {format_instant(now)}).",
            "Choose a present or past instant.",
        )
    if is_present(request.snapshot_at, now, settings.market.period):
        return Mode.FETCH
    return Mode.REPLAY if has_landing else Mode.GAP


def refuse_foreign_source(settings: Settings, manifest: BatchManifest | None) -> None:
    """Keep anything but landed live answers out of a warehouse that is not local.

    Raises:
        SettingsError: the pages were simulated, or nobody knows where they came from.
    """
    if not settings.is_local and (manifest is None or manifest.source_id != "coingecko"):
        origin = manifest.source_id if manifest else "files without a landing manifest"
        raise SettingsError(
            f"Pages from {origin} may only reach a local warehouse.",
            "Set COINBEAM_ENV=local, or replay pages landed from the live API.",
        )
