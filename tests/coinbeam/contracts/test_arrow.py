"""Batch files: what Arrow writes is what a strict reader gets back, bit for bit."""

import csv
import datetime as dt
import io
import math
import struct
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from coinbeam.contracts import Column, Contract, load_all
from coinbeam.contracts.arrow import arrow_schema, csv_block, csv_header

CONTRACTS = list(load_all().values())
every_contract = pytest.mark.parametrize("contract", CONTRACTS, ids=lambda contract: contract.name)
INSTANTS = st.datetimes(dt.datetime(1680, 1, 1), dt.datetime(2260, 1, 1), timezones=st.just(dt.UTC))  # noqa: DTZ001 - hypothesis wants naive bounds


def block(kind: str, values: list[Any]) -> str:
    """One column of a type as a CSV block."""
    schema = arrow_schema([Column("x", kind, "d", "u")])
    return csv_block(pa.table([pa.array(values, schema.field(0).type)], schema=schema)).decode()


def bits(value: float) -> bytes:
    """The eight bytes of a double: tells -0.0 from 0.0."""
    return struct.pack("<d", value)


@every_contract
def test_the_arrow_schema_follows_the_contract(contract: Contract) -> None:
    schema = arrow_schema(contract.columns)
    assert schema.names == [column.name for column in contract.columns]
    expected = {
        "STRING": "string",
        "INT64": "int64",
        "FLOAT64": "double",
        "BOOL": "bool",
        "TIMESTAMP": "timestamp[us, tz=UTC]",
        "DATE": "date32[day]",
    }
    for column in contract.columns:
        assert str(schema.field(column.name).type) == expected[column.type]
        assert schema.field(column.name).nullable is not column.required


@every_contract
def test_the_header_is_the_names_of_the_contract(contract: Contract) -> None:
    header = csv_header(contract.file_columns).decode()
    assert header.endswith("\n")
    assert next(csv.reader([header])) == [column.name for column in contract.file_columns]


@every_contract
def test_a_block_of_no_rows_is_empty(contract: Contract) -> None:
    assert csv_block(arrow_schema(contract.file_columns).empty_table()) == b""
    assert csv_block(pa.Table.from_batches([], arrow_schema(contract.file_columns))) == b""


@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=50))
@example(
    [
        5e-324,
        1.7976931348623157e308,
        3.57e38,
        2.4e-10,
        9.9e-14,
        -0.0,
        0.1 + 0.2,
        1 / 3,
        math.inf,
        -math.inf,
        1e22,
        1e21,
        123456789012345680.0,
    ]
)
def test_every_double_comes_back_with_the_same_bits(values: list[float]) -> None:
    assert [bits(float(line)) for line in block("FLOAT64", values).splitlines()] == [bits(value) for value in values]


@given(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=1))
def test_every_integer_comes_back(values: list[int]) -> None:
    assert [int(line) for line in block("INT64", values).splitlines()] == values


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"]), min_size=1), min_size=1))
@example(['say "hi", twice', "line\r\nbreak", "\n", ",", '"', "  padded\u00a0", "\u200bzero", "🚀", "\u3000"])
def test_every_text_comes_back_through_a_strict_reader(values: list[str]) -> None:
    rows = list(csv.reader(io.StringIO(block("STRING", values), newline=""), strict=True))
    assert rows == [[value] for value in values]


@given(st.lists(st.none() | INSTANTS, min_size=1, max_size=20))
def test_every_instant_comes_back_to_the_microsecond(values: list[dt.datetime | None]) -> None:
    lines = block("TIMESTAMP", values).split("\n")[:-1]
    assert [dt.datetime.fromisoformat(line.strip('"')) if line else None for line in lines] == values


@given(st.lists(st.dates(), min_size=1))
def test_every_date_comes_back(values: list[dt.date]) -> None:
    assert [dt.date.fromisoformat(line.strip('"')) for line in block("DATE", values).splitlines()] == values


@pytest.mark.parametrize("kind", ["STRING", "INT64", "FLOAT64", "BOOL", "TIMESTAMP", "DATE"])
def test_a_null_is_an_unquoted_empty_field_for_every_type(kind: str) -> None:
    columns = [Column(name, kind, "d", "u") for name in "ab"]
    schema = arrow_schema(columns)
    nulls = pa.table([pa.nulls(2, field.type) for field in schema], schema=schema)
    assert csv_block(nulls) == b",\n,\n"


def test_truth_is_written_as_bigquery_reads_it() -> None:
    assert block("BOOL", [True, False, None]) == "true\nfalse\n\n"


def test_a_null_among_texts_is_not_an_empty_text() -> None:
    assert block("STRING", ["a", None]) == '"a"\n\n'


@given(st.lists(INSTANTS, min_size=2, max_size=9), st.integers(1, 8))
def test_a_table_of_several_chunks_is_written_like_one(values: list[dt.datetime], cut: int) -> None:
    kind = pa.timestamp("us", tz="UTC")
    parts = [part for part in (values[:cut], values[cut:]) if part]
    chunked = pa.chunked_array([pa.array(part, kind) for part in parts])
    assert csv_block(pa.table({"x": chunked})).decode() == block("TIMESTAMP", values)


@pytest.mark.parametrize("heights", [(0,), (0, 1), (1, 0), (0, 0, 2, 0, 1), (0, 0)])
def test_chunks_without_rows_write_nothing(heights: tuple[int, ...]) -> None:
    """Arrow wrote 16 KiB of memory, with older rows in it, for a first chunk without rows."""
    row = pa.table({"x": ['a"b'], "y": [1]})
    whole = pa.concat_tables([pa.concat_tables([row] * height) if height else row.slice(0, 0) for height in heights])
    assert len(whole["x"].chunks) == sum(height or 1 for height in heights)
    assert csv_block(whole) == b'"a""b",1\n' * sum(heights)


def test_a_sliced_table_writes_its_own_rows_only() -> None:
    kind = pa.timestamp("us", tz="UTC")
    values = [dt.datetime(2026, 1, day, tzinfo=dt.UTC) for day in range(1, 9)]
    whole = pa.table({"x": pa.array([*values[:4], None, *values[5:]], kind)})
    assert csv_block(whole.slice(3, 3)).decode() == '"2026-01-04 00:00:00.000000Z"\n\n"2026-01-06 00:00:00.000000Z"\n'
