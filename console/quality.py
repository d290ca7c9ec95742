"""The command ``coinbeam quality``: the history of the rules, and a check of the published tables now."""

from collections import Counter

from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.contracts import load_all, load_contract
from coinbeam.landing.bucket import Bucket
from coinbeam.quality import Audit, Auditor, Result, judge_published, newest_dates
from coinbeam.quality.record import COLUMNS, Selection, rule_histories
from coinbeam.quality.witness import Witness
from coinbeam.settings import load_settings
from coinbeam.warehouse.client import Warehouse
from console.output import Format, say, show

_CHECK_COLUMNS = ("table", "rule", "severity", "status", "value", "threshold", "sample", "message")


def show_history(chosen: Selection, form: Format) -> None:
    """Show what is recorded of the rules, newest first.

    Raises:
        ContractError: there is no such table.
    """
    if chosen.table:
        load_contract(chosen.table)
    show(COLUMNS, rule_histories(Warehouse(load_settings()), chosen), form)


def check_now(table: str | None, form: Format, clock: Clock = utc_now) -> int:
    """Run the rules of the published stage on the newest dates of one table or all, record and show their results.

    A table shows what did not pass; CSV and JSON hold every result.

    Returns:
        1 when a rule failed or could not run, else 0.

    Raises:
        ContractError: there is no such table.
    """
    settings, now = load_settings(), clock()
    warehouse, run = Warehouse(settings, clock=clock), f"manual__{format_instant(now)}"
    results: list[Result] = []
    for contract in [load_contract(table)] if table else load_all().values():
        first, last = newest_dates(warehouse, contract, settings.quality.check_days, now.date())
        results += judge_published(warehouse, [contract], Audit.of_dates(run, first, last, now))
    Auditor(warehouse, Audit.of_dates(run, now.date(), now.date(), now)).record(results, now)
    _show(results, form)
    if form is Format.TABLE:
        found = Counter(result.status.value for result in results)
        say(f"{run}: {', '.join(f'{count} {status}' for status, count in sorted(found.items()))}")
    return int(any(result.blocks for result in results))


def check_witness(form: Format, clock: Clock = utc_now) -> int:
    """Compare our newest prices with the witness, record and show the result.

    Returns:
        1 when nothing could be compared, else 0: a deviation is a warning.

    Raises:
        CoinbeamError: the witness is off, does not answer, or there is no snapshot.
    """
    settings, run = load_settings(), f"manual__{format_instant(clock())}"
    result = Witness(Warehouse(settings, clock=clock), Bucket(settings), clock).check(run)
    _show([result], form)
    if form is Format.TABLE:
        say(f"{result.status}: {result.message}")
    return int(result.blocks)


def _show(results: list[Result], form: Format) -> None:
    shown = results if form is not Format.TABLE else [result for result in results if result.status != "passed"]
    rows = [
        {
            "table": result.table,
            "rule": result.rule.name,
            "severity": result.rule.severity.value,
            "status": result.status.value,
            "value": result.value,
            "threshold": result.threshold,
            "sample": ", ".join(result.sample),
            "message": result.message,
        }
        for result in shown
    ]
    if rows or form is not Format.TABLE:
        show(_CHECK_COLUMNS, rows, form)
