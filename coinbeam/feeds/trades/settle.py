"""Yesterday, once more: the windows that a batch computed from the landed trades, beside those of the stream."""

from dataclasses import dataclass
from datetime import date

from coinbeam.batch.tables import TRADE_WINDOW_FACT
from coinbeam.clock import format_instant
from coinbeam.contracts import load_contract
from coinbeam.contracts.bigquery import literal
from coinbeam.errors import TerminalError
from coinbeam.sql_template import render
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.staging import merge_rows

NOT_COMPARED = frozenset({"written_at"})
"""Columns in which a batch and a stream may differ: when the row was written."""


@dataclass(frozen=True)
class Comparison:
    """Windows of a day, by what the batch of the landed trades says of those of the stream.

    Attributes:
        equal: the same figures, bit for bit.
        repaired: the batch knows more, so that the stream's row gives way, or there was none.
        lost: the stream knows more: trades of it were not landed.
        differing: both know as much, and differ: a fault of ours.
        sample: some windows that were lost or differ.
    """

    day: date
    equal: int
    repaired: int
    lost: int
    differing: int
    sample: str

    def refuse_unless_equal(self) -> None:
        """Let a repair pass, which is what the batch is for.

        Raises:
            TerminalError: trades were lost between the topic and the landing, or the figures differ.
        """
        if self.lost or self.differing:
            raise TerminalError(
                f"The windows of {self.day} computed from landed trades are not those of the stream: {self.lost} know "
                f"fewer trades, {self.differing} have other figures, {self.equal} are equal: {self.sample}.",
                "See docs/runbooks/stream.md, section 'Batch and stream differ'.",
            )


def compare(warehouse: Warehouse, day: date, run_id: str) -> Comparison:
    """Compare the fact of a day with the panes of a batch run, before they are merged into it.

    Raises:
        TerminalError: a table does not exist.
        TransientError: the warehouse does not answer.
    """
    fact = load_contract(TRADE_WINDOW_FACT)
    keys = {*fact.primary_key, "window_date"}
    compared = [column.name for column in fact.columns if column.name not in NOT_COMPARED | keys]
    sql = render(
        fact.folder / "compare.sql", **warehouse.names(), compared=compared, day=literal(day), run_id=literal(run_id)
    )
    [row] = warehouse.rows(sql)
    return Comparison(day, row["equal"], row["repaired"], row["lost"], row["differing"], row["sample"] or "")


def announce(warehouse: Warehouse, day: date, rows: int) -> None:
    """Tell the marts that the windows of a day are settled; their next refresh recomputes it.

    Raises:
        TransientError: the warehouse does not answer.
    """
    now = format_instant(warehouse.clock())
    row = {
        "batch_id": f"trades-{day:%Y%m%d}",
        "table_name": TRADE_WINDOW_FACT,
        "first_date": day.isoformat(),
        "last_date": day.isoformat(),
        "rows_published": rows,
        "published_at": now,
    }
    merge_rows(warehouse, load_contract("publication"), [row])
