"""The options of a job on the command line of Beam: declared so that every runner and template knows them, then checked
into plain, typed values.

What is wrong is found here, before the first call and before Beam starts, and the message names the option.
"""

import argparse
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

from apache_beam.options.pipeline_options import PipelineOptions, SetupOptions, StandardOptions

from coinbeam.batch.identity import batch_id, interval_start
from coinbeam.batch.jobs import JOBS, LOCAL_RUNNER
from coinbeam.batch.options import (
    DateOptions,
    HistoryOptions,
    JobOptions,
    LedgerUse,
    Options,
    SnapshotOptions,
    parse_options,
)
from coinbeam.batch.universe import UniverseSpec, universe_spec
from coinbeam.clock import Clock
from coinbeam.contracts.instants import FIRST_DATE
from coinbeam.errors import SettingsError
from coinbeam.settings import MarketSource, Period, Settings, Universe

_DIRECT_NAMES = {"", "direct", "directrunner", "local", "fnapirunner", "fnapi"}


class CoinbeamOptions(PipelineOptions):
    """The options of all jobs, from their models: Beam reads a command line only by options that it knows."""

    @classmethod
    def _add_argparse_args(cls, parser: Any) -> None:
        _declare(parser, (job.options for job in JOBS.values()))


def _declare(parser: Any, models: Iterable[type[JobOptions]]) -> None:
    """Add the fields of models to a parser, each once."""
    fields = {name: field for model in models for name, field in model.model_fields.items()}
    for name, field in fields.items():
        parser.add_argument(f"--{name}", help=field.description)


@dataclass(frozen=True)
class JobRequest:
    """The common options, checked and completed by the settings.

    ``source`` is None in a replay and ``glob`` in a fetch; ``snapshot_given`` says whether the caller named the instant
    (a replay without follows the manifests). ``output`` and ``landing`` have no trailing slash.
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
        """The batch named by the caller, else that of instant, currency and universe (and glob, for foreign files)."""
        return self.batch or batch_id(self.snapshot_at, self.quote_currency, universe, self.glob or "")


@dataclass(frozen=True)
class MarketRequest:
    """What fetch_crypto_data asks for: assets, rows per call, and parallel walks when the caller named a number."""

    universe: UniverseSpec
    per_page: int
    fetch_shards: int | None


def beam_options(argv: Sequence[str], model: type[JobOptions]) -> PipelineOptions:
    """Beam's options with the runner resolved.

    Raises:
        SettingsError: neither Beam nor the job knows an option. Beam alone would drop it with a warning.
    """
    argv = [_typed(word, model) for word in argv]
    _refuse_unknown(argv, model)
    options = PipelineOptions(argv)
    standard = options.view_as(StandardOptions)
    if (standard.runner or "").lower() in _DIRECT_NAMES:
        standard.runner = LOCAL_RUNNER
    options.view_as(SetupOptions).save_main_session = False  # the entry modules hold nothing that a worker needs
    return options


def _typed(word: str, model: type[JobOptions]) -> str:
    """An option with hyphens, as the command line of `coinbeam` has it, as the option of the job."""
    name, equals, value = word.partition("=")
    known = name.startswith("--") and name[2:].replace("-", "_") in model.model_fields
    return f"--{name[2:].replace('-', '_')}{equals}{value}" if known else word


def is_local_runner(options: PipelineOptions) -> bool:
    """Whether the pipeline runs inside this process."""
    return bool(options.view_as(StandardOptions).runner == LOCAL_RUNNER)


def _refuse_unknown(argv: Sequence[str], model: type[JobOptions]) -> None:
    parser = argparse.ArgumentParser(
        allow_abbrev=False, usage=argparse.SUPPRESS, conflict_handler="resolve", prog=sys.argv[0]
    )
    for declared in PipelineOptions.__subclasses__():
        if declared is not CoinbeamOptions:
            declared._add_argparse_args(parser)  # type: ignore[arg-type]  # any parser will do
    _declare(parser, [model])
    _, unknown = parser.parse_known_args(list(argv))
    if unknown:
        known = ", ".join(f"--{name}" for name in sorted(model.model_fields))
        raise SettingsError(
            f"Unknown option {unknown[0]!r}.", f"Options of this job: {known}; Beam's own are accepted too."
        )


def read_options(options: PipelineOptions, model: type[Options]) -> Options:
    """The checked options of a job.

    Raises:
        SettingsError: an option is missing or wrong.
    """
    given = options.view_as(CoinbeamOptions)
    texts = {name: getattr(given, name) for name in model.model_fields}
    return parse_options(model, {name: text for name, text in texts.items() if text is not None})


def read_job(given: JobOptions, settings: Settings, clock: Clock) -> JobRequest:
    """The common options, completed by the settings.

    Raises:
        SettingsError: the instant starts no interval, or a simulated source was asked for outside the local
            environment.
    """
    period = given.period or settings.market.period
    source, glob = _source(given.source or settings.market.source.value, settings)
    moment = given.snapshot_at or clock()
    start = interval_start(moment, period)
    if given.snapshot_at and glob is None and moment != start:  # files were taken at any time
        raise SettingsError(
            f"--snapshot_at={moment:%Y-%m-%dT%H:%M:%SZ} is not the start of a {period} interval.",
            f"Write {start:%Y-%m-%dT%H:%M:%SZ}" + (", or use --period=hourly." if period is Period.DAILY else "."),
        )
    output = given.output.rstrip("/")
    return JobRequest(
        source=source,
        glob=glob,
        snapshot_at=given.snapshot_at or start,
        snapshot_given=given.snapshot_at is not None,
        period=period,
        quote_currency=given.quote_currency or settings.market.quote_currency,
        output=output,
        landing=(given.landing or output).rstrip("/"),
        batch=given.batch_id,
        calls_per_minute=given.calls_per_minute,
        call_ledger=given.call_ledger,
    )


def _source(text: str, settings: Settings) -> tuple[MarketSource | None, str | None]:
    """The kind of source, or the glob of a replay: a text with a path separator, a wildcard or a file ending."""
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


def read_market(given: SnapshotOptions, settings: Settings) -> MarketRequest:
    """Which assets are asked for: by the options, completed by the settings.

    Raises:
        SettingsError: the selection lacks what its kind needs, or an option has no meaning beside it.
    """
    kind = given.universe or settings.market.universe
    for option, owner in (("top_n", Universe.TOP), ("ids", Universe.IDS), ("category", Universe.CATEGORY)):
        if getattr(given, option) and kind is not owner:  # who writes --ids=bitcoin does not want the whole market
            raise SettingsError(
                f"--{option} has no meaning with --universe={kind}.",
                f"Add --universe={owner}, or leave --{option} out.",
            )
    market = settings.market
    chosen = given.top_n or market.top_n, given.ids or market.ids, given.category or market.category
    return MarketRequest(universe_spec(kind, *chosen), given.per_page or market.per_page, given.fetch_shards)


def read_history(given: HistoryOptions, job: JobRequest, newest: date) -> HistoryOptions:
    """What of history is asked for: up to the ``newest`` closed day, unless a replay or a file of pieces decides.

    Raises:
        SettingsError: an option is missing, or contradicts another one.
    """
    if given.pieces:
        others = ("assets", "from_date", "to_date", "asset_of")
        idle = [name for name in others if getattr(given, name)] + (["source=GLOB"] if job.glob else [])
        if idle:
            raise SettingsError(
                f"--{idle[0]} has no meaning with --pieces.",
                "The file of pieces says what is asked for; leave one of them out.",
            )
    elif job.glob is None and not (given.assets and given.from_date):
        raise SettingsError(
            "History needs --assets and --from_date, or --pieces.",
            "For example --assets=bitcoin,ethereum --from_date=2026-01-01.",
        )
    first, last = given.from_date, given.to_date or (None if job.glob or given.pieces else newest)
    if first and last and first > last:
        raise SettingsError(f"--from_date={first} is after the last day, {last}.", "Choose an earlier --from_date.")
    return given.model_copy(update={"to_date": last})


def read_dates(given: DateOptions, snapshot_at: datetime) -> tuple[date, date]:
    """First and last date of the calendar.

    Raises:
        SettingsError: the first is after the last.
    """
    first, last = given.from_date or FIRST_DATE, given.to_date or date(snapshot_at.year + 5, 12, 31)
    if first > last:
        raise SettingsError(f"--from_date={first} is after --to_date={last}.", "Exchange them.")
    return first, last
