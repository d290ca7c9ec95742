"""The form of the backfill: defaults that cost little, and messages that name the field."""

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from coinbeam.errors import SettingsError
from coinbeam.feeds.history.plan import BackfillPlan, describe
from coinbeam.feeds.history.request import BackfillRequest, request_from
from coinbeam.settings import Settings
from tests.temporary import temporary_settings

NOW = datetime(2026, 3, 10, 12, tzinfo=UTC)
FORM: dict[str, Any] = {
    "assets": None,
    "top_n": 10,
    "from_date": None,
    "to_date": None,
    "quote_currency": "usd",
    "only_gaps": False,
    "source": None,
    "asset_of": None,
    "calls_per_day": 100,
}


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return temporary_settings(tmp_path)


def asked(settings: Settings, now: datetime = NOW, **given: Any) -> BackfillRequest:
    return request_from(FORM | given, now, settings)


def test_an_empty_form_asks_for_a_year_of_the_largest_assets(settings: Settings) -> None:
    request = asked(settings)
    assert (request.first, request.last) == (date(2025, 3, 11), date(2026, 3, 10))
    assert (request.assets, request.top_n, request.is_whole) == ((), 10, False)


def test_before_the_day_is_settled_the_newest_day_is_yesterday(settings: Settings) -> None:
    assert asked(settings, datetime(2026, 3, 10, 0, 34, tzinfo=UTC)).last == date(2026, 3, 9)
    assert asked(settings, datetime(2026, 3, 10, 0, 36, tzinfo=UTC)).last == date(2026, 3, 10)


def test_ids_replace_the_top_n(settings: Settings) -> None:
    request = asked(settings, assets=" bitcoin, ethereum ,,bitcoin")
    assert (request.assets, request.top_n) == (("bitcoin", "ethereum", "bitcoin"), None)


def test_files_are_read_whole_unless_days_are_named(settings: Settings) -> None:
    assert asked(settings, source="/exports/*.csv").is_whole
    bounded = asked(settings, source="/exports/*.csv", from_date="2020-01-01")
    assert (bounded.is_whole, bounded.first) == (False, date(2020, 1, 1))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        pytest.param({"from_date": "yesterday"}, "from_date is 'yesterday'", id="a word for a date"),
        pytest.param({"to_date": "2026-13-01"}, "to_date is '2026-13-01'", id="a month that does not exist"),
        pytest.param(
            {"from_date": "2026-02-01", "to_date": "2026-01-01"}, "Exchange them", id="an end before the start"
        ),
    ],
)
def test_a_wrong_field_is_named(settings: Settings, given: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        asked(settings, **given)


def test_the_name_of_a_backfill_depends_on_what_is_asked_and_not_on_what_is_spent(settings: Settings) -> None:
    name = asked(settings).backfill_id("coingecko")
    assert asked(settings, calls_per_day=7).backfill_id("coingecko") == name
    assert asked(settings, assets="b,a").backfill_id("x") == asked(settings, assets="a,b").backfill_id("x")
    others = [
        {"top_n": 11},
        {"from_date": "2026-01-01"},
        {"quote_currency": "eur"},
        {"only_gaps": True},
        {"source": "*.csv"},
    ]
    names = {asked(settings, **other).backfill_id("coingecko") for other in others} | {
        asked(settings).backfill_id("coingecko_simulator")
    }
    assert len(names) == 6
    assert name not in names


def test_the_plan_in_words_says_what_a_person_asks() -> None:
    costs = {"pieces": 6, "rows": 1095, "landing_bytes": 131_400, "calls": 6, "credits_left": 9_000, "days_of_quota": 2}
    costs |= {"calls_today": 4, "minutes": 4.0, "dollars": 0.25, "marts_dollars": 0.18}
    text = describe(
        BackfillPlan(
            backfill_id="backfill-1",
            batches=[{}, {}],
            batches_settled=1,
            batches_waiting=3,
            what="3 assets",
            first_date="2025-01-01",
            last_date="2026-01-01",
            quote_currency="usd",
            estimate=costs,
            banner="BANNER",
        )
    )
    assert text.startswith("BANNER")
    for words in (
        "3 assets",
        "6 pieces",
        "1095 rows",
        "9000 left this month",
        "about $0.25, of which the marts at most $0.18",
        "2 days of quota",
        "4 calls",
        "4.0 minutes",
        "3 wait",
        "$0.25",
    ):
        assert words in text


def test_a_name_of_a_file_may_hold_an_equals_sign(settings: Settings) -> None:
    names = "market_chart?vs_currency=usd=bitcoin, eth.csv=ethereum"
    assert asked(settings, source="x/*", asset_of=names).told_assets == ("bitcoin", "ethereum")
