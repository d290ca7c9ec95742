"""The batch file of a range of dates."""

from datetime import date

from beam_pipelines.calendar.table import date_table
from beam_pipelines.job.report import Report
from beam_pipelines.landing.files import write_atomically
from coinbeam.contracts import Contract
from coinbeam.contracts.arrow import csv_block, csv_header


def write_dates(dates: tuple[date, date], contract: Contract, csv_uri: str) -> Report:
    """Write the batch file of a range; report its rows, and its first and last date, ISO 8601."""
    table = date_table(*dates, contract)
    write_atomically(csv_uri, csv_header(contract.file_columns) + csv_block(table))
    return {"rows": table.num_rows, "from_date": dates[0].isoformat(), "to_date": dates[1].isoformat()}
