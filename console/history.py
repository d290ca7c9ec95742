"""The commands of daily history: the backfill, its gaps, and the Fear & Greed index."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import date, datetime
from typing import Any
from zoneinfo import ZoneInfo

from coinbeam.clock import format_instant, utc_now
from coinbeam.errors import SettingsError
from coinbeam.feeds.forms import BackfillForm, form_defaults
from coinbeam.feeds.history.coverage import Coverage
from coinbeam.feeds.history.ledger import PieceLedger
from coinbeam.feeds.history.pieces import newest_closed_day
from coinbeam.feeds.history.plan import describe
from coinbeam.feeds.history.request import request_from
from coinbeam.feeds.history.steps import HistorySteps
from coinbeam.feeds.known_assets import refuse_unknown
from coinbeam.feeds.market import choose_market
from coinbeam.settings import Settings, load_settings
from coinbeam.sources.registry import COINGECKO
from coinbeam.warehouse.client import Warehouse
from console import dags
from console.output import Format, heading, say, say_banner, show, show_summary_table
from runs.airflow import BACKFILL_DAG, FEAR_GREED_DAG, DagRun, marts_run


def backfill_form(settings: Settings, given: Mapping[str, Any]) -> dict[str, Any]:
    """Every field of the backfill's trigger form, given or by default."""
    given = {name: value for name, value in given.items() if value is not None}
    return {**form_defaults(BackfillForm, settings), **given}


def run_backfill(given: Mapping[str, Any], source: dags.Source, mode: str) -> int:
    """Plan a backfill and, unless it is a dry run, run it, local or cloud, and refresh the marts; 0 if all went well.

    Fields of the form that were not given have their defaults.
    """
    _refuse_ignored(given, source)
    if mode == "cloud":
        source.refuse_in_cloud()
    settings = source.settings(will_ask=mode != "cloud")
    form = backfill_form(settings, {**given, "source": source.files})
    if mode == "cloud":
        return dags.run_in_composer(settings, BACKFILL_DAG, form)
    dags.start_services(settings)
    plan = HistorySteps(settings).planner.plan(request_from(form, utc_now(), settings), "plan", settings.runner.value)
    say_banner(plan.banner)
    say(describe(replace(plan, banner="")))
    if source.files:
        say(describe_files(source.files, form["time_zone"], form["quote_currency"]))
    if form["dry_run"]:
        say("Dry run: nothing was changed. Add --no-dry-run to go on.")
        return 0
    dags.start_local_cloud(settings)
    began = utc_now()
    run = DagRun(format_instant(began), form, source.variables, BACKFILL_DAG)
    advice = ". The same command goes on where it stopped."
    code = dags.run_and_report(settings, run, failure="The backfill did not end well.", advice=advice)
    code = dags.refresh_marts(settings, source.variables) or code
    waiting = plan.batches_waiting
    notes = [f"{waiting} batches wait for another day's calls."] if waiting else []
    for asset, said in PieceLedger(Warehouse(settings)).complaints(plan.backfill_id).items():
        notes.append(f"{asset}: {said}")
    note = "\n".join(notes)
    show_ended(settings, began, note, NEXT_AFTER_BACKFILL)
    return code


_ENDED = {
    "batch_id": "batch_id",
    "status": "status",
    "read": "rows_read",
    "published": "rows_published",
    "rejected": "rows_rejected",
    "calls": "api_calls",
}
"""Columns of the record of a batch by short names, so that a row fits a terminal of 80 columns."""

NEXT_AFTER_BACKFILL = (
    '.venv/bin/coinbeam query "SELECT name, first_date, last_date, days_tracked, days_missing, last_price FROM '
    "crypto_marts.asset_stats WHERE quote_currency = 'usd' ORDER BY days_tracked DESC, asset_id LIMIT 10\"",
    ".venv/bin/coinbeam gaps",
    "docs/questions.md    # ten questions of an analyst, each with its query",
)
NEXT_AFTER_INDEX = (
    '.venv/bin/coinbeam query "SELECT date, value, classification FROM crypto_data.fear_greed_fact WHERE date >= '
    'CURRENT_DATE() - 7 ORDER BY date DESC"',
)


def show_ended(settings: Settings, began: datetime, note: str, next_commands: Sequence[str]) -> None:
    """What came of a run: the batches that it recorded, what became of their rows, and what to look at next."""
    if batches := dags.batches_since(settings, began):
        heading("What came of it")
        shown = [{name: batch[column] for name, column in _ENDED.items()} for batch in batches]
        show_summary_table(tuple(_ENDED), shown)
    if note:
        say(note)
    heading("Try next")
    for line in next_commands:
        say(f"  {line}")


def _refuse_ignored(given: Mapping[str, Any], source: dags.Source) -> None:
    """Refuse options that would have no effect beside others.

    Raises:
        SettingsError: there is one.
    """
    said = {name for name, value in given.items() if value is not None}
    if {"assets", "top_n"} <= said:
        raise SettingsError("--assets and --top-n choose different assets.", "Give one of them.")
    of_calls, of_files = {"top_n": "--top-n", "calls_per_day": "--calls-per-day"}, {"asset_of": "--asset-of"}
    of_files["time_zone"] = "--time-zone"
    useless, where = (
        (of_calls, "for files, which cost no call") if source.files else (of_files, "without --source=GLOB")
    )
    if ignored := [option for name, option in useless.items() if name in said]:
        raise SettingsError(f"{' and '.join(ignored)} has no meaning {where}.", "Leave it out.")


def describe_files(glob: str, time_zone: str | None, currency: str) -> str:
    """How many files a glob matches and how many points they hold; of a file that cannot be read, why.

    Raises:
        TerminalError: there is none.
    """
    from beam_pipelines.batch_files.json_bodies import BodyFault  # Beam takes seconds to load; only files need it
    from beam_pipelines.history.bodies import read_points
    from beam_pipelines.job.replay import find_files
    from beam_pipelines.landing.files import read_landed

    zone, points, lines = ZoneInfo(time_zone) if time_zone else None, 0, []
    files = find_files(glob)
    for uri in files:
        found = read_points(read_landed(uri, tolerant=True).body, zone, currency)
        if isinstance(found, BodyFault):
            lines.append(f"          {uri}: {found.reason}")
        else:
            points += len(found.stamps)
    return "\n".join([f"files     {len(files)} match, with {points:,} points", *lines])


def run_fear_greed(source: dags.Source, *, refetch: bool = False) -> int:
    """Run the DAG of the Fear & Greed index on this machine and refresh the marts; 0 when both ended well."""
    settings = source.settings()
    dags.start_local_cloud(settings)
    form, began = {"source": source.files, "refetch": refetch}, utc_now()
    run = DagRun(format_instant(began), form, source.variables, FEAR_GREED_DAG)
    code = dags.run_and_report(settings, run, marts_run(), failure="The index was not published.")
    show_ended(settings, began, "", NEXT_AFTER_INDEX)
    return code


def show_gaps(
    assets: Sequence[str], quote_currency: str | None, first: date | None, last: date | None, form: Format
) -> None:
    """Show the coverage of the daily history of assets, or of all that have any, and each gap.

    Without days it reaches as far back as the plan, up to the newest closed day. CSV and JSON hold the gaps only.
    """
    settings = load_settings()
    between = gap_range(settings, first, last)
    warehouse, currency = Warehouse(settings), quote_currency or settings.market.quote_currency
    source_id = _asked(warehouse)
    refuse_unknown(warehouse, assets, "Ids are those of CoinGecko: see crypto_asset_dim.", source_id)
    found = Coverage(warehouse).read(assets, currency, *between, source_id)
    names = ("asset_id", "first", "last", "days", "source_was_asked")
    gaps = [(one.asset_id, gap.first, gap.last, gap.days, gap.is_known) for one in found for gap in one.gaps]
    rows = [dict(zip(names, gap, strict=True)) for gap in gaps]
    if form is not Format.TABLE:
        show(names, rows, form)
        return
    heading(f"Coverage from {between[0]} to {between[1]}")
    if not found:
        say("No asset has any daily history yet: `coinbeam backfill` brings it.")
        return
    columns = ("asset_id", "first", "last", "history_days", "snapshot_days", "missing_days", "gaps")
    show(columns, [{**vars(one), "missing_days": one.missing_days, "gaps": len(one.gaps)} for one in found])
    heading("Gaps")
    show(names, rows) if rows else say("none")
    if any(not row["source_was_asked"] for row in rows):
        say("\n`coinbeam gaps --fill` asks for the days that the source was never asked for.")


def gap_range(settings: Settings, first: date | None, last: date | None) -> tuple[date, date]:
    """The days to look at: by default those that the backfill would ask for by default."""
    form = backfill_form(settings, {"from_date": first and str(first), "to_date": last and str(last)})
    request = request_from(form, utc_now(), settings)
    return request.first, min(request.last, newest_closed_day(utc_now(), settings.history))


def covered_assets(quote_currency: str | None) -> list[str]:
    """The assets that have any daily history in the days that a backfill asks for by default."""
    settings = load_settings()
    currency, between = quote_currency or settings.market.quote_currency, gap_range(settings, None, None)
    warehouse = Warehouse(settings)
    return [one.asset_id for one in Coverage(warehouse).read((), currency, *between, _asked(warehouse))]


def _asked(warehouse: Warehouse) -> str:
    """The source that a backfill would ask: what another one has fills none of its gaps."""
    return COINGECKO.answering(choose_market(warehouse.settings, warehouse).kind)
