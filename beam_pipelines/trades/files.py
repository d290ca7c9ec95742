"""The bounded form: landed lines in, one file of rows for each symbol out, the refused lines beside them."""

from collections.abc import Iterable, Iterator
from typing import Any

import apache_beam as beam
import orjson
from apache_beam.io.filesystem import CompressionTypes
from apache_beam.io.filesystems import FileSystems
from apache_beam.pvalue import PCollection
from apache_beam.transforms.combiners import Count
from apache_beam.transforms.window import GlobalWindows
from apache_beam.typehints.decorators import no_annotations

from beam_pipelines.job.report import Report
from beam_pipelines.landing.files import write_atomically
from coinbeam.batch.jobs import TRADE_WINDOWS as JOB
from coinbeam.batch.tables import REJECTS, TRADE_WINDOW_PANE
from coinbeam.feeds.trades.message import Message

_BLOCK_BYTES = 250_000
"""Lines are read in blocks of about this size, so that a file of any size needs little memory."""

Rows = PCollection[dict[str, Any]]


class ReadLanded(beam.PTransform[Any, PCollection[Message]]):
    """Files of landed lines as messages of some thousand lines, of any symbols."""

    def __init__(self, uris: Iterable[str]) -> None:
        super().__init__()
        self._uris = tuple(uris)

    def expand(self, begin: Any) -> PCollection[Message]:
        """Read each file by one worker, block by block."""
        return (
            begin
            | "Files" >> beam.Create(self._uris)
            | "Spread files" >> beam.Reshuffle()
            | "Blocks" >> beam.FlatMap(_blocks)
        )


def _blocks(uri: str) -> Iterator[Message]:
    kind = CompressionTypes.GZIP if uri.endswith(".gz") else CompressionTypes.UNCOMPRESSED
    with FileSystems.open(uri, compression_type=kind) as source:
        offset, rest = 0, b""
        while block := source.read(_BLOCK_BYTES):
            whole, newline, rest_of_block = (rest + block).rpartition(b"\n")
            if newline:
                yield Message(whole, {"message_id": f"{uri}:{offset}"})
                offset += len(whole) + 1
            rest = rest_of_block
        if rest:
            yield Message(rest, {"message_id": f"{uri}:{offset}"})


class WriteFiles(beam.PTransform[Any, Any]):
    """Panes into one file of newline-delimited JSON for each symbol, in the order of their windows; refused lines into
    one file. Without any there is an empty one, which a load finds. What comes back are the counts of the report.
    """

    def __init__(self, output: str) -> None:
        super().__init__()
        self._output = output

    @no_annotations
    def expand(self, rows: tuple[Rows, Rows]) -> PCollection[Report]:
        """Gather by symbol, and write."""
        panes, refused = rows
        of_any_time = panes | "Any time" >> beam.WindowInto(GlobalWindows())
        written = (
            of_any_time
            | "By symbol" >> beam.Map(lambda row: (row["symbol"], row))
            | "Of a symbol" >> beam.GroupByKey()
            | "Write rows" >> beam.Map(_write_rows, self._output)
        )
        none = of_any_time | "How many" >> Count.Globally() | "Write none" >> beam.Map(_write_none, self._output)
        begin = panes.pipeline | "No line" >> beam.Create([(0, None)])
        set_aside = (
            (begin, refused | "One file" >> beam.Map(lambda row: (0, row)))
            | "All lines" >> beam.Flatten()
            | "All refused" >> beam.GroupByKey()
            | "Write refused" >> beam.Map(_write_refused, self._output)
        )
        return (written, none, set_aside) | "Counts" >> beam.Flatten()


def _write_rows(of_symbol: tuple[str, Iterable[dict[str, Any]]], output: str) -> Report:
    symbol, rows = of_symbol
    ordered = sorted(rows, key=lambda row: str(row["window_start"]))
    _write(f"{output}/{JOB.file(TRADE_WINDOW_PANE, symbol)}", ordered)
    trades = sum(row["agg_trade_count"] for row in ordered)
    open_windows = sum(not row["is_complete"] for row in ordered)
    return {"windows": len(ordered), "trades": trades, "incomplete_windows": open_windows, "symbols": [symbol]}


def _write_none(windows: int, output: str) -> Report:
    if not windows:
        _write(f"{output}/{JOB.file(TRADE_WINDOW_PANE, 'none')}", ())
    return {"windows": 0, "trades": 0, "incomplete_windows": 0}


def _write_refused(refused: tuple[int, Iterable[dict[str, Any] | None]], output: str) -> Report:
    by_id = {row["rejected_id"]: row for row in refused[1] if row}
    _write(f"{output}/{JOB.file(REJECTS, 'trades')}", [by_id[name] for name in sorted(by_id)])
    reasons: dict[str, int] = {}
    for row in by_id.values():
        reasons[row["reason"]] = reasons.get(row["reason"], 0) + 1
    return {"rejects": len(by_id), "rejects_by_reason": reasons}


def _write(uri: str, rows: Iterable[dict[str, Any]]) -> None:
    write_atomically(uri, b"".join(orjson.dumps(row, option=orjson.OPT_APPEND_NEWLINE) for row in rows))
