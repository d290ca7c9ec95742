"""The API in the hands of a hostile stranger: never a fault of the server, never the text of an exception, and errors in
the shape of their path.
"""

import base64
import json
import logging
import socket
import time
from contextlib import closing
from http.client import HTTPConnection, HTTPResponse
from typing import NamedTuple
from urllib.parse import urlsplit

import orjson
import pytest


class Got(NamedTuple):
    """What came back."""

    status: int
    headers: dict[str, str]
    body: bytes


def ask(url: str, target: str | bytes, method: str = "GET", *headers: str | bytes) -> Got:
    """Send a call byte for byte: a client would mend what is odd about it."""
    address = urlsplit(url)
    lines = [
        _bytes(method) + b" " + _bytes(target) + b" HTTP/1.1",
        *map(_bytes, headers),
        b"Connection: close",
        b"",
        b"",
    ]
    if not any(line.lower().startswith(b"host:") for line in lines):
        lines.insert(1, b"Host: " + address.netloc.encode())
    with socket.create_connection((address.hostname or "", address.port or 0), timeout=20) as connection:
        connection.sendall(b"\r\n".join(lines))
        answer = HTTPResponse(connection, method=method)
        answer.begin()
        return Got(answer.status, {name.lower(): value for name, value in answer.getheaders()}, answer.read())


def _bytes(text: str | bytes) -> bytes:
    return text if isinstance(text, bytes) else text.encode("latin-1")


def assert_shaped(path: str, got: Got) -> None:
    """An error has the shape of its path, and tells nothing of the program."""
    body = json.loads(got.body)
    if path.startswith("/api/v3"):
        assert got.headers["content-type"] == "application/json; charset=utf-8"
        assert set(body) in ({"error"}, {"status"})
    else:
        assert got.headers["content-type"] == "application/problem+json"
        assert set(body) == {"type", "title", "status", "detail"}
        assert body["status"] == got.status
    assert not [word for word in (b"Traceback", b"Error:", b"Exception", b".py", b"pyarrow") if word in got.body]
    assert got.headers["cache-control"] == "no-store"
    assert "etag" not in got.headers


V3, V1 = "/api/v3", "/v1"
MARKETS, RANGE = "/coins/markets?vs_currency=usd&", "/coins/bitcoin/market_chart/range?vs_currency=usd&"
CHART, PRICE = "/coins/bitcoin/market_chart?vs_currency=usd&", "/simple/price?vs_currencies=usd&"


def cursor(*values: object) -> str:
    """A position that somebody wrote by hand."""
    return base64.urlsafe_b64encode(orjson.dumps(values)).decode().rstrip("=")


REFUSED = [
    (404, V3, "/coins/nope"), (404, V3, "/coins/%00"), (404, V3, "/coins/%ff%fe"), (404, V3, "/coins/%ed%a0%80"),
    (404, V3, "/coins/%zz"), (404, V3, "/coins/" + "a" * 30_000), (404, V3, "/coins//market_chart?vs_currency=usd&days=1"),
    (404, V3, "/coins/../ping"), (404, V3, "/coins/%2e%2e/ping"), (404, V3, "/PING"), (404, V3, "/nope"), (404, V3, ""),
    (404, V3, "/%3Fx=1"), (404, V3, "/ping//"), (404, V3, "/coins/bitcoin/ohlc?vs_currency=usd&days=1"),
    (422, V3, "/coins/markets"), (422, V3, "/coins/markets?vs_currency="), (400, V3, "/coins/markets?vs_currency=xyz"),
    (400, V3, "/coins/markets?vs_currency=%00"), (400, V3, "/coins/markets?vs_currency=%ed%a0%80"),
    (422, V3, MARKETS + "per_page=0"), (422, V3, MARKETS + "per_page=-1"), (422, V3, MARKETS + "per_page=1e3"),
    (422, V3, MARKETS + "per_page=%D9%A3"), (422, V3, MARKETS + "per_page=1.0"), (422, V3, MARKETS + "page=0"),
    (422, V3, MARKETS + "page=99999999999999999999"), (422, V3, MARKETS + "sparkline=maybe"),
    (422, V3, MARKETS + "price_change_percentage=3h"), (422, V3, MARKETS + "precision=19"),
    (422, V3, MARKETS + "precision=%D9%A3"), (404, V3, MARKETS + "category=nope"),
    (422, V3, CHART + "days=-1"), (422, V3, CHART + "days=0"), (422, V3, CHART + "days=0.0"), (422, V3, CHART + "days=nan"),
    (422, V3, CHART + "days=inf"), (422, V3, CHART + "days=1e9"), (422, V3, CHART + "days=%D9%A3"), (422, V3, CHART + "days="),
    (404, V3, CHART + "days=1&interval=5m"), (422, V3, CHART + "days=1&interval=1s"),
    (422, V3, RANGE + "from=1&to=0"), (422, V3, RANGE + "from=9999999999999999&to=9999999999999999"),
    (422, V3, RANGE + "from=x&to=y"), (422, V3, RANGE + "from=0001-01-01T00:00:00%2B23:59&to=2026-01-01"),
    (422, V3, "/coins/bitcoin/history?date=01-01-2099"), (422, V3, "/coins/bitcoin/history?date=9999-12-31"),
    (422, V3, "/coins/bitcoin/history?date=31-02-2026"), (404, V3, "/coins/bitcoin/history?date=0001-01-01"),
    (422, V3, "/simple/price?ids=bitcoin"), (422, V3, "/simple/price?vs_currencies=,,&ids=bitcoin"),
    (422, V3, "/simple/price?vs_currencies=%20&ids=bitcoin"), (422, V3, PRICE), (422, V3, PRICE + "ids=,,,"),
    (422, V3, PRICE + "ids=" + ",".join(map(str, range(10_000)))), (422, V3, PRICE + "ids=bitcoin&as_of=%00"),
    (404, V3, PRICE + "ids=bitcoin&as_of=2000-01-01"), (404, V3, PRICE + "ids=bitcoin&as_of=0001-01-01"),
    (422, V3, PRICE + "ids=bitcoin&as_of=2099-01-01"), (422, V3, PRICE + "ids=bitcoin&as_of=%20"),
    (422, V3, PRICE + "ids=bitcoin&as_of=-99999999999999"), (404, V3, "/global?as_of=2000-01-01"),
    (404, V3, "/coins/bitcoin?as_of=2000-01-01"), (422, V3, "/coins/bitcoin?market_data=x"), (422, V3, "/search"),
    (422, V3, "/search?query=+"), (422, V3, "/coins/list?status=x"), (401, V3, "/key"),
    (404, V1, ""), (404, V1, "/nope"), (404, V1, "/prices/"), (404, V1, "/prices;x=1"), (404, "", "/"), (404, "/", V3 + "/ping"),
    (404, "", "/%"), (404, "", "*"),
    (422, V1, "/prices?limit=0"), (422, V1, "/prices?limit=10001"), (422, V1, "/prices?limit=x"), (422, V1, "/prices?limit="),
    (422, V1, "/prices?nope=1"), (422, V1, "/prices?%ff=1"), (422, V1, "/prices?symbol="), (422, V1, "/prices?symbol=%20"),
    (404, V1, "/prices?quote_currency=xyz"), (404, V1, "/prices?as_of=2000-01-01"), (422, V1, "/prices?as_of=2099-01-01"),
    (422, V1, "/market_daily"), (404, V1, "/market_daily?asset_id=nope"), (422, V1, "/market_daily?asset_id=bitcoin&from=x"),
    (404, V1, "/signals?as_of=2000-01-01"), (422, V1, "/signals?signal=buy"), (422, V1, "/asset_stats?as_of=2026-11-01"),
    (422, V1, "/fear_greed?from=2026-13-01"), (404, V1, "/gaps?quote_currency=eur"),
    (422, V1, "/prices?after=AAAA"), (422, V1, "/prices?after=%00"), (422, V1, "/prices?after=%C3%BF"),
    (422, V1, "/prices?after=WyJcdWQ4MDAiXQ"), (422, V1, "/prices?after=" + base64.b64encode(b"[" * 20_000).decode()),
    *((422, V1, f"/prices?after={cursor(*values)}") for values in ((None,), (1,), ("a", "b"), ({},), ([],), ())),
    *((422, V1, f"/fear_greed?after={cursor(value)}") for value in (None, "x", 1e99, 10**18)),
    *((422, V1, f"/gaps?after={cursor('a', value)}") for value in (None, "2026", 10**12, -(10**12))),
]  # fmt: skip


@pytest.mark.parametrize(("status", "root", "rest"), REFUSED, ids=lambda value: str(value)[:60])
def test_a_bad_call_is_refused_in_the_shape_of_its_path(api_url: str, status: int, root: str, rest: str) -> None:
    got = ask(api_url, root + rest)
    assert got.status == status, got.body
    assert_shaped(root, got)


TOLERATED = [
    "/coins/markets?vs_currency=USD&order=market_cap_rank", MARKETS + "page=1000000", MARKETS + "per_page=999999999",
    MARKETS + "ids=,nope,%00&names=%C4%B0", PRICE + "ids=bitcoin&ids=nope", PRICE + "ids=%00,%ff,%ed%a0%80",
    PRICE + "ids=" + ",".join(["bitcoin"] * 5_000), RANGE + "from=2099-01-01&to=2099-12-31",
    RANGE + "from=-62135596800&to=253370764799.99", CHART + "days=0.000001", CHART + "days=999999.999999",
    CHART + "days=9&as_of=0001-01-01", "/ping?" + "a" * 60_000, "/ping?" + "&" * 60_000, "/ping?=&==&%&%zz&a%00b=%00",
    "/ping/", "/ping?as_of=2000-01-01", "/coins/list?as_of=0001-01-01", "/search?query=%00", "/search?query=%ff%fe",
    "/coins/bitcoin/", "/coins/bitcoin%2Fmarket_chart?vs_currency=usd&days=1",
]  # fmt: skip


@pytest.mark.parametrize("rest", TOLERATED, ids=lambda rest: rest[:60])
def test_an_odd_call_that_means_something_is_answered(api_url: str, rest: str) -> None:
    got = ask(api_url, V3 + rest)
    assert got.status == 200, got.body
    json.loads(got.body)


@pytest.mark.parametrize("rest", ["/ping?x=\xff", "/ping?" + "a" * 70_000, "/ping\x00", "/p ing"], ids=lambda r: r[:8])
def test_what_is_no_http_does_not_reach_the_application(api_url: str, rest: str) -> None:
    assert ask(api_url, V3 + rest).status == 400
    assert ask(api_url, V3 + "/ping").status == 200


def test_what_a_path_says_comes_back_without_the_host_that_the_caller_claims(api_url: str) -> None:
    got = ask(api_url, V3 + "/nope", "GET", "Host: evil.example/x?y#z")
    assert json.loads(got.body) == {"error": "/api/v3/nope is not a route of this service; /docs lists them."}
    assert ask(api_url, V3 + "/nope", "GET", "Host: [").status == 404


@pytest.mark.parametrize("path", ["/api/v3/ping", "/v1/prices", "/health", "/docs", "/openapi.json"])
@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE"])
def test_another_method_is_refused_and_says_which_there_are(api_url: str, path: str, method: str) -> None:
    got = ask(api_url, path, method, "Content-Length: 0")
    assert (got.status, got.headers["allow"]) == (405, "GET, HEAD")
    assert_shaped(path, got)


@pytest.mark.parametrize(
    "path",
    ["/api/v3/ping", "/api/v3/coins/list", "/v1/prices", "/health", "/api/v3/nope", "/v1/prices?limit=0", "/ready"],
)
def test_head_has_the_headers_of_get_and_no_body(api_url: str, path: str) -> None:
    head, get = ask(api_url, path, "HEAD"), ask(api_url, path)
    dated = {"date": get.headers["date"]}
    assert (head.status, head.body, head.headers | dated) == (get.status, b"", get.headers)


def test_a_connection_stays_open_after_head(api_url: str, caplog: pytest.LogCaptureFixture) -> None:
    address = urlsplit(api_url)
    connection = HTTPConnection(address.hostname or "", address.port, timeout=20)
    with closing(connection):
        for path in ("/api/v3/coins/list", "/api/v3/nope", "/health"):
            for method in ("HEAD", "GET"):
                connection.request(method, path)
                answer = connection.getresponse()
                assert (method == "HEAD") is (answer.read() == b"")
                held = connection.sock
                assert held is not None, "the server closed the connection"
    assert [record for record in caplog.records if record.levelno >= logging.ERROR] == []


@pytest.mark.parametrize(
    ("accept", "expected"),
    [
        ("", "application/json; charset=utf-8"),
        ("text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8", "application/json; charset=utf-8"),
        ("text/csv;q=0.1, application/json;q=0.9", "application/json; charset=utf-8"),
        ("application/json;q=0.1, text/csv;q=0.9", "text/csv; charset=utf-8"),
        ("text/csv;q=0, application/json", "application/json; charset=utf-8"),
        ("TEXT/CSV ; header=present", "text/csv; charset=utf-8"),
        ("a/b," * 5_000 + "text/*", "text/csv; charset=utf-8"),
        (",,;;q=,*/*;q=nan", "application/json; charset=utf-8"),
        ("*/*;q=0", None),
        ("text/html", None),
        ("\xff/\xff", None),
        (";", None),
    ],
    ids=lambda value: repr(value)[:40],
)
def test_the_form_of_an_answer_is_the_one_that_is_liked_best(api_url: str, accept: str, expected: str | None) -> None:
    got = ask(api_url, "/v1/prices?limit=1", "GET", f"Accept: {accept}")
    assert got.status == (200 if expected else 406)
    if expected:
        assert got.headers["content-type"] == expected
    else:
        assert_shaped(V1, got)


@pytest.mark.parametrize(
    ("form", "expected"),
    [
        ("csv", "text/csv; charset=utf-8"),
        ("json", "application/json; charset=utf-8"),
        ("arrow", "application/vnd.apache.arrow.stream"),
        ("CSV", None),
        ("xml", None),
        ("", None),
    ],
)
def test_a_spreadsheet_says_in_the_address_which_form_it_takes(api_url: str, form: str, expected: str | None) -> None:
    got = ask(api_url, f"/v1/prices?limit=1&format={form}", "GET", "Accept: text/html")
    assert got.status == (200 if expected else 422)
    assert got.headers["content-type"] == (expected or "application/problem+json")


@pytest.mark.parametrize("tags", ["*", ',,,"', "\xff", 'W/"x"', '"' + "a" * 30_000 + '"'], ids=lambda tags: tags[:6])
def test_a_tag_that_nobody_gave_out_brings_the_whole_answer(api_url: str, tags: str) -> None:
    assert ask(api_url, V3 + "/ping", "GET", f"If-None-Match: {tags}").status == 200


def test_the_tag_of_an_answer_brings_304_with_what_a_cache_needs(api_url: str) -> None:
    got = ask(api_url, V3 + "/global")
    same = ask(api_url, V3 + "/global", "GET", f'If-None-Match: "x", W/{got.headers["etag"]}')
    assert (same.status, same.body) == (304, b"")
    kept = ("etag", "cache-control", "vary", "x-coinbeam-version")
    assert {name: same.headers[name] for name in kept} == {name: got.headers[name] for name in kept}


@pytest.mark.parametrize(
    "header",
    [
        "x-cg-demo-api-key: ",
        "x-cg-demo-api-key: cbk_\xff",
        f"x-cg-pro-api-key: cbk_{'a' * 27}",
        "x-cg-demo-api-key: ' OR 1=1",
    ],
)
@pytest.mark.parametrize("path", ["/api/v3/ping", "/v1/prices", "/api/v3/nope", "/nope"])
def test_a_key_that_is_none_is_refused_before_anything_is_told(keyed_api_url: str, path: str, header: str) -> None:
    got = ask(keyed_api_url, path, "GET", header)
    assert got.status == 401
    assert_shaped(path, got)
    assert not [name for name in got.headers if name.startswith("x-coinbeam")]


def test_the_key_may_come_in_each_of_four_places(keyed_api_url: str, api_key: str) -> None:
    for header in ("x-cg-demo-api-key", "X-CG-Pro-API-Key"):
        assert ask(keyed_api_url, V3 + "/ping", "GET", f"{header}: {api_key}").status == 200
    for name in ("x_cg_demo_api_key", "x_cg_pro_api_key"):
        assert ask(keyed_api_url, f"{V1}/prices?limit=1&{name}={api_key}").status == 200


def access_lines(caplog: pytest.LogCaptureFixture) -> list[logging.LogRecord]:
    """The lines of the access log."""
    return [record for record in caplog.records if record.name == "coinbeam.api.access"]


def test_no_line_of_the_log_holds_a_query_or_was_written_by_the_caller(
    keyed_api_url: str, api_key: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.INFO):
        ask(keyed_api_url, f"{V3}/ping?x_cg_demo_api_key={api_key}")
        ask(keyed_api_url, f"{V3}/simple/price?x_cg_demo_api_key={api_key}&vs_currencies=%2C&as_of=0001-01-01")
        ask(
            keyed_api_url,
            f"{V3}/coins/a%3Fx_cg_demo_api_key={api_key}%0aINFO%20forged",
            "GET",
            f"x-cg-demo-api-key: {api_key}",
        )
        ask(keyed_api_url, f"{V3}/ping?x_cg_demo_api_key={api_key[:-1]}")
        deadline = time.monotonic() + 10
        # After the answer was sent; the line of a call of the test before may come after its end.
        while not any(r.getMessage().startswith("GET /api/v3/ping 401") for r in access_lines(caplog)):
            assert time.monotonic() < deadline
            time.sleep(0.01)
    # What else sets up logging in this process may switch the server's own log on; a service of its own has none.
    ours = [record for record in caplog.records if not record.name.startswith(("uvicorn.access", "gcp_storage"))]
    lines = [record.getMessage() for record in access_lines(caplog)]
    assert [line.split(" ")[:3] for line in lines][-4:] == [
        ["GET", "/api/v3/ping", "200"],
        ["GET", "/api/v3/simple/price", "422"],
        ["GET", "/api/v3/coins/a", "404"],
        ["GET", "/api/v3/ping", "401"],
    ]
    assert not [line for record in ours if api_key[4:-1] in (line := record.getMessage()) or "\n" in line]
