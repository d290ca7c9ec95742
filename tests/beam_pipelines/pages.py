"""A page that was read, with its rows as the batch file has them."""

from dataclasses import dataclass

import pyarrow as pa

from beam_pipelines.snapshot.columns import to_table
from beam_pipelines.snapshot.page import PageColumns, read_page
from beam_pipelines.snapshot.rules import MarketRules
from coinbeam.batch.manifest import BatchManifest
from coinbeam.landing.layout import LandedBody


@dataclass
class TablePage(PageColumns):
    """A page and its accepted rows in the contract's columns and types."""

    table: pa.Table = None


def read_table(landed: LandedBody, batch: BatchManifest, rules: MarketRules) -> TablePage:
    """Read one landed body, and make its table."""
    page = read_page(landed, batch, rules)
    return TablePage(**vars(page), table=to_table([page.columns] if page.columns else [], batch, rules))
