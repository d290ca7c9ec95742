"""Whether a stream that is meant to run brings windows."""

from coinbeam.batch.tables import TRADE_WINDOW_FACT
from coinbeam.contracts import Rule, Stage, load_contract
from coinbeam.contracts.bigquery import literal
from coinbeam.errors import TransientError
from coinbeam.feeds.trades.message import WINDOW
from coinbeam.quality import Audit, Auditor, Result
from coinbeam.warehouse.client import Warehouse

RULE = "stale_stream"


def check_stream(warehouse: Warehouse, run_id: str) -> Result:
    """Look at the age of the newest window of any symbol that is followed, and record it in ``quality_result``.

    One symbol may be quiet; all of them together are not. Days before yesterday are not looked at.

    Raises:
        TransientError: the warehouse does not answer.
    """
    now, stream = warehouse.clock(), warehouse.settings.stream
    days = "window_date BETWEEN DATE_SUB({last_date}, INTERVAL 1 DAY) AND {last_date}"
    followed = ", ".join(literal(symbol) for symbol in stream.symbols)
    end = f"TIMESTAMP_ADD(MAX(window_start), INTERVAL {int(WINDOW.total_seconds())} SECOND)"
    age = f"COALESCE(TIMESTAMP_DIFF({{now}}, {end}, SECOND), 172800)"
    rule = Rule(
        name=RULE,
        query=f"SELECT {age} FROM {{{TRADE_WINDOW_FACT}}} WHERE {days} AND symbol IN ({followed})",
        operator="<=",
        threshold=stream.stale_after_seconds,
        description=f"The newest window of the stream ended at most {stream.stale_after_seconds:g} seconds ago.",
        stage=Stage.PUBLISHED,
    )
    fact = load_contract(TRADE_WINDOW_FACT)
    auditor = Auditor(warehouse, Audit.of_dates(run_id, now.date(), now.date(), now))
    results = auditor.check(fact, f"`{warehouse.table(fact)}`", [rule])
    auditor.record(results, now)
    return results[0]


def refuse_if_stale(result: Result) -> None:
    """Make a stream that is meant to run, and brings nothing, an error.

    Raises:
        TransientError: it does; it may have begun again when it is looked at once more.
    """
    if result.blocks:
        age = "unknown" if result.value is None else f"{result.value:g} seconds"
        raise TransientError(
            f"The stream runs, and brings no windows: the newest one ended {age} ago.",
            "See docs/runbooks/stream.md, section 'The stream lags'.",
        )
