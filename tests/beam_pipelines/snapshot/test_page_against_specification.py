"""The columnar path and the row-by-row specification are one rule: same rows, same values bit for bit, same
refusals.
"""

import json
import struct
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from beam_pipelines.batch_files.json_bodies import BodyFault
from beam_pipelines.batch_files.rejects import Refused
from beam_pipelines.snapshot.bodies import read_body
from beam_pipelines.snapshot.rules import SPARKLINE_FIELD, MarketRules
from beam_pipelines.snapshot.sparklines import prices_of, sparkline_statistics
from beam_pipelines.snapshot.specification import Accepted, Unpriced, validate_row
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import load_contract
from coinbeam.contracts.arrow import arrow_schema
from coinbeam.contracts.instants import to_micros
from coinbeam.landing.layout import LandedBody
from tests.beam_pipelines.pages import TablePage, read_table

CONTRACT = load_contract("crypto_market_snapshot_fact")
FIELDS = sorted({str(c.source).partition(".")[0] for c in CONTRACT.source_columns} | {SPARKLINE_FIELD})

numbers = st.one_of(
    st.floats(),
    st.integers(),
    st.integers(-(2**65), 2**65),
    st.sampled_from(
        [0, -0.0, 1.5, 7.0, 2**53 + 1, 2**63, 2**63 - 1, 2**64, 10**400, 5e-324, 1.797e308, 3.57e38, 9.9e-14, -1e-9]
    ),
)
instants = st.one_of(
    st.datetimes().map(lambda moment: moment.isoformat() + "Z"),
    st.datetimes().map(lambda moment: moment.isoformat(timespec="milliseconds") + "Z"),
    st.datetimes().map(lambda moment: moment.isoformat(sep=" ") + "+05:30"),
    st.sampled_from(
        [
            "2026-01-02T00:00:00Z",
            "2026-01-02T00:10:30.000000Z",
            "2026-01-02T00:10:30.000001Z",
            "2026-01-02T05:00:00+05:00",
            "0000-01-01T00:00:00.000Z",
            "0001-01-01T00:00:00+01:00",
            "9999-12-31T23:59:59-01:00",
            "2026-02-30T00:00:00.000Z",
            "2026-01-02T24:00:00.000Z",
            "2026-01-02T23:59:60.000Z",
            "2026-01-02T00:00:00.1234567Z",
            "2026-01-02",
            "2026-01-02T00:00:00",
            "20260102T000000.00000000Z",
            "2026-01-02T00:00:0０.000Z",
            "last Tuesday",
        ]
    ),
    st.text(alphabet="0123456789-:TZ.+ ", min_size=17, max_size=28),
)
texts = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["", " ", "a\u0000b", "\ud800", "\u200bzero", "nbsp\u00a0", "\u3000", "[x]", "e" * 600, "é" * 300, "l" * 4097]
    ),
)
anything = st.one_of(
    numbers, instants, texts, st.none(), st.booleans(), st.just([]), st.just({"a": [1]}), st.lists(numbers, max_size=3)
)
prices = st.one_of(
    st.lists(st.floats(1e-12, 1e12), min_size=0, max_size=4),
    st.integers(158, 170).map(lambda n: [1 + index % 7 * 0.25 for index in range(n)]),
    st.sampled_from(
        [
            [0.1] * 168,
            [1.0] * 167 + [0],
            [1.0] * 167 + [None],
            [1.0] * 167 + ["2"],
            [1.0] * 167 + [True],
            [[1.0]] * 168,
            [1e308, -1e308] * 84,
        ]
    ),
    st.sampled_from(
        [
            [1.0] * 166 + [[1.0, 2.0], []],
            [float("inf")] * 168,
            [10**400] * 168,
            [2**64] * 168,
            [5e-324, 1e300] * 84,
            [1e-200, 3e-200] * 84,
        ]
    ),
)
sparklines = st.one_of(
    st.none(),
    prices.map(lambda p: {"price": p}),
    st.just({}),
    st.just({"price": None}),
    st.just({"price": "x"}),
    anything,
)


rois = st.one_of(
    st.none(),
    st.fixed_dictionaries({"times": numbers, "currency": texts, "percentage": numbers}),
    st.fixed_dictionaries(
        {}, optional={"times": anything, "currency": anything, "percentage": anything, "x": anything}
    ),
    anything,
)


@st.composite
def rows(draw: st.DrawFn, good: dict[str, Any]) -> Any:
    """Mostly good rows with a few faults; now and then something that is no row."""
    if draw(st.integers(0, 30)) == 0:
        return draw(anything)
    row = {
        **good,
        "id": draw(st.sampled_from(["bitcoin", "ethereum", "x"])),
        "current_price": draw(st.floats(1e-300, 1e300)),
    }
    for _ in range(draw(st.sampled_from([0, 0, 0, 1, 1, 2, 3]))):
        field = draw(st.sampled_from(FIELDS))
        match draw(st.integers(0, 5)):
            case 0:
                row.pop(field, None)
            case 1:
                row[draw(st.sampled_from(["new_field", "price_change_percentage_30d_in_currency"]))] = 1
            case 2:
                row[field] = draw(anything)
            case _:
                row[field] = draw(_usual(field))
    return dict(reversed(row.items())) if draw(st.integers(0, 9)) == 0 else row


def _usual(field: str) -> st.SearchStrategy[Any]:
    """Values of about the right type."""
    column = next((c for c in CONTRACT.source_columns if c.source == field), None)
    kinds: dict[str, st.SearchStrategy[Any]] = {
        "FLOAT64": numbers,
        "INT64": numbers,
        "STRING": texts,
        "TIMESTAMP": instants,
    }
    objects = {SPARKLINE_FIELD: sparklines, "roi": rois}
    return kinds[column.type] if column else objects[field]


@pytest.fixture(scope="session")
def compare(rules: MarketRules, batch: BatchManifest, land: Callable[..., LandedBody]) -> Callable[[bytes], None]:
    """Reads a body both ways and compares everything."""

    def check(body: bytes) -> None:
        landed = land(body)
        expected_rows, expected_rejects, counts = _by_specification(body, rules, to_micros(landed.landed_at))
        page = read_table(landed, batch, rules)
        assert [(reject.row_number, reject.reason, reject.column_name) for reject in page.rejects] == expected_rejects
        assert page.counts - Counter(rows_read=page.counts["rows_read"]) == counts
        assert _bits(page, rules) == expected_rows

    return check


def _by_specification(
    body: bytes, rules: MarketRules, landed_micros: int
) -> tuple[list[dict[str, Any]], list[Any], Counter[str]]:
    page = json.loads(body, parse_int=lambda digits: int(digits) if len(digits) <= 400 else float(digits))
    page = page["data"] if isinstance(page, dict) else page
    objects = [row for row in page if isinstance(row, dict)]
    usual = {field for field in rules.column_of_field if sum(field in row for row in objects) * 2 >= len(objects) > 0}
    expected = (usual - rules.decorations) | rules.never_absent
    accepted, rejects, counts = [], [], Counter[str]()
    for number, row in enumerate(page):
        match validate_row(row, rules, expected, landed_micros):
            case Accepted(values, unusable):
                statistics, malformed = sparkline_statistics([prices_of(row)])
                counts["sparkline_unusable"] += malformed
                counts.update(f"{field}_unusable" for field in unusable)
                accepted.append(
                    {name: _bit(value) for name, value in values.items()}
                    | {"volatility_7d": _bit(statistics[0, 0]), "realized_volatility_7d": _bit(statistics[1, 0])}
                )
            case Unpriced():
                counts["rows_unpriced"] += 1
            case Refused(reason, column, _):
                rejects.append((number, reason, column))
    return accepted, rejects, +counts


def _bit(value: Any) -> Any:
    """Doubles by their bits, so that -0.0 differs from 0.0; NaN, which stands for null, as None."""
    if isinstance(value, float):
        return None if np.isnan(value) else struct.pack("<d", value)
    return value


def _bits(page: TablePage, rules: MarketRules) -> list[dict[str, Any]]:
    table = page.table
    assert table.schema == arrow_schema(rules.contract.file_columns)
    table.validate(full=True)
    wanted = [c.name for c in rules.contract.file_columns if c.source or c.name.endswith("volatility_7d")]
    columns = [
        table[name].cast(pa.int64()) if pa.types.is_timestamp(table[name].type) else table[name] for name in wanted
    ]
    return (
        [
            dict(zip(wanted, map(_bit, row), strict=True))
            for row in zip(*(column.to_pylist() for column in columns), strict=True)
        ]
        if wanted
        else []
    )


@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(data=st.data())
def test_both_paths_agree_on_any_page(
    data: st.DataObject, compare: Callable[[bytes], None], good_row: Callable[..., dict[str, Any]]
) -> None:
    page = data.draw(st.lists(rows(good_row()), max_size=8))
    wrapped = data.draw(st.booleans())
    body = json.dumps({"data": page} if wrapped else page, ensure_ascii=data.draw(st.booleans())).encode(
        errors="replace"
    )
    compare(body)


@settings(max_examples=300, deadline=None)
@given(stamps=st.lists(instants, min_size=1, max_size=6))
def test_both_paths_agree_on_any_instant(
    stamps: list[str], compare: Callable[[bytes], None], good_row: Callable[..., dict[str, Any]]
) -> None:
    compare(json.dumps([good_row(ath_date=stamp) for stamp in stamps]).encode())


@settings(max_examples=200, deadline=None)
@given(
    values=st.lists(numbers, min_size=1, max_size=6),
    field=st.sampled_from(["current_price", "market_cap_rank", "atl_change_percentage", "ath"]),
)
def test_both_paths_agree_on_any_number(
    values: list[Any], field: str, compare: Callable[[bytes], None], good_row: Callable[..., dict[str, Any]]
) -> None:
    compare(json.dumps([good_row(**{field: value}) for value in values]).encode())


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b'[{"id": "a", "id": "b"}]', id="a field twice in one row"),
        pytest.param(b"[]", id="an empty page"),
        pytest.param(b"[[], 1, null, {}]", id="no rows at all"),
    ],
)
def test_both_paths_agree_on_odd_pages(body: bytes, compare: Callable[[bytes], None]) -> None:
    compare(body)


def test_a_field_given_twice_counts_as_the_last_one_wherever_it_stands(
    compare: Callable[[bytes], None], good_row: Callable[..., dict[str, Any]]
) -> None:
    once, twice = json.dumps(good_row(id="a")), json.dumps(good_row(id="b"))[:-1] + ', "current_price": 5}'
    compare(f"[{once}, {twice}]".encode())
    compare(f"[{twice}, {twice}]".encode())
    renamed = once.replace('"image"', '"symbol"')
    compare(f"[{once}, {renamed}]".encode())


def test_generated_pages_reach_all_three_parsers(good_row: Callable[..., dict[str, Any]]) -> None:
    kinds = [
        type(read_body(json.dumps([good_row(ath=value)]).encode()).rows[0]).__name__
        for value in (1, 2**64, float("inf"))
    ]  # type: ignore[union-attr]
    assert kinds == ["Object", "dict", "dict"]
    assert not isinstance(read_body(b"[]"), BodyFault)
