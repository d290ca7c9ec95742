"""The exchange rates of a snapshot: a bad rate costs only itself, and what is no table of rates is refused whole."""

import json
from collections.abc import Callable
from typing import Any

import pyarrow.csv
import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.batch_files.json_bodies import BodyFault
from beam_pipelines.landing.batch import LandedBatch
from beam_pipelines.snapshot.landed import pages_of, rates_of, with_rates
from beam_pipelines.snapshot.rates import Rates, RatesTable, is_rates, read_rates
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import load_contract
from coinbeam.landing.layout import LandedBody, beside, endpoint_of
from tests.beam_pipelines.built import build

CONTRACT = load_contract("exchange_rate_fact")
BITCOIN = {"name": "Bitcoin", "unit": "BTC", "value": 1.0, "type": "crypto"}
DOLLAR = {"name": "US Dollar", "unit": "$", "value": 75817.765, "type": "fiat"}
Row = dict[str, Any]


def body(**rates: Any) -> bytes:
    """An answer with a bitcoin and a dollar, and others."""
    return json.dumps({"rates": {"btc": BITCOIN, "usd": DOLLAR, **rates}}).encode()


def test_each_currency_is_a_row() -> None:
    found = read_rates(body(vef={**DOLLAR, "value": 7591, "unit": "", "moon": 1}), CONTRACT)
    assert isinstance(found, Rates)
    assert found.rows == [
        {"currency": "btc", "name": "Bitcoin", "unit": "BTC", "type": "crypto", "value": 1.0},
        {"currency": "usd", "name": "US Dollar", "unit": "$", "type": "fiat", "value": 75817.765},
        {"currency": "vef", "name": "US Dollar", "unit": None, "type": "fiat", "value": 7591.0},
    ]
    assert found.refused == []


@pytest.mark.parametrize(
    ("given", "reason", "column"),
    [
        pytest.param({**DOLLAR, "value": "1.5"}, "wrong_type", "value", id="a text as value"),
        pytest.param({**DOLLAR, "value": None}, "null_value", "value", id="no value"),
        pytest.param({"name": "x"}, "null_value", "value", id="a value lacking"),
        pytest.param({**DOLLAR, "value": 0}, "below_minimum", "value", id="nothing for a bitcoin"),
        pytest.param({**DOLLAR, "value": float("nan")}, "not_finite", "value", id="not a number"),
        pytest.param({**DOLLAR, "name": 1}, "wrong_type", "name", id="a number as name"),
        pytest.param("1.5", "wrong_type", None, id="no object"),
    ],
)
def test_a_bad_rate_costs_only_itself(given: Any, reason: str, column: str | None) -> None:
    found = read_rates(body(eur=given), CONTRACT)
    assert isinstance(found, Rates)
    assert [row["currency"] for row in found.rows] == ["btc", "usd"]
    [(number, record, refused)] = found.refused
    assert (number, list(record), refused.reason, refused.column_name) == (2, ["eur"], reason, column)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        pytest.param(b"<html>", "not_json", id="a page of HTML"),
        pytest.param(b'{"status": {"error_code": 429}}', "error_body", id="a 429 body"),
        pytest.param(b'{"error": "coin not found"}', "error_body", id="an error"),
        pytest.param(b"[]", "not_rates", id="an array"),
        pytest.param(b'{"rates": []}', "not_rates", id="rates in an array"),
        pytest.param(b'{"rates": {}}', "rates_without_dollar", id="no rate at all"),
        pytest.param(body(usd={**DOLLAR, "value": "x"}), "rates_without_dollar", id="a dollar that cannot be read"),
        pytest.param(body(btc={**BITCOIN, "value": 1.01}), "bitcoin_is_not_one", id="values in another unit"),
        pytest.param(body(btc={**BITCOIN, "value": None}), "bitcoin_is_not_one", id="no bitcoin"),
    ],
)
def test_what_is_no_table_of_rates_is_refused_as_a_whole(answer: bytes, reason: str) -> None:
    assert read_rates(answer, CONTRACT) == BodyFault(reason)
    assert not is_rates(answer)


@given(
    st.binary(max_size=60)
    | st.recursive(
        st.none() | st.booleans() | st.floats() | st.text(max_size=5),
        lambda inner: st.dictionaries(st.sampled_from(["rates", "btc", "usd", "value", "x"]), inner, max_size=4),
        max_leaves=12,
    ).map(lambda document: json.dumps(document).encode())
)
def test_no_answer_stops_the_reader(answer: bytes) -> None:
    assert isinstance(read_rates(answer, CONTRACT), Rates | BodyFault)


@pytest.mark.parametrize("bodies", [0, 1], ids=["without an answer", "of an unreadable one"])
def test_a_batch_without_rates_has_an_empty_file(
    bodies: int, land: Callable[..., LandedBody], batch: BatchManifest
) -> None:
    built = build(RatesTable(CONTRACT), batch, [land(b"<html>", uri="rates.json.gz")] * bodies)
    assert built.csv.decode().splitlines() == [",".join(f'"{column.name}"' for column in CONTRACT.file_columns)]
    assert (built.report["rates_read"], built.report["rates_valid"]) == (0, 0)
    assert [(line["table_name"], line["reason"]) for line in built.lines] == [
        ("exchange_rate_fact", "not_json")
    ] * bodies


def test_the_file_has_the_rates_in_order_and_the_rejects_beside(
    land: Callable[..., LandedBody], batch: BatchManifest
) -> None:
    landed = land(body(eur={**DOLLAR, "value": 65223.37}, aed={**DOLLAR, "value": -1}))
    built = build(RatesTable(CONTRACT), batch, [landed])
    table = pyarrow.csv.read_csv(pyarrow.BufferReader(built.csv))
    assert table["currency"].to_pylist() == ["btc", "eur", "usd"]
    assert table["value"].to_pylist() == [1.0, 65223.37, 75817.765]
    assert set(table["batch_id"].to_pylist()) == {batch.batch_id}
    assert built.report == {
        "rates_read": 4,
        "rates_valid": 3,
        "rates_rejected": 1,
        "rejects_by_reason": {"below_minimum": 1},
    }
    [line] = built.lines
    assert (line["column_name"], line["value"], json.loads(line["payload"])["aed"]["value"]) == ("value", "-1", -1)


PAGE = "gs://b/landing/markets/20260102T0000Z-usd-all/page-00001.json.gz"
RATES = "gs://b/landing/exchange_rates/20260102T0000Z-usd-all/rates.json.gz"


def test_pages_and_rates_of_a_batch_are_told_by_their_folders(batch: BatchManifest) -> None:
    landed = LandedBatch(batch, (PAGE, RATES))
    assert (pages_of(landed).bodies, rates_of(landed).bodies) == ((PAGE,), (RATES,))


def test_files_that_somebody_brought_are_all_pages(batch: BatchManifest) -> None:
    foreign = LandedBatch(BatchManifest(**{**vars(batch), "source_id": "file"}), (PAGE, RATES))
    assert (pages_of(foreign).bodies, rates_of(foreign).bodies) == ((PAGE, RATES), ())
    assert with_rates(foreign) == foreign


@pytest.mark.parametrize(
    ("uri", "endpoint", "place"),
    [
        (PAGE, "markets", "gs://b/landing/exchange_rates/20260102T0000Z-usd-all"),
        ("/x/landing/markets/b/page.json.gz", "markets", "/x/landing/exchange_rates/b"),
        ("/x/markets/b/page.json.gz", "markets", ""),
        ("pages/page.json", "", ""),
        ("page.json", "", ""),
    ],
)
def test_the_folder_beside_a_landed_body_is_that_of_its_batch(uri: str, endpoint: str, place: str) -> None:
    assert (endpoint_of(uri), beside(uri, "exchange_rates")) == (endpoint, place)


def test_the_newest_revision_of_the_rates_is_replayed(tmp_path: Any, batch: BatchManifest) -> None:
    folder = tmp_path / "landing" / "exchange_rates" / "b"
    folder.mkdir(parents=True)
    for name in ("rates.json.gz", "rates.r2.json.gz", "_manifest.json"):
        (folder / name).write_bytes(b"x")
    page = f"{tmp_path}/landing/markets/b/page-00001.json.gz"
    assert with_rates(LandedBatch(batch, (page,))).bodies == (page, f"{folder}/rates.r2.json.gz")
    assert with_rates(with_rates(LandedBatch(batch, (page,)))).bodies == (page, f"{folder}/rates.r2.json.gz")
