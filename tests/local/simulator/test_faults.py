"""Every fault profile: what it does, that it can be repeated, and that a transient one passes."""

import json
import math
import time
from typing import Any

import pytest
from fastapi.testclient import TestClient

from local.simulator.faults import CORRUPTIONS, FUTURE, FaultInjector, FaultOrder, Profile

MARKETS = "/api/v3/coins/markets"
TRANSIENT = ["throttle", "server_error", "unavailable", "html", "truncated", "slow", "error_in_200"]


def page(client: TestClient, number: int = 1, **query: Any) -> Any:
    return client.get(
        MARKETS, params={"vs_currency": "usd", "per_page": 50, "order": "id_asc", "page": number, **query}
    )


def walk(client: TestClient, pages: int, **query: Any) -> list[list[dict[str, Any]]]:
    return [page(client, number, **query).json() for number in range(1, pages + 1)]


def is_good(answer: Any) -> bool:
    try:
        return answer.status_code == 200 and isinstance(answer.json(), list)
    except json.JSONDecodeError:
        return False


def test_throttle_is_429_with_the_wait_asked_for(start):
    answer = page(start(faults={"profile": "throttle", "retry_after": 3}))
    assert answer.status_code == 429
    assert answer.headers["retry-after"] == "3"


def test_throttle_speaks_json_and_plain_text(start):
    bodies = {page(start(faults={"profile": "throttle", "seed": seed})).content for seed in range(12)}
    assert b"Throttled" in bodies
    assert {json.loads(body)["status"]["error_code"] for body in bodies - {b"Throttled"}} == {429}


@pytest.mark.parametrize(
    ("profile", "status", "body"),
    [
        pytest.param("server_error", 500, b'{"status":500,"error":"Internal Server Error"}', id="server_error is 500"),
        pytest.param("unavailable", 503, b'"error_code":503', id="unavailable is 503"),
        pytest.param("html", 200, b"<!DOCTYPE html>", id="html is a page in a 200"),
        pytest.param("error_in_200", 200, b"You've exceeded the Rate Limit", id="error_in_200 is a 429 body in a 200"),
    ],
)
def test_a_profile_replaces_the_answer(start, profile, status, body):
    answer = page(start(faults={"profile": profile}))
    assert answer.status_code == status
    assert body in answer.content


def test_html_says_that_it_is_html(start):
    assert page(start(faults={"profile": "html"})).headers["content-type"].startswith("text/html")


def test_truncated_bodies_are_cut_json_that_looks_complete_to_http(start):
    whole = page(start()).content
    lengths = set()
    for seed in range(12):
        answer = page(start(faults={"profile": "truncated", "seed": seed}))
        assert whole.startswith(answer.content)
        assert 0 < len(answer.content) < len(whole)
        lengths.add(answer.headers.get("content-length") == str(len(answer.content)))
    assert lengths == {True, False}, "once by Content-Length, once by chunks"


def test_slow_bodies_arrive_whole_but_late(start):
    client = start(faults={"profile": "slow", "delay_seconds": 0.4})
    begun = time.monotonic()
    answer = page(client)
    assert time.monotonic() - begun >= 0.4
    assert answer.content == page(start()).content


@pytest.mark.parametrize("profile", TRANSIENT)
def test_a_transient_fault_passes_when_the_request_is_repeated(start, profile):
    client = start(faults={"profile": profile, "delay_seconds": 0})
    first, second = page(client), page(client)
    assert is_good(second)
    assert client.get("/_control/stats").json()["faults"] == {profile: 1}
    assert profile == "slow" or not is_good(first)


@pytest.mark.parametrize("profile", TRANSIENT)
def test_a_transient_profile_hits_the_same_requests_every_time(profile):
    def hits(order: FaultOrder) -> list[int]:
        injector = FaultInjector(order)
        return [n for n in range(1, 73) if injector.fault_for("/coins/markets", [("page", str(n))])]

    chosen = hits(FaultOrder(profile=Profile(profile), seed=3))
    assert chosen == hits(FaultOrder(profile=Profile(profile), seed=3))
    assert chosen != hits(FaultOrder(profile=Profile(profile), seed=4))
    assert chosen[0] == 1
    assert 3 <= len(chosen) <= 20


def test_the_order_of_parameters_does_not_make_another_request():
    injector = FaultInjector(FaultOrder(profile=Profile.SERVER_ERROR))
    query = [("page", "1"), ("vs_currency", "usd")]
    assert injector.fault_for("/coins/markets", query) is not None
    assert injector.fault_for("/coins/markets", query[::-1]) is None


def test_a_limit_ends_the_faults():
    injector = FaultInjector(FaultOrder(profile=Profile.UNAVAILABLE, limit=2))
    assert sum(injector.fault_for("/coins/markets", [("page", str(n))]) is not None for n in range(1, 73)) == 2


@pytest.mark.parametrize("profile", [p for p in Profile if p is not Profile.DOWN])
def test_ping_answers_under_every_profile_but_down(start, profile):
    assert start(faults={"profile": profile}).get("/api/v3/ping").status_code == 200


def test_down_refuses_everything_every_time_but_stays_under_control(start):
    client = start(faults={"profile": "down"})
    for path in ("/api/v3/ping", "/api/v3/coins/list", "/fng/", "/api/v3/ping"):
        assert client.get(path).status_code == 503
    assert client.get("/healthz").status_code == 200
    assert client.get("/_control/stats").json()["faults"] == {"down": 4}


def test_one_page_is_html_for_ever_and_the_others_are_not(start):
    client = start(faults={"profile": "html_persistent"})
    assert [is_good(page(client, number)) for number in (1, 2, 3, 2, 2)] == [True, False, True, False, False]


def test_the_page_that_is_html_for_ever_can_be_chosen(start):
    client = start(faults={"profile": "html_persistent", "page": 3})
    assert [is_good(page(client, number)) for number in (1, 2, 3)] == [True, True, False]


def test_shifting_pages_repeat_and_lose_coins_by_market_cap(start):
    shifted = [
        row["id"]
        for rows in walk(start(faults={"profile": "shifting_pages"}), 12, order="market_cap_desc")
        for row in rows
    ]
    assert len(shifted) > len(set(shifted)), "some coins are seen twice"
    assert len(set(shifted)) < 600, "some coins are lost"


def test_shifting_pages_only_repeat_coins_by_id_and_need_one_page_more(start):
    client = start(faults={"profile": "shifting_pages"})
    pages = walk(client, 14)
    seen = [row["id"] for rows in pages for row in rows]
    assert len(set(seen)) == 600
    assert 600 < len(seen) <= 603
    assert 0 < len(pages[12]) <= 3
    assert pages[13] == []


def test_a_repeated_coin_is_newer_the_second_time(start):
    first: dict[str, str] = {}
    repeated = 0
    for row in (row for rows in walk(start(faults={"profile": "shifting_pages"}), 13) for row in rows):
        if row["id"] in first:
            assert row["last_updated"] > first[row["id"]]
            repeated += 1
        first.setdefault(row["id"], row["last_updated"])
    assert repeated


def test_without_faults_pages_do_not_shift(start):
    assert sum(len(rows) for rows in walk(start(), 13)) == 600


def corrupted(client: TestClient) -> dict[str, str]:
    """Id of the corrupt coin by kind."""
    kinds: dict[str, str] = client.get("/_control/faults").json()["corrupted"]
    return {kind: coin for coin, kind in kinds.items()}


def test_corrupt_rows_are_a_handful_with_every_kind_once(start):
    kinds = corrupted(start(faults={"profile": "corrupt_rows"}))
    assert set(kinds) == set(CORRUPTIONS)
    assert corrupted(start(faults={"profile": "corrupt_rows"})) == kinds
    assert corrupted(start(faults={"profile": "corrupt_rows", "seed": 2})) != kinds


def corrupt_row(client: TestClient, kind: str) -> dict[str, Any]:
    answer = client.get(MARKETS, params={"vs_currency": "usd", "ids": corrupted(client)[kind]})
    row: dict[str, Any] = json.loads(answer.content)[0]
    return row


@pytest.mark.parametrize(
    ("kind", "is_so"),
    [
        pytest.param("string_in_number", lambda row: isinstance(row["current_price"], str), id="a string in a number"),
        pytest.param("negative_price", lambda row: row["current_price"] < 0, id="a negative price"),
        pytest.param("null_id", lambda row: row["id"] is None, id="a null id"),
        pytest.param("infinity", lambda row: math.isinf(row["current_price"]), id="an Infinity token"),
        pytest.param(
            "future_last_updated", lambda row: row["last_updated"] == FUTURE, id="a last_updated in the future"
        ),
        pytest.param("missing_field", lambda row: "last_updated" not in row, id="a missing field"),
        pytest.param("unknown_field", lambda row: row["moon_phase"] == "waxing", id="an unknown field"),
        pytest.param("bool_as_number", lambda row: row["current_price"] is True, id="a bool as a number"),
        pytest.param(
            "integer_above_64_bits", lambda row: row["market_cap_rank"] == 2**70, id="an integer above 64 bits"
        ),
        pytest.param(
            "huge_supply", lambda row: row["total_supply"] == 2**70, id="an integer above 64 bits in a double"
        ),
    ],
)
def test_a_kind_of_corruption(start, kind, is_so):
    client = start(faults={"profile": "corrupt_rows"})
    assert is_so(corrupt_row(client, kind))
    assert is_so(corrupt_row(client, kind)), "it stays so"


def test_every_kind_of_corruption_is_tested_above_and_two_are_legal():
    assert len(CORRUPTIONS) == 10
    assert set(CORRUPTIONS) > LEGAL_KINDS


LEGAL_KINDS = {"huge_supply", "unknown_field"}


def test_corruption_leaves_all_other_rows_alone(start):
    spoiled = start(faults={"profile": "corrupt_rows"})
    bad = set(corrupted(spoiled).values())
    clean_rows, spoiled_rows = ({row["id"]: row for rows in walk(c, 12) for row in rows} for c in (start(), spoiled))
    assert {coin: row for coin, row in clean_rows.items() if coin not in bad} == {
        coin: row for coin, row in spoiled_rows.items() if coin not in bad and coin is not None
    }


def test_many_corrupt_rows_are_more_than_five_percent(start):
    client = start(coins=5_000, faults={"profile": "many_corrupt_rows"})
    bad = client.get("/_control/faults").json()["corrupted"]
    assert 0.06 < len(bad) / 5_000 < 0.1
    assert not LEGAL_KINDS & set(bad.values())


def test_a_limit_bounds_the_corrupt_rows(start):
    client = start(faults={"profile": "many_corrupt_rows", "limit": 4})
    assert len(client.get("/_control/faults").json()["corrupted"]) == 4
