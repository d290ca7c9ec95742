"""The REST of the venue: what it answers, what it refuses, and the weight that it counts."""

import json

import pytest

from local.simulator.binance.tape import Tape
from local.simulator.binance.truth import figures
from local.simulator.binance.weights import BAN_SECONDS, PATIENCE
from tests.local.simulator.binance.conftest import NOON_MS

BTC = {"symbol": "BTCUSDT"}


def newest(tape: Tape, symbol: str = "BTCUSDT") -> int:
    return tape.next_id(symbol, NOON_MS + 1) - 1


def ids(rows: list[dict[str, int]]) -> list[int]:
    return [row["a"] for row in rows]


def test_ids_are_answered_from_the_one_asked_for(bench):
    first = newest(bench.tape) - 1_500
    rows = bench.rest(**BTC, fromId=first, limit=1_000)
    assert rows.content == f"[{','.join(bench.tape.trades('BTCUSDT', first, first + 999).rows())}]".encode()
    assert ids(bench.rest(**BTC, fromId=first + 1_400).json()) == list(range(first + 1_400, newest(bench.tape) + 1))


def test_without_an_id_or_a_time_the_newest_are_answered(bench):
    last = newest(bench.tape)
    assert ids(bench.rest(**BTC).json()) == list(range(last - 499, last + 1))


def test_no_more_rows_than_a_thousand(bench):
    assert len(bench.rest(**BTC, limit=5_000).json()) == 1_000


def test_a_span_of_time_is_answered_with_both_its_ends(bench):
    trades = bench.tape.between("BTCUSDT", NOON_MS - 60_000, NOON_MS - 30_000)
    start, end = int(trades.times[0]), int(trades.times[-1])
    assert ids(bench.rest(**BTC, startTime=start, endTime=end).json()) == trades.ids.tolist()
    assert ids(bench.rest(**BTC, startTime=start, endTime=end, limit=3).json()) == trades.ids.tolist()[:3]
    assert ids(bench.rest(**BTC, endTime=end, limit=3).json()) == trades.ids.tolist()[-3:]


def test_the_future_is_not_told(bench):
    assert bench.rest(**BTC, fromId=newest(bench.tape) + 1).json() == []
    assert bench.rest(**BTC, startTime=NOON_MS + 1).json() == []
    bench.advance(60)
    rows = bench.rest(**BTC, startTime=NOON_MS + 1, limit=1_000).json()
    assert len(rows) > 100
    assert all(NOON_MS < row["T"] <= NOON_MS + 60_000 for row in rows)


def test_what_is_older_than_the_retention_is_answered_from_a_later_id(bench):
    bench.order("faults", retention_seconds=600)
    oldest = bench.tape.next_id("BTCUSDT", NOON_MS - 600_000)
    assert ids(bench.rest(**BTC, fromId=oldest - 5_000, limit=2).json()) == [oldest, oldest + 1]
    assert ids(bench.rest(**BTC, fromId=oldest + 7, limit=2).json()) == [oldest + 7, oldest + 8]
    assert ids(bench.rest(**BTC, startTime=0, limit=1).json()) == [oldest]


@pytest.mark.parametrize(
    ("query", "code"),
    [
        pytest.param({}, -1102, id="no symbol"),
        pytest.param({"symbol": ""}, -1102, id="an empty symbol"),
        pytest.param({"symbol": "btcusdt"}, -1100, id="a symbol in small letters"),
        pytest.param({"symbol": "NOBODYUSDT"}, -1121, id="an unknown symbol"),
        pytest.param({**BTC, "fromId": "x"}, -1100, id="an id that is no number"),
        pytest.param({**BTC, "fromId": "-1"}, -1100, id="an id below zero"),
        pytest.param({**BTC, "fromId": ""}, -1102, id="an empty id"),
        pytest.param({**BTC, "limit": 0}, -1130, id="no rows"),
        pytest.param({**BTC, "fromId": 1, "startTime": 1}, -1128, id="an id and a time"),
    ],
)
def test_a_wrong_call_has_the_body_of_the_real_error(bench, query, code):
    answer = bench.rest(**query)
    assert answer.status_code == 400
    assert answer.json()["code"] == code
    assert set(answer.json()) == {"code", "msg"}
    assert answer.headers["x-mbx-used-weight-1m"] == "4"


def test_the_largest_numbers_are_only_far_away(bench):
    assert bench.rest(**BTC, fromId="9" * 20).json() == []
    assert len(bench.rest(**BTC, endTime="9" * 20, limit=4).json()) == 4


def test_time_is_that_of_the_simulator(bench):
    assert bench.rest("time").json() == {"serverTime": NOON_MS}


def test_information_tells_symbols_and_their_steps(bench):
    everything = bench.rest("exchangeInfo").json()
    assert [row["symbol"] for row in everything["symbols"]] == list(bench.tape.listings)
    assert everything["rateLimits"][0]["limit"] == 6_000
    (row,) = bench.rest("exchangeInfo", **BTC).json()["symbols"]
    assert (row["status"], row["baseAsset"], row["quoteAsset"]) == ("TRADING", "BTC", "USDT")
    assert row["filters"][0]["tickSize"] == "0.01000000"
    assert len(bench.rest("exchangeInfo", symbols='["BTCUSDT","ETHUSDT"]').json()["symbols"]) == 2
    assert bench.rest("exchangeInfo", symbol="NOBODYUSDT").json()["code"] == -1121
    assert bench.rest("exchangeInfo", symbols="BTCUSDT").json()["code"] == -1130


def test_weight_is_told_counted_by_the_minute_and_refused(bench):
    bench.order("faults", weight_per_minute=10)
    assert [bench.rest(**BTC).headers["x-mbx-used-weight-1m"] for _ in range(2)] == ["4", "8"]
    bench.monotonic[0] = 1_030.0  # ten seconds before the next whole minute
    bench.rest(**BTC)
    bench.monotonic[0] = 1_070.0
    refused = [bench.rest(**BTC) for _ in range(3)][-1]
    assert (refused.status_code, refused.json()["code"], refused.headers["retry-after"]) == (429, -1003, "10")
    bench.monotonic[0] = 1_080.0
    assert bench.rest(**BTC).headers["x-mbx-used-weight-1m"] == "4"


def test_who_ignores_the_refusals_is_banned(bench):
    bench.order("faults", weight_per_minute=4)
    bench.monotonic[0] = 2_000.0
    statuses = [bench.rest(**BTC).status_code for _ in range(PATIENCE + 3)]
    assert statuses == [200] + [429] * PATIENCE + [418, 418]
    bench.monotonic[0] = 2_000.0 + BAN_SECONDS - 1
    banned = bench.rest(**BTC)
    assert (banned.status_code, banned.headers["retry-after"]) == (418, "1")
    bench.monotonic[0] = 2_000.0 + BAN_SECONDS + 60
    assert bench.rest(**BTC).status_code == 200


def test_refusals_on_order_are_as_many_as_ordered(bench):
    bench.order("faults", refusals=2, retry_after=3)
    answers = [bench.rest(**BTC) for _ in range(3)]
    assert [answer.status_code for answer in answers] == [429, 429, 200]
    assert answers[0].headers["retry-after"] == "3"


def test_a_halt_is_told_by_rest_and_by_truth(bench):
    bench.order("halts", symbol="BTCUSDT", seconds=30, after_seconds=10)
    bench.advance(20)
    assert bench.rest("exchangeInfo", **BTC).json()["symbols"][0]["status"] == "BREAK"
    bench.advance(40)
    rows = bench.rest(**BTC, startTime=NOON_MS, limit=1_000).json()
    assert ids(rows) == list(range(rows[0]["a"], rows[0]["a"] + len(rows)))
    hole = NOON_MS + 10_001, NOON_MS + 40_001
    assert not [row for row in rows if hole[0] <= row["T"] < hole[1]]
    told = bench.http.get("/_control/binance/truth", params={**BTC, "from_ms": hole[0], "to_ms": hole[1]})
    assert told.json() is None
    assert bench.report()["halts"] == {"BTCUSDT": [{"start": hole[0], "end": hole[1]}]}


def test_a_halt_of_an_unknown_symbol_is_refused(bench):
    answer = bench.http.post("/_control/binance/halts", json={"symbol": "NOBODYUSDT", "seconds": 1})
    assert (answer.status_code, answer.json()["code"]) == (400, -1121)


def test_the_truth_is_that_of_the_rows(bench):
    bench.advance(60)
    rows = bench.rest(symbol="SHIBUSDT", startTime=NOON_MS, endTime=NOON_MS + 59_999, limit=1_000).json()
    query = {"symbol": "SHIBUSDT", "from_ms": NOON_MS, "to_ms": NOON_MS + 60_000}
    told = json.loads(bench.http.get("/_control/binance/truth", params=query).content)
    found = figures(rows)
    assert found is not None
    assert told == vars(found)
    assert told["quote_sum"] > 2**64


def test_the_venue_has_limits_and_faults_of_its_own(bench):
    bench.http.post("/_control/faults", json={"profile": "down"})
    assert bench.http.get("/api/v3/ping").status_code == 503
    assert bench.rest(**BTC).status_code == 200
    assert "/binance" not in str(bench.http.get("/_control/stats").json()["calls"])
    bench.order("faults", refusals=1)
    bench.http.post("/_control/reset")
    assert bench.rest(**BTC).status_code == 200


@pytest.mark.parametrize(
    ("what", "order"),
    [
        pytest.param("faults", {"drop": 1.5}, id="a share above one"),
        pytest.param("faults", {"drop": 0.6, "garbage": 0.6}, id="shares above one together"),
        pytest.param("faults", {"dorp": 0.5}, id="an unknown fault"),
        pytest.param("faults", {"garbage": 0.5, "kinds": []}, id="garbage of no kind"),
        pytest.param("connections", {"ending": "fade"}, id="an unknown ending"),
        pytest.param("halts", {"symbol": "BTCUSDT", "seconds": 0}, id="a halt of no length"),
    ],
)
def test_a_wrong_order_is_refused(bench, what, order):
    assert bench.http.post(f"/_control/binance/{what}", json=order).status_code == 422
