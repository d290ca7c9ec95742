"""A sentinel key goes through every kind of answer and must appear in nothing that outlives the request."""

import json
import logging
import pickle
import random
import traceback

import pytest

from coinbeam.settings import CoinGeckoSettings
from coinbeam.sources.coingecko import CoinGeckoClient
from coinbeam.sources.http.errors import ApiError, ApiTerminalError
from coinbeam.sources.rate import RateLimiter

KEY = "CG-sentinelSENTINEL1234567890"
OTHER_SHAPE = "sentinel-of-no-known-shape-0987"


@pytest.fixture(autouse=True)
def listen_to_everything(caplog):
    """Every logger at its most talkative, urllib3's too; and the guard of the logs taken off afterwards."""
    factory = logging.getLogRecordFactory()
    caplog.set_level(logging.DEBUG)
    yield
    logging.setLogRecordFactory(factory)


def answers(key):
    """Answers of every kind, each of which repeats the key wherever a server could."""
    echo = key.encode()
    spelled = "".join(f"\\u{ord(c):04x}" for c in key).encode()
    headers = {"X-Echo": key, "Location": f"http://127.0.0.1:9/{key}"}
    return {
        "400 in json": {"status": 400, "body": b'{"error":"bad key %s"}' % echo, "headers": headers},
        "401 with a code": {"status": 401, "body": b'{"status":{"error_code":10002,"error_message":"key %s"}}' % echo},
        "key in json escapes": {
            "status": 400,
            "body": b'{"status":{"error_code":10011,"error_message":"key %s"}}' % spelled,
        },
        "403 in plain text": {"status": 403, "body": b"error code: 1020 " + echo},
        "404 in html": {"status": 404, "body": b"<html>" + echo + b"</html>", "headers": headers},
        "429": {"status": 429, "body": echo, "headers": headers},
        "500 whose excerpt ends inside the key": {"status": 500, "body": b"x" * 140 + b" " + echo},
        "a redirect": {"status": 302, "headers": headers},
        "a 200 with an error": {"body": b'{"error":"rate limit of %s"}' % echo},
        "a 200 with data": {"body": b'[{"id":"%s"}]' % echo},
        "a malformed 200": {"body": b"[" + echo},
        "a body cut short": {"body": echo, "announced": 10_000},
        "a closed connection": {"hang_up": True},
    }


def provoke(api, fake_time, key, answer):
    """The error that a call ends with, and its traceback with all locals of our frames."""
    api.play(api.Answer(**answer))
    client = CoinGeckoClient(
        CoinGeckoSettings(plan="demo", max_attempts=2),
        api.base_url,
        RateLimiter(1e9, monotonic=fake_time.monotonic, sleep=fake_time.sleep),
        api_key=key,
        clock=fake_time.now,
        sleep=fake_time.sleep,
        rng=random.Random(1),
    )
    with pytest.raises(ApiError) as caught:
        client.get("/coins/markets", {"vs_currency": "usd"})
    # The first frame is this test's, which holds the key on purpose.
    frames = traceback.TracebackException.from_exception(caught.value, capture_locals=True).stack[1:]
    assert frames
    return client, caught.value, "\n".join(f"{frame.name} {frame.locals}" for frame in frames)


@pytest.mark.parametrize("key", [KEY, OTHER_SHAPE], ids=["a key of the known shape", "a key of another shape"])
@pytest.mark.parametrize("kind", answers(KEY))
def test_no_error_path_shows_the_key(api, fake_time, caplog, key, kind):
    client, error, stack = provoke(api, fake_time, key, answers(key)[kind])
    assert api.request_headers[0]["x-cg-demo-api-key"] == key
    shown = [
        str(error),
        repr(error),
        repr(vars(error)),
        repr(pickle.loads(pickle.dumps(error))),
        "".join(traceback.format_exception(error)),
        stack,
        repr(client),
        repr(vars(client)),
        caplog.text,
        *(repr(vars(record)) for record in caplog.records),
        *api.paths,
    ]
    for text in shown:
        assert key not in text
        assert key[:10] not in text
    assert error.__cause__ is None
    assert error.__context__ is None


def test_the_logs_were_listened_to(api, fake_time, caplog):
    provoke(api, fake_time, KEY, {"status": 500})
    assert any(record.name.startswith("urllib3") for record in caplog.records)


def test_an_answer_that_repeats_the_key_is_never_handed_out_for_landing(api, fake_time):
    _, error, _ = provoke(api, fake_time, KEY, {"body": json.dumps([{"id": KEY}]).encode()})
    assert isinstance(error, ApiTerminalError)
    assert "is not landed" in str(error)


@pytest.mark.parametrize(
    "params", [{"x_cg_demo_api_key": KEY}, {"ids": ("bitcoin", KEY)}], ids=["as its parameter", "in a list"]
)
def test_a_key_in_a_url_is_refused_before_the_call(api, params):
    client = CoinGeckoClient(CoinGeckoSettings(plan="demo"), api.base_url, RateLimiter(60), api_key=KEY)
    with pytest.raises(ApiTerminalError, match="does not belong in a URL") as caught:
        client.get("/ping", params)
    assert KEY not in str(caught.value)
    assert api.paths == []


def test_the_settings_do_not_show_the_key_either():
    settings = CoinGeckoSettings(plan="demo", api_key=KEY)
    assert KEY not in repr(settings)
    assert KEY not in str(settings.model_dump())
    assert KEY not in settings.model_dump_json()
