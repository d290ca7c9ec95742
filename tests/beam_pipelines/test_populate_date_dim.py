"""The calendar: the pure function against the standard library, and the job."""

import csv
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from beam_pipelines.calendar.table import date_row, date_table
from beam_pipelines.populate_date_dim import run
from coinbeam.contracts import load_contract
from coinbeam.settings import ROOT, Settings

DATES = st.dates(date(1970, 1, 1), date(2199, 12, 31))


@given(DATES)
def test_every_date_agrees_with_the_standard_library(day: date) -> None:
    row: dict[str, Any] = dict(date_row(day))
    assert date.fromisocalendar(row["iso_year"], row["iso_week"], row["iso_weekday"]) == day
    assert date(row["year"], row["month"], row["day"]) == day
    assert row["day_of_year"] == int(f"{day:%j}")
    assert row["is_weekend"] == (day.weekday() >= 5)
    assert row["quarter"] == {1: 1, 2: 1, 3: 1, 4: 2, 5: 2, 6: 2, 7: 3, 8: 3, 9: 3}.get(day.month, 4)


@given(DATES)
def test_the_days_to_month_end_lead_to_the_last_day(day: date) -> None:
    row: dict[str, Any] = dict(date_row(day))
    last = day + timedelta(days=row["days_to_month_end"])
    assert (last.month, (last + timedelta(days=1)).day) == (day.month, 1)
    assert row["is_month_end"] == (row["days_to_month_end"] == 0)


@pytest.mark.parametrize(
    ("day", "week"),
    [
        ("2016-01-01", (2015, 53)),
        ("2018-12-31", (2019, 1)),
        ("2020-12-31", (2020, 53)),
        ("2024-02-29", (2024, 9)),
        ("2026-01-01", (2026, 1)),
    ],
)
def test_weeks_at_the_turn_of_a_year_follow_iso_8601(day: str, week: tuple[int, int]) -> None:
    row = date_row(date.fromisoformat(day))
    assert (row["iso_year"], row["iso_week"]) == week


def test_names_are_english() -> None:
    assert (date_row(date(2026, 3, 4))["month_name"], date_row(date(2026, 3, 4))["day_name"]) == ("March", "Wednesday")


def test_the_columns_are_those_of_the_contract() -> None:
    contract = load_contract("date_dim")
    assert list(date_row(date(2026, 1, 1))) == [column.name for column in contract.file_columns]
    assert date_table(date(2026, 1, 1), date(2026, 1, 1), contract).num_rows == 1


def test_the_job_writes_every_day_once_and_the_same_again(
    make_settings: Callable[..., Settings], tmp_path: Path
) -> None:
    argv = ["--runner=DirectRunner", f"--output={tmp_path}"]
    report = run(argv, make_settings(), lambda: datetime(2026, 11, 20, tzinfo=UTC))
    first = (tmp_path / "date_dim.csv").read_bytes()
    run(argv, make_settings(), lambda: datetime(2026, 11, 21, tzinfo=UTC))
    assert (tmp_path / "date_dim.csv").read_bytes() == first
    days = [row["date"] for row in csv.DictReader(first.decode().splitlines())]
    assert (days[0], days[-1], len(days)) == ("2013-01-01", "2031-12-31", report["rows"])
    assert days == sorted(set(days))


def test_a_range_is_kept_to(make_settings: Callable[..., Settings], tmp_path: Path) -> None:
    report = run([f"--output={tmp_path}", "--from_date=2024-02-28", "--to_date=2024-03-01"], make_settings())
    assert (report["rows"], report["from_date"], report["to_date"]) == (3, "2024-02-28", "2024-03-01")


@pytest.mark.slow
def test_the_documented_command_runs(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "beam_pipelines.populate_date_dim",
        "--runner=DirectRunner",
        f"--output={tmp_path}",
    ]
    done = subprocess.run(
        command, cwd=ROOT, env={"PATH": "/usr/bin:/bin"}, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "date_dim.csv").is_file()
