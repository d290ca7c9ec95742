"""A batch: one snapshot of one universe in one quote currency, identified so that a rerun is the same batch."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from coinbeam.batch.digest import digest
from coinbeam.batch.universe import UniverseSpec
from coinbeam.errors import SettingsError
from coinbeam.settings import CURRENCY_FORM, Period

INTERVAL: dict[Period, timedelta] = {Period.DAILY: timedelta(days=1), Period.HOURLY: timedelta(hours=1)}
"""Length of the interval that a snapshot stands for: the tolerance within which "now" may be stamped with its start."""


def batch_id(snapshot_at: datetime, quote_currency: str, universe: UniverseSpec, source: str = "") -> str:
    """The identifier of a batch, the same for every run over the same input, and another for every other instant.

    Args:
        snapshot_at: the scheduled instant, aware.
        source: a glob, when foreign files are replayed; they are a batch of their own.
    """
    moment = snapshot_at.astimezone(UTC)
    finer = f"{moment:%S}" if moment.second or moment.microsecond else ""
    finer += f"{moment:%f}" if moment.microsecond else ""
    name = f"{moment:%Y%m%dT%H%M}{finer}Z-{quote_currency}-{universe.label}"
    return f"{name}-files-{digest(source)}" if source else name


_BATCH_ID = re.compile(
    rf"(?P<moment>\d{{8}}T\d{{4}}(?:\d{{2}}(?:\d{{6}})?)?)Z-(?P<currency>{CURRENCY_FORM})"
    r"-(?P<universe>[a-z0-9_-]+?)(?P<files>-files-[0-9a-f]{8})?"
)
_MOMENTS = {13: "%Y%m%dT%H%M", 15: "%Y%m%dT%H%M%S", 21: "%Y%m%dT%H%M%S%f"}


@dataclass(frozen=True)
class BatchName:
    """What the identifier of a snapshot says of it.

    Attributes:
        universe: label of the selection; of ids it holds a digest only.
        is_foreign: whether its pages were files of somebody else, which were never landed.
    """

    batch_id: str
    snapshot_at: datetime
    quote_currency: str
    universe: str
    is_foreign: bool


def parse_batch_id(text: str) -> BatchName:
    """Read the identifier of a snapshot, as `batch_id` writes it.

    Raises:
        SettingsError: it is no such identifier.
    """
    try:
        if (match := _BATCH_ID.fullmatch(text)) is None:
            raise ValueError("it has another form")
        moment = datetime.strptime(match["moment"], _MOMENTS[len(match["moment"])]).replace(tzinfo=UTC)
    except ValueError:
        remedy = "Identifiers look like 20260102T0000Z-usd-all; see `coinbeam status`."
        raise SettingsError(f"{text!r} names no snapshot.", remedy) from None
    return BatchName(text, moment, match["currency"], match["universe"], bool(match["files"]))


def interval_start(moment: datetime, period: Period) -> datetime:
    """The scheduled instant of the interval in which ``moment`` lies: its UTC midnight, or its full hour."""
    floor = moment.astimezone(UTC).replace(minute=0, second=0, microsecond=0)
    return floor if period is Period.HOURLY else floor.replace(hour=0)


def is_present(snapshot_at: datetime, now: datetime, period: Period) -> bool:
    """Whether the answer for "now" may be stamped ``snapshot_at``: only inside the interval that starts there."""
    return snapshot_at <= now < snapshot_at + INTERVAL[period]


def file_stamp(snapshot_at: datetime, period: Period) -> str:
    """The date part of file names: ``2026-01-02``, and ``2026-01-02T0300`` when snapshots are hourly."""
    return f"{snapshot_at:%Y-%m-%d}" if period is Period.DAILY else f"{snapshot_at:%Y-%m-%dT%H%M}"
