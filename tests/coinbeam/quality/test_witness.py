"""The witness: which assets are the same, and what is recorded of their prices, end to end against the local cloud."""

import gzip
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from coinbeam.batch.tables import SNAPSHOT_FACT
from coinbeam.clock import utc_now
from coinbeam.errors import SettingsError, TerminalError
from coinbeam.landing.bucket import Bucket
from coinbeam.quality import Result, Status
from coinbeam.quality.witness import Witness, compare, match
from coinbeam.settings import WitnessSettings
from coinbeam.sources.choose import RuntimeSource
from coinbeam.sources.coinpaprika import CoinPaprikaClient, Ticker, read_tickers
from coinbeam.sources.http.errors import ApiTerminalError, ApiTransientError
from coinbeam.warehouse.client import Warehouse
from tests.coinbeam.conftest import Stage, fact_row
from tests.temporary import LocalCloud

NOW = datetime(2026, 1, 2, tzinfo=UTC)
BITCOIN = Ticker("bitcoin", "btc", "Bitcoin", 1, 100.0, NOW)
THEIRS = replace(BITCOIN, id="btc-bitcoin", symbol="BTC")
ON = WitnessSettings(enabled=True)

tickers = st.builds(
    Ticker,
    id=st.uuids().map(str),
    symbol=st.sampled_from(["a", "A", "b"]),
    name=st.sampled_from(["One", "one!", "Two"]),
    rank=st.integers(1, 200),
    price=st.floats(1e-9, 1e9),
    observed_at=st.just(NOW),
)


@given(st.lists(tickers, max_size=12), st.lists(tickers, max_size=12))
def test_no_asset_is_paired_twice_and_every_one_of_theirs_is_counted_once(
    ours: list[Ticker], theirs: list[Ticker]
) -> None:
    found = match(ours, theirs)
    assert len(found.pairs) + found.ambiguous + found.unmatched == len(theirs)
    assert len({one.id for one, _ in found.pairs}) == len(found.pairs) == len({other.id for _, other in found.pairs})
    assert all(one.symbol.lower() == other.symbol.lower() for one, other in found.pairs)
    assert all(one.name.lower().strip("!") == other.name.lower().strip("!") for one, other in found.pairs)


@given(st.lists(tickers, max_size=12), st.lists(tickers, max_size=12), st.randoms())
def test_the_order_of_the_assets_changes_nothing(ours: list[Ticker], theirs: list[Ticker], rng: Any) -> None:
    shuffled = rng.sample(ours, len(ours)), rng.sample(theirs, len(theirs))
    assert set(match(ours, theirs).pairs) == set(match(*shuffled).pairs)


@given(st.lists(tickers, min_size=1, max_size=12))
def test_a_twin_of_every_asset_of_ours_leaves_no_pair(ours: list[Ticker]) -> None:
    twins = [replace(one, id=f"{one.id}-twin") for one in ours]
    assert match([*ours, *twins], ours).pairs == ()


@pytest.mark.parametrize(
    ("ours", "counts"),
    [
        ([BITCOIN], (1, 0, 0)),
        ([replace(BITCOIN, name="bit coin")], (1, 0, 0)),
        ([BITCOIN, replace(BITCOIN, id="copy", rank=40)], (0, 1, 0)),
        ([BITCOIN, replace(BITCOIN, id="copy", rank=900)], (1, 0, 0)),
        ([replace(BITCOIN, symbol="xbt")], (0, 0, 1)),
        ([replace(BITCOIN, name="Bitcoin Cash")], (0, 0, 1)),
        ([], (0, 0, 1)),
    ],
    ids=["the same", "other spaces", "two nearby", "a copy far below", "other symbol", "other name", "nothing"],
)
def test_symbol_name_and_rank_decide_together(ours: list[Ticker], counts: tuple[int, int, int]) -> None:
    found = match(ours, [THEIRS])
    assert (len(found.pairs), found.ambiguous, found.unmatched) == counts


@pytest.mark.parametrize(
    ("price", "status"),
    [(104.9, Status.PASSED), (95.1, Status.PASSED), (106.0, Status.WARNING), (94.0, Status.WARNING)],
    ids=["4.9 % above", "4.9 % below", "6 % above", "6 % below"],
)
def test_a_deviation_counts_in_both_directions(price: float, status: Status) -> None:
    result = compare([replace(BITCOIN, price=price)], [THEIRS], ON)
    assert (result.status, result.value) == (status, float(status is Status.WARNING))
    assert not result.blocks


def test_prices_of_other_times_are_not_compared_and_silence_is_no_agreement() -> None:
    old = replace(BITCOIN, observed_at=NOW - timedelta(minutes=91))
    result = compare([old], [THEIRS], ON)
    assert (result.status, result.value) == (Status.ERROR, None)
    assert "0 compared, 0 ambiguous, 0 without a match, 1 observed too far apart" in result.message


def test_only_the_largest_of_theirs_count() -> None:
    other = replace(THEIRS, id="eth-ethereum", symbol="ETH", name="Ethereum", rank=2)
    ours = [BITCOIN, replace(other, id="ethereum", price=500.0)]
    assert compare(ours, [other, THEIRS], WitnessSettings(enabled=True, top_n=1)).status is Status.PASSED
    assert compare(ours, [other, THEIRS], ON).sample == ("ethereum +400.0%",)


def test_assets_without_a_rank_or_a_price_are_left_out() -> None:
    row = {"id": "x-x", "symbol": "X", "name": "X", "rank": 1, "last_updated": "2026-01-02T00:00:00Z"}
    rows = [row | {"quotes": {"USD": {"price": price}}} for price in (1.5, None, 0)]
    rows.append(rows[0] | {"rank": 0})
    assert [ticker.price for ticker in read_tickers(json.dumps(rows).encode(), "gs://b/x")] == [1.5]


@pytest.mark.parametrize("body", [b"{}x", b'{"error": "no"}', b'[{"id": "x"}]', b"[1]"])
def test_a_body_of_another_form_is_refused_by_its_name(body: bytes) -> None:
    with pytest.raises(TerminalError, match=r"gs://b/x holds no tickers"):
        read_tickers(body, "gs://b/x")


@pytest.mark.parametrize(
    ("status", "kind", "says"),
    [(402, ApiTerminalError, "first of the month"), (503, ApiTransientError, r"witness\.url")],
    ids=["the free tier is used up", "an outage"],
)
def test_a_refusal_says_what_to_do(stage: Stage, status: int, kind: type[Exception], says: str) -> None:
    from http.server import BaseHTTPRequestHandler, HTTPServer
    from threading import Thread

    class Refusing(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(status)
            self.end_headers()
            self.wfile.write(b'{"error": "no"}')

        def log_message(self, *_: Any) -> None:
            pass

    server = HTTPServer(("127.0.0.1", 0), Refusing)
    Thread(target=server.serve_forever, daemon=True).start()
    patience = stage.warehouse.settings.coingecko.model_copy(update={"max_attempts": 1})
    try:
        with pytest.raises(kind, match=says):
            CoinPaprikaClient(patience, f"http://127.0.0.1:{server.server_port}/v1").tickers()
    finally:
        server.shutdown()
        server.server_close()


def witness(stage: Stage, **changes: Any) -> Witness:
    settings = stage.warehouse.settings
    chosen = settings.model_copy(update={"witness": WitnessSettings(**{"enabled": True, **changes})})
    return Witness(Warehouse(chosen), Bucket(chosen))


def fill(stage: Stage, prices: float = 1.0) -> None:
    """A published snapshot of what the simulator shows now; the price of bitcoin is multiplied."""
    settings = stage.warehouse.settings
    source = RuntimeSource("simulator", settings.simulator_url)
    client = CoinPaprikaClient(settings.coingecko, source.beside("/v1", settings.witness.url))
    rows, at = [], utc_now().replace(minute=0, second=0, microsecond=0)
    for ticker in read_tickers(client.tickers().body, "here")[:50]:
        price = ticker.price * (prices if ticker.symbol == "BTC" else 1.0)
        shape = {"symbol": ticker.symbol.lower(), "name": ticker.name, "market_cap_rank": ticker.rank}
        seen = {"observed_at": ticker.observed_at.isoformat(), "low_24h": None, "high_24h": None}
        rows.append(fact_row(ticker.id, at, **shape, **seen, current_price=price))
    client.close()
    stage.publish("batch", at, **{SNAPSHOT_FACT: rows})


def recorded(stage: Stage) -> list[dict[str, Any]]:
    return [row for row in stage.contents("quality_result") if row["rule"] == "price_witness"]


def test_a_day_that_agrees_is_recorded_as_passed_and_its_bytes_are_landed(stage: Stage) -> None:
    fill(stage)
    result: Result = witness(stage).check("run")
    assert (result.status, result.value) == (Status.PASSED, 0.0)
    (row,) = recorded(stage)
    assert (row["severity"], row["status"], row["table_name"]) == ("warning", "passed", SNAPSHOT_FACT)
    bucket = Bucket(stage.warehouse.settings)
    (name,) = bucket.names("landing/coinpaprika_tickers/")
    packed = bucket._bucket.blob(name).download_as_bytes(raw_download=True)
    assert json.loads(gzip.decompress(packed))[0]["rank"] == 1


def test_a_planted_deviation_is_a_warning_that_names_the_asset_and_publishes_nothing(stage: Stage) -> None:
    fill(stage, prices=1.2)
    before = stage.contents(SNAPSHOT_FACT)
    assert witness(stage).check("run").status is Status.WARNING
    (row,) = recorded(stage)
    assert (row["status"], row["value"]) == ("warning", 1.0)
    assert "+20.0%" in row["failing_sample"]
    assert stage.contents(SNAPSHOT_FACT) == before


def test_without_a_snapshot_there_is_nothing_to_compare(stage: Stage) -> None:
    with pytest.raises(TerminalError, match=r"no snapshot of coingecko_simulator.*crypto_etl_dag"):
        witness(stage).check("run")


def test_it_is_off_by_default_and_says_how_to_turn_it_on(fresh_cloud: LocalCloud) -> None:
    settings = fresh_cloud.settings
    with pytest.raises(SettingsError, match="COINBEAM_WITNESS__ENABLED=true"):
        Witness(Warehouse(settings), Bucket(settings)).check("run")
