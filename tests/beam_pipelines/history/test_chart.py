"""The day rule, the present, and what a body can hold that is no history; every point is accounted for."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pytest

from beam_pipelines.batch_files.json_bodies import BodyFault
from beam_pipelines.history.bodies import is_chart, read_points
from beam_pipelines.history.chart import ChartColumns, PieceBody, missing_days, read_chart
from beam_pipelines.history.rules import HistoryRules
from beam_pipelines.history.specification import date_of
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import load_contract
from coinbeam.errors import ContractError
from coinbeam.landing.layout import LandedBody

Read = Callable[..., ChartColumns]
DROPS = ("rows_rejected", "rows_unpriced", "rows_superseded", "points_now", "points_outside")


@pytest.fixture
def read(land: Callable[..., LandedBody], batch: BatchManifest, rules: HistoryRules, piece: PieceBody) -> Read:
    """Reads a body and checks that every point is accounted for."""

    def reading(body: Any, of: PieceBody = piece, **kwargs: Any) -> ChartColumns:
        chart = read_chart(land(body, **kwargs), of, batch, rules)
        assert chart.counts["points_read"] == len(chart.stamps) + sum(chart.counts[name] for name in DROPS)
        assert chart.counts["rows_rejected"] == sum(reject.level == "row" for reject in chart.rejects)
        return chart

    return reading


def dates(chart: ChartColumns) -> list[str]:
    return [date_of(day).isoformat() for day in chart.days.tolist()]


def counted(chart: ChartColumns) -> dict[str, int]:
    return {name: count for name, count in chart.counts.items() if count and name != "points_read"}


def test_late_stamps_belong_to_the_day_of_their_date(read: Read) -> None:
    chart = read(
        [
            ("2026-01-01", 1.0, 10.0, 5.0),
            ("2026-01-02T00:05:18", 2.0, 20.0, 5.0),
            ("2026-01-03T23:39:21", 3.0, 30.0, 5.0),
            ("2026-01-04", 4.0, 40.0, 5.0),
        ]
    )
    assert dates(chart) == ["2026-01-01", "2026-01-02", "2026-01-03", "2026-01-04"]
    assert chart.values[0].tolist() == [1, 2, 3, 4]
    assert datetime.fromtimestamp(chart.stamps[2] / 1_000, UTC).isoformat() == "2026-01-03T23:39:21+00:00"
    assert [day.isoformat() for day in missing_days(chart.piece, chart.days)] == [
        f"2026-01-{day:02d}" for day in range(5, 11)
    ]


def test_of_several_points_of_a_day_the_earliest_accepted_one_stands_for_it_in_any_order(read: Read) -> None:
    chart = read(
        [
            ("2026-01-02T12:00:00", 9.0, 1.0, 1.0),
            ("2026-01-01T00:00:00", None, 1.0, 1.0),
            ("2026-01-01T01:00:00", -1.0, 1.0, 1.0),
            ("2026-01-01T02:00:00", 2.0, 1.0, 1.0),
            ("2026-01-02T00:01:40", 3.0, 1.0, 1.0),
        ]
    )
    assert (dates(chart), chart.values[0].tolist()) == (["2026-01-01", "2026-01-02"], [2.0, 3.0])
    assert counted(chart) == {"rows_unpriced": 1, "rows_rejected": 1, "rows_superseded": 1}


def test_now_is_no_day(read: Read) -> None:
    chart = read(
        [("2026-01-10", 1.0, 1.0, 1.0), ("2026-01-11T00:00:00", 2.0, 1.0, 1.0), ("2026-01-11T00:06:00", 3.0, 1.0, 1.0)]
    )
    assert dates(chart) == ["2026-01-10"]
    assert counted(chart) == {"points_outside": 1, "points_now": 1}


def test_the_only_point_of_an_unsettled_day_is_now(read: Read) -> None:
    chart = read(
        [("2026-01-09", 1.0, 1.0, 1.0), ("2026-01-10T00:00:00", 2.0, 1.0, 1.0)],
        landed_at=datetime(2026, 1, 10, 0, 34, tzinfo=UTC),
    )
    assert (dates(chart), counted(chart)) == (["2026-01-09"], {"points_now": 1})


def test_the_last_point_of_a_file_is_now_unless_it_stands_at_midnight(read: Read, foreign: PieceBody) -> None:
    points = [("2025-05-13", 1.0, 1.0, 1.0), ("2025-05-15T14:42:27", 3.0, 1.0, 1.0), ("2025-05-14", 2.0, 1.0, 1.0)]
    chart = read(points, foreign)
    assert (dates(chart), counted(chart)) == (["2025-05-13", "2025-05-14"], {"points_now": 1})
    assert dates(read([points[0], points[2]], foreign)) == ["2025-05-13", "2025-05-14"]


def test_gaps_stay_gaps(read: Read, foreign: PieceBody, piece: PieceBody) -> None:
    chart = read([("2026-01-02", 1.0, 1.0, 1.0), ("2026-01-05", 1.0, 1.0, 1.0)], foreign)
    assert [day.isoformat() for day in missing_days(chart.piece, chart.days)] == ["2026-01-03", "2026-01-04"]
    empty = {"prices": [], "market_caps": [], "total_volumes": []}
    assert missing_days(foreign, read(empty, foreign).days) == []
    assert len(missing_days(piece, read(empty).days)) == 10


def test_series_are_joined_by_stamp(read: Read) -> None:
    body = {
        "prices": [[1767225600000, 1.0], [1767312000000, 2.0]],
        "market_caps": [[1767312000000, 20.0], [1767398400000, 30.0]],
        "total_volumes": [],
    }
    chart = read(body)
    np.testing.assert_array_equal(chart.values, [[1.0, 2.0], [np.nan, 20.0], [np.nan, np.nan]])
    assert chart.counts["values_unmatched"] == 1


def test_a_wrapped_chart_is_a_chart(read: Read) -> None:
    chart = {
        "prices": [[1767225600000, 1.0]],
        "market_caps": [[1767225600000, 2]],
        "total_volumes": [[1767225600000, None]],
    }
    assert read({"data": chart}).values[:2].tolist() == [[1.0], [2.0]]


@pytest.mark.parametrize(
    ("element", "reason", "column"),
    [
        pytest.param("x", "wrong_type", None, id="a text"),
        pytest.param([1767225600000], "wrong_type", None, id="a stamp alone"),
        pytest.param([1767225600000, 1, 2], "wrong_type", None, id="three numbers"),
        pytest.param([None, 1.0], "null_value", "observed_at", id="no stamp"),
        pytest.param(["2026-01-01", 1.0], "wrong_type", "observed_at", id="a stamp in words"),
        pytest.param([1767225600000.5, 1.0], "wrong_type", "observed_at", id="half a millisecond"),
        pytest.param([1767225600, 1.0], "below_minimum", "observed_at", id="seconds"),
        pytest.param([17672256000000, 1.0], "future_observation", "observed_at", id="the future"),
        pytest.param([10**300, 1.0], "future_observation", "observed_at", id="the far future"),
        pytest.param([10**400, 1.0], "not_finite", "observed_at", id="beyond the doubles"),
        pytest.param([1767225600000, "1.0"], "wrong_type", "price", id="a price in words"),
        pytest.param([1767225600000, True], "wrong_type", "price", id="a price that is true"),
        pytest.param([1767225600000, -1], "below_minimum", "price", id="a negative price"),
        pytest.param([1767225600000, 10**400], "not_finite", "price", id="a price beyond the doubles"),
    ],
)
def test_a_bad_point_costs_only_itself(read: Read, element: Any, reason: str, column: str | None) -> None:
    chart = read({"prices": [element, [1767312000000, 2.0]], "market_caps": [], "total_volumes": []})
    [reject] = chart.rejects
    assert (reject.reason, reject.column_name, reject.row_number, reject.asset_id) == (reason, column, 0, "bitcoin")
    assert json.loads(reject.to_line())["payload"]
    assert chart.values[0].tolist() == [2.0]


def test_infinities_that_only_python_reads_are_refused(read: Read) -> None:
    body = b'{"prices": [[1767225600000, Infinity], [1767312000000, NaN], [1767398400000, 1]], "market_caps": [], "total_volumes": []}'
    assert [reject.reason for reject in read(body).rejects] == ["not_finite", "not_finite"]


def test_a_bad_market_cap_refuses_its_point(read: Read) -> None:
    chart = read([("2026-01-01", 1.0, -5.0, 1.0), ("2026-01-02", 1.0, 0, 0)])
    assert [(reject.reason, reject.column_name) for reject in chart.rejects] == [("below_minimum", "market_cap")]
    assert dates(chart) == ["2026-01-02"]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b"Throttled", "not_json"),
        (b"\xff\xfe", "not_json"),
        (b"[1,2]", "not_a_chart"),
        (b"3", "not_a_chart"),
        (b'{"prices": 5}', "not_a_chart"),
        (b'{"prices": null}', "not_a_chart"),
        (b'{"prices": [], "market_caps": "x"}', "not_a_chart"),
        (b'{"status": {"error_code": 429}}', "error_body"),
        (b'{"error":"coin not found"}', "error_body"),
        (b'{"prices":[[1767225600000,1.0]', "not_json"),
        (b"[" * 100_000, "not_json"),
    ],
)
def test_an_unreadable_body_is_one_reject_for_all_its_days(read: Read, body: bytes, reason: str) -> None:
    chart = read(body)
    [reject] = chart.rejects
    assert (reject.level, reject.reason, reject.estimated_rows) == ("page", reason, 10)
    assert not is_chart(body)
    assert len(missing_days(chart.piece, chart.days)) == 10


EXPORT = b"snapped_at,price,market_cap,total_volume\n"


def test_an_export_has_its_empty_cells_as_null(read: Read, foreign: PieceBody) -> None:
    body = (
        EXPORT
        + b"2013-04-28 00:00:00 UTC,135.3,,0\r\n2013-04-29 00:05:18 UTC,9.7e-10,1.5,\n\n2013-04-30 00:00:00 UTC,,1,1\n"
    )
    chart = read(b"\xef\xbb\xbf" + body, foreign)
    np.testing.assert_array_equal(chart.values, [[135.3, 9.7e-10], [np.nan, 1.5], [0.0, np.nan]])
    assert counted(chart) == {"rows_unpriced": 1}


@pytest.mark.parametrize(
    ("line", "reason", "column"),
    [
        ("2013-04-28 00:00:00 UTC,1,2", "wrong_type", None),
        ("2013-04-28 14:00:00,1,2,3", "stamp_without_zone", "observed_at"),
        ("2013-04-28T14:00,1,2,3", "stamp_without_zone", "observed_at"),
        ("28.04.2013,1,2,3", "wrong_type", "observed_at"),
        ("2013-02-31 00:00:00 UTC,1,2,3", "wrong_type", "observed_at"),
        (",1,2,3", "null_value", "observed_at"),
        ("2013-04-28 00:00:00 UTC,nan,2,3", "wrong_type", "price"),
        ("2013-04-28 00:00:00 UTC,1_0,2,3", "wrong_type", "price"),
        ("2013-04-28 00:00:00 UTC,1,1e999,3", "not_finite", "market_cap"),
        ("2013-04-28 00:00:00 UTC,1e155,2,3", "above_maximum", "price"),
        ("2013-04-28 00:00:00 UTC,5e-324,2,3", "below_minimum", "price"),
        ("2013-04-28 00:00:00 UTC,1,2,-3", "below_minimum", "total_volume"),
    ],
)
def test_a_bad_line_of_an_export_costs_only_itself(
    read: Read, foreign: PieceBody, line: str, reason: str, column: str | None
) -> None:
    chart = read(EXPORT + f"{line}\n2013-05-01 00:00:00 UTC,1,2,3\n".encode(), foreign)
    assert [(reject.reason, reject.column_name) for reject in chart.rejects] == [(reason, column)]
    assert dates(chart) == ["2013-05-01"]


def test_numbers_keep_every_bit(read: Read) -> None:
    values = [0.1 + 0.2, 2.4e-10, 1e100, 1.1e-100]
    chart = read([(f"2026-01-0{day}", value, value, value) for day, value in enumerate(values, 1)])
    assert chart.values.tolist() == [values] * 3


def test_what_was_asked_for_bounds_a_landed_body(read: Read) -> None:
    narrow = PieceBody("bitcoin", "coingecko", date(2026, 1, 2), date(2026, 1, 3), "x")
    chart = read([(f"2026-01-0{day}", 1.0, 1.0, 1.0) for day in range(1, 6)], narrow)
    assert (dates(chart), counted(chart)) == (["2026-01-02", "2026-01-03"], {"points_outside": 3})


def test_arrays_that_only_look_like_pairs_are_not_read_as_pairs() -> None:
    nested = b'{"prices":[[1767225600000,[1]]],"market_caps":[[1767225600000,1]],"total_volumes":[[1767225600000,1]]}'
    shifted = b'{"prices":[[1,2,3],[4]],"market_caps":[[1,2],[3,4]],"total_volumes":[[1,2],[3,4]]}'
    for body in (nested, shifted):
        points = read_points(body)
        assert not isinstance(points, BodyFault)
        assert 0 in points.unusual


def test_a_contract_of_other_series_is_refused() -> None:
    with pytest.raises(ContractError, match="cannot fill"):
        HistoryRules(load_contract("crypto_market_snapshot_fact"), 300, 35)


FORMS = {
    "as the website writes it": "snapped_at,price,market_cap,total_volume\n2013-04-28 00:00:00 UTC,135.5,1500,\n",
    "quoted": '"snapped_at","price","market_cap","total_volume"\r\n"2013-04-28 00:00:00 UTC","135.5","1500",""\r\n',
    "lines that end in CR": "snapped_at,price,market_cap,total_volume\r2013-04-28 00:00:00 UTC,135.5,1500,\r",
    "a byte order mark": "\ufeffsnapped_at,price,market_cap,total_volume\n2013-04-28 00:00:00 UTC,135.5,1500,\n",
    "decimal commas": "snapped_at;price;market_cap;total_volume\n2013-04-28 00:00:00 UTC;135,5;1.500,0;\n",
    "tabs": "snapped_at\tprice\tmarket_cap\ttotal_volume\n2013-04-28 00:00:00 UTC\t135.5\t1500\t\n",
    "dates": "date,price,market_cap,total_volume\n2013-04-28,135.5,1500,\n",
    "another order and names": "Volume,Market Cap,Price,Date\n,1500,135.5,2013-04-28\n",
    "Unicode text of a spreadsheet": "snapped_at\tprice\tmarket_cap\ttotal_volume\n2013-04-28 00:00:00 utc\t135.5\t1500\t\n",
    "seconds": "timestamp,price,market_cap,total_volume\n1367107200,135.5,1500,\n",
    "a quoted line break in a column of no interest": 'note,date,price,market_cap\n"a\nb",2013-04-28,135.5,1500\n',
    "ISO 8601": "snapped_at,price,market_cap,total_volume\n2013-04-28T02:00:00+02:00,135.5,1500,\n",
    "milliseconds": "timestamp,price,market_cap,total_volume\n1367107200000,135.5,1500,\n",
}


@pytest.mark.parametrize("text", FORMS.values(), ids=FORMS)
def test_an_export_is_read_in_any_form_of_csv(text: str, read: Read, foreign: PieceBody) -> None:
    chart = read(text.encode("utf-16" if "\t" in text and " utc" in text else "utf-8"), foreign)
    assert (chart.rejects, chart.stamps.tolist()) == ([], [1367107200000])
    assert chart.values[:2, 0].tolist() == [135.5, 1500.0]
    assert np.isnan(chart.values[2, 0])


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("Open,High,Low\n1,2,3\n", "unknown_header", id="a CSV of something else"),
        pytest.param("date,price,price\n2024-01-15,1.5,2.5\n", "unknown_header", id="two prices"),
        pytest.param("date,close,market_cap\n2024-01-15,1.5,2.5\n", "closing_prices", id="closing prices"),
        pytest.param("Date,Price,Open,High,Low\n2024-01-15,1,2,3,4\n", "closing_prices", id="a price that is a close"),
        pytest.param("PK\x03\x04a,date,price\n", "zip_archive", id="a zip archive"),
        pytest.param("<html>a,b</html>", "not_json", id="HTML"),
        pytest.param("Throttled", "not_json", id="words"),
    ],
)
def test_what_is_not_read_says_what_it_is(text: str, reason: str, read: Read, foreign: PieceBody) -> None:
    [reject] = read(text.encode(), foreign).rejects
    assert (reject.level, reject.reason) == ("page", reason)


CHART = '{"prices":[[1367107200000,1.5]],"market_caps":[[1367107200000,1]],"total_volumes":[[1367107200000,1]]'


@pytest.mark.parametrize(
    ("text", "is_other"),
    [
        ("date,price_eur\n2013-04-28,1.5\n", True),
        ("date,price_usd\n2013-04-28,1.5\n", False),
        ("Date,Price (EUR),Price (USD)\n2013-04-28,2.5,1.5\n", False),
        ("date,price,currency\n2013-04-28,1.5,EUR\n", True),
        ("date,price,currency\n2013-04-28,1.5,USD\n", False),
        ("date,price,currency\n2013-04-28,1.5,Bitcoin\n", False),
        (CHART + ',"vs_currency":"eur"}', True),
        (CHART + ',"vs_currency":"USD"}', False),
        ('{"quote_currency":"ETH","data":' + CHART + "}}", True),
        ('{"data":' + CHART + ',"currency":"eur"}}', True),
        ('{"data":' + CHART + "}}", False),
    ],
)
def test_a_body_that_says_another_currency_is_refused(
    text: str, is_other: bool, read: Read, foreign: PieceBody
) -> None:
    chart = read(text.encode(), foreign)
    assert [reject.reason for reject in chart.rejects] == ["other_currency"] * is_other
    assert chart.values[0].tolist() == [] if is_other else [1.5]


def test_stamps_without_a_zone_are_read_in_the_one_that_is_told(
    rules: HistoryRules, batch: BatchManifest, foreign: PieceBody
) -> None:
    body = b"date,price,market_cap,total_volume\n2013-04-28 02:00:00,1,2,3\n"
    landed, told = (
        LandedBody("x", body, datetime(2026, 1, 11, tzinfo=UTC)),
        replace(rules, zone=ZoneInfo("Europe/Berlin")),
    )
    assert read_chart(landed, foreign, batch, told).stamps.tolist() == [1367107200000]
