"""From messages of a stream into the warehouse, on the runner of one machine."""

from typing import Any

import apache_beam as beam
import pytest
from apache_beam.options.pipeline_options import PipelineOptions

from beam_pipelines.trades.sink import WriteStream
from beam_pipelines.trades.windows import PANES, REFUSED, TradeWindows
from coinbeam.batch.jobs import STREAM_RUNNER
from coinbeam.batch.tables import REJECTS, TRADE_WINDOW_FACT, TRADE_WINDOW_PANE
from coinbeam.contracts import load_contract
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.schema import ensure_schema
from tests.beam_pipelines.trades.made import RUN, figures
from tests.beam_pipelines.trades.test_windows import NEXT, POISON, TRADES, message, stream
from tests.temporary import LocalCloud

pytestmark = pytest.mark.cloud


def contents(warehouse: Warehouse, name: str) -> list[dict[str, Any]]:
    """All rows of a table by its key."""
    contract = load_contract(name)
    return warehouse.rows(f"SELECT * FROM `{warehouse.table(contract)}` ORDER BY {', '.join(contract.primary_key)}")


def test_panes_reach_the_fact_and_poison_the_records(fresh_cloud: LocalCloud) -> None:
    warehouse = Warehouse(fresh_cloud.settings)
    ensure_schema(warehouse)
    poison, reason = POISON["a negative quantity"]
    events = message(TRADES[:-1], poison), 61, message([TRADES[-1], *NEXT]), message([TRADES[-1], *NEXT]), 130
    with beam.Pipeline(STREAM_RUNNER, options=PipelineOptions(["--streaming"])) as pipeline:
        made = pipeline | stream(*events) | TradeWindows(RUN)
        _ = (made[PANES], made[REFUSED]) | WriteStream(fresh_cloud.settings)
    rows = contents(warehouse, TRADE_WINDOW_FACT)
    compared = set(figures(TRADES)) - {"window_start", "window_date", "first_trade_at", "last_trade_at"}
    for row, trades, marks in zip(rows, (TRADES, NEXT), (1, 0), strict=True):
        wanted = figures(trades, marks=marks)
        assert {name: row[name] for name in compared} == {name: wanted[name] for name in compared}
    panes = contents(warehouse, TRADE_WINDOW_PANE)
    assert [row["timing"] for row in panes] == ["on_time", "late", "late", "on_time"]
    assert [row["reason"] for row in contents(warehouse, REJECTS)] == [reason]
