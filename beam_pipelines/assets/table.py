"""Listed assets and their details as the batch file of ``crypto_asset_dim``, with a report."""

from collections.abc import Mapping
from datetime import datetime
from typing import Any

from beam_pipelines.assets.bodies import is_list
from beam_pipelines.assets.details import DETAILED, read_details
from beam_pipelines.assets.listing import LISTED, Listing
from beam_pipelines.batch_files.builder import BatchInput, BatchSink, ReadBody, Report, TableBuilder, assemble
from beam_pipelines.batch_files.rejects import Refused, Reject, RejectMaker
from coinbeam.contracts import Contract

ACTIVE = "active"
"""Status of every listed asset: the list is asked for active coins. The publish infers the other states."""


class AssetTable(TableBuilder[str]):
    """Builds the batch file of the asset dimension: one row for each listed asset, sorted by id.

    The bodies of a batch are lists and details, in any order; their shape says which. ``known`` says when the details
    of known assets were landed.
    """

    def __init__(self, contract: Contract, known: Mapping[str, datetime | None]) -> None:
        super().__init__(contract, {"status", *LISTED, *DETAILED})
        self._had_details = frozenset(asset_id for asset_id, details_at in known.items() if details_at)

    def build(self, given: BatchInput[str], read: ReadBody, sink: BatchSink) -> Report:
        """Write one batch. Details fail when unreadable or unlisted; an asset of ``details_waiting`` never had any."""
        rejects = RejectMaker(given.batch, self.contract)
        listing, details, faults, answers = Listing(rejects), dict[str, dict[str, Any]](), list[Reject](), 0
        for landed in map(read, given.bodies):
            if is_list(landed.body):
                listing.add(landed)
                continue
            answers += 1
            found = read_details(landed)
            if isinstance(found, Refused):  # details are a body of one record
                is_body = found.column_name is None
                faults.append(rejects.body(landed, found.reason) if is_body else rejects.row(landed, 0, None, found))
            elif (known := details.get(found["asset_id"])) is None or found["details_at"] > known["details_at"]:
                details[found["asset_id"]] = found
        merged = {asset_id: found for asset_id, found in details.items() if asset_id in listing.assets}
        sink.refuse(listing.rejects + faults)
        assets = sorted(listing.assets)
        rows = [merged.get(asset, {}) | listing.assets[asset] | {"status": ACTIVE} for asset in assets]
        filled = {name: [row.get(name) for row in rows] for name in ("status", *LISTED, *DETAILED)}
        sink.rows(assemble(self.contract, filled, given.batch))
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
