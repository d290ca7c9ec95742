"""Prices and exchange rates of a snapshot, each written into its table."""

from typing import Any

import apache_beam as beam
from apache_beam.pvalue import PCollection

from beam_pipelines.job.report import Report
from beam_pipelines.snapshot.landed import pages_of, rates_of
from coinbeam.batch.identity import file_stamp
from coinbeam.batch.manifest import BatchManifest
from coinbeam.settings import Period


def stamp_of(period: Period, batch: BatchManifest) -> str:
    """The date part of the names of a batch's files."""
    return file_stamp(batch.snapshot_at, period)


class WriteSnapshot(beam.PTransform[Any, Any]):
    """`LandedBatch` to the reports of both tables: ``prices`` writes its pages, ``rates`` what lies beside them."""

    def __init__(self, prices: beam.PTransform[Any, Any], rates: beam.PTransform[Any, Any]) -> None:
        super().__init__()
        self._prices, self._rates = prices, rates

    def expand(self, landed: PCollection[Any]) -> PCollection[Report]:
        """Wire the transform."""
        prices = landed | "Pages" >> beam.Map(pages_of) | "Prices" >> self._prices
        rates = landed | "Exchange rates" >> beam.Map(rates_of) | "Rates" >> self._rates
        return (prices, rates) | "Both tables" >> beam.Flatten()
