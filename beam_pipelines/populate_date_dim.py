"""The calendar dimension: one row per date of a range, as one CSV. It asks nobody and is the same on every machine.

::

    python -m beam_pipelines.populate_date_dim --runner=DirectRunner --output=/tmp/coinbeam
    python -m beam_pipelines.populate_date_dim --runner=DirectRunner \
        --from_date=2020-01-01 --to_date=2020-12-31 --output=/tmp/coinbeam

On Dataflow, as the other jobs: ``--runner=DataflowRunner --output=gs://BUCKET/batches/today --project=PROJECT
--region=us-central1 --temp_location=gs://BUCKET/dataflow/temp``.

In ``--output``: ``date_dim.csv`` and ``report_populate_date_dim.json``.
"""

import sys
from collections.abc import Sequence

import apache_beam as beam

from beam_pipelines.batch_files.builder import refuse_unfilled
from beam_pipelines.calendar.table import date_row
from beam_pipelines.calendar.write import write_dates
from beam_pipelines.job.command import execute
from beam_pipelines.job.launch import prepare
from beam_pipelines.job.options import read_dates
from beam_pipelines.job.report import Report
from beam_pipelines.landing.fetch import Given
from coinbeam.batch.jobs import POPULATE_DATE_DIM as JOB
from coinbeam.batch.options import DateOptions
from coinbeam.batch.tables import DATES
from coinbeam.clock import Clock, utc_now
from coinbeam.contracts import load_contract
from coinbeam.settings import Settings


def run(argv: Sequence[str], settings: Settings | None = None, clock: Clock = utc_now) -> Report:
    """Run the job to its end and return its report.

    Raises:
        SettingsError: an option or setting is wrong.
    """
    launch = prepare(JOB, argv, settings, clock)
    dates, contract = read_dates(launch.read(DateOptions), launch.job.snapshot_at), load_contract(DATES)
    refuse_unfilled(contract, date_row(dates[0]))
    csv_uri = f"{launch.job.output}/{JOB.file(DATES)}"
    return launch.run(Given([dates]), beam.Map(write_dates, contract, csv_uri), {"job": JOB.name})


if __name__ == "__main__":
    sys.exit(execute(run, JOB))
