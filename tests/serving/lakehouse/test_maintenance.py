"""Expiry, compaction and cleaning of the open tables."""

from datetime import UTC, date, datetime, timedelta

import pytest

from coinbeam.batch.tables import DAILY_FACT
from coinbeam.contracts import load_contract
from coinbeam.landing.bucket import Bucket
from coinbeam.settings import LakehouseSettings
from serving.lakehouse.catalog import Lakehouse
from serving.lakehouse.equality import sorted_by
from serving.lakehouse.listing import listed
from serving.lakehouse.maintenance import maintain
from tests.coinbeam.marts.conftest import day_row
from tests.serving.lakehouse.conftest import HISTORY, Daily, Lake

pytestmark = pytest.mark.cloud

KEY = load_contract(DAILY_FACT).primary_key


def later(days: float) -> datetime:
    """An instant after everything that a test wrote."""
    return datetime.now(UTC) + timedelta(days=days)


def maintained(lake: Lake, days: float, **settings: int) -> dict[str, tuple[int, int, int]]:
    """Maintain with settings, so many days later: files compacted, tags dropped, snapshots expired, by table."""
    chosen = lake.lakehouse.settings
    of_lake = LakehouseSettings(uri=chosen.lakehouse.uri, **settings)
    done = maintain(Lakehouse(chosen.model_copy(update={"lakehouse": of_lake})), lambda: later(days))
    return {one.name: (one.compacted, one.tags_dropped, one.snapshots_expired) for one in done}


def test_old_states_expire_tagged_ones_stay_and_unnamed_files_go(daily: Daily) -> None:
    daily.lake.exporter.export()
    bucket = Bucket(daily.lake.lakehouse.settings)
    folder = f"lakehouse/coinbeam/{DAILY_FACT}/data/"
    bucket.write_text(f"{folder}2024-01/left-over.parquet", "an export that was killed")
    files = len(bucket.names(folder))
    assert maintained(daily.lake, 0)[DAILY_FACT] == (0, 0, 0), "nothing is old yet"
    assert len(bucket.names(folder)) == files
    _, tags, expired = maintained(daily.lake, 31)[DAILY_FACT]
    assert (tags, expired > 0) == (0, True)
    assert len(bucket.names(folder)) < files
    assert f"{folder}2024-01/left-over.parquet" not in bucket.names(folder)
    assert daily.lake.prices() == daily.lake.prices(HISTORY) == daily.published()


def test_small_files_of_a_closed_month_become_one_and_nothing_else_changes(daily: Daily) -> None:
    lake, month = daily.lake, [date(2023, 11, number) for number in (1, 2, 3)]
    for day in month:
        daily.publish(f"day-{day}", [day_row("bitcoin", day, 1.5, f"day-{day}")])
        lake.exporter.export()
    before = sorted_by(lake.rows(DAILY_FACT), KEY)
    assert maintained(lake, 0, compact_files=4)[DAILY_FACT][0] == 0
    assert maintained(lake, 0, compact_files=3)[DAILY_FACT][0] == 3
    assert sorted_by(lake.rows(DAILY_FACT), KEY).equals(before)
    assert lake.exporter.check() == []
    assert lake.rows(DAILY_FACT, f"day-{month[0]}").num_rows == before.num_rows - 2, "a tag keeps its own files"
    daily.publish(f"day-{month[1]}", [day_row("bitcoin", month[1], 2.5, f"day-{month[1]}")])
    lake.exporter.export()
    assert lake.exporter.check() == [], "a day within a file of three"


def test_only_the_newest_tags_are_kept_if_a_setting_says_so(daily: Daily) -> None:
    for day in (date(2023, 12, 1), date(2023, 12, 2)):
        daily.publish(f"day-{day}", [day_row("bitcoin", day, 1.5, f"day-{day}")])
        daily.lake.exporter.export()
    tags = {tag for one in listed(daily.lake.lakehouse, DAILY_FACT) for tag in one.tags}
    assert {"day-2023-12-01", "day-2023-12-02"} < tags
    assert maintained(daily.lake, 0, keep_tags=1)[DAILY_FACT] == (0, len(tags) - 1, 0)
    [kept] = [one for one in listed(daily.lake.lakehouse, DAILY_FACT) if one.tags]
    assert (kept.tags, kept.is_present) == (("day-2023-12-02",), True)
