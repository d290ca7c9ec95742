"""The tables below ``/v1``: typed by their contracts, whole over their pages, the same in every form."""

import io
from datetime import timedelta
from typing import Any

import httpx
import pyarrow as pa
import pyarrow.csv
import pytest

from serving.api.tables import TABLES, Table
from serving.api.v1 import page_model
from tests.serving.served import LAST, Made

BY_NAME = {table.name: table for table in TABLES}
NEEDED = {"market_daily": "&asset_id=bitcoin"}

tables = pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)


def get(url: str, path: str, **headers: str) -> httpx.Response:
    """An answer that is good."""
    answer = httpx.get(url + path, headers=headers, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer


def rows(url: str, table: str, filters: str = "", limit: int = 10_000) -> list[dict[str, Any]]:
    """All rows of a table, page by page."""
    found: list[dict[str, Any]] = []
    after = ""
    for _ in range(10_000):
        page = get(url, f"/v1/{table}?limit={limit}{filters}{after}").json()
        found += page["data"]
        if page["next"] is None:
            return found
        after = f"&after={page['next']}"
    raise AssertionError("the pages do not end")


@tables
def test_rows_have_the_types_of_the_contract_and_the_order_of_the_key(api_url: str, table: Table) -> None:
    page = get(api_url, f"/v1/{table.name}?limit=50{NEEDED.get(table.name, '')}").json()
    made: Any = page_model(table).model_validate(page)
    assert [list(row) for row in page["data"]] == [[c.name for c in table.columns]] * len(made.data)
    keys = [tuple(row[name] for name in table.key) for row in page["data"]]
    assert keys == sorted(set(keys))


@pytest.mark.parametrize("name", ["assets", "prices", "signals"])
@pytest.mark.parametrize("limit", [1, 7, 100, 259, 260, 261])
def test_pages_are_the_whole_in_any_size(api_url: str, name: str, limit: int) -> None:
    whole = get(api_url, f"/v1/{name}?limit=10000").json()["data"]
    assert len(whole) == 260
    if limit > 1:
        assert rows(api_url, name, limit=limit) == whole


def test_every_asset_has_its_price_and_its_signal(api_url: str, made_bundle: Made) -> None:
    source = made_bundle[2]
    expected = dict(zip(source.ids, source.price(LAST).tolist(), strict=True))
    assert {row["asset_id"]: row["current_price"] for row in rows(api_url, "prices")} == expected
    signals = rows(api_url, "signals")
    assert {row["asset_id"]: row["price"] for row in signals} == expected
    assert {(row["date"], row["signal"]) for row in signals} == {(str(LAST), "BUY")}
    assert all(row["sma_30d"] == row["price"] * 0.9 for row in signals)


def test_the_days_of_an_asset_are_chosen_by_date(api_url: str, made_bundle: Made) -> None:
    source = made_bundle[2]
    first, last = LAST - timedelta(days=9), LAST - timedelta(days=3)
    found = rows(api_url, "market_daily", f"&asset_id=ethereum&from={first}&to={last}", limit=3)
    days = [first + timedelta(days=n) for n in range(7)]
    assert [row["date"] for row in found] == [str(day) for day in days]
    assert [row["price"] for row in found] == [float(source.price(day)[1]) for day in days]
    assert found[0]["observed_at"] == f"{first}T00:00:47Z"


def test_as_of_an_instant_only_what_was_observed_is_there(api_url: str) -> None:
    day = LAST - timedelta(days=30)
    found = rows(api_url, "market_daily", f"&asset_id=bitcoin&as_of={day}T00:00:46Z")
    assert found[-1]["date"] == str(day - timedelta(days=1))
    signals = rows(api_url, "signals", f"&as_of={day}T12:00:00Z")
    assert {row["date"] for row in signals} == {str(day)}


@pytest.mark.parametrize("name", ["prices", "signals", "market_daily", "assets"])
def test_all_forms_have_the_same_rows(api_url: str, name: str) -> None:
    path = f"/v1/{name}?limit=90{NEEDED.get(name, '')}"
    as_json = get(api_url, path).json()
    arrow = get(api_url, path, Accept="application/vnd.apache.arrow.stream")
    as_arrow = pa.ipc.open_stream(arrow.content).read_all()
    as_csv = get(api_url, path, Accept="text/csv")
    assert arrow.headers.get("x-coinbeam-next") == as_csv.headers.get("x-coinbeam-next") == as_json["next"]
    assert as_arrow.schema.names == [column.name for column in BY_NAME[name].columns]
    for column in BY_NAME[name].columns:
        if column.type in {"FLOAT64", "INT64", "STRING"}:
            assert as_arrow[column.name].to_pylist() == [row[column.name] for row in as_json["data"]]
    read = pyarrow.csv.read_csv(io.BytesIO(as_csv.content))
    assert read.column_names == as_arrow.schema.names
    doubles = [column.name for column in BY_NAME[name].columns if column.type == "FLOAT64"]
    for column_name in doubles:
        assert read[column_name].cast(pa.float64()).to_pylist() == as_arrow[column_name].to_pylist()


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/v1/prices?asset=bitcoin", "Unknown parameter asset"),
        ("/v1/market_daily", "Missing parameter asset_id"),
        ("/v1/prices?limit=0", "Invalid parameter limit"),
        ("/v1/prices?limit=10001", "Invalid parameter limit"),
        ("/v1/prices?after=nonsense", "Invalid parameter after"),
        ("/v1/market_daily?asset_id=bitcoin&from=yesterday", "Invalid parameter from"),
        ("/v1/movers?as_of=2026-01-01", "only the present is held"),
    ],
)
def test_a_wrong_call_is_told_by_name(api_url: str, path: str, message: str) -> None:
    answer = httpx.get(api_url + path)
    assert answer.status_code == 422
    assert answer.headers["content-type"] == "application/problem+json"
    assert message in answer.json()["detail"]


@pytest.mark.parametrize(
    ("path", "status"),
    [("/v1/market_daily?asset_id=nocoin", 404), ("/v1/prices?quote_currency=xyz", 404), ("/v1/nothing", 404)],
)
def test_what_is_not_there_is_404(api_url: str, path: str, status: int) -> None:
    assert httpx.get(api_url + path).status_code == status


def test_a_form_that_is_not_ours_is_406(api_url: str) -> None:
    assert httpx.get(f"{api_url}/v1/prices", headers={"Accept": "image/png"}).status_code == 406


def test_a_filter_keeps_only_its_rows(api_url: str) -> None:
    [row] = rows(api_url, "assets", "&symbol=c7")
    assert row["asset_id"] == "coin-00007"
    assert rows(api_url, "signals", "&signal=SELL") == []
