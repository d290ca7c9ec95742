"""Listed assets and their details as the batch file of ``crypto_asset_dim``, with a report."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa

from beam_pipelines.assets.bodies import is_list
from beam_pipelines.assets.details import AssetDetails, read_details
from beam_pipelines.assets.listing import Fault, Listing, RejectMaker
from beam_pipelines.batch_files.rejects import Reject
from coinbeam.batch.manifest import BatchManifest
from coinbeam.contracts import Contract
from coinbeam.contracts.arrow import arrow_schema
from coinbeam.landing.layout import LandedBody

ACTIVE = "active"
"""Status of every listed asset: the list is asked for active coins. The publish infers the other states."""


@dataclass(frozen=True)
class AssetReport:
    """What became of the list and the details.

    Attributes:
        rows_read: elements of the list.
        assets_listed: accepted assets: rows of the batch file.
        rows_rejected: refused elements.
        pages_rejected: refused lists.
        details_fetched: details merged into a listed asset.
        details_failed: details that could not be read, or whose asset is not listed.
        details_waiting: listed assets that never had details.
        rejects_by_reason: rejected records by reason.
    """

    rows_read: int
    assets_listed: int
    rows_rejected: int
    pages_rejected: int
    details_fetched: int
    details_failed: int
    details_waiting: int
    rejects_by_reason: dict[str, int]

    def to_dict(self) -> dict[str, Any]:
        """A JSON-ready form."""
        return asdict(self)


@dataclass(frozen=True)
class AssetBatch:
    """Everything that one batch says of assets.

    Attributes:
        table: one row for each listed asset, sorted by id.
        rejects: refused elements and bodies.
        report: counts.
    """

    table: pa.Table
    rejects: list[Reject]
    report: AssetReport


def read_assets(
    bodies: Iterable[LandedBody],
    batch: BatchManifest,
    contract: Contract,
    known: Mapping[str, datetime | None],
    missing: int = 0,
) -> AssetBatch:
    """Read the landed bodies of a batch; the same bodies give the same table.

    Args:
        bodies: lists and details, in any order; told apart by their shape.
        batch: the batch.
        contract: of the dimension.
        known: when the details of known assets were landed.
        missing: details that were asked for and do not exist.
    """
    maker = RejectMaker(batch, contract)
    listing, details, faults, answers = Listing(maker), dict[str, AssetDetails](), list[Reject](), 0
    for landed in bodies:
        if is_list(landed.body):
            listing.add(landed)
            continue
        answers += 1
        found = read_details(landed)
        if isinstance(found, Fault):
            faults.append(_refused_details(maker, landed, found))
        elif found.asset_id not in details or found.details_at > details[found.asset_id].details_at:
            details[found.asset_id] = found
    merged = {asset_id: found for asset_id, found in details.items() if asset_id in listing.assets}
    rejects = listing.rejects + faults
    had = {asset_id for asset_id, details_at in known.items() if details_at} | merged.keys()
    report = AssetReport(
        rows_read=listing.rows_read,
        assets_listed=len(listing.assets),
        rows_rejected=sum(reject.level == "row" for reject in listing.rejects),
        pages_rejected=sum(reject.level == "page" for reject in listing.rejects),
        details_fetched=len(merged),
        details_failed=answers + missing - len(merged),
        details_waiting=len(listing.assets.keys() - had),
        rejects_by_reason=dict(sorted(Counter(reject.reason for reject in rejects).items())),
    )
    return AssetBatch(_table(listing, merged, batch, contract), rejects, report)


def _refused_details(maker: RejectMaker, landed: LandedBody, fault: Fault) -> Reject:
    """Details are a body of one record: unreadable as a body, or refused as its record 0."""
    return maker.page(landed, fault.reason) if fault.column is None else maker.row(landed, 0, None, fault)


def _table(listing: Listing, details: Mapping[str, AssetDetails], batch: BatchManifest, contract: Contract) -> pa.Table:
    added = {"status": ACTIVE, "source_id": batch.source_id, "batch_id": batch.batch_id}
    rows = [
        {**(vars(details[asset_id]) if asset_id in details else {}), **vars(asset), **added}
        for asset_id, asset in sorted(listing.assets.items())
    ]
    return pa.Table.from_pylist(rows, arrow_schema(contract.file_columns))
