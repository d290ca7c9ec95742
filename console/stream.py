"""The commands of live trades."""

import asyncio
import logging
import os
import signal
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from coinbeam.batch.options import parts
from coinbeam.batch.tables import TRADE_WINDOW_FACT, TRADE_WINDOW_PANE
from coinbeam.clock import utc_now
from coinbeam.contracts.bigquery import literal
from coinbeam.errors import SettingsError
from coinbeam.feeds.trades.message import PRICE_COLON, WINDOW
from coinbeam.feeds.trades.polling import PricePublisher
from coinbeam.feeds.trades.publisher import Outlet, Places, Publisher
from coinbeam.feeds.trades.status import PollerStatus, PublisherStatus
from coinbeam.feeds.trades.store import only_one, store_of
from coinbeam.feeds.trades.topic import async_publisher, ensure_topic, topic_path
from coinbeam.secrets import api_key
from coinbeam.settings import MarketSource, Settings, StreamSettings, load_settings
from coinbeam.sources.binance import BinanceClient, Venue, choose_venue
from coinbeam.sources.choose import RuntimeSource, choose_source
from coinbeam.sources.coingecko import CoinGeckoClient
from coinbeam.sources.http.errors import ApiTransientError
from coinbeam.sources.rate import RateLimiter, quota
from coinbeam.sources.registry import COINGECKO
from console.output import Format, say, say_banner, show, warn

if TYPE_CHECKING:
    from coinbeam.feeds.trades.budget import PollBudget
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


def publish_prices(settings: Settings, symbols: str | None) -> None:
    """Poll prices of CoinGecko and publish them, until SIGINT or SIGTERM.

    Raises:
        SettingsError: a symbol is none, CoinGecko has none of that name, or plan and poll do not fit.
        TerminalError: Pub/Sub or CoinGecko refuse for a reason that stays, or another process polls.
        TransientError: the local Pub/Sub does not answer at the start.
    """
    stream, source = chosen_prices(settings, symbols), choose_source(settings)
    source_id = COINGECKO.answering(source.kind)
    say_banner(source.banner or "")
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(name)s %(message)s")
    budget = budget_of(settings, source_id)
    index = index_of(settings, stream, source, budget)
    try:
        if settings.is_local:
            ensure_topic(settings)
        with only_one(settings, source_id):
            followed, topic = ", ".join(stream.prices), topic_path(settings)
            say(f"Prices of {followed} go from {source_id} to {topic} each {stream.poll_seconds:g} s. Ctrl-C stops.")
            ended = asyncio.run(_polled_until_stopped(settings, stream, source_id, index))
    finally:
        index.close()
        if budget:
            budget.settle()
    say(f"Stopped: {sum(one.prices for one in ended.symbols):,} prices published in {ended.polls:,} polls.")


def index_of(
    settings: Settings, stream: StreamSettings, source: RuntimeSource, budget: "PollBudget | None" = None
) -> CoinGeckoClient:
    """A client that asks once for each question, at the rate of the plan; whoever polls is patient.

    Raises:
        SettingsError: the plan needs a key, or allows fewer calls than the polls make.
        TransientError: Secret Manager did not answer.
    """
    limits = quota(settings, COINGECKO.answering(source.kind))
    a_poll = len({symbol.rpartition(PRICE_COLON)[2] for symbol in stream.prices})
    a_minute = a_poll * 60 / stream.poll_seconds
    if a_minute > limits.calls_per_minute:
        raise SettingsError(
            f"Polls each {stream.poll_seconds:g} s are {a_minute:g} calls a minute; {limits.calls_per_minute:g} are "
            "allowed.",
            "Set stream.poll_seconds higher.",
        )
    a_month, share = a_minute * 60 * 24 * 31, int(limits.calls_per_month * stream.poll_share)
    if a_month > share:
        warn(
            f"Polls each {stream.poll_seconds:g} s are {a_month:,.0f} calls a month, and {share:,} are theirs: they "
            f"stop when those are used. From {60 * a_poll * 60 * 24 * 31 / share:.0f} s on they last for a month."
        )
    once = {"max_attempts": 1, "connect_timeout_seconds": 5.0, "read_timeout_seconds": 10.0}
    key = api_key(settings.coingecko) if source.kind == "live" else None
    return CoinGeckoClient(
        settings.coingecko.model_copy(update=once),
        source.base_url,
        RateLimiter(limits.calls_per_minute),
        api_key=key,
        cap=budget,
    )


def budget_of(settings: Settings, source_id: str) -> "PollBudget | None":
    """What polls of the real market may cost; the simulator's are free."""
    from coinbeam.feeds.trades.budget import PollBudget
    from coinbeam.ops.call_ledger import CallLedger
    from coinbeam.warehouse.client import Warehouse

    if source_id != COINGECKO.id:
        return None
    return PollBudget(CallLedger(Warehouse(settings), settings), source_id, settings.stream.poll_share)


async def _polled_until_stopped(
    settings: Settings, stream: StreamSettings, source_id: str, index: CoinGeckoClient
) -> PollerStatus:
    places = Places(store_of(settings, source_id, "positions"), store_of(settings, source_id, "status"))
    outlet = Outlet(async_publisher(settings), topic_path(settings))
    publisher = PricePublisher(stream, stream.prices, source_id, index, outlet, places)
    _end_on_signals(publisher.stop)
    await publisher.run()
    return publisher.status()


def _end_on_signals(stop: asyncio.Event) -> None:
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)


def chosen_prices(settings: Settings, symbols: str | None) -> StreamSettings:
    """The settings of the stream, with the prices of a comma separated list where one is given; an asset without a
    currency is meant in ``market.quote_currency``.

    Raises:
        SettingsError: one of them has not the form of a symbol, or is named twice.
    """
    if symbols is None:
        return settings.stream
    named = [
        name if PRICE_COLON in name else f"{name}{PRICE_COLON}{settings.market.quote_currency}"
        for name in parts(symbols)
    ]
    return _changed(settings.stream, symbols, "Name assets and currencies: bitcoin:usd,ethereum:usd.", prices=named)


def chosen_stream(settings: Settings, symbols: str | None) -> StreamSettings:
    """The settings of the stream, with the symbols of a comma separated list where one is given.

    Raises:
        SettingsError: one of them has not the form of a symbol, or is named twice.
    """
    if symbols is None:
        return settings.stream
    remedy = "Name pairs as Binance writes them: BTCUSDT,ETHUSDT."
    return _changed(settings.stream, symbols, remedy, symbols=parts(symbols))


def _changed(stream: StreamSettings, given: str, remedy: str, **changes: Any) -> StreamSettings:
    try:
        return StreamSettings.model_validate(stream.model_dump() | changes)
    except ValidationError as error:
        said = "; ".join(str(one["msg"]) for one in error.errors(include_input=False, include_url=False))
        raise SettingsError(f"{given!r} is no list of symbols: {said}.", remedy) from None


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


async def _until_stopped(
    settings: Settings, stream: StreamSettings, venue: Venue, rest: BinanceClient
) -> PublisherStatus:
    places = Places(
        store_of(settings, venue.source_id, "positions"),
        store_of(settings, venue.source_id, "status"),
    )
    outlet = Outlet(async_publisher(settings), topic_path(settings))
    publisher = Publisher(stream, stream.symbols, venue, rest, outlet, places)
    _end_on_signals(publisher.stop)
    await publisher.run()
    return publisher.status()


STATUS_COLUMNS = (
    "symbol",
    "newest_window",
    "lag_seconds",
    "windows_per_hour",
    "incomplete",
    "late_panes",
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
    from coinbeam.feeds.trades.symbols import map_symbols
    from coinbeam.warehouse.client import Warehouse
    from coinbeam.warehouse.schema import ensure_schema
    from local import cloud
    from local.environment import environment
    from local.stream import control

    settings = load_settings()
    is_polled = source == POLLED
    stream = chosen_prices(settings, symbols) if is_polled else chosen_stream(settings, symbols)
    os.environ.update(environment(settings))
    cloud.up(settings, say)
    if is_polled:
        market = choose_source(settings)
        source_id, banner, followed = COINGECKO.answering(market.kind), market.banner, stream.prices
        index_of(settings, stream, market).close()
    else:
        venue = choose_venue(settings, MarketSource(source) if source else None)
        source_id, banner, followed = venue.source_id, venue.banner, stream.symbols
    say_banner(banner or "")
    warehouse = Warehouse(settings)
    ensure_schema(warehouse)
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


def show_status(form: Format) -> None:
    """Show what is known of each symbol of the stream: of the publisher, and of the windows of the last hour.

    Raises:
        TransientError: the warehouse does not answer.
    """
    from coinbeam.warehouse.client import Warehouse
    from local.environment import environment
    from local.stream import control

    settings = load_settings()
    os.environ.update(environment(settings))
    record = control.running(settings)
    if record is None:
        say("No stream is running. `coinbeam stream up` starts one.")
        return
    published = control.published(settings, record["source_id"]) or {"symbols": []}
    said = {one["symbol"]: one for one in published["symbols"]}
    now = utc_now()
    windows = recent_windows(Warehouse(settings), now)
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
    if form is Format.TABLE:
        for name, state in record["members"].items():
            say(f"{name}: process {state['pid']}, started again {state['restarts']} times")


_OF_WINDOWS = ("newest_window", "windows_per_hour", "incomplete", "late_panes")
_OF_PUBLISHER = ("trades", "gaps_found", "gaps_refilled", "gaps_open")


def recent_windows(warehouse: "Warehouse", now: datetime) -> dict[str, dict[str, Any]]:
    """Windows and late panes of the last hour by symbol; those of polled prices are never complete, nor counted so.

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
        "panes AS (SELECT symbol, COUNTIF(timing = 'late') AS late_panes "
        f"FROM {names[TRADE_WINDOW_PANE]} WHERE {recent} GROUP BY symbol) "
        "SELECT w.*, COALESCE(p.late_panes, 0) AS late_panes FROM windows AS w LEFT JOIN panes AS p USING (symbol)"
    )
    return {row.pop("symbol"): row for row in rows}
