"""The commands of live trades."""

import asyncio
import logging
import os
import signal
from collections.abc import Sequence
from datetime import date, datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from coinbeam.batch.options import parts
from coinbeam.batch.tables import TRADE_WINDOW_FACT, TRADE_WINDOW_PANE
from coinbeam.clock import format_instant, utc_now
from coinbeam.contracts.bigquery import literal
from coinbeam.errors import SettingsError, TransientError
from coinbeam.feeds.forms import StreamAction
from coinbeam.feeds.trades.message import WINDOW
from coinbeam.feeds.trades.publisher import Outlet, Places, Publisher
from coinbeam.feeds.trades.status import PublisherStatus
from coinbeam.feeds.trades.store import only_one, store_of
from coinbeam.feeds.trades.topic import async_publisher, ensure_topic, topic_path
from coinbeam.settings import MarketSource, Settings, StreamSettings, load_settings
from coinbeam.sources.binance import BinanceClient, Venue, choose_venue
from coinbeam.sources.http.errors import ApiTransientError
from console.output import Format, heading, say, say_banner, show, warn

if TYPE_CHECKING:
    from coinbeam.warehouse.client import Warehouse

POLLED = "coingecko"
"""Value of ``--source`` that means polled prices instead of trades; whether they are real says ``market.source``."""

MANY_CALLS = 60_000
"""Request weight a minute that a simulated venue may be asked for: it has no limit to keep to."""


def publish(symbols: str | None, source: str | None) -> None:
    """Follow symbols and publish their trades, or the prices of CoinGecko, until SIGINT or SIGTERM.

    Raises:
        SettingsError: a symbol is none, or the source is not allowed here.
        TerminalError: Pub/Sub refuses what is published, or another process publishes trades of this venue.
        TransientError: the local Pub/Sub does not answer at the start.
    """
    settings = load_settings()
    if source == POLLED:
        from console.prices import publish_prices

        publish_prices(settings, symbols)
        return
    stream = chosen_stream(settings, symbols)
    venue = choose_venue(settings, MarketSource(source) if source else None)
    say_banner(venue.banner or "")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    logging.getLogger("websockets").setLevel(logging.WARNING)
    rest = BinanceClient(venue.rest_url, stream.weight_per_minute if venue.kind == "live" else MANY_CALLS)
    try:
        refuse_unknown(rest, stream)
        if settings.is_local:
            ensure_topic(settings)
        with only_one(settings, venue.source_id):
            followed, topic = ", ".join(stream.symbols), topic_path(settings)
            say(f"Trades of {followed} go from {venue.source_id} to {topic}. Ctrl-C stops.")
            ended = asyncio.run(_until_stopped(settings, stream, venue, rest))
    finally:
        rest.close()
    published = sum(one.trades for one in ended.symbols)
    say(f"Stopped: {published:,} trades published, {sum(one.gaps_open for one in ended.symbols)} gaps open.")


def chosen_stream(settings: Settings, symbols: str | None) -> StreamSettings:
    """The settings of the stream, with the symbols of a comma separated list where one is given.

    Raises:
        SettingsError: one of them has not the form of a symbol, or is named twice.
    """
    if symbols is None:
        return settings.stream
    remedy = "Name pairs as Binance writes them: BTCUSDT,ETHUSDT. Prices like bitcoin:usd need --source coingecko."
    return changed(settings.stream, symbols, remedy, symbols=parts(symbols))


def changed(stream: StreamSettings, given: str, remedy: str, **changes: Any) -> StreamSettings:
    """The settings of the stream with what a person gave.

    Raises:
        SettingsError: it is none; ``remedy`` says what would be.
    """
    try:
        return StreamSettings.model_validate(stream.model_dump() | changes)
    except ValidationError as error:
        raise SettingsError(f"{given!r} is no list of symbols: {_explained(error)}.", remedy) from None


def _explained(error: ValidationError) -> str:
    """Which symbols are none; else what is wrong with all of them together."""
    found = error.errors(include_url=False)
    if wrong := [repr(one["input"]) for one in found if len(one["loc"]) > 1]:
        return f"{', '.join(wrong)} {'is none' if len(wrong) == 1 else 'are none'}"
    if any(one["type"] == "too_short" for one in found):
        return "it names none"
    return "; ".join(str(one["msg"]).removeprefix("Value error, ") for one in found)


def refuse_unknown(rest: BinanceClient, stream: StreamSettings) -> None:
    """Refuse a symbol that the venue does not have: its stream would be silent for ever, and no error.

    Raises:
        SettingsError: it does not have one of them.
    """
    try:
        trading = rest.trading(stream.symbols)
    except ApiTransientError as error:
        warn(f"Whether the symbols exist could not be asked: {error}")
        return
    unknown = [symbol for symbol in stream.symbols if symbol not in trading]
    if unknown:
        raise SettingsError(f"The venue has no {', '.join(unknown)}.", "Name pairs as Binance writes them: BTCUSDT.")
    halted = [symbol for symbol, trades in trading.items() if not trades]
    if halted:
        warn(f"Not traded at present: {', '.join(halted)}.")


def end_on_signals(stop: asyncio.Event) -> None:
    """Have SIGINT and SIGTERM set the event."""
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


async def _until_stopped(
    settings: Settings, stream: StreamSettings, venue: Venue, rest: BinanceClient
) -> PublisherStatus:
    places = Places(
        store_of(settings, venue.source_id, "positions"),
        store_of(settings, venue.source_id, "status"),
    )
    outlet = Outlet(async_publisher(settings), topic_path(settings))
    publisher = Publisher(stream, stream.symbols, venue, rest, outlet, places)
    end_on_signals(publisher.stop)
    await publisher.run()
    return publisher.status()


STATUS_COLUMNS = (
    "symbol",
    "newest_window",
    "watermark",
    "lag_seconds",
    "windows_per_hour",
    "incomplete",
    "late_panes",
    "messages",
    "trades",
    "gaps_found",
    "gaps_refilled",
    "gaps_open",
)


def start(symbols: str | None, source: str | None) -> None:
    """Start the local cloud and a stream on it.

    Raises:
        SettingsError: a symbol is none, the source is not allowed here, or the environment is not local.
        TerminalError: a port is taken, a process does not start, or another stream runs.
    """
    from coinbeam.feeds.trades.symbols import map_symbols, refuse_twin
    from coinbeam.warehouse.client import Warehouse
    from coinbeam.warehouse.schema import ensure_schema
    from console.prices import chosen_prices, market_of
    from local import cloud
    from local.environment import environment
    from local.stream import control

    settings = load_settings()
    chosen = chosen_prices(settings, symbols) if source == POLLED else chosen_stream(settings, symbols)
    os.environ.update(environment(settings))
    cloud.up(settings, say)
    if source == POLLED:
        source_id, banner = market_of(settings, chosen)
        followed: Sequence[str] = chosen.prices
    else:
        venue = choose_venue(settings, MarketSource(source) if source else None)
        source_id, banner, followed = venue.source_id, venue.banner, chosen.symbols
    say_banner(banner or "")
    warehouse = Warehouse(settings)
    ensure_schema(warehouse)
    refuse_twin(warehouse, source_id)
    map_symbols(warehouse, followed, source_id)
    control.up(settings, ",".join(followed), source_id, say)
    say("`coinbeam stream status` shows each symbol; a window is there seconds after its minute.")


def end() -> None:
    """Stop the stream.

    Raises:
        TerminalError: it did not end in time, and was killed.
    """
    from local.stream import control

    control.down(load_settings(), say)


NEXT_AFTER_SETTLING = (
    '.venv/bin/coinbeam query "SELECT symbol, date, close_price, realised_volatility, coverage FROM '
    'crypto_marts.trade_daily WHERE date >= CURRENT_DATE() - 7 ORDER BY date DESC, symbol"',
)


def settle(day: date | None) -> int:
    """Run the DAG that settles a day on this machine, by default yesterday, and refresh the marts; 0 when both ended
    well.
    """
    from coinbeam.feeds.trades.settle import Settler
    from coinbeam.landing.bucket import Bucket
    from coinbeam.warehouse.client import Warehouse
    from coinbeam.warehouse.schema import ensure_schema
    from console import dags
    from local.environment import environment
    from runs.airflow import STREAM_DAG, DagRun, marts_run

    settings = load_settings()
    day = day or utc_now().date() - timedelta(days=1)
    dags.start_local_cloud(settings)
    os.environ.update(environment(settings))
    warehouse = Warehouse(settings)
    ensure_schema(warehouse)
    if Settler(warehouse, Bucket(settings)).plan(day) is None:
        say(f"No trade was landed on {day}, and no window is known: nobody followed a symbol. Nothing to settle.")
        return 0
    form = {"date": day.isoformat(), "action": StreamAction.CHECK.value}
    run = DagRun(format_instant(utc_now()), form, {}, STREAM_DAG)
    code = dags.run_and_report(settings, run, marts_run(), failure="The day was not settled.")
    if code == 0:
        heading("Try next")
        for line in NEXT_AFTER_SETTLING:
            say(f"  {line}")
    return code


def show_status(form: Format) -> None:
    """Show what is known of each symbol of the stream: of the publisher, and of the windows of the last hour unless
    the warehouse is down.
    """
    from coinbeam.warehouse.client import Warehouse
    from local.environment import environment
    from local.stream import control
    from local.stream.__main__ import logs_folder

    settings = load_settings()
    os.environ.update(environment(settings))
    record = control.running(settings)
    if record is None:
        say("No stream is running. `coinbeam stream up` starts one.")
        return
    published = control.published(settings, record["source_id"]) or {"symbols": []}
    said = {one["symbol"]: one for one in published["symbols"]}
    now = utc_now()
    try:
        windows = recent_windows(Warehouse(settings), now)
    except TransientError as error:
        warn(f"What windows there are could not be asked: {error}")
        windows = {}
    rows = []
    for symbol in record["symbols"].split(","):
        found, own = windows.get(symbol, {}), said.get(symbol, {})
        newest = found.get("newest_window")
        lag = None if newest is None else round((now - newest).total_seconds() - WINDOW.total_seconds(), 1)
        rows.append(
            {"symbol": symbol, "lag_seconds": lag, **{name: found.get(name) for name in _OF_WINDOWS}}
            | {name: own.get(name) for name in _OF_PUBLISHER}
            | ({"trades": own["prices"]} if "prices" in own else {})
        )
    show(STATUS_COLUMNS, rows, form)
    stale = settings.stream.stale_after_seconds
    if all(row["lag_seconds"] is None or row["lag_seconds"] > stale for row in rows):
        warn(f"No window ended within the last {stale:g} s. Logs: {logs_folder(settings)}")
    for name in control.failing(record):
        warn(f"{name} ends again and again. {control.last_words(settings, name)}")
    if form is Format.TABLE:
        for name, state in record["members"].items():
            say(f"{name}: process {state['pid']}, started again {state['restarts']} times")


_OF_WINDOWS = ("newest_window", "watermark", "windows_per_hour", "incomplete", "late_panes")
_OF_PUBLISHER = ("messages", "trades", "gaps_found", "gaps_refilled", "gaps_open")


def recent_windows(warehouse: "Warehouse", now: datetime) -> dict[str, dict[str, Any]]:
    """Windows and late panes of the last hour by symbol; those of polled prices are never complete, nor counted so.

    The watermark is what the pipeline has shown of its own, which is one for all symbols: the end of the newest window
    that it made on time.

    Raises:
        TransientError: the warehouse does not answer.
    """
    names, since = warehouse.names(), now - timedelta(hours=1)
    days = f"window_date BETWEEN {literal(since.date())} AND {literal(now.date())}"
    recent = f"{days} AND window_start >= {literal(since)}"
    rows = warehouse.rows(
        "WITH windows AS (SELECT symbol, MAX(window_start) AS newest_window, COUNT(*) AS windows_per_hour, "
        "IF(MAX(base_volume) > 0, COUNTIF(NOT is_complete), NULL) AS incomplete "
        f"FROM {names[TRADE_WINDOW_FACT]} WHERE {recent} GROUP BY symbol), "
        "panes AS (SELECT symbol, COUNTIF(timing = 'late') AS late_panes, "
        "MAX(IF(timing = 'on_time', TIMESTAMP_ADD(window_start, INTERVAL 1 MINUTE), NULL)) AS made_until "
        f"FROM {names[TRADE_WINDOW_PANE]} WHERE {recent} GROUP BY symbol) "
        "SELECT w.*, COALESCE(p.late_panes, 0) AS late_panes, MAX(p.made_until) OVER () AS watermark "
        "FROM windows AS w LEFT JOIN panes AS p USING (symbol)"
    )
    return {row.pop("symbol"): row for row in rows}
