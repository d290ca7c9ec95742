"""The market is a function of (seed, instant), moves with the clock, and gives values that no sensible rule refuses."""

from datetime import UTC, datetime, timedelta

import numpy as np
import pytest

from local.simulator.catalogue import build_catalogue
from local.simulator.market import Market, Snapshot, epoch_hours
from local.simulator.markets import market_rows
from local.simulator.noise import NORMAL_BOUND, normals, text_hash, uniforms
from local.simulator.rendering import to_json

NOON = datetime(2026, 11, 20, 12, 30, tzinfo=UTC)
SLOTS = np.arange(20_000, dtype=np.int64)


def rendered(market: Market, moment: datetime) -> bytes:
    return to_json(market_rows(market.snapshot(moment), 1.0, None))


def priced(snapshot: Snapshot) -> np.ndarray:
    return ~np.isnan(snapshot.price)


def test_the_same_seed_and_instant_give_the_same_bytes_whatever_was_asked_before():
    restless = Market(7, 300)
    for days in (40, 1, 0.5):
        restless.snapshot(NOON - timedelta(days=days))
    assert rendered(restless, NOON) == rendered(Market(7, 300), NOON)


def test_another_seed_gives_another_market():
    first, second = Market(7, 300).snapshot(NOON), Market(8, 300).snapshot(NOON)
    assert np.mean(first.price == second.price) < 0.05


def test_the_bytes_of_a_seed_never_change_between_processes_or_versions():
    assert text_hash(7, "stream", "text") == 8048256609127264076
    assert uniforms(7, "stream", np.array([0, 1])).tolist() == [0.20368769079449323, 0.6318758090637097]


@pytest.mark.parametrize(
    "minutes", [1, 60, 1440, 100_000], ids=["in a minute", "in an hour", "in a day", "in two months"]
)
def test_prices_move(minutes):
    market = Market(7, 300)
    before, after = market.snapshot(NOON), market.snapshot(NOON + timedelta(minutes=minutes))
    moved = before.price[priced(before)] != after.price[priced(after)]
    assert moved.mean() > 0.99


def test_within_a_minute_the_server_answers_from_its_cache():
    market = Market(7, 300)
    assert rendered(market, NOON + timedelta(seconds=1)) == rendered(market, NOON + timedelta(seconds=59))
    assert rendered(market, NOON) != rendered(market, NOON + timedelta(seconds=60))


def test_a_price_history_agrees_with_the_snapshots_of_its_instants():
    market = Market(7, 300)
    instants = [NOON - timedelta(hours=h) for h in (24, 1, 0)]
    history = market.prices(np.array([0, 5]), np.array([epoch_hours(at) for at in instants]))
    snapshots = np.array([market.snapshot(at).price[[0, 5]] for at in instants]).T
    np.testing.assert_allclose(history, snapshots, rtol=1e-12)


def test_changes_follow_from_the_prices_of_the_past():
    market = Market(7, 300)
    now, yesterday = market.snapshot(NOON), market.snapshot(NOON - timedelta(days=1))
    expected = (now.price / yesterday.price - 1) * 100
    np.testing.assert_allclose(now.change_percentage("24h"), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("days", [0, 100, 500], ids=["today", "in three months", "in a year and a half"])
def test_records_bound_every_price(days):
    snapshot = Market(7, 2_000).snapshot(NOON + timedelta(days=days))
    coins, known = snapshot.catalogue, priced(snapshot)
    assert (coins.records["ath"][0][known] > snapshot.high[known]).all()
    assert (coins.records["atl"][0][known] < snapshot.low[known]).all()
    assert ((snapshot.low <= snapshot.price) & (snapshot.price <= snapshot.high))[known].all()


def test_ranks_count_from_one_by_market_cap():
    snapshot = Market(7, 300).snapshot(NOON)
    order = snapshot.order("market_cap_desc")
    ranked = [rank for rank in snapshot.rank[order].tolist() if rank]
    assert ranked == list(range(1, len(ranked) + 1))
    assert snapshot.identity[0][order[0]] == "bitcoin"


def test_coins_change_place_by_market_cap_over_time_but_not_by_id():
    market = Market(7, 2_000)
    before, after = market.snapshot(NOON), market.snapshot(NOON + timedelta(hours=12))
    by_cap = [set(s.order("market_cap_desc")[:250].tolist()) for s in (before, after)]
    assert by_cap[0] != by_cap[1]
    assert before.order("id_asc").tolist() == after.order("id_asc").tolist()


def test_volatility_is_that_of_a_crypto_market():
    snapshot = Market(7, 2_000).snapshot(NOON)
    returns = np.diff(np.log(snapshot.sparkline[priced(snapshot)]), axis=1)
    assert 0.2 < np.median(returns.std(axis=1) * np.sqrt(24 * 365)) < 1.5


def test_ids_are_unique_and_every_slot_keeps_one_over_the_years():
    coins = build_catalogue(7, 5_000)
    ids = {year: coins.identities(int(datetime(year, 1, 1, tzinfo=UTC).timestamp()))[0] for year in (2026, 2028, 2031)}
    assert all(len(set(names)) == 5_000 for names in ids.values())
    assert 0 < len(set(ids[2026]) - set(ids[2028])) < len(set(ids[2026]) - set(ids[2031]))


def test_surviving_coins_change_their_names():
    coins = build_catalogue(7, 5_000)
    (old_ids, old), (new_ids, new) = (
        coins.identities(int(datetime(y, 1, 1, tzinfo=UTC).timestamp())) for y in (2026, 2031)
    )
    kept = [(a, b) for a, b, x, y in zip(old, new, old_ids, new_ids, strict=True) if x == y]
    assert any(a != b for a, b in kept)


@pytest.mark.parametrize("coins", [1, 14, 20, 38, 39], ids=lambda n: f"{n} coins")
def test_a_tiny_market_works(coins):
    snapshot = Market(7, coins).snapshot(NOON)
    assert len(market_rows(snapshot, 1.0, None)) == coins


def test_normal_noise_is_centred_scaled_and_bounded():
    values = normals(7, "any", SLOTS)
    assert abs(values.mean()) < 0.03
    assert abs(values.std() - 1) < 0.03
    assert np.abs(values).max() <= NORMAL_BOUND


def test_neighbours_streams_and_lattice_positions_are_independent():
    pairs = [
        (uniforms(7, "a", SLOTS), uniforms(7, "b", SLOTS)),
        (uniforms(7, "a", SLOTS[:-1]), uniforms(7, "a", SLOTS[1:])),
        (uniforms(7, "a", SLOTS, SLOTS * 0), uniforms(7, "a", SLOTS, SLOTS * 0 + 1)),
    ]
    assert all(abs(np.corrcoef(left, right)[0, 1]) < 0.03 for left, right in pairs)
