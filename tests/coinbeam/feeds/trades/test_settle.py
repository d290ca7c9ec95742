"""A day once more: what a batch of the landed trades says of the windows of the stream, and what the marts make of it."""

import json
import math
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import pytest

from coinbeam.batch.tables import REJECTS, TRADE_SYMBOLS, TRADE_WINDOW_FACT
from coinbeam.contracts import load_contract
from coinbeam.errors import SettingsError, StreamDiffersError, TransientError
from coinbeam.feeds.market import sources_held
from coinbeam.feeds.trades.merge import append_panes, merge_panes, starts_of
from coinbeam.feeds.trades.settle import Settlement, Settler, announce, compare
from coinbeam.feeds.trades.stale import RULE, check_stream, refuse_if_stale
from coinbeam.feeds.trades.symbols import map_symbols, refuse_twin, split
from coinbeam.landing.bucket import Bucket
from coinbeam.marts.refresh import Marts
from coinbeam.quality import Audit, check_published
from coinbeam.quality.audit import Status
from coinbeam.settings import StreamSettings
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.staging import merge_rows
from tests.coinbeam.conftest import Stage, reject_row
from tests.coinbeam.feeds.trades.conftest import FIRST, pane, polled

cloud = pytest.mark.cloud
DAY = FIRST.date()


@pytest.mark.parametrize(
    ("symbol", "base", "units", "quote"),
    [
        ("BTCUSDT", "BTC", 1, "USDT"),
        ("ETHBTC", "ETH", 1, "BTC"),
        ("BTCFDUSD", "BTC", 1, "FDUSD"),
        ("BNBUSDC", "BNB", 1, "USDC"),
        ("1000SATSUSDT", "1000SATS", 1_000, "USDT"),
        ("1MBABYDOGEUSDT", "1MBABYDOGE", 1_000_000, "USDT"),
        ("1INCHUSDT", "1INCH", 1, "USDT"),
    ],
)
def test_a_symbol_is_taken_apart_by_its_longest_quote(symbol: str, base: str, units: int, quote: str) -> None:
    pair = split(symbol)
    assert (pair.base_asset, pair.base_units, pair.quote_asset) == (base, units, quote)
    assert pair.ticker == base.removeprefix({1: "", 1_000: "1000", 1_000_000: "1M"}[units])


@pytest.mark.parametrize("symbol", ["USDT", "BTC", "HELLO", ""])
def test_what_is_no_symbol_is_refused(symbol: str) -> None:
    with pytest.raises(SettingsError, match="is no symbol"):
        split(symbol)


@cloud
def test_a_ticker_means_its_best_ranked_asset_unless_a_setting_says_otherwise(stage: Stage) -> None:
    latest = load_contract("latest_prices")
    for asset, symbol, rank in (
        ("bitcoin", "btc", 1),
        ("batcat", "btc", 900),
        ("ethereum", "eth", 2),
        ("pepe-2", "pepe", 9),
    ):
        row = {
            "asset_id": asset,
            "quote_currency": "usd",
            "symbol": symbol,
            "market_cap_rank": rank,
            "price": 1.0,
            "date": "2026-01-02",
            "price_at": "2026-01-02T00:00:00Z",
            "observed_at": "2026-01-02T00:00:00Z",
            "kind": "snapshot",
            "source_id": "coingecko_simulator",
            "batch_id": "b",
            "is_wrapped": False,
        }
        merge_rows(stage.warehouse, latest, [row])
    stream = StreamSettings(assets={"PEPEUSDT": "pepe"})
    settings = stage.warehouse.settings.model_copy(update={"stream": stream})
    warehouse = Warehouse(settings, clock=stage.warehouse.clock)
    symbols = ["BTCUSDT", "ETHBTC", "PEPEUSDT", "NOBODYUSDT"]
    assets = map_symbols(warehouse, symbols, "binance_simulator")
    assert assets == {"BTCUSDT": "bitcoin", "ETHBTC": "ethereum", "PEPEUSDT": "pepe", "NOBODYUSDT": None}
    assert map_symbols(warehouse, symbols, "binance_simulator") == assets
    rows = {row["symbol"]: row for row in stage.contents(TRADE_SYMBOLS)}
    assert {name: row["matched_by"] for name, row in rows.items()} == {
        "BTCUSDT": "market_cap_rank",
        "ETHBTC": "market_cap_rank",
        "PEPEUSDT": "setting",
        "NOBODYUSDT": None,
    }
    assert (rows["BTCUSDT"]["is_dollar_quote"], rows["ETHBTC"]["is_dollar_quote"]) == (True, False)


@cloud
def test_a_polled_price_names_its_asset_and_its_rows_pass_every_rule(stage: Stage) -> None:
    symbols = ["bitcoin:usd", "bitcoin:eur", "usd-coin:usd"]
    found = map_symbols(stage.warehouse, symbols, "coingecko_simulator")
    assert found == {"bitcoin:usd": "bitcoin", "bitcoin:eur": "bitcoin", "usd-coin:usd": "usd-coin"}
    map_symbols(stage.warehouse, ["BTCUSDT"], "binance_simulator")
    rows = {row["symbol"]: row for row in stage.contents(TRADE_SYMBOLS)}
    assert {symbol: (rows[symbol]["is_dollar_quote"], rows[symbol]["matched_by"]) for symbol in symbols} == {
        "bitcoin:usd": (True, "id"),
        "bitcoin:eur": (False, "id"),
        "usd-coin:usd": (True, "id"),
    }
    assert (rows["bitcoin:eur"]["base_asset"], rows["bitcoin:eur"]["quote_asset"]) == ("bitcoin", "eur")
    assert rows["BTCUSDT"]["source_id"] == "binance_simulator"
    bring(stage, *(polled(n, symbol=symbol) for n in range(3) for symbol in symbols), pane(0), pane(1))
    audit = Audit.of_dates("check", DAY, DAY + timedelta(days=1), datetime(2026, 1, 4, tzinfo=UTC))
    contracts = [load_contract(TRADE_WINDOW_FACT), load_contract(TRADE_SYMBOLS)]
    results = check_published(stage.warehouse, contracts, audit)
    assert {one.rule.name for one in results if one.status is not Status.PASSED} == set()
    assert "windows_are_complete" in {one.rule.name for one in results}


def bring(stage: Stage, *panes: dict[str, object]) -> None:
    """Panes of the stream, merged."""
    append_panes(stage.warehouse, panes)
    merge_panes(stage.warehouse, *starts_of(panes))


@cloud
def test_each_way_in_which_a_batch_and_a_stream_may_differ_is_told(stage: Stage) -> None:
    bring(stage, pane(0), pane(1, 6), pane(0, symbol="ETHUSDT"), pane(1, symbol="ETHUSDT"), pane(2))
    of_batch = {"run_id": "trades", "timing": "batch", "written_at": "2026-01-04T00:00:00Z"}
    append_panes(
        stage.warehouse,
        [
            pane(0, **of_batch),
            pane(1, **of_batch),
            pane(0, 5, symbol="ETHUSDT", **of_batch),
            pane(1, symbol="ETHUSDT", **of_batch, high_price=103.5),
            pane(0, symbol="SOLUSDT", **of_batch),
        ],
    )
    late = datetime(2026, 1, 4, tzinfo=UTC)
    found = compare(stage.warehouse, DAY, "trades", late)
    assert (found.equal, found.repaired, found.lost, found.differing) == (1, 2, 1, 1)
    newer = compare(stage.warehouse, DAY, "trades", FIRST)
    assert (newer.equal, newer.lost) == (2, 0), "what the stream merged after that is not landed yet"
    with pytest.raises(
        StreamDiffersError, match=r"1 know fewer trades, 1 have other figures, 1 are equal: ETHUSDT .*23:58"
    ):
        found.refuse_unless_equal()
    merge_panes(stage.warehouse, FIRST, FIRST + timedelta(minutes=1), "trades")
    again = compare(stage.warehouse, DAY, "trades", late)
    assert (again.equal, again.repaired, again.lost, again.differing) == (3, 0, 1, 1)


LANDED = f"landing/trades/{DAY:%Y/%m/%d}/10_00_00Z_a.ndjson"
NEXT_DAY = f"landing/trades/{DAY + timedelta(days=1):%Y/%m/%d}/00_00_30Z_b.ndjson"


@pytest.fixture
def settler(stage: Stage) -> Settler:
    """In an empty bucket, two days later."""
    bucket = Bucket(stage.warehouse.settings)
    for name in bucket.names("landing/trades/"):
        bucket.delete(name)
    return Settler(Warehouse(stage.warehouse.settings, clock=lambda: FIRST + timedelta(days=2)), bucket)


@cloud
def test_a_day_of_which_nothing_is_known_is_not_settled(settler: Settler) -> None:
    assert settler.plan(DAY) is None
    settler.bucket.write_text(NEXT_DAY, "")
    assert settler.plan(DAY) is None, "a stream began on the next day"


@cloud
def test_windows_of_which_nothing_was_landed_are_an_error(stage: Stage, settler: Settler) -> None:
    bring(stage, pane(0))
    with pytest.raises(StreamDiffersError, match=f"has 1 windows of {DAY}, and no trade .* was landed"):
        settler.plan(DAY)
    settler.bucket.write_text(NEXT_DAY, "")
    plan = settler.plan(DAY)
    assert plan is not None, "its last minute alone may have been followed"
    assert plan.options["source"] == f"gs://{stage.warehouse.settings.storage.bucket}/{NEXT_DAY.rpartition('/')[0]}/*"


@cloud
def test_a_day_is_settled_and_what_only_the_stream_knows_is_an_incident(stage: Stage, settler: Settler) -> None:
    bring(stage, pane(0), pane(1, 6))
    settler.bucket.write_text(LANDED, "")
    settler.bucket.write_text(NEXT_DAY, "")
    plan = settler.plan(DAY)
    assert plan is not None
    assert plan == Settlement.from_dict(plan.to_dict())
    assert len(plan.options["source"].split(",")) == 2
    assert {"BTCUSDT", "bitcoin:usd"} <= set(plan.options["symbols"].split(","))
    assert plan.options["until"] == plan.landed_before == "2026-01-04T23:43:00Z"
    assert (plan.options["day"], plan.options["venue"]) == (DAY.isoformat(), "simulator")
    refused = {"table_name": TRADE_WINDOW_FACT, "page_uri": settler.bucket.uri(LANDED)}
    lines = [reject_row(1) | refused, reject_row(2) | refused | {"page_uri": settler.bucket.uri(NEXT_DAY)}]
    settler.bucket.write_text(
        f"batches/{plan.run_id}/rejected_trades.ndjson", "".join(json.dumps(line) + "\n" for line in lines)
    )
    of_batch = {"run_id": plan.run_id, "timing": "batch"}
    append_panes(stage.warehouse, [pane(0, **of_batch), pane(1, **of_batch), pane(2, **of_batch)])
    for _ in range(2):
        assert settler.publish(plan).windows == 2
    assert [row["agg_trade_count"] for row in stage.contents(TRADE_WINDOW_FACT)] == [10, 10], "of that day only"
    [kept] = stage.contents(REJECTS)
    assert (kept["batch_id"], kept["page_uri"]) == (plan.batch_id, settler.bucket.uri(LANDED))
    [symbol] = stage.contents(TRADE_SYMBOLS)
    assert symbol["symbol"] == "BTCUSDT"
    assert all(result.status is Status.PASSED for result in settler.verify(plan, "run"))
    bring(stage, pane(0, symbol="ETHUSDT"))
    map_symbols(stage.warehouse, ["ETHUSDT"], "binance_simulator")
    with pytest.raises(StreamDiffersError, match="1 know fewer trades, 0 have other figures, 2 are equal: ETHUSDT"):
        settler.verify(plan, "run")


@cloud
def test_polled_prices_are_compared_as_trades_are(stage: Stage) -> None:
    bring(stage, polled(0), polled(1))
    of_batch = {"run_id": "trades", "timing": "batch", "written_at": "2026-01-04T00:00:00Z"}
    append_panes(stage.warehouse, [polled(0, **of_batch), polled(1, 4, **of_batch)])
    found = compare(stage.warehouse, DAY, "trades", FIRST + timedelta(days=1))
    assert (found.equal, found.repaired, found.lost, found.differing) == (1, 1, 0, 0)


@cloud
def test_trades_and_prices_of_a_day_are_settled_each_as_what_its_windows_say(stage: Stage, settler: Settler) -> None:
    bring(stage, pane(0), polled(0, source_id="coingecko"))
    settler.bucket.write_text(LANDED, "")
    plan = settler.plan(DAY)
    assert plan is not None
    assert (plan.options["venue"], plan.options["price_venue"]) == ("simulator", "live")
    settler.publish(plan)
    rows = {row["symbol"]: row["source_id"] for row in stage.contents(TRADE_SYMBOLS)}
    assert rows == {"BTCUSDT": "binance_simulator", "bitcoin:usd": "coingecko"}


@cloud
def test_a_settled_day_reaches_the_marts(stage: Stage) -> None:
    panes = [pane(n) for n in range(-58, 2)]
    bring(stage, *(polled(n) for n in range(-58, 2)))  # no trades: no mart counts them
    bring(stage, *panes, pane(3))  # no trade in the minute between: of the next day, like this one
    for day in (DAY, DAY + timedelta(days=1)):
        announce(stage.warehouse, day, 1)
    marts = Marts(stage.warehouse, stage.warehouse.settings, lambda: datetime(2026, 1, 4, tzinfo=UTC))
    done = marts.refresh()
    assert (done.publications, done.rows["trade_daily"], done.rows["intraday_moving_average"]) == (2, 2, 61)
    first, second = stage.contents("trade_daily")
    closes = [row["close_price"] for row in panes]
    assert (first["open_price"], first["close_price"], first["window_count"]) == (42.0, 102.0, 60)
    assert first["volume_weighted_average_price"] == first["quote_volume"] / first["base_volume"]
    returns = [math.log(b / a) for a, b in pairwise(closes)]
    assert first["realised_volatility"] == pytest.approx(math.sqrt(sum(r * r for r in returns)), rel=1e-12)
    assert (first["coverage"], first["is_complete"], first["return_count"]) == (1.0, True, 59)
    assert (second["window_count"], second["coverage"], second["is_complete"]) == (1, 0.5, False)  # ids tell of a gap
    assert second["realised_volatility"] is None
    averages = stage.contents("intraday_moving_average")
    full = averages[59]
    assert full["sma_60"] == pytest.approx(sum(closes) / 60, rel=1e-12)
    assert full["sma_5"] == pytest.approx(sum(closes[-5:]) / 5, rel=1e-12)
    assert [row["sma_5"] is None for row in averages[:5]] == [True] * 4 + [False]
    assert averages[58]["sma_60"] is None
    assert (averages[60]["sma_5"], averages[60]["sma_60"]) == (None, None)  # one of its minutes had no trade


@cloud
def test_simulated_and_real_trades_never_share_a_warehouse(stage: Stage) -> None:
    for source_id in ("binance", "binance_simulator", "coingecko"):
        refuse_twin(stage.warehouse, source_id)
    bring(stage, pane(0))
    assert sources_held(stage.warehouse) >= {"binance_simulator"}
    refuse_twin(stage.warehouse, "binance_simulator")
    refuse_twin(stage.warehouse, "coingecko")
    with pytest.raises(SettingsError, match=r"windows of binance_simulator.*coinbeam local live"):
        refuse_twin(stage.warehouse, "binance")


@cloud
def test_a_stream_is_stale_when_none_of_its_symbols_has_a_window_of_late(stage: Stage) -> None:
    def seen(**later: float) -> Status:
        warehouse = Warehouse(stage.warehouse.settings, clock=lambda: FIRST + timedelta(**later))
        return check_stream(warehouse, "run").status

    assert seen(minutes=1) is Status.FAILED, "there is no window at all"
    bring(stage, pane(0), pane(0, symbol="SOLUSDT", window_start=(FIRST + timedelta(hours=1)).isoformat()))
    assert seen(seconds=60 + 300) is Status.PASSED
    assert seen(seconds=60 + 301) is Status.FAILED, "another symbol is not followed"
    warehouse = Warehouse(stage.warehouse.settings, clock=lambda: FIRST + timedelta(days=1))
    with pytest.raises(TransientError, match="the newest one ended 86340 seconds ago"):
        refuse_if_stale(check_stream(warehouse, "run"))
    recorded = [row for row in stage.contents("quality_result") if row["rule"] == RULE]
    assert {row["status"] for row in recorded} == {"passed", "failed"}


@cloud
def test_rules_find_what_was_lost_without_a_mark(stage: Stage) -> None:
    map_symbols(stage.warehouse, ["BTCUSDT"], "binance_simulator")
    bring(stage, pane(0), pane(2), pane(3, 6), pane(4, low_price=500.0))
    audit = Audit.of_dates("check", DAY, DAY + timedelta(days=1), datetime(2026, 1, 4, tzinfo=UTC))
    results = check_published(stage.warehouse, [load_contract(TRADE_WINDOW_FACT)], audit)
    broken = {result.rule.name for result in results if result.status is not Status.PASSED}
    assert broken == {"complete_windows_meet", "windows_are_complete", "prices_are_ordered"}
