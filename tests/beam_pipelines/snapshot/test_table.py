"""A snapshot: each asset once, every double bit for bit, the same bytes each time, honest counts."""

import io
import json
import struct
from collections.abc import Callable
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.csv
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_pipelines.batch_files.builder import Report
from beam_pipelines.snapshot.rules import MarketRules
from beam_pipelines.snapshot.table import SnapshotTable
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts.arrow import arrow_schema
from coinbeam.landing.layout import LandedBody
from coinbeam.settings import ROOT
from tests.beam_pipelines.built import build

CAPTURES = ROOT.parent / "shared" / "captures" / "markets"
Row = dict[str, Any]
Write = Callable[..., tuple[Report, bytes, list[Row]]]

nowhere = pytest.mark.skipif(not CAPTURES.is_dir(), reason="../shared/captures is not there")


@pytest.fixture(scope="session")
def write(land: Callable[..., LandedBody], batch: BatchManifest, rules: MarketRules) -> Write:
    """Writes pages; returns the report, the CSV and the rejects."""

    def run(*pages: bytes | list[Any], landed_at: datetime | None = None) -> tuple[Report, bytes, list[Row]]:
        moment = {"landed_at": landed_at} if landed_at else {}
        bodies = [land(page, uri=f"page-{number:05d}.json", **moment) for number, page in enumerate(pages, 1)]
        built = build(SnapshotTable(rules), batch, bodies)
        return built.report, built.csv, built.lines

    return run


def _table(csv: bytes, rules: MarketRules) -> pa.Table:
    """The CSV as a strict reader sees it: columns by name, types of the contract, nulls only where a field is empty and
    unquoted.
    """
    convert = pyarrow.csv.ConvertOptions(
        column_types=arrow_schema(rules.contract.file_columns),
        null_values=[""],
        strings_can_be_null=True,
        quoted_strings_can_be_null=False,
        include_columns=[column.name for column in rules.contract.file_columns],
    )
    return pyarrow.csv.read_csv(
        io.BytesIO(csv), parse_options=pyarrow.csv.ParseOptions(newlines_in_values=True), convert_options=convert
    )


def _bits(value: Any) -> bytes | None:
    return None if value is None else struct.pack("<d", value)


@nowhere
@pytest.mark.parametrize("path", sorted(CAPTURES.glob("*.json")), ids=lambda path: path.stem)
def test_a_capture_loses_no_row_and_no_bit(path: Any, write: Write, rules: MarketRules) -> None:
    body = path.read_bytes()
    source = {row["id"]: row for row in json.loads(body)}
    latest = max(datetime.fromisoformat(row["last_updated"]) for row in source.values())
    report, csv, rejects = write(body, landed_at=latest)
    assert (rejects, report["rows_unpriced"], report["rows_duplicate"]) == ([], 0, 0)
    rows = _table(csv, rules).to_pylist()
    assert {row["asset_id"] for row in rows} == set(source)
    for row in rows:
        for column in rules.contract.source_columns:
            field, _, member = str(column.source).partition(".")
            given = source[row["asset_id"]].get(field)
            expected = given and given[member] if member else given
            if column.type == "FLOAT64":
                assert _bits(row[column.name]) == _bits(expected)
            elif column.type == "TIMESTAMP" and expected:
                assert row[column.name] == datetime.fromisoformat(expected)
            else:
                assert row[column.name] == (expected or None)


@settings(max_examples=200, deadline=None)
@given(values=st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=1, max_size=30))
def test_every_double_survives_to_the_csv(
    values: list[float], write: Write, rules: MarketRules, good_row: Callable[..., Row]
) -> None:
    _, csv, _ = write([good_row(id=f"asset-{index}", price_change_24h=value) for index, value in enumerate(values)])
    assert [_bits(value) for value in _table(csv, rules)["price_change_24h"].to_pylist()] == [
        _bits(value) for value in values
    ]


@pytest.mark.parametrize(
    "value",
    [
        5e-324,
        2.2250738585072014e-308,
        1.797e308,
        1.7976931348623157e308,
        -0.0,
        3.57e38,
        9.9e-14,
        2.4e-10,
        0.1 + 0.2,
        2**53 + 1,
        2**64,
    ],
    ids=str,
)
def test_a_difficult_number_survives_to_the_csv(
    value: float, write: Write, rules: MarketRules, good_row: Callable[..., Row]
) -> None:
    _, csv, _ = write([good_row(atl_change_percentage=value)])
    assert _bits(_table(csv, rules)["atl_change_percentage"][0].as_py()) == _bits(float(value))


def test_the_header_is_the_contract(write: Write, rules: MarketRules) -> None:
    report, csv, _ = write([])
    assert csv.decode().splitlines() == [",".join(f'"{column.name}"' for column in rules.contract.file_columns)]
    assert report["rows_valid"] == 0


@pytest.mark.parametrize("second", [1, 0], ids=["on another page", "on the same page"])
def test_the_newest_of_two_rows_of_an_asset_is_written(
    second: int, write: Write, rules: MarketRules, good_row: Callable[..., Row]
) -> None:
    older, newer = (good_row(current_price=price, last_updated=f"2026-01-02T00:0{price}:00Z") for price in (1, 2))
    other = good_row(id="other")
    pages = [[newer, other], [older]] if second else [[older, other, newer]]
    report, csv, _ = write(*pages)
    table = _table(csv, rules)
    assert dict(zip(table["asset_id"].to_pylist(), table["current_price"].to_pylist(), strict=True)) == {
        "bitcoin": 2.0,
        "other": 123456.78,
    }
    assert (report["rows_duplicate"], report["rows_valid"]) == (1, 2)


def test_of_two_equally_new_rows_the_first_is_written(
    write: Write, rules: MarketRules, good_row: Callable[..., Row]
) -> None:
    _, csv, _ = write([good_row(current_price=1)], [good_row(current_price=2)])
    assert _table(csv, rules)["current_price"].to_pylist() == [1.0]


def test_a_rejected_newer_row_does_not_hide_a_good_older_one(
    write: Write, rules: MarketRules, good_row: Callable[..., Row]
) -> None:
    _, csv, rejects = write(
        [good_row(current_price=1), good_row(current_price=-1, last_updated="2026-01-02T00:05:00Z")]
    )
    assert _table(csv, rules)["current_price"].to_pylist() == [1.0]
    assert len(rejects) == 1


def test_the_counts_add_up(write: Write, good_row: Callable[..., Row]) -> None:
    page = [
        good_row(),
        good_row(),
        good_row(id=None),
        good_row(id="b", current_price=0),
        good_row(id="c", ath="x"),
        good_row(id="d", new=1),
    ]
    report, _, rejects = write(page, b"<html>", [good_row(id="d", sparkline_in_7d="x", roi="x", image=1)])
    assert report["rows_read"] == sum(report[f"rows_{fate}"] for fate in ("valid", "unpriced", "duplicate", "rejected"))
    assert report == {
        "pages_read": 3,
        "pages_rejected": 1,
        "rows_read": 7,
        "rows_unpriced": 1,
        "rows_duplicate": 2,
        "rows_surplus": 0,
        "rows_rejected": 2,
        "rows_lost": 252,
        "rows_valid": 2,
        "sparkline_unusable": 1,
        "roi_unusable": 1,
        "image_unusable": 1,
        "rejects_by_reason": {"not_json": 1, "null_value": 1, "wrong_type": 1},
        "unknown_fields": ["new"],
        "ids_missing": [],
    }
    assert len(rejects) == sum(report["rejects_by_reason"].values())


def test_the_same_pages_give_the_same_bytes(write: Write, good_row: Callable[..., Row]) -> None:
    pages = [[good_row(id=f"{page}-{row}") for row in range(40)] for page in range(3)]
    assert write(*pages)[1] == write(*pages)[1]


def test_a_snapshot_larger_than_one_block_is_written_whole(
    write: Write, rules: MarketRules, good_row: Callable[..., Row]
) -> None:
    rows = [good_row(id=str(number), sparkline_in_7d=None) for number in range(9_000)]
    report, csv, _ = write(*(rows[start : start + 250] for start in range(0, 9_000, 250)))
    assert report["rows_valid"] == 9_000
    assert _table(csv, rules)["asset_id"].to_pylist() == [str(number) for number in range(9_000)]
