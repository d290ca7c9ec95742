"""Rate limit, counts, and what a test can order at run time."""

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

MARKETS = "/api/v3/coins/markets?vs_currency=usd"


class Stopwatch:
    """Seconds that pass only when told."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def __call__(self) -> float:
        return self.seconds


@pytest.fixture
def stopwatch() -> Stopwatch:
    return Stopwatch()


def test_the_call_beyond_the_limit_is_429_with_its_wait(start, stopwatch: Callable[[], float]):
    client = start(calls_per_minute=3, monotonic=stopwatch)
    assert [client.get("/api/v3/ping").status_code for _ in range(4)] == [200, 200, 200, 429]
    refusal = client.get(MARKETS)
    assert refusal.headers["retry-after"] == "60"
    status = refusal.json()["status"]
    assert status["error_code"] == 429
    assert status["error_message"].startswith("You've exceeded the Rate Limit")


def test_the_window_slides(start, stopwatch: Stopwatch):
    client = start(calls_per_minute=2, monotonic=stopwatch)
    assert client.get("/api/v3/ping").status_code == 200
    stopwatch.seconds += 40
    assert client.get("/api/v3/ping").status_code == 200
    assert client.get("/api/v3/ping").headers["retry-after"] == "20"
    stopwatch.seconds += 20
    assert client.get("/api/v3/ping").status_code == 200
    assert client.get("/api/v3/ping").status_code == 429


def test_waiting_as_long_as_told_is_always_enough(start, stopwatch: Stopwatch):
    client = start(calls_per_minute=5, monotonic=stopwatch)
    for _ in range(40):
        answer = client.get("/api/v3/ping")
        if answer.status_code == 429:
            stopwatch.seconds += int(answer.headers["retry-after"])
            assert client.get("/api/v3/ping").status_code == 200
        stopwatch.seconds += 7.3


def test_less_than_one_call_a_minute_makes_a_longer_window(start, stopwatch: Stopwatch):
    client = start(calls_per_minute=0.5, monotonic=stopwatch)
    assert client.get("/api/v3/ping").status_code == 200
    assert client.get("/api/v3/ping").headers["retry-after"] == "120"


def test_control_and_health_are_outside_the_limit(start, stopwatch: Stopwatch):
    client = start(calls_per_minute=1, monotonic=stopwatch)
    assert {client.get(path).status_code for path in ("/healthz", "/_control/stats") * 5} == {200}


def test_stats_count_calls_by_path_statuses_and_faults(start, stopwatch: Stopwatch):
    client = start(calls_per_minute=8, monotonic=stopwatch, faults={"profile": "throttle"})
    paths = [
        "/api/v3/ping",
        "/api/v3/coins/bitcoin",
        "/api/v3/coins/tether",
        "/api/v3/coins/tether/market_chart?vs_currency=usd&days=1",
    ]
    for path in [*paths, MARKETS, MARKETS, "/fng/", "/fng", "/api/v3/ping"]:
        client.get(path)
    stats = client.get("/_control/stats").json()
    assert stats["calls"] == {
        "/ping": 2,
        "/coins/{id}": 2,
        "/coins/{id}/market_chart": 1,
        "/coins/markets": 2,
        "/fng": 2,
    }
    assert stats["total_calls"] == 9
    assert stats["faults"]["throttle"] >= 1
    assert stats["too_many_requests"] == stats["faults"]["throttle"] + 1
    assert sum(stats["statuses"].values()) == 9


def test_a_path_of_any_api_is_counted_and_may_fail(start):
    client = start(faults={"profile": "down", "limit": 1})
    assert [client.get("/of/another/api/").status_code for _ in range(2)] == [503, 404]
    assert client.get("/_control/stats").json()["calls"] == {"/of/another/api": 2}


def test_faults_can_be_ordered_and_called_off(client):
    assert client.get(MARKETS).status_code == 200
    report = client.post("/_control/faults", json={"profile": "down", "seed": 5, "limit": 2}).json()
    assert (report["profile"], report["seed"], report["limit"]) == ("down", 5, 2)
    assert [client.get(MARKETS).status_code for _ in range(3)] == [503, 503, 200]
    client.post("/_control/faults", json={"profile": "none"})
    assert client.get(MARKETS).status_code == 200


def test_ordering_faults_again_makes_them_happen_again(client):
    order = {"profile": "server_error"}
    statuses = []
    for _ in range(2):
        client.post("/_control/faults", json=order)
        statuses += [client.get(MARKETS).status_code, client.get(MARKETS).status_code]
    assert statuses == [500, 200, 500, 200]


@pytest.mark.parametrize(
    "order",
    [
        pytest.param({"profile": "gremlins"}, id="an unknown profile"),
        pytest.param({"profile": "none", "speed": 3}, id="an unknown setting"),
        pytest.param({"profile": "slow", "delay_seconds": 3600}, id="an unbounded delay"),
    ],
)
def test_a_wrong_order_is_refused_and_changes_nothing(client, order):
    answer = client.post("/_control/faults", json=order)
    assert answer.status_code == 422
    assert list(order)[-1] in answer.text
    assert client.get("/_control/faults").json()["profile"] == "none"


@pytest.mark.parametrize(
    ("at", "seen"),
    [
        pytest.param("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC), id="an instant in UTC"),
        pytest.param(
            "2026-01-02T03:04:05+02:00", datetime(2026, 1, 2, 1, 4, 5, tzinfo=UTC), id="an instant with an offset"
        ),
        pytest.param("2026-01-02", datetime(2026, 1, 2, tzinfo=UTC), id="a date"),
    ],
)
def test_the_clock_can_be_stopped_at(client, at, seen):
    assert datetime.fromisoformat(client.post("/_control/clock", json={"at": at}).json()["now"]) == seen
    newest = max(row["last_updated"] for row in client.get(MARKETS).json())
    assert 0 <= (seen - datetime.fromisoformat(newest)).total_seconds() < 120


def test_the_clock_can_run_again(client):
    now = datetime.fromisoformat(client.post("/_control/clock", json={"at": None}).json()["now"])
    assert abs((datetime.now(UTC) - now).total_seconds()) < 30


def test_a_clock_that_cannot_be_read_is_refused(client):
    assert client.post("/_control/clock", json={"at": "teatime"}).status_code == 422


def test_reset_goes_back_to_the_start(start, stopwatch: Stopwatch):
    client = start(calls_per_minute=2, monotonic=stopwatch, faults={"profile": "server_error"})
    before = [client.get(MARKETS).status_code for _ in range(3)]
    client.post("/_control/clock", json={"at": "2020-01-01"})
    client.post("/_control/faults", json={"profile": "none"})
    assert client.post("/_control/reset").json()["total_calls"] == 0
    assert [client.get(MARKETS).status_code for _ in range(3)] == before == [500, 200, 429]
    assert client.get("/_control/faults").json()["profile"] == "server_error"
