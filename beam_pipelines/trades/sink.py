"""Where the rows of a stream go: panes are appended and merged, refused lines appended."""

import logging
from collections.abc import Iterator
from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection, PDone
from apache_beam.transforms.window import GlobalWindows
from apache_beam.typehints.decorators import no_annotations

from coinbeam.feeds.trades.merge import append_panes, append_rejects, merge_panes, starts_of
from coinbeam.settings import Settings
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.conflicts import until_no_conflict

Rows = PCollection[dict[str, Any]]

_LOGGER = logging.getLogger(__name__)

_LONGEST_WAIT_SECONDS = 0.05
"""How long a pane waits for others: a merge costs as much for one row as for five hundred, and about so much time."""

REFUSALS = "%d lines of trades were refused, the first for %s: see crypto_ops.rejected_record"
"""What an alert looks for in the logs of the job."""


class WriteStream(beam.PTransform[Any, Any]):
    """Panes into ``trade_window_pane`` and on into ``trade_window_fact``; refused lines into ``rejected_record``.

    One key gathers the panes of all symbols that fire together, and makes one worker merge at a time: BigQuery would
    queue the statements of many, and refuse some.
    """

    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    @no_annotations
    def expand(self, rows: tuple[Rows, Rows]) -> PDone:
        """Gather panes under one key, merge them, and set refused lines aside."""
        panes, refused = rows
        _ = (
            panes
            | "Any time" >> beam.WindowInto(GlobalWindows())
            | "One key" >> beam.WithKeys(0)
            | "Gather" >> beam.GroupIntoBatches(500, _LONGEST_WAIT_SECONDS)
            | "Merge" >> beam.ParDo(_Merge(self._settings))
        )
        _ = refused | "Set aside" >> beam.ParDo(_SetAside(self._settings))
        return PDone(panes.pipeline)


class _Merge(beam.DoFn):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def setup(self) -> None:
        self._warehouse = Warehouse(self._settings)

    def process(self, gathered: tuple[int, Any]) -> Iterator[Any]:
        panes = list(gathered[1])
        append_panes(self._warehouse, panes)
        until_no_conflict()(merge_panes, self._warehouse, *starts_of(panes))
        return iter(())


class _SetAside(beam.DoFn):
    def __init__(self, settings: Settings) -> None:
        super().__init__()
        self._settings = settings

    def setup(self) -> None:
        self._warehouse = Warehouse(self._settings)

    def start_bundle(self) -> None:
        self._rows = list[dict[str, Any]]()

    def process(self, row: dict[str, Any]) -> None:
        self._rows.append(row)

    def finish_bundle(self) -> None:
        if self._rows:
            append_rejects(self._warehouse, self._rows)
            _LOGGER.warning(REFUSALS, len(self._rows), self._rows[0]["reason"])
