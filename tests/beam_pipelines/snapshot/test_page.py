"""One page: what is a page, what each fault costs, and what is kept exactly."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from beam_pipelines.snapshot.rules import MarketRules
from coinbeam.batch.manifest import BatchManifest
from coinbeam.landing.layout import LandedBody
from tests.beam_pipelines.pages import TablePage, read_table

Row = dict[str, Any]
Read = Callable[[bytes | list[Any]], TablePage]


@pytest.fixture(scope="session")
def read(land: Callable[..., LandedBody], batch: BatchManifest, rules: MarketRules) -> Read:
    """Lands a body and reads it."""
    return lambda body: read_table(land(body), batch, rules)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        pytest.param(b"", "not_json", id="an empty body"),
        pytest.param(b"<!DOCTYPE html><title>Just a moment...</title>", "not_json", id="an HTML page of the CDN"),
        pytest.param(b"Throttled, come back\nlater", "not_json", id="plain text"),
        pytest.param(b"id,current_price\nbitcoin,1.5\n", "csv_table", id="a CSV"),
        pytest.param(b"error code: 1015", "not_json", id="a text with an error code"),
        pytest.param(b'[{"id": "bitcoin", "symb', "not_json", id="a truncated page"),
        pytest.param(b"\xff\xfe\x00", "not_json", id="bytes that are no text"),
        pytest.param(b"[" * 200_000, "not_json", id="brackets nested deeper than any parser goes"),
        pytest.param(
            b'{"status":{"error_code":429,"error_message":"You\'ve exceeded the Rate Limit"}}',
            "error_body",
            id="a 429 body",
        ),
        pytest.param(b'{"error":"Missing parameter vs_currency"}', "error_body", id="an error object"),
        pytest.param(
            b'{"error":{"status":{"error_code":10012}}, "x": NaN}',
            "error_body",
            id="an error object that only Python reads",
        ),
        pytest.param(b'{"data": {"id": "bitcoin"}}', "not_a_page", id="data that is no array"),
        pytest.param(b'{"data": [], "vs_currency": "EUR"}', "other_currency", id="prices in another currency"),
        pytest.param(b"{}", "not_a_page", id="an empty object"),
        pytest.param(b"null", "not_a_page", id="null"),
        pytest.param(b"17", "not_a_page", id="a number"),
    ],
)
def test_a_body_that_is_no_page_is_one_page_reject_for_all_rows_asked_for(body: bytes, reason: str, read: Read) -> None:
    page = read(body)
    [reject] = page.rejects
    assert (reject.level, reject.reason, reject.estimated_rows, reject.row_number) == ("page", reason, 250, None)
    assert (page.counts["rows_read"], page.table.num_rows) == (0, 0)
    assert (reject.payload or "").startswith(json.dumps(body[:10].decode(errors="replace"))[:-1])


def test_a_bare_array_and_one_wrapped_in_data_are_the_same_page(read: Read, good_row: Callable[..., Row]) -> None:
    rows = [good_row(), good_row(id="ethereum")]
    assert read(rows).table == read(json.dumps({"data": rows}).encode()).table
    assert read(rows).table.num_rows == 2


FAULTS = [
    pytest.param({"id": None}, "null_value", "asset_id", id="a null id"),
    pytest.param({"id": ""}, "null_value", "asset_id", id="an empty id"),
    pytest.param({"id": 7}, "wrong_type", "asset_id", id="a number as id"),
    pytest.param({"id": "x" * 513}, "too_long", "asset_id", id="an id longer than the contract allows"),
    pytest.param({"name": "x" * 4097}, "too_long", "name", id="a name longer than the contract allows"),
    pytest.param({"name": "nul\0inside"}, "invalid_text", "name", id="a NUL character, which no warehouse loads"),
    pytest.param({"name": "half \ud83d"}, "invalid_text", "name", id="half of an emoji"),
    pytest.param({"id": "a,b"}, "invalid_id", "asset_id", id="an id with a comma, which separates ids in a list"),
    pytest.param({"id": "a\nb"}, "invalid_id", "asset_id", id="an id with a line break"),
    pytest.param({"name": 5}, "wrong_type", "name", id="a number in a text"),
    pytest.param({"last_updated": None}, "null_value", "observed_at", id="a null last_updated"),
    pytest.param({"last_updated": "soon"}, "wrong_type", "observed_at", id="a timestamp that is none"),
    pytest.param(
        {"last_updated": "2026-02-30T00:00:00.000Z"}, "wrong_type", "observed_at", id="a day that does not exist"
    ),
    pytest.param(
        {"last_updated": "2026-01-02T00:10:30.001Z"},
        "future_observation",
        "observed_at",
        id="later than landing and clock skew",
    ),
    pytest.param({"ath_date": 1700000000}, "wrong_type", "ath_date", id="an epoch where ISO 8601 belongs"),
    pytest.param({"current_price": "1.5"}, "wrong_type", "current_price", id="a string where a number belongs"),
    pytest.param({"current_price": True}, "wrong_type", "current_price", id="a bool as a price"),
    pytest.param({"current_price": False}, "wrong_type", "current_price", id="false, which is no zero"),
    pytest.param({"current_price": -1e-9}, "below_minimum", "current_price", id="a negative price"),
    pytest.param({"current_price": float("inf")}, "not_finite", "current_price", id="an infinite price"),
    pytest.param({"ath": float("nan")}, "not_finite", "ath", id="not a number"),
    pytest.param({"ath": 10**400}, "not_finite", "ath", id="an integer beyond all doubles"),
    pytest.param({"market_cap": -1}, "below_minimum", "market_cap", id="a negative market cap"),
    pytest.param({"market_cap_rank": 0}, "below_minimum", "market_cap_rank", id="rank zero"),
    pytest.param({"market_cap_rank": 1.5}, "wrong_type", "market_cap_rank", id="half a rank"),
    pytest.param({"market_cap_rank": "1"}, "wrong_type", "market_cap_rank", id="a rank in a string"),
    pytest.param({"market_cap_rank": 2**63}, "above_maximum", "market_cap_rank", id="a rank one above 64 bits"),
    pytest.param({"market_cap_rank": 10**30}, "above_maximum", "market_cap_rank", id="a rank far above 64 bits"),
    pytest.param({"ath": {"usd": 1}}, "wrong_type", "ath", id="an object where a number belongs"),
]


@pytest.mark.parametrize(("fault", "reason", "column"), FAULTS)
def test_a_bad_row_costs_only_itself(
    fault: Row, reason: str, column: str, read: Read, good_row: Callable[..., Row]
) -> None:
    page = read([good_row(id="a"), good_row(**{"id": "bad", **fault}), good_row(id="c")])
    [reject] = page.rejects
    assert (reject.level, reject.reason, reject.column_name, reject.row_number, reject.estimated_rows) == (
        "row",
        reason,
        column,
        1,
        1,
    )
    assert reject.asset_id == (None if "id" in fault else "bad")
    assert page.table["asset_id"].to_pylist() == ["a", "c"]


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        pytest.param("1.5", '"1.5"', id="a string"),
        pytest.param(float("inf"), "Infinity", id="infinity"),
        pytest.param(-5, "-5", id="a number"),
        pytest.param({"usd": 1}, '{"usd": 1}', id="an object"),
        pytest.param("x" * 5_000, '"' + "x" * 999, id="a long text, cut"),
    ],
)
def test_a_reject_shows_the_offending_value_and_the_whole_row(
    value: Any, shown: str, read: Read, good_row: Callable[..., Row]
) -> None:
    row = good_row(market_cap=value)
    [reject] = read([row]).rejects
    assert reject.value == shown
    assert reject.payload == json.dumps(row)


@pytest.mark.parametrize("row", [[], "bitcoin", 5, None], ids=["an array", "a text", "a number", "null"])
def test_an_element_that_is_no_object_is_a_reject_without_column(
    row: Any, read: Read, good_row: Callable[..., Row]
) -> None:
    page = read([row, good_row()])
    assert [(reject.reason, reject.column_name, reject.row_number) for reject in page.rejects] == [
        ("wrong_type", None, 0)
    ]
    assert page.table.num_rows == 1


@pytest.mark.parametrize("field", ["id", "symbol", "name", "current_price", "last_updated", "ath", "market_cap_rank"])
def test_a_field_that_other_rows_have_must_not_be_missing(field: str, read: Read, good_row: Callable[..., Row]) -> None:
    lacking = good_row(id="lacking")
    del lacking[field]
    page = read([good_row(), lacking])
    assert [(reject.reason, reject.row_number) for reject in page.rejects] == [("missing_field", 1)]
    assert page.table.num_rows == 1


def test_a_field_of_a_single_odd_row_does_not_condemn_the_others(read: Read, good_row: Callable[..., Row]) -> None:
    odd = good_row(id="odd", price_change_percentage_7d_in_currency=1.5)
    rows = [good_row(id=name) for name in "abc"]
    for row in rows:
        row.pop("price_change_percentage_7d_in_currency", None)
    page = read([*rows, odd])
    assert page.rejects == []
    assert page.table["price_change_percentage_7d"].to_pylist() == [None, None, None, 1.5]


def test_a_field_that_no_row_has_is_null(read: Read, good_row: Callable[..., Row]) -> None:
    rows = [good_row(id=name) for name in "ab"]
    for row in rows:
        del row["max_supply"], row["sparkline_in_7d"], row["price_change_percentage_1h_in_currency"]
    page = read(rows)
    assert not page.rejects
    for name in ("max_supply", "price_change_percentage_1h", "volatility_7d", "realized_volatility_7d"):
        assert page.table[name].null_count == 2


@pytest.mark.parametrize("field", ["id", "symbol", "name", "current_price", "last_updated"])
def test_no_row_may_lack_what_every_answer_has_even_if_all_do(
    field: str, read: Read, good_row: Callable[..., Row]
) -> None:
    rows = [good_row(), good_row()]
    for row in rows:
        del row[field]
    assert [reject.reason for reject in read(rows).rejects] == ["missing_field"] * 2


@pytest.mark.parametrize("price", [None, 0, 0.0, -0.0], ids=["null", "zero", "zero as a double", "minus zero"])
def test_a_row_without_a_price_is_counted_and_no_fault(price: Any, read: Read, good_row: Callable[..., Row]) -> None:
    page = read([good_row(), good_row(current_price=price, ath="bad", market_cap=-1)])
    assert (page.counts["rows_unpriced"], page.rejects, page.table.num_rows) == (1, [], 1)


def test_a_row_without_price_and_id_is_refused(read: Read, good_row: Callable[..., Row]) -> None:
    page = read([good_row(current_price=None, id=None)])
    assert (page.counts["rows_unpriced"], [reject.reason for reject in page.rejects]) == (0, ["null_value"])


def test_texts_are_kept_exactly_and_empty_ones_are_null(read: Read, good_row: Callable[..., Row]) -> None:
    names = ["\u200bzero width", "trailing nbsp\u00a0", "\u3000", 'quote " comma , line\r\nend', "🚀", " ", ""]
    page = read([good_row(id=str(index), name=name, symbol="") for index, name in enumerate(names)])
    assert page.table["name"].to_pylist() == [*names[:-1], None]
    assert page.table["symbol"].null_count == len(names)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("2026-01-01T23:59:59Z", datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC), id="whole seconds"),
        pytest.param(
            "2026-01-01T23:59:59.123Z", datetime(2026, 1, 1, 23, 59, 59, 123_000, tzinfo=UTC), id="milliseconds"
        ),
        pytest.param(
            "2026-01-01T23:59:59.123456Z", datetime(2026, 1, 1, 23, 59, 59, 123_456, tzinfo=UTC), id="microseconds"
        ),
        pytest.param(
            "2026-01-02T05:29:59.5+05:30", datetime(2026, 1, 1, 23, 59, 59, 500_000, tzinfo=UTC), id="another offset"
        ),
        pytest.param(
            "2026-01-01 23:59:59-00:00", datetime(2026, 1, 1, 23, 59, 59, tzinfo=UTC), id="a space and a zero offset"
        ),
    ],
)
@pytest.mark.parametrize(
    "company", [[], ["2025-01-01T00:00:00.000Z"], ["nonsense"]], ids=["alone", "beside a usual one", "beside nonsense"]
)
def test_instants_keep_their_microseconds(
    text: str, expected: datetime, company: list[str], read: Read, good_row: Callable[..., Row]
) -> None:
    page = read([good_row(last_updated=text, id="it")] + [good_row(last_updated=other) for other in company])
    assert page.table["observed_at"].to_pylist()[0] == expected


def test_the_skew_between_clocks_is_allowed_to_the_second(read: Read, good_row: Callable[..., Row]) -> None:
    assert read([good_row(last_updated="2026-01-02T00:10:30.000000Z")]).table.num_rows == 1


def test_added_columns_come_from_the_batch_and_the_landing(
    good_row: Callable[..., Row], land: Callable[..., LandedBody], batch: BatchManifest, rules: MarketRules
) -> None:
    landed = land([good_row()])
    afternoon = BatchManifest(**{**vars(batch), "snapshot_at": batch.snapshot_at + timedelta(hours=3, minutes=30)})
    [row] = read_table(landed, afternoon, rules).table.to_pylist()
    assert row["quote_currency"] == "usd"
    assert row["snapshot_at"] == datetime(2026, 1, 2, 3, 30, tzinfo=UTC)
    assert row["snapshot_date"].isoformat() == "2026-01-02"
    assert row["time_id"] == 210
    assert row["ingested_at"] == landed.landed_at
    assert (row["source_id"], row["batch_id"]) == ("coingecko", batch.batch_id)


def test_only_fields_that_nobody_knows_are_named(read: Read, good_row: Callable[..., Row]) -> None:
    page = read([good_row(), good_row(brand_new=1, price_change_percentage_200d_in_currency=2.0)])
    assert page.unknown_fields == {"brand_new"}
    assert not page.rejects


@pytest.mark.parametrize(
    "sparkline",
    [
        {"price": [1.0] * 167 + ["2"]},
        {"price": [1.0] * 167 + [None]},
        {"price": [[1.0]] * 168},
        {"price": {}},
        {},
        "x",
        [1.0],
    ],
    ids=[
        "a string among prices",
        "a null among prices",
        "nested arrays",
        "prices as object",
        "no prices",
        "a text",
        "a bare array",
    ],
)
@pytest.mark.parametrize(
    "oddity", [None, float("inf"), 2**64], ids=["read by simdjson", "read by json", "read by orjson"]
)
def test_a_malformed_sparkline_costs_the_statistics_not_the_price(
    sparkline: Any, oddity: Any, read: Read, good_row: Callable[..., Row]
) -> None:
    page = read(
        [good_row(id="good"), good_row(id="odd", sparkline_in_7d=sparkline), good_row(id="parser", total_supply=oddity)]
    )
    rows = {row["asset_id"]: row for row in page.table.to_pylist()}
    assert page.counts["sparkline_unusable"] == 1
    assert rows["odd"]["volatility_7d"] is None
    assert rows["odd"]["current_price"] == 123456.78
    assert rows["good"]["volatility_7d"] > 0


ROI = {"times": 12.612625533540125, "currency": "btc", "percentage": 1261.2625533540124}


def test_members_of_an_object_are_columns_of_their_own(read: Read, good_row: Callable[..., Row]) -> None:
    given = [ROI, None, {**ROI, "times": None, "currency": ""}, {**ROI, "times": -1, "other": {}}]
    page = read([good_row(id=str(number), roi=roi) for number, roi in enumerate(given)])
    columns = ("roi_times", "roi_currency", "roi_percentage")
    assert [tuple(row[name] for name in columns) for row in page.table.to_pylist()] == [
        (12.612625533540125, "btc", 1261.2625533540124),
        (None, None, None),
        (None, None, 1261.2625533540124),
        (-1.0, "btc", 1261.2625533540124),
    ]
    assert page.counts["roi_unusable"] == 0


@pytest.mark.parametrize(
    "roi",
    [
        pytest.param("12.6", id="a text"),
        pytest.param(12.6, id="a number"),
        pytest.param([ROI], id="a list"),
        pytest.param({}, id="an empty object"),
        pytest.param({"times": 1.0, "currency": "usd"}, id="a member lacking"),
        pytest.param({**ROI, "times": "12.6"}, id="a text as multiple"),
        pytest.param({**ROI, "times": True}, id="a bool as multiple"),
        pytest.param({**ROI, "times": float("nan")}, id="a multiple that is not a number"),
        pytest.param({**ROI, "percentage": 10**400}, id="a percentage beyond all doubles"),
        pytest.param({**ROI, "currency": 1}, id="a number as currency"),
        pytest.param({**ROI, "currency": "u\0sd"}, id="a currency that no warehouse loads"),
        pytest.param({**ROI, "currency": "u" * 65}, id="a currency longer than the contract allows"),
    ],
)
@pytest.mark.parametrize(
    "oddity", [None, float("inf"), 2**64], ids=["read by simdjson", "read by json", "read by orjson"]
)
def test_a_malformed_roi_costs_its_columns_not_the_price(
    roi: Any, oddity: Any, read: Read, good_row: Callable[..., Row]
) -> None:
    page = read([good_row(id="good", roi=ROI), good_row(id="odd", roi=roi), good_row(id="parser", total_supply=oddity)])
    rows = {row["asset_id"]: row for row in page.table.to_pylist()}
    assert page.counts["roi_unusable"] == 1
    assert [rows["odd"][name] for name in ("roi_times", "roi_currency", "roi_percentage")] == [None] * 3
    assert (rows["odd"]["current_price"], rows["good"]["roi_currency"]) == (123456.78, "btc")


@pytest.mark.parametrize(
    "image",
    [1, {"large": "https://x"}, "u" * 4097, "nul\0inside", "half \ud83d"],
    ids=["a number", "an object", "a text longer than the contract allows", "a NUL character", "half of an emoji"],
)
def test_a_malformed_image_costs_no_price(image: Any, read: Read, good_row: Callable[..., Row]) -> None:
    page = read([good_row(id="good"), good_row(id="odd", image=image), good_row(id="bad", image=image, ath="x")])
    assert page.counts["image_unusable"] == 1
    assert [(reject.asset_id, reject.column_name) for reject in page.rejects] == [("bad", "ath")]
    assert page.table["image"].to_pylist() == [good_row()["image"], None]


def test_a_row_may_lack_what_only_shows_it(read: Read, good_row: Callable[..., Row]) -> None:
    lacking = good_row(id="lacking")
    del lacking["image"], lacking["roi"]
    page = read([good_row(roi=ROI), lacking])
    assert (page.rejects, page.counts["image_unusable"], page.counts["roi_unusable"]) == ([], 0, 0)
    assert page.table["image"].to_pylist() == [good_row()["image"], None]
    assert page.table["roi_times"].to_pylist() == [ROI["times"], None]


def test_brackets_in_a_name_do_not_spoil_a_sparkline(read: Read, good_row: Callable[..., Row]) -> None:
    page = read([good_row(name="[WRAPPED]"), good_row(id="b", sparkline_in_7d=None)])
    assert page.counts["sparkline_unusable"] == 0
    assert [row["volatility_7d"] is None for row in page.table.to_pylist()] == [False, True]


@pytest.mark.parametrize(
    ("given", "stored"), [(7.0, 7), (2**63 - 1, 2**63 - 1), (None, None)], ids=["a whole double", "the largest", "null"]
)
def test_a_whole_number_is_a_rank_however_it_is_spelt(
    given: Any, stored: Any, read: Read, good_row: Callable[..., Row]
) -> None:
    assert read([good_row(market_cap_rank=given)]).table["market_cap_rank"].to_pylist() == [stored]


def test_rows_held_from_an_earlier_page_do_not_stop_the_next(good_row: Callable[..., Row]) -> None:
    from beam_pipelines.snapshot.bodies import Page, read_body

    first, second = (read_body(json.dumps([good_row(id=name)]).encode()) for name in "ab")
    assert isinstance(first, Page)
    assert isinstance(second, Page)
    assert (first.rows[0]["id"], second.rows[0]["id"]) == ("a", "b")


def test_a_reject_fits_its_contract(read: Read, good_row: Callable[..., Row]) -> None:
    from coinbeam.contracts import load_contract

    contract = load_contract("rejected_record")
    page = read([good_row(name="x" * 30_000), good_row(id=None)])
    records = [reject.to_dict() for reject in (*page.rejects, *read(b"<html>").rejects)]
    for record in records:
        assert list(record) == [column.name for column in contract.file_columns]
        assert all(record[column.name] is not None for column in contract.columns if column.required)
        assert len(str(record["value"])) <= 1_000
        assert len(str(record["payload"])) <= 20_000
    assert len({record["rejected_id"] for record in records}) == 3
    assert {record["contract_version"] for record in records} == {load_contract("crypto_market_snapshot_fact").version}
