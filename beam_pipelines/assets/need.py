"""Which assets get their details next: those without any first, then those with the oldest."""

import csv
import io
import re
from collections.abc import Collection, Iterable, Mapping
from datetime import datetime

from coinbeam.batch.digest import digest
from coinbeam.clock import parse_instant
from coinbeam.errors import SettingsError

KNOWN_HEADER = ["asset_id", "details_at"]

_SAFE_STEM = re.compile(r"[a-z0-9][a-z0-9_-]{0,99}")


def read_known(text: str) -> dict[str, datetime | None]:
    """When the details of each known asset were landed, None for never; in the order of the file.

    Raises:
        SettingsError: it is not a CSV with header ``asset_id,details_at``.
    """
    rows = csv.reader(io.StringIO(text))
    try:
        if next(rows, None) != KNOWN_HEADER:
            raise SettingsError("--known_assets has another header.", f"It has to be {','.join(KNOWN_HEADER)}.")
        return {
            asset_id: parse_instant(details_at) if details_at else None
            for asset_id, details_at in (row for row in rows if row)
        }
    except (csv.Error, ValueError) as error:
        raise SettingsError(
            f"--known_assets is damaged near line {rows.line_num}: {error}.", "Write two columns per line."
        ) from None


def by_need(listed: Iterable[str], known: Mapping[str, datetime | None], batch_id: str) -> list[str]:
    """The listed assets in the order in which they need details.

    First those without details: in the order of the file of known assets, then those that it does not name. The latter
    are shuffled by the batch, the same for every attempt, so that a few ids that the API lists but does not know cannot
    keep all others waiting. Then those with details, the oldest first.
    """
    assets = set(listed)
    waiting = [asset for asset, details_at in known.items() if details_at is None and asset in assets]
    unknown = sorted(assets - known.keys(), key=lambda asset: digest(batch_id, asset, length=16))
    aged = sorted((details_at, asset) for asset, details_at in known.items() if details_at and asset in assets)
    return waiting + unknown + [asset for _, asset in aged]


def choose(order: Iterable[str], landed: Collection[str], max_details: int) -> list[str]:
    """The assets to ask for in this attempt: the first of the order, within what earlier attempts of the batch left of
    the budget.

    ``landed`` are the stems of the details that the batch has landed already; none of them is asked for again.
    """
    budget = max(0, max_details - len(landed))
    return [asset for asset in order if stem(asset) not in landed][:budget]


def stem(asset_id: str) -> str:
    """Name of the landed details of an asset: its id where that is safe as a file name, else a digest, marked by a
    capital letter.

    A dot is not safe: ``x.r2`` would read as the second revision of ``x``.
    """
    return asset_id if _SAFE_STEM.fullmatch(asset_id) else f"X{digest(asset_id, length=32)}"
