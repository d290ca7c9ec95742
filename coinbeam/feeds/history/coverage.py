"""Coverage of the daily history: for each asset the days with a row, and the gaps, whether ever asked for or not."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from coinbeam.batch.tables import DAILY_FACT, SNAPSHOT_FACT
from coinbeam.contracts import load_contract
from coinbeam.feeds.history.ledger import PieceLedger
from coinbeam.feeds.history.pieces import stretches
from coinbeam.feeds.market import counting_for
from coinbeam.sql_template import expression
from coinbeam.warehouse.client import Warehouse

_DAY = timedelta(days=1)


@dataclass(frozen=True)
class Gap:
    """A stretch of days without a row.

    Attributes:
        last: last day, included.
        is_known: the source was asked for these days and has none: asking again would cost a call and bring nothing.
    """

    first: date
    last: date
    is_known: bool

    @property
    def days(self) -> int:
        """Number of days."""
        return (self.last - self.first).days + 1


@dataclass(frozen=True)
class AssetCoverage:
    """What there is of an asset between two days, both included.

    Attributes:
        history_days: days with a row of daily history.
        snapshot_days: days without one that have a snapshot early enough for the marts to take it instead.
        gaps: stretches without either, in order.
    """

    asset_id: str
    first: date
    last: date
    history_days: int
    snapshot_days: int
    gaps: tuple[Gap, ...]

    @property
    def missing_days(self) -> int:
        """Days without a row."""
        return sum(gap.days for gap in self.gaps)


class Coverage:
    """Reads the coverage from the facts and the ledger of backfills."""

    def __init__(self, warehouse: Warehouse) -> None:
        self._warehouse = warehouse

    def read(
        self, assets: Sequence[str], quote_currency: str, first: date, last: date, source_id: str
    ) -> list[AssetCoverage]:
        """The coverage of assets between two days, both included.

        Args:
            assets: ids; all that have any daily history when empty.
            source_id: what would be asked for the gaps. Simulated rows fill no gap of a real source.
        """
        only = f"AND {counting_for(source_id)}"
        history = self._days(DAILY_FACT, "date", assets, quote_currency, first, last, only)
        snapshots = self._snapshot_days(assets or sorted(history), quote_currency, first, last, only)
        asked: dict[str, list[tuple[date, date]]] = {}  # the stretches that the source was asked for and answered
        for piece in PieceLedger(self._warehouse).settled(quote_currency, source_id):
            asked.setdefault(piece.asset_id, []).append((piece.first, piece.last))
        return [
            coverage(asset, (first, last), history.get(asset, set()), snapshots.get(asset, set()), asked.get(asset, []))
            for asset in (sorted(set(assets)) or sorted(history))
        ]

    def _snapshot_days(
        self, assets: Sequence[str], currency: str, first: date, last: date, only: str
    ) -> dict[str, set[date]]:
        late_after = self._warehouse.settings.market.late_after_seconds
        stands = expression("stands_for_day", late_after)
        return self._days(SNAPSHOT_FACT, "snapshot_date", assets, currency, first, last, f"AND {stands} {only}")

    def _days(
        self, table: str, column: str, assets: Sequence[str], currency: str, first: date, last: date, only: str = ""
    ) -> dict[str, set[date]]:
        name = self._warehouse.table(load_contract(table))
        if not self._warehouse.exists(name):
            return {}
        chosen = "AND asset_id IN UNNEST(@assets)" if assets else ""
        sql = (
            f"SELECT DISTINCT asset_id, {column} AS day FROM `{name}` "
            f"WHERE {column} BETWEEN @first AND @last AND quote_currency = @currency {chosen} {only}"
        )
        named = {"assets": list(assets)} if assets else {}
        found: dict[str, set[date]] = {}
        for row in self._warehouse.rows(sql, first=first, last=last, currency=currency, **named):
            found.setdefault(row["asset_id"], set()).add(row["day"])
        return found


def coverage(
    asset_id: str,
    between: tuple[date, date],
    history: set[date],
    snapshots: set[date],
    asked: Iterable[tuple[date, date]],
) -> AssetCoverage:
    """The coverage of one asset between two days, both included, by its days with a row and the stretches asked for."""
    first, last = between
    days = [first + _DAY * n for n in range((last - first).days + 1)]
    known = {day for start, end in asked for day in days if start <= day <= end}
    missing = [day for day in days if day not in history and day not in snapshots]
    gaps = [Gap(*stretch, is_known=True) for stretch in stretches(day for day in missing if day in known)]
    gaps += [Gap(*stretch, is_known=False) for stretch in stretches(day for day in missing if day not in known)]
    gaps.sort(key=lambda gap: gap.first)
    inside = set(days)
    return AssetCoverage(asset_id, first, last, len(history & inside), len((snapshots - history) & inside), tuple(gaps))
