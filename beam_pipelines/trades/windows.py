"""From messages to panes: the one transform of the stream and of the batch."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime
from typing import Any

import apache_beam as beam
from apache_beam.io.gcp.pubsub import PubsubMessage
from apache_beam.pvalue import PCollection, TaggedOutput
from apache_beam.transforms.trigger import AccumulationMode, AfterCount, AfterWatermark
from apache_beam.transforms.window import FixedWindows, GlobalWindows, TimestampedValue
from apache_beam.typehints.decorators import no_annotations
from apache_beam.utils.windowed_value import PaneInfoTiming

from beam_pipelines.batch_files.rejects import MAX_PAYLOAD_CHARACTERS
from beam_pipelines.trades.accumulator import CombineTrades, Known, pack_trades, split_conflicts
from beam_pipelines.trades.lines import COLUMNS, Limits, Part, RefusedLine, read_lines, read_unreadable
from beam_pipelines.trades.table import window_row
from coinbeam.batch.digest import digest
from coinbeam.batch.tables import TRADE_WINDOW_FACT
from coinbeam.clock import Clock, format_instant
from coinbeam.contracts import load_contract
from coinbeam.feeds.trades.message import (
    ALLOWED_LATENESS,
    FEED,
    HEARTBEAT,
    PRICE_COLON,
    PRICES,
    UNREADABLE,
    WINDOW,
    Message,
)
from coinbeam.sources.aggregate_trade import AHEAD
from coinbeam.sources.registry import COINGECKO

PANES, REFUSED = "panes", "refused"

PUBLISHED_AT = "published_at"
"""When Pub/Sub took a message, in milliseconds: an attribute that the pipeline itself adds, as ``message_id``."""

_TIMINGS = {PaneInfoTiming.EARLY: "early", PaneInfoTiming.ON_TIME: "on_time", PaneInfoTiming.LATE: "late"}


@dataclass(frozen=True)
class Run:
    """One run of the pipeline: what all its rows say of it.

    Attributes:
        symbols: those that are followed; empty: any.
        source_id: where trades come from; ``price_source_id`` polled prices.
        batch_id: of the refused records of a batch; those of a stream belong to the day of their message.
        is_batch: over landed files, which may be of any age.
        day: the only UTC date whose windows are made; all when left out.
        until: windows that end later are not made.
    """

    run_id: str
    source_id: str
    batch_id: str
    clock: Clock = field(repr=False)
    symbols: frozenset[str] = frozenset()
    is_batch: bool = False
    price_source_id: str = COINGECKO.id
    day: date | None = None
    until: datetime | None = None

    def limits(self) -> Limits:
        """What a trade may be now."""
        now = int(self.clock().timestamp() * 1_000)
        late = int((ALLOWED_LATENESS + WINDOW).total_seconds() * 1_000)
        return Limits(self.symbols, 0 if self.is_batch else now - late, now + int(AHEAD.total_seconds() * 1_000))

    def takes(self, start: int) -> bool:
        """Whether windows that begin at this time, in milliseconds, are made."""
        begin = datetime.fromtimestamp(start / 1_000, UTC)
        return self.day in {None, begin.date()} and (self.until is None or begin + WINDOW <= self.until)

    def leaves_aside(self, message: Message) -> bool:
        """Whether a message is none of this run's business: one of polled prices where it follows trades only, or the
        other way round. Where streams of the two read one subscription, each finds there what the other one left.
        """
        is_price = message.attributes.get(FEED) == PRICES or PRICE_COLON in message.attributes.get("symbol", "")
        return bool(self.symbols) and all((PRICE_COLON in one) != is_price for one in self.symbols)


def as_message(received: PubsubMessage) -> Message:
    """A message of Pub/Sub as ours; workers call it, so that it lies in no entry module, which a launcher renames."""
    published = received.publish_time
    own = {PUBLISHED_AT: str(int(published.timestamp() * 1_000))} if published else {}
    return Message(received.data, {**received.attributes, "message_id": received.message_id or "", **own})


class TradeWindows(beam.PTransform[Any, Any]):
    """Messages to panes, rows of ``trade_window_pane``, and to refused records, rows of ``rejected_record``."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    @no_annotations
    def expand(self, messages: PCollection[Message]) -> dict[str, PCollection[dict[str, Any]]]:
        """Decode, window, combine, and make rows."""
        decoded = messages | "Decode" >> beam.ParDo(_Decode(self._run)).with_outputs(REFUSED, main="parts")
        parts = decoded["parts"]
        if not self._run.is_batch:  # a batch knows all of a window at once, and would pay for triggers that never fire
            parts = parts | "Window" >> beam.WindowInto(
                FixedWindows(WINDOW.total_seconds()),
                trigger=AfterWatermark(late=AfterCount(1)),
                accumulation_mode=AccumulationMode.ACCUMULATING,
                allowed_lateness=ALLOWED_LATENESS.total_seconds(),
            )
        panes = (
            parts
            | "Combine" >> beam.CombinePerKey(CombineTrades())
            | "Rows" >> beam.ParDo(_MakeRows(self._run)).with_outputs(REFUSED, main=PANES)
        )
        both = (
            one | f"{name}, any time" >> beam.WindowInto(GlobalWindows())
            for name, one in (("Lines", decoded[REFUSED]), ("Ids", panes[REFUSED]))
        )
        refused = tuple(both) | "Refused" >> beam.Flatten()
        return {PANES: panes[PANES], REFUSED: refused}


class _Decode(beam.DoFn):
    """Messages to ``((symbol, begin of the window), packed part)`` at the time of the window."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def process(self, message: Message) -> Iterator[Any]:
        if message.attributes.get("kind") == HEARTBEAT and not message.data:
            return
        if self._run.leaves_aside(message):
            return
        symbol = message.attributes.get("symbol")
        said = message.attributes.get("message_id") or digest(message.data.decode("latin-1"), length=16)
        said, at = said if self._run.is_batch else f"message {said}", message.attributes.get(PUBLISHED_AT)
        found_in = read_unreadable if message.attributes.get("kind") == UNREADABLE else read_lines
        for found in found_in(message.data, self._run.limits(), symbol):
            if isinstance(found, Part):
                if not self._run.takes(found.start):
                    continue
                packed = pack_trades(found.trades), tuple(found.marks)
                yield TimestampedValue(((found.symbol, found.start), packed), found.start / 1_000)
            else:
                yield TaggedOutput(REFUSED, refused_row(self._run, said, symbol, found, at))


class _MakeRows(beam.DoFn):
    """What a window knows to a row, and the trades that claimed the id of another one to refused records."""

    def __init__(self, run: Run) -> None:
        super().__init__()
        self._run = run

    def process(
        self,
        known: tuple[tuple[str, int], Known],
        pane: Any = beam.DoFn.PaneInfoParam,
    ) -> Iterator[Any]:
        (symbol, start), (trades, marks) = known
        if not len(trades):  # marks of a window without trades: there is nothing to say of it
            return
        table, conflicts = split_conflicts(trades)
        for row in conflicts.tolist():
            line = repr(dict(zip(COLUMNS, row, strict=True))).encode()
            refused = RefusedLine(row[0], "id_claimed_twice", "a", line)
            yield TaggedOutput(REFUSED, refused_row(self._run, f"{symbol} {start}", symbol, refused, str(start)))
        yield {
            **window_row(symbol, start, table, marks),
            "pane_index": pane.index,
            "timing": "batch" if self._run.is_batch else _TIMINGS.get(pane.timing, "on_time"),
            "run_id": self._run.run_id,
            "source_id": self._run.price_source_id if PRICE_COLON in symbol else self._run.source_id,
            "written_at": format_instant(self._run.clock()),
        }


def refused_row(run: Run, where: str, symbol: str | None, refused: RefusedLine, at: str | None) -> dict[str, Any]:
    """A line that is no trade as a row of ``rejected_record``; the same line of the same message is the same row.

    Args:
        where: the message, or the landed file.
        at: milliseconds since 1970 of the day whose record it is; None: today.
    """
    now: datetime = run.clock()
    day = datetime.fromtimestamp(int(at) / 1_000, UTC).date() if at else now.date()
    text = refused.line[:MAX_PAYLOAD_CHARACTERS].decode("utf-8", errors="replace")
    is_row = refused.number is not None
    return {
        "rejected_id": digest(where, str(refused.number), str(refused.column), refused.reason, length=16),
        "batch_id": run.batch_id if run.is_batch else f"stream-{day:%Y%m%d}",
        "snapshot_date": day.isoformat(),
        "table_name": TRADE_WINDOW_FACT,
        "level": "row" if is_row else "page",
        "estimated_rows": 1,
        "page_uri": where,
        "row_number": refused.number,
        "asset_id": symbol,
        "reason": refused.reason,
        "column_name": refused.column,
        "value": None,
        "payload": text,
        "contract_version": load_contract(TRADE_WINDOW_FACT).version,
        "rejected_at": format_instant(now),
    }
