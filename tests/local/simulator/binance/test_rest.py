"""REST of the venue: rows of the tape, Binance's parameters, errors, weights and bans."""

import json
from dataclasses import asdict

import pytest

from local.simulator.binance.tape import MINUTE_MS
from local.simulator.binance.truth import truth
from tests.local.simulator.binance.conftest import NOON_MS, Stopwatch

TRADES = "/binance/api/v3/aggTrades"
FAULTS = "/_control/binance/faults"


@pytest.fixture
def venue(start):
    """A client of a venue at noon that counts by no clock."""
    return start(coins=60)


@pytest.fixture
def now(tape):
    """Id of the first trade of BTCUSDT after noon, which nobody knows yet."""
    return tape.next_id("BTCUSDT", NOON_MS + 1)


def trades(client, **query):
    return client.get(TRADES, params={"symbol": "BTCUSDT", **query})


def ids(client, **query):
    return [row["a"] for row in trades(client, **query).json()]


def test_rows_are_those_of_the_tape_byte_for_byte(venue, tape, now):
    answer = trades(venue, fromId=now - 50, limit=20)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.text == f"[{','.join(tape.trades('BTCUSDT', now - 50, now - 31).rows())}]"


@pytest.mark.parametrize(
    ("query", "first", "count"),
    [
        pytest.param({}, -500, 500, id="the newest without a range"),
        pytest.param({"limit": 3}, -3, 3, id="as many as asked for"),
        pytest.param({"limit": 5_000}, -1_000, 1_000, id="a thousand at most"),
        pytest.param({"fromId": -700}, -700, 500, id="from an id on"),
        pytest.param({"fromId": -700, "limit": 1_000}, -700, 700, id="nothing of the future"),
    ],
)
def test_a_call_has_the_rows_asked_for(venue, now, query, first, count):
    query = query | {"fromId": now + query["fromId"]} if "fromId" in query else query
    assert ids(venue, **query) == list(range(now + first, now + first + count))


def test_an_id_of_the_future_has_no_rows_yet(venue, now):
    assert ids(venue, fromId=now) == ids(venue, fromId=now + 10**9) == []


def test_a_range_of_time_includes_both_ends(venue, tape):
    found = trades(venue, startTime=NOON_MS - 5_000, endTime=NOON_MS - 1_000).json()
    assert [row["a"] for row in found] == tape.between("BTCUSDT", NOON_MS - 5_000, NOON_MS - 999).ids.tolist()
    exact = found[3]["T"]
    assert {row["T"] for row in trades(venue, startTime=exact, endTime=exact).json()} == {exact}


def test_a_range_begins_at_its_start_and_an_end_alone_has_the_last_before_it(venue, tape):
    start = tape.next_id("BTCUSDT", NOON_MS - 600_000)
    assert ids(venue, startTime=NOON_MS - 600_000, limit=10) == list(range(start, start + 10))
    assert ids(venue, endTime=NOON_MS - 600_001, limit=10) == list(range(start - 10, start))
    assert ids(venue, startTime=NOON_MS + 1) == ids(venue, startTime=NOON_MS, endTime=NOON_MS - 10) == []


def test_old_ids_are_answered_by_later_ones(venue, tape, now):
    venue.post(FAULTS, json={"retention_seconds": 10})
    kept = tape.next_id("BTCUSDT", NOON_MS - 10_000)
    assert now - 5_000 < kept < now
    assert ids(venue, fromId=now - 5_000, limit=5) == ids(venue, fromId=0, limit=5) == list(range(kept, kept + 5))
    assert ids(venue, startTime=0, limit=2) == [kept, kept + 1]
    assert ids(venue) == list(range(kept, now))


@pytest.mark.parametrize(
    ("query", "code", "named"),
    [
        pytest.param({"symbol": None}, -1102, "Mandatory parameter 'symbol'", id="no symbol"),
        pytest.param({"symbol": ""}, -1102, "Mandatory parameter 'symbol'", id="an empty symbol"),
        pytest.param({"symbol": "NOPEUSDT"}, -1121, "Invalid symbol.", id="an unknown symbol"),
        pytest.param(
            {"symbol": "btcusdt"}, -1100, "'symbol'; legal range is '^[A-Z0-9-_.]{1,20}$'", id="small letters"
        ),
        pytest.param({"fromId": "x"}, -1100, "'fromId'; legal range", id="an id that is no number"),
        pytest.param({"fromId": "-5"}, -1100, "'fromId'; legal range", id="an id below zero"),
        pytest.param({"fromId": ""}, -1102, "Mandatory parameter 'fromId'", id="an empty id"),
        pytest.param({"limit": 0}, -1130, "Data sent for parameter 'limit' is not valid.", id="no rows"),
        pytest.param({"limit": "1.5"}, -1100, "'limit'; legal range", id="half a row"),
        pytest.param({"fromId": 5, "startTime": 5}, -1128, "Combination of optional parameters", id="an id and a time"),
    ],
)
def test_a_wrong_parameter_is_a_400_with_a_code(venue, query, code, named):
    wanted = {key: value for key, value in ({"symbol": "BTCUSDT"} | query).items() if value is not None}
    answer = venue.get(TRADES, params=wanted)
    assert answer.status_code == 400
    assert list(answer.json()) == ["code", "msg"]
    assert answer.json()["code"] == code
    assert named in answer.json()["msg"]


def test_time_and_information(venue, tape):
    assert venue.get("/binance/api/v3/time").json() == {"serverTime": NOON_MS}
    found = venue.get("/binance/api/v3/exchangeInfo").json()
    assert {row["symbol"] for row in found["symbols"]} == set(tape.listings)
    assert {row["status"] for row in found["symbols"]} == {"TRADING"}
    assert found["rateLimits"][0] == {
        "rateLimitType": "REQUEST_WEIGHT",
        "interval": "MINUTE",
        "intervalNum": 1,
        "limit": 6_000,
    }
    [row] = venue.get("/binance/api/v3/exchangeInfo?symbol=BTCUSDT").json()["symbols"]
    assert (row["baseAsset"], row["quoteAsset"]) == ("BTC", "USDT")
    assert row["filters"][0] == {"filterType": "PRICE_FILTER", "tickSize": "0.01000000"}
    some = venue.get('/binance/api/v3/exchangeInfo?symbols=["ETHUSDT","BTCUSDT"]').json()["symbols"]
    assert [row["symbol"] for row in some] == ["ETHUSDT", "BTCUSDT"]
    for query, code in (("symbol=NOPEUSDT", -1121), ('symbols=["NOPEUSDT"]', -1121), ("symbols=BTC", -1130)):
        assert venue.get(f"/binance/api/v3/exchangeInfo?{query}").json()["code"] == code


def test_every_answer_says_the_weight_that_was_used(venue):
    paths = ["time", "aggTrades?symbol=BTCUSDT", "aggTrades?symbol=NOPEUSDT", "exchangeInfo?symbol=BTCUSDT", "time"]
    answers = [venue.get(f"/binance/api/v3/{path}") for path in paths]
    assert [answer.headers["X-MBX-USED-WEIGHT-1M"] for answer in answers] == ["1", "5", "9", "29", "30"]


def test_too_much_weight_is_429_then_418_until_the_ban_is_over(start):
    stopwatch = Stopwatch()
    stopwatch.seconds = 600.0
    client = start(coins=60, monotonic=stopwatch)
    client.post(FAULTS, json={"weight_per_minute": 8})
    stopwatch.seconds += 20
    answers = [trades(client, limit=1) for _ in range(9)]
    assert [answer.status_code for answer in answers] == [200, 200, 429, 429, 429, 429, 429, 418, 418]
    assert (answers[2].headers["Retry-After"], answers[8].headers["Retry-After"]) == ("40", "120")
    assert answers[2].json()["code"] == answers[8].json()["code"] == -1003
    assert "current limit is 8 request weight per 1 MINUTE" in answers[2].json()["msg"]
    assert f"IP banned until {NOON_MS + 120_000}" in answers[8].json()["msg"]
    stopwatch.seconds += 119
    assert trades(client, limit=1).status_code == 418
    stopwatch.seconds += 1
    assert trades(client, limit=1).status_code == 200


def test_waiting_as_long_as_told_is_enough(start):
    stopwatch = Stopwatch()
    client = start(coins=60, monotonic=stopwatch)
    client.post(FAULTS, json={"weight_per_minute": 12})
    for _ in range(20):
        answer = trades(client, limit=1)
        if answer.status_code == 429:
            stopwatch.seconds += int(answer.headers["Retry-After"])
            assert trades(client, limit=1).status_code == 200
        stopwatch.seconds += 7.3


def test_refusals_can_be_ordered(venue):
    venue.post(FAULTS, json={"refusals": 2, "retry_after": 3})
    answers = [trades(venue, limit=1) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["Retry-After"] == "3"


def test_the_other_sources_and_the_venue_do_not_touch_each_other(venue):
    venue.post("/_control/faults", json={"profile": "down"})
    assert trades(venue, limit=1).status_code == 200
    venue.post(FAULTS, json={"refusals": 9})
    venue.post("/_control/faults", json={"profile": "none"})
    assert venue.get("/api/v3/ping").status_code == 200
    assert venue.get("/_control/stats").json()["calls"] == {"/ping": 1}


@pytest.mark.parametrize(
    ("path", "order"),
    [
        pytest.param("faults", {"gremlins": 1}, id="an unknown fault"),
        pytest.param("faults", {"drop": 2}, id="more than all trades"),
        pytest.param("faults", {"drop": 0.6, "garbage": 0.6}, id="two fates for one trade"),
        pytest.param("faults", {"kinds": []}, id="garbage of no kind"),
        pytest.param("connections", {"ending": "slowly"}, id="an unknown end"),
        pytest.param("halts", {"symbol": "BTCUSDT", "seconds": 0}, id="a halt without length"),
    ],
)
def test_a_wrong_order_is_refused_and_changes_nothing(venue, path, order):
    before = venue.get("/_control/binance").json()
    assert venue.post(f"/_control/binance/{path}", json=order).status_code == 422
    assert venue.get("/_control/binance").json() == before


def test_a_halt_is_told_by_the_information_and_lies_in_the_tape(venue, tape, now):
    report = venue.post("/_control/binance/halts", json={"symbol": "BTCUSDT", "seconds": 30, "after_seconds": 0}).json()
    assert report["halts"] == {"BTCUSDT": [{"start": NOON_MS + 1, "end": NOON_MS + 30_001}]}
    venue.post("/_control/clock", json={"at": "2026-11-20T12:30:20Z"})
    status = [
        row["status"]
        for row in venue.get('/binance/api/v3/exchangeInfo?symbols=["BTCUSDT","ETHUSDT"]').json()["symbols"]
    ]
    assert status == ["BREAK", "TRADING"]
    assert ids(venue, fromId=now) == []
    venue.post("/_control/clock", json={"at": "2026-11-20T12:30:40Z"})
    rows = trades(venue, fromId=now, limit=1_000).json()
    assert {row["T"] for row in rows if row["T"] <= NOON_MS + 30_001} == {NOON_MS + 30_001}
    assert [row["a"] for row in rows] == list(range(now, tape.next_id("BTCUSDT", NOON_MS + 40_001)))
    assert venue.post("/_control/binance/halts", json={"symbol": "NOPEUSDT", "seconds": 30}).json()["code"] == -1121
    venue.post("/_control/reset")
    assert venue.get("/_control/binance").json()["halts"] == {}


def test_the_truth_of_a_window_can_be_asked_for(venue, tape):
    query = {"symbol": "SHIBUSDT", "from_ms": NOON_MS - MINUTE_MS, "to_ms": NOON_MS}
    found = json.loads(venue.get("/_control/binance/truth", params=query).text)
    assert found == asdict(truth(tape, "SHIBUSDT", NOON_MS - MINUTE_MS, NOON_MS))
    assert found["quote_sum"] > 2**53
    assert venue.get("/_control/binance/truth", params=query | {"to_ms": query["from_ms"]}).json() is None
    assert venue.get("/_control/binance/truth", params=query | {"symbol": "NOPEUSDT"}).json()["code"] == -1121
