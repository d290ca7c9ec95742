"""How rows are shown: doubles exact, instants as ISO 8601, and nothing that a next program could misread."""

import csv
import datetime as dt
import io
import json
import math
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.console import Console

from console import output
from console.output import Format, complain, heading, plain, say, show

Shown = Callable[[list[str], list[dict[str, Any]], Format], str]


@pytest.fixture
def shown(capsys: pytest.CaptureFixture[str]) -> Shown:
    """What a call of show prints."""

    def print_it(columns: list[str], rows: list[dict[str, Any]], form: Format) -> str:
        show(columns, iter(rows), form)
        return capsys.readouterr().out

    return print_it


ROW = {
    "name": 'Coin "One", ツ\nsecond line',
    "price": 0.1 + 0.2,
    "tiny": 5e-324,
    "count": 2**63 - 1,
    "at": dt.datetime(2026, 1, 2, 3, 4, 5, 6, dt.UTC),
    "day": dt.date(2026, 1, 2),
    "nothing": None,
    "yes": True,
    "tags": ["a", dt.date(2026, 1, 2)],
    "raw": b"\x00\xff",
}


def test_json_is_one_array_that_any_program_reads(shown: Shown) -> None:
    rows = json.loads(shown(list(ROW), [ROW, ROW], Format.JSON))
    assert (
        rows
        == [
            {
                **ROW,
                "at": "2026-01-02T03:04:05.000006Z",
                "day": "2026-01-02",
                "tags": ["a", "2026-01-02"],
                "raw": "00ff",
            }
        ]
        * 2
    )


def test_csv_is_read_back_by_a_strict_reader(shown: Shown) -> None:
    rows = list(csv.DictReader(io.StringIO(shown(list(ROW), [ROW], Format.CSV), newline=""), strict=True))
    assert rows == [
        {
            "name": ROW["name"],
            "price": "0.30000000000000004",
            "tiny": "5e-324",
            "count": "9223372036854775807",
            "at": "2026-01-02T03:04:05.000006Z",
            "day": "2026-01-02",
            "nothing": "",
            "yes": "true",
            "tags": '["a", "2026-01-02"]',
            "raw": "00ff",
        }
    ]


@pytest.mark.parametrize(
    ("form", "expected"), [(Format.JSON, "[]\n"), (Format.CSV, "a,b\n"), (Format.TABLE, "No rows of a, b.\n")]
)
def test_no_rows_are_shown_as_no_rows(form: Format, expected: str, shown: Shown) -> None:
    assert shown(["a", "b"], [], form) == expected


def test_a_table_for_a_pipe_is_aligned_and_uncoloured(shown: Shown) -> None:
    text = shown(["asset", "price"], [{"asset": "bitcoin", "price": 1.5}, {"asset": "x", "price": None}], Format.TABLE)
    assert text == "asset    price\nbitcoin  1.5\nx\n"


def test_a_line_break_in_a_cell_does_not_break_the_table(shown: Shown) -> None:
    assert shown(["a", "b"], [{"a": "x\ny\r\n", "b": 1}], Format.TABLE).splitlines() == [
        "a         b",
        "x\\ny\\r\\n  1",
    ]


def test_a_table_for_a_terminal_holds_every_cell_whole_and_takes_no_markup(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = io.StringIO()
    monkeypatch.setattr(
        output, "console", Console(file=sink, force_terminal=True, soft_wrap=True, width=200, color_system=None)
    )
    show(["name", "price"], [{"name": "[red]coin[/red] [/]", "price": 0.1 + 0.2}], Format.TABLE)
    assert "[red]coin[/red] [/]" in sink.getvalue()
    assert "0.30000000000000004" in sink.getvalue()


WIDE = {
    "id": "rocket-pool-of-the-very-long-name-that-goes-on",
    "price": 0.1 + 0.2,
    "supply": 1943275123456.7891,
    "at": "2026-01-02T03:04:05.000006Z",
}


@pytest.mark.parametrize("width", [40, 80, 160])
def test_a_number_or_an_id_is_never_cut(monkeypatch: pytest.MonkeyPatch, width: int) -> None:
    sink = io.StringIO()
    made = Console(file=sink, force_terminal=True, soft_wrap=True, width=width, color_system=None)
    monkeypatch.setattr(output, "console", made)
    show(list(WIDE), [WIDE, WIDE | {"price": 1.5}], Format.TABLE)
    text = sink.getvalue()
    assert all(f"{value}" in text for value in WIDE.values())
    assert ("row 2 of 2" in text) is (width < 160), "one field a line where a row does not fit"


def test_a_long_text_is_broken_between_its_words_and_what_is_beside_it_stays_whole(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    sink = io.StringIO()
    made = Console(file=sink, force_terminal=True, soft_wrap=True, width=80, color_system=None)
    monkeypatch.setattr(output, "console", made)
    words = "Nothing was published. See `coinbeam rejects` and mend the source or the rule of it."
    show(["batch_id", "message"], [{"batch_id": "20260102T0000Z-usd-all", "message": words}], Format.TABLE)
    lines = sink.getvalue().splitlines()
    assert max(map(len, lines)) <= 80
    assert any("20260102T0000Z-usd-all" in line for line in lines)
    assert [word for word in words.split() if not any(word in line for line in lines)] == []


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.floats(allow_nan=False), min_size=1, max_size=20))
def test_every_double_is_shown_with_all_its_bits(shown: Shown, values: list[float]) -> None:
    rows = [{"x": value} for value in values]
    assert [float(line).hex() for line in shown(["x"], rows, Format.CSV).splitlines()[1:]] == [
        value.hex() for value in values
    ]
    assert [float(row["x"]).hex() for row in json.loads(shown(["x"], rows, Format.JSON))] == [
        value.hex() for value in values
    ]


@pytest.mark.parametrize(
    ("value", "expected"),
    [(math.inf, "inf"), (-math.inf, "-inf"), (math.nan, "nan")],
    ids=["infinity", "minus infinity", "not a number"],
)
def test_what_json_has_no_number_for_is_a_text(value: float, expected: str, shown: Shown) -> None:
    assert json.loads(shown(["x"], [{"x": value}], Format.JSON), parse_constant=pytest.fail) == [{"x": expected}]


def test_nested_values_are_plain_too() -> None:
    assert plain({"a": [dt.date(2026, 1, 2), {"b": math.inf}]}) == {"a": ["2026-01-02", {"b": "inf"}]}


def test_a_naive_instant_is_not_given_a_zone() -> None:
    assert plain(dt.datetime(2026, 1, 2, 3)) == "2026-01-02T03:00:00"  # noqa: DTZ001 - BigQuery's DATETIME has no zone


def test_json_is_streamed(capsys: pytest.CaptureFixture[str]) -> None:
    def rows() -> Any:
        yield {"x": 1}
        assert '{"x": 1}' in capsys.readouterr().out, "the first row is out before the second is asked for"
        yield {"x": 2}

    show(["x"], rows(), Format.JSON)


def test_errors_go_to_the_error_stream_and_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    complain("bad [value] in [/list]")
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err == "error: bad [value] in [/list]\n"


def test_words_for_a_person_are_not_markup(capsys: pytest.CaptureFixture[str]) -> None:
    say("rows [bold] 5")
    heading("A [title]")
    assert capsys.readouterr().out == "rows [bold] 5\n\nA [title]\n"


HOSTILE = "\x1b[31mRed\x07\x9b2J [bold]coin[/] \u202eabc"


def test_the_name_of_a_coin_commands_no_terminal(shown: Shown, capsys: pytest.CaptureFixture[str]) -> None:
    table = shown(["name"], [{"name": HOSTILE}], Format.TABLE)
    say(HOSTILE)
    complain(HOSTILE)
    heading(HOSTILE)
    written = capsys.readouterr()
    for text in (table, written.out, written.err):
        assert not set(text) & {"\x1b", "\x07", "\x9b", "\u202e"}
        assert r"\x1b[31mRed" in text
        assert "[bold]coin[/]" in text
    assert json.loads(shown(["name"], [{"name": HOSTILE}], Format.JSON)) == [{"name": HOSTILE}], "data stay exact"


@pytest.mark.parametrize("encoding", ["latin-1", "ascii", "cp1252", "utf-8"])
@pytest.mark.parametrize("form", list(Format))
def test_a_terminal_of_any_character_set_shows_every_row(
    encoding: str, form: Format, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(raw, encoding=encoding))
    output.adapt_streams()
    show(["name"], [{"name": "ツ Ünicode 🐶"}], form)
    say("ツ Ünicode 🐶")
    output.sys.stdout.flush()
    written = raw.getvalue()
    if form is Format.JSON:
        text = written.decode(encoding)
        assert json.loads(text[: text.index("]") + 1]) == [{"name": "ツ Ünicode 🐶"}]
    if form is Format.CSV:
        assert "ツ Ünicode 🐶" in written.decode("utf-8")
    assert b"nicode" in written


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (1_943_275_123_456.7, "1.94 T"),
        (97_261.03, "97,261.03"),
        (2_000_000.0, "2.00 M"),
        (3.5e9, "3.50 B"),
        (0.00000123456, "1.235e-06"),
        (0.0, "0"),
        (-1_234.5, "-1,234.50"),
        (99_999_928, "99,999,928"),
        (True, True),
        (None, None),
        ("1943275123456", "1943275123456"),
        (float("inf"), float("inf")),
        (dt.datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=dt.UTC), dt.datetime(2026, 1, 2, 3, 4, 5, tzinfo=dt.UTC)),
    ],
)
def test_a_summary_shows_numbers_as_a_person_reads_them(value: object, shown: object) -> None:
    assert output.for_people(value) == shown


def test_long_texts_stand_below_their_table(capsys: pytest.CaptureFixture[str]) -> None:
    rows = [
        {"batch_id": "b1", "n": 1, "error_message": "a long story " * 20},
        {"batch_id": "b2", "n": 2, "error_message": None},
    ]
    output.show_summary_table(("batch_id", "n", "error_message"), rows, below="error_message")
    lines = capsys.readouterr().out.splitlines()
    assert lines[:3] == ["batch_id  n", "b1        1", "b2        2"]
    assert lines[3].startswith("b1: a long story")
    assert len(lines) == 4


def test_headers_are_folded_before_a_row_becomes_a_block(monkeypatch: pytest.MonkeyPatch) -> None:
    sink = io.StringIO()
    made = Console(file=sink, force_terminal=True, soft_wrap=True, width=40, color_system=None)
    monkeypatch.setattr(output, "console", made)
    show(
        ["market_cap_rank", "price_change_percentage_24h"], [{"market_cap_rank": 1, "price_change_percentage_24h": 2.5}]
    )
    lines = sink.getvalue().splitlines()
    assert "row 1" not in sink.getvalue()
    assert max(map(len, lines)) <= 40
    assert [word in sink.getvalue() for word in ("market_", "rank", "percentage_")] == [True] * 3
