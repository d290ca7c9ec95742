"""A refused record with its reason, in the shape of the contract ``rejected_record``; shared by all jobs."""

import json
from dataclasses import dataclass
from typing import Any

from coinbeam.batch.digest import digest
from coinbeam.batch.manifest import BatchManifest
from coinbeam.clock import format_instant
from coinbeam.contracts import Contract
from coinbeam.landing.layout import LandedBody

MAX_VALUE_CHARACTERS = 1_000
MAX_PAYLOAD_CHARACTERS = 20_000


@dataclass(frozen=True)
class Reject:
    """One refused row, or one page that could not be read.

    Attributes:
        batch: the batch that refused it.
        landed: the body that it was read from.
        contract: of the table that it was meant for.
        reason: class of the fault.
        row_number: position in the page from 0; None for a page.
        asset_id: the asset, where it could be read.
        column_name: column that broke its rule.
        value: the offending value as JSON.
        payload: the whole record as JSON.
        estimated_rows: rows lost.
    """

    batch: BatchManifest
    landed: LandedBody
    contract: Contract
    reason: str
    row_number: int | None = None
    asset_id: str | None = None
    column_name: str | None = None
    value: str | None = None
    payload: str | None = None
    estimated_rows: int = 1

    @property
    def level(self) -> str:
        """``row`` or ``page``."""
        return "page" if self.row_number is None else "row"

    def to_dict(self) -> dict[str, str | int | None]:
        """The columns of ``rejected_record``, ready for JSON."""
        return {
            "rejected_id": digest(self.landed.uri, str(self.row_number), str(self.column_name), self.reason, length=16),
            "batch_id": self.batch.batch_id,
            "snapshot_date": self.batch.snapshot_at.date().isoformat(),
            "table_name": self.contract.name,
            "level": self.level,
            "estimated_rows": self.estimated_rows,
            "page_uri": self.landed.uri,
            "row_number": self.row_number,
            "asset_id": self.asset_id,
            "reason": self.reason,
            "column_name": self.column_name,
            "value": self.value,
            "payload": self.payload,
            "contract_version": self.contract.version,
            "rejected_at": format_instant(self.landed.landed_at),
        }

    def to_line(self) -> bytes:
        """One line of newline-delimited JSON."""
        return json.dumps(self.to_dict()).encode() + b"\n"


@dataclass(frozen=True)
class Refused:
    """Why a record is refused.

    Attributes:
        reason: class of the fault.
        column_name: column that broke its rule; None when the record has another shape.
        value: the offending value.
    """

    reason: str
    column_name: str | None
    value: Any


@dataclass(frozen=True)
class RejectMaker:
    """Makes the rejects of one batch, whose records were meant for the table of the contract."""

    batch: BatchManifest
    contract: Contract

    def row(
        self, landed: LandedBody, number: int, record: Any, refused: Refused, asset_id: str | None = None
    ) -> Reject:
        """A refused record of a body."""
        return Reject(
            self.batch,
            landed,
            self.contract,
            refused.reason,
            number,
            asset_id,
            refused.column_name,
            _json(refused.value, MAX_VALUE_CHARACTERS),
            _json(record, MAX_PAYLOAD_CHARACTERS),
        )

    def body(self, landed: LandedBody, reason: str, estimated_rows: int = 1, asset_id: str | None = None) -> Reject:
        """A refused body, its payload the beginning of it."""
        beginning = landed.body[:MAX_PAYLOAD_CHARACTERS].decode("utf-8", errors="replace")
        payload = _json(beginning, MAX_PAYLOAD_CHARACTERS)
        return Reject(
            self.batch, landed, self.contract, reason, asset_id=asset_id, payload=payload, estimated_rows=estimated_rows
        )


def _json(value: Any, characters: int) -> str:
    """A value as JSON in ASCII, cut to the length of its column; infinities and NaN as Python's parser reads them."""
    return json.dumps(value)[:characters]
