"""A batch is identified by what it is: the same input is the same batch, on any machine, in any order, in any time
zone.
"""

import re
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinbeam.batch.digest import digest
from coinbeam.batch.identity import INTERVAL, batch_id, file_stamp, interval_start, is_present, parse_batch_id
from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.universe import UniverseSpec
from coinbeam.errors import SettingsError
from coinbeam.settings import Period, Universe

MOMENTS = st.datetimes(datetime(2013, 1, 1), datetime(2100, 1, 1), timezones=st.just(UTC))  # noqa: DTZ001 - hypothesis wants naive bounds
OFFSETS = st.integers(-14 * 60, 14 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes)))
PERIODS = st.sampled_from(Period)
IDS = st.lists(st.text("abcdefghij-0123456789", min_size=1, max_size=12), min_size=1, max_size=6)
AT = datetime(2026, 1, 2, 3, tzinfo=UTC)


@given(MOMENTS, PERIODS)
def test_every_moment_lies_in_the_interval_that_starts_before_it(moment: datetime, period: Period) -> None:
    start = interval_start(moment, period)
    assert start <= moment < start + INTERVAL[period]
    assert is_present(start, moment, period)
    assert interval_start(start, period) == start


@given(MOMENTS, PERIODS)
def test_a_moment_belongs_to_no_other_interval(moment: datetime, period: Period) -> None:
    start = interval_start(moment, period)
    assert not is_present(start - INTERVAL[period], moment, period)
    assert not is_present(start + INTERVAL[period], moment, period)


@given(MOMENTS, OFFSETS, PERIODS)
def test_the_time_zone_of_a_moment_does_not_matter(moment: datetime, offset: timezone, period: Period) -> None:
    elsewhere = moment.astimezone(offset)
    assert interval_start(elsewhere, period) == interval_start(moment, period)
    assert batch_id(elsewhere, "usd", UniverseSpec()) == batch_id(moment, "usd", UniverseSpec())


@pytest.mark.parametrize(
    ("period", "elapsed", "present"),
    [
        pytest.param(Period.DAILY, timedelta(0), True, id="a day is present at its first instant"),
        pytest.param(Period.DAILY, timedelta(days=1, microseconds=-1), True, id="and at its last"),
        pytest.param(Period.DAILY, timedelta(days=1), False, id="and past at the next midnight"),
        pytest.param(Period.DAILY, timedelta(microseconds=-1), False, id="a day to come is not present"),
        pytest.param(Period.HOURLY, timedelta(minutes=59, seconds=59), True, id="an hour is present for an hour"),
        pytest.param(Period.HOURLY, timedelta(hours=1), False, id="and no longer"),
    ],
)
def test_now_may_only_be_stamped_within_its_own_interval(period: Period, elapsed: timedelta, present: bool) -> None:
    assert is_present(AT, AT + elapsed, period) is present


@pytest.mark.parametrize(
    ("universe", "expected"),
    [
        pytest.param(UniverseSpec(), "20260102T0300Z-usd-all", id="the whole market"),
        pytest.param(UniverseSpec(Universe.TOP, top_n=100), "20260102T0300Z-usd-top-100", id="the largest"),
        pytest.param(
            UniverseSpec(Universe.CATEGORY, category="layer-1"), "20260102T0300Z-usd-category-layer-1", id="a category"
        ),
        pytest.param(
            UniverseSpec(Universe.IDS, ids=("bitcoin",)), f"20260102T0300Z-usd-ids-{digest('bitcoin')}", id="ids"
        ),
    ],
)
def test_the_identifier_says_what_the_batch_is(universe: UniverseSpec, expected: str) -> None:
    assert batch_id(AT, "usd", universe) == expected


@given(IDS, st.randoms())
def test_the_order_and_the_repetition_of_ids_do_not_matter(ids: list[str], random: "st.DataObject") -> None:
    shuffled = [*ids, ids[0]]
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = (batch_id(AT, "usd", UniverseSpec(Universe.IDS, ids=tuple(chosen))) for chosen in (ids, shuffled))
    assert one == other


@given(
    st.sets(st.tuples(st.sampled_from(["usd", "eur"]), st.integers(1, 5), st.sampled_from(["", "a", "b"])), min_size=2)
)
def test_different_batches_have_different_identifiers(batches: set[tuple[str, int, str]]) -> None:
    names = {batch_id(AT, currency, UniverseSpec(Universe.TOP, top_n=n), source) for currency, n, source in batches}
    assert len(names) == len(batches)


@given(
    st.sets(
        st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 1, 0, 5), timezones=st.just(UTC)),  # noqa: DTZ001 - hypothesis wants naive bounds
        min_size=2,
        max_size=6,
    )
)
def test_different_instants_are_different_batches_even_within_a_minute(moments: set[datetime]) -> None:
    assert len({batch_id(moment, "usd", UniverseSpec()) for moment in moments}) == len(moments)


@given(MOMENTS, IDS, st.text())
def test_an_identifier_is_safe_in_a_path_and_in_sql(moment: datetime, ids: list[str], source: str) -> None:
    assert re.fullmatch("[A-Za-z0-9_-]+", batch_id(moment, "usd", UniverseSpec(Universe.IDS, ids=tuple(ids)), source))


def test_replayed_files_are_a_batch_of_their_own() -> None:
    market, files = batch_id(AT, "usd", UniverseSpec()), batch_id(AT, "usd", UniverseSpec(), "captures/*.json")
    assert files.startswith(f"{market}-files-")


@given(st.lists(st.text(), min_size=1, max_size=4))
def test_a_digest_is_the_same_everywhere_and_of_the_asked_length(parts: list[str]) -> None:
    assert digest(*parts) == digest(*parts)
    assert re.fullmatch("[0-9a-f]{32}", digest(*parts, length=32))


def test_a_digest_tells_where_one_part_ends() -> None:
    assert digest("ab", "c") != digest("a", "bc")


def test_a_known_digest_never_changes() -> None:
    assert digest("bitcoin") == "6b88c087"


@pytest.mark.parametrize(("period", "stamp"), [(Period.DAILY, "2026-01-02"), (Period.HOURLY, "2026-01-02T0300")])
def test_a_file_name_carries_the_hour_only_when_snapshots_are_hourly(period: Period, stamp: str) -> None:
    assert file_stamp(AT, period) == stamp


def test_a_manifest_is_ready_for_json() -> None:
    manifest = BatchManifest("b", "markets", "coingecko", AT, "usd", 250, "all")
    assert manifest.to_dict() == {
        "batch_id": "b",
        "endpoint": "markets",
        "source_id": "coingecko",
        "snapshot_at": "2026-01-02T03:00:00Z",
        "quote_currency": "usd",
        "per_page": 250,
        "universe": "all",
    }


@given(
    moment=MOMENTS,
    currency=st.sampled_from(["usd", "eur", "btc"]),
    universe=st.one_of(
        st.just(UniverseSpec()),
        st.builds(UniverseSpec, st.just(Universe.TOP), st.integers(1, 50_000)),
        st.builds(UniverseSpec, st.just(Universe.IDS), ids=st.lists(st.text(min_size=1), min_size=1).map(tuple)),
        st.builds(
            UniverseSpec, st.just(Universe.CATEGORY), category=st.from_regex("[a-z0-9][a-z0-9_-]{0,20}", fullmatch=True)
        ),
    ),
    source=st.sampled_from(["", "captures/*.json"]),
)
def test_the_identifier_of_a_batch_can_be_read_again(
    moment: datetime, currency: str, universe: UniverseSpec, source: str
) -> None:
    name = batch_id(moment, currency, universe, source)
    read = parse_batch_id(name)
    assert (read.batch_id, read.snapshot_at, read.quote_currency) == (name, moment, currency)
    assert (read.universe, read.is_foreign) == (universe.label, bool(source))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "batch",
        "20260102T0000Z-usd-",
        "20261302T0000Z-usd-all",
        "20260102T0000Z-USD-all",
        "20260102T0000Z-usd-a/../b",
        "daily-usd-1a2b",
    ],
)
def test_what_names_no_snapshot_is_refused(text: str) -> None:
    with pytest.raises(SettingsError, match="names no snapshot"):
        parse_batch_id(text)
