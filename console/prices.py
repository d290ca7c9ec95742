"""Polled prices, in the commands of live trades."""

import asyncio
import logging
import os

from coinbeam.batch.options import parts
from coinbeam.errors import SettingsError
from coinbeam.feeds.trades.budget import PollBudget
from coinbeam.feeds.trades.message import PRICE_COLON
from coinbeam.feeds.trades.polling import PricePublisher
from coinbeam.feeds.trades.publisher import Outlet, Places
from coinbeam.feeds.trades.status import PollerStatus
from coinbeam.feeds.trades.store import only_one, store_of
from coinbeam.feeds.trades.topic import async_publisher, ensure_topic, topic_path
from coinbeam.ops.call_ledger import CallLedger
from coinbeam.secrets import api_key
from coinbeam.settings import Settings, StreamSettings
from coinbeam.sources.choose import RuntimeSource, choose_source
from coinbeam.sources.coingecko import CoinGeckoClient
from coinbeam.sources.rate import RateLimiter, quota
from coinbeam.sources.registry import COINGECKO
from coinbeam.warehouse.client import Warehouse
from console.output import say, say_banner, warn
from console.stream import changed, end_on_signals
from local.environment import environment


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
    settings: Settings, stream: StreamSettings, source: RuntimeSource, budget: PollBudget | None = None
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


def budget_of(settings: Settings, source_id: str) -> PollBudget | None:
    """What polls of the real market may cost; the simulator's are free."""
    if source_id != COINGECKO.id:
        return None
    if settings.is_local:
        os.environ.update(environment(settings))
    return PollBudget(CallLedger(Warehouse(settings), settings), source_id, settings.stream.poll_share)


async def _polled_until_stopped(
    settings: Settings, stream: StreamSettings, source_id: str, index: CoinGeckoClient
) -> PollerStatus:
    places = Places(store_of(settings, source_id, "positions"), store_of(settings, source_id, "status"))
    outlet = Outlet(async_publisher(settings), topic_path(settings))
    publisher = PricePublisher(stream, stream.prices, source_id, index, outlet, places)
    end_on_signals(publisher.stop)
    await publisher.run()
    return publisher.status()


def market_of(settings: Settings, stream: StreamSettings) -> tuple[str, str | None]:
    """The source that will be asked, by its id, and what a person should know of it; plan and polls are held together.

    Raises:
        SettingsError: plan, key and polls do not fit.
        TransientError: Secret Manager did not answer.
    """
    source = choose_source(settings)
    index_of(settings, stream, source).close()
    return COINGECKO.answering(source.kind), source.banner


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
    return changed(settings.stream, symbols, "Name assets and currencies: bitcoin:usd,ethereum:usd.", prices=named)
