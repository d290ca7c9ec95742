"""The publisher between a scripted venue and a scripted broker on loopback, with the real clients of both."""

import asyncio
import json
import random
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest

from coinbeam.clock import utc_now
from coinbeam.errors import TerminalError, TransientError
from coinbeam.feeds.trades.follow import Spans
from coinbeam.feeds.trades.pace import Wiring
from coinbeam.feeds.trades.publisher import Outlet, Places, Publisher
from coinbeam.feeds.trades.status import PublisherStatus
from coinbeam.feeds.trades.store import FileStore
from coinbeam.feeds.trades.topic import async_publisher, topic_path
from coinbeam.settings import GoogleSettings, LocalSettings, PortSettings, Settings, StorageSettings, StreamSettings
from coinbeam.sources.binance import BinanceClient, milliseconds
from tests.coinbeam.feeds.trades.broker import StubBroker, stub_broker
from tests.coinbeam.feeds.trades.venue import ScriptedVenue, fields, frame, scripted_venue, until

FAST = 10
"""How much faster than the wall the publisher's own clock runs in these tests."""

SPANS = Spans(overlap_seconds=0.1, first_wait=0.1, longest_wait=1.0)
SHUTDOWN = b'{"e":"serverShutdown","E":1770123456789}'
WRAPPED_SHUTDOWN = b'{"stream":"!serverShutdown","data":' + SHUTDOWN + b"}"


async def fast_sleep(seconds: float) -> None:
    await asyncio.sleep(seconds / FAST)


def fast() -> Wiring:
    return Wiring(utc_now, lambda: time.monotonic() * FAST, fast_sleep, random.Random(1))


@dataclass
class Scene:
    """A venue, a broker, and publishers that come and go between them."""

    venue: ScriptedVenue
    broker: StubBroker
    folder: Path
    wiring: Wiring = field(default_factory=fast)
    spans: Spans = SPANS
    stream: dict[str, Any] = field(default_factory=dict)

    @property
    def settings(self) -> Settings:
        return Settings(
            google=GoogleSettings(project="local"),
            storage=StorageSettings(bucket="coinbeam"),
            local=LocalSettings(ports=PortSettings(pubsub=self.broker.port)),
        )

    def publisher(self) -> Publisher:
        chosen = {"symbols": tuple(self.venue.rows), "bundle_seconds": 0.3, "bundle_trades": 50} | self.stream
        stream = StreamSettings.model_validate(chosen)
        venue = self.venue.address
        return Publisher(
            stream,
            stream.symbols,
            venue,
            BinanceClient(venue.rest_url, 1_000_000),
            Outlet(async_publisher(self.settings), topic_path(self.settings)),
            Places(FileStore(self.folder / "positions.json"), FileStore(self.folder / "status.json")),
            self.wiring,
            self.spans,
        )

    @asynccontextmanager
    async def publishing(self) -> AsyncIterator[Publisher]:
        """A publisher that listens; in the end it is stopped."""
        publisher = self.publisher()
        opened = len(self.venue.opened)
        running = asyncio.create_task(publisher.run())
        try:
            await until(lambda: len(self.venue.opened) > opened or running.done())
            yield publisher
            publisher.stop.set()
            await asyncio.wait_for(running, 15)
        finally:
            await kill(running)

    async def arrived(self, ids: list[int], symbol: str = "BTCUSDT") -> None:
        await until(lambda: set(ids) <= set(self.broker.ids(symbol)))

    def status(self) -> PublisherStatus:
        return PublisherStatus.model_validate_json((self.folder / "status.json").read_text())


async def kill(running: asyncio.Task[None]) -> None:
    running.cancel()
    await asyncio.wait({running})


Script = Callable[[Scene], Awaitable[None]]


@pytest.fixture
def play(tmp_path: Path) -> Callable[..., None]:
    """Play a script between a venue of symbols and a broker."""

    def run(script: Script, *symbols: str, **changes: Any) -> None:
        async def scene() -> None:
            async with scripted_venue(*symbols) as venue, stub_broker() as broker:
                await script(Scene(venue, broker, tmp_path, **changes))

        asyncio.run(asyncio.wait_for(scene(), 30))

    return run


def test_trades_go_on_as_they_came_after_the_mark_of_the_start(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing():
            sent = [scene.venue.made("BTCUSDT"), scene.venue.made("ETHUSDT"), scene.venue.made("BTCUSDT")]
            await scene.venue.send(*sent)
            await scene.arrived([100, 101])
            await scene.arrived([100], "ETHUSDT")
            await until(scene.broker.heartbeats)
        assert scene.broker.marks() == [("start", 100, None)]
        lines = [
            line
            for m in scene.broker.messages
            if m.attributes.get("symbol") == "BTCUSDT"
            for line in m.data.splitlines()
        ]
        assert lines[1:] == [
            json.dumps(json.loads(raw)["data"], separators=(",", ":")).encode() for raw in (sent[0], sent[2])
        ]
        first = next(m for m in scene.broker.messages if m.attributes.get("symbol") == "BTCUSDT")
        assert first.attributes["first_id"] == "100"
        assert json.loads(lines[0])["T"] == int(first.attributes["event_time"])
        [path] = {connection.request.path for connection in scene.venue.opened if connection.request}
        assert path == "/binance/stream?streams=btcusdt@aggTrade/ethusdt@aggTrade"

    play(script, "BTCUSDT", "ETHUSDT")


def test_what_a_stream_loses_rest_brings_in_order_and_without_a_mark(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing():
            await scene.venue.trades(2)
            lost = [scene.venue.made() for _ in range(3)]
            await scene.venue.trades(2)
            await scene.arrived([*range(100, 107)])
            assert len(lost) == 3
        assert scene.broker.ids() == [*range(100, 107)]
        assert scene.broker.marks() == [("start", 100, None)]
        [symbol] = scene.status().symbols
        assert (symbol.gaps_found, symbol.gaps_refilled, symbol.gaps_open) == (1, 1, 0)
        assert (symbol.last_id, symbol.trades, symbol.waiting) == (106, 7, 0)
        assert scene.status().state == "stopped"

    play(script)


def test_a_gap_that_rest_is_slow_to_fill_is_marked_before_the_trades_behind_it(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        scene.venue.refusals = [(503, {})] * 4
        async with scene.publishing():
            await scene.venue.trades(2)
            scene.venue.made()
            await scene.venue.trades(1)
            await scene.arrived([103])
            assert scene.broker.ids() == [100, 101, 103]
            assert scene.broker.marks() == [("start", 100, None), ("gap", 102, 102)]
            await until(lambda: ("filled", 102, 102) in scene.broker.marks())
        assert scene.broker.ids() == [100, 101, 103, 102]
        kinds = [line["e"] for line in scene.broker.lines]
        assert kinds.index("gap") < kinds.index("aggTrade", 3)

    play(script)


def test_what_rest_has_no_more_stays_marked(play: Callable[..., None], caplog: pytest.LogCaptureFixture) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing():
            await scene.venue.trades(1)
            for _ in range(4):
                scene.venue.made()
            await scene.venue.trades(1)
            del scene.venue.rows["BTCUSDT"][:3]
            await scene.arrived([100, 105])
            asked = len(scene.venue.asked)
            await asyncio.sleep(0.1)
            assert len(scene.venue.asked) == asked, "what is gone is not asked for again"
        assert scene.broker.ids() == [100, 103, 104, 105]
        assert scene.broker.marks() == [("start", 100, None), ("gap", 101, 102)]
        assert scene.status().symbols[0].gaps_open == 1
        assert "2 trades from id 101 on are gone" in caplog.text

    play(script)


def test_the_next_run_goes_on_where_the_last_one_was_acknowledged(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing():
            await scene.venue.trades(3)
            await scene.arrived([100, 101, 102])
        for _ in range(1_500):
            scene.venue.made()
        async with scene.publishing():
            await scene.arrived([*range(103, 1_603)])
            await scene.venue.trades(1)
            await scene.arrived([1_603])
        assert scene.broker.ids() == [*range(100, 1_604)]
        assert scene.broker.marks() == [("start", 100, None)]

    play(script)


def test_a_kill_at_any_moment_loses_nothing(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        chance = random.Random(7)
        for _ in range(6):
            running = asyncio.create_task(scene.publisher().run())
            opened = len(scene.venue.opened)
            await until(lambda opened=opened: len(scene.venue.opened) > opened)  # type: ignore[misc]
            for _ in range(20):
                made = [scene.venue.made() for _ in range(chance.randint(1, 30))]
                await scene.venue.send(*(one for one in made if chance.random() > 0.1))
                await asyncio.sleep(chance.random() / 200)
            await die(running)
        async with scene.publishing():
            await scene.venue.trades(1)
            await scene.arrived([*range(min(scene.broker.ids()), scene.venue.rows["BTCUSDT"][-1]["a"] + 1)])
        marks = scene.broker.marks()
        assert len({mark for mark in marks if mark[0] == "start"}) == 1
        gaps, filled = ({mark[1:] for mark in marks if mark[0] == kind} for kind in ("gap", "filled"))
        assert gaps <= filled

    async def die(running: asyncio.Task[None]) -> None:
        """End it as a kill does: what it would write on its way out is not written."""
        write = FileStore.write
        FileStore.write = lambda *_: None  # type: ignore[method-assign]
        try:
            await kill(running)
        finally:
            FileStore.write = write  # type: ignore[method-assign]

    play(script)


@pytest.mark.parametrize("announced", [SHUTDOWN, WRAPPED_SHUTDOWN], ids=["bare", "wrapped"])
def test_a_server_that_announces_its_end_is_left_before_it(play: Callable[..., None], announced: bytes) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing() as publisher:
            await scene.venue.trades(2)
            await scene.venue.send(announced)
            await until(lambda: len(scene.venue.opened) == 2)
            assert len(scene.venue.listening) == 2, "the old connection is still read"
            await scene.venue.trades(3)
            await until(lambda: len(scene.venue.listening) == 1)
            assert scene.venue.listening == scene.venue.opened[1:]
            await scene.venue.trades(1)
            await scene.arrived([*range(100, 106)])
            assert publisher.status().reconnects == 1
        assert scene.broker.ids() == [*range(100, 106)], "what came on both connections is published once"
        assert scene.venue.asked == [], "nothing was lost"
        assert scene.broker.dead_letters() == []

    play(script)


def test_a_connection_is_followed_by_another_one_before_the_venue_ends_it(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing():
            for _ in range(60):
                await scene.venue.trades(1)
                await asyncio.sleep(0.01)
            await scene.arrived([*range(100, 160)])
        assert len(scene.venue.opened) >= 2
        assert scene.venue.most_listening == 2
        assert scene.broker.ids() == [*range(100, 160)]

    play(script, spans=Spans(life_seconds=0.2, overlap_seconds=0.05, first_wait=0.1))


def test_a_connection_that_breaks_is_opened_again_and_refilled(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing():
            await scene.venue.trades(2)
            await scene.arrived([101])
            scene.venue.refused_handshakes = 2
            scene.venue.listening[0].transport.abort()
            scene.venue.made()
            await until(lambda: len(scene.venue.opened) == 2)
            await scene.venue.trades(1)
            await scene.arrived([102, 103])
        assert scene.broker.ids() == [100, 101, 102, 103]
        assert scene.venue.refused_handshakes == 0

    play(script)


def test_a_server_that_answers_no_ping_is_left(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing():
            scene.venue.listening[0].transport.pause_reading()
            await until(lambda: len(scene.venue.opened) >= 2)
            await scene.venue.trades(1)
            await scene.arrived([100])

    play(script, spans=Spans(ping_seconds=0.15, overlap_seconds=0.05, first_wait=0.1))


def test_a_symbol_that_falls_silent_alone_is_noticed_and_refilled(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing():
            await scene.venue.trades(1, "BTCUSDT")
            await scene.venue.trades(1, "ETHUSDT")
            for _ in range(2):
                scene.venue.made("BTCUSDT")
            await scene.arrived([100, 101, 102])
            await until(lambda: len(scene.venue.opened) == 2)
            await scene.venue.trades(1, "BTCUSDT")
            await scene.arrived([103])
        assert scene.broker.ids() == [100, 101, 102, 103]
        assert scene.broker.ids("ETHUSDT") == [100]

    play(script, "BTCUSDT", "ETHUSDT", stream={"silence_seconds": 3.0})


def test_a_market_without_trades_is_left_in_peace(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing():
            await scene.venue.trades(1)
            await until(lambda: len(scene.venue.asked) >= 2)
            await scene.venue.trades(1)
            await scene.arrived([101])
        assert len(scene.venue.opened) == 1
        assert scene.broker.marks() == [("start", 100, None)], "a hole in time is no gap"

    play(script, stream={"silence_seconds": 2.0})


def test_while_pubsub_is_down_nothing_is_lost_and_memory_is_bounded(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing() as publisher:
            await scene.venue.trades(1)
            await scene.arrived([100])
            scene.broker.is_down = True
            await scene.venue.trades(5_000)
            await until(lambda: publisher.intake.room.waiting >= 1_000)
            await asyncio.sleep(0.2)
            assert publisher.intake.room.waiting <= 1_001
            assert publisher.status().problem
            scene.broker.is_down = False
            await scene.arrived([*range(100, 5_101)])
            assert publisher.status().problem is None
            assert publisher.status().retries > 0
        assert scene.broker.ids() == [*range(100, 5_101)]

    play(script, stream={"waiting_trades": 1_000, "bundle_trades": 500})


def test_a_call_whose_acknowledgement_is_lost_is_repeated(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        scene.broker.refusals = [grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED]
        scene.broker.loses_acknowledgement = True
        async with scene.publishing():
            await scene.venue.trades(2)
            await until(lambda: not scene.broker.refusals)
            await scene.arrived([100, 101])
        assert set(scene.broker.ids()) == {100, 101}

    play(script)


def test_a_topic_that_does_not_exist_ends_the_publisher(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        scene.broker.refusals = [grpc.StatusCode.NOT_FOUND]
        with pytest.raises(TerminalError, match="Check that the topic exists"):
            await scene.publisher().run()

    play(script)


@pytest.mark.parametrize(
    "garbage",
    [
        b"\x00\xff no JSON",
        b"",
        b"[" * 5_000,
        b'{"stream":"btcusdt@kline_1m","data":{"e":"kline","s":"BTCUSDT"}}',
        frame("DOGEUSDT", 1, milliseconds(utc_now())),
        frame("BTCUSDT", -1, milliseconds(utc_now())),
        frame("BTCUSDT", 5, milliseconds(utc_now()) + 365 * 86_400_000),
        b"x" * 10_000_000,
    ],
    ids=[
        "bytes",
        "empty",
        "nested",
        "a kline",
        "another symbol",
        "a negative id",
        "the future",
        "ten megabytes",
    ],
)
def test_what_is_no_trade_becomes_a_dead_letter_and_the_rest_flows(play: Callable[..., None], garbage: bytes) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing() as publisher:
            await scene.venue.trades(1)
            await scene.venue.send(garbage)
            await scene.venue.trades(1)
            await scene.arrived([100, 101])
            await until(scene.broker.dead_letters)
            assert publisher.status().unreadable == 1
        assert scene.broker.dead_letters() == [garbage[:65_536] + b"\n"]
        assert len(scene.venue.opened) == 1

    play(script)


@pytest.mark.parametrize("is_last", [False, True], ids=["with a trade behind it", "as the last one for now"])
def test_a_trade_with_a_bad_price_is_fetched_again_and_its_line_a_dead_letter(
    play: Callable[..., None], is_last: bool
) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing():
            await scene.venue.trades(2)
            good = json.loads(scene.venue.made())["data"]
            await scene.venue.send(frame("BTCUSDT", 102, good["T"], p="cheap", q=None))
            if not is_last:
                await scene.venue.trades(1)
            await scene.arrived([100, 101, 102])
        assert scene.broker.ids() == [*range(100, 103 if is_last else 104)]
        assert scene.broker.marks() == [("start", 100, None)]
        [letter] = scene.broker.dead_letters()
        assert json.loads(letter)["p"] == "cheap"
        assert len(scene.venue.opened) == 1, "no connection is to blame"

    play(script)


def test_a_trade_that_rest_has_no_better_stays_marked_and_is_not_asked_for_again(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing():
            await scene.venue.trades(2)
            scene.venue.made()
            scene.venue.rows["BTCUSDT"][-1]["p"] = "-1.00000000"
            await scene.venue.send(frame("BTCUSDT", 102, milliseconds(utc_now()), p="-1.00000000"))
            await scene.venue.trades(1)
            await scene.arrived([103])
            asked = len(scene.venue.asked)
            await asyncio.sleep(0.5)
            assert len(scene.venue.asked) == asked
        assert scene.broker.marks() == [("start", 100, None), ("gap", 102, 102)]
        assert len(scene.broker.dead_letters()) == 2, "of the stream and of REST"

    play(script)


def test_rest_is_left_alone_for_as_long_as_it_says(play: Callable[..., None]) -> None:
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        if seconds > 20:
            waits.append(seconds)
            seconds = 0.0
        await fast_sleep(seconds)

    async def script(scene: Scene) -> None:
        scene.venue.refusals = [(429, {"Retry-After": "30"}), (418, {"Retry-After": "120"})]
        async with scene.publishing():
            await scene.venue.trades(1)
            scene.venue.made()
            await scene.venue.trades(1)
            await scene.arrived([101])
        assert [round(wait) // 10 for wait in waits] == [3, 12]
        assert scene.broker.ids() == [100, 101, 102]

    play(script, wiring=Wiring(utc_now, lambda: time.monotonic() * FAST, sleep, random.Random(1)))


@pytest.mark.parametrize("id", [10**15, 50_000, 100], ids=["far", "high", "counted long ago"])
def test_an_id_that_rest_does_not_know_is_a_dead_letter_and_the_rest_flows(play: Callable[..., None], id: int) -> None:
    async def script(scene: Scene) -> None:
        async with scene.publishing():
            await scene.venue.trades(3)
            await scene.venue.send(frame("BTCUSDT", id, milliseconds(utc_now()) + 10))
            await scene.venue.trades(3)
            await until(scene.broker.dead_letters)
            await scene.arrived([*range(100, 106)])
        assert len(scene.venue.asked) == 1, "REST is asked once, and for no gap"
        assert scene.broker.ids() == [*range(100, 106)]
        assert scene.broker.marks() == [("start", 100, None)]
        [letter] = scene.broker.dead_letters()
        assert json.loads(letter)["a"] == id

    play(script)


def test_a_venue_that_counts_anew_is_followed_and_marked(play: Callable[..., None]) -> None:
    async def script(scene: Scene) -> None:
        now = milliseconds(utc_now())
        async with scene.publishing():
            await scene.venue.send(frame("BTCUSDT", 500, now - 100), frame("BTCUSDT", 501, now - 90))
            scene.venue.rows["BTCUSDT"] = [fields(501, now + 1)]
            await scene.venue.send(frame("BTCUSDT", 500, now), frame("BTCUSDT", 501, now + 1))
            await until(lambda: len(scene.broker.ids()) == 4)
        assert scene.broker.ids() == [500, 501, 500, 501]
        assert scene.broker.marks() == [("start", 500, None), ("gap", 502, 502), ("start", 500, None)]

    play(script)


def test_no_mark_is_sent_before_the_position_that_knows_of_it_is_safe(
    play: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    refused: list[str] = []
    write = FileStore.write

    def refuse(self: FileStore, text: str) -> None:
        if self.path.name == "positions.json" and len(refused) < 3:
            refused.append(text)
            raise TransientError("The disk is full.")
        write(self, text)

    async def script(scene: Scene) -> None:
        monkeypatch.setattr(FileStore, "write", refuse)
        async with scene.publishing() as publisher:
            await scene.venue.trades(1)
            await until(lambda: refused)
            assert scene.broker.marks() == []
            assert publisher.status().problem == "The disk is full."
            await scene.arrived([100])
        assert len(refused) == 3

    play(script)
