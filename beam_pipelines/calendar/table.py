"""Dates as rows of ``date_dim``: proleptic Gregorian calendar, ISO 8601 weeks, English names."""

from calendar import monthrange
from datetime import date, timedelta

import pyarrow as pa

from coinbeam.contracts import Contract
from coinbeam.contracts.arrow import arrow_schema

# The names of the standard library's calendar module follow the locale of the machine.
MONTHS = (
    "January",
    "February",
    "March",
    "April",
    "May",
    "June",
    "July",
    "August",
    "September",
    "October",
    "November",
    "December",
)
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")

_SATURDAY = 6

DateRow = dict[str, date | int | str | bool]


def date_row(day: date) -> DateRow:
    """One date in the columns of the contract.

    Source of the week rule: ISO 8601, week 1 holds the year's first Thursday; hence the ISO year may differ from the
    calendar year.
    """
    iso = day.isocalendar()
    days_left = monthrange(day.year, day.month)[1] - day.day
    return {
        "date": day,
        "year": day.year,
        "quarter": (day.month + 2) // 3,
        "month": day.month,
        "month_name": MONTHS[day.month - 1],
        "day": day.day,
        "day_of_year": day.timetuple().tm_yday,
        "iso_year": iso.year,
        "iso_week": iso.week,
        "iso_weekday": iso.weekday,
        "day_name": WEEKDAYS[iso.weekday - 1],
        "is_weekend": iso.weekday >= _SATURDAY,
        "is_month_end": days_left == 0,
        "days_to_month_end": days_left,
    }


def date_table(first: date, last: date, contract: Contract) -> pa.Table:
    """The rows of all dates from the first to the last, in the columns and types of the contract."""
    days = (first + timedelta(days=offset) for offset in range((last - first).days + 1))
    return pa.Table.from_pylist([date_row(day) for day in days], arrow_schema(contract.file_columns))
