"""The options of the jobs: declared to Beam so that every runner and template knows them, then checked into plain,
typed values.

Whatever is wrong is found here, before the first call and before Beam starts, and the message names the option.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from enum import StrEnum
from typing import Any, TypeVar

from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions

from coinbeam.batch.identity import UniverseSpec, batch_id, interval_start
from coinbeam.batch.jobs import LOCAL_RUNNER
from coinbeam.clock import Clock, parse_instant
from coinbeam.errors import SettingsError
from coinbeam.settings import MarketSource, Period, Settings, Universe

REQUIRED = frozenset({"output"})
"""Options that every job needs; all others have a default."""

_DIRECT_NAMES = {"", "direct", "directrunner", "local", "fnapirunner", "fnapi"}
_CENTURY = range(1970, 2200)


class LedgerUse(StrEnum):
    """Whether a job reserves its calls; ``AUTO`` does for the live API."""

    AUTO = "auto"
    ON = "on"
    OFF = "off"


OutOf = TypeVar("OutOf", bound=StrEnum)


class CoinbeamOptions(PipelineOptions):
    """What every job takes."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument(
            "--source",
            help="live, simulator, auto, or a glob of landed or foreign API bodies to replay. Default: market.source "
            "of the settings. "
            "The calendar job asks nobody and ignores it.",
        )
        parser.add_argument(
            "--snapshot_at",
            help="Scheduled instant, ISO 8601, UTC where no offset is given, e.g. 2026-01-02T00:00:00Z. Default: "
            "start of the present "
            "interval; in a replay: what the manifest of the landed batch says.",
        )
        parser.add_argument(
            "--output", help="Folder or gs:// prefix that receives the batch files and the report. Required."
        )
        parser.add_argument("--landing", help="Folder or gs:// prefix above landing/. Default: --output.")
        parser.add_argument(
            "--batch_id", help="Identifier of the batch. Default: made of instant, currency and universe."
        )
        parser.add_argument(
            "--period", help="daily or hourly: length of the interval of a snapshot. Default: market.period."
        )
        parser.add_argument(
            "--quote_currency", help="Currency of prices, lower case, e.g. usd. Default: market.quote_currency."
        )
        parser.add_argument(
            "--calls_per_minute",
            help="Share of the plan's calls per minute that this job may use; the shares of jobs that run together "
            "must not exceed the "
            "plan. Default: the whole plan.",
        )
        parser.add_argument(
            "--call_ledger",
            help="on: reserve the calls in crypto_ops.api_call_budget before the first one, and make none beyond. "
            "off: do not. auto, the "
            "default: on for the live API, off for the simulator. A replay makes no call.",
        )


class MarketOptions(PipelineOptions):
    """What fetch_crypto_data takes besides."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument("--universe", help="all, top, ids or category. Default: market.universe.")
        parser.add_argument(
            "--top_n", help="Number of assets by market capitalisation, with --universe=top. Default: market.top_n."
        )
        parser.add_argument("--ids", help="CoinGecko ids, comma separated, with --universe=ids. Default: market.ids.")
        parser.add_argument(
            "--category", help="CoinGecko category id, with --universe=category. Default: market.category."
        )
        parser.add_argument("--per_page", help="Rows asked for per call, 1 to 250. Default: market.per_page.")


class ShardOptions(PipelineOptions):
    """What jobs with parallel walks take besides."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument(
            "--fetch_shards",
            help="Parallel walks that divide the calls per minute among them. Default: market.fetch_shards on "
            "Dataflow; 1 on one machine, "
            "where walks would only wait for each other.",
        )


class AssetOptions(PipelineOptions):
    """What populate_crypto_asset_dim takes besides."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument(
            "--max_details", help="Most asset details, one call each, of this batch. Default: market.max_details."
        )
        parser.add_argument(
            "--known_assets",
            help="CSV with header asset_id,details_at of what the warehouse has. Assets without details come first, "
            "in the order of this "
            "file; then the oldest details. Default: nothing is known.",
        )


class DateOptions(PipelineOptions):
    """What jobs over a range of days take besides."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument(
            "--from_date",
            help="First date, ISO 8601. Default of the calendar: 2013-01-01, the year in which CoinGecko's history "
            "begins.",
        )
        parser.add_argument(
            "--to_date",
            help="Last date, ISO 8601. Default of the calendar: 31 December of the fifth year after --snapshot_at; "
            "of history: the newest "
            "closed day.",
        )


class HistoryOptions(PipelineOptions):
    """What fetch_market_history takes besides."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        parser.add_argument(
            "--assets",
            help="CoinGecko ids, comma separated, e.g. bitcoin,ethereum. In a replay: only these; or the asset of a "
            "single file.",
        )
        parser.add_argument(
            "--pieces", help="JSON file of the pieces to ask for, instead of --assets, --from_date and --to_date."
        )
        parser.add_argument(
            "--asset_of",
            help="In a replay, which asset a file holds: NAME=ID, comma separated, e.g. "
            "btc-usd-max.csv=bitcoin,eth-usd-max.csv=ethereum.",
        )


_OURS: tuple[type[PipelineOptions], ...] = (
    CoinbeamOptions,
    MarketOptions,
    ShardOptions,
    AssetOptions,
    DateOptions,
    HistoryOptions,
)


@dataclass(frozen=True)
class JobRequest:
    """The common options, checked.

    Attributes:
        source: live, simulator or auto; None for a replay.
        glob: what a replay reads; None otherwise.
        snapshot_at: the scheduled instant, aware.
        snapshot_given: whether the caller named it; a replay without follows the manifests.
        period: length of an interval.
        quote_currency: currency of prices.
        output: folder of batch files, without a trailing slash.
        landing: folder above ``landing/``.
        batch: identifier of the batch, when the caller named it.
        calls_per_minute: this job's share of the plan, when the caller limited it.
        call_ledger: whether calls are reserved first.
    """

    source: MarketSource | None
    glob: str | None
    snapshot_at: datetime
    snapshot_given: bool
    period: Period
    quote_currency: str
    output: str
    landing: str
    batch: str | None
    calls_per_minute: float | None
    call_ledger: LedgerUse = LedgerUse.AUTO

    def batch_id(self, universe: UniverseSpec) -> str:
        """The batch named by the caller, else the one of instant, currency and universe (and glob, for a replay of
        foreign files).
        """
        return self.batch or batch_id(self.snapshot_at, self.quote_currency, universe, self.glob or "")


@dataclass(frozen=True)
class MarketRequest:
    """The options of fetch_crypto_data, checked.

    Attributes:
        universe: which assets.
        per_page: rows per call.
        fetch_shards: parallel walks, when the caller named a number.
    """

    universe: UniverseSpec
    per_page: int
    fetch_shards: int | None


@dataclass(frozen=True)
class AssetRequest:
    """The options of populate_crypto_asset_dim, checked.

    Attributes:
        max_details: most detail calls.
        known_assets: URI of the CSV, or None.
    """

    max_details: int
    known_assets: str | None


@dataclass(frozen=True)
class HistoryRequest:
    """The options of fetch_market_history, checked.

    Attributes:
        assets: CoinGecko ids, each once.
        first: first day, or None in a replay of everything.
        last: last day, likewise.
        pieces: URI of the file of pieces, or None.
        asset_of: asset by name of a foreign file.
        fetch_shards: parallel walks, when the caller named a number.
    """

    assets: tuple[str, ...]
    first: date | None
    last: date | None
    pieces: str | None
    asset_of: dict[str, str]
    fetch_shards: int | None


def beam_options(argv: Sequence[str], own: Sequence[type[PipelineOptions]]) -> PipelineOptions:
    """Beam's options with the runner resolved.

    Args:
        argv: the command line without the program.
        own: the option classes of the job.

    Raises:
        SettingsError: neither Beam nor the job knows an option. Beam alone would drop it with a warning.
    """
    _refuse_unknown(argv, own)
    options = PipelineOptions(list(argv))
    standard = options.view_as(StandardOptions)
    if (standard.runner or "").lower() in _DIRECT_NAMES:
        standard.runner = LOCAL_RUNNER
    options.view_as(SetupOptions).save_main_session = False  # the entry modules hold nothing that a worker needs
    return options


def is_local_runner(options: PipelineOptions) -> bool:
    """Whether the pipeline runs inside this process."""
    return bool(options.view_as(StandardOptions).runner == LOCAL_RUNNER)


def _refuse_unknown(argv: Sequence[str], own: Sequence[type[PipelineOptions]]) -> None:
    parser = argparse.ArgumentParser(
        allow_abbrev=False, usage=argparse.SUPPRESS, conflict_handler="resolve", prog=sys.argv[0]
    )
    for declared in (c for c in PipelineOptions.__subclasses__() if c in own or c not in _OURS):
        declared._add_argparse_args(parser)  # type: ignore[arg-type]  # any parser will do
    _, unknown = parser.parse_known_args(list(argv))
    if unknown:
        known = sorted(f"--{name}" for declared in own for name in _declared(declared))
        raise SettingsError(
            f"Unknown option {unknown[0]!r}.", f"Options of this job: {', '.join(known)}; Beam's own are accepted too."
        )


def _declared(options: type[PipelineOptions]) -> list[str]:
    """Names of the options that a class declares."""
    parser = argparse.ArgumentParser(add_help=False)
    options._add_argparse_args(parser)  # type: ignore[arg-type]  # any parser will do
    return [action.dest for action in parser._actions]


def read_job(options: PipelineOptions, settings: Settings, clock: Clock) -> JobRequest:
    """Check the common options.

    Raises:
        SettingsError: an option is missing or wrong, or a simulated source was asked for outside the local environment.
    """
    given = options.view_as(CoinbeamOptions)
    if not given.output:
        raise SettingsError(
            "--output is missing.", "Name the folder or gs:// prefix for the batch files, e.g. --output=/tmp/coinbeam."
        )
    period = _one_of("period", Period, given.period, settings.market.period)
    source, glob = _source(given.source or settings.market.source.value, settings)
    output = str(given.output).rstrip("/")
    return JobRequest(
        source=source,
        glob=glob,
        snapshot_at=_snapshot_at(given.snapshot_at, period, files=glob is not None)
        if given.snapshot_at
        else interval_start(clock(), period),
        snapshot_given=bool(given.snapshot_at),
        period=period,
        quote_currency=_currency(given.quote_currency, settings),
        output=output,
        landing=str(given.landing or output).rstrip("/"),
        batch=_batch(given.batch_id),
        calls_per_minute=_number(
            "calls_per_minute", float, given.calls_per_minute, None, lambda n: 0 < n < float("inf"), "above 0"
        ),
        call_ledger=_one_of("call_ledger", LedgerUse, given.call_ledger, LedgerUse.AUTO),
    )


def _snapshot_at(text: str, period: Period, *, files: bool) -> datetime:
    """The instant of the snapshot: the start of an interval, except for files, which were taken whenever they were
    taken.
    """
    moment = _parsed("snapshot_at", parse_instant, text, "an ISO 8601 instant like 2026-01-02T00:00:00Z")
    start = interval_start(moment, period)
    if moment != start and not files:
        raise SettingsError(
            f"--snapshot_at={text} is not the start of a {period} interval.",
            f"Write {start:%Y-%m-%dT%H:%M:%SZ}" + (", or use --period=hourly." if period is Period.DAILY else "."),
        )
    return moment


def _source(text: str, settings: Settings) -> tuple[MarketSource | None, str | None]:
    """The kind of source, or the glob of a replay: whatever has a path separator, a wildcard or a file ending."""
    if text in set(MarketSource):
        source = MarketSource(text)
        if source is not MarketSource.LIVE and not settings.is_local:
            raise SettingsError(
                f"--source={source} is refused in environment {settings.environment}: simulated rows may enter a "
                "local warehouse only.",
                "Use --source=live, or COINBEAM_ENV=local.",
            )
        return source, None
    if not set(text) & set("/*?[.\\"):
        raise SettingsError(
            f"--source={text!r} is neither live, simulator, auto nor a glob of files.",
            "Name a glob like landing/markets/*/page-*.json.gz.",
        )
    return None, text


def _batch(text: str | None) -> str | None:
    if text is not None and (not text or set(text) & set("/\\*?[] \t\n") or text.startswith((".", "_"))):
        raise SettingsError(
            f"--batch_id={text!r} cannot be the name of a folder.", "Use letters, digits and hyphens, or leave it out."
        )
    return text


def _currency(text: str | None, settings: Settings) -> str:
    if text is None:
        return settings.market.quote_currency
    if not (text.isascii() and text.isalpha() and text.islower() and 2 <= len(text) <= 5):
        raise SettingsError(
            f"--quote_currency={text!r} is not a currency code.", "Write two to five lower-case letters, like usd."
        )
    return text


def read_market(options: PipelineOptions, settings: Settings) -> MarketRequest:
    """Check the options of fetch_crypto_data.

    Raises:
        SettingsError: an option is wrong, or contradicts --universe.
    """
    given, market = options.view_as(MarketOptions), settings.market
    kind = _one_of("universe", Universe, given.universe, market.universe)
    _refuse_idle(given, kind)
    return MarketRequest(
        universe=_universe(kind, given, settings),
        per_page=_number("per_page", int, given.per_page, market.per_page, lambda n: 1 <= n <= 250, "from 1 to 250"),
        fetch_shards=_fetch_shards(options),
    )


def _fetch_shards(options: PipelineOptions) -> int | None:
    given = options.view_as(ShardOptions).fetch_shards
    count: int | None = _number("fetch_shards", int, given, None, lambda n: 1 <= n <= 16, "from 1 to 16")
    return count


def _refuse_idle(given: Any, kind: Universe) -> None:
    """Refuse a selection that the universe would ignore: whoever wrote --ids=bitcoin does not want the whole market."""
    for option, owner in (("top_n", Universe.TOP), ("ids", Universe.IDS), ("category", Universe.CATEGORY)):
        if getattr(given, option) and kind is not owner:
            raise SettingsError(
                f"--{option} has no meaning with --universe={kind}.",
                f"Add --universe={owner}, or leave --{option} out.",
            )


def _universe(kind: Universe, given: Any, settings: Settings) -> UniverseSpec:
    market = settings.market
    match kind:
        case Universe.TOP:
            return UniverseSpec(
                kind,
                top_n=_number("top_n", int, given.top_n, market.top_n, lambda n: 1 <= n <= 50_000, "from 1 to 50000"),
            )
        case Universe.IDS:
            ids = _listed(given.ids) or market.ids
            if not ids:
                raise SettingsError("--universe=ids needs --ids.", "Name CoinGecko ids, e.g. --ids=bitcoin,ethereum.")
            return UniverseSpec(kind, ids=ids)
        case Universe.CATEGORY:
            category = given.category or market.category
            if not category or set(category) & set("/\\*?[] "):
                raise SettingsError(
                    f"--universe=category needs --category, got {category!r}.",
                    "Name a CoinGecko category id, e.g. --category=layer-1.",
                )
            return UniverseSpec(kind, category=category)
    return UniverseSpec()


def read_assets(options: PipelineOptions, settings: Settings) -> AssetRequest:
    """Check the options of populate_crypto_asset_dim.

    Raises:
        SettingsError: an option is wrong.
    """
    given = options.view_as(AssetOptions)
    count = _number("max_details", int, given.max_details, settings.market.max_details, lambda n: n >= 0, "0 or more")
    return AssetRequest(max_details=count, known_assets=given.known_assets or None)


def read_history(options: PipelineOptions, job: JobRequest, newest: date) -> HistoryRequest:
    """Check the options of fetch_market_history.

    Args:
        options: of the command line.
        job: whether files are replayed.
        newest: the newest closed day.

    Raises:
        SettingsError: an option is wrong, missing, or contradicts another one.
    """
    given, days = options.view_as(HistoryOptions), options.view_as(DateOptions)
    assets = _listed(given.assets)
    if given.pieces:
        _refuse_beside_pieces(
            job, assets=given.assets, from_date=days.from_date, to_date=days.to_date, asset_of=given.asset_of
        )
    elif job.glob is None and not (assets and days.from_date):
        raise SettingsError(
            "History needs --assets and --from_date, or --pieces.",
            "For example --assets=bitcoin,ethereum --from_date=2026-01-01.",
        )
    first = _date("from_date", days.from_date) if days.from_date else None
    last = _date("to_date", days.to_date) if days.to_date else None if job.glob or given.pieces else newest
    if first and last and first > last:
        raise SettingsError(f"--from_date={first} is after the last day, {last}.", "Choose an earlier --from_date.")
    return HistoryRequest(assets, first, last, given.pieces or None, _asset_of(given.asset_of), _fetch_shards(options))


def _refuse_beside_pieces(job: JobRequest, **others: str | None) -> None:
    """Refuse options that a file of pieces would make void."""
    idle = [name for name, text in others.items() if text] + (["source=GLOB"] if job.glob else [])
    if idle:
        raise SettingsError(
            f"--{idle[0]} has no meaning with --pieces.",
            "The file of pieces says what is asked for; leave one of them out.",
        )


def _asset_of(text: str | None) -> dict[str, str]:
    pairs = [part.rpartition("=") for part in _listed(text)]
    if not all(name and asset for name, _, asset in pairs):
        raise SettingsError(
            f"--asset_of={text!r} cannot be read.", "Write NAME=ID, comma separated, like btc-usd-max.csv=bitcoin."
        )
    return {name: asset for name, _, asset in pairs}


def _listed(text: str | None) -> tuple[str, ...]:
    """The parts of a comma separated list, each once."""
    return tuple(dict.fromkeys(part.strip() for part in (text or "").split(",") if part.strip()))


def read_dates(options: PipelineOptions, snapshot_at: datetime) -> tuple[date, date]:
    """First and last date of the calendar.

    Raises:
        SettingsError: a date is wrong, or the first is after the last.
    """
    given = options.view_as(DateOptions)
    first = _date("from_date", given.from_date or "2013-01-01")
    last = _date("to_date", given.to_date) if given.to_date else date(snapshot_at.year + 5, 12, 31)
    if first > last:
        raise SettingsError(f"--from_date={first} is after --to_date={last}.", "Exchange them.")
    return first, last


def _date(option: str, text: str) -> date:
    day = _parsed(option, date.fromisoformat, text, "an ISO 8601 date like 2026-01-02")
    if day.year not in _CENTURY:
        raise SettingsError(
            f"--{option}={text} is outside {_CENTURY.start} to {_CENTURY.stop - 1}.",
            "Choose a date that a market can have.",
        )
    return day


def _one_of(option: str, kind: type[OutOf], text: str | None, default: OutOf) -> OutOf:
    if text is None:
        return default
    try:
        return kind(text)
    except ValueError:
        raise SettingsError(f"--{option}={text!r} is unknown.", f"Use one of: {', '.join(kind)}.") from None


def _number(
    option: str, kind: type[Any], text: str | None, default: Any, accepts: Callable[[Any], bool], bounds: str
) -> Any:
    if text is None:
        return default
    number = _parsed(option, kind, text, f"a number {bounds}")
    if not accepts(number):
        raise SettingsError(f"--{option}={text} is out of bounds.", f"It has to be {bounds}.")
    return number


def _parsed(option: str, parse: Callable[[str], Any], text: str, form: str) -> Any:
    try:
        return parse(text)
    except (ValueError, SettingsError):
        raise SettingsError(f"--{option}={text!r} cannot be read.", f"It has to be {form}.") from None
