"""The plan of a run: honest time, what it costs, and what may enter which warehouse."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinbeam.batch.manifest import BatchManifest
from coinbeam.batch.universe import UniverseSpec, universe_spec
from coinbeam.errors import SettingsError
from coinbeam.feeds.plan import Mode
from coinbeam.feeds.snapshot.plan import (
    asset_calls,
    check_affordable,
    decide_mode,
    estimate,
    fetch_calls,
    page_calls,
    rate_shares,
    refuse_foreign_source,
)
from coinbeam.feeds.snapshot.request import SnapshotRequest
from coinbeam.settings import (
    CoinGeckoSettings,
    Environment,
    GoogleSettings,
    MarketSettings,
    Period,
    Settings,
    StorageSettings,
    Universe,
)
from coinbeam.sources.rate import BudgetExceededError

DAY = datetime(2026, 1, 2, tzinfo=UTC)


def local(**market: Any) -> Settings:
    """A local environment; no variable of the machine is needed."""
    return Settings(
        environment=Environment.LOCAL,
        google=GoogleSettings(project="local"),
        storage=StorageSettings(bucket="bucket"),
        market=MarketSettings(**market),
        coingecko=CoinGeckoSettings(plan="demo"),
    )


def production() -> Settings:
    """A production environment."""
    return Settings(
        environment=Environment.PRODUCTION,
        google=GoogleSettings(project="p"),
        storage=StorageSettings(bucket="bucket"),
        market=MarketSettings(),
        coingecko=CoinGeckoSettings(plan="analyst"),
    )


def request(files: str = "", at: datetime = DAY) -> SnapshotRequest:
    """The whole market at an instant."""
    return SnapshotRequest(at, UniverseSpec(), "usd", files)


@pytest.mark.parametrize("has_landing", [True, False], ids=["something was landed", "nothing was landed"])
@pytest.mark.parametrize(
    ("period", "now", "files", "landed", "nothing"),
    [
        pytest.param(
            Period.DAILY, timedelta(0), "", Mode.FETCH, Mode.FETCH, id="the first instant of the day asks the source"
        ),
        pytest.param(
            Period.DAILY, timedelta(hours=23, minutes=59), "", Mode.FETCH, Mode.FETCH, id="its last minute does too"
        ),
        pytest.param(Period.DAILY, timedelta(days=1), "", Mode.REPLAY, Mode.GAP, id="the next midnight never asks"),
        pytest.param(Period.DAILY, timedelta(days=400), "", Mode.REPLAY, Mode.GAP, id="a year later never asks"),
        pytest.param(Period.HOURLY, timedelta(minutes=59), "", Mode.FETCH, Mode.FETCH, id="the present hour asks"),
        pytest.param(Period.HOURLY, timedelta(minutes=60), "", Mode.REPLAY, Mode.GAP, id="the next hour never asks"),
        pytest.param(
            Period.DAILY,
            timedelta(hours=1),
            "x/*.json",
            Mode.REPLAY,
            Mode.REPLAY,
            id="files are replayed in the present",
        ),
        pytest.param(
            Period.DAILY, timedelta(days=9), "x/*.json", Mode.REPLAY, Mode.REPLAY, id="files are replayed for the past"
        ),
    ],
)
def test_honest_time_decides(
    period: Period, now: timedelta, files: str, landed: str, nothing: str, has_landing: bool
) -> None:
    mode = decide_mode(request(files), DAY + now, local(period=period), has_landing)
    assert mode == (landed if has_landing else nothing)


@given(st.timedeltas(timedelta(microseconds=1), timedelta(days=3_000)))
def test_no_instant_to_come_is_ever_planned(ahead: timedelta) -> None:
    with pytest.raises(SettingsError, match="lies in the future"):
        decide_mode(request(at=DAY + ahead), DAY, local(), True)


@given(st.timedeltas(timedelta(days=1), timedelta(days=3_000)), st.booleans())
def test_todays_prices_are_never_stamped_on_an_old_date(late: timedelta, has_landing: bool) -> None:
    assert decide_mode(request(), DAY + late, local(), has_landing) != Mode.FETCH


@pytest.mark.parametrize(
    ("universe", "rows", "calls"),
    [
        pytest.param(
            UniverseSpec(), 18_000, 72 + 2 + 1 + 1 + 50, id="the whole market is 72 pages and a confirmed end"
        ),
        pytest.param(UniverseSpec(Universe.TOP, top_n=251), 251, 2 + 1 + 1 + 50, id="251 assets are two pages"),
        pytest.param(UniverseSpec(Universe.TOP, top_n=250), 250, 1 + 1 + 1 + 50, id="250 assets are one"),
        pytest.param(UniverseSpec(Universe.IDS, ids=("a", "b")), 2, 1 + 1 + 1 + 1 + 50, id="two ids are one page"),
        pytest.param(
            UniverseSpec(Universe.CATEGORY, category="c"),
            18_000,
            72 + 2 + 1 + 1 + 50,
            id="a category may be the whole market",
        ),
    ],
)
def test_a_run_is_estimated_before_its_first_call(universe: UniverseSpec, rows: int, calls: int) -> None:
    made = estimate(local(), universe, 1_000, fetches=True)
    assert (made.rows, made.calls) == (rows, calls)
    assert made.minutes == calls / 30, "the demo plan allows 30 calls a minute"
    assert made.credits_left == 10_000 - 1_000
    assert made.landing_bytes >= rows * 4_300
    assert made.file_bytes == rows * 480
    assert made.dollars == 0, "a local run costs nothing"


def test_in_the_cloud_every_shard_confirms_its_end() -> None:
    assert page_calls(production(), UniverseSpec()) == 72 + 8
    assert page_calls(local(), UniverseSpec()) == 72 + 2
    assert asset_calls(local(max_details=7)) == 1 + 7


def test_exchange_rates_cost_one_call_where_they_are_wanted() -> None:
    whole = UniverseSpec()
    assert fetch_calls(local(), whole) == page_calls(local(), whole) + 1
    assert fetch_calls(local(exchange_rates=False), whole) == page_calls(local(), whole)
    wanted, unwanted = (estimate(local(exchange_rates=one), whole, 0, fetches=True) for one in (True, False))
    assert wanted.calls == unwanted.calls + 1
    assert estimate(local(), whole, 0, fetches=False).calls == 0


@given(st.floats(2, 10_000), st.integers(1, 5_000), st.integers(1, 5_000))
def test_the_shares_of_two_jobs_never_exceed_the_limit_and_leave_each_a_call(
    per_minute: float, pages: int, assets: int
) -> None:
    shares = rate_shares(per_minute, pages, assets)
    assert sum(shares) <= per_minute < sum(shares) + 1
    assert min(shares) >= 1


def test_the_job_with_more_calls_gets_the_larger_share() -> None:
    assert rate_shares(30, 75, 25) == (22, 8)


@pytest.mark.parametrize("per_minute", [1.9, 1, 0.5])
def test_a_limit_that_two_jobs_cannot_share_is_refused(per_minute: float) -> None:
    with pytest.raises(SettingsError, match=rf"calls_per_minute is {per_minute:g}"):
        rate_shares(per_minute, 1, 1)


def test_a_replay_makes_no_call() -> None:
    made = estimate(local(), UniverseSpec(), 0, fetches=False)
    assert (made.calls, made.minutes) == (0, 0)


def test_the_rate_of_the_simulator_replaces_that_of_the_plan() -> None:
    assert estimate(local(), UniverseSpec(), 0, fetches=True, per_minute=6_000).minutes == 126 / 6_000


def test_a_cloud_run_costs_a_few_cents() -> None:
    made = estimate(production(), UniverseSpec(), 0, fetches=True)
    assert 0.01 < made.dollars < 0.5


@pytest.mark.parametrize(("left", "affordable"), [(126, True), (125, False), (0, False), (-5, False)])
def test_a_run_that_the_month_cannot_pay_is_refused(left: int, affordable: bool) -> None:
    plan = estimate(local(), UniverseSpec(), 10_000 - left, fetches=True)
    if affordable:
        check_affordable(plan, local())
        return
    with pytest.raises(
        BudgetExceededError, match=rf"about 126 calls, but only {max(left, 0)} of 10000 .*Choose a smaller universe"
    ):
        check_affordable(plan, local())


MANIFESTS = {
    source: BatchManifest("b", "markets", source, DAY, "usd", 250, "all")
    for source in ("coingecko", "coingecko_simulator", "file")
}


@pytest.mark.parametrize(
    ("manifest", "allowed"),
    [
        pytest.param(MANIFESTS["coingecko"], True, id="landed live pages may be replayed"),
        pytest.param(MANIFESTS["coingecko_simulator"], False, id="simulated pages may not"),
        pytest.param(MANIFESTS["file"], False, id="files of a user may not"),
        pytest.param(None, False, id="pages of unknown origin may not"),
    ],
)
def test_only_live_pages_reach_a_warehouse_that_is_not_local(manifest: BatchManifest | None, allowed: bool) -> None:
    refuse_foreign_source(local(), manifest)
    if allowed:
        refuse_foreign_source(production(), manifest)
        return
    with pytest.raises(SettingsError, match="may only reach a local warehouse"):
        refuse_foreign_source(production(), manifest)


@pytest.mark.parametrize(
    ("kind", "values", "expected"),
    [
        pytest.param(
            "all", {"top_n": 5, "ids": ("a",)}, UniverseSpec(), id="the whole market ignores the other fields"
        ),
        pytest.param(
            "top",
            {"top_n": 5, "category": "x"},
            UniverseSpec(Universe.TOP, top_n=5),
            id="the largest take only their number",
        ),
        pytest.param("ids", {"ids": ("a", "b")}, UniverseSpec(Universe.IDS, ids=("a", "b")), id="ids take their list"),
        pytest.param(
            "category",
            {"category": "layer-1"},
            UniverseSpec(Universe.CATEGORY, category="layer-1"),
            id="a category its id",
        ),
    ],
)
def test_a_selection_keeps_only_what_its_kind_needs(kind: str, values: dict[str, Any], expected: UniverseSpec) -> None:
    assert universe_spec(kind, **values) == expected


@pytest.mark.parametrize(
    ("kind", "values", "named"),
    [
        pytest.param("top", {}, "top_n is empty", id="the largest without a number"),
        pytest.param("top", {"top_n": 0}, "top_n is empty", id="the largest none"),
        pytest.param("top", {"top_n": -3}, "top_n is -3", id="a negative number"),
        pytest.param("top", {"top_n": 1_000_000}, "top_n is 1000000", id="more than any market has"),
        pytest.param("ids", {}, "ids is empty", id="ids without ids"),
        pytest.param("category", {}, "category is empty", id="a category without its id"),
        pytest.param(
            "category",
            {"category": "x' OR '1"},
            "no CoinGecko category id",
            id="a category that would break out of SQL",
        ),
        pytest.param(
            "category", {"category": "../x"}, "no CoinGecko category id", id="a category that would leave its folder"
        ),
        pytest.param("everything", {}, "universe is 'everything'", id="an unknown kind"),
    ],
)
def test_an_incomplete_selection_is_refused_and_named(kind: str, values: dict[str, Any], named: str) -> None:
    with pytest.raises(SettingsError, match=named):
        universe_spec(kind, **values)
