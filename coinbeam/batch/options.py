"""The options of the Beam jobs, as models: Beam's command line, the metadata of the Flex Templates and their checks are
made from them.

Every option is text on a command line and has a default, but ``output``. A description says what it is and its default.
"""

from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Annotated, Literal, TypeVar
from zoneinfo import ZoneInfo

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from coinbeam.clock import parse_instant
from coinbeam.errors import SettingsError
from coinbeam.settings import LARGEST_PAGE, Currency, Details, PageSize, Period, Shards, TopN, Universe

_CENTURY = range(1970, 2200)


class LedgerUse(StrEnum):
    """Whether a job reserves its calls; ``AUTO`` does for the live API."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


def _instant(text: str) -> datetime:
    try:
        return parse_instant(text)
    except SettingsError:
        raise ValueError("should be an ISO 8601 instant like 2026-01-02T00:00:00Z") from None


def _day(text: str) -> date:
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ValueError("should be an ISO 8601 date like 2026-01-02") from None
    if day.year not in _CENTURY:
        raise ValueError(f"should be a date that a market can have, from {_CENTURY.start} to {_CENTURY.stop - 1}")
    return day


def parts(text: str | None) -> tuple[str, ...]:
    """The parts of a comma separated list; none of None."""
    return tuple(part.strip() for part in (text or "").split(",") if part.strip())


def _listed(text: str) -> tuple[str, ...]:
    """The parts of a comma separated list, each once."""
    return tuple(dict.fromkeys(parts(text)))


def _pairs(text: str) -> dict[str, str]:
    pairs = [part.rpartition("=") for part in _listed(text)]
    if not all(name and asset for name, _, asset in pairs):
        raise ValueError("should be NAME=ID, comma separated, like btc-usd-max.csv=bitcoin")
    return {name: asset for name, _, asset in pairs}


Instant = Annotated[datetime, BeforeValidator(_instant)]
Day = Annotated[date, BeforeValidator(_day)]
Listed = Annotated[tuple[str, ...], BeforeValidator(_listed)]
Pairs = Annotated[dict[str, str], BeforeValidator(_pairs)]
FolderName = Annotated[str, Field(pattern=r"^[^/\\*?\[\]\s._][^/\\*?\[\]\s]*$", max_length=200)]
"""A name that stays one folder and one word of a glob."""
Rate = Annotated[float, Field(gt=0, allow_inf_nan=False)]


class JobOptions(BaseModel):
    """What every job takes."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    source: str | None = Field(
        None,
        description="live, simulator, auto, or a glob of landed or foreign API bodies to replay. Default: "
        "market.source of the settings. The calendar job asks nobody and ignores it.",
    )
    snapshot_at: Instant | None = Field(
        None,
        description="Scheduled instant, ISO 8601, UTC where no offset is given, e.g. 2026-01-02T00:00:00Z. Default: "
        "start of the present interval; in a replay: what the manifest of the landed batch says.",
    )
    output: str = Field(
        min_length=1, description="Folder or gs:// prefix that receives the batch files and the report. Required."
    )
    landing: str | None = Field(None, description="Folder or gs:// prefix above landing/. Default: --output.")
    batch_id: FolderName | None = Field(
        None, description="Identifier of the batch. Default: made of instant, currency and universe."
    )
    period: Period | None = Field(
        None, description="daily or hourly: length of the interval of a snapshot. Default: market.period."
    )
    quote_currency: Currency | None = Field(
        None, description="Currency of prices, lower case, e.g. usd. Default: market.quote_currency."
    )
    calls_per_minute: Rate | None = Field(
        None,
        description="Share of the plan's calls per minute that this job may use; the shares of jobs that run together "
        "must not exceed the plan. Default: the whole plan.",
    )
    call_ledger: LedgerUse = Field(
        LedgerUse.AUTO,
        description="on: reserve the calls in crypto_ops.api_call_budget before the first one, and make none beyond. "
        "off: do not. auto, the default: on for the live API, off for the simulator. A replay makes no call.",
    )


class TradeOptions(JobOptions):
    """What trade_windows takes besides."""

    subscription: str | None = Field(
        None,
        pattern="^projects/[^/]+/subscriptions/[^/]+$",
        description="Subscription to read until the job is stopped, as projects/P/subscriptions/S. Without one, "
        "--source names landed files, by one glob or several, comma separated.",
    )
    symbols: Listed | None = Field(
        None, description="Symbols that are taken, others are refused. Default: stream.symbols; of files any."
    )
    day: Day | None = Field(
        None,
        description="Only windows of this UTC date, e.g. 2026-11-27; its last trades are landed on the next one. "
        "Only for files. Default: all.",
    )
    until: Instant | None = Field(
        None,
        description="Only windows that had ended by this instant, ISO 8601: trades of later ones may not be landed "
        "yet. Only for files. Default: all.",
    )
    venue: Literal["live", "simulator"] | None = Field(
        None, description="Where landed trades came from: live or simulator. Default: live, or what --source says."
    )
    price_venue: Literal["live", "simulator"] | None = Field(
        None, description="Where landed polled prices came from: live or simulator. Default: what venue is."
    )


class ShardOptions(JobOptions):
    """What jobs with parallel walks take besides."""

    fetch_shards: Shards | None = Field(
        None,
        description="Parallel walks that divide the calls per minute among them. Default: market.fetch_shards on "
        "Dataflow; 1 on one machine, where walks would only wait for each other.",
    )


class MarketOptions(JobOptions):
    """How fetch_crypto_data chooses its assets."""

    universe: Universe | None = Field(None, description="all, top, ids or category. Default: market.universe.")
    top_n: TopN | None = Field(
        None, description="Number of assets by market capitalisation, with --universe=top. Default: market.top_n."
    )
    ids: Listed | None = Field(
        None, description="CoinGecko ids, comma separated, with --universe=ids. Default: market.ids."
    )
    category: str | None = Field(
        None, description="CoinGecko category id, with --universe=category. Default: market.category."
    )
    per_page: PageSize | None = Field(
        None, description=f"Rows asked for per call, 1 to {LARGEST_PAGE}. Default: market.per_page."
    )


class SnapshotOptions(ShardOptions, MarketOptions):
    """The options of fetch_crypto_data."""


class AssetOptions(JobOptions):
    """The options of populate_crypto_asset_dim."""

    max_details: Details | None = Field(
        None, description="Most asset details, one call each, of this batch. Default: market.max_details."
    )
    known_assets: str | None = Field(
        None,
        description="CSV with header asset_id,details_at of what the warehouse has. Assets without details come first, "
        "in the order of this file; then the oldest details. Default: nothing is known.",
    )


class DateOptions(JobOptions):
    """The options of populate_date_dim."""

    from_date: Day | None = Field(
        None,
        description="First date, ISO 8601. Default of the calendar: 2013-01-01, the year in which CoinGecko's history "
        "begins.",
    )
    to_date: Day | None = Field(
        None,
        description="Last date, ISO 8601. Default of the calendar: 31 December of the fifth year after --snapshot_at; "
        "of history: the newest closed day.",
    )


class PieceOptions(JobOptions):
    """How fetch_market_history chooses its pieces."""

    assets: Listed | None = Field(
        None,
        description="CoinGecko ids, comma separated, e.g. bitcoin,ethereum. In a replay: only these; or the asset of a "
        "single file.",
    )
    pieces: str | None = Field(
        None, description="JSON file of the pieces to ask for, instead of --assets, --from_date and --to_date."
    )
    asset_of: Pairs | None = Field(
        None,
        description="In a replay, which asset a file holds: NAME=ID, comma separated, e.g. "
        "btc-usd-max.csv=bitcoin,eth-usd-max.csv=ethereum.",
    )
    time_zone: ZoneInfo | None = Field(
        None,
        description="In a replay, the zone of stamps that name none: UTC, or an IANA name such as Europe/Berlin. "
        "Default: such a stamp is refused.",
    )


class HistoryOptions(ShardOptions, DateOptions, PieceOptions):
    """The options of fetch_market_history."""


Options = TypeVar("Options", bound=JobOptions)


def parse_options(model: type[Options], given: Mapping[str, str]) -> Options:
    """The checked options of a job.

    Args:
        model: what the job takes.
        given: text of each option that was given.

    Raises:
        SettingsError: an option is missing or wrong; the message names the first one.
    """
    try:
        return model.model_validate(given)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = str(first["loc"][0])
        said = first["msg"].removeprefix("Value error, ").removeprefix("Input ").removeprefix("String ")
        if name not in given:
            raise SettingsError(f"--{name} is missing.", f"It is: {model.model_fields[name].description}") from None
        remedy = model.model_fields[name].description or ""
        raise SettingsError(f"--{name}={given[name]!r} {said}.", f"It is: {remedy}") from None
