"""Rows as Arrow tables from the emulator: every bit, any number of rows, and clear errors."""

import struct
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from typing import Any

import pyarrow as pa
import pytest
from google.api_core.exceptions import Forbidden
from google.cloud.bigquery.table import RowIterator
from hypothesis import given
from hypothesis import strategies as st

from coinbeam.contracts import load_contract
from coinbeam.contracts.arrow import arrow_schema
from coinbeam.errors import TerminalError, TransientError
from coinbeam.warehouse.arrow import arrow_rows, contract_rows, in_portions, rows_by_date
from coinbeam.warehouse.client import Warehouse
from tests.coinbeam.conftest import DAY, Stage, fact_row
from tests.temporary import LocalCloud, free_ports

FACT = load_contract("crypto_market_snapshot_fact")


@pytest.fixture
def warehouse(fresh_cloud: LocalCloud) -> Warehouse:
    """A warehouse without a table."""
    return Warehouse(fresh_cloud.settings)


MORE_THAN_A_PAGE = 12_345
"""A page of REST has 10,000 rows."""

DOUBLES = {
    "a sum that is not decimal": (0.1 + 0.2).hex(),
    "the smallest": "0x0.0000000000001p-1022",
    "the largest": "0x1.fffffffffffffp+1023",
    "minus zero": "-0x0.0p+0",
    "not a number": "nan",
    "infinity": "inf",
    "minus infinity": "-inf",
}


@pytest.mark.cloud
@pytest.mark.parametrize("written", DOUBLES.values(), ids=DOUBLES)
def test_a_double_keeps_every_bit(written: str, warehouse: Warehouse) -> None:
    number = float.fromhex(written)
    name = f"{warehouse.dataset('crypto_data')}.doubles"
    warehouse.query(f"CREATE OR REPLACE TABLE `{name}` (x FLOAT64)")
    warehouse.append(name, b'{"x": "%s"}' % str(number).encode())
    [found] = arrow_rows(warehouse, f"SELECT x FROM `{name}`", pa.schema([("x", pa.float64())]))["x"].to_pylist()
    assert struct.pack("<d", found) == struct.pack("<d", number)


VALUES: dict[str, tuple[pa.DataType, Any]] = {
    "a text of any alphabet": (pa.string(), 'Ω "x", \n é'),
    "a large number": (pa.int64(), 2**63 - 1),
    "an instant": (pa.timestamp("us", tz="UTC"), datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
    "a day": (pa.date32(), date(2013, 1, 1)),
    "nothing": (pa.string(), None),
}


@pytest.mark.cloud
@pytest.mark.parametrize(("kind", "value"), VALUES.values(), ids=VALUES)
def test_a_value_comes_in_the_type_that_was_asked_for(kind: pa.DataType, value: Any, warehouse: Warehouse) -> None:
    found = arrow_rows(warehouse, "SELECT @given AS given", pa.schema([("given", kind)]), given=value)
    assert found.schema.field("given").type == kind
    assert found["given"].to_pylist() == [value]


@pytest.mark.cloud
def test_rows_of_a_contract_are_those_of_rest_in_the_order_of_its_key(stage: Stage) -> None:
    days = [DAY + timedelta(days=offset) for offset in range(3)]
    stage.publish("b", **{FACT.name: [fact_row(asset, at) for at in reversed(days) for asset in ("x", "a", "Ω")]})
    rows = contract_rows(stage.warehouse, FACT)
    assert rows.schema == arrow_schema(FACT.columns)
    assert rows.to_pylist() == stage.contents(FACT.name)
    some = contract_rows(stage.warehouse, FACT, days[1].date(), days[1].date())
    assert some.to_pylist() == [row for row in rows.to_pylist() if row["snapshot_at"] == days[1]]


@pytest.mark.cloud
def test_no_row_is_a_table_of_the_schema(stage: Stage) -> None:
    assert contract_rows(stage.warehouse, FACT) == arrow_schema(FACT.columns).empty_table()


@pytest.mark.cloud
def test_more_rows_than_a_page_arrive_once_each(warehouse: Warehouse) -> None:
    numbers = f"SELECT n FROM UNNEST(GENERATE_ARRAY(1, {MORE_THAN_A_PAGE})) AS n"
    found = arrow_rows(warehouse, numbers, pa.schema([("n", pa.int64())]))
    assert sorted(found["n"].to_pylist()) == list(range(1, MORE_THAN_A_PAGE + 1))


@pytest.mark.cloud
def test_rows_of_any_size_arrive(warehouse: Warehouse) -> None:
    """Four times as many bytes as the emulator sends in one message by itself."""
    texts = "SELECT REPEAT('x', 1000) || n AS t FROM UNNEST(GENERATE_ARRAY(1, 45000)) AS n"
    found = arrow_rows(warehouse, texts, pa.schema([("t", pa.string())]))
    assert len(set(found["t"].to_pylist())) == 45_000


def test_rows_are_counted_by_date(stage: Stage) -> None:
    stage.publish(
        "b", **{FACT.name: [fact_row(asset, DAY + timedelta(days=n)) for n in (0, 2) for asset in "ab"[: n + 1]]}
    )
    day = DAY.date()
    assert rows_by_date(stage.warehouse, FACT, day, date.max) == {day: 1, day + timedelta(days=2): 2}


@given(st.dictionaries(st.dates(date(2024, 1, 1), date(2024, 3, 1)), st.integers(1, 9)), st.integers(1, 20))
def test_portions_are_all_dates_in_order_and_few_rows_each(rows: dict[date, int], most: int) -> None:
    first, last = date(2024, 1, 5), date(2024, 2, 20)
    portions = in_portions(first, last, rows, most)
    assert (portions[0][0], portions[-1][1]) == (first, last)
    assert all(one[1] + timedelta(days=1) == other[0] for one, other in pairwise(portions))
    for start, end in portions:
        held = {day: n for day, n in rows.items() if start <= day <= end}
        assert start <= end
        assert sum(held.values()) <= most or len(held) == 1


MISFITS = {
    "a missing column": ("SELECT 1 AS y", pa.field("x", pa.int64())),
    "a text": ("SELECT '1' AS x", pa.field("x", pa.int64())),
    "another type": ("SELECT TRUE AS x", pa.field("x", pa.timestamp("us", tz="UTC"))),
    "a number that would be cut": ("SELECT 1.5 AS x", pa.field("x", pa.int64())),
    "a null that must not be": ("SELECT CAST(NULL AS INT64) AS x", pa.field("x", pa.int64(), nullable=False)),
}


@pytest.mark.parametrize(("sql", "field"), MISFITS.values(), ids=MISFITS)
def test_rows_that_do_not_fit_the_schema_are_refused(sql: str, field: pa.Field, warehouse: Warehouse) -> None:
    with pytest.raises(TerminalError, match=r"olumn x\b"):
        arrow_rows(warehouse, sql, pa.schema([field]))


@pytest.mark.cloud
def test_a_query_that_fails_says_why(warehouse: Warehouse) -> None:
    with pytest.raises(TerminalError, match="The query failed"):
        arrow_rows(warehouse, "SELEC 1", pa.schema([]))


@pytest.mark.cloud
def test_a_storage_api_that_is_down_is_told(warehouse: Warehouse) -> None:
    settings = warehouse.settings
    ports = settings.local.ports.model_copy(update={"bigquery_grpc": free_ports(1)[0]})
    warehouse.settings = settings.model_copy(update={"local": settings.local.model_copy(update={"ports": ports})})
    warehouse.bounds["timeout"] = 2
    with pytest.raises(TransientError, match="could not do the work"):
        arrow_rows(warehouse, "SELECT 1 AS x", pa.schema([("x", pa.int64())]))


@pytest.mark.cloud
def test_an_account_that_may_not_read_is_told_the_role(warehouse: Warehouse, monkeypatch: pytest.MonkeyPatch) -> None:
    """The emulator knows no accounts: the refusal is what BigQuery answers."""

    def refuse(*_: object, **__: object) -> pa.Table:
        raise Forbidden("Permission 'bigquery.readsessions.create' denied")

    monkeypatch.setattr(RowIterator, "to_arrow", refuse)
    with pytest.raises(TerminalError, match=r"refuses.*roles/bigquery\.readSessionUser"):
        arrow_rows(warehouse, "SELECT 1 AS x", pa.schema([("x", pa.int64())]))
