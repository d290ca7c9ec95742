"""What a person or the schedule asks of a snapshot: the fields of its form, checked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from coinbeam.batch.identity import BatchName, batch_id, interval_start, parse_batch_id
from coinbeam.batch.options import parts
from coinbeam.batch.universe import UniverseSpec, universe_spec
from coinbeam.clock import format_instant, parse_instant
from coinbeam.errors import SettingsError
from coinbeam.feeds.forms import SnapshotForm, check_currency, check_ids, form_defaults
from coinbeam.settings import Period, Settings, Universe


@dataclass(frozen=True)
class SnapshotRequest:
    """What a person or the schedule asks for; everything else follows.

    Attributes:
        snapshot_at: the scheduled instant, aware.
        files: a glob of files to replay, or empty.
        landed: the batch to replay from its landing, or None; its name says the rest.
        refetch: put aside what was landed and ask the source again.
    """

    snapshot_at: datetime
    universe: UniverseSpec
    quote_currency: str
    files: str = ""
    landed: BatchName | None = None
    refetch: bool = False

    @property
    def label(self) -> str:
        """The label of the selection of assets."""
        return self.landed.universe if self.landed else self.universe.label

    @property
    def batch_id(self) -> str:
        """The batch that the request names."""
        if self.landed:
            return self.landed.batch_id
        return batch_id(self.snapshot_at, self.quote_currency, self.universe, self.files)


def request_from(params: Mapping[str, Any], scheduled: datetime, settings: Settings) -> SnapshotRequest:
    """What the trigger form asks for.

    Args:
        scheduled: the logical instant of the run; its interval is the batch when the form names none.

    Raises:
        SettingsError: a field is wrong; the message names it.
    """
    if params["replay_date"] and params["snapshot_at"]:
        raise SettingsError("Both replay_date and snapshot_at are given.", "Give one of them.")
    refetch = bool(params.get("refetch"))
    if refetch and (params["source"] or params.get("replay_batch") or params["replay_date"]):
        raise SettingsError("A replay asks no source, so nothing can be fetched again.", "Leave --refetch out.")
    if params.get("replay_batch"):
        return _landed_request(params)
    named = params["snapshot_at"] or params["replay_date"]
    if params["source"] and not settings.is_local:
        remedy = "Leave it empty, or set COINBEAM_ENV=local."
        raise SettingsError("source names files, but the warehouse is not local.", remedy)
    check_currency(params["quote_currency"], settings)
    if params["source"] and not named:
        remedy = "Say it with --snapshot-at, for example --snapshot-at 2026-01-02T00:00:00Z (snapshot_at in the form)."
        raise SettingsError("Nothing says which instant the files stand for.", remedy)
    moment, period = parse_instant(named) if named else scheduled, settings.market.period
    start = interval_start(moment, period)
    if named and not params["source"] and moment != start:  # a snapshot stands for an interval; files for any instant
        hourly = ", or set COINBEAM_MARKET__PERIOD=hourly" if period is Period.DAILY else ""
        problem = f"{format_instant(moment)} is not the start of a {period} interval."
        raise SettingsError(problem, f"Write {format_instant(start)}{hourly}.")
    ids = parts(params["ids"])
    check_ids(ids)
    _refuse_ignored(params, settings)
    universe = universe_spec(params["universe"], params["top_n"], ids, params["category"] or None)
    return SnapshotRequest(
        moment if named else start, universe, params["quote_currency"], params["source"] or "", refetch=refetch
    )


def _refuse_ignored(params: Mapping[str, Any], settings: Settings) -> None:
    """Refuse a field that only another universe reads, when it is not as the deployment fills it.

    Raises:
        SettingsError: there is one.
    """
    usual = form_defaults(SnapshotForm, settings)
    fields = {"ids": Universe.IDS, "top_n": Universe.TOP, "category": Universe.CATEGORY}
    for name, universe in fields.items():
        if params[name] and params[name] != usual[name] and params["universe"] != universe:
            raise SettingsError(
                f"{name} is given, but the universe is {str(params['universe'])!r}, which does not read it.",
                f"Choose the universe {universe.value!r}, or leave {name} as it was.",
            )


def _landed_request(params: Mapping[str, Any]) -> SnapshotRequest:
    """The replay of a batch by its name, which says instant, currency and selection, as does its landing."""
    name = parse_batch_id(params["replay_batch"])
    named = params["snapshot_at"] or params["replay_date"]
    if params["source"] or (named and parse_instant(named) != name.snapshot_at):
        raise SettingsError(
            f"replay_batch is {name.batch_id}, but another source or instant is given too.", "Give one of them."
        )
    if name.is_foreign:
        problem = f"The pages of {name.batch_id} were files and were never landed."
        raise SettingsError(problem, "Run it again with --source=GLOB.")
    return SnapshotRequest(name.snapshot_at, UniverseSpec(), name.quote_currency, landed=name)


def present_instant(now: datetime, settings: Settings) -> str:
    """The instant of the snapshot that "now" belongs to, in ISO 8601."""
    return format_instant(interval_start(now, settings.market.period))
