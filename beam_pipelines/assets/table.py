"""Listed assets and their details as the batch file of ``crypto_asset_dim``, with a report."""

from collections.abc import Mapping
from dataclasses import fields
from datetime import datetime
from typing import Any

from beam_pipelines.assets.bodies import is_list
from beam_pipelines.assets.details import AssetDetails, read_details
from beam_pipelines.assets.listing import ListedAsset, Listing
from beam_pipelines.batch_files.builder import BatchInput, BatchSink, ReadBody, Report, TableBuilder, assemble
from beam_pipelines.batch_files.rejects import Refused, Reject, RejectMaker
from coinbeam.contracts import Contract
from coinbeam.contracts.arrow import arrow_schema

_LISTED = tuple(field.name for field in fields(ListedAsset))
_DETAILED = tuple(field.name for field in fields(AssetDetails) if field.name not in _LISTED)

ACTIVE = "active"
"""Status of every listed asset: the list is asked for active coins. The publish infers the other states."""


class AssetTable(TableBuilder[str]):
    """Builds the batch file of the asset dimension: one row for each listed asset, sorted by id.

    The bodies of a batch are lists and details, in any order; their shape says which.

    Args:
        contract: of the dimension.
        known: when the details of known assets were landed.
    """

    def __init__(self, contract: Contract, known: Mapping[str, datetime | None]) -> None:
        super().__init__(contract, {"status", *_LISTED, *_DETAILED})
        self._had_details = frozenset(asset_id for asset_id, details_at in known.items() if details_at)

    def build(self, given: BatchInput[str], read: ReadBody, sink: BatchSink) -> Report:
        """Write one batch. ``details_failed`` could not be read, or their asset is not listed; an asset of
        ``details_waiting`` never had any.
        """
        rejects = RejectMaker(given.batch, self.contract)
        listing, details, faults, answers = Listing(rejects), dict[str, AssetDetails](), list[Reject](), 0
        for landed in map(read, given.bodies):
            if is_list(landed.body):
                listing.add(landed)
                continue
            answers += 1
            found = read_details(landed)
            if isinstance(found, Refused):  # details are a body of one record
                is_body = found.column_name is None
                faults.append(rejects.body(landed, found.reason) if is_body else rejects.row(landed, 0, None, found))
            elif found.asset_id not in details or found.details_at > details[found.asset_id].details_at:
                details[found.asset_id] = found
        merged = {asset_id: found for asset_id, found in details.items() if asset_id in listing.assets}
        sink.refuse(listing.rejects + faults)
        assets = sorted(listing.assets)
        filled: dict[str, list[Any]] = {"status": [ACTIVE] * len(assets)}
        filled |= {name: [getattr(listing.assets[asset], name) for asset in assets] for name in _LISTED}
        filled |= {name: [getattr(merged.get(asset), name, None) for asset in assets] for name in _DETAILED}
        sink.rows(assemble(arrow_schema(self.contract.file_columns), filled, given.batch))
        return {
            "rows_read": listing.rows_read,
            "assets_listed": len(assets),
            "rows_rejected": sum(reject.level == "row" for reject in listing.rejects),
            "pages_rejected": sum(reject.level == "page" for reject in listing.rejects),
            "details_fetched": len(merged),
            "details_failed": answers + given.missing - len(merged),
            "details_waiting": len(listing.assets.keys() - self._had_details - merged.keys()),
            "rejects_by_reason": sink.rejects_by_reason,
        }
