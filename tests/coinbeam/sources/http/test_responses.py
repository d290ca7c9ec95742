"""The shape of an answer, decided without a network."""

import json
from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coinbeam.settings import CoinGeckoSettings
from coinbeam.sources.coingecko import coingecko_api
from coinbeam.sources.http.errors import ApiTerminalError, ApiTransientError, ThrottledError
from coinbeam.sources.http.responses import excerpt, inspect, retry_after_seconds

API = coingecko_api(CoinGeckoSettings())
NOW = datetime(2026, 1, 2, tzinfo=UTC)
BLOCK_PAGE = b"""<!DOCTYPE html><html><head><title>Attention Required! | Cloudflare</title></head><body>
<h1>Sorry, you have been blocked</h1></body></html>"""
RATE_PAGE = b"<html><head><title>Access denied</title></head><body><h1>Error <span>1015</span></h1>You are being rate limited</body></html>"


def verdict(body, status=200, headers=None, cut_short=None):
    return inspect(API, status, headers or {}, body, NOW, cut_short)


@pytest.mark.parametrize(
    "body",
    [
        b"[]",
        b'{"data": []}',
        b'{"gecko_says":"(V3) To the Moon!"}',
        b'{"id":"x","status":"active","market_data":{"current_price":{}}}',
        b'{"status":{"error_code":0,"error_message":null},"data":[]}',
        b'{"error":null,"data":[]}',
        b'[{"current_price": NaN}, {"current_price": Infinity}]',
        b'[{"supply": 340282366920938463463374607431768211456}]',
        b'[{"id":"throttled","name":"Rate limit"}]',
    ],
    ids=[
        "an empty page",
        "a wrapped page",
        "ping",
        "a coin whose prices are empty",
        "a status without an error",
        "a null error",
        "numbers that are none, which cost a row and not the page",
        "an integer above 64 bits",
        "a coin whose name sounds like an error",
    ],
)
def test_data_is_well_formed(body):
    assert verdict(body).well_formed
    assert not verdict(body).retryable


@given(st.lists(st.dictionaries(st.text(), st.one_of(st.none(), st.integers(), st.floats(allow_nan=False), st.text()))))
def test_any_array_of_objects_is_data(page):
    assert verdict(json.dumps(page).encode()).well_formed


@given(body=st.binary(max_size=200), status=st.sampled_from([200, 204, 301, 400, 403, 404, 429, 500, 530]))
def test_no_body_breaks_the_check(body, status):
    result = verdict(body, status)
    assert result.well_formed is (result.problem is None)
    if status >= 300:
        assert result.kind is not None


@given(st.integers(1, 200))
def test_every_prefix_of_a_page_is_malformed(length):
    page = json.dumps([{"id": f"coin-{n}", "current_price": n * 0.1} for n in range(10)]).encode()
    result = verdict(page[:length])
    assert result.kind is None
    assert result.retryable
    assert result.problem


def test_deep_nesting_is_malformed_and_no_crash():
    result = verdict(b"[" * 200_000)
    assert (result.kind, result.well_formed) == (None, False)


@pytest.mark.parametrize("body", [b"null", b"17", b'"text"', b"true"])
def test_a_bare_value_is_malformed(body):
    assert "bare" in verdict(body).problem


def test_a_body_cut_short_is_malformed_even_if_what_came_can_be_parsed():
    assert verdict(b"[]", cut_short="cut short after 2 bytes").problem == "HTTP 200, cut short after 2 bytes"


@pytest.mark.parametrize(
    ("body", "status", "kind", "code"),
    [
        (BLOCK_PAGE, 403, ApiTerminalError, None),
        (BLOCK_PAGE, 200, ApiTerminalError, None),
        (RATE_PAGE, 429, ThrottledError, 1015),
        (RATE_PAGE, 200, ThrottledError, 1015),
        (b"error code: 1020", 403, ApiTerminalError, 1020),
        (b"error code: 1015", 429, ThrottledError, 1015),
        (b"<html><h1>Error 1016</h1>Origin DNS error</html>", 530, ApiTransientError, 1016),
        (b'"Throttled"', 200, ThrottledError, 429),
        (b'{"error":"Too many requests"}', 200, ThrottledError, None),
        (b'{"error":"surprise"}', 200, ApiTransientError, None),
        (b'{"status":429,"error":"slow down"}', 200, ThrottledError, 429),
        (b'{"status":{"error_code":10005,"error_message":"Pro only"}}', 200, ApiTerminalError, 10005),
        (b'{"status":{"error_code":10006,"error_message":"calls limit"}}', 429, ApiTerminalError, 10006),
        (b'{"error":"coin not found"}', 404, ApiTerminalError, None),
        (b"<html>404</html>", 404, ApiTerminalError, None),
        (b"[]", 500, ApiTransientError, None),
        (b"", 401, ApiTerminalError, None),
    ],
)
def test_refusals_are_classed_by_what_they_say(body, status, kind, code):
    result = verdict(body, status)
    assert (result.kind, result.code, result.status) == (kind, code, status)
    assert result.remedy
    assert result.throttled is (kind is ThrottledError)
    assert result.retryable is (kind is not ApiTerminalError)


def test_header_names_count_in_any_case():
    assert verdict(b"", 429, {"rEtRy-AfTeR": "7"}).retry_after == 7


def test_a_wrong_clock_here_does_not_change_a_wait_given_as_a_date():
    headers = {"Date": "Mon, 05 Oct 2015 12:00:00 GMT", "Retry-After": "Mon, 05 Oct 2015 12:01:59 GMT"}
    assert verdict(b"", 429, headers).retry_after == 119


@given(st.integers(0, 10**6))
def test_retry_after_in_seconds_is_taken_whole(seconds):
    assert retry_after_seconds(f" {seconds} ", NOW) == seconds


@given(st.integers(-(10**6), 10**8), st.integers(-12, 14))
def test_retry_after_as_a_date_is_the_distance_from_now(seconds, offset):
    moment = (NOW + timedelta(seconds=seconds)).astimezone(timezone(timedelta(hours=offset)))
    assert retry_after_seconds(format_datetime(moment), NOW) == max(0, seconds)


def test_retry_after_as_a_date_in_gmt_is_read():
    assert retry_after_seconds("Fri, 02 Jan 2026 00:01:59 GMT", NOW) == 119


@example("0\x1f")
@given(st.text())
def test_no_retry_after_breaks_the_parser(text):
    seconds = retry_after_seconds(text, NOW)
    assert seconds is None or seconds >= 0


@pytest.mark.parametrize("text", ["", "soon", "-5", "nan", "inf", "1e3", "0x10", "32 Foo 2026"])
def test_a_retry_after_that_cannot_be_read_counts_as_none(text):
    assert retry_after_seconds(text, NOW) is None


def test_no_header_is_no_wait():
    assert retry_after_seconds(None, NOW) is None


def test_an_excerpt_is_short_on_one_line_and_without_anything_like_a_key():
    text = excerpt("invalid key\r\n CG-abcDEF123 " + "x" * 10_000, API)
    assert text.startswith("invalid key CG-*** xxx")
    assert len(text) < 200


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (407, "NO_PROXY"),
        (413, "per_page"),
        (414, "per_page"),
        (431, "headers"),
        (451, "network"),
        (511, "Sign in"),
        (302, "captive portal"),
    ],
)
def test_a_refusal_of_the_request_itself_names_its_own_remedy(status: int, says: str) -> None:
    judged = verdict(b"<html>no</html>", status)
    assert judged.kind is ApiTerminalError
    assert says in judged.remedy


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"<html>Your IP address has been banned</html>", 403),
        (b"<html>You have been banned</html>", 200),
        (b"Your IP is blocked", 403),
    ],
)
def test_a_ban_page_without_a_number_is_a_ban(body: bytes, status: int) -> None:
    judged = verdict(body, status)
    assert judged.kind is ApiTerminalError
    assert "blocks this network" in judged.remedy
