"""A batch of history as one file: sorted, each day once, the same bytes for the same bodies, and every point in the
report.
"""

import csv
import io
import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from beam_pipelines.batch_files.builder import Report
from beam_pipelines.history.chart import PieceBody, read_chart
from beam_pipelines.history.rules import HistoryRules
from beam_pipelines.history.table import COUNTS, HistoryTable
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import load_contract
from coinbeam.landing.layout import LandedBody
from tests.beam_pipelines.built import build_from

Written = tuple[list[dict[str, str]], list[dict[str, Any]], Report, bytes]
Write = Callable[..., Written]
DAY = "2026-01-0{}"


@pytest.fixture
def write(batch: BatchManifest, rules: HistoryRules) -> Write:
    """Writes a batch of pieces with their bodies, and reads its files again."""

    def writing(given: dict[PieceBody, LandedBody | None]) -> Written:
        bodies = {piece.uri: landed for piece, landed in given.items()}
        built = build_from(HistoryTable(rules), batch, given, lambda uri: bodies[uri])  # type: ignore[arg-type,return-value]
        for piece in built.report["pieces"]:
            assert piece["points_read"] == sum(piece[name] for name in COUNTS if name != "points_read")
        lines = list(csv.DictReader(io.StringIO(built.csv.decode())))
        assert built.report["rows_valid"] == len(lines)
        keys = [(line["asset_id"], line["date"]) for line in lines]
        assert keys == sorted(set(keys))
        return lines, built.lines, built.report, built.csv

    return writing


def points(*days: int, price: float = 1.0) -> list[tuple[Any, ...]]:
    return [(DAY.format(day), price, 10.0, None) for day in days]


def piece(asset: str, first: int, last: int, uri: str) -> PieceBody:
    return PieceBody(asset, "coingecko", date(2026, 1, first), date(2026, 1, last), uri)


def test_rows_are_the_columns_of_the_contract(write: Write, land: Callable[..., LandedBody]) -> None:
    [row], _, _, raw = write({piece("bitcoin", 1, 1, "a"): land([("2026-01-01T00:05:18", 2.4e-10, 0, None)])})
    assert list(row) == [column.name for column in load_contract("crypto_market_daily_fact").file_columns]
    assert row == {
        "asset_id": "bitcoin",
        "quote_currency": "usd",
        "date": "2026-01-01",
        "price": "2.4e-10",
        "market_cap": "0",
        "total_volume": "",
        "observed_at": "2026-01-01 00:05:18.000000Z",
        "ingested_at": "2026-01-11 00:40:00.000000Z",
        "source_id": "coingecko",
        "batch_id": "b",
    }
    assert raw.endswith(b'"b"\n')


def test_the_order_of_the_pieces_changes_no_byte(write: Write, land: Callable[..., LandedBody]) -> None:
    given = {
        piece("ethereum", 1, 3, "c"): land(points(1, 2, 3)),
        piece("bitcoin", 4, 6, "b"): land(points(4, 6)),
        piece("bitcoin", 1, 3, "a"): land(points(1, 2, 3)),
    }
    _, _, report, first = write(given)
    assert write(dict(reversed(given.items())))[3] == first
    assert [(entry["asset_id"], entry["first"]) for entry in report["pieces"]] == [
        ("bitcoin", "2026-01-01"),
        ("bitcoin", "2026-01-04"),
        ("ethereum", "2026-01-01"),
    ]
    assert [entry["missing_days"] for entry in report["pieces"]] == [[], ["2026-01-05"], []]


def test_of_overlapping_bodies_the_one_landed_last_has_the_day(write: Write, land: Callable[..., LandedBody]) -> None:
    given = {
        piece("bitcoin", 1, 4, "new"): land(points(1, 2, 4, price=2.0), landed_at=datetime(2026, 1, 12, tzinfo=UTC)),
        piece("bitcoin", 2, 5, "old"): land(points(2, 3, 4, 5, price=1.0)),
    }
    lines, _, report, _ = write(given)
    assert [(line["date"][-1], float(line["price"])) for line in lines] == [
        ("1", 2.0),
        ("2", 2.0),
        ("3", 1.0),
        ("4", 2.0),
        ("5", 1.0),
    ]
    assert [(entry["rows_valid"], entry["rows_superseded"], entry["days_missing"]) for entry in report["pieces"]] == [
        (3, 0, 1),
        (2, 2, 0),
    ]


@pytest.mark.parametrize("hourly_first", [True, False])
def test_the_point_nearest_after_midnight_has_the_day_whatever_was_landed_last(
    hourly_first: bool, write: Write, land: Callable[..., LandedBody]
) -> None:
    late, early = datetime(2026, 1, 12, tzinfo=UTC), datetime(2026, 1, 11, 1, tzinfo=UTC)
    hours = [(f"2026-01-0{day}T{hour:02}:08:20", 2.0, 1.0, 1.0) for day in (1, 2, 3) for hour in range(24)]
    given = {
        piece("bitcoin", 1, 3, "daily"): land(points(1, 2, price=1.0), landed_at=late if hourly_first else early),
        piece("bitcoin", 1, 3, "hourly"): land(hours, landed_at=early if hourly_first else late),
    }
    lines, _, _, _ = write(given)
    assert [float(line["price"]) for line in lines] == [1.0, 1.0, 2.0]


def file(uri: str) -> PieceBody:
    """A file that somebody brought."""
    return PieceBody("bitcoin", "file", None, None, uri)


def test_hours_that_begin_in_the_middle_of_a_day_are_no_day(write: Write, land: Callable[..., LandedBody]) -> None:
    hours = [(f"2026-01-0{day}T{hour:02}:03:00", 2.0, 1.0, 1.0) for day in (1, 2) for hour in range(24)]
    lines, _, report, _ = write({file("a"): land(hours[14:])})
    assert [line["date"] for line in lines] == ["2026-01-02"]
    assert report["points_outside"] == 10


def test_days_before_the_calendar_or_after_the_batch_are_counted_and_no_rows(
    write: Write, land: Callable[..., LandedBody]
) -> None:
    days = ["2012-12-31", "2013-01-01", "2026-01-10", "2026-01-11"]
    body = land([(day, 1.0, 1.0, 1.0) for day in days], landed_at=datetime(2026, 1, 12, 1, tzinfo=UTC))
    lines, rejects, report, _ = write({file("a"): body})
    assert [line["date"] for line in lines] == days[1:3]
    assert (report["points_outside"], rejects) == (2, [])


@pytest.mark.parametrize("year", [1980, 1985, 2107])
def test_the_age_of_a_file_decides_nothing(
    year: int, rules: HistoryRules, batch: BatchManifest, land: Callable[..., LandedBody]
) -> None:
    now = replace(rules, read_at=datetime(2026, 1, 11, 1, tzinfo=UTC))
    chart = read_chart(land(points(1, 2, 3), landed_at=datetime(year, 1, 1, tzinfo=UTC)), file("a"), batch, now)
    assert (len(chart.stamps), chart.rejects) == (3, [])
    assert chart.known_at == datetime(2026, 1, 3, tzinfo=UTC), "its newest stamp"


def test_a_piece_without_a_body_is_a_gap_with_its_reason(write: Write, land: Callable[..., LandedBody]) -> None:
    absent = PieceBody("nobody", "coingecko", date(2026, 1, 1), date(2026, 1, 2), None, calls=1, error="HTTP 404")
    _, _, report, _ = write({absent: None, piece("bitcoin", 1, 1, "a"): land(points(1))})
    assert (report["pieces_missing"], report["days_missing"]) == (1, 2)
    assert (report["pieces"][1]["error"], report["pieces"][1]["calls"], report["pieces"][1]["missing_days"]) == (
        "HTTP 404",
        1,
        ["2026-01-01/2026-01-02"],
    )


def test_a_batch_of_nothing_is_a_header(write: Write, land: Callable[..., LandedBody]) -> None:
    lines, rejects, report, raw = write({piece("bitcoin", 1, 2, "a"): land(b"Throttled")})
    assert (lines, raw.count(b"\n")) == ([], 1)
    assert [(reject["level"], reject["reason"], reject["estimated_rows"]) for reject in rejects] == [
        ("page", "not_json", 2)
    ]
    assert (report["pages_rejected"], report["rows_lost"], report["first_date"]) == (1, 2, None)


def test_all_missing_days_are_named_as_stretches(write: Write, land: Callable[..., LandedBody]) -> None:
    _, _, report, _ = write(
        {PieceBody("x", "coingecko", date(2025, 1, 1), date(2025, 12, 31), "a"): land([("2025-01-01", 1.0, 1.0, 1.0)])}
    )
    assert (report["pieces"][0]["days_missing"], report["pieces"][0]["missing_days"]) == (
        364,
        ["2025-01-02/2025-12-31"],
    )


@pytest.fixture
def exports(captures: Path) -> dict[PieceBody, LandedBody]:
    """The nine real exports."""
    found = sorted((captures / "daily").glob("*.csv"))
    assert len(found) == 9
    landed_at = datetime(2026, 11, 20, tzinfo=UTC)
    return {
        PieceBody(path.stem, "coingecko_export", None, None, str(path)): LandedBody(
            str(path), path.read_bytes(), landed_at
        )
        for path in found
    }


def test_every_row_of_the_real_exports_is_accounted_for(write: Write, exports: dict[PieceBody, LandedBody]) -> None:
    lines, rejects, report, _ = write(exports)
    given = {}
    for export, landed in exports.items():
        for row in csv.DictReader(io.StringIO(landed.body.decode())):
            given[export.asset_id, row["snapped_at"][:10]] = row
    assert (len(lines), rejects) == (len(given), [])
    for line in lines:
        row = given[line["asset_id"], line["date"]]
        for ours, theirs in (("price", "price"), ("market_cap", "market_cap"), ("total_volume", "total_volume")):
            assert (float(line[ours]) if line[ours] else None) == (float(row[theirs]) if row[theirs] else None)
        assert line["observed_at"] == row["snapped_at"].replace(" UTC", ".000000Z")
    for entry in report["pieces"]:
        span = (date.fromisoformat(str(entry["last"])) - date.fromisoformat(str(entry["first"]))).days + 1
        assert span == entry["rows_valid"] + entry["days_missing"] == entry["points_read"] + entry["days_missing"]


def test_real_hourly_charts_become_days(write: Write, captures: Path) -> None:
    for path in sorted((captures / "market_chart").glob("*.json")):
        landed = LandedBody(str(path), path.read_bytes(), datetime(2026, 11, 20, tzinfo=UTC))
        lines, rejects, report, _ = write({PieceBody("x", "file", None, None, str(path)): landed})
        chart = json.loads(landed.body)
        prices = chart.get("data", chart)["prices"][:-1]
        first: dict[str, float] = {}
        for stamp, price in prices:
            first.setdefault(datetime.fromtimestamp(stamp / 1_000, UTC).date().isoformat(), price)
        if prices[0][0] % 86_400_000 > 3_600_000 and prices[1][0] - prices[0][0] < 43_200_000:
            del first[min(first)]  # hours that begin in the middle of a day
        assert {line["date"]: float(line["price"]) for line in lines} == first
        assert (report["pieces"][0]["points_now"], report["pieces"][0]["days_missing"], rejects) == (1, 0, [])
