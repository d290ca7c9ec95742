"""Daily history in pieces: the calls of a stretch of days, where each piece is landed, and how far a plan reaches.

A piece is what one call of ``/coins/{id}/market_chart/range`` asks for. Its place in landing depends on nothing but
what was asked, so that a landed piece is found again and paid for once, for example
``landing/market_chart/usd-coingecko/bitcoin/2020-01-01_2020-12-31.json.gz``.
"""

import itertools
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from coinbeam.batch.jobs import MARKET_CHART
from coinbeam.errors import SettingsError
from coinbeam.landing.layout import folder, object_name
from coinbeam.settings import CoinGeckoSettings, HistorySettings

_DAY = timedelta(days=1)
_YEAR_DAYS = 365
_LONGEST_QUOTED_ID = 200  # a file system takes names of 255 bytes
_PLAIN_IN_PATH = frozenset(b"abcdefghijklmnopqrstuvwxyz0123456789_-")
_PIECE_PATH = re.compile(
    rf"(?:^|/)landing/{MARKET_CHART}/(?P<currency>[a-z]+)-(?P<source>\w+)/(?P<asset>[a-z0-9_~-]+)/"
    r"(?P<first>\d{4}-\d\d-\d\d)_(?P<last>\d{4}-\d\d-\d\d)(?:\.r\d+)?\.json\.gz$"
)


@dataclass(frozen=True, order=True)
class HistoryPiece:
    """A closed range of UTC days of one asset that one call asks for."""

    asset_id: str
    quote_currency: str
    first: date
    last: date

    def __post_init__(self) -> None:
        if self.first > self.last:
            problem = f"A piece of {self.asset_id} starts on {self.first} and ends on {self.last}."
            raise SettingsError(problem, "Exchange the dates.")
        quoted_asset(self.asset_id)

    @property
    def name(self) -> str:
        """Stem of the landed object: ``2020-01-01_2020-12-31``."""
        return f"{self.first}_{self.last}"

    @property
    def days(self) -> int:
        """Number of days."""
        return (self.last - self.first).days + 1

    @property
    def start(self) -> datetime:
        """First instant of the first day, aware."""
        return datetime.combine(self.first, time(), UTC)

    @property
    def end(self) -> datetime:
        """Last second of the last day, aware: a day whose only point is stamped 23:39:21 is asked for whole."""
        return datetime.combine(self.last, time(23, 59, 59), UTC)

    def folder(self, root: str, source_id: str) -> str:
        """Landing folder of the asset.

        Args:
            root: folder or ``gs://`` prefix above ``landing/``.
            source_id: who answers; simulated and real answers never share a folder.
        """
        return f"{folder(root, MARKET_CHART, f'{self.quote_currency}-{source_id}')}/{quoted_asset(self.asset_id)}"

    def uri(self, root: str, source_id: str) -> str:
        """Where the first revision of the piece is landed."""
        return f"{self.folder(root, source_id)}/{object_name(self.name)}"

    def to_dict(self) -> dict[str, str]:
        """A JSON-ready form."""
        return {name: str(value) for name, value in vars(self).items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "HistoryPiece":
        """The piece as it came back.

        Raises:
            SettingsError: it is none.
        """
        try:
            first, last = (date.fromisoformat(values[name]) for name in ("first", "last"))
            return cls(str(values["asset_id"]), str(values["quote_currency"]), first, last)
        except (KeyError, TypeError, ValueError) as error:
            problem = f"{values!r} is no piece of history ({type(error).__name__}: {error})."
            raise SettingsError(problem, "It has asset_id, quote_currency, first and last.") from None


@dataclass(frozen=True)
class LandedPiece:
    """A piece by its place in landing, and who answered."""

    piece: HistoryPiece
    source_id: str


def landed_piece(uri: str) -> LandedPiece | None:
    """What the place of a landed body says of it; None for a file that lies elsewhere."""
    found = _PIECE_PATH.search(uri)
    if found is None:
        return None
    try:
        first, last = date.fromisoformat(found["first"]), date.fromisoformat(found["last"])
        piece = HistoryPiece(unquoted_asset(found["asset"]), found["currency"], first, last)
    except (ValueError, SettingsError):
        return None
    return LandedPiece(piece, found["source"])


def quoted_asset(asset_id: str) -> str:
    """An asset id as the name of a folder: bytes other than ``a-z0-9_-`` as ``~`` and two digits, to be read back.

    Raises:
        SettingsError: the id is empty or too long for a file system.
    """
    quoted = "".join(
        chr(byte) if byte in _PLAIN_IN_PATH else f"~{byte:02x}" for byte in asset_id.encode("utf-8", "surrogatepass")
    )
    if not quoted or len(quoted) > _LONGEST_QUOTED_ID:
        raise SettingsError(f"{asset_id!r} cannot be an asset id.", "Remove it from the assets.")
    return quoted


def unquoted_asset(quoted: str) -> str:
    """The asset id of a folder.

    Raises:
        ValueError: `quoted_asset` did not make it.
    """
    return re.sub(rb"~([0-9a-f]{2})", lambda found: bytes([int(found[1], 16)]), quoted.encode()).decode("utf-8")


def pieces(asset_id: str, quote_currency: str, first: date, last: date, piece_days: int) -> list[HistoryPiece]:
    """The calls that a stretch of days takes, oldest first.

    Boundaries do not depend on the stretch, so that a second plan gives the same pieces. From 365 days on, a piece
    is as many whole calendar years as fit: it ends on 31 December. Shorter ones are cut from a grid of days that began
    long ago. Only the first and the last piece are cut short.

    Args:
        last: last day, included.
        piece_days: most days of one piece; 365 stands for a calendar year, leap years included.

    Raises:
        SettingsError: the stretch is empty, or the id cannot be one.
    """
    if first > last:
        raise SettingsError(f"History from {first} to {last} has no day.", "Exchange the dates.")
    found, start = [], first
    while start <= last:
        end = min(last, _boundary(start, piece_days))
        found.append(HistoryPiece(asset_id, quote_currency, start, end))
        start = end + _DAY
    return found


def _boundary(day: date, piece_days: int) -> date:
    """Last day of the piece in which a day lies."""
    if piece_days >= _YEAR_DAYS:
        years = piece_days // _YEAR_DAYS
        return date(day.year + years - 1 - day.year % years, 12, 31)
    return date.fromordinal(day.toordinal() + piece_days - 1 - day.toordinal() % piece_days)


def pieces_json(given: Iterable[HistoryPiece]) -> str:
    """Pieces as the JSON file that the job ``fetch_market_history`` reads with ``--pieces``."""
    return json.dumps([piece.to_dict() for piece in given], indent=1) + "\n"


def read_pieces(text: str | bytes) -> list[HistoryPiece]:
    """The pieces of such a file, in order of asset and day.

    Raises:
        SettingsError: it is no list of pieces, two of them share a day, or they differ in currency.
    """
    remedy = "Write it with coinbeam.feeds.history.pieces.pieces_json."
    try:
        given = json.loads(text)
    except ValueError as error:
        raise SettingsError(f"The file of pieces is not JSON: {error}.", remedy) from None
    if not isinstance(given, list) or not given:
        raise SettingsError("The file of pieces holds no list of pieces.", remedy)
    found = sorted(HistoryPiece.from_dict(entry) for entry in given)
    if len({piece.quote_currency for piece in found}) > 1:
        raise SettingsError("The pieces have several quote currencies.", "Write one file for each currency.")
    for earlier, later in itertools.pairwise(found):
        if earlier.asset_id == later.asset_id and later.first <= earlier.last:
            problem = f"Pieces {earlier.name} and {later.name} of {later.asset_id} overlap."
            raise SettingsError(problem, "Plan them together.")
    return found


def newest_closed_day(now: datetime, history: HistorySettings) -> date:
    """The newest day whose 00:00 point is settled: by the API's documentation, 35 minutes after midnight."""
    return (now.astimezone(UTC) - timedelta(minutes=history.settle_minutes)).date()


def oldest_day(history_days: int, now: datetime) -> date:
    """The oldest day whose 00:00 point lies within so many days before now."""
    edge = now.astimezone(UTC) - timedelta(days=history_days)
    return edge.date() if edge.time() == time() else edge.date() + _DAY


def reach(coingecko: CoinGeckoSettings, first: date, now: datetime) -> date:
    """The oldest day that the configured plan can be asked for.

    Raises:
        SettingsError: the plan does not reach back to ``first``; the text names the smallest plan that does.
    """
    depth = coingecko.limits.history_days
    oldest = oldest_day(depth, now)
    if first < oldest:
        raise SettingsError(
            f"History from {first} on is beyond plan {coingecko.plan!r}, which reaches back {depth} days, to {oldest}.",
            further_plan(coingecko, first, now),
        )
    return oldest


def further_plan(coingecko: CoinGeckoSettings, first: date, now: datetime) -> str:
    """What to do about days that the plan does not cover: the smallest plan that does, and the free way."""
    depths = [(limits.history_days, name) for name, limits in coingecko.plans.items()]
    reaching = [(days, name) for days, name in depths if oldest_day(days, now) <= first]
    larger = f"Set coingecko.plan to {min(reaching)[1]!r}, which reaches there" if reaching else ""
    return (
        f"{larger or 'No configured plan reaches so far'}; or ask for later days; or bring the CSV export of the "
        "CoinGecko website with --source=GLOB, which costs no call."
    )


def intervals(days: Iterable[date]) -> list[str]:
    """Days in order as few texts: ``2020-11-08`` for one, ``2020-11-24/2020-11-26`` (ISO 8601) for a stretch."""
    return [str(first) if first == last else f"{first}/{last}" for first, last in stretches(days)]


def stretches(days: Iterable[date]) -> list[tuple[date, date]]:
    """Days in order as stretches without a hole, each by its first and its last day."""
    found: list[tuple[date, date]] = []
    for day in days:
        if found and found[-1][1] + _DAY == day:
            found[-1] = (found[-1][0], day)
        else:
            found.append((day, day))
    return found
