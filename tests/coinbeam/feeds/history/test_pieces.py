"""Pieces have fixed boundaries and a place in landing that tells them whole; the reach of a plan is said before any
call.
"""

import json
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinbeam.errors import SettingsError
from coinbeam.feeds.history.pieces import (
    HistoryPiece,
    landed_piece,
    newest_closed_day,
    oldest_day,
    pieces,
    pieces_json,
    quoted_asset,
    reach,
    read_pieces,
    unquoted_asset,
)
from coinbeam.settings import CoinGeckoSettings, HistorySettings

NOW = datetime(2026, 11, 21, 10, 0, tzinfo=UTC)
days = st.dates(date(2013, 1, 1), date(2030, 12, 31))


def names(first: date, last: date, piece_days: int = 365) -> list[str]:
    return [piece.name for piece in pieces("bitcoin", "usd", first, last, piece_days)]


def test_pieces_are_calendar_years_and_only_the_ends_are_cut() -> None:
    assert names(date(2018, 5, 4), date(2020, 3, 1)) == [
        "2018-05-04_2018-12-31",
        "2019-01-01_2019-12-31",
        "2020-01-01_2020-03-01",
    ]


def test_two_years_a_piece_end_with_a_year_too() -> None:
    assert names(date(2017, 1, 1), date(2020, 12, 31), 730) == [
        "2017-01-01_2017-12-31",
        "2018-01-01_2019-12-31",
        "2020-01-01_2020-12-31",
    ]


def test_a_leap_year_is_one_piece() -> None:
    [piece] = pieces("bitcoin", "usd", date(2020, 1, 1), date(2020, 12, 31), 365)
    assert piece.days == 366


@given(first=days, length=st.integers(0, 2_000), piece_days=st.integers(1, 1_500))
def test_pieces_cover_every_day_once_and_a_wider_plan_cuts_at_the_same_days(
    first: date, length: int, piece_days: int
) -> None:
    last = first + timedelta(days=length)
    found = pieces("bitcoin", "usd", first, last, piece_days)
    assert [found[0].first, found[-1].last] == [first, last]
    assert all(earlier.last + timedelta(days=1) == later.first for earlier, later in pairwise(found))
    wider = {
        piece.last
        for piece in pieces("bitcoin", "usd", first - timedelta(days=40), last + timedelta(days=40), piece_days)
    }
    assert {piece.last for piece in found[:-1]} <= wider
    assert all(piece.days <= max(piece_days, 366 * (piece_days // 365)) for piece in found)


def test_a_stretch_without_a_day_is_refused() -> None:
    with pytest.raises(SettingsError, match="no day"):
        names(date(2026, 1, 2), date(2026, 1, 1))


def test_a_piece_asks_for_whole_days() -> None:
    piece = HistoryPiece("bitcoin", "usd", date(2026, 1, 1), date(2026, 1, 2))
    assert (piece.start, piece.end) == (datetime(2026, 1, 1, tzinfo=UTC), datetime(2026, 1, 2, 23, 59, 59, tzinfo=UTC))


@given(asset=st.text(min_size=1, max_size=16), first=days)
def test_the_place_of_a_piece_tells_the_piece(asset: str, first: date) -> None:
    piece = HistoryPiece(asset, "usd", first, first + timedelta(days=9))
    uri = piece.uri("gs://bucket", "coingecko")
    assert set(uri.removeprefix("gs://bucket/landing/market_chart/usd-coingecko/").rpartition("/")[0]) <= set(
        "abcdefghijklmnopqrstuvwxyz0123456789_-~"
    )
    found = landed_piece(uri)
    assert found is not None
    assert (found.piece, found.source_id) == (piece, "coingecko")
    assert unquoted_asset(quoted_asset(asset)) == asset


def test_the_place_of_a_plain_id_is_readable() -> None:
    piece = HistoryPiece("usd-coin", "eur", date(2020, 1, 1), date(2020, 12, 31))
    assert (
        piece.uri("/data", "coingecko")
        == "/data/landing/market_chart/eur-coingecko/usd-coin/2020-01-01_2020-12-31.json.gz"
    )
    assert landed_piece(piece.uri("/data", "coingecko").replace(".json.gz", ".r3.json.gz")) is not None


@pytest.mark.parametrize(
    "uri",
    [
        "/data/btc-usd-max.csv",
        "landing/markets/batch/page-00001.json.gz",
        "landing/market_chart/usd-coingecko/bitcoin/_manifest.json",
        "landing/market_chart/usd-coingecko/bitcoin/2020-02-31_2020-03-01.json.gz",
        "landing/market_chart/usd-coingecko/bitcoin/2020-03-02_2020-03-01.json.gz",
        "landing/market_chart/usd-coingecko/~ff/2020-03-01_2020-03-02.json.gz",
    ],
)
def test_any_other_place_is_no_piece(uri: str) -> None:
    assert landed_piece(uri) is None


@pytest.mark.parametrize("asset", ["", "é" * 200])
def test_an_id_that_no_file_system_takes_is_refused(asset: str) -> None:
    with pytest.raises(SettingsError, match="cannot be an asset id"):
        HistoryPiece(asset, "usd", date(2020, 1, 1), date(2020, 1, 1))


def test_a_file_of_pieces_reads_back_sorted() -> None:
    given_pieces = [
        *pieces("ethereum", "usd", date(2025, 1, 1), date(2026, 2, 1), 365),
        *pieces("bitcoin", "usd", *[date(2026, 1, 1)] * 2, 9),
    ]
    assert read_pieces(pieces_json(given_pieces)) == sorted(given_pieces)


PIECE = {"asset_id": "bitcoin", "quote_currency": "usd", "first": "2026-01-01", "last": "2026-01-09"}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        pytest.param("nonsense", "not JSON", id="no JSON"),
        pytest.param("[]", "no list of pieces", id="no pieces"),
        pytest.param('{"a": 1}', "no list of pieces", id="an object"),
        pytest.param('["x"]', "no piece of history", id="a text among the pieces"),
        pytest.param(json.dumps([{**PIECE, "first": "yesterday"}]), "no piece of history", id="a date that is none"),
        pytest.param(json.dumps([{**PIECE, "first": "2026-01-10"}]), "starts on", id="dates exchanged"),
        pytest.param(json.dumps([PIECE, {**PIECE, "first": "2026-01-09"}]), "overlap", id="a day twice"),
        pytest.param(
            json.dumps([PIECE, {**PIECE, "asset_id": "x", "quote_currency": "eur"}]),
            "several quote currencies",
            id="currencies",
        ),
    ],
)
def test_a_damaged_file_of_pieces_is_refused(text: str, said: str) -> None:
    with pytest.raises(SettingsError, match=said):
        read_pieces(text)


@pytest.mark.parametrize(
    ("at", "newest"), [("00:34", date(2026, 11, 20)), ("00:35", date(2026, 11, 21)), ("23:59", date(2026, 11, 21))]
)
def test_a_day_is_closed_when_its_midnight_is_settled(at: str, newest: date) -> None:
    assert newest_closed_day(datetime.fromisoformat(f"2026-11-21T{at}:00+00:00"), HistorySettings()) == newest


def test_the_day_is_that_of_utc() -> None:
    assert newest_closed_day(datetime.fromisoformat("2026-11-21T01:00:00+02:00"), HistorySettings()) == date(
        2026, 11, 20
    )


def test_the_oldest_day_has_its_midnight_within_the_plan() -> None:
    assert oldest_day(365, NOW) == date(2025, 11, 22)
    assert oldest_day(365, datetime(2026, 11, 21, tzinfo=UTC)) == date(2025, 11, 21)


@pytest.mark.parametrize(
    ("first", "plan"),
    [
        pytest.param(date(2025, 11, 21), "'basic'", id="a day too far"),
        pytest.param(date(2024, 6, 1), "'analyst'", id="two years and a half"),
        pytest.param(date(2010, 1, 1), "No configured plan reaches so far", id="before any"),
    ],
)
def test_days_beyond_the_plan_are_refused_with_the_plan_that_reaches(first: date, plan: str) -> None:
    coingecko = CoinGeckoSettings(plan="demo")
    with pytest.raises(SettingsError, match=plan) as refused:
        reach(coingecko, first, NOW)
    assert "'demo', which reaches back 365 days, to 2025-11-22" in str(refused.value)
    assert reach(coingecko, date(2025, 11, 22), NOW) == date(2025, 11, 22)
