"""Yesterday, once more: the windows that a batch computed from the landed trades, beside those of the stream."""

import json
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from coinbeam.batch.jobs import TRADE_WINDOWS
from coinbeam.batch.kinds import batch_folder
from coinbeam.batch.tables import REJECTS, TRADE_SYMBOLS, TRADE_WINDOW_FACT
from coinbeam.clock import format_instant, parse_instant
from coinbeam.contracts import Stage, load_contract
from coinbeam.contracts.bigquery import literal
from coinbeam.errors import StreamDiffersError
from coinbeam.feeds.plan import Carried
from coinbeam.feeds.trades.merge import merge_panes
from coinbeam.feeds.trades.message import WINDOW
from coinbeam.feeds.trades.symbols import map_symbols
from coinbeam.feeds.trades.topic import LANDING_FOLDER
from coinbeam.landing.bucket import Bucket
from coinbeam.quality import Audit, Result, check_published, refuse_if_blocked
from coinbeam.sources.registry import BINANCE, COINGECKO, Source
from coinbeam.sql_template import render
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.conflicts import until_no_conflict
from coinbeam.warehouse.staging import merge_rows

NOT_COMPARED = frozenset({"written_at"})
"""Columns in which a batch and a stream may differ: when the row was written."""

_DAY = timedelta(days=1)
_RUNBOOK = "See docs/runbooks/stream.md, section 'Batch and stream differ'."


@dataclass(frozen=True, kw_only=True)
class Settlement(Carried):
    """What the tasks that settle a day know of it.

    Attributes:
        day: ISO 8601 date.
        batch_id: how the records name the day, whichever run settles it.
        run_id: of the panes that the batch makes; another one for each attempt to settle the day.
        landed_before: ISO 8601 instant; what the stream merged before it was landed when the batch began.
        options: of the job.
    """

    day: str
    batch_id: str
    run_id: str
    landed_before: str
    options: dict[str, str]

    @property
    def date(self) -> date:
        """The day."""
        return date.fromisoformat(self.day)


class Settler:
    """Settles days: what the batch knows more is merged, the marts are told, and a difference is an error."""

    def __init__(self, warehouse: Warehouse, bucket: Bucket) -> None:
        self._warehouse, self.bucket = warehouse, bucket

    def plan(self, day: date) -> Settlement | None:
        """Find what was landed of a day; its last trades lie in the folder of the next one.

        Returns:
            None for a day that has neither landed trades nor windows: nobody followed any symbol.

        Raises:
            StreamDiffersError: there are windows, but nothing was landed.
        """
        folders = [f"{LANDING_FOLDER}{one:%Y/%m/%d}/" for one in (day, day + _DAY)]
        landed = [folder for folder in folders if self.bucket.names(folder)]
        known = self._windows(day)
        sources = [row["source_id"] for row in known]
        if not sources and folders[0] not in landed:
            return None
        if not landed:
            count = sum(row["windows"] for row in known)
            said = f"The stream has {count} windows of {day}, and no trade of that day was landed."
            raise StreamDiffersError(said, _RUNBOOK)
        settings, now = self._warehouse.settings, self._warehouse.clock()
        batch_id = f"trades-{day:%Y%m%d}"
        name = f"{batch_id}-{now:%Y%m%dT%H%M%SZ}"
        usual = "simulator" if settings.is_local else "live"
        whole_until = format_instant(now - timedelta(seconds=settings.stream.landed_seconds))
        options = {
            "source": ",".join(f"{self.bucket.uri(folder)}*" for folder in landed),
            "batch_id": name,
            "day": day.isoformat(),
            "until": whole_until,
            "symbols": ",".join(self._symbols(known)),
            "venue": _kind(BINANCE, sources) or usual,
            "price_venue": _kind(COINGECKO, sources) or usual,
            "output": self.bucket.uri(batch_folder(name)),
        }
        return Settlement(
            day=day.isoformat(), batch_id=batch_id, run_id=name, landed_before=whole_until, options=options
        )

    def _symbols(self, known: Iterable[Mapping[str, Any]]) -> list[str]:
        """The symbols that are followed, or were: lines of others are no trades, as they were none for the stream."""
        stream = self._warehouse.settings.stream
        rows = self._warehouse.rows(f"SELECT symbol FROM {self._warehouse.names()[TRADE_SYMBOLS]}")
        of_day = (symbol for row in known for symbol in row["symbols"])
        return sorted({*stream.symbols, *stream.prices, *of_day, *(row["symbol"] for row in rows)})

    def _windows(self, day: date) -> list[dict[str, Any]]:
        """The sources of the windows of a day, with how many came from each and their symbols."""
        return self._warehouse.rows(
            "SELECT source_id, COUNT(*) AS windows, ARRAY_AGG(DISTINCT symbol ORDER BY symbol) AS symbols "
            f"FROM {self._warehouse.names()[TRADE_WINDOW_FACT]} WHERE window_date = {literal(day)} GROUP BY source_id"
        )

    def publish(self, plan: Settlement) -> "Comparison":
        """Merge what the batch knows more, keep what it refused, and tell the marts; what was found before.

        Raises:
            WriteConflictError: the stream merged at the same moment, again and again.
        """
        found = self._compare(plan)
        begin = datetime.combine(plan.date, time(), UTC)
        until_no_conflict()(merge_panes, self._warehouse, begin, begin + _DAY - WINDOW, plan.run_id)
        self._keep_refused(plan)
        for row in self._windows(plan.date):
            map_symbols(self._warehouse, row["symbols"], row["source_id"])
        announce(self._warehouse, plan.date, found.windows)
        return found

    def _keep_refused(self, plan: Settlement) -> None:
        """Lines of the day's own folder that the batch refused; whoever settles the day again replaces them."""
        text = self.bucket.read_text(f"{batch_folder(plan.run_id)}/{TRADE_WINDOWS.file(REJECTS, 'trades')}") or ""
        folder = f"/{LANDING_FOLDER}{plan.date:%Y/%m/%d}/"
        rows = [row for row in map(json.loads, text.splitlines()) if folder in row["page_uri"]]
        own = {"batch_id": plan.batch_id, "snapshot_date": plan.day}
        merge_rows(self._warehouse, load_contract(REJECTS), [row | own for row in rows])

    def verify(self, plan: Settlement, run_id: str) -> list[Result]:
        """Check the windows of the day as readers see them: no rule broken, and the stream's figures are the batch's.

        Args:
            run_id: the run that asks.

        Raises:
            PublishBlockedError: a rule is broken.
            StreamDiffersError: trades were lost between the topic and the landing, or figures differ.
        """
        audit = Audit.of_dates(run_id, plan.date, plan.date, self._warehouse.clock())
        results = check_published(self._warehouse, [load_contract(TRADE_WINDOW_FACT)], audit)
        refuse_if_blocked(results, Stage.PUBLISHED)
        self._compare(plan).refuse_unless_equal()
        return results

    def _compare(self, plan: Settlement) -> "Comparison":
        return compare(self._warehouse, plan.date, plan.run_id, parse_instant(plan.landed_before))


def _kind(source: Source, found: Collection[str]) -> str | None:
    """Whether windows came from a source or from its twin; None where there are none of either."""
    return "live" if source.id in found else "simulator" if source.twin in found else None


@dataclass(frozen=True)
class Comparison:
    """Windows of a day, by what the batch of the landed trades says of those of the stream.

    Attributes:
        equal: the same figures, bit for bit, or of the stream and so new that they were not landed yet.
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

    @property
    def windows(self) -> int:
        """All windows of the day, of either side."""
        return self.equal + self.repaired + self.lost + self.differing

    def refuse_unless_equal(self) -> None:
        """Let a repair pass, which is what the batch is for.

        Raises:
            StreamDiffersError: trades were lost between the topic and the landing, or the figures differ.
        """
        if self.lost or self.differing:
            raise StreamDiffersError(
                f"The windows of {self.day} computed from landed trades are not those of the stream: {self.lost} know "
                f"fewer trades, {self.differing} have other figures, {self.equal} are equal: {self.sample}.",
                _RUNBOOK,
            )


def compare(warehouse: Warehouse, day: date, run_id: str, landed_before: datetime) -> Comparison:
    """Compare the fact of a day with the panes of a batch run.

    Args:
        landed_before: a row that was written later may know trades that were not landed when the batch began.

    Raises:
        TerminalError: a table does not exist.
        TransientError: the warehouse does not answer.
    """
    fact = load_contract(TRADE_WINDOW_FACT)
    keys = {*fact.primary_key, "window_date"}
    compared = [column.name for column in fact.columns if column.name not in NOT_COMPARED | keys]
    sql = render(
        fact.folder / "compare.sql",
        **warehouse.names(),
        compared=compared,
        day=literal(day),
        run_id=literal(run_id),
        landed_before=literal(landed_before),
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
