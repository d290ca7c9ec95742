"""The plan of a snapshot: may the source be asked, and what does that cost in calls, minutes, rows, bytes, dollars."""

import math
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from coinbeam.batch.identity import is_present
from coinbeam.batch.kinds import SNAPSHOTS, Feed
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.universe import UniverseSpec
from coinbeam.clock import format_instant
from coinbeam.errors import SettingsError
from coinbeam.feeds.plan import DATAFLOW_MINUTES, BatchPlan, Mode, dataflow_dollars
from coinbeam.feeds.snapshot.request import SnapshotRequest
from coinbeam.settings import Settings, Universe
from coinbeam.sources.rate import BudgetExceededError
from coinbeam.sources.registry import COINGECKO

ASSETS_IN_MARKET = 18_000
"""Assets of the whole market in 2026, for an estimate before the first call."""

BYTES_PER_ROW = 4_300
"""Mean size of one asset with a 168-point sparkline in an answer of the markets endpoint."""

CSV_BYTES_PER_ROW = 480
"""Mean size of one asset in a batch file."""


@dataclass(frozen=True, kw_only=True)
class SnapshotPlan(BatchPlan):
    """The plan of a snapshot.

    Attributes:
        stamp: date part of the file names.
        fetch_options: of the job ``fetch_crypto_data``; ``assets_options`` of ``populate_crypto_asset_dim``.
        output: ``gs://`` folder of the batch files.
        estimate: what the run needs, an `Estimate`.
    """

    feed: ClassVar[Feed] = SNAPSHOTS

    stamp: str
    fetch_options: dict[str, str]
    assets_options: dict[str, str]
    output: str
    estimate: dict[str, Any]


def describe(plan: SnapshotPlan) -> str:
    """The plan in words, for a log and a terminal."""
    costs = plan.estimate
    lines = [
        plan.banner,
        f"batch     {plan.batch_id}",
        f"mode      {plan.mode}: {plan.reason}",
        f"universe  {plan.universe} in {plan.quote_currency}, snapshot at {plan.snapshot_at}",
        f"calls     {costs['calls']} ({costs['credits_left']} left this month), {costs['minutes']:.1f} minutes under "
        "the rate limit",
        f"rows      {costs['rows']}, {costs['landing_bytes'] / 1e6:.1f} MB to land, {costs['file_bytes'] / 1e6:.1f} "
        "MB of CSV",
        f"cost      about ${costs['dollars']:.2f} on {plan.runner}",
    ]
    return "\n".join(line for line in lines if line)


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
        calls_this_month: calls that the warehouse has on record for the month.
        fetches: False when landed pages are replayed: no call is made.
        per_minute: the rate limit, when it is not the plan's (the simulator's).
    """
    limits, prices = settings.coingecko.limits, settings.prices
    rows = _rows(universe)
    calls = fetch_calls(settings, universe) + asset_calls(settings) if fetches else 0
    landing, files = rows * BYTES_PER_ROW + calls * 2_000, rows * CSV_BYTES_PER_ROW
    storage = (landing / 2.5 + files) / 2**30 * prices.storage_gib_month  # for a month; landed pages are gzip
    queries = 3 * files / 2**40 * prices.bigquery_tib_scanned  # that scan the batch three times
    return Estimate(
        calls=calls,
        minutes=calls / (per_minute or limits.calls_per_minute),
        rows=rows,
        landing_bytes=landing,
        file_bytes=files,
        dollars=0.0 if settings.is_local else dataflow_dollars(settings, 2 * DATAFLOW_MINUTES) + storage + queries,
        credits_left=limits.calls_per_month - calls_this_month,
    )


def fetch_calls(settings: Settings, universe: UniverseSpec) -> int:
    """Calls of the job that fetches the market, without retries: its pages, and the exchange rates where wanted."""
    return page_calls(settings, universe) + int(settings.market.exchange_rates)


def page_calls(settings: Settings, universe: UniverseSpec) -> int:
    """Calls for the pages of the market, without retries.

    Each shard ends at an empty page that a second call confirms, which a walk of unknown length costs on top; named
    ids that are not answered are asked for once more. One machine walks in one shard.
    """
    market = settings.market
    shards = 1 if settings.is_local else market.fetch_shards
    extra = {Universe.TOP: 0, Universe.IDS: 1}.get(universe.kind, 2 * shards)
    return market_pages(universe, market.per_page) + extra


def market_pages(universe: UniverseSpec, per_page: int, assets: int = ASSETS_IN_MARKET) -> int:
    """Pages of the rows of a selection; for the whole market or a category, of a market of so many assets."""
    return math.ceil(_rows(universe, assets) / per_page)


def asset_calls(settings: Settings) -> int:
    """Calls for the coin list and the details, without retries."""
    return 1 + settings.market.max_details


def rate_shares(per_minute: float, fetch: int, assets: int) -> tuple[int, int]:
    """Calls per minute of the fetch job and of the assets job, which run at the same time, by the calls of each.

    Their sum never exceeds the limit.

    Raises:
        SettingsError: the limit cannot be divided.
    """
    total = math.floor(per_minute)
    if total < 2:
        remedy = "Set the plan's calls_per_minute to at least 2."
        raise SettingsError(f"calls_per_minute is {per_minute:g}, but two jobs share it.", remedy)
    share = min(max(round(total * assets / (fetch + assets)), 1), total - 1)
    return total - share, share


def _rows(universe: UniverseSpec, assets: int = ASSETS_IN_MARKET) -> int:
    return {Universe.TOP: universe.top_n or 0, Universe.IDS: len(universe.ids)}.get(universe.kind, assets)


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


def decide_mode(request: SnapshotRequest, now: datetime, settings: Settings, has_landing: bool) -> Mode:
    """Whether a batch may ask the source, must replay, or is a gap: the rule of honest time.

    The source answers only for now. Inside the interval of the batch it is asked; after it, today's prices are never
    stamped on the old date: the landing of that interval is replayed, and without one the batch is a gap.

    Raises:
        SettingsError: the batch lies in the future, or is past and should be fetched again.
    """
    if request.files:
        return Mode.REPLAY
    if request.landed:
        return Mode.REPLAY
    if request.snapshot_at > now:
        raise SettingsError(
            f"The snapshot of {format_instant(request.snapshot_at)} lies in the future (now is {format_instant(now)}).",
            "Choose a present or past instant.",
        )
    if is_present(request.snapshot_at, now, settings.market.period):
        return Mode.FETCH
    if request.refetch:
        raise SettingsError(
            f"{format_instant(request.snapshot_at)} is past, and the source answers only for now: nothing can be "
            "fetched again.",
            "`coinbeam replay` reads what was landed then; `coinbeam backfill --refetch` asks for daily history again.",
        )
    return Mode.REPLAY if has_landing else Mode.GAP


def mode_reason(mode: Mode, request: SnapshotRequest, now: datetime, *, was_begun: bool) -> str:
    """Why a batch, of which a part may have been landed, has its mode, in a sentence."""
    at = format_instant(request.snapshot_at)
    if mode is Mode.FETCH:
        again = ", once more: what was landed is put aside" if request.refetch else ""
        return f"{at} is the present interval: the source is asked{again}."
    if mode is Mode.REPLAY:
        files = f"Files matching {request.files} are replayed."
        return files if request.files else f"{at} is past: its landed pages are replayed."
    lack = "only a part of it was landed" if was_begun else "nothing was landed for it"
    return (
        f"{at} is past (now is {format_instant(now)}) and {lack}. The source answers only for now, so the batch is "
        "recorded as a gap; today's prices are never stamped on an old date."
    )


def refuse_foreign_source(settings: Settings, manifest: BatchManifest | None) -> None:
    """Keep anything but landed live answers out of a warehouse that is not local.

    Raises:
        SettingsError: the pages were simulated, or nobody knows where they came from.
    """
    if not settings.is_local and (manifest is None or manifest.source_id != COINGECKO.id):
        origin = manifest.source_id if manifest else "files without a landing manifest"
        remedy = "Set COINBEAM_ENV=local, or replay pages landed from the live API."
        raise SettingsError(f"Pages from {origin} may only reach a local warehouse.", remedy)
