"""The refresh as a whole: what it reads, that any order of publishes ends in the same marts, and that a failure leaves
no trace.
"""

import json
import random
import re
from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from coinbeam.batch.tables import DAILY_FACT, FEAR_GREED_FACT, SNAPSHOT_FACT
from coinbeam.contracts import load_contract
from coinbeam.errors import CoinbeamError, PublishBlockedError, TerminalError, WriteConflictError
from coinbeam.marts.plan import MartPlan
from coinbeam.marts.refresh import Marts
from coinbeam.warehouse.staging import merge_rows
from tests.coinbeam.marts.conftest import (
    MARTS,
    START,
    Bench,
    assert_same_marts,
    day_row,
    index_row,
    make_bench,
    snapshot_row,
)
from tests.temporary import LocalCloud

pytestmark = pytest.mark.cloud

ASSETS = ("bitcoin", "ethereum", "third")
DAY = timedelta(1)


def at(day: int, hour: int = 0) -> datetime:
    """An instant, counted in days from the start."""
    return datetime.combine(START + timedelta(day), time(hour), UTC)


def price(source: random.Random) -> float:
    """Any price, and often one of a few, so that ties happen."""
    return source.choice([1.0, 2.0, source.lognormvariate(0, 1)])


def publish(bench: Bench, step: int, source: random.Random) -> None:
    """One publish of any kind: a new batch, a rerun with other rows, or a retraction."""
    kind, batch = source.randrange(6), source.randrange(12)
    if kind < 2:
        days = sorted(source.sample(range(60), source.randrange(1, 25)))
        rows = [day_row(source.choice(ASSETS), START + timedelta(d), price(source), f"h{batch}") for d in days]
        bench.put(DAILY_FACT, f"h{batch}", list({(r["asset_id"], r["date"]): r for r in rows}.values()))
    elif kind < 5:
        instant = at(batch * 4 + step % 3, source.choice([0, 0, 0, 1, 23]))
        name = f"s{instant:%m%dT%H}"
        present = [asset for asset in ASSETS if source.random() < 0.8]
        late = (instant + timedelta(hours=source.choice([0, 0, 0, 1, 12]))).isoformat()
        rows = [snapshot_row(asset, instant, price(source), name, observed_at=late) for asset in present]
        if rows or (name, SNAPSHOT_FACT) in bench.queue:
            bench.put(SNAPSHOT_FACT, name, rows)
    else:
        days = source.sample(range(60), 10)
        bench.put(
            FEAR_GREED_FACT,
            f"i{step}",
            [index_row(START + timedelta(d), source.randrange(101), f"i{step}") for d in days],
        )


def copied(bench: Bench, cloud: LocalCloud) -> Bench:
    """Another warehouse with the same facts, all waiting for its first refresh."""
    other = make_bench(cloud)
    for table in (DAILY_FACT, SNAPSHOT_FACT, FEAR_GREED_FACT):
        source, target = (b.warehouse.table(load_contract(table)) for b in (bench, other))
        other.warehouse.query(f"INSERT INTO `{target}` SELECT * FROM `{source}`")
        found = other.warehouse.rows(f"SELECT * FROM `{target}`")
        column = "snapshot_date" if table == SNAPSHOT_FACT else "date"
        if found:
            other.enqueue(table, "all", [row[column].isoformat() for row in found])
    return other


def newest_prices(bench: Bench) -> dict[tuple[str, str], tuple[float, str]]:
    """Price and kind of the newest price of each asset, by a look at every row of the facts."""
    names = bench.warehouse.names()
    found: dict[tuple[str, str], tuple[tuple[Any, ...], float]] = {}
    for kind, sql in (
        ("snapshot", f"SELECT *, snapshot_date AS date, current_price AS price FROM {names[SNAPSHOT_FACT]}"),
        ("daily", f"SELECT *, observed_at AS snapshot_at FROM {names[DAILY_FACT]}"),
    ):
        for row in bench.warehouse.rows(f"SELECT * FROM ({sql}) AS f WHERE date >= '2000-01-01'"):
            known = max(row["snapshot_at"], row["observed_at"])
            value = ((row["date"], known, kind, row["snapshot_at"]), row["price"])
            key = (row["asset_id"], row["quote_currency"])
            found[key] = max(found.get(key, value), value)
    return {key: (price, order[2]) for key, (order, price) in found.items()}


@pytest.mark.parametrize("seed", [1])
def test_any_order_of_publishes_ends_as_one_refresh_of_everything(
    bench: Bench, local_cloud: LocalCloud, seed: int
) -> None:
    source = random.Random(seed)
    for step in range(14):
        publish(bench, step, source)
        if source.random() < 0.5:
            bench.refresh()
            latest = {key: (row["price"], row["kind"]) for key, row in bench.rows("latest_prices").items()}
            assert latest == newest_prices(bench)
    bench.refresh()
    assert bench.marts.pending() == []
    other = copied(bench, local_cloud)
    other.refresh()
    found, expected = bench.everything(), other.everything()
    assert len(expected["market_daily"]) > 20
    assert {row["price_source"] for row in expected["market_daily"].values()} == {"history", "snapshot"}
    assert_same_marts(found, expected)


def test_days_one_by_one_cut_into_slices_or_at_once_are_the_same(
    bench: Bench, local_cloud: LocalCloud, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = random.Random(5)
    gaps = {
        "bitcoin": {17},
        "ethereum": set(),
        "third": set(range(5, 48)),
    }  # the last one returns after more than the look-back
    batches = [
        range(20),
        [47],
        range(20, 46),
        [46],
        [48],
        [49],
    ]  # a day too early in the middle, then the days that it waits for
    for number, days in enumerate(batches):
        rows = [
            day_row(a, START + timedelta(d), source.lognormvariate(0, 0.3), f"b{number}")
            for d in days
            for a in ASSETS
            if d not in gaps[a]
        ]
        bench.put(DAILY_FACT, f"b{number}", rows)
        bench.refresh()
    at_once = copied(bench, local_cloud)
    at_once.refresh()
    sliced = copied(bench, local_cloud)
    monkeypatch.setattr("coinbeam.marts.plan.SLICE_ROWS", 1)
    monkeypatch.setattr("coinbeam.marts.plan.LOOK_BACK_DAYS", 31)
    plan = sliced.marts.plan()
    assert plan is not None
    assert plan.touched is not None
    assert len(plan.touched.slices) == 2
    sliced.refresh()
    expected = at_once.everything()
    assert_same_marts(bench.everything(), expected)
    assert_same_marts(sliced.everything(), expected)
    assert expected["market_daily"]["third", "usd", START + 48 * DAY]["consecutive_days"] == 1
    assert expected["market_daily"]["third", "usd", START + 48 * DAY]["days_tracked"] == 6


def test_a_later_price_changes_no_earlier_row(bench: Bench) -> None:
    source = random.Random(3)
    rows = [day_row(a, START + timedelta(d), source.lognormvariate(0, 0.3), f"b{d}") for d in range(45) for a in ASSETS]
    for row in rows:
        row["batch_id"] = "late" if row["date"] >= (START + 40 * DAY).isoformat() else "early"
    bench.put(DAILY_FACT, "early", [row for row in rows if row["batch_id"] == "early"])
    bench.put(DAILY_FACT, "late", [row for row in rows if row["batch_id"] == "late"])
    bench.refresh()
    before = bench.rows("market_daily")
    overview = bench.rows("market_overview")
    bench.put(DAILY_FACT, "late", [{**row, "price": row["price"] * 1e3} for row in rows if row["batch_id"] == "late"])
    bench.refresh()
    after = bench.rows("market_daily")
    split = START + 40 * DAY
    assert {key: row for key, row in after.items() if key[2] < split} == {
        key: row for key, row in before.items() if key[2] < split
    }
    assert all(row != before[key] for key, row in after.items() if key[2] >= split)
    assert {k: v for k, v in bench.rows("market_overview").items() if k[0] < split} == {
        k: v for k, v in overview.items() if k[0] < split
    }


def test_a_refresh_that_fails_half_way_leaves_everything_as_it_was(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench.put(DAILY_FACT, "first", [day_row("bitcoin", START + timedelta(d), 1.0 + d, "first") for d in range(9)])
    bench.refresh()
    before = bench.everything()
    bench.put(
        DAILY_FACT, "second", [day_row("bitcoin", START + timedelta(d), 29.0 - d, "second") for d in range(5, 12)]
    )
    queue = bench.marts.pending()
    whole = Marts.script
    for marker in ("DELETE FROM {asset_stats}", "COMMIT TRANSACTION;"):  # after the first mart, and after everything

        def broken(self: Marts, plan: MartPlan, marker: str = marker) -> str:
            head, found, tail = whole(self, plan).partition(marker.format(**self._warehouse.names()))
            assert found
            return f"{head} SELECT ERROR('the machine went away') AS broken; {found}{tail}"

        with monkeypatch.context() as patch:
            patch.setattr(Marts, "script", broken)
            with pytest.raises(TerminalError, match="the machine went away"):
                bench.refresh()
        assert bench.everything() == before
        assert bench.marts.pending() == queue
    report = bench.refresh()
    assert (report.publications, report.rows["market_daily"]) == (1, 7)
    assert bench.rows("market_daily")["bitcoin", "usd", START + 11 * DAY]["consecutive_days"] == 12


def test_a_publish_between_plan_and_refresh_is_noticed(bench: Bench) -> None:
    bench.put(DAILY_FACT, "new", [day_row("bitcoin", START + timedelta(40), 1.0, "new")])
    marts = bench.marts
    plan = marts.plan()
    assert plan is not None
    late = [day_row("bitcoin", START + timedelta(d), 1.0, "old") for d in range(40)]
    bench.put(DAILY_FACT, "old", late)
    bench.put(DAILY_FACT, "new", [day_row("bitcoin", START + timedelta(40), 2.0, "new")])
    marts._run(plan)  # within the bounds of the plan: done, and the publication that came again still waits
    assert {p.batch_id for p in marts.pending()} == {"old", "new"}
    bench.refresh()
    assert bench.rows("market_daily")["bitcoin", "usd", START + 40 * DAY]["consecutive_days"] == 41

    bench.put(DAILY_FACT, "new", [day_row("bitcoin", START + timedelta(d), 3.0, "new") for d in (40, 41)])
    stale = marts.plan()
    assert stale is not None
    narrow = stale.model_copy(
        update={"touched": stale.touched and stale.touched.model_copy(update={"last_date": START + 40 * DAY})}
    )
    with pytest.raises(WriteConflictError, match="between the plan"):
        marts._run(narrow)
    blind = stale.model_copy(update={"touched": None})
    with pytest.raises(WriteConflictError, match="between the plan"):
        marts._run(blind)
    assert [p.batch_id for p in marts.pending()] == ["new"]


def test_nothing_pending_is_nothing_done(bench: Bench) -> None:
    assert bench.marts.plan() is None
    report = bench.refresh()
    assert (report.publications, report.rows, report.dates) == (0, {}, None)


def test_the_first_snapshot_stands_for_a_day_that_history_lacks(bench: Bench) -> None:
    def put(hour: int, value: float) -> None:
        bench.put(SNAPSHOT_FACT, f"s{hour}", [snapshot_row("bitcoin", at(0, hour), value, f"s{hour}")])
        bench.refresh()

    def day() -> tuple[Any, ...]:
        row = bench.rows("market_daily")["bitcoin", "usd", START]
        return row["price"], row["price_source"], row["batch_id"]

    put(1, 5.0)
    assert day() == (5.0, "snapshot", "s1")
    put(2, 7.0)
    assert day() == (5.0, "snapshot", "s1")
    put(0, 1.0)
    assert day() == (1.0, "snapshot", "s0")
    bench.put(DAILY_FACT, "h", [day_row("bitcoin", START, 2.0, "h")])
    bench.refresh()
    assert day() == (2.0, "history", "h")
    bench.put(DAILY_FACT, "h", [])
    bench.refresh()
    assert day() == (1.0, "snapshot", "s0")


def test_a_late_snapshot_stands_for_no_day_and_is_the_newest_price(bench: Bench) -> None:
    """A run at 23:57 gave market_daily the price of 23:56 as that of 00:00, and a change of 0.007 % that was 0.45 %."""

    def put(day: int, observed: datetime, value: float, *assets: str) -> None:
        rows = [snapshot_row(a, at(day), value, f"s{day}", observed_at=observed.isoformat()) for a in assets]
        bench.put(SNAPSHOT_FACT, f"s{day}", rows)
        bench.refresh()

    def latest() -> dict[str, tuple[float, datetime]]:
        return {key[0]: (row["price"], row["price_at"]) for key, row in bench.rows("latest_prices").items()}

    put(0, at(0, 2), 1.0, "bitcoin")  # exactly at the tolerance
    late = at(1, 23) + timedelta(minutes=56)
    put(1, late, 2.0, "bitcoin", "newborn")
    assert {(key[0], key[2]) for key in bench.rows("market_daily")} == {("bitcoin", START)}
    assert {(key[0], row["last_date"]) for key, row in bench.rows("asset_stats").items()} == {("bitcoin", START)}
    assert latest() == {"bitcoin": (2.0, late), "newborn": (2.0, late)}
    put(4, at(4, 3), 3.0, "bitcoin", "newborn")
    assert latest() == {"bitcoin": (3.0, at(4, 3)), "newborn": (3.0, at(4, 3))}
    put(4, at(4, 5), 4.0, "bitcoin")  # run again: the source has taken the other asset off its list
    assert latest() == {"bitcoin": (4.0, at(4, 5)), "newborn": (2.0, late)}
    bench.put(SNAPSHOT_FACT, "s4", [])
    bench.refresh()
    assert latest() == {"bitcoin": (2.0, late), "newborn": (2.0, late)}
    bench.put(DAILY_FACT, "h", [day_row("bitcoin", START + DAY, 9.0, "h")])
    bench.refresh()
    assert bench.rows("market_daily")["bitcoin", "usd", START + DAY]["price_change_percentage_1d"] == 800.0
    assert latest()["bitcoin"] == (2.0, late)
    bench.put(SNAPSHOT_FACT, "s1", [])
    bench.refresh()
    assert latest() == {"bitcoin": (9.0, at(1))}


def test_a_refresh_without_a_day_of_today_is_not_blamed_for_the_age_of_the_days(bench: Bench) -> None:
    def stale(hours: int = 9) -> set[str]:
        """The marts whose age fails the refresh of what waits."""
        marts = Marts(bench.warehouse, bench.warehouse.settings, lambda: at(0, hours % 24) + hours // 24 * DAY)
        plan = marts.plan()
        assert plan is not None
        bench.refresh()
        try:
            marts.verify(plan, "run")
        except PublishBlockedError as error:
            return set(re.findall(r"(\w+)\.freshness_limit", error.message))
        return set()

    bench.put(SNAPSHOT_FACT, "s", [snapshot_row("late", at(0), 1.0, "s", observed_at=at(0, 7).isoformat())])
    assert stale() == set(), "the first run of a new warehouse, in the morning"
    bench.put(FEAR_GREED_FACT, "f", [index_row(START, 40, "f")])
    assert stale() == set(), "the index brings no prices"
    bench.put(DAILY_FACT, "d", [day_row("old", START - 90 * DAY, 1.0, "d")])
    assert stale() == set(), "nor is what is old to blame"
    bench.put(SNAPSHOT_FACT, "t", [snapshot_row("early", at(0), 1.0, "t")])
    assert stale(hours=84) == {"market_daily", "market_overview", "latest_prices"}, "what came too late is"


def test_how_late_a_snapshot_may_be_is_a_setting(bench: Bench) -> None:
    market = bench.warehouse.settings.market.model_copy(update={"late_after_minutes": 0.5})
    marts = Marts(bench.warehouse, bench.warehouse.settings.model_copy(update={"market": market}))
    observed = {"early": at(0) - timedelta(hours=5), "in time": at(0) + timedelta(seconds=30), "late": at(0, 1)}
    rows = [snapshot_row(asset, at(0), 1.0, "s", observed_at=seen.isoformat()) for asset, seen in observed.items()]
    before = observed["early"].isoformat()  # nobody traded it since: its price is old, and was asked for late
    rows.append(snapshot_row("idle", at(0), 1.0, "s", observed_at=before, ingested_at=at(0, 1).isoformat()))
    bench.put(SNAPSHOT_FACT, "s", rows)
    marts.refresh()
    assert {key[0] for key in bench.rows("market_daily")} == {"early", "in time"}
    assert {key[0]: row["price_at"] for key, row in bench.rows("latest_prices").items()} == {
        "early": at(0),
        "in time": observed["in time"],
        "late": observed["late"],
        "idle": at(0),
    }


def test_a_retraction_between_plan_and_refresh_loses_no_newest_price(bench: Bench) -> None:
    for day in (0, 50):
        rows = [snapshot_row("late", at(day), 1.0 + day, f"s{day}", observed_at=at(day, 9).isoformat())]
        bench.put(SNAPSHOT_FACT, f"s{day}", rows)
        bench.refresh()
    bench.put(SNAPSHOT_FACT, "s50", [snapshot_row("late", at(50), 7.0, "s50", observed_at=at(50, 10).isoformat())])
    marts = bench.marts
    plan = marts.plan()
    assert plan is not None
    bench.put(SNAPSHOT_FACT, "s50", [])
    with pytest.raises(WriteConflictError, match="between the plan"):
        marts._run(plan)
    bench.refresh()
    assert bench.rows("latest_prices")["late", "usd"]["price"] == 1.0


def test_a_snapshot_later_in_a_day_recomputes_no_day(bench: Bench) -> None:
    bench.put(SNAPSHOT_FACT, "s0", [snapshot_row("bitcoin", at(0), 1.0, "s0")])
    bench.refresh()
    bench.put(SNAPSHOT_FACT, "s1", [snapshot_row("bitcoin", at(0, 1), 2.0, "s1")])
    report = bench.refresh()
    assert (report.rows, report.dates) == ({"latest_prices": 1}, None)
    assert bench.rows("latest_prices")["bitcoin", "usd"]["price"] == 2.0


def test_latest_prices_follow_snapshots_retractions_and_history(bench: Bench) -> None:
    def latest() -> dict[str, tuple[Any, ...]]:
        bench.refresh()
        return {
            key[0]: (row["price"], row["kind"], row["batch_id"]) for key, row in bench.rows("latest_prices").items()
        }

    bench.put(DAILY_FACT, "h", [day_row("old", START - 90 * DAY, 7.0, "h"), day_row("bitcoin", START, 8.0, "h")])
    assert latest() == {"old": (7.0, "daily", "h"), "bitcoin": (8.0, "daily", "h")}
    bench.put(SNAPSHOT_FACT, "a", [snapshot_row("bitcoin", at(0), 1.0, "a"), snapshot_row("ethereum", at(0), 2.0, "a")])
    assert latest() == {
        "old": (7.0, "daily", "h"),
        "bitcoin": (1.0, "snapshot", "a"),
        "ethereum": (2.0, "snapshot", "a"),
    }
    bench.put(
        SNAPSHOT_FACT, "b", [snapshot_row("bitcoin", at(50, 3), 3.0, "b"), snapshot_row("old", at(50, 3), 4.0, "b")]
    )
    assert latest() == {
        "old": (4.0, "snapshot", "b"),
        "bitcoin": (3.0, "snapshot", "b"),
        "ethereum": (2.0, "snapshot", "a"),
    }
    bench.put(SNAPSHOT_FACT, "b", [])
    assert latest() == {
        "old": (7.0, "daily", "h"),
        "bitcoin": (1.0, "snapshot", "a"),
        "ethereum": (2.0, "snapshot", "a"),
    }
    bench.put(SNAPSHOT_FACT, "a", [])
    assert latest() == {"old": (7.0, "daily", "h"), "bitcoin": (8.0, "daily", "h")}
    bench.put(DAILY_FACT, "h", [])
    assert latest() == {}
    assert bench.everything() == {mart: {} for mart in MARTS}


def test_a_row_that_another_batch_took_over_and_lost_leaves_no_trace(bench: Bench) -> None:
    bench.put(DAILY_FACT, "a", [day_row("bitcoin", START, 1.0, "a"), day_row("bitcoin", START + DAY, 2.0, "a")])
    bench.refresh()
    bench.put(DAILY_FACT, "b", [day_row("bitcoin", START + DAY, 3.0, "b")])
    bench.put(DAILY_FACT, "b", [])  # before the marts have seen that it ever had the row
    bench.refresh()
    assert list(bench.rows("market_daily")) == [("bitcoin", "usd", START)]


def test_two_currencies_of_an_asset_are_two_series(bench: Bench) -> None:
    rows = [day_row("bitcoin", START + timedelta(d), 1.0 + d, "b") for d in range(8)]
    bench.put(DAILY_FACT, "b", [*rows, *({**row, "quote_currency": "eur", "price": 100.0} for row in rows)])
    bench.refresh()
    daily = bench.rows("market_daily")
    assert daily["bitcoin", "usd", START + 7 * DAY]["sma_7d"] == 5.0
    assert daily["bitcoin", "eur", START + 7 * DAY]["sma_7d"] == 100.0
    assert set(bench.rows("latest_prices")) == {("bitcoin", "usd"), ("bitcoin", "eur")}
    assert set(bench.rows("asset_stats")) == {("bitcoin", "usd"), ("bitcoin", "eur")}


def test_sentiment_that_comes_late_changes_its_own_days_alone(bench: Bench) -> None:
    bench.put(DAILY_FACT, "b", [day_row("bitcoin", START + timedelta(d), 100.0 - d, "b") for d in range(35)])
    bench.refresh()
    before = bench.rows("market_daily")
    bench.put(FEAR_GREED_FACT, "index", [index_row(START + 33 * DAY, 10), index_row(START + 2 * DAY, 90)])
    report = bench.refresh()
    after = bench.rows("market_daily")
    changed = {
        key[2]: {name for name in row if row[name] != before[key][name]}
        for key, row in after.items()
        if row != before[key]
    }
    sentiment = {"fear_greed_value", "fear_greed_classification", "sentiment_score"}
    assert changed == {START + 2 * DAY: sentiment, START + 33 * DAY: sentiment | {"combined_signal"}}
    assert after["bitcoin", "usd", START + 33 * DAY]["combined_signal"] == "POTENTIAL_BUY"
    assert report.dates is None
    assert bench.rows("market_overview")[START + 33 * DAY, "usd"]["fear_greed_value"] == 10
    bench.put(FEAR_GREED_FACT, "index", [index_row(START + 33 * DAY, 10)])
    bench.refresh()
    assert bench.rows("market_daily")["bitcoin", "usd", START + 2 * DAY] == before["bitcoin", "usd", START + 2 * DAY]


def test_thresholds_come_from_the_settings(bench: Bench) -> None:
    settings = bench.warehouse.settings
    signals = settings.signals.model_copy(
        update={"min_volatility": 1e6, "fear_below": 95, "movers": 1, "movers_among": 2}
    )
    bench.put(
        DAILY_FACT,
        "b",
        [
            day_row(f"c{n}", START + timedelta(d), 100.0 - d * n, "b", market_cap=n)
            for d in range(31)
            for n in (1, 2, 3)
        ],
    )
    bench.put(FEAR_GREED_FACT, "index", [index_row(START + 30 * DAY, 94)])
    Marts(bench.warehouse, settings.model_copy(update={"signals": signals})).refresh()
    row = bench.rows("market_daily")["c1", "usd", START + 30 * DAY]
    assert (row["signal"], row["combined_signal"]) == ("WAIT", "POTENTIAL_BUY")
    overview = bench.rows("market_overview")[START + 30 * DAY, "usd"]
    assert [mover["asset_id"] for mover in json.loads(overview["losers"])] == ["c3"]
    assert overview["gainers"] is None


def test_the_market_says_what_it_covers(bench: Bench) -> None:
    ids = ["bitcoin", "wrapped-bitcoin", "arbitrum-bridged-wrapped-eeth", "weth", "unwrapped", "no-cap", "cap-of-0"]
    caps = {"no-cap": None, "cap-of-0": 0.0}
    days = (START, START + DAY)
    rows = [day_row(asset, day, 1.0, "h", market_cap=caps.get(asset, 100.0)) for asset in ids for day in days]
    bench.put(DAILY_FACT, "h", rows)
    bench.put(SNAPSHOT_FACT, "s", [snapshot_row("died-since", at(1), 1.0, "s", market_cap=10.0)])
    bench.refresh()
    columns = ("assets", "covered_assets", "total_market_cap", "wrapped_market_cap", "is_backfilled")
    found = {key[0]: [row[name] for name in columns] for key, row in bench.rows("market_overview").items()}
    assert found == {START: [7, 5, 500.0, 300.0, True], START + DAY: [8, 6, 510.0, 300.0, False]}
    wrapped = {key[0] for key, row in bench.rows("latest_prices").items() if row["is_wrapped"]}
    assert wrapped == {"wrapped-bitcoin", "arbitrum-bridged-wrapped-eeth", "weth"}


@pytest.mark.parametrize(("percentage", "signals"), [(1.9, {"BUY"}), (2.1, {"WAIT"})])
def test_a_threshold_in_percent_treats_dear_and_cheap_coins_alike(
    percentage: float, signals: set[str], bench: Bench
) -> None:
    """Seven prices whose deviation is 2 % of their mean, of a coin of a millionth and of one of a million."""
    steps = [0.0, 0.0, 0.0, 0.0, 0.0, 0.0, -0.0524]
    rows = [
        day_row(asset, START + n * DAY, unit * (1 + step), "b")
        for asset, unit in {"cheap": 1e-6, "dear": 1e6}.items()
        for n, step in enumerate(steps)
    ]
    bench.put(DAILY_FACT, "b", rows)
    settings = bench.warehouse.settings
    chosen = settings.signals.model_copy(update={"min_volatility_percentage": percentage})
    Marts(bench.warehouse, settings.model_copy(update={"signals": chosen})).refresh()
    last = {key[0]: row for key, row in bench.rows("market_daily").items() if key[2] == START + 6 * DAY}
    assert {row["signal"] for row in last.values()} == signals
    assert all(row["price_deviation_7d"] == row["volatility_7d"] for row in last.values())


def test_views_show_history_and_the_fate_of_rows(bench: Bench) -> None:
    bench.put(DAILY_FACT, "h", [day_row("bitcoin", START, 1.0, "h")])
    bench.put(
        SNAPSHOT_FACT,
        "s",
        [
            snapshot_row("bitcoin", at(0), 2.0, "s", observed_at=at(0, 23).isoformat()),
            snapshot_row("bitcoin", at(0, 1), 3.0, "s"),
        ],
    )
    name = bench.warehouse.table(load_contract("price_history"))
    rows = bench.warehouse.rows(
        f"SELECT price_at, kind, price, observed_at FROM `{name}` WHERE date = DATE '{START}' ORDER BY price_at, kind"
    )
    assert [tuple(row.values()) for row in rows] == [
        (at(0), "daily", 1.0, at(0)),
        (at(0, 1), "snapshot", 3.0, at(0, 1)),
        (at(0, 23), "snapshot", 2.0, at(0, 23)),
    ]
    contract = load_contract("ingestion_batch")
    sample = {
        "STRING": "x",
        "INT64": 0,
        "DATE": "2026-01-02",
        "TIMESTAMP": "2026-01-02T00:00:00Z",
        "FLOAT64": 0.0,
        "BOOL": True,
    }
    row = {column.name: sample[column.type] for column in contract.columns if column.required}
    counts = {
        "rows_read": 200,
        "rows_duplicate": 10,
        "rows_surplus": 20,
        "rows_unpriced": 30,
        "rows_rejected": 40,
        "rows_published": 100,
    }
    later = {**row, **counts, "started_at": "2026-01-03T00:00:00Z", "rows_published": 99}
    merge_rows(bench.warehouse, contract, [{**row, **counts}, later, {**row, "run_id": "gap"}])
    found = bench.rows("deduplication_stats")
    shares = ("duplicate", "surplus", "unpriced", "rejected", "published")
    start = datetime(2026, 1, 2, tzinfo=UTC)
    assert [found["x", "x", start][f"{share}_percentage"] for share in shares] == [5, 10, 15, 20, 50]
    assert found["x", "x", start + DAY]["published_percentage"] == 49.5
    assert found["x", "gap", start]["published_percentage"] is None


def test_a_plan_survives_json(bench: Bench) -> None:
    bench.put(DAILY_FACT, "b", [day_row("bitcoin", START, 1.0, "b")])
    plan = bench.marts.plan()
    assert plan is not None
    again = MartPlan.model_validate(json.loads(json.dumps(plan.model_dump(mode="json"))))
    assert again == plan
    assert bench.marts.script(again) == bench.marts.script(plan)


def test_errors_keep_their_kind(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    bench.put(DAILY_FACT, "b", [day_row("bitcoin", START, 1.0, "b")])
    monkeypatch.setattr(Marts, "script", lambda *_: "SELECT no_such_column FROM UNNEST([1]) AS x")
    with pytest.raises(CoinbeamError, match="no_such_column") as caught:
        bench.refresh()
    assert not isinstance(caught.value, WriteConflictError)


def test_marts_that_break_a_rule_are_never_seen(bench: Bench) -> None:
    bench.put(DAILY_FACT, "b", [day_row(asset, START, 1.0, "b") for asset in ("bitcoin", "other")])
    bench.refresh()
    before = bench.everything()
    name = bench.warehouse.table(load_contract("asset_stats"))
    wrong = "UPDATE `{}` SET days_missing = {} WHERE asset_id = 'other'"  # what a bug would leave
    bench.warehouse.query(wrong.format(name, 5))
    bench.put(DAILY_FACT, "c", [day_row("bitcoin", START + DAY, 2.0, "c")])
    with pytest.raises(PublishBlockedError, match=r"asset_stats.days_add_up is broken, and nothing was published"):
        bench.refresh()
    bench.warehouse.query(wrong.format(name, 0))
    assert bench.everything() == before
    assert bench.marts.pending(), "the publish still waits"
    bench.refresh()
    assert bench.rows("asset_stats")["bitcoin", "usd"]["days_tracked"] == 2


@pytest.mark.parametrize("sign", [1, -1], ids=["rising", "falling"])
def test_bounded_figures_stay_within_their_bounds(sign: int, bench: Bench) -> None:
    """Forty days that move by a ten-thousandth: 100 * gain / (gain + loss) was 100.00000000000001 on some of them."""
    steps = {"evenly": 1e-4, "by thirds": 1 / 3, "tiny": 1e-12, "huge": 1e9}
    rows = [
        day_row(asset, START + d * DAY, (50 + sign * d) * step, "b", market_cap=step * (50 + sign * d) / 3)
        for asset, step in {"bitcoin": 0.1, **steps}.items()
        for d in range(40)
    ]
    bench.put(DAILY_FACT, "b", rows)
    bench.refresh()
    found = bench.rows("market_daily").values()
    assert {row["rsi_14d"] for row in found} == {None, 100.0 if sign == 1 else 0.0}
    for mart in ("market_daily", "market_overview", "asset_stats"):
        contract = load_contract(mart)
        for column in contract.columns:
            values = [row[column.name] for row in bench.rows(mart).values() if row[column.name] is not None]
            if column.maximum is not None:
                assert max(values, default=column.maximum) <= column.maximum, column.name
            if column.minimum is not None:
                assert min(values, default=column.minimum) >= column.minimum, column.name
