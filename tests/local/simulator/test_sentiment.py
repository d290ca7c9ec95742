"""The Fear & Greed index in the shape of alternative.me."""

import json
from datetime import UTC, date, datetime

import pytest

from coinbeam.settings import ROOT
from local.simulator.sentiment import NEVER_PUBLISHED, classification

CAPTURE = ROOT.parent / "shared" / "captures" / "fng" / "fng_latest_2025-04-23_raw.json"


def test_the_newest_value_has_the_shape_of_the_real_one(client):
    if not CAPTURE.is_file():
        pytest.skip("real captures are not here: ../shared/captures")
    real, ours = json.loads(CAPTURE.read_text()), client.get("/fng/").json()
    assert list(ours) == list(real)
    assert list(ours["data"][0]) == list(real["data"][0])


def test_everything_is_a_string_and_only_the_newest_counts_down(client):
    data = client.get("/fng/", params={"limit": 3}).json()["data"]
    assert all(isinstance(value, str) for entry in data for value in entry.values())
    assert ["time_until_update" in entry for entry in data] == [True, False, False]
    assert data[0]["time_until_update"] == str(int(11.5 * 3600))


def test_the_whole_history_starts_in_2018_and_has_its_four_gaps(client):
    data = client.get("/fng/", params={"limit": 0}).json()["data"]
    days = [datetime.fromtimestamp(int(entry["timestamp"]), UTC) for entry in data]
    assert all(day.time() == datetime.min.time() for day in days)
    assert days == sorted(days, reverse=True)
    assert (days[-1].date(), days[0].date()) == (date(2018, 2, 1), date(2026, 11, 20))
    assert not NEVER_PUBLISHED & {day.date() for day in days}
    assert len(days) == (days[0] - days[-1]).days + 1 - len(NEVER_PUBLISHED)


def test_values_stay_in_bounds_and_agree_with_their_class(client):
    data = client.get("/fng/", params={"limit": 0}).json()["data"]
    assert all(0 <= int(entry["value"]) <= 100 for entry in data)
    assert all(entry["value_classification"] == classification(int(entry["value"])) for entry in data)
    assert {entry["value_classification"] for entry in data} == {
        "Extreme Fear",
        "Fear",
        "Neutral",
        "Greed",
        "Extreme Greed",
    }


@pytest.mark.parametrize(
    ("value", "name"),
    [
        (25, "Extreme Fear"),
        (26, "Fear"),
        (46, "Fear"),
        (47, "Neutral"),
        (54, "Neutral"),
        (55, "Greed"),
        (75, "Greed"),
        (76, "Extreme Greed"),
    ],
)
def test_bands(value, name):
    assert classification(value) == name


def test_a_past_day_keeps_its_value(start):
    early, late = (
        start(at=datetime(2026, 11, day, 9, tzinfo=UTC)).get("/fng/?limit=3").json()["data"] for day in (19, 20)
    )
    assert early[0]["value"] == late[1]["value"]
