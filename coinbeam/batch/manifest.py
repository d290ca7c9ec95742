"""What a landing folder says of its pages."""

from dataclasses import dataclass
from datetime import datetime

from coinbeam.clock import format_instant


@dataclass(frozen=True)
class BatchManifest:
    """What a landing folder says of its pages; written once, before the first call.

    Attributes:
        endpoint: ``markets`` or ``coins``.
        source_id: key of ``source_dim``.
        snapshot_at: the scheduled instant, aware.
        per_page: rows asked for per page.
        universe: label of the selection.
    """

    batch_id: str
    endpoint: str
    source_id: str
    snapshot_at: datetime
    quote_currency: str
    per_page: int
    universe: str

    def to_dict(self) -> dict[str, str | int]:
        """A JSON-ready form; the instant as ISO 8601."""
        return {**vars(self), "snapshot_at": format_instant(self.snapshot_at)}
