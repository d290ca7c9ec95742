"""Time is an aware UTC datetime that comes from an injected clock."""

from collections.abc import Callable
from datetime import UTC, datetime

from coinbeam.errors import SettingsError

Clock = Callable[[], datetime]


def utc_now() -> datetime:
    """The present instant, aware and in UTC: the clock of production."""
    return datetime.now(UTC)


def parse_instant(text: str) -> datetime:
    """Read an ISO 8601 date or instant as aware UTC.

    Args:
        text: ``2026-01-02``, ``2026-01-02T03:00:00Z`` or with any other offset; without an offset UTC is meant.

    Raises:
        SettingsError: the text is not an ISO 8601 date or instant.
    """
    try:
        moment = datetime.fromisoformat(text)
    except ValueError as error:
        raise SettingsError(f"{text!r} is not an ISO 8601 instant.", "Write it like 2026-01-02T00:00:00Z.") from error
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def format_instant(moment: datetime) -> str:
    """ISO 8601 in UTC with a trailing Z, whole seconds when there is no fraction."""
    return moment.astimezone(UTC).isoformat().replace("+00:00", "Z")
