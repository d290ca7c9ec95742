"""What a person asks of a backfill: the fields of its form, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

from coinbeam.batch.digest import digest
from coinbeam.batch.options import parts
from coinbeam.clock import parse_instant
from coinbeam.contracts.instants import FIRST_DATE
from coinbeam.errors import SettingsError
from coinbeam.feeds.forms import check_currency, check_ids
from coinbeam.feeds.history.pieces import newest_closed_day
from coinbeam.settings import Settings


@dataclass(frozen=True)
class BackfillRequest:
    """What a person asks for.

    Attributes:
        assets: CoinGecko ids; empty when ``top_n`` chooses.
        top_n: the so many largest of the newest snapshot, when no ids are given.
        last: last day, included.
        is_whole: everything that files hold; the days only bound what can be in them.
        calls_per_day: most calls that backfills spend on one UTC day.
        only_gaps: ask only for days that have no row and that the source was never asked for.
        files: a glob of landed bodies, API bodies or CSV exports to read instead of asking; empty for none.
        asset_of: ``file=asset`` pairs for files whose names do not tell, separated by commas.
        time_zone: of stamps that name none; empty refuses them.
        replay_batch: a batch whose landed pieces are read again, whatever else is asked for; empty for none.
        refetch: ask for every piece again, settled or landed; what was landed is put aside.
    """

    assets: tuple[str, ...]
    top_n: int | None
    quote_currency: str
    first: date
    last: date
    calls_per_day: int
    only_gaps: bool = False
    is_whole: bool = False
    files: str = ""
    asset_of: str = ""
    time_zone: str = ""
    replay_batch: str = ""
    refetch: bool = False

    @property
    def told_assets(self) -> tuple[str, ...]:
        """The ids that ``asset_of`` tells; a name of a file may itself hold an equals sign."""
        return tuple(pair.rpartition("=")[2] for pair in parts(self.asset_of))

    def backfill_id(self, source: str) -> str:
        """The name of the backfill, the same for every run and budget of a request."""
        chosen = sorted(self.assets) if self.assets else [f"top-{self.top_n}"]
        asked = (*chosen, self.quote_currency, str(self.first), str(self.last), str(self.only_gaps))
        return f"backfill-{digest(*asked, self.files, self.asset_of, source, length=10)}"


def request_from(params: Mapping[str, Any], now: datetime, settings: Settings) -> BackfillRequest:
    """What the trigger form asks for.

    Raises:
        SettingsError: a field is wrong; the message names it.
    """
    newest = newest_closed_day(now, settings.history)
    last = _day("to_date", params["to_date"]) if params["to_date"] else newest
    days = min(settings.coingecko.limits.history_days, settings.history.piece_days)
    default_first = FIRST_DATE if params["source"] else newest - timedelta(days=days - 1)
    first = _day("from_date", params["from_date"]) if params["from_date"] else default_first
    if first > last:
        raise SettingsError(f"from_date is {first} and to_date {last}.", "Exchange them.")
    check_currency(params["quote_currency"], settings)
    if params["source"] and params["only_gaps"]:
        remedy = "Leave it out: files take nothing away, and days that they lack stay as they are."
        raise SettingsError("only_gaps has no meaning for files.", remedy)
    assets = parts(params["assets"])
    request = BackfillRequest(
        assets=assets,
        top_n=None if assets or params["source"] else int(params["top_n"]),
        quote_currency=params["quote_currency"],
        first=first,
        last=last,
        calls_per_day=int(params["calls_per_day"]),
        only_gaps=bool(params["only_gaps"]),
        is_whole=bool(params["source"]) and not (params["from_date"] or params["to_date"]),
        files=params["source"] or "",
        asset_of=params["asset_of"] or "",
        time_zone=params.get("time_zone") or "",
        replay_batch=params.get("replay_batch") or "",
        refetch=bool(params.get("refetch")),
    )
    if request.refetch and (request.files or request.replay_batch or request.only_gaps):
        raise SettingsError(
            "Files, a replay and gaps leave nothing that could be fetched again.", "Give --refetch without them."
        )
    check_ids([*request.assets, *request.told_assets])
    return request


def _day(name: str, text: str) -> date:
    try:
        return parse_instant(text).date()
    except SettingsError:
        raise SettingsError(f"{name} is {text!r}, which is no date.", "Write it like 2026-01-02.") from None
