"""The commands of daily history: the backfill, its gaps, and the Fear & Greed index."""

import os
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

from coinbeam.clock import format_instant, utc_now
from coinbeam.feeds.forms import BackfillForm, form_defaults
from coinbeam.feeds.history.coverage import AssetCoverage, Coverage
from coinbeam.feeds.history.pieces import newest_closed_day
from coinbeam.feeds.history.plan import describe
from coinbeam.feeds.history.request import request_from
from coinbeam.feeds.history.steps import HistorySteps
from coinbeam.settings import MarketSource, Settings, load_settings
from coinbeam.warehouse.client import Warehouse
from console.dags import marts_run, refresh_marts, run_in_composer, run_locally, start_local_cloud, start_services
from console.output import Format, complain, heading, say, show
from local.airflow import BACKFILL_DAG, FEAR_GREED_DAG, DagRun, last_error

GAP_COLUMNS = ("asset_id", "first", "last", "days", "source_was_asked")
COVERAGE_COLUMNS = ("asset_id", "first", "last", "history_days", "snapshot_days", "missing_days", "gaps")

Form = dict[str, Any]


def backfill_form(settings: Settings, given: Mapping[str, Any]) -> Form:
    """Every field of the backfill's trigger form, given or by default."""
    return {
        **form_defaults(BackfillForm, settings),
        **{name: value for name, value in given.items() if value is not None},
    }


def run_backfill(given: Mapping[str, Any], source: str | None, mode: str) -> int:
    """Plan a backfill and, unless it is a dry run, run it and refresh the marts.

    Args:
        given: fields of the form that were given.
        source: live, simulator, auto, a glob, or None for the setting.
        mode: local or cloud.

    Returns:
        0 when it ended well.
    """
    variables = {"COINBEAM_MARKET__SOURCE": source} if source in set(MarketSource) and source else {}
    os.environ.update(variables)
    load_settings.cache_clear()
    settings = load_settings()
    files = None if source is None or variables else (source if "://" in source else str(Path.cwd() / source))
    form = backfill_form(settings, {**given, "source": files})
    if mode == "cloud":
        return run_in_composer(settings, BACKFILL_DAG, form)
    start_services(settings)
    plan = HistorySteps(settings).planner.plan(request_from(form, utc_now(), settings), "plan", form["runner"])
    say(describe(plan))
    if form["dry_run"]:
        say("Dry run: nothing was changed. Add --no-dry-run to go on.")
        return 0
    start_local_cloud(settings)
    code, log = run_locally(settings, DagRun(format_instant(utc_now()), form, variables, BACKFILL_DAG))
    if code:
        complain(last_error(log) or "The backfill did not end well.")
        say(f"Log: {log}. The same command goes on where it stopped.")
    return refresh_marts(settings, variables) or code


def run_fear_greed(source: str | None) -> int:
    """Run the DAG of the Fear & Greed index on this machine and refresh the marts; 0 when both ended well."""
    settings = load_settings()
    variables = {"COINBEAM_MARKET__SOURCE": source} if source in set(MarketSource) and source else {}
    files = None if source is None or variables else (source if "://" in source else str(Path.cwd() / source))
    start_local_cloud(settings)
    form = {"runner": settings.runner.value, "source": files}
    code, log = run_locally(settings, DagRun(format_instant(utc_now()), form, variables, FEAR_GREED_DAG), marts_run())
    if code:
        complain(last_error(log) or "The index was not published.")
        say(f"Log: {log}")
    return code


def show_gaps(
    assets: Sequence[str], quote_currency: str | None, first: date | None, last: date | None, form: Format
) -> None:
    """Show the coverage of the daily history, and each gap.

    Args:
        assets: ids; all that have any history when empty.
        quote_currency: currency of the rows, or None for the setting.
        first: first day, or None for as far back as the plan reaches.
        last: last day, or None for the newest closed one.
        form: how rows are shown; anything but a table shows the gaps only.
    """
    settings = load_settings()
    between = gap_range(settings, first, last)
    found = Coverage(Warehouse(settings)).read(assets, quote_currency or settings.market.quote_currency, *between)
    if form is not Format.TABLE:
        show(GAP_COLUMNS, gap_rows(found), form)
        return
    heading(f"Coverage from {between[0]} to {between[1]}")
    show(COVERAGE_COLUMNS, [{**vars(one), "missing_days": one.missing_days, "gaps": len(one.gaps)} for one in found])
    heading("Gaps")
    rows = gap_rows(found)
    show(GAP_COLUMNS, rows) if rows else say("none")
    if any(not row["source_was_asked"] for row in rows):
        say("\n`coinbeam gaps --fill` asks for the days that the source was never asked for.")


def gap_range(settings: Settings, first: date | None, last: date | None) -> tuple[date, date]:
    """The days to look at: by default those that the backfill would ask for by default."""
    form = backfill_form(settings, {"from_date": first and str(first), "to_date": last and str(last)})
    request = request_from(form, utc_now(), settings)
    return request.first, min(request.last, newest_closed_day(utc_now(), settings.history))


def gap_rows(found: Sequence[AssetCoverage]) -> list[dict[str, Any]]:
    """One row for each gap."""
    return [
        {
            "asset_id": one.asset_id,
            "first": gap.first,
            "last": gap.last,
            "days": gap.days,
            "source_was_asked": gap.is_known,
        }
        for one in found
        for gap in one.gaps
    ]


def covered_assets(quote_currency: str | None) -> list[str]:
    """The assets that have any daily history in the days that a backfill asks for by default."""
    settings = load_settings()
    between = gap_range(settings, None, None)
    return [
        one.asset_id
        for one in Coverage(Warehouse(settings)).read((), quote_currency or settings.market.quote_currency, *between)
    ]
