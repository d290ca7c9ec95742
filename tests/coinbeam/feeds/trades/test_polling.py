"""Polled prices between a scripted index and a scripted broker: what is sent, what is not, and what survives a fault."""

import asyncio
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import orjson
import pytest

from coinbeam.errors import CoinbeamError, SettingsError
from coinbeam.feeds.trades.pace import Wiring
from coinbeam.feeds.trades.polled import read_answer
from coinbeam.feeds.trades.polling import PricePublisher
from coinbeam.feeds.trades.publisher import Outlet, Places
from coinbeam.feeds.trades.store import FileStore
from coinbeam.feeds.trades.topic import async_publisher, topic_path
from coinbeam.settings import GoogleSettings, LocalSettings, PortSettings, Settings, StorageSettings, StreamSettings
from coinbeam.sources.http.client import ApiAnswer
from coinbeam.sources.http.errors import ApiTerminalError, ApiTransientError, ThrottledError
from coinbeam.sources.rate import BudgetExceededError
from tests.coinbeam.feeds.trades.broker import StubBroker, stub_broker
from tests.coinbeam.feeds.trades.venue import until

NOW = datetime(2026, 1, 2, 3, 4, 5, 678_000, tzinfo=UTC)
NOW_MS = 1_767_323_045_678
FAST = 100
"""How much faster than the wall the publisher's own clock runs: a poll each 10 s is one each 0.1 s."""


def row(asset: str = "bitcoin", price: Any = 65_000.5, ago: float = 10.0, **changes: Any) -> dict[str, Any]:
    """What the index says of an asset: a price that it computed some seconds ago."""
    said = (NOW - timedelta(seconds=ago)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    return {"id": asset, "current_price": price, "last_updated": said, **changes}


Answer = Sequence[dict[str, Any]] | CoinbeamError | str


@dataclass
class ScriptedIndex:
    """Gives the answers of a script in order, the last one for ever; a text is what is wrong with the answer."""

    script: list[Answer] = field(default_factory=list)
    asked: list[tuple[str, tuple[str, ...]]] = field(default_factory=list)
    asked_at: list[float] = field(default_factory=list)

    def prices(self, quote_currency: str, ids: Sequence[str]) -> ApiAnswer:
        self.asked.append((quote_currency, tuple(ids)))
        self.asked_at.append(time.monotonic() * FAST)
        answer = self.script.pop(0) if len(self.script) > 1 else self.script[0]
        if isinstance(answer, CoinbeamError):
            raise answer
        problem = answer if isinstance(answer, str) else None
        return ApiAnswer(b"<html>" if problem else orjson.dumps(answer), "/coins/markets", NOW, problem=problem)


async def fast_sleep(seconds: float) -> None:
    await asyncio.sleep(seconds / FAST)


@dataclass
class Scene:
    """An index, a broker, and publishers that come and go between them."""

    index: ScriptedIndex
    broker: StubBroker
    folder: Path
    symbols: Sequence[str]

    def publisher(self, **stream: Any) -> PricePublisher:
        settings = Settings(
            google=GoogleSettings(project="local"),
            storage=StorageSettings(bucket="coinbeam"),
            local=LocalSettings(ports=PortSettings(pubsub=self.broker.port)),
        )
        return PricePublisher(
            StreamSettings(poll_seconds=10).model_copy(update=stream),
            self.symbols,
            "coingecko_simulator",
            self.index,
            Outlet(async_publisher(settings), topic_path(settings)),
            Places(FileStore(self.folder / "positions.json"), FileStore(self.folder / "status.json")),
            Wiring(lambda: NOW, lambda: time.monotonic() * FAST, fast_sleep, random.Random(1)),
        )

    @asynccontextmanager
    async def polling(self, *script: Answer, **stream: Any) -> AsyncIterator[PricePublisher]:
        """A publisher that has asked for all of a script; in the end it is stopped."""
        self.index.script = list(script)
        publisher, before = self.publisher(**stream), len(self.index.asked)
        running = asyncio.create_task(publisher.run())
        try:
            await until(lambda: len(self.index.asked) >= before + len(script) or running.done())
            yield publisher
            publisher.stop.set()
            await asyncio.wait_for(running, 10)
        finally:
            running.cancel()
            await asyncio.wait({running})

    def sent(self) -> list[tuple[str, int, float]]:
        return [(line["s"], line["a"], line["p"]) for line in self.broker.lines]


Script = Callable[[Scene], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    """Play a script between an index and a broker."""

    def run(script: Script, *symbols: str) -> None:
        async def scene() -> None:
            async with stub_broker() as broker:
                await script(Scene(ScriptedIndex(), broker, tmp_path, symbols or ("bitcoin:usd",)))

        asyncio.run(asyncio.wait_for(scene(), 20))

    return run


def test_each_price_is_sent_once_with_the_instant_of_the_index(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        both, newer = [row(), row("tether", 1)], [row(price=65_001.25, ago=1), row("tether", 1)]
        async with scene.polling(both, both, newer, newer) as publisher:
            await until(lambda: len(scene.broker.lines) == 3 and scene.broker.heartbeats() >= 3)
        assert scene.sent() == [
            ("bitcoin:usd", NOW_MS - 10_000, 65_000.5),
            ("tether:usd", NOW_MS - 10_000, 1.0),
            ("bitcoin:usd", NOW_MS - 1_000, 65_001.25),
        ]
        assert set(scene.index.asked) == {("usd", ("bitcoin", "tether"))}
        first = next(one for one in scene.broker.messages if "symbol" in one.attributes)
        at = str(NOW_MS - 10_000)
        assert dict(first.attributes) == {
            "kind": "trades",
            "feed": "prices",
            "symbol": "bitcoin:usd",
            "event_time": at,
            "first_id": at,
            "last_id": at,
        }
        assert all(one.attributes["feed"] == "prices" for one in scene.broker.messages)
        shown = publisher.status()
        assert (shown.state, shown.failures, shown.problem, shown.waiting) == ("stopped", 0, None, 0)
        bitcoin, tether = shown.symbols
        assert (bitcoin.prices, bitcoin.messages, tether.prices) == (2, 2, 1)
        assert tether.unchanged >= 2
        assert bitcoin.last_price_at == NOW - timedelta(seconds=1)

    play(script, "bitcoin:usd", "tether:usd")


def test_a_restart_does_not_send_what_the_broker_has(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        async with scene.polling([row()]):
            await until(lambda: scene.broker.lines)
        async with scene.polling([row()], [row(ago=2)]):
            await until(lambda: len(scene.broker.lines) == 2)
        assert [at for _, at, _ in scene.sent()] == [NOW_MS - 10_000, NOW_MS - 2_000]
        (scene.folder / "positions.json").write_text("[")
        async with scene.polling([row(ago=2)]):
            await until(lambda: len(scene.broker.lines) == 3)
        assert len(set(scene.sent())) == 2, "without positions the same line is sent again"

    play(script)


@pytest.mark.parametrize(
    ("failure", "least"),
    [
        (ThrottledError("too many calls", "wait", retry_after=40.0), 40.0),
        (ThrottledError("too many calls", "wait"), 15.0),
        (ApiTransientError("server error", "wait"), 5.0),
        (BudgetExceededError("the month is used up", "wait"), 5.0),
        ("not JSON", 5.0),
    ],
    ids=["retry-after", "throttled", "server", "budget", "malformed"],
)
def test_an_outage_is_logged_and_polled_again_later(
    play: Callable[..., None], failure: Answer, least: float, caplog: pytest.LogCaptureFixture
) -> None:
    async def script(scene: Scene) -> None:
        async with scene.polling(failure, [row()]) as publisher:
            await until(lambda: scene.broker.lines)
            assert (publisher.status().polls, publisher.status().failures) == (1, 1)
            assert publisher.status().problem is None
        assert scene.index.asked_at[1] - scene.index.asked_at[0] >= least * 0.99
        assert "No prices" in caplog.text

    play(script)


def test_a_refusal_ends_the_first_poll_and_no_later_one(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        scene.index.script = [ApiTerminalError("not authorised", "check the key")]
        with pytest.raises(ApiTerminalError):
            await scene.publisher().run()
        refused = ApiTerminalError("not authorised", "check the key")
        async with scene.polling([row()], refused, [row(ago=1)]):
            await until(lambda: len(scene.broker.lines) == 2)

    play(script)


def test_an_asset_that_nobody_ever_had_is_refused_and_one_that_is_gone_is_not(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        scene.index.script = [[row()]]
        with pytest.raises(SettingsError, match="no bitcion:usd"):
            await scene.publisher().run()
        async with scene.polling([row(), row("bitcion")]):
            await until(lambda: len(scene.broker.lines) == 2)
        async with scene.polling([row(ago=1)]) as publisher:
            await until(lambda: len(scene.broker.lines) == 3)
            assert publisher.status().symbols[1].unusable >= 1

    play(script, "bitcoin:usd", "bitcion:usd")


@pytest.mark.parametrize(
    ("wrong", "letters"),
    [
        (row(price="65000"), 1),
        (row(price=True), 1),
        (row(price=-1.0), 1),
        (row(price=0), 1),
        (row(last_updated="yesterday"), 1),
        (row(last_updated=None), 1),
        (row(ago=-120), 1),
        (row(price=None), 0),
        (row(ago=2 * 86_400), 0),
        ({"id": 1, "current_price": 1.0}, 0),
    ],
    ids=["text", "bool", "negative", "zero", "no instant", "null instant", "future", "no price", "old", "no id"],
)
def test_what_is_no_price_of_now_is_not_sent(play: Callable[..., None], wrong: dict[str, Any], letters: int) -> None:
    async def script(scene: Scene) -> None:
        async with scene.polling([row(ago=20)], [wrong], [wrong], [row(ago=5)]) as publisher:
            await until(lambda: len(scene.broker.lines) == 2)
            assert publisher.status().unreadable == letters
            assert publisher.status().symbols[0].unusable == 2
        assert [orjson.loads(one) for one in scene.broker.dead_letters()] == [wrong] * letters

    play(script)


@pytest.mark.parametrize(
    "wrong",
    ["NaN", "Infinity", "1e400", "1" + "0" * 400, r'"\ud800"'],
    ids=["no number", "infinity", "large float", "large integer", "half a character"],
)
def test_a_value_that_a_strict_parser_refuses_costs_one_price_and_not_the_answer(wrong: str) -> None:
    """Such a body reaches this reader: the client takes it, by the standard parser."""
    body = orjson.dumps([row(price="?"), row("tether", 1.0)]).replace(b'"?"', wrong.encode())
    bitcoin, tether = read_answer(body, "usd", NOW)
    assert (bitcoin.symbol, bitcoin.price, bitcoin.fault is None) == ("bitcoin:usd", None, False)
    assert (tether.symbol, tether.price, tether.fault) == ("tether:usd", 1.0, None)
    assert b'"id"' in bitcoin.raw


def test_a_broker_that_is_down_costs_no_price_and_its_prices_come_in_one_message(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        scene.broker.is_down = True
        async with scene.polling(*([row(ago=50 - n)] for n in range(5))) as publisher:
            assert publisher.status().waiting == 5
            scene.broker.is_down = False
            await until(lambda: len(scene.broker.lines) == 5)
        messages = [one for one in scene.broker.messages if "symbol" in one.attributes]
        assert len(messages) < 5
        assert [at for _, at, _ in scene.sent()] == [NOW_MS - 50_000 + 1_000 * n for n in range(5)]
        scene.broker.refusals, scene.broker.loses_acknowledgement = [grpc.StatusCode.UNAVAILABLE], True
        async with scene.polling([row(ago=1)]):
            await until(lambda: len(scene.broker.lines) >= 6)
        assert set(scene.sent()[5:]) == {("bitcoin:usd", NOW_MS - 1_000, 65_000.5)}

    play(script)


def test_no_more_is_polled_than_may_wait(play: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    async def script(scene: Scene) -> None:
        scene.broker.is_down = True
        answers = [[row(ago=50 - n)] for n in range(9)]
        async with scene.polling(*answers[:2], waiting_trades=2) as publisher:
            await until(lambda: publisher.status().failures >= 2)
            assert (len(scene.index.asked), publisher.status().waiting) == (2, 2)
            assert "no more are polled" in caplog.text
            scene.broker.is_down = False
            await until(lambda: len(scene.broker.lines) == 2)

    play(script)


def test_each_currency_is_one_question(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        async with scene.polling([row(), row("tether", 1.0)], [row(price=60_000.0)]):
            await until(lambda: len(scene.broker.lines) == 3)
        assert scene.index.asked[:2] == [("usd", ("bitcoin", "tether")), ("eur", ("bitcoin",))]
        assert {(symbol, price) for symbol, _, price in scene.sent()} == {
            ("bitcoin:usd", 65_000.5),
            ("tether:usd", 1.0),
            ("bitcoin:eur", 60_000.0),
        }

    play(script, "bitcoin:usd", "bitcoin:eur", "tether:usd")
