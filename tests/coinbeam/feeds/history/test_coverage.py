"""Coverage: days that are there, days that the source never had, and days that nobody asked for."""

from datetime import date, timedelta

import hypothesis.strategies as st
import pytest
from hypothesis import given

from coinbeam.contracts import load_contract
from coinbeam.feeds.history.coverage import Coverage, Gap, coverage
from coinbeam.warehouse.staging import merge_rows
from tests.coinbeam.conftest import DAY, Stage, asset_row, date_row, fact_row
from tests.coinbeam.feeds.history.test_planner import load_history

FIRST = date(2026, 1, 1)
SIMULATOR = "coingecko_simulator"
DAYS = [FIRST + timedelta(n) for n in range(12)]
some_days = st.sets(st.sampled_from(DAYS))


@given(
    history=some_days,
    snapshots=some_days,
    asked=st.lists(st.tuples(st.sampled_from(DAYS), st.integers(0, 5)), max_size=3),
)
def test_every_day_is_history_or_snapshot_or_in_exactly_one_gap(
    history: set[date], snapshots: set[date], asked: list[tuple[date, int]]
) -> None:
    stretches = [(start, start + timedelta(length)) for start, length in asked]
    found = coverage("a", (DAYS[0], DAYS[-1]), history, snapshots, stretches)
    in_gaps = [gap.first + timedelta(n) for gap in found.gaps for n in range(gap.days)]
    assert sorted(in_gaps) == sorted(set(DAYS) - history - snapshots)
    assert found.history_days + found.snapshot_days + found.missing_days == len(DAYS)
    for gap in found.gaps:
        for n in range(gap.days):
            day = gap.first + timedelta(n)
            assert gap.is_known == any(start <= day <= end for start, end in stretches)
    for one, other in zip(found.gaps, found.gaps[1:], strict=False):
        assert one.last < other.first
        assert one.is_known != other.is_known or one.last + timedelta(1) < other.first, (
            "neighbours of one kind are one gap"
        )


def test_days_outside_of_the_range_do_not_count() -> None:
    found = coverage("a", (DAYS[2], DAYS[3]), set(DAYS), set(), [])
    assert (found.history_days, found.gaps) == (2, ())


@pytest.mark.cloud
def test_the_warehouse_is_read_by_asset_and_day(stage: Stage) -> None:
    load_history(stage, {"bitcoin": [DAYS[0], DAYS[2]], "ethereum": [DAYS[0]]})
    stage.publish(
        "b",
        DAY,
        crypto_market_snapshot_fact=[
            fact_row("bitcoin", DAY, "b", observed_at=DAY.isoformat()),
            fact_row("ethereum", DAY, "b", observed_at=(DAY + timedelta(hours=3)).isoformat()),  # stands for no day
        ],
        crypto_asset_dim=[asset_row("bitcoin", "b"), asset_row("ethereum", "b")],
        date_dim=[date_row(DAY)],
    )
    piece = {
        "asset_id": "bitcoin",
        "quote_currency": "usd",
        "first_date": str(DAYS[3]),
        "last_date": str(DAYS[3]),
        "status": "empty",
    }
    piece |= {"backfill_id": "x", "batch_id": "x", "updated_at": DAY.isoformat()}
    merge_rows(stage.warehouse, load_contract("history_piece"), [piece])
    bitcoin, ethereum = Coverage(stage.warehouse).read((), "usd", DAYS[0], DAYS[4], SIMULATOR)
    assert (bitcoin.asset_id, bitcoin.history_days, bitcoin.snapshot_days) == ("bitcoin", 2, 1)
    assert bitcoin.gaps == (Gap(DAYS[3], DAYS[3], True), Gap(DAYS[4], DAYS[4], False))
    assert (ethereum.history_days, ethereum.missing_days) == (1, 4)
    (only,) = Coverage(stage.warehouse).read(["tether"], "usd", DAYS[0], DAYS[4], SIMULATOR)
    assert (only.history_days, only.missing_days) == (0, 5)
    assert Coverage(stage.warehouse).read((), "eur", DAYS[0], DAYS[4], SIMULATOR) == []


@pytest.mark.cloud
def test_what_a_simulator_answered_fills_no_gap_of_a_real_source(stage: Stage) -> None:
    load_history(stage, {"bitcoin": [DAYS[0], DAYS[2]]})
    piece = {"asset_id": "bitcoin", "quote_currency": "usd", "first_date": str(DAYS[1]), "last_date": str(DAYS[1])}
    piece |= {"status": "empty", "source_id": SIMULATOR, "backfill_id": "x", "batch_id": "x"}
    merge_rows(stage.warehouse, load_contract("history_piece"), [piece | {"updated_at": DAY.isoformat()}])
    (simulated,) = Coverage(stage.warehouse).read(["bitcoin"], "usd", DAYS[0], DAYS[2], SIMULATOR)
    assert (simulated.history_days, simulated.gaps) == (2, (Gap(DAYS[1], DAYS[1], True),))
    (real,) = Coverage(stage.warehouse).read(["bitcoin"], "usd", DAYS[0], DAYS[2], "coingecko")
    assert (real.history_days, real.gaps) == (0, (Gap(DAYS[0], DAYS[2], False),))
