"""The commands of live trades."""

import asyncio
import logging
import signal

from pydantic import ValidationError

from coinbeam.batch.options import parts
from coinbeam.errors import SettingsError
from coinbeam.feeds.trades.publisher import Outlet, Places, Publisher
from coinbeam.feeds.trades.status import PublisherStatus
from coinbeam.feeds.trades.store import store_of
from coinbeam.feeds.trades.topic import async_publisher, ensure_topic, topic_path
from coinbeam.settings import MarketSource, Settings, StreamSettings, load_settings
from coinbeam.sources.binance import BinanceClient, Venue, choose_venue
from coinbeam.sources.http.errors import ApiTransientError
from console.output import say, say_banner, warn

MANY_CALLS = 60_000
"""Request weight a minute that a simulated venue may be asked for: it has no limit to keep to."""


def publish(symbols: str | None, source: str | None) -> None:
    """Follow symbols and publish their trades, until SIGINT or SIGTERM.

    Raises:
        SettingsError: a symbol is none, or the source is not allowed here.
        TerminalError: Pub/Sub refuses what is published.
        TransientError: the local Pub/Sub does not answer at the start.
    """
    settings = load_settings()
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
        say(f"Trades of {', '.join(stream.symbols)} go from {venue.source_id} to {topic_path(settings)}. Ctrl-C stops.")
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
    try:
        return StreamSettings.model_validate(settings.stream.model_dump() | {"symbols": parts(symbols)})
    except ValidationError as error:
        said = "; ".join(str(one["msg"]) for one in error.errors(include_input=False, include_url=False))
        raise SettingsError(
            f"{symbols!r} is no list of symbols: {said}.", "Name pairs as Binance writes them: BTCUSDT,ETHUSDT."
        ) from None


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
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, publisher.stop.set)
    await publisher.run()
    return publisher.status()
