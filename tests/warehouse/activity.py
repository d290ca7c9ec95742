"""Everything that asks BigQuery and is not in a run of the snapshot DAG, done once in this process: publishes, marts,
ledgers, commands.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

import pytest
from typer.testing import CliRunner

from coinbeam.batch.kinds import HISTORY, SENTIMENT, Batch
from coinbeam.batch.tables import DAILY_FACT, FEAR_GREED_FACT
from coinbeam.contracts import load_all, load_contract
from coinbeam.feeds.history.ledger import PieceLedger
from coinbeam.feeds.history.pieces import HistoryPiece
from coinbeam.feeds.history.planner import BackfillPlanner
from coinbeam.feeds.history.request import BackfillRequest
from coinbeam.feeds.trades.merge import append_panes, append_rejects, merge_panes, seek_point, starts_of
from coinbeam.feeds.trades.settle import announce, compare
from coinbeam.feeds.trades.symbols import map_symbols
from coinbeam.landing.bucket import Bucket
from coinbeam.marts.refresh import Marts
from coinbeam.ops.call_ledger import CallLedger
from coinbeam.ops.incidents import Failure, Incidents
from coinbeam.settings import Settings, load_settings
from coinbeam.sources.registry import BINANCE_SIMULATOR, COINGECKO_SIMULATOR
from coinbeam.warehouse import schema as warehouse_module
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.lease import PublishLease
from coinbeam.warehouse.publish import publish_script, rejects_script
from coinbeam.warehouse.schema import ensure_schema
from console.app import app
from console.run import check_counts, late_note, open_checks, table_counts, top_ten
from local.environment import environment
from tests.coinbeam.conftest import DAY, Stage, asset_row, date_row, fact_row, reject_row
from tests.coinbeam.feeds.trades.conftest import FIRST, pane
from tests.coinbeam.marts.conftest import day_row, index_row

READING_COMMANDS = ("status", "rejects", "quality", "quality check", "gaps --assets bitcoin")


@contextmanager
def as_the_environment(settings: Settings) -> Iterator[None]:
    """The settings as the commands of this process load them."""
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment(settings).items():
            patch.setenv(name, value)
        load_settings.cache_clear()
        yield
    load_settings.cache_clear()


def do_everything_else(settings: Settings) -> None:
    """Ask everything once, in an order in which every statement has rows to work on."""
    warehouse = Warehouse(settings, clock=lambda: DAY)
    stage = Stage(warehouse)
    ensure_schema(warehouse)
    publish_each_feed(stage)
    settle_a_day_of_trades(warehouse)
    refresh_marts(stage)
    reserve_and_settle(warehouse)
    open_and_close_an_incident(warehouse)
    plan_a_backfill(settings, warehouse)
    read_as_commands_do(settings, warehouse)
    migrate(warehouse)


def publish_each_feed(stage: Stage) -> None:
    """A publish of every kind of batch; the snapshot's brings a reject and the calendar."""
    days = [date_row(DAY + timedelta(days=n)) for n in range(-2, 1)]
    stage.publish(
        "batch",
        crypto_market_snapshot_fact=[fact_row("bitcoin")],
        crypto_asset_dim=[asset_row("bitcoin")],
        date_dim=days,
        rejected_record=[reject_row(1)],
    )
    first = DAY.date() - timedelta(days=2)
    history = [
        day_row(asset, first + timedelta(days=n), 1.0 + n, "history")
        for n in range(2)
        for asset in ("bitcoin", "early")
    ]
    for feed, name, fact, rows in (
        (HISTORY, "history", DAILY_FACT, history),
        (SENTIMENT, "index", FEAR_GREED_FACT, [index_row(first, 40)]),
    ):
        batch = Batch(feed, name, "run", DAY, first, DAY.date())
        stage.fill(batch, feed.staged, **{fact: rows})
        stage.warehouse.query(rejects_script(stage.warehouse, batch))
        lease = PublishLease(stage.warehouse, batch)
        lease.take(lease.seal([load_contract(fact)]))
        stage.warehouse.query(publish_script(stage.warehouse, batch, lease.seals()))


def settle_a_day_of_trades(warehouse: Warehouse) -> None:
    """Two windows of a stream, and the day once more from what was landed."""
    map_symbols(warehouse, ["BTCUSDT"], BINANCE_SIMULATOR.id)
    for run_id in ("stream", "trades"):
        panes = [pane(number, run_id=run_id) for number in range(2)]
        append_panes(warehouse, panes)
        if run_id == "trades":
            assert compare(warehouse, FIRST.date(), run_id, DAY).equal == len(panes)
        merge_panes(warehouse, *starts_of(panes), run_id=run_id)
    append_rejects(warehouse, [reject_row(2)])
    seek_point(warehouse, ["BTCUSDT"], FIRST + timedelta(minutes=2))
    announce(warehouse, FIRST.date(), len(panes))


def refresh_marts(stage: Stage) -> None:
    """A refresh with all its parts, verified, and two that have no new day."""
    warehouse = stage.warehouse
    marts = Marts(warehouse, warehouse.settings, lambda: DAY)
    plan = marts.plan()
    assert plan is not None
    assert all((plan.touched, plan.latest, plan.sentiment, plan.market, plan.trades)), "every part of the script"
    marts.refresh()
    marts.verify(plan, "run")
    late = fact_row("late", observed_at=(DAY + timedelta(hours=3)).isoformat())
    for others in ([late], []):  # the second publish takes away all that was known of an asset
        rows = {"crypto_market_snapshot_fact": [fact_row("bitcoin"), *others], "date_dim": [date_row(DAY)]}
        stage.publish("batch", crypto_asset_dim=[asset_row("bitcoin"), asset_row("late")], **rows)
        marts.refresh()
        said = late_note(warehouse, {"snapshot_date": DAY.date(), "batch_id": "batch"})
        assert said.startswith("1 prices were asked for more than 120 minutes") is bool(others), said


def reserve_and_settle(warehouse: Warehouse) -> None:
    """Calls reserved twice, settled once and given back once."""
    ledger = CallLedger(warehouse, warehouse.settings, lambda: DAY)
    ledger.settle(ledger.reserve("job", "batch", 2, COINGECKO_SIMULATOR.id), 1)
    ledger.settle(ledger.reserve("job", "batch", 2, COINGECKO_SIMULATOR.id), 0)
    assert ledger.usage(COINGECKO_SIMULATOR.id, "job").today == 1


def open_and_close_an_incident(warehouse: Warehouse) -> None:
    """An incident from its first failure to its end."""
    incidents = Incidents(warehouse, lambda: DAY)
    assert incidents.report(Failure("dag", "task", "SomeError", "title", "message", "run"))
    assert len(incidents.resolve("dag", ["task"])) == 1


def plan_a_backfill(settings: Settings, warehouse: Warehouse) -> None:
    """A plan of only the gaps of the largest assets, and a piece in the ledger."""
    now = DAY + timedelta(hours=1)
    planner = BackfillPlanner(settings, warehouse, Bucket(settings), lambda: now)
    first = DAY.date() - timedelta(days=9)
    request = BackfillRequest((), 5, "usd", first, first + timedelta(days=5), 10, only_gaps=True)
    assert planner.plan(request, "run", "local").batches
    PieceLedger(warehouse, lambda: DAY).enter(
        "backfill", "coingecko_simulator", {"b": [HistoryPiece("bitcoin", "usd", first, DAY.date())]}
    )


def read_as_commands_do(settings: Settings, warehouse: Warehouse) -> None:
    """The commands that read, through their real entry, and what `coinbeam run` shows at its end."""
    with as_the_environment(settings):
        for command in READING_COMMANDS:
            ended = CliRunner().invoke(app, command.split())
            assert ended.exit_code in {0, 1}, (command, ended.output, ended.exception)
            assert not isinstance(ended.exception, Exception) or isinstance(ended.exception, SystemExit), command
    batch = {"snapshot_date": DAY.date(), "batch_id": "batch", "run_id": "run"}
    table_counts(warehouse)
    check_counts(warehouse, batch)
    open_checks(warehouse, batch)
    top_ten(warehouse, batch)


def migrate(warehouse: Warehouse) -> None:
    """An additive migration: one contract got a column and another wording."""
    source = load_contract("source_dim")
    wider = replace(
        source,
        columns=(*source.columns, replace(source.columns[-1], name="note", description="A note", required=False)),
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(warehouse_module, "load_all", lambda: {**load_all(), source.name: wider})
        assert ensure_schema(warehouse) == [f"added column {warehouse.table(source)}.note"]
