"""The websocket of the venue, by a real client: frames of the tape as the clock passes, limits, and ends."""

import json
import socket
import time
from dataclasses import dataclass

import httpx
import pytest
from websockets.client import ClientProtocol
from websockets.exceptions import ConnectionClosedError, ConnectionClosedOK, InvalidStatus
from websockets.frames import Opcode
from websockets.sync.client import ClientConnection
from websockets.uri import parse_uri

from local.simulator.binance.stream import MOST_STREAMS
from local.simulator.service import SimulatedApi, SimulatorOptions
from tests.local.simulator.binance.conftest import COINS, NOON, SEED, Server, Stopwatch, data, frames, served


def told(server: Server, symbol: str, from_ms: int, to_ms: int) -> list[str]:
    """The lines of what was traded after ``from_ms``, until ``to_ms``."""
    return server.tape.between(symbol, from_ms + 1, to_ms + 1).lines()


def ask(websocket: ClientConnection, method: str, params: list[str] | None = None, identity: int = 1) -> dict:
    """The answer to a request; nothing else may be on its way."""
    request = {"method": method, "id": identity} | ({"params": params} if params is not None else {})
    websocket.send(json.dumps(request))
    return json.loads(websocket.recv(timeout=10))


def quiet(websocket: ClientConnection) -> bool:
    """Whether nothing comes within some ticks."""
    try:
        websocket.recv(timeout=0.15)
    except TimeoutError:
        return True
    return False


def test_trades_come_as_the_clock_passes_in_frames_of_their_stream(server: Server) -> None:
    start = server.now_ms()
    with server.stream("BTCUSDT", "SHIBUSDT") as websocket:
        assert quiet(websocket)
        server.wait(10)
        expected = {name: told(server, name, start, start + 10_000) for name in ("BTCUSDT", "SHIBUSDT")}
        found = frames(websocket, sum(map(len, expected.values())))
        for symbol, lines in expected.items():
            prefix = f'{{"stream":"{symbol.lower()}@aggTrade","data":'
            assert [frame for frame in found if frame.startswith(prefix)] == [f"{prefix}{line}}}" for line in lines]
        assert quiet(websocket)
        server.wait(1)
        assert frames(websocket, 1)[0].endswith(f"{told(server, 'BTCUSDT', start + 10_000, start + 11_000)[0]}}}")


def test_symbols_go_side_by_side_through_a_jump_of_the_clock(server: Server) -> None:
    start = server.now_ms()
    with server.stream("BTCUSDT", "ETHUSDT") as websocket:
        server.wait(20)
        said = data(websocket, sum(len(told(server, name, start, start + 20_000)) for name in ("BTCUSDT", "ETHUSDT")))
    latest = 0
    for trade in said:
        assert trade["T"] > latest - 1_000
        latest = max(latest, trade["T"])


def test_a_single_stream_is_bare(server: Server) -> None:
    start = server.now_ms()
    with server.connect("ws/ethusdt@aggTrade") as websocket:
        server.wait(5)
        lines = told(server, "ETHUSDT", start, start + 5_000)
        assert frames(websocket, len(lines)) == lines


def test_two_connections_are_told_the_same(server: Server) -> None:
    with server.stream("BTCUSDT") as first, server.stream("BTCUSDT") as second:
        server.wait(5)
        assert frames(first, 20) == frames(second, 20)


def test_what_the_stream_says_is_what_rest_says(server: Server) -> None:
    with server.stream("BTCUSDT") as websocket:
        server.wait(5)
        said = data(websocket, 20)
    rows = json.loads(f"[{','.join(server.tape.trades('BTCUSDT', said[0]['a'], said[-1]['a']).rows())}]")
    assert [{key: trade[key] for key in row} for trade, row in zip(said, rows, strict=True)] == rows


def test_symbols_are_subscribed_to_and_left(server: Server) -> None:
    with server.connect("ws") as websocket:
        assert ask(websocket, "LIST_SUBSCRIPTIONS") == {"result": [], "id": 1}
        assert ask(websocket, "SUBSCRIBE", ["ethusdt@aggTrade", "nosuch@aggTrade"], 2) == {"result": None, "id": 2}
        names = ["ethusdt@aggTrade", "nosuch@aggTrade"]
        assert ask(websocket, "LIST_SUBSCRIPTIONS", identity=3) == {"result": names, "id": 3}
        server.wait(2)
        assert {json.loads(frame)["s"] for frame in frames(websocket, 3)} == {"ETHUSDT"}
    with server.stream("BTCUSDT", "ETHUSDT") as websocket:
        assert ask(websocket, "UNSUBSCRIBE", ["btcusdt@aggTrade"]) == {"result": None, "id": 1}
        server.wait(2)
        assert {trade["s"] for trade in data(websocket, 3)} == {"ETHUSDT"}


def test_a_symbol_is_told_from_when_it_was_subscribed_to(server: Server) -> None:
    with server.stream("ETHUSDT") as websocket:
        server.wait(5)
        frames(websocket, len(told(server, "ETHUSDT", server.now_ms() - 5_000, server.now_ms())))
        start = server.now_ms()
        ask(websocket, "SUBSCRIBE", ["btcusdt@aggTrade"])
        server.wait(5)
        first = next(trade for trade in data(websocket, 60) if trade["s"] == "BTCUSDT")
        assert first["a"] == server.tape.next_id("BTCUSDT", start + 1)


@pytest.mark.parametrize(
    ("request_text", "code", "named"),
    [
        pytest.param("teatime", 3, "Invalid JSON", id="no JSON"),
        pytest.param("[]", 2, "missing field `method`", id="no object"),
        pytest.param('{"method":"DANCE","id":4}', 2, "unknown variant `DANCE`", id="an unknown method"),
        pytest.param('{"method":"SUBSCRIBE","params":"btcusdt@aggTrade","id":4}', 2, "list of strings", id="no list"),
    ],
)
def test_a_wrong_request_is_answered_with_an_error(server: Server, request_text: str, code: int, named: str) -> None:
    with server.stream("BTCUSDT") as websocket:
        websocket.send(request_text)
        error = json.loads(websocket.recv(timeout=10))["error"]
        assert error["code"] == code
        assert named in error["msg"]


def test_unknown_streams_are_silent(server: Server) -> None:
    with server.connect("stream?streams=nosuch@aggTrade/btcusdt@kline_1m/BTCUSDT@aggTrade") as websocket:
        server.wait(30)
        assert quiet(websocket)


def test_a_clock_that_stands_elsewhere_is_followed_from_there(server: Server) -> None:
    with server.stream("BTCUSDT") as websocket:
        for jump in (-3_600, 86_400):
            server.wait(jump)
            assert quiet(websocket)
            start = server.now_ms()
            server.wait(3)
            lines = told(server, "BTCUSDT", start, start + 3_000)
            assert [json.loads(line) for line in lines] == data(websocket, len(lines))


def test_a_halt_is_a_hole_in_the_stream_with_consecutive_ids(server: Server) -> None:
    start = server.now_ms()
    with server.stream("BTCUSDT") as websocket:
        server.wait(1)
        before = data(websocket, len(told(server, "BTCUSDT", start, start + 1_000)))
        server.tape.halt("BTCUSDT", start + 2_000, start + 32_000)
        server.wait(29)
        before += data(websocket, len(told(server, "BTCUSDT", start + 1_000, start + 2_000)))
        assert quiet(websocket)
        server.wait(5)
        after = data(websocket, len(told(server, "BTCUSDT", start + 2_000, start + 35_000)))
    assert before[-1]["T"] < start + 2_000
    assert after[0]["T"] == start + 32_000
    assert [trade["a"] for trade in before + after] == list(range(before[0]["a"], after[-1]["a"] + 1))
    assert len(after) > 100


def end(server: Server, ending: str, grace: float = 0.0) -> None:
    """Order the end of all connections, as a test in another process does."""
    order = {"ending": ending, "grace_seconds": grace}
    answer = httpx.post(f"http://127.0.0.1:{server.port}/_control/binance/connections", json=order)
    assert answer.json() == {"ending": 1}


def test_an_abort_has_no_close_frame(server: Server) -> None:
    with server.stream("BTCUSDT") as websocket:
        end(server, "abort")
        with pytest.raises(ConnectionClosedError, match="no close frame") as closed:
            websocket.recv(timeout=10)
        assert closed.value.rcvd is None


def test_a_close_has_a_close_frame(server: Server) -> None:
    with server.stream("BTCUSDT") as websocket:
        end(server, "close")
        with pytest.raises(ConnectionClosedOK) as closed:
            websocket.recv(timeout=10)
        assert closed.value.rcvd.code == 1001


@pytest.mark.parametrize(
    ("ending", "shape"),
    [
        pytest.param("shutdown", {"stream": "!serverShutdown", "data": {"e": "serverShutdown"}}, id="as a stream"),
        pytest.param("shutdown_event", {"e": "serverShutdown"}, id="as an event"),
    ],
)
def test_a_shutdown_is_told_and_trades_flow_until_the_close(
    server: Server, stopwatch: Stopwatch, ending: str, shape: dict
) -> None:
    with server.stream("BTCUSDT") as websocket:
        end(server, ending, grace=60)
        said = json.loads(websocket.recv(timeout=10))
        assert said.get("data", said).pop("E") == server.now_ms()
        assert said == shape
        server.wait(2)
        assert len(frames(websocket, 5)) == 5
        stopwatch.seconds += 60
        with pytest.raises(ConnectionClosedOK):
            frames(websocket, 1_000)


def test_a_connection_lives_as_long_as_it_may(server: Server, stopwatch: Stopwatch) -> None:
    server.order(lifetime_seconds=3_600)
    with server.stream("BTCUSDT") as websocket:
        stopwatch.seconds += 3_599
        assert quiet(websocket)
        stopwatch.seconds += 1
        with pytest.raises(ConnectionClosedOK):
            websocket.recv(timeout=10)


def test_the_sixth_message_of_a_second_ends_the_connection(server: Server, stopwatch: Stopwatch) -> None:
    with server.stream("BTCUSDT") as websocket:
        for _ in range(2):
            assert [ask(websocket, "LIST_SUBSCRIPTIONS")["id"] for _ in range(5)] == [1] * 5
            stopwatch.seconds += 1
        for _ in range(6):
            websocket.send('{"method":"LIST_SUBSCRIPTIONS","id":1}')
        with pytest.raises(ConnectionClosedError) as closed:
            frames(websocket, 10)
        assert (closed.value.rcvd.code, closed.value.rcvd.reason) == (1008, "Too many requests")


def test_more_streams_than_allowed_are_refused(server: Server) -> None:
    many = [f"s{number}@x" for number in range(MOST_STREAMS)]
    with server.connect(f"stream?streams={'/'.join(many)}") as websocket:
        assert "streams" in ask(websocket, "SUBSCRIBE", ["btcusdt@aggTrade"])["error"]["msg"]
        assert ask(websocket, "SUBSCRIBE", many[:5])["result"] is None
    with server.connect(f"stream?streams={'/'.join([*many, 'btcusdt@aggTrade'])}") as websocket:
        with pytest.raises(ConnectionClosedError) as closed:
            websocket.recv(timeout=10)
        assert closed.value.rcvd.code == 1008


def test_the_301st_connection_of_five_minutes_is_refused(server: Server, stopwatch: Stopwatch) -> None:
    for _ in range(299):
        assert server.api.venue.admits()
    with server.stream("BTCUSDT"):
        pass
    with pytest.raises(InvalidStatus) as refused:
        server.stream("BTCUSDT")
    assert refused.value.response.status_code == 429
    stopwatch.seconds += 300
    with server.stream("BTCUSDT"):
        pass


def test_a_connection_that_is_gone_is_forgotten(server: Server) -> None:
    with server.stream("BTCUSDT"):
        assert server.api.venue.report()["connections"] == 1
    until = time.monotonic() + 10
    while server.api.venue.connections:
        assert time.monotonic() < until, "the connection is still there"
        time.sleep(0.01)


@dataclass
class Mute:
    """A client that reads, and answers no ping."""

    port: int

    def opcodes(self) -> list[Opcode]:
        """Kinds of frames until the server ends the connection."""
        protocol = ClientProtocol(parse_uri(f"ws://127.0.0.1:{self.port}/binance/stream?streams=btcusdt@aggTrade"))
        with socket.create_connection(("127.0.0.1", self.port), timeout=10) as raw:
            protocol.send_request(protocol.connect())
            raw.sendall(b"".join(protocol.data_to_send()))
            while received := raw.recv(65_536):
                protocol.receive_data(received)
        return [event.opcode for event in protocol.events_received()[1:]]


def test_a_client_that_answers_no_ping_is_closed_and_one_that_does_is_not() -> None:
    api = SimulatedApi(SimulatorOptions(SEED, COINS, at=NOON))
    with served(api, ping=0.1, pong=0.2) as server, server.stream("BTCUSDT") as websocket:
        assert Mute(server.port).opcodes() == [Opcode.PING, Opcode.CLOSE]
        server.wait(1)
        assert len(frames(websocket, 2)) == 2
