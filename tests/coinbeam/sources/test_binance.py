"""Binance: frames and rows as they are, and as they should not be; the client; which venue is asked."""

import json
from datetime import UTC, datetime
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from coinbeam.errors import SettingsError
from coinbeam.settings import (
    ROOT,
    Environment,
    GoogleSettings,
    LocalSettings,
    MarketSettings,
    MarketSource,
    PortSettings,
    Settings,
    StorageSettings,
    StreamSettings,
)
from coinbeam.sources.binance import (
    LONGEST_LINE,
    BinanceClient,
    Shutdown,
    Times,
    Trade,
    Unreadable,
    Venue,
    choose_venue,
    milliseconds,
    probe_venue,
    read_frame,
    read_rows,
)
from coinbeam.sources.http.errors import ApiTerminalError, ApiTransientError, ThrottledError
from coinbeam.sources.registry import BINANCE, BINANCE_SIMULATOR

NOW = datetime(2026, 1, 2, tzinfo=UTC)
AT = milliseconds(NOW)
TIMES = Times.around(NOW)
SYMBOLS = {"BTCUSDT"}
LINE = (
    b'{"e":"aggTrade","E":%d,"s":"BTCUSDT","a":7,"p":"0.10000000","q":"2.00","f":1,"l":1,"T":%d,"m":false,"M":true}'
    % (AT, AT)
)
CAPTURES = ROOT.parent / "shared" / "captures" / "binance" / "aggtrade_kline.jsonl"


def enveloped(line: bytes) -> bytes:
    return b'{"stream":"btcusdt@aggTrade","data":' + line + b"}"


def changed(**changes: Any) -> bytes:
    return enveloped(json.dumps({**json.loads(LINE), **changes}).encode())


@pytest.mark.parametrize(
    ("raw", "line"),
    [
        (enveloped(LINE), LINE),
        (LINE, LINE),
        (b'{"data":' + LINE + b',"stream":"btcusdt@aggTrade"}', LINE),
        (b'{ "stream": "btcusdt@aggTrade", "data": ' + LINE + b"}\n", LINE),
        (enveloped(LINE.replace(b",", b",\n")), LINE.replace(b",", b", ")),
    ],
    ids=["as it is sent", "without its envelope", "the other way round", "with blanks", "on many lines"],
)
def test_a_trade_keeps_the_bytes_of_its_data(raw: bytes, line: bytes) -> None:
    assert read_frame(raw, SYMBOLS, TIMES) == Trade("BTCUSDT", 7, AT, line)


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"\xff\xfe",
        b'{"stream":"btcusdt@aggTrade","data":',
        enveloped(b"{"),
        enveloped(b"7"),
        enveloped(LINE) + b"}",
        enveloped(LINE)[:-1] + b"]",
        b'{"result":null,"id":1}',
        changed(e="kline"),
        changed(s="ETHUSDT"),
        changed(s=["BTCUSDT"]),
        changed(a="7"),
        changed(a=True),
        changed(a=-7),
        changed(a=2**62),
        changed(a=7.0),
        changed(T=None),
        changed(T=str(AT)),
        changed(T=AT + 50_001),
        changed(T=AT - 86_400_001),
        changed(T=10**30),
        changed(x="y" * LONGEST_LINE),
    ],
)
def test_what_is_no_trade_of_ours_is_passed_on_as_it_came(raw: bytes) -> None:
    found = read_frame(raw, SYMBOLS, TIMES)
    assert isinstance(found, Unreadable)
    assert found.data == raw[:LONGEST_LINE]
    assert found.reason


@pytest.mark.parametrize("field", ["e", "s", "a", "T"])
def test_a_trade_without_a_field_that_is_read_here_is_unreadable(field: str) -> None:
    data = json.loads(LINE)
    del data[field]
    assert isinstance(read_frame(enveloped(json.dumps(data).encode()), SYMBOLS, TIMES), Unreadable)


@pytest.mark.parametrize(
    "changes",
    [
        {"p": "cheap"},
        {"p": None},
        {"p": 0.1},
        {"p": "0.000"},
        {"p": "92233720368.54775808"},
        {"q": "-1"},
        {"q": "1e3"},
        {"q": "0.123456789"},
        {"f": "1"},
        {"f": 2},
        {"l": 2**63},
        {"l": 1_000_000_001},
        {"m": 3},
    ],
    ids=str,
)
def test_a_trade_that_the_pipeline_would_refuse_is_not_received(changes: dict[str, Any]) -> None:
    raw = changed(**changes)
    found = read_frame(raw, SYMBOLS, TIMES)
    assert isinstance(found, Unreadable)
    assert (found.symbol, found.id) == ("BTCUSDT", 7)
    assert enveloped(found.data) == raw, "the pipeline names the field, which it would not see in its envelope"
    [row] = read_rows("BTCUSDT", b"[%s]" % found.data, AT)
    assert isinstance(row, Unreadable)
    assert row.id == 7


@pytest.mark.parametrize(
    "raw",
    [b'{"stream":"!serverShutdown","data":{"e":"serverShutdown","E":1}}', b'{"e":"serverShutdown","E":1}'],
    ids=["in the envelope", "alone"],
)
def test_a_shutdown_is_known_in_both_shapes(raw: bytes) -> None:
    assert read_frame(raw, SYMBOLS, TIMES) == Shutdown()


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=8)
    | st.sampled_from(["BTCUSDT", "aggTrade"]),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from([*"esaTpq", "data", "stream"]), inner, max_size=5)
    ),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(
    st.binary(max_size=60) | JSON.map(lambda value: json.dumps(value).encode()) | st.binary(max_size=40).map(enveloped)
)
def test_no_frame_breaks_the_reader_and_nothing_becomes_more_than_one_line(raw: bytes) -> None:
    found = read_frame(raw, SYMBOLS, TIMES)
    if isinstance(found, Trade):
        data = orjson.loads(found.line)
        assert (data["s"], data["a"], data["T"]) == found[:3]
        assert b"\n" not in found.line
    elif isinstance(found, Unreadable):
        assert found.data in raw.replace(b"\n", b" ").replace(b"\r", b" ")


@settings(max_examples=60, deadline=None)
@given(cut=st.integers(1, len(enveloped(LINE)) - 1))
def test_a_frame_that_is_cut_anywhere_is_unreadable(cut: int) -> None:
    assert isinstance(read_frame(enveloped(LINE)[:cut], SYMBOLS, TIMES), Unreadable)


def test_a_row_of_rest_becomes_the_line_that_the_stream_would_have_sent() -> None:
    row = b'{"a":7,"p":"0.10000000","q":"2.00","f":1,"l":1,"T":1,"m":false,"M":true}'
    [found] = read_rows("BTCUSDT", b"[" + row + b"]", AT)
    assert found == Trade("BTCUSDT", 7, 1, b'{"e":"aggTrade","s":"BTCUSDT",' + row[1:])


@pytest.mark.parametrize("row", ["7", "{}", '{"a":7}', '{"a":"7","T":1}', f'{{"a":7,"T":{AT + 1}}}'])
def test_a_row_that_is_no_trade_costs_itself_only(row: str) -> None:
    found = read_rows("BTCUSDT", b"[%s,%s]" % (row.encode(), LINE), AT)
    assert [type(one) for one in found] == [Unreadable, Trade]


@pytest.mark.skipif(not CAPTURES.exists(), reason="the captured frames of Binance are not on this machine")
def test_the_captured_frames_are_trades_or_klines() -> None:
    messages = [json.loads(line) for line in CAPTURES.read_bytes().splitlines()]
    symbols = {one["_msg"]["data"]["s"] for one in messages}
    counts = {Trade: 0, Unreadable: 0, Shutdown: 0}
    for one in messages:
        raw = json.dumps(one["_msg"], separators=(",", ":")).encode()
        found = read_frame(raw, symbols, Times.around(datetime.fromtimestamp(one["_recv"], UTC)))
        counts[type(found)] += 1
        data = one["_msg"]["data"]
        if data["e"] == "aggTrade":
            assert isinstance(found, Trade)
            assert (found.symbol, found.id, found.at) == (data["s"], data["a"], data["T"])
            assert json.loads(found.line) == data
            assert raw.endswith(found.line + b"}")
        else:
            assert isinstance(found, Unreadable)
            assert found.reason == "an event 'kline'"
    assert counts == {Trade: 155, Unreadable: 107, Shutdown: 0}


def test_an_address_holds_at_most_1024_streams() -> None:
    venue = Venue("live", "https://rest/api/v3", "wss://streams/stream")
    names = [f"C{number}USDT" for number in range(2_100)]
    addresses = venue.addresses(names)
    streams = [address.partition("?streams=")[2].split("/") for address in addresses]
    assert [len(one) for one in streams] == [1_024, 1_024, 52]
    assert [one for many in streams for one in many] == [f"{name.lower()}@aggTrade" for name in names]
    assert addresses[0].startswith("wss://streams/stream?streams=c0usdt@aggTrade/")


@pytest.fixture
def client(api, fake_time):
    made = BinanceClient(api.base_url, 1_200, monotonic=fake_time.monotonic, sleep=fake_time.sleep, clock=fake_time.now)
    yield made
    made.close()


def test_trades_are_asked_for_from_an_id_on(api, client) -> None:
    api.play(api.Answer(body=b"[%s]" % LINE))
    assert [trade.id for trade in client.trades("BTCUSDT", 7)] == [7]
    client.trades("BTCUSDT", since=5, limit=1)
    assert api.paths == [
        "/api/v3/aggTrades?fromId=7&limit=1000&symbol=BTCUSDT",
        "/api/v3/aggTrades?limit=1&startTime=5&symbol=BTCUSDT",
    ]


@pytest.mark.parametrize(
    ("status", "body", "headers", "kind", "wait"),
    [
        (429, b'{"code":-1003,"msg":"Too many requests."}', {"Retry-After": "7"}, ThrottledError, 7.0),
        (418, b'{"code":-1003,"msg":"Banned."}', {"Retry-After": "120"}, ThrottledError, 120.0),
        (400, b'{"code":-1121,"msg":"Invalid symbol."}', {}, ApiTerminalError, None),
        (403, b'{"code":0,"msg":"no"}', {}, ApiTerminalError, None),
        (451, b'{"code":0,"msg":"Service unavailable from a restricted location."}', {}, ApiTerminalError, None),
        (500, b"{}", {}, ApiTransientError, None),
        (200, b"<html>", {}, ApiTransientError, None),
        (200, b"{}", {}, ApiTransientError, None),
        (200, b'{"code":-1000,"msg":"An unknown error occurred."}', {}, ApiTransientError, None),
    ],
)
def test_a_refusal_says_whether_and_when_to_ask_again(api, client, status, body, headers, kind, wait) -> None:
    api.play(api.Answer(status, body, headers))
    with pytest.raises(kind) as refused:
        client.trades("BTCUSDT", 7)
    assert refused.value.retry_after == wait
    assert len(api.paths) == 1, "who asks decides when to ask again"


def test_the_state_of_symbols_is_asked_at_its_weight(api, client, fake_time) -> None:
    api.play(
        api.Answer(body=b'{"symbols":[{"symbol":"BTCUSDT","status":"TRADING"},{"symbol":"LUNAUSDT","status":"BREAK"}]}')
    )
    assert client.trading(["BTCUSDT", "LUNAUSDT"]) == {"BTCUSDT": True, "LUNAUSDT": False}
    assert api.paths == ["/api/v3/exchangeInfo?symbols=%5B%22BTCUSDT%22,%22LUNAUSDT%22%5D"]
    assert fake_time.seconds == pytest.approx(4 * 60 / 300, rel=0.01)


@pytest.mark.parametrize("ask", [lambda client: client.server_time(), lambda client: client.trading(["BTCUSDT"])])
def test_an_answer_of_another_shape_is_refused(api, client, ask) -> None:
    api.play(api.Answer(body=b'{"other":1}'))
    with pytest.raises(ApiTransientError, match=r"in b'\{\"other\":1\}'"):
        ask(client)


def made_settings(source: MarketSource, environment: Environment = Environment.LOCAL) -> Settings:
    return Settings(
        environment=environment,
        google=GoogleSettings(project="p"),
        storage=StorageSettings(bucket="bucket"),
        market=MarketSettings(source=MarketSource.LIVE),
        stream=StreamSettings(source=source),
        local=LocalSettings(ports=PortSettings(simulator=9_999)),
    )


def refuse_to_probe(*_: object) -> str:
    raise AssertionError("nobody may be asked")


def test_live_is_taken_without_asking() -> None:
    venue = choose_venue(made_settings(MarketSource.LIVE), probe=refuse_to_probe)
    assert venue == Venue("live", "https://data-api.binance.vision/api/v3", "wss://data-stream.binance.vision/stream")
    assert venue.source_id == BINANCE.id


def test_the_simulator_is_taken_without_asking() -> None:
    venue = choose_venue(made_settings(MarketSource.LIVE), MarketSource.SIMULATOR, refuse_to_probe)
    assert (venue.rest_url, venue.stream_url) == (
        "http://127.0.0.1:9999/binance/api/v3",
        "ws://127.0.0.1:9999/binance/stream",
    )
    assert venue.source_id == BINANCE_SIMULATOR.id
    assert venue.banner is None


def test_auto_means_live_where_it_answers_and_a_banner_elsewhere() -> None:
    chosen = made_settings(MarketSource.AUTO)
    assert choose_venue(chosen, probe=lambda *_: None).kind == "live"
    venue = choose_venue(chosen, probe=lambda *_: "no route")
    assert venue.kind == "simulator"
    assert "SIMULATED TRADES" in (venue.banner or "")
    assert "no route" in (venue.banner or "")


def test_a_deployment_reads_live_trades_only() -> None:
    assert choose_venue(made_settings(MarketSource.AUTO, Environment.PRODUCTION), probe=refuse_to_probe).kind == "live"
    with pytest.raises(SettingsError, match="live trades only"):
        choose_venue(made_settings(MarketSource.SIMULATOR, Environment.PRODUCTION))


def test_the_probe_asks_for_the_time(api) -> None:
    venue = Venue("live", api.base_url, "")
    api.play(api.Answer(body=b'{"serverTime":1}'), api.Answer(429, b"{}"), api.Answer(503, b"{}"))
    reasons = [probe_venue(made_settings(MarketSource.AUTO), venue) for _ in range(3)]
    assert reasons[:2] == [None, None]
    assert "HTTP 503" in (reasons[2] or "")
    assert api.paths[0] == "/api/v3/time"
