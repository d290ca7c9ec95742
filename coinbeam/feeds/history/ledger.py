"""The ledger of pieces, ``crypto_ops.history_piece``: what was planned, and what became of it."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from coinbeam.clock import Clock, format_instant, utc_now
from coinbeam.contracts import load_contract
from coinbeam.feeds.ending import Ending
from coinbeam.feeds.history.pieces import HistoryPiece
from coinbeam.feeds.history.plan import HistoryPlan
from coinbeam.warehouse.client import Warehouse
from coinbeam.warehouse.staging import merge_rows

LEDGER = "history_piece"
_SETTLED = ("published", "empty")
"""States of a piece that need no other call."""


class PieceLedger:
    """Reads and writes the ledger."""

    def __init__(self, warehouse: Warehouse, clock: Clock = utc_now) -> None:
        self._warehouse, self._clock, self._contract = warehouse, clock, load_contract(LEDGER)

    def settled(self, quote_currency: str, source_id: str) -> set[HistoryPiece]:
        """The pieces that a source was asked for and that any backfill has published, or found empty."""
        return {piece for piece, status in self.states(quote_currency, source_id).items() if status in _SETTLED}

    def states(self, quote_currency: str, source_id: str) -> dict[HistoryPiece, str]:
        """The state of every piece that is known of a source, or planned and nobody has answered yet; none while there
        is no ledger. What another source answered, or files lack, may still be asked for.
        """
        table = self._warehouse.table(self._contract)
        if not self._warehouse.exists(table):
            return {}
        columns = "asset_id, quote_currency, first_date, last_date, status"
        asked = "source_id IS NULL OR source_id = @source"
        sql = f"SELECT {columns} FROM `{table}` WHERE quote_currency = @currency AND ({asked})"
        return {
            HistoryPiece(r["asset_id"], r["quote_currency"], r["first_date"], r["last_date"]): r["status"]
            for r in self._warehouse.rows(sql, currency=quote_currency, source=source_id)
        }

    def complaints(self, backfill_id: str) -> dict[str, str]:
        """What was said of the pieces of a backfill that brought nothing, by asset: that the source has no such asset,
        or why they failed.
        """
        table = self._warehouse.table(self._contract)
        if not self._warehouse.exists(table):
            return {}
        sql = (
            f"SELECT asset_id, MAX(error_message) AS said FROM `{table}` "
            "WHERE backfill_id = @backfill AND error_message IS NOT NULL GROUP BY asset_id ORDER BY asset_id"
        )
        return {row["asset_id"]: row["said"] for row in self._warehouse.rows(sql, backfill=backfill_id)}

    def enter(self, backfill_id: str, source_id: str, batches: Mapping[str, list[HistoryPiece]]) -> None:
        """Enter the pieces of a plan that the ledger does not know yet of a source."""
        currency = next((piece.quote_currency for batch in batches.values() for piece in batch), "")
        known = self.states(currency, source_id)
        self._write(
            self._row(piece, backfill_id, name, {"status": "planned"})
            for name, batch in batches.items()
            for piece in batch
            if piece not in known
        )

    def fail(self, plan: HistoryPlan, pieces: Iterable[HistoryPiece], error: str | None) -> None:
        """Record the pieces of a batch whose job ended without a report."""
        failed = {"status": "failed", "error_message": error}
        self._write(self._row(piece, plan.backfill_id, plan.batch_id, failed) for piece in pieces)

    def settle(self, plan: HistoryPlan, reported: Iterable[Mapping[str, Any]], ending: Ending) -> None:
        """Record what became of the pieces of a batch, one entry of its job's report for each; a file is no piece."""
        if plan.pieces:
            self._write(self._settled_row(plan, piece, ending) for piece in reported)

    def _write(self, rows: Iterable[Mapping[str, Any]]) -> None:
        merge_rows(self._warehouse, self._contract, list(rows))

    def _settled_row(self, plan: HistoryPlan, reported: Mapping[str, Any], ending: Ending) -> dict[str, Any]:
        piece = HistoryPiece.from_dict({**reported, "quote_currency": plan.quote_currency})
        is_published = ending.status == "published"
        known = {
            "status": "failed" if not is_published else "published" if reported["rows_valid"] else "empty",
            "source_id": reported.get("source_id") or plan.source_id,
            "points_read": reported["points_read"],
            "rows_published": reported["rows_valid"] if is_published else 0,
            "rows_rejected": reported["rows_rejected"],
            "days_missing": reported["days_missing"],
            "missing_days": json.dumps(reported["missing_days"]),
            "api_calls": reported.get("calls") or 0,
            "error_message": reported.get("error") or ending.error,
        }
        return self._row(piece, plan.backfill_id, plan.batch_id, known)

    def _row(self, piece: HistoryPiece, backfill_id: str, batch_id: str, known: Mapping[str, Any]) -> dict[str, Any]:
        return {
            "asset_id": piece.asset_id,
            "quote_currency": piece.quote_currency,
            "first_date": str(piece.first),
            "last_date": str(piece.last),
            "backfill_id": backfill_id,
            "batch_id": batch_id,
            "updated_at": format_instant(self._clock()),
            **known,
        }
