"""The websocket of the venue: frames as the clock passes, subscriptions, limits, pings, and ends of connections."""

import json
import socket
import time
from itertools import pairwise
from typing import Any

import pytest
from websockets.exceptions import ConnectionClosed, InvalidStatus
from websockets.sync.client import ClientConnection, connect

from local.simulator.binance.faults import combined
from local.simulator.binance.stream import MOST_MESSAGES, MOST_STREAMS
from local.simulator.binance.venue import CONNECTIONS, CONNECTIONS_SECONDS
from tests.local.simulator.binance.conftest import NOON_MS, WAIT_SECONDS, Bench, eventually, serving


def receive(client: ClientConnection, count: int) -> list[str]:
    return [str(client.recv(timeout=WAIT_SECONDS)) for _ in range(count)]


def ask(client: ClientConnection, method: str, *params: str, identity: int = 1) -> Any:
    client.send(json.dumps({"method": method, "params": params, "id": identity}))
    return json.loads(client.recv(timeout=WAIT_SECONDS))


def frames_of(bench: Bench, symbol: str, from_ms: int, to_ms: int) -> list[str]:
    return [combined(symbol, line) for line in bench.tape.between(symbol, from_ms + 1, to_ms + 1).lines()]


def end_of(client: ClientConnection) -> int | None:
    """The code of the server's close frame, once all that came before is read; None where there is none."""
    try:
        while True:
            client.recv(timeout=WAIT_SECONDS)
    except ConnectionClosed as end:
        return end.rcvd and end.rcvd.code


def test_trades_are_sent_as_the_clock_passes_byte_for_byte(bench):
    with bench.stream("BTCUSDT") as client:
        for start in (0, 5):
            bench.advance(5)
            expected = frames_of(bench, "BTCUSDT", NOON_MS + start * 1_000, NOON_MS + start * 1_000 + 5_000)
            assert receive(client, len(expected)) == expected
        with pytest.raises(TimeoutError):
            client.recv(timeout=0.1)


def test_symbols_of_one_connection_go_side_by_side(bench):
    with bench.stream("BTCUSDT", "ETHUSDT") as client:
        bench.advance(60)
        expected = {symbol: frames_of(bench, symbol, NOON_MS, NOON_MS + 60_000) for symbol in ("BTCUSDT", "ETHUSDT")}
        frames = receive(client, sum(map(len, expected.values())))
        for symbol, own in expected.items():
            assert [frame for frame in frames if symbol.lower() in frame] == own
        times = [json.loads(frame)["data"]["T"] for frame in frames]
        assert all(late >= early - 1_000 for early, late in pairwise(times))


def test_a_clock_that_runs_sends_what_it_passes(bench):
    assert bench.http.post("/_control/clock", json={"at": None}).status_code == 200
    with bench.stream("BTCUSDT") as client:
        (first, second) = (json.loads(frame)["data"] for frame in receive(client, 2))
    assert second["a"] == first["a"] + 1
    assert abs(time.time() * 1_000 - second["T"]) < 10_000


def test_a_clock_that_is_set_back_or_far_ahead_is_not_followed(bench):
    with bench.stream("BTCUSDT") as client:
        (connection,) = bench.api.venue.connections
        for jump in (-600, 86_400):
            bench.advance(jump)
            at = bench.api.venue.now_ms()
            eventually(lambda at=at: connection.read_to_ms == at)
            bench.advance(5)
            expected = frames_of(bench, "BTCUSDT", at, at + 5_000)
            assert receive(client, len(expected)) == expected


def test_a_raw_stream_sends_trades_without_a_wrap(bench):
    with bench.stream(path="/binance/ws/btcusdt@aggTrade") as client:
        bench.advance(3)
        lines = bench.tape.between("BTCUSDT", NOON_MS + 1, NOON_MS + 3_001).lines()
        assert receive(client, len(lines)) == lines


def test_streams_are_subscribed_listed_and_unsubscribed(bench):
    with bench.stream("BTCUSDT") as client:
        assert ask(client, "SUBSCRIBE", "ethusdt@aggTrade", "btcusdt@depth", identity=7) == {"result": None, "id": 7}
        assert ask(client, "UNSUBSCRIBE", "btcusdt@aggTrade") == {"result": None, "id": 1}
        assert ask(client, "LIST_SUBSCRIPTIONS")["result"] == ["ethusdt@aggTrade", "btcusdt@depth"]
        bench.advance(5)
        expected = frames_of(bench, "ETHUSDT", NOON_MS, NOON_MS + 5_000)
        assert receive(client, len(expected)) == expected


@pytest.mark.parametrize(
    ("text", "code"),
    [
        pytest.param("{", 3, id="no JSON"),
        pytest.param("[]", 2, id="no object"),
        pytest.param('{"method":"SUBSCRIBE","params":"btcusdt@aggTrade","id":1}', 2, id="params that are no list"),
        pytest.param('{"method":"DANCE","id":1}', 2, id="an unknown method"),
        pytest.param(
            json.dumps({"method": "SUBSCRIBE", "params": [f"s{n}@aggTrade" for n in range(MOST_STREAMS)], "id": 1}),
            2,
            id="too many streams",
        ),
    ],
)
def test_a_wrong_request_is_answered_by_an_error(bench, text, code):
    with bench.stream("BTCUSDT") as client:
        client.send(text)
        assert json.loads(client.recv(timeout=WAIT_SECONDS))["error"]["code"] == code
        assert ask(client, "LIST_SUBSCRIPTIONS")["result"] == ["btcusdt@aggTrade"]


def test_unknown_streams_are_silent(bench):
    with bench.stream("NOBODYUSDT", "BTCUSDT") as client:
        bench.advance(3)
        expected = frames_of(bench, "BTCUSDT", NOON_MS, NOON_MS + 3_000)
        assert receive(client, len(expected)) == expected


def test_a_client_that_talks_too_much_is_closed(bench):
    with bench.stream("BTCUSDT") as client:
        for _ in range(MOST_MESSAGES + 1):
            client.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
        assert end_of(client) == 1008


def test_an_address_with_1025_streams_is_refused(bench):
    names = "/".join(str(n) for n in range(MOST_STREAMS + 1))
    url = f"ws://127.0.0.1:{bench.port}/binance/stream?streams={names}"
    with connect(url, compression=None) as client:
        assert end_of(client) == 1008


def test_the_301st_connection_of_five_minutes_is_refused(bench):
    for _ in range(CONNECTIONS):
        assert bench.api.venue.admits()
    with pytest.raises(InvalidStatus) as refusal:
        bench.stream("BTCUSDT")
    assert refusal.value.response.status_code == 429
    bench.monotonic[0] += CONNECTIONS_SECONDS
    with bench.stream("BTCUSDT"):
        assert bench.report()["connections"] == 1


def test_a_connection_ends_after_a_day(bench):
    with bench.stream("BTCUSDT") as client:
        bench.monotonic[0] += 86_399
        assert ask(client, "LIST_SUBSCRIPTIONS")["id"] == 1
        bench.monotonic[0] += 1
        assert end_of(client) == 1001


def test_the_day_of_a_connection_can_be_made_short(bench):
    bench.order("faults", lifetime_seconds=2)
    with bench.stream("BTCUSDT") as client:
        bench.monotonic[0] += 2
        assert end_of(client) == 1001


@pytest.mark.parametrize(
    ("ending", "frame"),
    [
        ("shutdown", f'{{"stream":"!serverShutdown","data":{{"e":"serverShutdown","E":{NOON_MS}}}}}'),
        ("shutdown_event", f'{{"e":"serverShutdown","E":{NOON_MS}}}'),
    ],
)
def test_a_shutdown_is_told_before_the_close(bench, ending, frame):
    with bench.stream("BTCUSDT") as client:
        assert bench.order("connections", ending=ending, grace_seconds=30) == {"ending": 1}
        assert receive(client, 1) == [frame]
        bench.advance(2)
        expected = frames_of(bench, "BTCUSDT", NOON_MS, NOON_MS + 2_000)
        assert receive(client, len(expected)) == expected, "until the close trades are sent"
        bench.monotonic[0] += 30
        assert end_of(client) == 1001


def test_a_close_has_a_frame_and_an_abort_has_none(bench):
    with bench.stream("BTCUSDT") as client:
        bench.order("connections", ending="close")
        assert end_of(client) == 1001
    with bench.stream("BTCUSDT") as client:
        bench.order("connections", ending="abort")
        assert end_of(client) is None
    eventually(lambda: bench.report()["connections"] == 0)


def frame_opcodes(client: socket.socket) -> list[int]:
    """Opcodes of the small frames until the server ends the connection."""
    data = b""
    while chunk := client.recv(4_096):
        data += chunk
    frames = data.partition(b"\r\n\r\n")[2]
    opcodes = []
    while frames:
        opcodes.append(frames[0] & 0x0F)
        frames = frames[2 + frames[1] :]
    return opcodes


def test_the_server_pings_and_ends_a_connection_without_a_pong():
    handshake = (
        "GET /binance/stream?streams=btcusdt@aggTrade HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        "Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    with serving(ping_seconds=0.1, pong_seconds=0.2) as bench, bench.stream("BTCUSDT") as polite:
        with socket.create_connection(("127.0.0.1", bench.port), timeout=WAIT_SECONDS) as mute:
            mute.sendall(handshake.encode())
            assert frame_opcodes(mute) == [0x9, 0x8], "a ping and a close"
        assert ask(polite, "LIST_SUBSCRIPTIONS")["id"] == 1
