"""Entries of the index: strings to integers, classes by their bands, days once, gaps known and unknown."""

import json
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.sentiment.bodies import is_index
from beam_pipelines.sentiment.table import IndexTable
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import load_contract
from coinbeam.landing.layout import LandedBody
from coinbeam.sources.alternative_me import NEVER_PUBLISHED
from tests.beam_pipelines.built import Built, build

CONTRACT = load_contract("fear_greed_fact")
BATCH = BatchManifest("b", "fear_greed", "alternative_me", datetime(2026, 1, 10, tzinfo=UTC), "usd", 1, "fear_greed")
LANDED_AT = datetime(2026, 1, 10, 1, 0, tzinfo=UTC)
READ_AT = datetime(2026, 2, 14, tzinfo=UTC)
FILE = replace(BATCH, source_id="file", snapshot_at=READ_AT)

Read = Callable[..., Built]


def entry(day: str, value: Any = "50", band: Any = "Neutral", **more: Any) -> dict[str, Any]:
    stamp = int(datetime.fromisoformat(day).replace(tzinfo=UTC).timestamp())
    return {"value": value, "value_classification": band, "timestamp": str(stamp), **more}


@pytest.fixture
def read() -> Read:
    """Reads entries, or a body as it is, and checks that each is accounted for."""

    def reading(*bodies: Any, landed_at: datetime = LANDED_AT, batch: BatchManifest = BATCH) -> Built:
        raws = [
            body if isinstance(body, bytes) else json.dumps({"data": body, "metadata": {"error": None}}).encode()
            for body in bodies
        ]
        landed = [LandedBody(str(number), raw, landed_at + timedelta(hours=number)) for number, raw in enumerate(raws)]
        index = build(IndexTable(CONTRACT, 300, READ_AT), batch, landed)
        report = index.report
        assert report["rows_read"] == report["rows_valid"] + report["rows_duplicate"] + report["rows_rejected"]
        assert index.table.num_rows == report["rows_valid"]
        return index

    return reading


def test_texts_become_integers_dates_and_instants(read: Read) -> None:
    index = read(
        [entry("2026-01-10", "72", "Greed", time_until_update="2661"), entry("2026-01-09", "20", "Extreme Fear")]
    )
    assert index.table.to_pylist() == [
        {
            "date": date(2026, 1, day),
            "value": value,
            "classification": band,
            "observed_at": datetime(2026, 1, day, tzinfo=UTC),
            "ingested_at": LANDED_AT,
            "source_id": "alternative_me",
            "batch_id": "b",
        }
        for day, value, band in ((9, 20, "Extreme Fear"), (10, 72, "Greed"))
    ]


@pytest.mark.parametrize(
    ("bad", "reason", "column"),
    [
        pytest.param("x", "wrong_type", None, id="no object"),
        pytest.param({"value": "5"}, "missing_field", "observed_at", id="no stamp"),
        pytest.param({"timestamp": "1767225600"}, "missing_field", "value", id="no value"),
        pytest.param(
            entry("2026-01-02", "26", "Panic"), "classification_mismatch", "classification", id="no such band"
        ),
        pytest.param(entry("2018-01-31"), "below_minimum", "observed_at", id="before the index"),
        pytest.param(entry("2026-01-02", "50", None), "classification_mismatch", "classification", id="no class"),
        pytest.param(entry("2026-01-02", "101", "Extreme Greed"), "above_maximum", "value", id="above a hundred"),
        pytest.param(entry("2026-01-02", "-1", "Extreme Fear"), "below_minimum", "value", id="below zero"),
        pytest.param(entry("2026-01-02", "5.5", "Extreme Fear"), "wrong_type", "value", id="a fraction"),
        pytest.param(entry("2026-01-02", None), "null_value", "value", id="a null"),
        pytest.param(entry("2026-01-02", 50.0), "wrong_type", "value", id="a double"),
        pytest.param(entry("2026-01-02T00:00:01"), "not_midnight", "observed_at", id="not at midnight"),
        pytest.param(entry("2026-01-11"), "future_observation", "observed_at", id="tomorrow"),
        pytest.param(entry("1970-01-02"), "below_minimum", "observed_at", id="before any market"),
        pytest.param({"value": "50", "timestamp": "yesterday"}, "wrong_type", "observed_at", id="a stamp in words"),
        pytest.param({"value": "50", "timestamp": None}, "null_value", "observed_at", id="a null stamp"),
    ],
)
def test_a_bad_entry_costs_only_itself(read: Read, bad: Any, reason: str, column: str | None) -> None:
    index = read([bad, entry("2026-01-01")])
    [reject] = index.rejects
    assert (reject.reason, reject.column_name, reject.row_number, reject.level) == (reason, column, 0, "row")
    assert json.loads(reject.to_line())["table_name"] == "fear_greed_fact"
    assert index.table["date"].to_pylist() == [date(2026, 1, 1)]


@given(value=st.integers(0, 100), band=st.sampled_from(["Extreme Fear", "Fear", "Neutral", "Greed", "Extreme Greed"]))
def test_a_class_is_the_word_of_the_source_also_where_it_moved_its_bounds(value: int, band: str) -> None:
    body = json.dumps({"data": [entry("2026-01-01", str(value), band)]}).encode()
    [row] = build(IndexTable(CONTRACT, 300), BATCH, [LandedBody("x", body, LANDED_AT)]).table.to_pylist()
    assert (row["value"], row["classification"]) == (value, band)


@pytest.mark.parametrize("year", [1980, 1985, 2026, 2107])
def test_the_age_of_a_file_decides_nothing(year: int, read: Read) -> None:
    index = read([entry("2026-02-13"), entry("2026-02-12")], landed_at=datetime(year, 1, 1, tzinfo=UTC), batch=FILE)
    assert index.table["date"].to_pylist() == [date(2026, 2, 12), date(2026, 2, 13)]
    assert set(index.table["ingested_at"].to_pylist()) == {datetime(2026, 2, 13, tzinfo=UTC)}, "its newest stamp"


def test_of_two_files_the_one_known_last_has_the_day(read: Read) -> None:
    newer, older = [entry("2026-02-02", "51"), entry("2026-02-03")], [entry("2026-02-02", "50")]
    for bodies in ((newer, older), (older, newer)):
        assert read(*bodies, batch=FILE).table["value"].to_pylist() == [51, 50]


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not_json"),
        (b"[]", "not_an_index"),
        (b'{"data": {}}', "not_an_index"),
        (b'{"error": "x"}', "error_body"),
        (b'{"data": [], "metadata": {"error": "down"}}', "error_body"),
    ],
)
def test_an_unreadable_body_is_one_reject(read: Read, body: bytes, reason: str) -> None:
    index = read(body)
    assert [(reject.level, reject.reason) for reject in index.rejects] == [("page", reason)]
    assert (index.report["pages_rejected"], index.report["rows_valid"]) == (1, 0)
    assert not is_index(body)


def test_a_day_counts_once_and_the_newest_body_has_it(read: Read) -> None:
    old, new = (
        [entry("2026-01-01", "50"), entry("2026-01-02", "50")],
        [entry("2026-01-02", "51"), entry("2026-01-02", "52")],
    )
    index = read(old, new)
    assert index.table["value"].to_pylist() == [50, 51]
    assert index.report["rows_duplicate"] == 2


def test_days_that_were_never_published_are_no_gaps(read: Read) -> None:
    days = [date(2018, 4, 12) + timedelta(days=back) for back in range(7)]
    index = read([entry(day.isoformat()) for day in days if day not in NEVER_PUBLISHED and day != date(2018, 4, 13)])
    assert (index.report["missing_days"], index.report["days_never_published"]) == (["2018-04-13"], 3)


def test_the_real_index_has_exactly_its_four_known_gaps(read: Read, captures: Path) -> None:
    [path] = (captures / "fng").glob("*.csv")
    report = read(path.read_bytes(), batch=FILE).report
    assert (report["rows_valid"], report["rows_rejected"], report["days_missing"], report["days_never_published"]) == (
        2_931,
        0,
        0,
        4,
    )
    assert (report["first_date"], report["last_date"]) == ("2018-02-01", "2026-02-13")


def test_the_newest_real_entry_is_a_value_like_any_other(read: Read, captures: Path) -> None:
    index = read((captures / "fng" / "fng_latest_2025-04-23_raw.json").read_bytes())
    assert index.table.select(["date", "value", "classification"]).to_pylist() == [
        {"date": date(2025, 4, 23), "value": 72, "classification": "Greed"}
    ]


@pytest.mark.parametrize("line", ["2018-02-31,30", "2018-02-01,30,1", "2018-02-01,", "2018-02-01,x"])
def test_a_bad_line_of_a_csv_costs_only_itself(read: Read, line: str) -> None:
    index = read(f"date,fng\n{line}\n2018-02-02,15\n".encode())
    assert (index.report["rows_rejected"], index.report["rows_valid"]) == (1, 1)


def test_a_stamp_without_a_zone_is_refused_by_that_name(read: Read) -> None:
    index = read(b"date,fng\n2018-02-01 00:00:00,30\n2018-02-02 00:00:00 UTC,15\n")
    assert [reject.reason for reject in index.rejects] == ["stamp_without_zone"]
    assert index.report["rows_valid"] == 1


INDEX_FORMS = {
    "a header": "date,fng\n2026-01-01,30\n2026-01-13,15\n",
    "the API with format=csv": '{\n\t"name": "Fear and Greed Index",\n\t"data": [\nfng_value,fng_classification,date\n'
    '13-01-2026,15,Extreme Fear\n01-01-2026,30,Fear\n\t],\n\t"metadata": {\n\t\t"error": null\n\t}\n}',
    "the same, of the United States": '{"name": "x", "data": [\nfng_value,fng_classification,date\n'
    '01-13-2026,15,Extreme Fear\n01-01-2026,30,Fear\n], "metadata": {"error": null}}',
    "no header": "13-01-2026,15,Extreme Fear\n01-01-2026,30,Fear\n",
    "quoted": '"Date","Value","Classification"\r\n"2026/01/01","30","Fear"\r\n"2026/01/13","15","Extreme Fear"\r\n',
    "ISO 8601": "timestamp,value\n2026-01-01T00:00:00Z,30.0\n2026-01-13 02:00:00+02:00,15.0\n",
    "the API with date_format=us": '{"data": [{"value": "30", "value_classification": "Fear", "timestamp": "01-01-2026"}, '
    '{"value": "15", "value_classification": "Extreme Fear", "timestamp": "01-13-2026"}], "metadata": {"error": null}}',
    "semicolons": "timestamp;value;value_classification\n1767225600;30;Fear\n1768262400;15;Extreme Fear\n",
}


@pytest.mark.parametrize("text", INDEX_FORMS.values(), ids=INDEX_FORMS)
def test_the_index_is_read_in_any_form_of_csv(text: str, read: Read) -> None:
    found = read(text.encode(), batch=FILE)
    assert found.rejects == []
    assert [(row["date"].day, row["value"], row["classification"]) for row in found.table.to_pylist()] == [
        (1, 30, "Fear"),
        (13, 15, "Extreme Fear"),
    ]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        pytest.param("a,b\n1,2\n", "unknown_header", id="another header"),
        pytest.param("date,fng\n01-02-2026,30\n03-04-2026,15\n", "ambiguous_date", id="day or month first"),
    ],
)
def test_an_index_that_is_not_read_says_what_it_is(text: str, reason: str, read: Read) -> None:
    [reject] = read(text.encode(), batch=FILE).rejects
    assert (reject.level, reject.reason) == ("page", reason)
