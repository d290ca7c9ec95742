"""The asset kernel: canonical texts, the list, the details, the choice by need."""

import json
from datetime import UTC, date, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.assets.canonical import WrongTypeError, list_json, mapping_json
from beam_pipelines.assets.details import DETAILED, read_details
from beam_pipelines.assets.need import by_need, choose, read_known, stem
from beam_pipelines.assets.table import AssetTable
from beam_pipelines.batch_files.rejects import Refused
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import load_contract
from coinbeam.contracts.arrow import csv_block
from coinbeam.errors import SettingsError
from coinbeam.landing.layout import LandedBody, object_name, stem_and_revision
from tests.beam_pipelines.built import Built, build

AT = datetime(2026, 1, 2, tzinfo=UTC)
BATCH = BatchManifest("20260102T0000Z-usd-all", "coins_list", "file", AT, "usd", 1, "all")
CONTRACT = load_contract("crypto_asset_dim")
GOOD = {"id": "bitcoin", "symbol": "btc", "name": "Bitcoin", "platforms": {}}

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["id", "symbol", "name", "platforms", "links"]) | st.text(), inner)
    ),
    max_leaves=12,
)


def landed(content: Any, uri: str = "list.json", at: datetime = AT) -> LandedBody:
    return LandedBody(uri, content if isinstance(content, bytes) else json.dumps(content).encode(), at)


def batch(*contents: Any) -> Built:
    return build(AssetTable(CONTRACT, {}), BATCH, [landed(content) for content in contents])


def details(**fields: Any) -> dict[str, Any] | Refused:
    return read_details(landed({"id": "bitcoin", **fields}))


@pytest.mark.parametrize(
    ("value", "text"),
    [
        pytest.param(None, None, id="null"),
        pytest.param({}, None, id="an empty object"),
        pytest.param({"": ""}, None, id="the empty entry of a native coin"),
        pytest.param({"b": "0x2", "a": "0x1"}, '{"a":"0x1","b":"0x2"}', id="keys out of order"),
        pytest.param({"a": None, "b": "0x2"}, '{"b":"0x2"}', id="a platform without an address"),
        pytest.param({"ключ": "é"}, '{"ключ":"é"}', id="text beyond ASCII"),
    ],
)
def test_platforms_have_one_form(value: Any, text: str | None) -> None:
    assert mapping_json(value) == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(None, None), ([], None), ([None, ""], None), (["b", "a", "b", None], '["a","b"]'), (["a\r\nb"], '["a\\r\\nb"]')],
)
def test_categories_have_one_form(value: Any, text: str | None) -> None:
    assert list_json(value) == text


@pytest.mark.parametrize("value", [3, "text", [], {"a": 3}, {"a": {}}, {"a": "\ud800"}, {"a": "\0"}])
def test_platforms_of_another_type_are_refused(value: Any) -> None:
    with pytest.raises(WrongTypeError):
        mapping_json(value)


def test_a_good_list_has_no_reject() -> None:
    result = batch([GOOD, {**GOOD, "id": "aave", "symbol": ""}])
    assert result.table["asset_id"].to_pylist() == ["aave", "bitcoin"]
    assert result.table["symbol"].to_pylist() == [None, "btc"]
    assert (result.report["assets_listed"], result.report["details_waiting"], result.rejects) == (2, 2, [])


@pytest.mark.parametrize(
    ("element", "reason", "column"),
    [
        pytest.param({**GOOD, "id": None}, "null_value", "asset_id", id="a null id"),
        pytest.param({**GOOD, "id": ""}, "null_value", "asset_id", id="an empty id"),
        pytest.param({**GOOD, "id": 7}, "wrong_type", "asset_id", id="an id that is a number"),
        pytest.param({"symbol": "x", "name": "X"}, "missing_field", "asset_id", id="no id"),
        pytest.param({"id": "x", "symbol": "x"}, "missing_field", "name", id="no name"),
        pytest.param({**GOOD, "id": "x" * 600}, "too_long", "asset_id", id="an endless id"),
        pytest.param({**GOOD, "name": ["X"]}, "wrong_type", "name", id="a name that is a list"),
        pytest.param({**GOOD, "name": "\ud800"}, "invalid_text", "name", id="half of a surrogate pair"),
        pytest.param({**GOOD, "platforms": [1]}, "wrong_type", "platforms", id="platforms that are a list"),
        pytest.param("bitcoin", "wrong_type", None, id="no object"),
        pytest.param({**GOOD, "id": "aave"}, "duplicate", "asset_id", id="an id seen before"),
    ],
)
def test_a_bad_element_costs_only_itself(element: Any, reason: str, column: str | None) -> None:
    result = batch([{**GOOD, "id": "aave"}, element])
    [reject] = result.rejects
    record = reject.to_dict()
    assert (record["reason"], record["column_name"], record["row_number"], record["level"]) == (
        reason,
        column,
        1,
        "row",
    )
    assert set(record) == {entry.name for entry in load_contract("rejected_record").file_columns}
    assert result.table["asset_id"].to_pylist() == ["aave"]
    assert (result.report["rows_read"], result.report["rows_rejected"]) == (2, 1)
    assert json.loads(reject.to_line())["table_name"] == "crypto_asset_dim"


@pytest.mark.parametrize("body", [b"<html>", b"{", b"", b'{"error":"coin not found"}', b"3", b'"text"', b"null"])
def test_a_body_that_is_neither_list_nor_details_is_refused_as_a_page(body: bytes) -> None:
    result = batch([GOOD], body)
    [reject] = result.rejects
    assert (reject.level, reject.reason) == ("page", "not_details")
    assert (result.report["assets_listed"], result.report["details_failed"]) == (1, 1)


def test_details_fill_their_columns() -> None:
    found = details(
        categories=["B", "A", None],
        asset_platform_id="",
        hashing_algorithm="SHA-256",
        country_origin="",
        genesis_date="2009-01-03",
        links={"homepage": ["", "https://bitcoin.org", None], "blockchain_site": [None]},
        description={"en": "two\r\nlines"},
    )
    values = ("bitcoin", '["A","B"]', None, "SHA-256", None, date(2009, 1, 3), "https://bitcoin.org", AT)
    assert found == dict(zip(DETAILED, values, strict=True))


@pytest.mark.parametrize(
    ("fields", "column"),
    [
        pytest.param({"genesis_date": "2009-02-31"}, "genesis_date", id="a date that does not exist"),
        pytest.param({"genesis_date": "20090103"}, "genesis_date", id="a date in another form"),
        pytest.param({"genesis_date": 5}, "genesis_date", id="a date that is a number"),
        pytest.param({"categories": "A"}, "categories", id="categories that are a text"),
        pytest.param({"links": {"homepage": "x"}}, "homepage", id="a homepage that is a text"),
        pytest.param({"links": [1]}, "homepage", id="links that are a list of numbers"),
        pytest.param({"hashing_algorithm": {}}, "hashing_algorithm", id="an algorithm that is an object"),
        pytest.param({"id": ""}, "asset_id", id="an empty id"),
    ],
)
def test_details_of_a_wrong_type_are_a_fault_and_the_asset_waits(fields: dict[str, Any], column: str) -> None:
    found = details(**fields)
    assert isinstance(found, Refused)
    assert found.column_name == column
    result = batch([GOOD], {"id": "bitcoin", **fields})
    assert [result.report[f"details_{state}"] for state in ("fetched", "failed", "waiting")] == [0, 1, 1]
    assert result.rejects[0].column_name == column


def test_the_newest_details_count_and_those_of_unlisted_assets_do_not() -> None:
    later = datetime(2026, 1, 3, tzinfo=UTC)
    bodies = [
        landed({"id": "bitcoin", "country_origin": "new"}, at=later),
        landed({"id": "bitcoin", "country_origin": "old"}),
        landed({"id": "renamed"}),
        landed([GOOD]),
    ]
    result = build(AssetTable(CONTRACT, {}), BATCH, bodies)
    assert result.table["country_origin"].to_pylist() == ["new"]
    assert result.table["details_at"].to_pylist() == [later]
    assert (result.report["details_fetched"], result.report["details_failed"]) == (1, 2)


def test_a_name_with_line_breaks_and_quotes_stays_one_record() -> None:
    text = csv_block(batch([{**GOOD, "name": 'a"b\r\nc,d'}]).table).decode()
    assert '"a""b\r\nc,d"' in text


@given(st.lists(JSON, max_size=5), st.lists(JSON, max_size=3))
def test_no_body_breaks_the_kernel_and_every_element_is_accounted_for(elements: list[Any], others: list[Any]) -> None:
    result = batch(elements, *others)
    assert result.report["rows_read"] == result.report["assets_listed"] + result.report["rows_rejected"]
    assert result.table.num_rows == result.report["assets_listed"]
    csv_block(result.table)
    for reject in result.rejects:
        json.loads(reject.to_line())


KNOWN = {
    "known-new": None,
    "fresh": datetime(2026, 1, 1, tzinfo=UTC),
    "old": datetime(2020, 1, 1, tzinfo=UTC),
    "gone": None,
}


def test_need_is_never_fetched_first_then_the_oldest() -> None:
    order = by_need(["fresh", "old", "b", "a", "known-new"], KNOWN, "batch")
    assert order[0] == "known-new"
    assert set(order[1:3]) == {"a", "b"}
    assert order[3:] == ["old", "fresh"]


def test_the_order_is_the_same_for_every_attempt_and_another_for_another_batch() -> None:
    listed = [f"asset-{number}" for number in range(50)]
    assert by_need(listed, {}, "one") == by_need(reversed(listed), {}, "one")
    assert by_need(listed, {}, "one") != by_need(listed, {}, "two")


def test_what_was_landed_counts_towards_the_budget() -> None:
    assert choose(["a", "b", "c", "d"], {"b"}, 3) == ["a", "c"]
    assert choose(["a"], {"x", "y"}, 1) == []


@pytest.mark.parametrize(
    "text",
    ["", "id\n", "asset_id,details_at\nbitcoin\n", "asset_id,details_at\na,b,c\n", "asset_id,details_at\na,never\n"],
)
def test_a_damaged_file_of_known_assets_is_named(text: str) -> None:
    with pytest.raises((SettingsError,), match=r"--known_assets|ISO 8601"):
        read_known(text)


def test_known_assets_keep_their_order() -> None:
    assert list(read_known("asset_id,details_at\nz,\na,2026-01-01T00:00:00Z\n").items()) == [
        ("z", None),
        ("a", datetime(2026, 1, 1, tzinfo=UTC)),
    ]


@given(st.text(min_size=1, max_size=120))
def test_every_id_has_a_name_of_its_own_that_is_safe_and_no_revision(asset_id: str) -> None:
    name = stem(asset_id)
    assert stem_and_revision(f"x/{object_name(name)}") == (name, 1)
    assert stem_and_revision(f"x/{object_name(name, 3)}") == (name, 3)
    assert not set(name) & set("/\\*?[]. ")
    assert name == asset_id or name.startswith("X")
