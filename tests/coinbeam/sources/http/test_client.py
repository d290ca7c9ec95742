"""The client against a real HTTP server on loopback that misbehaves by script."""

import gzip
import json
import random
import socket
import threading
from datetime import timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from coinbeam.settings import ROOT, CoinGeckoSettings
from coinbeam.sources.coingecko import CoinGeckoClient
from coinbeam.sources.http.errors import ApiTerminalError, ApiTransientError, ThrottledError, UnreachableError
from coinbeam.sources.rate import RateLimiter

CAPTURES = ROOT.parent / "shared" / "captures"
PAGE = json.dumps([{"id": "bitcoin", "current_price": 2.4e-10, "name": "Ω\u200b"}]).encode()
THROTTLED_BODY = b'{"status":{"error_code":429,"error_message":"You\'ve exceeded the Rate Limit."}}'
CHALLENGE = b"<!DOCTYPE html><html><head><title>Just a moment...</title></head></html>"


@pytest.fixture
def make_client(api, fake_time):
    """Makes clients of the scripted server that wait only on the fake clock."""

    def make(base_url=None, api_key=None, limiter=None, monotonic=None, **settings):
        calls_freely = RateLimiter(1e9, monotonic=fake_time.monotonic, sleep=fake_time.sleep)
        return CoinGeckoClient(
            CoinGeckoSettings(**settings),
            base_url or api.base_url,
            limiter or calls_freely,
            api_key=api_key,
            clock=fake_time.now,
            sleep=fake_time.sleep,
            rng=random.Random(1),
            monotonic=monotonic or fake_time.monotonic,
        )

    return make


def waits(fake_time):
    """Sleeps between attempts, without the limiter's nanoseconds."""
    return [seconds for seconds in fake_time.sleeps if seconds > 0.01]


def test_a_good_answer_is_returned_byte_for_byte(api, make_client, fake_time):
    api.play(api.Answer(body=PAGE))
    answer = make_client().get("/coins/markets", {"vs_currency": "usd"})
    assert answer.body == PAGE
    assert answer.well_formed
    assert answer.url == f"{api.base_url}/coins/markets?vs_currency=usd"
    assert answer.received_at == fake_time.start
    assert answer.received_at.utcoffset() == timedelta(0)
    assert (answer.calls, answer.retries, answer.throttled, answer.bytes_received) == (1, 0, 0, len(PAGE))


def test_a_message_shows_the_beginning_of_a_long_url(api, make_client):
    api.play(api.Answer(status=414))
    with pytest.raises(
        ApiTerminalError, match=r"ids=coin-0.*\.\.\. \(\d{4} characters\): HTTP 414.*per_page"
    ) as raised:
        make_client().get("/coins/markets", {"ids": [f"coin-{number}" for number in range(250)]})
    assert len(str(raised.value)) < 700


def test_a_compressed_body_is_decoded(api, make_client):
    api.play(api.Answer(body=gzip.compress(PAGE), headers={"Content-Encoding": "gzip"}))
    assert make_client().get("/ping").body == PAGE


def test_a_large_chunked_compressed_body_arrives_whole(api, make_client):
    body = json.dumps([{"id": str(n), "p": random.Random(n).random()} for n in range(20_000)]).encode()
    api.play(api.Answer(body=gzip.compress(body), headers={"Content-Encoding": "gzip"}, chunked=True))
    assert make_client().get("/ping").body == body


@pytest.mark.parametrize("name", ["markets_250_2024-01-02.json", "markets_10_sparkline_2025-10-05.json"])
def test_a_captured_page_passes_unchanged(api, make_client, name):
    file = CAPTURES / "markets" / name
    if not file.is_file():
        pytest.skip("no captures: ../shared/captures is absent")
    api.play(api.Answer(body=file.read_bytes()))
    answer = make_client().get("/coins/markets")
    assert answer.well_formed
    assert answer.body == file.read_bytes()


def test_the_same_question_is_the_same_url_whatever_the_order_of_its_parameters(api, make_client):
    client = make_client()
    one = client.get("/x", {"b": True, "a": ("1h", "24h"), "c": None, "d": (), "e": 0, "f": "é &"})
    other = client.get("/x", {"f": "é &", "e": 0, "a": ["1h", "24h"], "b": True})
    assert one.url == other.url == f"{api.base_url}/x?a=1h,24h&b=true&e=0&f=%C3%A9+%26"


def test_the_typed_methods_ask_for_the_documented_paths(api, make_client):
    client = make_client()
    client.ping()
    client.coins_list()
    client.coin("0-5x/long?")
    client.markets_page("usd", 3, ids=("bitcoin", "ethereum"), category="layer-1")
    assert api.paths == [
        "/api/v3/ping",
        "/api/v3/coins/list?include_platform=true&status=active",
        "/api/v3/coins/0-5x%2Flong%3F?community_data=false&developer_data=false&localization=false&market_data=false&sparkline=false&tickers=false",
        "/api/v3/coins/markets?category=layer-1&ids=bitcoin,ethereum&order=id_asc&page=3&per_page=250&precision=full"
        "&price_change_percentage=1h,24h,7d&sparkline=true&vs_currency=usd",
    ]


@pytest.mark.parametrize("asset_id", ["", ".", ".."])
def test_an_id_that_would_change_the_path_is_refused(api, make_client, asset_id):
    with pytest.raises(ApiTerminalError, match="not an asset id"):
        make_client().coin(asset_id)
    assert api.paths == []


def test_the_parameters_are_those_of_the_official_specification(api, make_client):
    spec_file = CAPTURES / "openapi" / "coingecko-demo-api.json"
    if not spec_file.is_file():
        pytest.skip("no captures: ../shared/captures is absent")
    paths = json.loads(spec_file.read_text())["paths"]
    client = make_client()
    client.markets_page("usd", 1, ids=("bitcoin",), category="layer-1")
    client.coins_list()
    client.coin("bitcoin")
    for asked, template in zip(api.paths, ("/coins/markets", "/coins/list", "/coins/{id}"), strict=True):
        known = {parameter["name"] for parameter in paths[template]["get"]["parameters"]}
        used = {pair.partition("=")[0] for pair in asked.partition("?")[2].split("&")}
        assert used <= known


@pytest.mark.parametrize(
    ("plan", "header"),
    [("demo", "x-cg-demo-api-key"), ("basic", "x-cg-pro-api-key"), ("analyst", "x-cg-pro-api-key"), ("keyless", None)],
)
def test_the_key_goes_into_the_header_of_the_plan_and_nowhere_else(api, make_client, plan, header):
    make_client(plan=plan, api_key="CG-sentinel").ping()
    (headers,) = api.request_headers
    assert [name for name, value in headers.items() if "CG-sentinel" in value] == ([header] if header else [])
    assert headers["user-agent"].startswith("coinbeam/")


def test_a_password_of_netrc_is_not_sent(api, make_client, tmp_path, monkeypatch):
    netrc = tmp_path / "netrc"
    netrc.write_text("machine 127.0.0.1 login someone password secret\n")
    monkeypatch.setenv("NETRC", str(netrc))
    client = make_client()
    client._session.trust_env = True
    client.ping()
    assert "authorization" not in api.request_headers[0]


def test_the_proxy_of_the_environment_is_not_asked_for_a_server_on_this_machine(make_client, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.delenv("NO_PROXY", raising=False)
    monkeypatch.delenv("no_proxy", raising=False)
    assert make_client(max_attempts=1).ping().well_formed


@pytest.fixture
def refusing_proxy():
    """A proxy that opens no tunnel; yields its address and the status to set."""

    class Proxy(BaseHTTPRequestHandler):
        status = 407

        def do_CONNECT(self):
            self.send_response(type(self).status)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Proxy) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://someone:sesame@127.0.0.1:{server.server_port}", Proxy
        server.shutdown()
        thread.join()


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [
        (407, ApiTerminalError, "the proxy asks for a login.*NO_PROXY"),
        (403, ApiTerminalError, "proxy answers HTTP 403 for api.example.com.*Let the proxy"),
        (502, UnreachableError, "no answer from api.example.com"),
    ],
)
def test_a_proxy_that_opens_no_tunnel_is_named(refusing_proxy, make_client, monkeypatch, status, kind, says):
    url, proxy = refusing_proxy
    proxy.status = status
    for name in ("HTTPS_PROXY", "https_proxy"):
        monkeypatch.setenv(name, url)
    for name in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(kind, match=f"(?s){says}") as caught:
        make_client(base_url="https://api.example.com/v3", max_attempts=1).ping()
    assert "sesame" not in str(caught.value)


TRANSIENT = {
    "408": {"status": 408, "body": b'{"error":"timeout"}'},
    "429 in json": {"status": 429, "body": THROTTLED_BODY},
    "429 in html": {"status": 429, "body": b"<html>Too many requests</html>"},
    "500": {"status": 500, "body": b'{"status":500,"error":"Internal Server Error"}'},
    "502 in html": {"status": 502, "body": b"<html><h1>502 Bad Gateway</h1></html>"},
    "503 without a body": {"status": 503, "body": b""},
    "504": {"status": 504, "body": b"gateway timeout"},
    "522 of cloudflare": {"status": 522, "body": b"<html>Error code 522</html>"},
    "cloudflare's challenge as 403": {"status": 403, "body": CHALLENGE},
    "html as 200": {"body": CHALLENGE},
    "plain Throttled as 200": {"body": b"Throttled"},
    "plain Throttled as 429": {"status": 429, "body": b"Throttled\n"},
    "error code 1015": {"status": 403, "body": b"error code: 1015"},
    "a 200 with the body of a 429": {"body": THROTTLED_BODY},
    "a 200 with the body of a 500": {"body": b'{"status":500,"error":"Internal Server Error"}'},
    "an empty body": {"body": b""},
    "half of the json": {"body": PAGE[:20]},
    "fewer bytes than announced": {"body": PAGE, "announced": len(PAGE) + 10},
    "a chunked body without its end": {"body": PAGE, "chunked": True, "unfinished": True},
    "broken gzip": {"body": b"\x1f\x8b garbage", "headers": {"Content-Encoding": "gzip"}},
    "a closed connection": {"hang_up": True},
}


@pytest.mark.parametrize("first", TRANSIENT.values(), ids=TRANSIENT.keys())
def test_a_transient_failure_is_tried_again(api, make_client, fake_time, first):
    api.play(api.Answer(**first), api.Answer(body=PAGE))
    answer = make_client().get("/coins/markets")
    assert (answer.body, answer.well_formed, answer.calls, answer.retries) == (PAGE, True, 2, 1)
    assert len(waits(fake_time)) == 1


def test_the_bytes_of_failed_attempts_are_counted_and_the_body_is_the_last_one(api, make_client):
    api.play(api.Answer(status=500, body=b"12345"), api.Answer(body=PAGE))
    answer = make_client().ping()
    assert answer.bytes_received == 5 + len(PAGE)


@pytest.mark.parametrize(
    "body", [b"Throttled", b"error code: 1015", THROTTLED_BODY], ids=["Throttled", "1015", "429 in a 200"]
)
def test_every_disguise_of_a_429_is_counted_as_throttled(api, make_client, body):
    api.play(api.Answer(body=body), api.Answer(body=body), api.Answer(body=PAGE))
    answer = make_client().ping()
    assert (answer.calls, answer.throttled) == (3, 2)


def test_retry_after_in_seconds_is_waited_for_in_full(api, make_client, fake_time):
    api.play(api.Answer(status=429, body=b"{}", headers={"Retry-After": "119"}), api.Answer(body=PAGE))
    make_client().ping()
    (wait,) = waits(fake_time)
    assert 119 <= wait <= 120


def test_retry_after_as_a_date_counts_from_the_clock_of_the_server(api, make_client, fake_time):
    api.play(
        api.Answer(status=503, body=b"", headers={"Retry-After": "Fri, 31 Dec 2100 23:59:59 GMT"}),
        api.Answer(body=PAGE),
    )
    with pytest.raises(ApiTransientError, match="max_wait_seconds"):
        make_client().ping()
    assert waits(fake_time) == []


def test_without_retry_after_the_waits_grow(api, make_client, fake_time):
    api.play(api.Answer(status=500))
    with pytest.raises(ApiTransientError):
        make_client(max_attempts=5).ping()
    for wait, ceiling in zip(waits(fake_time), (1, 2, 4, 8), strict=True):
        assert ceiling / 2 <= wait <= ceiling


def test_without_retry_after_a_throttled_client_waits_longer_than_the_minute_of_the_limit(api, make_client, fake_time):
    api.play(api.Answer(status=429))
    with pytest.raises(ThrottledError):
        make_client(max_attempts=5).ping()
    assert len(api.paths) == 5
    assert sum(waits(fake_time)) > 60


def test_attempts_are_bounded_and_the_error_says_by_what(api, make_client):
    api.play(api.Answer(status=503, body=b"down"))
    with pytest.raises(
        ApiTransientError, match=r"HTTP 503.*'down'.*gave up after 3 calls \(coingecko.max_attempts\)"
    ) as caught:
        make_client(max_attempts=3).ping()
    assert len(api.paths) == 3
    assert (caught.value.status, caught.value.calls, caught.value.throttled) == (503, 3, 0)


def test_a_wait_beyond_the_bound_is_not_begun(api, make_client, fake_time):
    api.play(api.Answer(status=429, headers={"Retry-After": "3600"}))
    with pytest.raises(
        ThrottledError, match=r"next wait of 360\d s would exceed coingecko.max_wait_seconds \(900\)"
    ) as caught:
        make_client().ping()
    assert waits(fake_time) == []
    assert (caught.value.calls, caught.value.throttled, caught.value.retry_after) == (1, 1, 3600)


def test_the_waits_are_bounded_in_sum(api, make_client, fake_time):
    api.play(api.Answer(status=429, headers={"Retry-After": "119"}))
    with pytest.raises(ThrottledError, match="max_wait_seconds"):
        make_client(max_attempts=10, max_wait_seconds=300).ping()
    assert len(api.paths) == 3
    assert 238 <= sum(waits(fake_time)) <= 300


def test_every_attempt_passes_the_limiter(api, make_client, fake_time):
    api.play(
        api.Answer(status=500, headers={"Retry-After": "0"}),
        api.Answer(status=500, headers={"Retry-After": "0"}),
        api.Answer(),
    )
    limiter = RateLimiter(6, monotonic=fake_time.monotonic, sleep=fake_time.sleep)
    make_client(limiter=limiter).ping()
    assert fake_time.seconds >= 20


PERSISTENT = {
    "half of the json": ({"body": PAGE[:20]}, "not JSON", PAGE[:20]),
    "an html page": ({"body": CHALLENGE}, "not JSON", CHALLENGE),
    "an empty body": ({"body": b""}, "empty", b""),
    "a bare number": ({"body": b"17"}, "bare int", b"17"),
    "fewer bytes than announced": ({"body": PAGE, "announced": len(PAGE) + 10}, "cut short", PAGE),
    "a chunked body without its end": ({"body": PAGE, "chunked": True, "unfinished": True}, "cut short", PAGE),
}


@pytest.mark.parametrize(("answer", "problem", "body"), PERSISTENT.values(), ids=PERSISTENT.keys())
def test_a_body_that_stays_malformed_is_returned_with_its_problem(api, make_client, answer, problem, body):
    api.play(api.Answer(**answer))
    result = make_client(max_attempts=3).get("/coins/markets")
    assert not result.well_formed
    assert problem in result.problem
    assert (result.body, result.calls) == (body, 3)


@pytest.mark.parametrize(
    ("body", "kind"),
    [
        (b"Throttled", ThrottledError),
        (THROTTLED_BODY, ThrottledError),
        (b'{"error":"something odd"}', ApiTransientError),
    ],
    ids=["Throttled", "429 in a 200", "an unknown error in a 200"],
)
def test_an_error_in_the_disguise_of_a_200_raises_when_it_stays(api, make_client, body, kind):
    api.play(api.Answer(body=body))
    with pytest.raises(kind):
        make_client(max_attempts=2).ping()
    assert len(api.paths) == 2


@pytest.mark.parametrize(
    ("status", "body", "code", "remedy"),
    [
        (400, b'{"error":"bad"}', None, "market.quote_currency"),
        (401, b'{"error":"who"}', None, "COINGECKO_API_KEY"),
        (403, b'{"error":"no"}', None, "coingecko.plan is not analyst"),
        (404, b'{"error":"coin not found"}', None, "market.ids"),
        (422, b'{"error":"Missing parameter vs_currency"}', None, "market.quote_currency"),
        (403, b"error code: 1020", 1020, "another address"),
        (401, b'{"status":{"error_code":10002,"error_message":"API Key Missing"}}', 10002, "Set COINGECKO_API_KEY"),
        (401, b'{"status":{"error_code":10005,"error_message":"Pro only"}}', 10005, "coingecko.plan"),
        (429, b'{"status":{"error_code":10006,"error_message":"calls limit"}}', 10006, "first of the month"),
        (400, b'{"error_code":10010,"status":{"error_message":"pro key"}}', 10010, "coingecko.plan to the paid plan"),
        (
            400,
            b'{"status":{"error_code":10011,"error_message":"demo key"}}',
            10011,
            "Set coingecko.plan to demo (it is analyst)",
        ),
        (401, b'{"error":{"status":{"error_code":10012,"error_message":"365 days"}}}', 10012, "later date"),
        (401, b'{"status":{"error_code":10099,"error_message":"new"}}', 10099, "developer dashboard"),
    ],
    ids=lambda value: str(value) if isinstance(value, int) else "",
)
def test_a_terminal_refusal_is_not_tried_again_and_says_what_to_do(api, make_client, status, body, code, remedy):
    api.play(api.Answer(status=status, body=body))
    with pytest.raises(ApiTerminalError) as caught:
        make_client(plan="analyst").ping()
    assert len(api.paths) == 1
    assert (caught.value.status, caught.value.code, caught.value.calls) == (status, code, 1)
    assert remedy in str(caught.value)


def test_captured_error_bodies_become_errors_of_their_class(api, make_client):
    folder = CAPTURES / "errors"
    if not folder.is_dir():
        pytest.skip("no captures: ../shared/captures is absent")
    records = sorted(folder.glob("*.http.json"))
    assert records
    for record in records:
        meta = json.loads(record.read_text())
        hop_by_hop = {"transfer-encoding", "connection", "content-length"}
        headers = {name: value for name, value in meta["headers"].items() if name not in hop_by_hop}
        body = record.with_name(record.name.replace(".http.json", ".json")).read_bytes()
        api.play(api.Answer(status=meta["status"], body=body, headers=headers))
        kind = ApiTerminalError if meta["status"] == 422 else ApiTransientError
        with pytest.raises(kind, match="Missing parameter" if meta["status"] == 422 else "Internal Server Error"):
            make_client(max_attempts=2).ping()


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_redirect_is_not_followed(api, make_client, status):
    api.play(api.Answer(status=status, headers={"Location": f"{api.base_url}/elsewhere"}))
    with pytest.raises(ApiTerminalError, match="redirect"):
        make_client(plan="demo", api_key="CG-sentinel").ping()
    assert api.paths == ["/api/v3/ping"]


def test_a_refused_connection_says_what_to_start(make_client):
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{unused.getsockname()[1]}/api/v3"
        with pytest.raises(
            UnreachableError, match=r"Connection refused.*gave up after 2 calls.*coinbeam local up"
        ) as caught:
            make_client(base_url=url, max_attempts=2).ping()
    assert (caught.value.status, caught.value.calls) == (None, 2)


def test_a_url_that_is_none_is_terminal(make_client):
    with pytest.raises(ApiTerminalError, match="base_url"):
        make_client(base_url="nowhere/api").ping()


def test_a_silent_server_is_left_after_the_read_timeout(api, make_client):
    release = threading.Event()
    api.play(api.Answer(body=PAGE, stall=release))
    try:
        with pytest.raises(UnreachableError, match="timed out"):
            make_client(max_attempts=1, read_timeout_seconds=0.2).ping()
    finally:
        release.set()


def test_a_body_that_trickles_is_left_at_the_deadline(api, make_client, fake_time):
    def pass_ten_seconds():
        fake_time.seconds += 10

    api.play(api.Answer(body=b"[" + b" " * 8_000_000 + b"]", chunked=True, trickle=pass_ten_seconds))
    with pytest.raises(UnreachableError, match=r"not complete after 30 s .*coingecko.read_timeout_seconds"):
        make_client(max_attempts=1).ping()


def test_retries_are_told_in_the_log(api, make_client, caplog):
    api.play(api.Answer(status=503, body=b"down"), api.Answer())
    make_client().ping()
    (line,) = [record.getMessage() for record in caplog.records if record.name == "coinbeam.sources.http.client"]
    assert "HTTP 503" in line
    assert "call 2 of 5" in line
